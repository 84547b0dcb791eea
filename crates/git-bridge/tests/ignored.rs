//! What git ignores on this machine stays here, and the sandbox is told so.

use git_bridge::{Project, Start};
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use testkit::{TestHost, git, run, write_tree};

struct Case {
    dir: tempfile::TempDir,
}

impl Case {
    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn write(&self, name: &str, text: &str) -> String {
        let path = self.path(name);
        fs::create_dir_all(path.parent().expect("a parent")).expect("made");
        fs::write(&path, text).expect("written");
        path.to_string_lossy().into_owned()
    }
}

/// `secret.txt` is ignored here, and so is `kept.txt`, which is tracked.
const RULES: &str = "secret.txt\nkept.txt\n";

type Env = Vec<(&'static str, String)>;
/// Makes the rules; where the project is, and the environment.
type Make = fn(&Case) -> (PathBuf, Env);

const CASES: &[(&str, Make)] = &[
    ("info/exclude", |case| {
        case.write("project/.git/info/exclude", RULES);
        (case.path("project"), vec![])
    }),
    ("info/exclude of a linked worktree's repository", |case| {
        case.write("project/.git/info/exclude", RULES);
        git(
            &case.path("project"),
            &["worktree", "add", "-q", "../linked"],
        );
        (case.path("linked"), vec![])
    }),
    ("core.excludesFile of the repository", |case| {
        let file = case.write("rules", RULES);
        git(
            &case.path("project"),
            &["config", "core.excludesFile", &file],
        );
        (case.path("project"), vec![])
    }),
    ("core.excludesFile from the home", |case| {
        case.write("home/rules", RULES);
        git(
            &case.path("project"),
            &["config", "core.excludesFile", "~/rules"],
        );
        let home = case.path("home").to_string_lossy().into_owned();
        (case.path("project"), vec![("HOME", home)])
    }),
    ("git's own place in the home", |case| {
        case.write("home/.config/git/ignore", RULES);
        let home = case.path("home").to_string_lossy().into_owned();
        (case.path("project"), vec![("HOME", home)])
    }),
    ("git's own place among settings", |case| {
        case.write("home/.config/git/ignore", "new.txt\n");
        case.write("settings/git/ignore", RULES);
        let home = case.path("home").to_string_lossy().into_owned();
        let settings = case.path("settings").to_string_lossy().into_owned();
        let env = vec![("HOME", home), ("XDG_CONFIG_HOME", settings)];
        (case.path("project"), env)
    }),
    ("core.excludesFile beside the files", |case| {
        case.write("project/rules", RULES);
        git(
            &case.path("project"),
            &["config", "core.excludesFile", "rules"],
        );
        (case.path("project"), vec![])
    }),
    ("core.excludesFile of a file of the environment", |case| {
        let file = case.write("rules", RULES);
        let global = case.write("gitconfig", &format!("[core]\n\texcludesFile = {file}\n"));
        (case.path("project"), vec![("GIT_CONFIG_GLOBAL", global)])
    }),
    ("core.excludesFile of the environment", |case| {
        let file = case.write("rules", RULES);
        let env = vec![
            ("GIT_CONFIG_COUNT", "1".to_string()),
            ("GIT_CONFIG_KEY_0", "core.excludesFile".to_string()),
            ("GIT_CONFIG_VALUE_0", file),
        ];
        (case.path("project"), env)
    }),
    ("core.excludesFile of a git above", |case| {
        let file = case.write("rules", RULES);
        let parameters = format!("'core.excludesfile'='{file}'");
        (
            case.path("project"),
            vec![("GIT_CONFIG_PARAMETERS", parameters)],
        )
    }),
    ("a directory without a repository", |case| {
        let file = case.write("rules", RULES);
        let global = case.write("gitconfig", &format!("[core]\n\texcludesFile = {file}\n"));
        write_tree(&case.path("plain"), "//- a.txt\na\n//- secret.txt\ns\n");
        (case.path("plain"), vec![("GIT_CONFIG_GLOBAL", global)])
    }),
    ("a part of a repository, by its info/exclude", |case| {
        case.write("project/.git/info/exclude", "/part/secret.txt\n");
        write_tree(
            &case.path("project/part"),
            "//- a.txt\na\n//- secret.txt\ns\n",
        );
        (case.path("project/part"), vec![])
    }),
    ("a part of a repository, by a file above", |case| {
        case.write("project/.gitignore", "part/*.txt\n!/part/a.txt\n");
        write_tree(
            &case.path("project/part"),
            "//- a.txt\na\n//- secret.txt\ns\n",
        );
        (case.path("project/part"), vec![])
    }),
];

#[test]
fn what_only_this_machines_git_ignores_stays_here_and_the_sandbox_is_told() {
    for (claim, make) in CASES {
        let case = Case {
            dir: tempfile::tempdir().expect("a directory"),
        };
        git(case.dir.path(), &["init", "-q", "-b", "main", "project"]);
        let files = "//- a.txt\na\n//- kept.txt\ntracked\n";
        write_tree(&case.path("project"), files);
        git(&case.path("project"), &["add", "."]);
        git(&case.path("project"), &["commit", "-q", "-m", "first"]);
        let (project, env) = make(&case);
        write_tree(&project, "//- secret.txt\ns\n//- new.txt\nn\n");
        let is_part = project.ends_with("part");
        let is_tracked = project.join("kept.txt").exists();
        let env: Vec<(&str, &str)> = env.iter().map(|(k, v)| (*k, v.as_str())).collect();
        let depot = case.path("depot.git");
        let is_repository = !project.ends_with("plain");
        let (path, depot_path) = (project.to_string_lossy(), depot.to_string_lossy());
        let host = Arc::new(TestHost::new(&env));
        let sync = Project::new(host, &path, is_repository, &depot_path);
        let packed = run(async { sync.pack("s", &Start::default()).await });
        let packed = packed.unwrap_or_else(|error| panic!("{claim}: {error}"));
        let listed = git(&depot, &["ls-tree", "-r", "--name-only", &packed.commit]);
        let names: Vec<&str> = listed.lines().collect();
        assert!(!names.contains(&"secret.txt"), "{claim}: {names:?}");
        assert!(names.contains(&"a.txt"), "{claim}: {names:?}");
        assert_eq!(
            names.contains(&"kept.txt"),
            is_tracked,
            "{claim}: {names:?}"
        );
        let is_new_taken = !claim.contains("by a file above");
        assert_eq!(
            names.contains(&"new.txt"),
            is_new_taken,
            "{claim}: {names:?}"
        );

        // A sandbox with these rules ignores the same.
        let sandbox = case.path("sandbox");
        git(case.dir.path(), &["init", "-q", "sandbox"]);
        let rules = fs::read(packed.exclude.as_ref().expect("rules")).expect("read");
        fs::create_dir_all(sandbox.join(".git/info")).expect("made");
        fs::write(sandbox.join(".git/info/exclude"), rules).expect("written");
        write_tree(
            &sandbox,
            "//- a.txt\na\n//- secret.txt\ns\n//- new.txt\nn\n",
        );
        let others = git(&sandbox, &["ls-files", "-o", "--exclude-standard"]);
        let expected = if is_new_taken {
            "a.txt\nnew.txt"
        } else {
            "a.txt"
        };
        assert_eq!(others, expected, "{claim}, part: {is_part}");
        run(async { packed.discard(&TestHost::new(&[])).await });
    }
}

#[test]
fn without_rules_nothing_is_sent_and_too_many_are_told() {
    let case = Case {
        dir: tempfile::tempdir().expect("a directory"),
    };
    git(case.dir.path(), &["init", "-q", "-b", "main", "project"]);
    write_tree(&case.path("project"), "//- a.txt\na\n");
    let path = case.path("project").to_string_lossy().into_owned();
    let depot = case.path("depot.git").to_string_lossy().into_owned();
    for (rules, is_told) in [
        ("# none\n\n".to_string(), false),
        ("x".repeat(2_000_000), true),
    ] {
        case.write("project/.git/info/exclude", &rules);
        let host = Arc::new(TestHost::new(&[]));
        let project = Project::new(host.clone(), &path, true, &depot);
        let packed = run(async { project.pack("s", &Start::default()).await });
        assert_eq!(packed.expect("packs").exclude, None);
        let told = host
            .logged()
            .iter()
            .any(|line| line.contains("2000001 bytes"));
        assert_eq!(told, is_told, "{:?}", host.logged());
    }
}
