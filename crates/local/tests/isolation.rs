//! What a sandbox cannot see, read, write or reach.
//!
//! Without bubblewrap these fail. One is skipped where only root can make a sandbox.

mod common;

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::process::Command;

use common::{Server, until};
use serde_json::json;

#[test]
fn a_sandbox_sees_nothing_of_the_host() {
    let data = tempfile::tempdir().expect("a directory");
    let secret = data.path().join("secret");
    std::fs::write(&secret, "host file").expect("written");
    let server = Server::start(data.path());
    let id = server.create(json!({}));
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("bound");
    let other = listener.local_addr().expect("an address").port();
    let data = data.path().display();
    for (claim, command) in [
        ("no host file", format!("cat {}", secret.display())),
        ("no key", format!("cat {data}/key")),
        ("no data directory", format!("ls {data}")),
        ("no host home", "ls /root".to_owned()),
        (
            "no host environment",
            "env | grep SECRET_OF_THE_HOST".to_owned(),
        ),
        (
            "no path of the host in its init",
            format!("tr '\\0' '\\n' < /proc/1/cmdline | grep {data}"),
        ),
        (
            "no server among the processes",
            "cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' ' ' | grep -a 'serve [-]-print'"
                .to_owned(),
        ),
        (
            "no host listener",
            format!("echo > /dev/tcp/127.0.0.1/{other}"),
        ),
        (
            "no control plane",
            format!("echo > /dev/tcp/127.0.0.1/{}", server.port),
        ),
        ("no write to /", "touch /x".to_owned()),
        ("no write to /etc", "touch /etc/x".to_owned()),
        ("no write to /usr", "touch /usr/x".to_owned()),
        (
            "no write to the toolbox",
            "echo >> /opt/daytona/toolbox".to_owned(),
        ),
        (
            "no machine-wide setting",
            "find /proc/sys /proc/irq /proc/fs -type f -writable | grep .".to_owned(),
        ),
        ("no sysrq", "test -w /proc/sysrq-trigger".to_owned()),
        (
            "no capability",
            "grep -E 'Cap(Prm|Eff|Bnd)' /proc/self/status | grep -v 0000000000000000".to_owned(),
        ),
    ] {
        let (code, output) = server.exec(&id, &command);
        assert_ne!(code, 0, "{claim}: {output}");
    }
    let (_, me) = server.exec(&id, "id -u; pwd; touch ~/a /tmp/a && echo writable");
    assert_eq!(me, "1000\n/home/daytona\nwritable\n");
}

/// The real, effective, saved and file system user, seen from outside, of the process in a sandbox
/// whose command line has `word`.
fn users_of(word: &str) -> Option<Vec<u32>> {
    let processes = std::fs::read_dir("/proc").expect("/proc").flatten();
    let found = processes.map(|entry| entry.path()).find(|path| {
        let line = std::fs::read(path.join("cmdline")).unwrap_or_default();
        line.starts_with(b"sleep\0") && line.windows(word.len()).any(|w| w == word.as_bytes())
    })?;
    let status = std::fs::read_to_string(found.join("status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("Uid:"))?;
    line.split_whitespace().map(|id| id.parse().ok()).collect()
}

/// Whether this is root on a machine that lets other users make a sandbox.
fn root_can_demote(data: &std::path::Path) -> bool {
    let mine = data.metadata().expect("metadata").uid();
    let tried = Command::new("setpriv")
        .args("--reuid 61000 --regid 61000 --clear-groups bwrap --unshare-user".split(' '))
        .args("--unshare-pid --ro-bind / / --proc /proc true".split(' '))
        .output();
    mine == 0 && tried.is_ok_and(|output| output.status.success())
}

#[test]
fn a_sandbox_finds_the_named_programs_and_no_other() {
    let data = tempfile::tempdir().expect("a directory");
    let named = data.path().join("named");
    std::fs::create_dir(&named).expect("made");
    for (name, target) in [
        ("cat", "/usr/bin/cat"),
        ("git", "/usr/bin/git"),
        // Of a directory that no sandbox sees.
        ("rg", "/nowhere/rg"),
    ] {
        symlink(target, named.join(name)).expect("linked");
    }
    let named = named.to_str().expect("text");
    let server = Server::start_with(data.path(), &["--programs", named]);
    let look =
        "for p in cat git ls rg; do command -v $p || echo no $p; done; cat /proc/sys/kernel/ostype";
    for (snapshot, git) in [
        ("daytona-small", "/opt/daytona/programs/git"),
        ("test-no-git", "no git"),
    ] {
        let id = server.create(json!({ "snapshot": snapshot }));
        let (_, found) = server.exec(&id, look);
        let dir = if git == "no git" {
            "extras"
        } else {
            "programs"
        };
        let expected = format!("/opt/daytona/{dir}/cat\n{git}\nno ls\nno rg\nLinux\n");
        assert_eq!(found, expected, "{snapshot}");
    }
}

#[test]
fn a_process_in_a_sandbox_is_not_root_outside() {
    let data = tempfile::tempdir().expect("a directory");
    let mine = data.path().metadata().expect("metadata").uid();
    if mine == 0 && !root_can_demote(data.path()) {
        return testkit::skip(
            "a_process_in_a_sandbox_is_not_root_outside",
            "this machine lets only root make a sandbox",
        );
    }
    // A directory that nobody else may enter, and in it a sandbox that was root's before.
    let private = std::fs::Permissions::from_mode(0o700);
    std::fs::set_permissions(data.path(), private).expect("private");
    let server = Server::start(data.path());
    let id = server.create(json!({}));
    let home = data.path().join("sandboxes").join(&id).join("home");
    server.exec(
        &id,
        "mkdir -p d/e; echo old > d/e/f; ln -s /etc/passwd d/link",
    );
    server.send("POST", &format!("/api/sandbox/{id}/stop"), None);
    server.wait(&id, "stopped");
    if mine == 0 {
        for path in ["d/e/f", "d/e", "d/link", "d", ""] {
            std::os::unix::fs::lchown(home.join(path), Some(0), Some(0)).expect("taken");
        }
        symlink(data.path().join("key"), home.join("d/key")).expect("linked");
    }
    server.send("POST", &format!("/api/sandbox/{id}/start"), None);
    let change = "cat d/e/f; echo new > d/e/f; rm d/link; touch d/e/g; id -u; sleep 4324.25 >/dev/null 2>&1 &";
    assert_eq!(server.exec(&id, change), (0, "old\n1000\n".to_owned()));
    until("the sleep", || users_of("4324.25").is_some());
    let user = if mine == 0 { 61_000 } else { mine };
    assert_eq!(users_of("4324.25"), Some(vec![user; 4]));
    assert_eq!(home.join("d/e/g").metadata().expect("made").uid(), user);
    // What a link names is not given away with the link, nor does it become readable.
    assert_eq!(
        data.path().join("key").metadata().expect("a key").uid(),
        mine
    );
}
