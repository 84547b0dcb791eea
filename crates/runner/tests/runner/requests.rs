//! Requests as such: where they come from, what is wrong with them, and the same one twice.

use super::*;
use protocol::Code;
use std::time::SystemTime;

fn code(reply: Reply) -> Code {
    reply.result.unwrap_err().code
}

#[test]
fn the_version_names_commit_and_protocol() {
    let out = Command::new(RUNNER).arg("--version").output().unwrap();
    let text = String::from_utf8(out.stdout).unwrap();
    let words: Vec<&str> = text.split_whitespace().collect();
    assert_eq!(
        (words[0], words[3], words[4]),
        ("opencode-runner", "protocol", "3"),
        "{text}"
    );
}

#[test]
fn a_request_comes_in_a_file_or_on_stdin_too() {
    let sandbox = Sandbox::with("//- /a.txt\nhello\n");
    let request = sandbox.call("read", json!({ "filePath": "a.txt" }));
    let file = sandbox.path("request.json");
    std::fs::write(&file, request.to_string()).unwrap();
    let out = Command::new(RUNNER)
        .arg("--request-file")
        .arg(&file)
        .env("HOME", &sandbox.home)
        .output()
        .unwrap();
    assert!(
        done(parse("id-0", &out).result)
            .unwrap()
            .output
            .contains("1: hello")
    );
    assert!(!file.exists());

    let request = sandbox.call("read", json!({ "filePath": "a.txt" }));
    std::fs::write(&file, request.to_string()).unwrap();
    let stdin = std::fs::File::open(&file).unwrap();
    let out = Command::new(RUNNER)
        .arg("--stdin")
        .env("HOME", &sandbox.home)
        .stdin(stdin)
        .output()
        .unwrap();
    assert!(
        done(parse("id-1", &out).result)
            .unwrap()
            .output
            .contains("1: hello")
    );
}

#[test]
fn a_bad_request_is_answered_with_what_is_wrong() {
    let run = |text: &str, id: &str| {
        parse(
            id,
            &Command::new(RUNNER)
                .env(format!("{}0", protocol::ENV_REQUEST), text)
                .output()
                .unwrap(),
        )
    };
    for (text, id, expected) in [
        ("{", "invalid", Code::BadRequest),
        ("{}", "invalid", Code::BadRequest),
        (
            r#"{"protocol":3,"id":"../x","op":"setup","root":"/x"}"#,
            "invalid",
            Code::BadRequest,
        ),
        (
            r#"{"protocol":3,"id":"a b","op":"setup","root":"/x"}"#,
            "invalid",
            Code::BadRequest,
        ),
        (
            r#"{"protocol":1,"id":"ok","op":"dance"}"#,
            "ok",
            Code::Protocol,
        ),
        (
            r#"{"protocol":3,"id":"ok","op":"dance"}"#,
            "ok",
            Code::BadRequest,
        ),
        (
            r#"{"protocol":3,"id":"ok","op":"tool","root":"x","cwd":"/","tool":"read","args":{"filePath":"a"}}"#,
            "ok",
            Code::BadRequest,
        ),
        (
            r#"{"protocol":3,"id":"ok","op":"job_wait","job":"../../etc","offset":0}"#,
            "ok",
            Code::NoSuchJob,
        ),
        (
            r#"{"protocol":3,"id":"ok","op":"job_wait","job":"never-was","offset":0}"#,
            "ok",
            Code::NoSuchJob,
        ),
    ] {
        assert_eq!(code(run(text, id)), expected, "{text}");
    }
    let none = Command::new(RUNNER)
        .env_remove(format!("{}0", protocol::ENV_REQUEST))
        .output()
        .unwrap();
    assert_eq!(code(parse("invalid", &none)), Code::BadRequest);
}

#[test]
fn the_same_id_is_the_same_work() {
    let sandbox = Sandbox::with("//- /n.txt\n1\n");
    let request = sandbox.call(
        "edit",
        json!({ "filePath": "n.txt", "oldString": "1", "newString": "11" }),
    );
    let first = sandbox.send(&request);
    let second = sandbox.send(&request);
    assert!(!first.replayed && second.replayed);
    assert_eq!(first.result, second.result);
    assert_eq!(sandbox.text("n.txt"), "11\n");
}

#[test]
fn concurrent_duplicates_do_the_work_once() {
    let sandbox = Sandbox::with("//- /n.txt\nx\n");
    let edit = sandbox.call(
        "edit",
        json!({ "filePath": "n.txt", "oldString": "x", "newString": "xx" }),
    );
    let bash = sandbox.call("bash", json!({ "command": "echo once >> log; echo done" }));
    for request in [edit, bash] {
        let id = request["id"].as_str().unwrap();
        let children: Vec<_> = (0..6)
            .map(|_| {
                sandbox
                    .command(&request)
                    .stdout(Stdio::piped())
                    .spawn()
                    .unwrap()
            })
            .collect();
        let replies: Vec<Reply> = children
            .into_iter()
            .map(|child| parse(id, &child.wait_with_output().unwrap()))
            .collect();
        assert_eq!(replies.iter().filter(|reply| !reply.replayed).count(), 1);
        assert!(
            replies
                .iter()
                .all(|reply| reply.result == replies[0].result),
            "{replies:?}"
        );
    }
    assert_eq!(sandbox.text("n.txt"), "xx\n");
    assert_eq!(sandbox.text("log"), "once\n");
}

#[test]
fn work_that_died_half_way_is_told_for_changes_and_repeated_for_reads() {
    let sandbox = Sandbox::with("//- /a.txt\nhello\n");
    let records = sandbox.home.join(".opencode-daytona/records");
    sandbox.run("read", json!({ "filePath": "a.txt" })).unwrap();
    let write = sandbox.call("write", json!({ "filePath": "a.txt", "content": "new" }));
    let read = sandbox.call("read", json!({ "filePath": "a.txt" }));
    for request in [&write, &read] {
        std::fs::write(records.join(request["id"].as_str().unwrap()), "started\n").unwrap();
    }
    let error = sandbox.send(&write).result.unwrap_err();
    assert!(error.message.contains("outcome is unknown"), "{error:?}");
    assert_eq!(sandbox.text("a.txt"), "hello\n");
    assert!(done(sandbox.send(&read).result).is_ok());
}

#[test]
fn a_large_request_travels_in_chunks_and_leaves_no_trace_in_the_environment() {
    let sandbox = Sandbox::new();
    let content = "é\n".repeat(200_000);
    let request = sandbox.call(
        "write",
        json!({ "filePath": "big.txt", "content": content }),
    );
    // Chunks are cut between characters by the host.
    let text: String = request
        .to_string()
        .chars()
        .flat_map(|c| {
            if c.is_ascii() {
                vec![c]
            } else {
                format!("\\u{:04x}", c as u32).chars().collect()
            }
        })
        .collect();
    let mut command = Command::new(RUNNER);
    for (n, chunk) in text.as_bytes().chunks(protocol::ENV_CHUNK).enumerate() {
        command.env(
            format!("{}{n}", protocol::ENV_REQUEST),
            String::from_utf8(chunk.to_vec()).unwrap(),
        );
    }
    parse(
        "id-0",
        &command.env("HOME", &sandbox.home).output().unwrap(),
    )
    .result
    .unwrap();
    assert_eq!(sandbox.text("big.txt"), content);
    let out = sandbox
        .run(
            "bash",
            json!({ "command": "env | grep -c OPENCODE_RUNNER; echo $AGENT$OPENCODE" }),
        )
        .unwrap();
    assert_eq!(out.output, "0\n11\n");
}

#[test]
fn a_reply_that_is_too_large_says_so() {
    let sandbox = Sandbox::new();
    // Control characters that JSON writes as six, in a directory with very many long names.
    std::fs::create_dir(sandbox.path("many")).unwrap();
    for n in 0..6_000 {
        std::fs::write(
            sandbox.path(format!("many/{n:06}{}", "\u{1}".repeat(240))),
            "",
        )
        .unwrap();
    }
    let error = sandbox
        .run("read", json!({ "filePath": "many", "limit": 6000 }))
        .unwrap_err();
    assert!(error.message.contains("Ask for a part"), "{error:?}");
    assert!(
        sandbox
            .run("read", json!({ "filePath": "many", "limit": 10 }))
            .is_ok()
    );
}

#[test]
fn a_home_that_cannot_be_written_stops_nothing() {
    let sandbox = Sandbox::with("//- /a.txt\nhello\n");
    // A file in the place of the home: not even root can make a directory there.
    let call = sandbox.call("read", json!({ "filePath": "a.txt" }));
    let no_home = sandbox.path("a.txt");
    let out = sandbox
        .command(&call)
        .env("HOME", &no_home)
        .output()
        .unwrap();
    assert!(done(parse(call["id"].as_str().unwrap(), &out).result).is_ok());
    let call = sandbox.call("bash", json!({ "command": "cat a.txt" }));
    let out = sandbox
        .command(&call)
        .env("HOME", &no_home)
        .output()
        .unwrap();
    assert_eq!(
        done(parse(call["id"].as_str().unwrap(), &out).result)
            .unwrap()
            .output,
        "hello\n"
    );
}

#[test]
fn what_was_kept_in_another_place_is_found_again() {
    let sandbox = Sandbox::with("//- /n.txt\n1\n");
    let edit = sandbox.call(
        "edit",
        json!({ "filePath": "n.txt", "oldString": "1", "newString": "11" }),
    );
    let bash = sandbox.call("bash", json!({ "command": "echo once >> log" }));
    // As if the home's disk had been full: the records are in the second place.
    let home = sandbox.home.join(".opencode-daytona");
    std::fs::write(&home, "").unwrap();
    for request in [&edit, &bash] {
        assert!(!sandbox.send(request).replayed);
    }
    std::fs::remove_file(&home).unwrap();
    for request in [&edit, &bash] {
        assert!(sandbox.send(request).replayed);
    }
    assert_eq!(
        (sandbox.text("n.txt"), sandbox.text("log")),
        ("11\n".into(), "once\n".into())
    );
}

/// A server on each address is seen, and is not seen any more when it has ended.
fn are_seen(addresses: &[&str]) {
    let sandbox = Sandbox::new();
    for address in addresses {
        let listener = std::net::TcpListener::bind(address).unwrap();
        let port = listener.local_addr().unwrap().port();
        let output = sandbox.run("preview", json!({ "port": port })).unwrap();
        assert_eq!(output.title, format!("port {port}"));
        assert_eq!(output.output, "listening");
        assert_eq!(output.metadata, json!({ "port": port }));
        // Somebody who talks from that port is not a server.
        let _talk = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        drop(listener);
        let args = json!({ "port": port, "wait": 1 });
        let error = sandbox.run("preview", args).unwrap_err();
        assert_eq!(error.code, Code::Tool);
        assert!(error.message.contains(&format!("port {port}")), "{error:?}");
    }
}

#[test]
fn a_server_for_ipv6_is_seen_by_a_preview() {
    if std::net::TcpListener::bind("[::1]:0").is_err() {
        return testkit::skip(
            "a_server_for_ipv6_is_seen_by_a_preview",
            "this machine has no IPv6",
        );
    }
    are_seen(&["[::1]:0", "[::]:0"]);
}

#[test]
fn a_preview_waits_for_a_listener_and_says_if_there_is_none() {
    are_seen(&["127.0.0.1:0", "0.0.0.0:0"]);
    let sandbox = Sandbox::new();
    // One that comes later is waited for.
    let port = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap().port()
    };
    let request = sandbox.call("preview", json!({ "port": port }));
    let runner = sandbox
        .command(&request)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let _listener = std::net::TcpListener::bind(("127.0.0.1", port)).unwrap();
    let reply = parse(
        request["id"].as_str().unwrap(),
        &runner.wait_with_output().unwrap(),
    );
    assert_eq!(done(reply.result).unwrap().output, "listening");
}

#[test]
fn a_server_that_a_preview_does_not_reach_is_named_with_its_address() {
    let sandbox = Sandbox::new();
    let listener = std::net::TcpListener::bind("127.0.0.2:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let args = json!({ "port": port, "wait": 1 });
    let error = sandbox.run("preview", args).unwrap_err();
    assert_eq!(error.code, Code::Tool);
    let expected = format!("The server on port {port} in the sandbox listens on 127.0.0.2 only");
    assert!(error.message.starts_with(&expected), "{error:?}");
}

#[test]
fn the_sync_tool_is_the_hosts() {
    let sandbox = Sandbox::new();
    let error = sandbox.run("sync", json!({})).unwrap_err();
    assert_eq!(error.code, Code::BadRequest);
    for (op, more) in [
        ("sync", json!({ "message": "m" })),
        ("restore", json!({ "to": "latest" })),
    ] {
        for (root, code) in [
            ("relative", Code::BadRequest),
            ("/no/such/project", Code::Sandbox),
        ] {
            let mut request = sandbox.op(op, more.clone());
            request["root"] = json!(root);
            assert_eq!(
                sandbox.send(&request).result.unwrap_err().code,
                code,
                "{op} {root}"
            );
        }
    }
}

#[test]
fn what_is_old_is_removed_by_whichever_request_comes_after_ten_minutes() {
    let sandbox = Sandbox::new();
    let run = || {
        let write = json!({ "filePath": "f", "content": "x" });
        sandbox.run("write", write).unwrap();
        sandbox.run("bash", json!({ "command": "true" })).unwrap();
    };
    run();
    let state = sandbox.home.join(".opencode-daytona");
    let age = |path: &Path, minutes: u64| {
        let time = SystemTime::now() - Duration::from_secs(minutes * 60);
        let file = std::fs::File::open(path).unwrap();
        file.set_modified(time).unwrap();
    };
    let old = [state.join("records/old"), state.join("jobs/old")];
    let marks = ["prune-records", "prune-jobs"].map(|name| state.join("locks").join(name));
    std::fs::write(&old[0], "started\n").unwrap();
    std::fs::create_dir(&old[1]).unwrap();
    old.iter().for_each(|path| age(path, 30 * 24 * 60));
    marks.iter().for_each(|path| age(path, 9));
    run();
    assert!(
        old.iter().all(|path| path.exists()),
        "looked again too soon"
    );
    marks.iter().for_each(|path| age(path, 11));
    run();
    assert!(old.iter().all(|path| !path.exists()));
    let left = |name: &str| std::fs::read_dir(state.join(name)).unwrap().count();
    assert_eq!((left("records"), left("jobs")), (3, 3));
}
