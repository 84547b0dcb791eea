//! The whole way with a git of version 2.30, as Debian 11 has it: a program that stands in for it leaves
//! out what that version does not know.

use crate::world::*;
use git_bridge::Error;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use testkit::{TestHost, run, write_tree};

/// Set in a process that runs one test only, whose `git` is an old one.
const ALONE: &str = "TEST_RUNS_WITH_OLD_GIT";

/// Options and variables that git has had since: what it says of one that it does not know, for
/// `rev-parse` the option itself.
const OLD: &str = r#"#!/bin/sh
unset GIT_CONFIG_COUNT GIT_CONFIG_GLOBAL GIT_CONFIG_SYSTEM GIT_NO_LAZY_FETCH GIT_ATTR_SOURCE
left=$#
while [ $left -gt 0 ]; do
  arg=$1; shift; left=$((left - 1))
  case $arg in
    --sparse) echo "error: unknown option 'sparse'" >&2; exit 129 ;;
    --version) echo "git version VERSION"; exit 0 ;;
    --path-format=*) echoes=1; arg=--opencode-test-unknown ;;
    --filter=object:type=*|--filter-provided-objects|--exclude-hidden=*|--remerge-diff|--write-tree|--disk-usage*|--batch-command*)
      echo "fatal: unrecognized argument: $arg" >&2; exit 128 ;;
  esac
  set -- "$@" "$arg"
done
[ -n "$echoes" ] || exec REAL "$@"
out=$(REAL "$@") || exit $?
printf '%s\n' "$out" | sed 's/^--opencode-test-unknown$/--path-format=absolute/'
"#;

/// A directory with an old `git` in it.
fn old_git(dir: &Path, version: &str) -> String {
    let path = std::env::var("PATH").expect("a path");
    let real = std::env::split_paths(&path).map(|dir| dir.join("git"));
    let real = real.into_iter().find(|git| git.is_file()).expect("git");
    let script = OLD.replace("VERSION", version);
    let script = script.replace("REAL", &real.to_string_lossy());
    fs::write(dir.join("git"), script).expect("written");
    fs::set_permissions(dir.join("git"), fs::Permissions::from_mode(0o755)).expect("set");
    format!("{}:{path}", dir.display())
}

/// Runs a test of this file with such a `git` first on its path.
fn with_old_git(test: &str, version: &str) {
    let dir = tempfile::tempdir().expect("a directory");
    let output = Command::new(std::env::current_exe().expect("a path"))
        .args(["--exact", test, "--nocapture"])
        .env("PATH", old_git(dir.path(), version))
        .env(ALONE, version)
        .output()
        .expect("runs");
    let text = String::from_utf8_lossy(&output.stdout);
    let why = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}{why}");
    assert!(text.contains("1 passed"), "{text}");
}

#[test]
fn git_of_version_2_30_carries_both_ways() {
    with_old_git("old::there_and_back", "2.30.2");
}

#[test]
fn an_older_git_is_refused_with_the_version_that_is_needed() {
    with_old_git("old::refused", "2.29.3");
}

/// A part of the first test, which runs it with an old git.
#[test]
fn there_and_back() {
    if std::env::var_os(ALONE).is_none() {
        return;
    }
    let dir = tempfile::tempdir().expect("a directory");
    git(dir.path(), &["init", "--quiet", "-b", "main", "project"]);
    let path = dir.path().join("project");
    write_tree(
        &path,
        "//- .gitignore\n*.log\n//- kept.log\ntracked\n//- a.txt\na\n",
    );
    git(&path, &["add", "--force", "."]);
    git(&path, &["commit", "--quiet", "-m", "first"]);
    write_tree(
        &path,
        "//- draft.txt\nnot committed\n//- other.log\nignored\n",
    );
    git(&path, &["sparse-checkout", "set", "--no-cone", "/*"]);
    let world = World::around(dir);
    run(async {
        let said = git_bridge::git_version(&TestHost::new(&[]), "/").await;
        assert_eq!(said.expect("new enough"), "git version 2.30.2");
        let list = ["ls-tree", "-r", "--name-only", &world.base];
        let list = git(&world.depot(), &list);
        assert_eq!(list, ".gitignore\na.txt\ndraft.txt\nkept.log");
        let landed = world.home(&world.good("good"), None).await.expect("lands");
        assert_eq!(landed.branch, BRANCH);
        assert_eq!(landed.files, ["good"]);
        world.check("good");
    });
}

/// A part of the second test.
#[test]
fn refused() {
    if std::env::var_os(ALONE).is_none() {
        return;
    }
    run(async {
        let error = git_bridge::git_version(&TestHost::new(&[]), "/").await;
        let error = error.expect_err("it is too old");
        assert!(matches!(error, Error::OldGit { .. }), "{error}");
        let text = error.to_string();
        assert!(
            text.contains("2.29.3") && text.contains("2.30 or newer"),
            "{text}"
        );
    });
}
