//! What a directory is to git, in every kind that people have; what cannot be carried is refused with
//! the way out.

use git_bridge::{Error, Ground, ground};
use std::fs;
use std::path::{Path, PathBuf};
use testkit::{TestHost, git, run, skip, write_tree};

struct Case {
    dir: tempfile::TempDir,
}

impl Case {
    fn new() -> Case {
        let dir = tempfile::tempdir().expect("a directory");
        Case { dir }
    }

    fn path(&self, name: &str) -> PathBuf {
        let real = fs::canonicalize(self.dir.path()).expect("a path");
        real.join(name)
    }

    fn repository(&self, name: &str) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(&path).expect("made");
        git(&path, &["init", "--quiet", "-b", "main"]);
        write_tree(&path, "//- .gitignore\nignored/\n//- dir/a.txt\na\n");
        git(&path, &["add", "."]);
        git(&path, &["commit", "--quiet", "-m", "first"]);
        path
    }

    /// `.bare`, `.git` that leads to it, and a worktree.
    fn container(&self) -> PathBuf {
        let (origin, path) = (self.repository("origin"), self.path("container"));
        fs::create_dir(&path).expect("made");
        let origin = origin.to_string_lossy().into_owned();
        git(&path, &["clone", "--quiet", "--bare", &origin, ".bare"]);
        fs::write(path.join(".git"), "gitdir: ./.bare\n").expect("written");
        git(&path, &["worktree", "add", "--quiet", "wt", "-b", "wt"]);
        path
    }
}

fn look(directory: &Path, env: &[(&str, &str)]) -> Result<Ground, Error> {
    let host = TestHost::new(env);
    run(async { ground(&host, &directory.to_string_lossy()).await })
}

#[test]
fn a_directory_is_its_worktree_or_a_directory_without_a_repository() {
    type Make = fn(&Case) -> (PathBuf, Option<PathBuf>);
    let cases: &[(&str, Make)] = &[
        ("a worktree", |case| {
            let path = case.repository("p");
            (path.clone(), Some(path))
        }),
        ("below one", |case| {
            let path = case.repository("p");
            (path.join("dir"), Some(path))
        }),
        ("an untracked directory of one", |case| {
            let path = case.repository("p");
            fs::create_dir(path.join("new")).expect("made");
            (path.join("new"), Some(path))
        }),
        ("a worktree beside its bare repository", |case| {
            let path = case.container().join("wt");
            (path.clone(), Some(path))
        }),
        ("reached by a link", |case| {
            let path = case.repository("p");
            std::os::unix::fs::symlink(&path, case.path("link")).expect("linked");
            (case.path("link"), Some(path))
        }),
        ("no repository", |case| (case.path(""), None)),
        ("ignored by the repository around it", |case| {
            let path = case.repository("p").join("ignored/project");
            write_tree(&path, "//- a.txt\na\n");
            (path, None)
        }),
        ("ignored, with files that are tracked", |case| {
            let path = case.repository("p");
            write_tree(&path, "//- ignored/kept/a.txt\na\n");
            git(&path, &["add", "--force", "ignored/kept"]);
            (path.join("ignored/kept"), Some(path))
        }),
        ("below a home that is a repository", |case| {
            let path = case.repository("home").join("project");
            write_tree(&path, "//- a.txt\na\n");
            (path, None)
        }),
        ("tracked by a home that is a repository", |case| {
            (case.repository("home").join("dir"), None)
        }),
        ("below a home whose repository has no worktree", |case| {
            let home = case.repository("home");
            git(&home, &["config", "core.bare", "true"]);
            (home.join("dir"), None)
        }),
        ("a home that is a repository", |case| {
            (case.repository("home"), None)
        }),
        ("a repository below a home that is one", |case| {
            case.repository("home");
            let path = case.repository("home/project");
            (path.clone(), Some(path))
        }),
        ("an empty .git", |case| {
            write_tree(&case.path("p"), "//- a.txt\na\n");
            fs::create_dir(case.path("p/.git")).expect("made");
            (case.path("p"), None)
        }),
    ];
    for (claim, make) in cases {
        let case = Case::new();
        let (directory, worktree) = make(&case);
        let home = case.path("home").to_string_lossy().into_owned();
        let found = look(&directory, &[("HOME", &home)]);
        let expected = match worktree {
            Some(path) => Ground::Worktree(path.to_string_lossy().into_owned()),
            None => Ground::Plain,
        };
        assert_eq!(found, Ok(expected), "{claim}");
    }
}

#[test]
fn what_no_work_could_come_home_to_is_refused_with_the_way_out() {
    type Make = fn(&Case) -> PathBuf;
    let cases: &[(&str, Make, &str)] = &[
        ("around worktrees", |case| case.container(), "/wt)"),
        (
            "a directory around worktrees",
            |case| {
                let path = case.container().join("notes");
                fs::create_dir(&path).expect("made");
                path
            },
            "/wt)",
        ),
        (
            "a bare repository",
            |case| case.container().join(".bare"),
            "/wt)",
        ),
        (
            "a bare repository without worktrees",
            |case| {
                git(&case.path(""), &["init", "--quiet", "--bare", "b.git"]);
                case.path("b.git")
            },
            "git worktree add",
        ),
        (
            "inside a git directory",
            |case| case.repository("p").join(".git"),
            "nothing to carry",
        ),
        (
            "deep inside a git directory",
            |case| case.repository("p").join(".git/hooks"),
            "nothing to carry",
        ),
        (
            "a repository without a worktree",
            |case| {
                let path = case.repository("p");
                git(&path, &["config", "core.bare", "true"]);
                path
            },
            "nothing to carry",
        ),
        (
            ".git that leads nowhere",
            |case| {
                write_tree(&case.path("p"), "//- .git\ngitdir: /nowhere\n//- a\na\n");
                case.path("p")
            },
            "git worktree repair",
        ),
        (
            "below one",
            |case| {
                write_tree(&case.path("p"), "//- .git\ngitdir: ../gone\n//- d/a\na\n");
                case.path("p/d")
            },
            "git worktree repair",
        ),
        (
            "a bare repository that git wants to be named",
            |case| {
                git(&case.path(""), &["init", "--quiet", "--bare", "b.git"]);
                case.path("b.git")
            },
            "a worktree of it",
        ),
        (
            "a damaged repository",
            |case| {
                let path = case.repository("p");
                fs::remove_file(path.join(".git/HEAD")).expect("removed");
                path
            },
            "git init",
        ),
    ];
    for (claim, make, way_out) in cases {
        let case = Case::new();
        let directory = make(&case);
        let env = [
            ("GIT_CONFIG_COUNT", "1"),
            ("GIT_CONFIG_KEY_0", "safe.bareRepository"),
            ("GIT_CONFIG_VALUE_0", "explicit"),
        ];
        let env = if claim.contains("named") {
            &env[..]
        } else {
            &[]
        };
        let Err(error) = look(&directory, env) else {
            panic!("{claim}: it is not refused");
        };
        let text = error.to_string();
        assert!(text.contains(way_out), "{claim}: {text}");
    }
}

#[test]
fn a_repository_of_another_user_is_refused_and_git_can_be_told_to_trust_it() {
    let case = Case::new();
    let path = case.repository("p");
    for place in [&path, &path.join(".git")] {
        if std::os::unix::fs::chown(place, Some(4_321), None).is_err() {
            let why = "only root can give a directory away";
            return skip(
                "a_repository_of_another_user_is_refused_and_git_can_be_told_to_trust_it",
                why,
            );
        }
    }
    for directory in [&path, &path.join("dir")] {
        let Err(error) = look(directory, &[]) else {
            panic!("{directory:?} is not refused");
        };
        let text = error.to_string();
        let way_out = format!("safe.directory '{}'", path.display());
        assert!(text.contains(&way_out), "{text}");
    }
    let trusted = path.to_string_lossy().into_owned();
    let env = [
        ("GIT_CONFIG_COUNT", "1"),
        ("GIT_CONFIG_KEY_0", "safe.directory"),
        ("GIT_CONFIG_VALUE_0", &*trusted),
    ];
    assert_eq!(look(&path, &env), Ok(Ground::Worktree(trusted.clone())));
}
