//! Snapshots that are made of a sandbox's files.

mod common;

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use common::{Server, until};
use serde_json::json;

fn snapshot(server: &Server, sandbox: &str, name: &str) -> common::Answer {
    let path = format!("/api/sandbox/{sandbox}/snapshot");
    server.send("POST", &path, Some(&json!({ "name": name })))
}

/// Makes one, and waits until it is there and the sandbox goes on as it was.
fn made(server: &Server, sandbox: &str, name: &str, state: &str) {
    let answer = snapshot(server, sandbox, name);
    assert_eq!(answer.status, 200, "{}", answer.text);
    server.wait(sandbox, state);
    let snapshot = server.send("GET", &format!("/api/snapshots/{name}"), None);
    let snapshot = snapshot.json();
    assert_eq!(snapshot["state"], "active", "{snapshot}");
    assert_eq!(snapshot["sourceSandboxId"], sandbox);
}

#[test]
fn a_sandbox_made_from_a_snapshot_has_its_files_and_not_what_came_later() {
    let data = tempfile::tempdir().expect("a directory");
    let mut server = Server::start(data.path());
    let source = server.create(json!({}));
    let make = "mkdir -p ~/p/q && echo one > ~/p/q/f && chmod 640 ~/p/q/f && ln -s q/f ~/p/l \
                && ln ~/p/q/f ~/p/h && touch -d @1000000000 ~/p/q/f && echo t > /tmp/t";
    assert_eq!(server.exec(&source, make), (0, String::new()));
    made(&server, &source, "kept", "started");
    assert_eq!(
        server.exec(&source, "echo late > ~/p/q/f; echo late > ~/late; ls ~"),
        (0, "late\np\n".to_owned())
    );
    // It is there after a crash, too.
    for crash in [false, true] {
        if crash {
            server.kill();
            server = Server::start(data.path());
        }
        let copy = server.create(json!({ "snapshot": "kept" }));
        assert_eq!(
            server.exec(
                &copy,
                "cat ~/p/l ~/p/h /tmp/t; readlink ~/p/l; stat -c '%a %h %Y %U' ~/p/q/f; ls ~",
            ),
            (
                0,
                "one\none\nt\nq/f\n640 2 1000000000 daytona\np\n".to_owned()
            )
        );
        // What one does, the others do not see.
        let (code, said) = server.exec(&copy, "echo mine > ~/p/q/f && rm /tmp/t");
        assert_eq!(code, 0, "{said}");
    }
    server.end();
}

#[test]
fn a_stopped_sandbox_stays_stopped_and_its_snapshot_outlives_it() {
    let data = tempfile::tempdir().expect("a directory");
    let server = Server::start(data.path());
    let source = server.create(json!({}));
    assert_eq!(server.exec(&source, "echo 1 > ~/f").0, 0);
    server.send("POST", &format!("/api/sandbox/{source}/stop"), None);
    server.wait(&source, "stopped");
    made(&server, &source, "of-stopped", "stopped");
    server.send("DELETE", &format!("/api/sandbox/{source}"), None);
    server.wait(&source, "gone");
    let copy = server.create(json!({ "snapshot": "of-stopped" }));
    assert_eq!(server.exec(&copy, "cat ~/f"), (0, "1\n".to_owned()));
    let listed = server.send("GET", "/api/snapshots", None).json();
    let listed = listed["items"].as_array().expect("items");
    let names: Vec<_> = listed.iter().filter_map(|s| s["name"].as_str()).collect();
    assert!(
        names.contains(&"of-stopped") && names.contains(&"daytona-small"),
        "{names:?}"
    );
    server.end();
}

#[test]
fn a_snapshot_that_cannot_be_made_is_refused_and_changes_nothing() {
    let data = tempfile::tempdir().expect("a directory");
    let server = Server::start(data.path());
    let id = server.create(json!({}));
    made(&server, &id, "mine", "started");
    for (sandbox, name, status, part) in [
        (id.as_str(), "mine", 409, "already exists"),
        (id.as_str(), "daytona-small", 409, "already exists"),
        (id.as_str(), "", 400, "name"),
        ("nobody", "new", 404, "nobody"),
    ] {
        let answer = snapshot(&server, sandbox, name);
        assert!(
            answer.status == status && answer.text.contains(part),
            "{sandbox} {name}: {} {}",
            answer.status,
            answer.text
        );
        server.wait(&id, "started");
    }
    assert_eq!(server.send("GET", "/api/snapshots/new", None).status, 404);
    let create = json!({ "snapshot": "new" });
    assert_eq!(
        server.send("POST", "/api/sandbox", Some(&create)).status,
        400
    );
    server.end();
}

#[test]
fn a_copy_that_fails_says_why_and_leaves_the_name_free() {
    let data = tempfile::tempdir().expect("a directory");
    let server = Server::start(data.path());
    let id = server.create(json!({}));
    // Where the copies would go is a file.
    let place = data.path().join("snapshots");
    std::fs::remove_dir(&place).expect("empty");
    std::fs::write(&place, "").expect("written");
    assert_eq!(snapshot(&server, &id, "s").status, 200);
    until("it failed", || {
        let made = server.send("GET", "/api/snapshots/s", None).json();
        made["state"] == "error"
            && made["errorReason"]
                .as_str()
                .is_some_and(|why| !why.is_empty())
    });
    server.wait(&id, "started");
    std::fs::remove_file(&place).expect("removed");
    made(&server, &id, "s", "started");
    server.end();
}

#[test]
fn an_inactive_snapshot_starts_no_sandbox_and_a_deleted_one_is_not_there() {
    let data = tempfile::tempdir().expect("a directory");
    let mut server = Server::start(data.path());
    let source = server.create(json!({}));
    assert_eq!(server.exec(&source, "echo 1 > ~/f").0, 0);
    made(&server, &source, "kept", "started");
    let found = server.send("GET", "/api/snapshots/kept", None).json();
    let id = found["id"].as_str().expect("an id").to_owned();
    let create = json!({ "snapshot": "kept" });
    let send = |server: &Server, method: &str, path: &str| {
        let answer = server.send(method, &format!("/api/snapshots/{path}"), None);
        answer.status
    };

    assert_eq!(send(&server, "POST", &format!("{id}/activate")), 400);
    assert_eq!(send(&server, "POST", &format!("{id}/deactivate")), 204);
    assert_eq!(send(&server, "POST", &format!("{id}/deactivate")), 400);
    // It is so after a restart, too, and the name stays taken.
    server.kill();
    server = Server::start(data.path());
    let found = server.send("GET", "/api/snapshots/kept", None).json();
    assert_eq!(found["state"], "inactive");
    let refused = server.send("POST", "/api/sandbox", Some(&create));
    assert_eq!(refused.status, 400, "{}", refused.text);
    server.send("POST", &format!("/api/sandbox/{source}/start"), None);
    assert_eq!(snapshot(&server, &source, "kept").status, 409);
    assert_eq!(send(&server, "POST", &format!("{id}/activate")), 200);
    let copy = server.create(create.clone());

    // By its id alone, and none of those that belong to everybody.
    assert_eq!(send(&server, "DELETE", "kept"), 404);
    assert_eq!(send(&server, "DELETE", "daytona-small"), 403);
    assert_eq!(send(&server, "DELETE", &id), 200);
    assert_eq!(send(&server, "DELETE", &id), 404);
    let refused = server.send("POST", "/api/sandbox", Some(&create));
    assert_eq!(refused.status, 400, "{}", refused.text);
    assert_eq!(server.exec(&copy, "cat ~/f"), (0, "1\n".to_owned()));
    made(&server, &source, "kept", "started");
    server.end();
}

/// Bytes on disk below a directory.
fn bytes(dir: &Path) -> u64 {
    let entries = std::fs::read_dir(dir).expect("a directory");
    entries
        .map(|entry| {
            let entry = entry.expect("an entry");
            let meta = entry.metadata().expect("its metadata");
            match meta.is_dir() {
                true => bytes(&entry.path()),
                false => meta.blocks() * 512,
            }
        })
        .sum()
}

/// False where snapshots are copied, which is said.
fn has_layers() -> bool {
    let is_root = rustix::process::geteuid().is_root();
    if !is_root {
        testkit::skip(
            "layers",
            "snapshots are layers only where the server runs as root",
        );
    }
    is_root
}

#[test]
fn a_sandbox_lies_on_its_snapshot_and_holds_what_it_changes_also_when_it_is_one_itself() {
    if !has_layers() {
        return;
    }
    const LARGE: u64 = 8 << 20;
    let data = tempfile::tempdir().expect("a directory");
    let mut server = Server::start(data.path());
    let first = server.create(json!({}));
    let make = "cd && head -c 8388608 /dev/urandom > large && sha256sum < large > sum && mkdir -p d/e f \
                && echo 1 > d/e/a && echo 1 > f/a && echo 1 > gone && chmod 700 . && echo 1 > /tmp/t";
    assert_eq!(server.exec(&first, make), (0, String::new()));
    made(&server, &first, "one", "started");
    let second = server.create(json!({ "snapshot": "one" }));
    // A directory of the layer is moved, one is replaced, files are removed, changed and made.
    let change =
        "cd && mv d moved && rm -r f gone /tmp/t && mkdir f && echo 2 > f/b && echo 2 >> moved/e/a";
    assert_eq!(server.exec(&second, change), (0, String::new()));
    made(&server, &second, "two", "started");
    let third = server.create(json!({ "snapshot": "two" }));
    let look = "cd && sha256sum < large | cmp - sum; echo $?; stat -c %a .; cat moved/e/a; ls . f /tmp; \
                test -e moved/e/a && echo is-there";
    let seen = (
        0,
        "0\n700\n1\n2\n.:\nf\nlarge\nmoved\nsum\n\n/tmp:\n\nf:\nb\nis-there\n".to_owned(),
    );
    for id in [&second, &third] {
        assert_eq!(server.exec(id, look), seen);
    }
    for id in [&second, &third] {
        let own = bytes(&data.path().join("sandboxes").join(id));
        assert!(own < LARGE / 8, "{own} bytes");
    }
    let snapshots = data.path().join("snapshots");
    let all = bytes(&snapshots);
    assert!(
        all < LARGE + LARGE / 4,
        "the second holds its change: {all}"
    );

    // They outlive what they lie on, and the server; when nobody needs it, it goes.
    for name in ["one", "two"] {
        let id = server
            .send("GET", &format!("/api/snapshots/{name}"), None)
            .json()["id"]
            .clone();
        let path = format!("/api/snapshots/{}", id.as_str().expect("an id"));
        assert_eq!(server.send("DELETE", &path, None).status, 200);
    }
    server.send("DELETE", &format!("/api/sandbox/{second}"), None);
    server.wait(&second, "gone");
    server.kill();
    server = Server::start(data.path());
    server.send("POST", &format!("/api/sandbox/{third}/start"), None);
    server.wait(&third, "started");
    assert_eq!(server.exec(&third, look), seen);
    server.send("DELETE", &format!("/api/sandbox/{third}"), None);
    server.wait(&third, "gone");
    until("the layers are gone", || bytes(&snapshots) == 0);
    server.end();
}
