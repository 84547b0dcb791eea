//! Directories that are not what they seem, and paths that lead into the project through a link.

use crate::world::{World, git, until};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use testkit::{run, write_tree};

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

#[test]
fn where_no_work_could_come_home_every_tool_refuses_with_the_way_out() {
    run(async {
        let world = World::new();
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path();
        let origin = text(world.project.path());
        git(path, &["clone", "--quiet", "--bare", &origin, ".bare"]);
        let token = "https://user:token-in-the-url@example.com/x";
        git(path, &["--git-dir=.bare", "config", "remote.x.url", token]);
        fs::write(path.join(".git"), "gitdir: ./.bare\n").expect("written");
        let before = git(path, &["for-each-ref"]);
        for directory in [
            path.to_path_buf(),
            path.join(".bare"),
            path.join(".bare/hooks"),
        ] {
            let init = plugin::Init {
                worktree: "/".into(),
                directory: text(&directory),
                ..world.init(json!({}))
            };
            let open = world.open_as(init, world.host(&world.local.url)).await;
            let problem = open.started.problem.as_deref().expect("a problem");
            assert!(problem.contains("git worktree add"), "{problem}");
            let error = open.error("s", "bash", json!({ "command": "true" })).await;
            assert!(error.contains("git worktree add"), "{error}");
            let doctor = plugin::Cli {
                call: 1,
                args: vec!["doctor".into()],
                directory: text(&directory),
            };
            let done = open.plugin.cli(doctor).await;
            let is_told = done.output.contains("git worktree add");
            assert!(done.exit != 0 && is_told, "{}", done.output);
        }
        assert!(world.sandboxes().await.is_empty());
        assert_eq!(git(path, &["for-each-ref"]), before);
    });
}

#[test]
fn nothing_lands_in_a_repository_around_the_project() {
    run(async {
        // A home that is a repository, and a directory that its repository ignores.
        for (home, is_ignored) in [(true, false), (false, true)] {
            let world = World::new();
            let around = world.project.path();
            let project = around.join(if is_ignored { "target/app" } else { "app" });
            write_tree(&project, "//- main.c\nint main;\n");
            let before = git(around, &["for-each-ref"]);
            let host = world.host(&world.local.url);
            if home {
                host.set_env("HOME", &text(around));
            }
            let init = plugin::Init {
                directory: text(&project),
                ..world.init(json!({}))
            };
            let open = world.open_as(init, host).await;
            assert_eq!(open.started.problem, None);
            assert_eq!(
                open.bash("s", "ls -A; pwd").await,
                ".git\nmain.c\n/home/daytona/project\n"
            );
            open.bash("s", "echo new >made.c").await;
            let said = open.ok("s", "sync", json!({})).await;
            assert!(said.contains("opencode/1"), "{said}");
            assert_eq!(git(around, &["for-each-ref"]), before);
            let store = world.store_path();
            let beside = fs::read_dir(store.parent().expect("a directory")).expect("listed");
            let depots: Vec<String> = beside
                .flatten()
                .map(|entry| text(&entry.path()))
                .filter(|path| path.ends_with("-plain.git"))
                .collect();
            assert_eq!(depots.len(), 1, "{depots:?}");
            let names = ["ls-tree", "-r", "--name-only", "opencode/1"];
            let listed = git(Path::new(&depots[0]), &names);
            assert_eq!(listed.trim(), "made.c\nmain.c");
        }
    });
}

#[test]
fn a_path_through_a_link_is_the_same_file_as_through_the_real_path() {
    run(async {
        let world = World::new();
        let project = fs::canonicalize(world.project.path()).expect("a path");
        let outside = tempfile::tempdir().expect("a directory");
        let ways = fs::canonicalize(outside.path()).expect("a path");
        symlink(&project, ways.join("link")).expect("linked");
        symlink("link", ways.join("link2")).expect("linked");
        symlink(project.join("src"), ways.join("code")).expect("linked");
        symlink(project.join("a.txt"), ways.join("file")).expect("linked");
        let way = |name: &str| text(&ways.join(name));
        let starts = [
            (text(&project), text(&project), None),
            (text(&project), way("link"), None),
            (text(&project), way("link/src"), None),
            (way("link"), way("link"), None),
            (text(&project), text(&project), Some(way("link2"))),
        ];
        for (worktree, directory, shells) in starts {
            let at = format!("{worktree} {directory} {shells:?}");
            let host = world.host(&world.local.url);
            if let Some(shells) = &shells {
                host.set_env("PWD", shells);
            }
            let init = plugin::Init {
                worktree,
                directory: directory.clone(),
                ..world.init(json!({}))
            };
            let open = world.open_as(init, host).await;
            assert_eq!(open.started.problem, None, "{at}");
            let session = format!("s{}", at.len());
            let ok = async |tool: &str, args: Value| open.ok(&session, tool, args).await;
            let write = |path: String| json!({ "filePath": path, "content": "new\n" });
            ok("write", write(way("link/w1"))).await;
            ok("write", write(way("link2/sub/../w2"))).await;
            ok("write", write(way("code/w3"))).await;
            let read = ok("read", json!({ "filePath": way("file") })).await;
            assert!(read.contains("1: one"), "{at}: {read}");
            let edit =
                json!({ "filePath": way("link/w1"), "oldString": "new", "newString": "newer" });
            ok("edit", edit).await;
            let patch = format!(
                "*** Begin Patch\n*** Add File: {}\n+new\n*** End Patch",
                way("link2/w4")
            );
            ok("apply_patch", json!({ "patchText": patch })).await;
            ok(
                "bash",
                json!({ "command": format!("cat {}/w1 >{}", way("link"), way("link/w5")) }),
            )
            .await;
            let args = json!({ "command": "pwd; ls w1", "workdir": way("link") });
            assert_eq!(
                ok("bash", args).await,
                "/home/daytona/project\nw1\n",
                "{at}"
            );
            let found = ok("glob", json!({ "pattern": "w*", "path": way("link") })).await;
            assert!(found.contains("/home/daytona/project/w1"), "{at}: {found}");
            let found = ok("grep", json!({ "pattern": "newer", "path": way("link2") })).await;
            assert!(found.contains("/home/daytona/project/w5"), "{at}: {found}");
            let list = "cd /home/daytona/project && ls -d w1 w2 src/w3 w4 w5; cat w5";
            let listed = ok("bash", json!({ "command": list })).await;
            assert_eq!(listed, "src/w3\nw1\nw2\nw4\nw5\nnewer\n", "{at}");
            let cwd = ok("bash", json!({ "command": "pwd" })).await;
            let expected = match directory.ends_with("/src") {
                true => "/home/daytona/project/src\n",
                false => "/home/daytona/project\n",
            };
            assert_eq!(cwd, expected, "{at}");
            assert!(
                open.opencode
                    .asked
                    .borrow()
                    .iter()
                    .all(|asked| asked.permission != "external_directory"),
                "{at}"
            );
        }
    });
}

#[test]
fn a_relative_path_that_comes_back_through_a_link_is_the_projects() {
    run(async {
        let world = World::new();
        let dir = tempfile::tempdir().expect("a directory");
        let project = fs::canonicalize(dir.path()).expect("a path").join("app");
        fs::rename(world.project.path(), &project).expect("moved");
        symlink("app", project.with_file_name("link")).expect("linked");
        let init = plugin::Init {
            worktree: text(&project),
            directory: text(&project),
            ..world.init(json!({}))
        };
        let open = world.open_as(init, world.host(&world.local.url)).await;
        let args = json!({ "filePath": "../link/made", "content": "x" });
        open.ok("s", "write", args).await;
        assert_eq!(open.bash("s", "ls made").await, "made\n");
        fs::create_dir(world.project.path()).expect("for its end");
    });
}

#[test]
fn what_only_git_on_this_machine_ignores_does_not_come_home() {
    run(async {
        let world = World::new();
        let project = world.project.path();
        fs::write(project.join(".git/info/exclude"), "node_modules/\n").expect("written");
        write_tree(project, "//- node_modules/here/x\nx\n");
        let open = world.open().await;
        let command = "ls; mkdir -p node_modules/m && n=0 && while [ $n -lt 200 ]; do n=$((n+1)); echo $n > node_modules/m/f$n; done; echo a >made";
        let listed = open.bash("s", command).await;
        assert!(!listed.contains("node_modules"), "{listed}");
        let status = open.bash("s", "git status --porcelain").await;
        assert_eq!(status, "?? made\n");
        let said = open.ok("s", "sync", json!({})).await;
        assert!(
            said.contains("made") && !said.contains("node_modules"),
            "{said}"
        );
        let names = git(project, &["ls-tree", "-r", "--name-only", "opencode/1"]);
        assert!(
            names.contains("made") && !names.contains("node_modules"),
            "{names}"
        );
    });
}

#[test]
fn a_sparse_partial_clone_is_worked_on_and_nothing_that_it_leaves_out_is_deleted() {
    run(async {
        for filter in ["--filter=blob:none", "--filter=tree:0"] {
            let world = World::new();
            let origin = world.project.path();
            write_tree(
                origin,
                "//- in/a.txt\na\n//- out/c.txt\nc\n//- out/d.txt\nd\n",
            );
            git(origin, &["add", "."]);
            git(origin, &["commit", "-q", "-m", "second"]);
            git(origin, &["config", "uploadpack.allowFilter", "true"]);
            git(origin, &["config", "uploadpack.allowAnySHA1InWant", "true"]);
            let dir = tempfile::tempdir().expect("a directory");
            let url = format!("file://{}", origin.display());
            let allow = ["-c", "protocol.file.allow=always"];
            let clone = ["clone", "-q", "--sparse", filter, &url, "project"];
            git(dir.path(), &[&allow[..], &clone].concat());
            let project = fs::canonicalize(dir.path())
                .expect("a path")
                .join("project");
            git(
                &project,
                &[&allow[..], &["sparse-checkout", "set", "in"]].concat(),
            );
            git(
                &project,
                &["remote", "set-url", "origin", "file:///nowhere"],
            );
            write_tree(&project, "//- in/draft.txt\nnot committed\n");
            let init = plugin::Init {
                worktree: text(&project),
                directory: text(&project),
                ..world.init(json!({}))
            };
            let open = world.open_as(init, world.host(&world.local.url)).await;
            assert_eq!(open.started.problem, None);
            let listed = open
                .bash("s", "find . -path ./.git -prune -o -type f -print | sort")
                .await;
            assert!(
                listed.contains("./in/a.txt") && listed.contains("./in/draft.txt"),
                "{listed}"
            );
            assert!(!listed.contains("./out"), "{listed}");
            assert_eq!(
                open.bash("s", "git status --porcelain").await,
                "(no output)"
            );
            let work = "echo b >>in/a.txt && mkdir -p out && echo n >out/new.txt && git add --sparse -A && git commit -qm work && echo later >in/later.txt";
            open.bash("s", work).await;
            let said = open.ok("s", "sync", json!({})).await;
            assert!(said.contains("opencode/1"), "{said}");
            let changed =
                |to: &str| git(&project, &["diff-tree", "-r", "--name-status", "main", to]);
            assert_eq!(
                changed("opencode/1"),
                "M\tin/a.txt\nA\tin/draft.txt\nA\tin/later.txt\nA\tout/new.txt\n",
                "{filter}"
            );
            open.bash("s", "rm in/later.txt; echo 2 >in/more.txt").await;
            open.ok("s", "sync", json!({})).await;
            assert_eq!(
                changed("opencode/1"),
                "M\tin/a.txt\nA\tin/draft.txt\nA\tin/more.txt\nA\tout/new.txt\n",
                "{filter}"
            );
            // Another sandbox in the place of a lost one goes on from there.
            world.delete_elsewhere(&world.sandbox_of("s"), true).await;
            let list = json!({ "command": "ls in; git status --porcelain" });
            let mut listed = String::new();
            for _ in 0..2 {
                // The first call may only say that it is gone.
                listed = match open.call("s", "bash", list.clone()).await {
                    plugin::Executed::Done(done) => done.output,
                    other => format!("{other:?}"),
                };
            }
            assert_eq!(listed, "a.txt\ndraft.txt\nmore.txt\n", "{filter}");
            open.bash("s", "echo 3 >in/last.txt").await;
            open.ok("s", "sync", json!({})).await;
            git(&project, &["merge", "-q", "opencode/1"]);
            assert!(project.join("in/more.txt").exists() && project.join("in/last.txt").exists());
            assert!(!project.join("out/c.txt").exists());
        }
    });
}

#[test]
fn a_graph_that_the_agent_replaces_comes_home_as_it_is() {
    run(async {
        let world = World::new();
        let open = world.open().await;
        let work = "git add -A && git commit -qm one && echo 2 >two && git add two && git commit -qm two && git replace --graft HEAD";
        open.bash("s", work).await;
        let head = open.bash("s", "git rev-parse HEAD").await;
        open.bash("s", "echo 3 >three").await;
        open.ok("s", "sync", json!({})).await;
        let project = world.project.path();
        for older in [head.trim(), "main"] {
            let is_in = ["merge-base", "--is-ancestor", older, "opencode/1"];
            git(project, &is_in);
        }
        git(project, &["fsck", "--strict"]);
    });
}

#[test]
fn what_old_tools_wrote_comes_home_and_the_user_is_told() {
    run(async {
        let world = World::new();
        let project = world.project.path();
        let line = format!("*.x {}\n", "a".repeat(2_400));
        fs::write(project.join(".gitattributes"), line).expect("written");
        git(project, &["add", "."]);
        git(project, &["commit", "-q", "-m", "a long line"]);
        let open = world.open().await;
        open.bash("s", "echo '*.y text' >>.gitattributes").await;
        open.ok("s", "sync", json!({})).await;
        let odd = "c=$(printf 'tree %s\\nparent %s\\nauthor a <a@b> 1 +051800\\ncommitter a <a@b> 1 +0000\\n\\nold\\n' \
            $(git rev-parse HEAD^{tree}) $(git rev-parse HEAD) | git hash-object -t commit -w --stdin --literally) && \
            git stash -q && git merge -q $c && git stash pop -q && git log --format=%s -1";
        let merged = open.bash("s", odd).await;
        assert!(merged.ends_with("\nold\n"), "{merged}");
        open.ok("s", "sync", json!({})).await;
        let told = open.opencode.told.borrow().join("\n");
        for id in ["gitattributesLineLength", "badTimezone"] {
            assert!(
                told.contains(&format!("`git fsck` complains of {id} in 1 object")),
                "{told}"
            );
        }
        let subjects = git(project, &["log", "--format=%s", "opencode/1"]);
        assert!(
            subjects.lines().any(|subject| subject == "old"),
            "{subjects}"
        );
    });
}

/// Nothing waits for git's version, so that a start is quick; the tools hear of it before any sandbox
/// has the project.
#[test]
fn with_a_git_that_is_too_old_every_tool_refuses_and_says_which_is_needed() {
    run(async {
        let world = World::new();
        let dir = tempfile::tempdir().expect("a directory");
        let path = std::env::var("PATH").expect("a path");
        let script = format!(
            "#!/bin/sh\nPATH='{path}'\n[ \"$1\" = --version ] && echo git version 2.29.3 && exit\nexec git \"$@\"\n"
        );
        fs::write(dir.path().join("git"), script).expect("written");
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs::set_permissions(dir.path().join("git"), mode).expect("set");
        let host = world.host(&world.local.url);
        host.set_env("PATH", &format!("{}:{path}", text(dir.path())));
        let open = world.open_with(json!({}), host).await;
        until("the tools refuse", async || {
            let call = open.call("s", "bash", json!({ "command": "true" })).await;
            let says = |message: &str| message.contains("2.29.3") && message.contains("2.30");
            matches!(call, plugin::Executed::Failed { message } if says(&message))
        })
        .await;
    });
}
