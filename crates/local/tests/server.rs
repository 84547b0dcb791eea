//! The server's behavior over HTTP, one table or story per claim.

mod common;

use common::{Server, until};
use serde_json::json;

#[test]
fn only_the_key_and_a_loopback_name_open_the_door() {
    let data = tempfile::tempdir().expect("a directory");
    let server = Server::start(data.path());
    let port = server.port;
    for (path, headers, want) in [
        ("/api/config", vec![("authorization", "")], 200),
        ("/api/sandbox", vec![("authorization", "")], 401),
        ("/api/sandbox", vec![("authorization", "Bearer wrong")], 401),
        ("/toolbox/x/version", vec![("authorization", "")], 401),
        ("/_test/requests", vec![("authorization", "")], 401),
        ("/api/sandbox", vec![("host", "evil.example")], 403),
        ("/api/sandbox", vec![("host", "127.0.0.1:1")], 403),
        ("/api/sandbox", vec![], 200),
        ("/api/socket.io/?EIO=4&transport=polling", vec![], 400),
        // The proxy takes a sandbox that it does not find for one that the key does not open.
        ("/toolbox/nope/version", vec![], 401),
        ("/api/nope", vec![], 404),
    ] {
        let answer = server
            .try_send("GET", path, None, &headers)
            .expect("an answer");
        assert_eq!(
            answer.status, want,
            "{path} {headers:?} on {port}: {}",
            answer.text
        );
    }
}

#[test]
fn files_survive_a_stop_and_a_killed_server() {
    let data = tempfile::tempdir().expect("a directory");
    let mut server = Server::start(data.path());
    let id = server.create(json!({ "name": "keeper", "labels": { "a": "b" } }));
    let (code, _) = server.exec(
        &id,
        "echo 1 > ~/f; echo 2 > /tmp/f; (sleep 1000 >/dev/null 2>&1 &)",
    );
    assert_eq!(code, 0);
    assert_eq!(
        server
            .send("POST", &format!("/api/sandbox/{id}/stop"), None)
            .status,
        200
    );
    server.wait(&id, "stopped");
    let down = server.send("GET", &format!("/toolbox/{id}/version"), None);
    assert!(
        down.status == 400 && down.text.contains("Is the Sandbox started?"),
        "{}",
        down.text
    );
    assert_eq!(
        server
            .send("POST", "/api/sandbox/keeper/start", None)
            .json()["state"],
        "started"
    );
    assert_eq!(
        server.exec(&id, "cat ~/f /tmp/f; pgrep sleep"),
        (1, "1\n2\n".to_owned())
    );
    let key = server.key.clone();
    server.kill();
    let server = Server::start(data.path());
    assert_eq!(server.key, key);
    let again = server.send("GET", "/api/sandbox/keeper", None).json();
    assert_eq!(
        (&again["id"], &again["state"]),
        (&json!(id), &json!("stopped"))
    );
    assert_eq!(again["labels"], json!({ "a": "b" }));
    server.send("POST", "/api/sandbox/keeper/start", None);
    assert_eq!(server.exec(&id, "cat ~/f /tmp/f"), (0, "1\n2\n".to_owned()));
    assert_eq!(
        server.send("DELETE", "/api/sandbox/keeper", None).status,
        200
    );
    server.wait(&id, "gone");
    assert!(!data.path().join("sandboxes").join(&id).exists());
    server.end();
}

#[test]
fn a_delete_in_progress_does_not_hold_up_the_end() {
    let data = tempfile::tempdir().expect("a directory");
    let server = Server::start(data.path());
    let id = server.create(json!({}));
    let path = format!("/api/sandbox/{id}");
    assert_eq!(server.send("DELETE", &path, None).status, 200);
    let start = std::time::Instant::now();
    server.end();
    // The server gives up on a transition after 30 seconds.
    assert!(start.elapsed().as_secs() < 15, "{:?}", start.elapsed());
    assert!(!data.path().join("sandboxes").join(&id).exists());
}

#[test]
fn the_proxy_says_401_of_a_sandbox_that_is_gone_once_it_has_forgotten_it() {
    let data = tempfile::tempdir().expect("a directory");
    let server = Server::start(data.path());
    let gone = |id: &str| {
        server.send("DELETE", &format!("/api/sandbox/{id}"), None);
        server.wait(id, "gone");
    };
    let said = |id: &str| {
        let answer = server.send("GET", &format!("/toolbox/{id}/version"), None);
        let body = answer.json();
        assert!(
            body["source"].is_null(),
            "the daemon did not say it: {body}"
        );
        (answer.status, body["message"].to_string())
    };
    let (used, unused) = (server.create(json!({})), server.create(json!({})));
    server.exec(&used, "true");
    gone(&used);
    gone(&unused);
    let (status, message) = said(&used);
    assert_eq!(status, 404, "{message}");
    let (status, message) = said(&unused);
    assert_eq!(status, 401, "{message}");
    let forward = json!({ "advance_ms": 120_000 });
    server.send("POST", "/_test/clock", Some(&forward));
    let (status, message) = said(&used);
    assert_eq!(status, 401, "{message}");
    assert!(message.contains("Bearer token is invalid"), "{message}");
    // As of a key that is wrong.
    let wrong = [("authorization", "Bearer wrong")];
    let path = format!("/toolbox/{used}/version");
    let answer = server.try_send("GET", &path, None, &wrong);
    let answer = answer.expect("an answer");
    assert_eq!(
        (answer.status, answer.json()["message"].to_string()),
        (401, message)
    );
    // Only the API tells the two apart.
    let path = format!("/api/sandbox/{used}");
    assert_eq!(server.send("GET", &path, None).status, 404);
}

#[test]
fn an_old_daemon_says_so_and_ignores_the_environment_of_a_request() {
    let data = tempfile::tempdir().expect("a directory");
    let server = Server::start(data.path());
    for (snapshot, version, want) in [
        ("daytona-small", "v0.216.0-local", "given\n"),
        ("test-old-daemon", "v0.166.0-local", "\n"),
    ] {
        let id = server.create(json!({ "snapshot": snapshot }));
        let sandbox = server
            .send("GET", &format!("/api/sandbox/{id}"), None)
            .json();
        assert_eq!(sandbox["daemonVersion"], version);
        let said = server.send("GET", &format!("/toolbox/{id}/version"), None);
        assert_eq!(said.json()["version"], version);
        let body = json!({ "command": "echo $GIVEN", "envs": { "GIVEN": "given" } });
        let path = format!("/toolbox/{id}/process/execute");
        assert_eq!(
            server.send("POST", &path, Some(&body)).json()["result"],
            want
        );
    }
}

#[test]
fn a_stop_gives_requests_in_progress_a_moment_and_then_cuts_them_off() {
    let data = tempfile::tempdir().expect("a directory");
    let server = Server::start(data.path());
    let id = server.create(json!({}));
    let home = data.path().join("sandboxes").join(&id).join("home");
    let path = format!("/toolbox/{id}/process/execute");
    let ask = |command: &str| {
        let answer = server.send("POST", &path, Some(&json!({ "command": command })));
        (answer.status, answer.text)
    };
    std::thread::scope(|scope| {
        let wait = "touch waits; until [ -e go ]; do sleep 0.01; done; echo went";
        let short = scope.spawn(|| ask(wait));
        let endless = scope.spawn(|| ask("touch endless; sleep 1000"));
        until("both to run", || {
            home.join("waits").exists() && home.join("endless").exists()
        });
        server.send("POST", &format!("/api/sandbox/{id}/stop"), None);
        // A new one finds nobody any more.
        assert_eq!(ask("true"), (502, String::new()));
        std::fs::write(home.join("go"), "").expect("written");
        let (status, text) = short.join().expect("an answer");
        assert!(status == 200 && text.contains("went"), "{status} {text}");
        let cut_off = endless.join().expect("an answer");
        assert_eq!(cut_off, (502, String::new()));
    });
    server.wait(&id, "stopped");
    assert_eq!(ask("true").0, 400);
}

#[test]
fn execute_behaves_like_the_daemon() {
    let data = tempfile::tempdir().expect("a directory");
    let server = Server::start(data.path());
    let id = server.create(json!({ "env": { "GIVEN": "at create" } }));
    let path = format!("/toolbox/{id}/process/execute");
    for (claim, body, status, want) in [
        (
            "output is merged in order",
            json!({"command": "echo a; echo b >&2; echo c"}),
            200,
            r#""result":"a\nb\nc\n""#,
        ),
        (
            "the exit code is the shell's",
            json!({"command": "exit 7"}),
            200,
            r#""exitCode":7"#,
        ),
        (
            "a killed child is 128 + n",
            json!({"command": "sh -c 'kill -9 $$'"}),
            200,
            r#""exitCode":137"#,
        ),
        (
            "a killed shell is -1",
            json!({"command": "kill -9 $$"}),
            200,
            r#""exitCode":-1"#,
        ),
        (
            "a missing cwd looks like a missing shell",
            json!({"command": "pwd", "cwd": "/no"}),
            200,
            "fork/exec",
        ),
        (
            "cwd is relative to home",
            json!({"command": "mkdir -p d; cd d; pwd"}),
            200,
            "/home/daytona/d",
        ),
        (
            "a reader eats the script",
            json!({"command": "cat\necho eaten"}),
            200,
            r#""result":"echo eaten""#,
        ),
        (
            "create's env is there",
            json!({"command": "echo $GIVEN $MORE", "envs": {"MORE": "now"}}),
            200,
            "at create now",
        ),
        (
            "bytes become U+FFFD",
            json!({"command": "printf 'a\\377b'"}),
            200,
            "a\u{fffd}b",
        ),
        (
            "a timeout discards output",
            json!({"command": "echo lost; sleep 60", "timeout": 1}),
            408,
            "REQUEST_TIMEOUT",
        ),
        (
            "a bad env name",
            json!({"command": "true", "envs": {"1A": ""}}),
            400,
            "environment variable",
        ),
        (
            "a negative timeout",
            json!({"command": "true", "timeout": -1}),
            400,
            "timeout",
        ),
        (
            "an empty command",
            json!({"command": " \n"}),
            400,
            "cannot be empty",
        ),
    ] {
        let answer = server.send("POST", &path, Some(&body));
        assert_eq!(answer.status, status, "{claim}: {}", answer.text);
        assert!(answer.text.contains(want), "{claim}: {}", answer.text);
    }
}

#[test]
fn every_fault_does_what_it_says() {
    let data = tempfile::tempdir().expect("a directory");
    let server = Server::start(data.path());
    let id = server.create(json!({}));
    let path = format!("/toolbox/{id}/process/execute");
    // (action, status or None for no reply, how often the work was done)
    for (action, want, done) in [
        (
            json!({"kind": "status", "status": 503, "body": {"message": "x"}, "headers": {"Retry-After": "1"}}),
            Some(503),
            0,
        ),
        (json!({"kind": "drop_before"}), None, 0),
        (json!({"kind": "drop_after"}), None, 1),
        (json!({"kind": "truncate", "bytes": 3}), None, 1),
        (json!({"kind": "garbage"}), Some(200), 0),
        (json!({"kind": "slow", "ms": 5}), Some(200), 1),
        (json!({"kind": "repeat"}), Some(200), 2),
        (json!({"kind": "stop_sandbox"}), Some(400), 0),
        (json!({"kind": "delete_sandbox"}), Some(404), 0),
    ] {
        server.send("POST", &format!("/api/sandbox/{id}/start"), None);
        let fault = json!({
            "match": { "method": "POST", "path": "/toolbox/*/process/execute" },
            "times": 1,
            "action": action,
        });
        assert_eq!(
            server.send("POST", "/_test/faults", Some(&fault)).status,
            201
        );
        let body = json!({ "command": "echo >> ~/count" });
        let got = server
            .try_send("POST", &path, Some(&body), &[])
            .ok()
            .map(|a| a.status);
        assert_eq!(got, want, "{action}");
        if action["kind"] != "delete_sandbox" {
            server.send("POST", &format!("/api/sandbox/{id}/start"), None);
            let (_, count) = server.exec(&id, "cat ~/count 2>/dev/null | wc -l; rm -f ~/count");
            assert_eq!(count.trim(), done.to_string(), "{action}");
        }
    }
    let counts = server.send("GET", "/_test/requests", None).json();
    assert!(
        counts["counts"]["POST /toolbox/{sandboxId}/process/execute"].as_u64() > Some(9),
        "{counts}"
    );
}

#[test]
fn bytes_are_counted_by_route_as_they_pass() {
    let data = tempfile::tempdir().expect("a directory");
    let server = Server::start(data.path());
    let id = server.create(json!({}));
    server.exec(&id, "head -c 3000000 /dev/zero > ~/large");
    server.send("DELETE", "/_test/requests", None);
    let path = format!("/toolbox/{id}/files/download?path=/home/daytona/large");
    let answer = server.send("GET", &path, None);
    assert_eq!(answer.text.len(), 3_000_000, "{}", answer.status);
    assert_eq!(answer.headers["content-length"], "3000000");
    let request = json!({ "command": format!(": {}", "x".repeat(5000)) });
    let path = format!("/toolbox/{id}/process/execute");
    let ran = server.send("POST", &path, Some(&request)).text.len();
    let got = server.send("GET", "/_test/requests", None).json();
    let sent = request.to_string().len();
    let bytes = json!({
        "GET /toolbox/{sandboxId}/files/download": { "in": 0, "out": 3_000_000 },
        "POST /toolbox/{sandboxId}/process/execute": { "in": sent, "out": ran },
    });
    assert_eq!(got["bytes"], bytes);
    assert_eq!(
        got["bytesTotal"],
        json!({ "in": sent, "out": 3_000_000 + ran })
    );
    assert_eq!(got["total"], 2);
}

#[test]
fn test_snapshots_are_wrong_in_one_way() {
    let data = tempfile::tempdir().expect("a directory");
    let server = Server::start(data.path());
    for (snapshot, command, want) in [
        (
            "test-readonly-home",
            "touch ~/x 2>/dev/null; echo $?; touch /tmp/x; echo $?",
            "1\n0\n",
        ),
        (
            "test-small-disk",
            "for f in ~/x /tmp/x /dev/shm/x; do head -c 9000000 /dev/zero 2>/dev/null > $f; stat -c %s $f; done",
            "8388608\n8388608\n8388608\n",
        ),
        (
            "test-aarch64",
            "uname -m; uname -sm",
            "aarch64\nLinux aarch64\n",
        ),
        (
            "test-noisy-shell",
            "echo hi",
            "noise: shell starts\nhi\nnoise: shell exits\n",
        ),
        ("test-no-git", "command -v git; echo $?", "1\n"),
        (
            "test-no-git",
            "for d in /usr/local/bin /usr/bin /bin; do $d/git --version 2>/dev/null; done; echo none",
            "none\n",
        ),
        ("test-slow-create", "echo up", "up\n"),
    ] {
        let id = server.create(json!({ "snapshot": snapshot }));
        assert_eq!(server.exec(&id, command).1, want, "{snapshot}");
    }
    let body = json!({ "snapshot": "test-create-fails", "name": "failed" });
    let answer = server.send("POST", "/api/sandbox", Some(&body));
    assert!(
        answer.status == 400 && answer.text.contains("Sandbox failed to start: "),
        "{}",
        answer.text
    );
    assert_eq!(
        server.send("GET", "/api/sandbox/failed", None).json()["state"],
        "error"
    );
}

#[test]
fn a_range_is_a_part_and_the_rest_of_the_file_stays_home() {
    let data = tempfile::tempdir().expect("a directory");
    let server = Server::start(data.path());
    let id = server.create(json!({}));
    server.exec(&id, "printf 0123456789 > f; : > empty");
    for (file, range, status, text, content_range) in [
        ("f", "", 200, "0123456789", None),
        ("f", "bytes=2-4", 206, "234", Some("bytes 2-4/10")),
        ("f", "bytes=7-", 206, "789", Some("bytes 7-9/10")),
        ("f", "bytes=-3", 206, "789", Some("bytes 7-9/10")),
        ("f", "bytes=-99", 206, "0123456789", Some("bytes 0-9/10")),
        ("f", "bytes=8-99", 206, "89", Some("bytes 8-9/10")),
        ("f", "bytes=10-", 416, "", Some("bytes */10")),
        ("f", "bytes=4-2", 416, "", Some("bytes */10")),
        ("f", "bytes=-0", 416, "", Some("bytes */10")),
        ("f", "bytes=0-1,3-4", 200, "0123456789", None),
        ("f", "lines=1-2", 200, "0123456789", None),
        ("f", "bytes=a-b", 200, "0123456789", None),
        ("empty", "bytes=0-", 416, "", Some("bytes */0")),
        ("empty", "", 200, "", None),
    ] {
        let path = format!("/toolbox/{id}/files/download?path={file}");
        let headers = [("range", range)];
        let headers = if range.is_empty() { &[][..] } else { &headers };
        let answer = server
            .try_send("GET", &path, None, headers)
            .expect("an answer");
        let given = answer.headers.get("content-range").map(|v| v.as_bytes());
        assert_eq!(
            (answer.status, answer.text.as_str(), given),
            (status, text, content_range.map(str::as_bytes)),
            "{file} {range}"
        );
    }
}

#[test]
fn a_list_takes_the_beginning_of_an_id_or_a_name() {
    let data = tempfile::tempdir().expect("a directory");
    let server = Server::start(data.path());
    let ids: Vec<String> = ["Alpha-1", "alpha-2", "beta"]
        .iter()
        .map(|name| server.create(json!({ "name": name })))
        .collect();
    let [first, third] = [&ids[0][..], &ids[2].to_uppercase()[..30]];
    for (query, want) in [
        ("name=alpha", vec!["Alpha-1", "alpha-2"]),
        ("name=ALPHA-2", vec!["alpha-2"]),
        ("name=lpha", vec![]),
        ("name=", vec!["Alpha-1", "alpha-2", "beta"]),
        (&format!("id={first}"), vec!["Alpha-1"]),
        (&format!("id={third}"), vec!["beta"]),
        (&format!("id={first}&name=beta"), vec![]),
    ] {
        let path = format!("/api/sandbox?sort=name&order=asc&{query}");
        let page = server.send("GET", &path, None).json();
        let items = page["items"].as_array().expect("items");
        let names: Vec<&str> = items.iter().filter_map(|i| i["name"].as_str()).collect();
        assert_eq!(names, want, "{query}");
    }
}

#[test]
fn an_archived_sandbox_starts_with_its_files() {
    let data = tempfile::tempdir().expect("a directory");
    let server = Server::start(data.path());
    let id = server.create(json!({}));
    let at = |verb: &str| server.send("POST", &format!("/api/sandbox/{id}/{verb}"), None);
    server.exec(&id, "echo kept > f");
    assert_eq!(at("archive").status, 400, "it runs");
    at("stop");
    server.wait(&id, "stopped");
    assert_eq!(at("archive").status, 200);
    server.wait(&id, "archived");
    let down = server.send("GET", &format!("/toolbox/{id}/version"), None);
    assert!(
        down.status == 400 && down.text.contains("failed to get runner info"),
        "{}",
        down.text
    );
    let started = at("start");
    assert_eq!(started.status, 200, "{}", started.text);
    server.wait(&id, "started");
    assert_eq!(server.exec(&id, "cat f"), (0, "kept\n".to_owned()));
}

#[test]
fn a_transition_refuses_another_one() {
    let data = tempfile::tempdir().expect("a directory");
    let server = Server::start(data.path());
    std::thread::scope(|scope| {
        let body = json!({ "snapshot": "test-slow-create", "name": "slow" });
        let create = scope.spawn(|| server.create(body));
        let state = || server.send("GET", "/api/sandbox/slow", None).json()["state"].clone();
        until("the create to begin", || state() == "creating");
        for (method, verb) in [
            ("POST", "/start"),
            ("POST", "/stop"),
            ("POST", "/archive"),
            ("DELETE", ""),
        ] {
            let answer = server.send(method, &format!("/api/sandbox/slow{verb}"), None);
            assert_eq!(answer.status, 409, "{method} {verb}: {}", answer.text);
            assert!(
                answer.text.contains("Sandbox state change in progress"),
                "{}",
                answer.text
            );
        }
        let id = create.join().expect("created");
        assert_eq!(state(), "started");
        assert_eq!(
            server
                .send("DELETE", &format!("/api/sandbox/{id}"), None)
                .status,
            200
        );
    });
}

#[test]
fn timers_stop_and_delete() {
    let data = tempfile::tempdir().expect("a directory");
    let server = Server::start(data.path());
    let kept = server.create(json!({ "autoStopInterval": 2 }));
    let ephemeral = server.create(json!({ "autoStopInterval": 1, "autoDeleteInterval": 0 }));
    server.send(
        "POST",
        "/_test/clock",
        Some(&json!({ "advance_ms": 61_000 })),
    );
    server.wait(&ephemeral, "gone");
    assert_eq!(
        server
            .send("GET", &format!("/api/sandbox/{kept}"), None)
            .json()["state"],
        "started"
    );
    server.send(
        "POST",
        "/_test/clock",
        Some(&json!({ "advance_ms": 61_000 })),
    );
    server.wait(&kept, "stopped");
}

#[test]
fn a_deleted_session_leaves_no_process() {
    let data = tempfile::tempdir().expect("a directory");
    let server = Server::start(data.path());
    let id = server.create(json!({}));
    let at = |path: &str| format!("/toolbox/{id}/process/session{path}");
    server.send("POST", &at(""), Some(&json!({ "sessionId": "s" })));
    let body = json!({ "command": "sleep 4321 & setsid sleep 4322", "runAsync": true });
    assert_eq!(server.send("POST", &at("/s/exec"), Some(&body)).status, 202);
    let running = || {
        server
            .send("GET", &format!("/_test/processes/{id}"), None)
            .text
    };
    until("both sleeps", || {
        running().contains("sleep 4321") && running().contains("sleep 4322")
    });
    assert_eq!(server.send("DELETE", &at("/s"), None).status, 204);
    assert!(!running().contains("sleep"), "{}", running());
}

#[test]
fn without_a_wall_a_stop_still_ends_orphans() {
    let data = tempfile::tempdir().expect("a directory");
    let server = Server::start_with(data.path(), &["--isolation", "none"]);
    let id = server.create(json!({}));
    server.exec(&id, "(setsid sleep 4323 >/dev/null 2>&1 & echo $! > ~/pid)");
    let pid = server.exec(&id, "cat ~/pid").1;
    let command_line = format!("/proc/{}/cmdline", pid.trim());
    let runs = || std::fs::read(&command_line).is_ok_and(|line| line.starts_with(b"sleep"));
    until("the sleep", runs);
    server.send("POST", &format!("/api/sandbox/{id}/stop"), None);
    server.wait(&id, "stopped");
    assert!(!runs());
}

#[test]
fn a_route_that_is_not_here_answers_with_its_name() {
    let data = tempfile::tempdir().expect("a directory");
    let server = Server::start(data.path());
    let id = server.create(json!({}));
    let toolbox = |path: &str| format!("/toolbox/{id}{path}");
    for (method, path, status, said) in [
        ("POST", "/api/volumes".to_owned(), 501, "POST /volumes is"),
        (
            "POST",
            format!("/api/sandbox/{id}/fork"),
            501,
            "POST /sandbox/{sandboxIdOrName}/fork is",
        ),
        // Not a sandbox of that name.
        (
            "GET",
            "/api/sandbox/paginated".to_owned(),
            501,
            "GET /sandbox/paginated is",
        ),
        ("POST", toolbox("/git/clone"), 501, "POST /git/clone is"),
        ("GET", "/api/nope".to_owned(), 404, "Cannot GET"),
        ("GET", toolbox("/nope"), 404, "404 page not found"),
    ] {
        let answer = server.send(method, &path, Some(&json!({})));
        let text = &answer.text;
        assert_eq!(answer.status, status, "{method} {path}: {text}");
        assert!(text.contains(said), "{method} {path}: {text}");
    }
}
