//! Making the project directory from a pack.

use super::*;
use protocol::{Code, Ready};

/// Runs git on the user's side of the story.
pub(crate) fn git(dir: &Path, args: &[&str]) -> String {
    let out = Command::new("git")
        .args([
            "-c",
            "user.name=T",
            "-c",
            "user.email=t@t",
            "-c",
            "init.defaultBranch=main",
        ])
        .args(args)
        .current_dir(dir)
        .output()
        .unwrap();
    assert!(
        out.status.success(),
        "git {args:?}: {}",
        String::from_utf8_lossy(&out.stderr)
    );
    String::from_utf8_lossy(&out.stdout).trim().to_string()
}

/// Two commits; the result is their hashes.
pub(crate) fn project(dir: &Path) -> (String, String) {
    std::fs::create_dir(dir).unwrap();
    git(dir, &["init", "-q"]);
    std::fs::write(dir.join("a.txt"), "one\n").unwrap();
    git(dir, &["add", "."]);
    git(dir, &["commit", "-qm", "first"]);
    let first = git(dir, &["rev-parse", "HEAD"]);
    std::fs::write(dir.join("a.txt"), "two\n").unwrap();
    git(dir, &["commit", "-qam", "second"]);
    (first, git(dir, &["rev-parse", "HEAD"]))
}

/// A pack of the objects named by `revisions`, as `rev-list` takes them.
pub(crate) fn pack(dir: &Path, revisions: &str, to: &Path) {
    let script = format!(
        "git rev-list --objects {revisions} | git pack-objects --stdout -q > '{}'",
        to.display()
    );
    assert!(
        Command::new("bash")
            .arg("-c")
            .arg(script)
            .current_dir(dir)
            .status()
            .unwrap()
            .success()
    );
}

fn setup(
    sandbox: &Sandbox,
    root: &Path,
    base: Option<(&Path, &str, &str)>,
) -> Result<Ready, ToolError> {
    let mut request = sandbox.op("setup", json!({ "root": root }));
    if let Some((pack, commit, branch)) = base {
        request["base"] = json!({ "pack": [pack], "commit": commit, "branch": branch });
    }
    ready(sandbox, &request)
}

fn ready(sandbox: &Sandbox, request: &Value) -> Result<Ready, ToolError> {
    sandbox.send(request).result.map(|outcome| match outcome {
        Outcome::Ready(ready) => ready,
        other => panic!("{other:?}"),
    })
}

/// What `git pack-objects --revs` makes of a script of revisions, as git's own server feeds it.
fn pack_revisions(dir: &Path, script: &str, more: &str, to: &Path) {
    let input = to.with_extension("revisions");
    std::fs::write(&input, script).unwrap();
    let line = format!(
        "git pack-objects --revs {more} --stdout -q < '{}' > '{}'",
        input.display(),
        to.display()
    );
    let done = Command::new("bash")
        .arg("-c")
        .arg(line)
        .current_dir(dir)
        .status();
    assert!(done.unwrap().success());
}

#[test]
fn a_pack_becomes_a_project_and_a_second_run_touches_nothing() {
    let sandbox = Sandbox::new();
    let source = sandbox.dir.path().join("source");
    let (_, tip) = project(&source);
    let (root, upload) = (
        sandbox.dir.path().join("deep/work"),
        sandbox.dir.path().join("p.pack"),
    );
    pack(&source, "HEAD", &upload);
    let ready = setup(&sandbox, &root, Some((&upload, &tip, "opencode/1"))).unwrap();
    assert_eq!(ready.head.as_deref(), Some(tip.as_str()));
    assert_eq!(ready.home, sandbox.home.display().to_string());
    assert!(!upload.exists(), "the pack is used up");
    assert_eq!(
        std::fs::read_to_string(root.join("a.txt")).unwrap(),
        "two\n"
    );
    assert_eq!(
        git(&root, &["symbolic-ref", "HEAD"]),
        "refs/heads/opencode/1"
    );
    assert_eq!(git(&root, &["rev-parse", "refs/opencode/base"]), tip);
    assert_eq!(git(&root, &["status", "--porcelain"]), "");
    assert_eq!(git(&root, &["config", "--local", "user.name"]), "OpenCode");
    assert_eq!(
        std::fs::read_dir(root.parent().unwrap()).unwrap().count(),
        1,
        "nothing is left beside it"
    );

    std::fs::write(root.join("a.txt"), "my work\n").unwrap();
    git(&root, &["commit", "-qam", "work"]);
    std::fs::write(root.join("a.txt"), "more work\n").unwrap();
    let ready = setup(&sandbox, &root, Some((&upload, &tip, "opencode/1"))).unwrap();
    assert_ne!(ready.head.as_deref(), Some(tip.as_str()));
    assert_eq!(
        std::fs::read_to_string(root.join("a.txt")).unwrap(),
        "more work\n"
    );
}

#[test]
fn a_crash_between_repository_and_checkout_is_repaired() {
    let sandbox = Sandbox::new();
    let source = sandbox.dir.path().join("source");
    let (_, tip) = project(&source);
    let (root, upload) = (
        sandbox.dir.path().join("work"),
        sandbox.dir.path().join("p.pack"),
    );
    pack(&source, "HEAD", &upload);
    setup(&sandbox, &root, Some((&upload, &tip, "main"))).unwrap();
    std::fs::remove_file(root.join("a.txt")).unwrap();
    std::fs::remove_file(root.join(".git/index")).unwrap();
    std::fs::write(root.join(".git/opencode-checkout"), "").unwrap();
    setup(&sandbox, &root, Some((&upload, &tip, "main"))).unwrap();
    assert_eq!(
        std::fs::read_to_string(root.join("a.txt")).unwrap(),
        "two\n"
    );
    assert_eq!(git(&root, &["status", "--porcelain"]), "");
}

#[test]
fn a_commit_without_its_history_is_enough() {
    let sandbox = Sandbox::new();
    let source = sandbox.dir.path().join("source");
    let (first, tip) = project(&source);
    let (root, upload) = (
        sandbox.dir.path().join("work"),
        sandbox.dir.path().join("p.pack"),
    );
    // All of the last commit, nothing of the one before.
    pack(&source, "--no-walk HEAD", &upload);
    let request = sandbox.op(
        "setup",
        json!({ "root": root, "base": { "pack": [upload], "commit": tip, "branch": "main", "shallow": [tip] } }),
    );
    let ready = ready(&sandbox, &request).unwrap();
    assert_eq!(ready.head.as_deref(), Some(tip.as_str()));
    assert_eq!(ready.found, Vec::<String>::new());
    assert_eq!(git(&root, &["log", "--format=%s"]), "second");
    assert_ne!(first, tip);
    git(&root, &["fsck"]);
}

#[test]
fn without_a_base_there_is_an_empty_repository() {
    let sandbox = Sandbox::new();
    let root = sandbox.dir.path().join("empty");
    for _ in 0..2 {
        assert_eq!(setup(&sandbox, &root, None).unwrap().head, None);
    }
    assert!(root.join(".git").is_dir());
    // What a killed write leaves is not the project's, and two setups say so once.
    std::fs::write(root.join(".opencode-12-3.tmp"), "half").unwrap();
    std::fs::write(root.join(".opencode"), "mine").unwrap();
    assert_eq!(git(&root, &["status", "--porcelain"]), "?? .opencode");
    let exclude = std::fs::read_to_string(root.join(".git/info/exclude")).unwrap();
    assert_eq!(exclude.matches(".opencode-*-*.tmp\n").count(), 1);
}

#[test]
fn what_cannot_be_set_up_says_why() {
    let sandbox = Sandbox::with("//- /file\nx\n");
    let upload = sandbox.dir.path().join("p.pack");
    let hash = "0123456789012345678901234567890123456789";
    std::fs::write(&upload, "not a pack").unwrap();
    let (root, below) = (sandbox.dir.path().join("work"), sandbox.path("file/below"));
    for (root, base, code, words) in [
        (&below, None, Code::Sandbox, "projectDir"),
        (
            &root,
            Some((upload.as_path(), hash, "main")),
            Code::Sandbox,
            "not usable",
        ),
        (
            &root,
            Some((upload.as_path(), "HEAD", "main")),
            Code::BadRequest,
            "not a full commit hash",
        ),
        (
            &root,
            Some((upload.as_path(), hash, "../x")),
            Code::BadRequest,
            "branch name",
        ),
    ] {
        let error = setup(&sandbox, root, base).unwrap_err();
        assert_eq!(error.code, code, "{error:?}");
        assert!(error.message.contains(words), "{error:?}");
    }
    assert!(!root.join(".git").exists(), "nothing half made is left");
    let old = sandbox.dir.path().join("old");
    std::fs::create_dir(&old).unwrap();
    std::fs::write(old.join("git"), "#!/bin/sh\necho git version 2.29.3\n").unwrap();
    std::fs::set_permissions(
        old.join("git"),
        std::os::unix::fs::PermissionsExt::from_mode(0o755),
    )
    .unwrap();
    for (place, words) in [
        (Path::new("/nowhere"), "no git"),
        (&old, "has git version 2.29.3, and version 2.30 or newer"),
    ] {
        let request = sandbox.op("setup", json!({ "root": root }));
        let command = &mut sandbox.command(&request);
        let out = command.env("PATH", place).output().unwrap();
        let id = request["id"].as_str().unwrap();
        let error = parse(id, &out).result.unwrap_err();
        assert_eq!(error.code, Code::Sandbox, "{error:?}");
        assert!(error.message.contains(words), "{error:?}");
    }
}

#[test]
fn a_part_of_the_history_can_be_read_in_the_sandbox() {
    let sandbox = Sandbox::new();
    let source = sandbox.dir.path().join("source");
    project(&source);
    let mut lines = String::new();
    for n in 0..5 {
        lines += &format!("line {n}\n");
        std::fs::write(source.join("b.txt"), &lines).unwrap();
        git(&source, &["add", "."]);
        git(&source, &["commit", "-qm", &format!("change {n}")]);
    }
    let (root, upload) = (
        sandbox.dir.path().join("work"),
        sandbox.dir.path().join("p.pack"),
    );
    let [tip, edge] = ["HEAD", "HEAD~2"].map(|name| git(&source, &["rev-parse", name]));
    let script = format!("--shallow {edge}\n{tip}\n");
    pack_revisions(&source, &script, "--shallow", &upload);
    let request = |shallow: &str| {
        sandbox.op(
            "setup",
            json!({ "root": root, "base": { "pack": [upload], "commit": tip, "branch": "main", "shallow": [shallow] } }),
        )
    };
    let error = ready(&sandbox, &request("HEAD")).unwrap_err();
    assert_eq!(error.code, Code::BadRequest);
    ready(&sandbox, &request(&edge)).unwrap();
    assert_eq!(
        git(&root, &["log", "--format=%s"]),
        "change 4\nchange 3\nchange 2"
    );
    let blame = git(&root, &["blame", "-s", "b.txt"]);
    assert!(
        blame.lines().last().unwrap().starts_with(&tip[..8]),
        "{blame}"
    );
    assert_eq!(git(&root, &["status", "--porcelain"]), "");
    git(&root, &["fsck"]);
}

#[test]
fn what_the_image_brought_need_not_be_sent_again() {
    let sandbox = Sandbox::new();
    let source = sandbox.dir.path().join("source");
    let (first, tip) = project(&source);
    let root = sandbox.dir.path().join("work");
    git(sandbox.dir.path(), &["clone", "-q", "source", "work"]);
    git(&root, &["reset", "-q", "--hard", &first]);
    git(&root, &["update-ref", "-d", "refs/remotes/origin/main"]);
    git(&root, &["update-ref", "-d", "refs/remotes/origin/HEAD"]);
    std::fs::write(source.join("b.txt"), "new\n").unwrap();
    git(&source, &["add", "."]);
    git(&source, &["commit", "-qm", "third"]);
    let third = git(&source, &["rev-parse", "HEAD"]);
    let upload = sandbox.dir.path().join("p.pack");
    pack_revisions(&source, &format!("{third}\n^{first}\n"), "--thin", &upload);
    for _ in 0..2 {
        let ready = setup(&sandbox, &root, Some((&upload, &third, "opencode/1"))).unwrap();
        assert_eq!(ready.found, [first.as_str()], "also when it is asked again");
        git(&root, &["commit", "-q", "--allow-empty", "-m", "work"]);
    }
    assert_eq!(
        git(&root, &["log", "--format=%s", &third]),
        "third\nsecond\nfirst"
    );
    assert_ne!(tip, third);

    // A sandbox without them says so, and takes all of it then.
    let bare = sandbox.dir.path().join("bare");
    pack_revisions(&source, &format!("{third}\n^{first}\n"), "--thin", &upload);
    let error = setup(&sandbox, &bare, Some((&upload, &third, "main"))).unwrap_err();
    assert_eq!(error.code, Code::MissingBase, "{error:?}");
    pack_revisions(&source, &format!("{third}\n"), "", &upload);
    setup(&sandbox, &bare, Some((&upload, &third, "main"))).unwrap();
    assert_eq!(git(&bare, &["status", "--porcelain"]), "");
}

#[test]
fn a_repository_of_the_image_is_found_without_a_base_too() {
    let sandbox = Sandbox::new();
    let root = sandbox.dir.path().join("source");
    let (_, tip) = project(&root);
    assert_eq!(setup(&sandbox, &root, None).unwrap().found, [tip.as_str()]);
    git(&root, &["commit", "-q", "--allow-empty", "-m", "work"]);
    assert_eq!(setup(&sandbox, &root, None).unwrap().found, [tip]);
    let empty = sandbox.dir.path().join("empty");
    for _ in 0..2 {
        assert_eq!(
            setup(&sandbox, &empty, None).unwrap().found,
            Vec::<String>::new()
        );
        git(&empty, &["commit", "-q", "--allow-empty", "-m", "work"]);
    }
}

#[test]
fn what_the_session_of_another_sandbox_left_in_the_image_is_not_in_this_one() {
    let sandbox = Sandbox::new();
    let source = sandbox.dir.path().join("source");
    let (first, tip) = project(&source);
    std::fs::write(source.join(".gitignore"), "/cache\n").unwrap();
    git(&source, &["add", "."]);
    git(&source, &["commit", "-qm", "third"]);
    let third = git(&source, &["rev-parse", "HEAD"]);
    let (root, upload) = (
        sandbox.dir.path().join("work"),
        sandbox.dir.path().join("p.pack"),
    );
    let set_up = |name: &str, commit: &str| {
        pack_revisions(&source, &format!("{commit}\n"), "", &upload);
        let mut request = sandbox.op("setup", json!({ "root": root, "sandbox": name }));
        request["base"] = json!({ "pack": [upload], "commit": commit, "branch": "main" });
        ready(&sandbox, &request)
    };
    set_up("one", &third).unwrap();
    // The old session is in the middle of everything.
    let work = "git checkout -qb side && echo side > a.txt && git commit -qam side \
        && git checkout -q main && echo main > a.txt && git commit -qam main \
        && echo stashed > a.txt && git stash -q; git merge -q side; \
        echo cached > cache; echo old > old.txt; git init -q nested; echo nested > nested/file; \
        git update-ref refs/opencode/turn/msg_1 HEAD; touch .git/index.lock";
    let done = Command::new("bash")
        .args(["-c", work])
        .current_dir(&root)
        .status();
    assert!(done.unwrap().success());

    // Also where the project is just what the old session started from.
    for (name, commit) in [("two", &third), ("three", &tip), ("four", &third)] {
        let found = set_up(name, commit).unwrap().found;
        if name == "two" {
            assert!(found.contains(&third), "{found:?}");
        }
        assert_eq!(git(&root, &["rev-parse", "HEAD"]), *commit, "{name}");
        let refs = git(&root, &["for-each-ref", "--format=%(refname)"]);
        assert_eq!(
            refs.lines().collect::<Vec<_>>(),
            [
                "refs/heads/main",
                "refs/opencode/base",
                "refs/opencode/replaced"
            ],
            "{name}"
        );
        let status = git(&root, &["status"]);
        assert!(!status.contains("merg"), "{name}: {status}");
        // The older commit does not ignore it, so there it goes.
        let cached = root.join("cache").exists();
        assert_eq!(cached, name == "two", "{name}");
        assert_eq!(git(&root, &["status", "--porcelain"]), "", "{name}");
        git(&root, &["fsck", "--strict"]);
    }

    // In the sandbox itself nothing gives way.
    std::fs::write(root.join("mine.txt"), "mine\n").unwrap();
    git(&root, &["commit", "-q", "--allow-empty", "-m", "mine"]);
    set_up("four", &third).unwrap();
    let error = set_up("four", &first).unwrap_err();
    assert_eq!(error.code, Code::HoldsWork, "another base");
    assert_eq!(error.metadata, Some(json!({ "base": third })));
    assert_eq!(git(&root, &["log", "-1", "--format=%s"]), "mine");
    assert_eq!(git(&root, &["status", "--porcelain"]), "?? mine.txt");
}
