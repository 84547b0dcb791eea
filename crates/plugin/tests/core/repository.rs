//! What an agent expects of a repository, and finds in the sandbox: other branches, tags, a merge that
//! has not ended, the user's name, the project's hooks.

use crate::home::idle;
use crate::world::{World, git};
use serde_json::json;
use std::fs;
use std::path::Path;
use std::process::Command;
use testkit::{run, write_tree};

/// Runs git to whatever end.
fn may(path: &Path, args: &[&str]) {
    let identity = ["-c", "user.name=a", "-c", "user.email=a@localhost"];
    let mut git = Command::new("git");
    let ended = git.args(identity).args(args).current_dir(path).output();
    ended.expect("git runs");
}

fn commit(path: &Path, file: &str, text: &str) {
    fs::write(path.join(file), text).expect("written");
    git(path, &["add", file]);
    git(
        path,
        &["commit", "-qm", &format!("{file}: {}", text.trim())],
    );
}

/// On a feature branch that follows `origin/feature`, with `main` one commit further.
fn on_a_branch(world: &World) {
    let path = world.project.path();
    git(path, &["tag", "-a", "-m", "the first release", "v1.0"]);
    git(path, &["tag", "light"]);
    git(path, &["checkout", "-qb", "feature"]);
    commit(path, "f.txt", "feature\n");
    git(path, &["update-ref", "refs/remotes/origin/feature", "HEAD"]);
    commit(path, "f.txt", "more\n");
    git(path, &["checkout", "-q", "main"]);
    commit(path, "m.txt", "main\n");
    git(path, &["update-ref", "refs/remotes/origin/main", "HEAD"]);
    git(
        path,
        &[
            "symbolic-ref",
            "refs/remotes/origin/HEAD",
            "refs/remotes/origin/main",
        ],
    );
    git(path, &["tag", "feature", "HEAD"]);
    git(path, &["checkout", "-q", "refs/heads/feature", "--"]);
    git(path, &["symbolic-ref", "HEAD", "refs/heads/feature"]);
    for (key, value) in [
        (
            "remote.origin.url",
            "https://user:secret-token@example.com/x.git",
        ),
        ("remote.origin.fetch", "+refs/heads/*:refs/remotes/origin/*"),
        ("branch.feature.remote", "origin"),
        ("branch.feature.merge", "refs/heads/feature"),
    ] {
        git(path, &["config", key, value]);
    }
}

#[test]
fn the_default_branch_the_upstream_and_tags_are_there_and_none_of_them_comes_home_as_work() {
    run(async {
        let world = World::new();
        on_a_branch(&world);
        let path = world.project.path();
        let open = world.open().await;
        for (command, expected) in [
            ("git symbolic-ref HEAD", "refs/heads/feature"),
            ("git diff --name-only main...HEAD", "draft.txt\nf.txt"),
            (
                "git diff --name-only origin/HEAD...HEAD",
                "draft.txt\nf.txt",
            ),
            (
                "git log --format=%s origin/main..",
                "Project as it was on the host\nf.txt: more\nf.txt: feature",
            ),
            (
                "git log --format=%s @{u}..",
                "Project as it was on the host\nf.txt: more",
            ),
            (
                "git merge-base main HEAD | xargs git log -1 --format=%s",
                "first",
            ),
            ("git describe --tags --abbrev=0 HEAD", "v1.0"),
            (
                "git tag -l --format='%(contents:subject)' v1.0",
                "the first release",
            ),
            (
                "git status -sb | head -1",
                "## feature...origin/feature [ahead 2]",
            ),
            (
                "git remote get-url origin; git config --list | grep -c token",
                "0",
            ),
        ] {
            let seen = open.bash("s", &format!("{command}; true")).await;
            let seen: Vec<&str> = seen
                .lines()
                .filter(|line| !line.starts_with("error: "))
                .collect();
            let seen = seen.join("\n");
            assert!(
                seen.trim() == expected || expected == "0" && seen.trim().ends_with('0'),
                "{command}: {seen}"
            );
        }
        idle(&world, &open, "s").await;
        assert_eq!(git(path, &["branch", "--list", "opencode/*"]), "");

        // A merge of the branch that came along, a branch and a commit that only a tag holds.
        open.bash("s", "set -e; git merge -q -m merged main; git checkout -q -b side main; echo s > s; git add s; git commit -qm side; \
            git checkout -q --detach; echo t > t; git add t; git commit -qm tagged; git tag -a -m x only; git checkout -q feature --").await;
        idle(&world, &open, "s").await;
        assert_eq!(git(path, &["show", "opencode/1:m.txt"]), "main\n");
        let log = git(path, &["log", "-1", "--format=%s", "opencode/1"]);
        assert_eq!(log.trim(), "merged");
        let branches = git(
            path,
            &[
                "branch",
                "--list",
                "--format=%(refname:short)",
                "opencode/*",
            ],
        );
        assert_eq!(branches, "opencode/1\nopencode/1-only\nopencode/1-side\n");
        assert_eq!(git(path, &["show", "opencode/1-only:t"]), "t\n");
        git(path, &["fsck", "--strict"]);
    });
}

#[test]
fn a_merge_that_has_not_ended_can_be_ended_in_the_sandbox() {
    for (does, ends, status, said) in [
        (
            "merge",
            "commit -q --no-edit",
            "All conflicts fixed but you are still merging",
            "a merge was under way",
        ),
        (
            "cherry-pick",
            "-c core.editor=true cherry-pick --continue",
            "You are currently cherry-picking",
            "a cherry-pick was under way",
        ),
        (
            "revert",
            "-c core.editor=true revert --continue",
            "You are currently reverting",
            "a revert was under way",
        ),
    ] {
        run(async {
            let world = World::new();
            let path = world.project.path();
            let other = match does {
                "revert" => {
                    commit(path, "a.txt", "other\n");
                    let other = git(path, &["rev-parse", "HEAD"]);
                    commit(path, "a.txt", "ours\n");
                    other
                }
                _ => {
                    git(path, &["checkout", "-qb", "other"]);
                    commit(path, "a.txt", "other\n");
                    git(path, &["checkout", "-q", "main"]);
                    commit(path, "a.txt", "ours\n");
                    "other".to_string()
                }
            };
            may(path, &[does, other.trim()]);
            let before = git(path, &["status", "--porcelain"]);
            assert!(before.contains("UU a.txt"), "{does}: {before}");
            let open = world.open().await;
            let seen = open
                .bash("s", "git status --porcelain; git ls-files -u | wc -l")
                .await;
            assert!(seen.starts_with("UU a.txt\n3\n"), "{does}: {seen}");
            assert!(
                seen.contains(said) && seen.contains("Files with conflicts: a.txt."),
                "{does}: {seen}"
            );
            let again = open.bash("s", "git status --porcelain").await;
            assert_eq!(again.trim(), "UU a.txt", "{does}: told once");
            idle(&world, &open, "s").await;
            assert_eq!(git(path, &["branch", "--list", "opencode/*"]), "", "{does}");

            let ended = open.bash("s", &format!("set -e; echo both > a.txt; git add a.txt; git status; git {ends}; git log -1 --format='%P'; git status --porcelain")).await;
            assert!(ended.contains(status), "{does}: {ended}");
            open.ok("s", "sync", json!({})).await;
            assert_eq!(git(path, &["show", "opencode/1:a.txt"]), "both\n", "{does}");
            if does == "merge" {
                let second = git(path, &["rev-parse", "opencode/1^2"]);
                assert_eq!(second, git(path, &["rev-parse", "other"]));
            }
            assert_eq!(git(path, &["status", "--porcelain"]), before, "{does}");
            git(path, &["fsck", "--strict"]);
        });
    }
}

#[test]
fn of_a_rebase_the_conflicts_are_there_and_the_model_is_told_what_it_sees() {
    run(async {
        let world = World::new();
        let path = world.project.path();
        git(path, &["checkout", "-qb", "topic"]);
        commit(path, "a.txt", "topic\n");
        git(path, &["checkout", "-q", "main"]);
        commit(path, "a.txt", "ours\n");
        git(path, &["checkout", "-q", "topic"]);
        fs::remove_file(path.join("draft.txt")).expect("removed");
        may(path, &["rebase", "main"]);
        let open = world.open().await;
        let seen = open.bash("s", "git status --porcelain").await;
        assert!(seen.starts_with("UU a.txt\n"), "{seen}");
        assert!(
            seen.contains("a rebase of topic onto ") && seen.contains("leave it to the user"),
            "{seen}"
        );
    });
}

#[test]
fn the_agents_commits_are_the_users_unless_the_option_says_no() {
    for (options, expected) in [
        (json!({}), "Ada Lovelace <ada@example.com>"),
        (
            json!({ "identity": false }),
            "OpenCode <opencode@localhost>",
        ),
    ] {
        run(async {
            let world = World::new();
            let path = world.project.path();
            git(path, &["config", "user.name", "Ada Lovelace"]);
            git(path, &["config", "user.email", "ada@example.com"]);
            let open = world
                .open_with(options.clone(), world.host(&world.local.url))
                .await;
            open.bash(
                "s",
                "echo 1 > one; git add one; git commit -qsm signed; echo 2 > two",
            )
            .await;
            idle(&world, &open, "s").await;
            let own = git(
                path,
                &["log", "-1", "--format=%an <%ae>%n%b", "opencode/1^"],
            );
            assert_eq!(own.trim(), format!("{expected}\nSigned-off-by: {expected}"));
            // What it left is a commit of ours.
            let left = git(path, &["log", "-1", "--format=%an", "opencode/1"]);
            assert_eq!(left.trim(), "OpenCode");
        });
    }
}

#[test]
fn the_projects_hooks_run_for_the_agents_commits_and_for_nothing_else() {
    for (hooks, runs) in [
        (".githooks", true),
        ("/elsewhere", false),
        ("../out", false),
        (".git/hooks", false),
    ] {
        run(async {
            let world = World::new();
            let path = world.project.path();
            let hook = "#!/bin/sh\necho ran >> hook.log\n";
            write_tree(
                path,
                &format!(
                    "//- .githooks/pre-commit\n{hook}//- .githooks/reference-transaction\n{hook}"
                ),
            );
            git(path, &["add", ".githooks"]);
            git(
                path,
                &["update-index", "--chmod=+x", ".githooks/pre-commit"],
            );
            git(path, &["commit", "-qm", "hooks"]);
            git(path, &["checkout", "-q", "--", ".githooks"]);
            // An absolute path into the project is the same.
            let set = match hooks {
                ".githooks" => path.join(hooks).display().to_string(),
                other => other.into(),
            };
            git(path, &["config", "core.hooksPath", &set]);
            let open = world.open().await;
            open.bash("s", "echo 1 > one; git add one; git commit -qm one")
                .await;
            let seen = open.bash("s", "cat hook.log 2>/dev/null; true").await;
            assert_eq!(seen.contains("ran"), runs, "{hooks}: {seen}");
            idle(&world, &open, "s").await;
            let again = open.bash("s", "cat hook.log 2>/dev/null; true").await;
            assert_eq!(again, seen, "{hooks}");
            assert!(!path.join("hook.log").exists(), "{hooks}");
        });
    }
}

#[test]
fn a_repository_in_the_project_is_told_to_the_user_and_the_model_in_both_directions() {
    run(async {
        let world = World::new();
        let path = world.project.path();
        for (name, has_commit) in [("vendor/lib", true), ("empty", false)] {
            fs::create_dir_all(path.join(name)).expect("made");
            git(&path.join(name), &["init", "-q"]);
            fs::write(path.join(name).join("x.txt"), "x\n").expect("written");
            if has_commit {
                git(&path.join(name), &["add", "."]);
                git(&path.join(name), &["commit", "-qm", "x"]);
            }
        }
        fs::create_dir_all(path.join("fix/.GIT")).expect("made");
        fs::write(path.join("fix/.GIT/HEAD"), "x").expect("written");
        let open = world.open().await;
        let seen = open.bash("s", "cat draft.txt").await;
        assert!(
            seen.contains("repositories of their own on the user's machine"),
            "{seen}"
        );
        assert!(
            seen.contains("vendor/lib") && seen.contains("empty"),
            "{seen}"
        );
        let told = open.opencode.told.borrow().join("\n");
        for name in ["vendor/lib", "empty"] {
            let expected = format!(
                "{name} is a repository of its own, so its files are not brought into the sandbox."
            );
            assert!(told.contains(&expected), "{told}");
        }
        let expected = "git does not take fix/.GIT/HEAD, so it is not brought into the sandbox.";
        assert!(told.contains(expected), "{told}");
        open.bash("s", "git init -q made; echo y > made/y.txt")
            .await;
        let said = open.ok("s", "sync", json!({})).await;
        assert!(
            said.contains("Note: made is a repository of its own; its files come home"),
            "{said}"
        );
        let told = open.opencode.told.borrow().join("\n");
        assert!(
            told.contains("made is a repository of its own; its files come home"),
            "{told}"
        );
        assert_eq!(git(path, &["show", "opencode/1:made/y.txt"]), "y\n");
    });
}

#[test]
fn edits_that_git_is_told_not_to_see_are_told_to_the_user_once_and_stay() {
    run(async {
        let world = World::new();
        let path = world.project.path();
        git(path, &["update-index", "--skip-worktree", "a.txt"]);
        fs::write(path.join("a.txt"), "mine\n").expect("written");
        let open = world.open().await;
        for session in ["s", "t"] {
            assert_eq!(open.bash(session, "cat a.txt").await, "one\ntwo\nthree\n");
        }
        let told = open.opencode.told.borrow().join("\n");
        let expected = "a.txt has edits that git is told not to see";
        assert_eq!(told.matches(expected).count(), 1, "{told}");
    });
}
