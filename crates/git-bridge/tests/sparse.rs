//! What a sparse checkout leaves out is no deletion, and what a partial clone lacks is not fetched.

use git_bridge::{Error, Packed, Project, Secrets, Start};
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use testkit::{TestHost, git, run, write_tree};

const FILES: &str =
    "//- top.txt\nt\n//- in/a.txt\na\n//- in/b.txt\nb\n//- out/c.txt\nc\n//- out/deep/d.txt\nd\n";

struct Case {
    dir: tempfile::TempDir,
}

impl Case {
    /// A clone with these options and this sparse checkout, whose origin is away.
    fn new(clone: &[&str], sparse: &[&str]) -> Case {
        let case = Case {
            dir: tempfile::tempdir().expect("a directory"),
        };
        git(case.dir.path(), &["init", "-q", "-b", "main", "origin"]);
        let origin = case.dir.path().join("origin");
        write_tree(&origin, FILES);
        git(&origin, &["add", "."]);
        git(&origin, &["commit", "-q", "-m", "first"]);
        write_tree(&origin, "//- in/a.txt\na2\n//- out/c.txt\nc2\n");
        git(&origin, &["commit", "-q", "-a", "-m", "second"]);
        git(&origin, &["config", "uploadpack.allowFilter", "true"]);
        git(
            &origin,
            &["config", "uploadpack.allowAnySHA1InWant", "true"],
        );
        let url = format!("file://{}", origin.display());
        let args = [&["clone", "-q", "--no-checkout"], clone, &[&url, "project"]].concat();
        git(case.dir.path(), &args);
        if !sparse.is_empty() {
            git(
                &case.path(),
                &[&["sparse-checkout", "set"], sparse].concat(),
            );
        }
        git(&case.path(), &["checkout", "-q", "main"]);
        fs::rename(&origin, case.dir.path().join("away")).expect("moved");
        case
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("project")
    }

    fn depot(&self) -> PathBuf {
        self.dir.path().join("depot.git")
    }

    fn pack(&self, secrets: &[&str]) -> Result<Packed, Error> {
        let host = Arc::new(TestHost::new(&[]));
        let (path, depot) = (self.path(), self.depot());
        let project = Project::new(
            host,
            &path.to_string_lossy(),
            true,
            &depot.to_string_lossy(),
        );
        let start = Start {
            history: 50,
            keep_out: vec![".env".into()],
            secrets: Secrets::new(secrets.iter().map(|secret| secret.to_string()).collect()),
            ..Start::default()
        };
        run(async { project.pack("s", &start).await })
    }
}

/// How the clone is sparse.
const SPARSE: &[(&str, &[&str])] = &[
    ("cone", &["--cone", "in"]),
    (
        "cone with a sparse index",
        &["--cone", "--sparse-index", "in"],
    ),
    ("patterns", &["--no-cone", "/in/", "/top.txt"]),
    ("patterns without the top", &["--no-cone", "/in/"]),
    (
        "a file of a directory",
        &["--no-cone", "/in/a.txt", "/in/b.txt"],
    ),
];

#[test]
fn what_a_sparse_checkout_leaves_out_is_no_deletion() {
    for (claim, sparse) in SPARSE {
        for filter in ["", "--filter=blob:none", "--filter=tree:0"] {
            let claim = format!("{claim} {filter}");
            let clone: Vec<&str> = [filter].into_iter().filter(|f| !f.is_empty()).collect();
            let case = Case::new(&clone, sparse);
            let path = case.path();
            fs::remove_file(path.join("in/b.txt")).expect("removed");
            write_tree(
                &path,
                "//- in/a.txt\nedited\n//- in/new.txt\nn\n//- out/beside.txt\nb\n",
            );
            write_tree(&path, "//- in/key.txt\nsecret-value\n");
            let before = fs::read(path.join(".git/index")).expect("an index");
            let packed = case.pack(&["secret-value"]);
            let packed = packed.unwrap_or_else(|error| panic!("{claim}: {error}"));
            assert_eq!(fs::read(path.join(".git/index")).expect("an index"), before);
            let depot = case.depot();
            let changed = ["diff-tree", "-r", "--name-status", "HEAD", &packed.commit];
            let users = path.join(".git").to_string_lossy().into_owned();
            let changed = Command::new("git")
                .args(changed)
                .env("GIT_DIR", users)
                .env("GIT_ALTERNATE_OBJECT_DIRECTORIES", depot.join("objects"))
                .current_dir(&path)
                .output()
                .expect("git runs");
            let changed = String::from_utf8_lossy(&changed.stdout).into_owned();
            assert_eq!(
                changed, "M\tin/a.txt\nD\tin/b.txt\nA\tin/new.txt\nA\tout/beside.txt\n",
                "{claim}"
            );
            assert_eq!(packed.held_back, ["in/key.txt"], "{claim}");
            assert_eq!(packed.is_partial, !filter.is_empty(), "{claim}");
            assert_eq!(packed.shallow.is_empty(), filter.is_empty(), "{claim}");
            run(async { packed.discard(&TestHost::new(&[])).await });
        }
    }
}

#[test]
fn a_file_that_should_be_here_and_is_nowhere_is_a_reason_to_refuse() {
    let case = Case::new(&["--filter=blob:none"], &["--cone", "in"]);
    // The user takes a directory in, and nobody can be asked for its files.
    git(
        &case.path(),
        &["update-index", "--no-skip-worktree", "out/c.txt"],
    );
    git(&case.path(), &["config", "core.sparseCheckout", "false"]);
    let removed = case.pack(&[]).expect("the user has deleted it");
    run(async { removed.discard(&TestHost::new(&[])).await });
    git(
        &case.path(),
        &["update-index", "--assume-unchanged", "out/c.txt"],
    );
    let error = case.pack(&[]).expect_err("it is nowhere");
    assert!(matches!(error, Error::Incomplete { .. }), "{error}");
}
