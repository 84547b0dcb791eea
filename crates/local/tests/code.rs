//! Code that is run: at once, and by an interpreter that remembers.

mod common;

use common::{Server, until};
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;

#[test]
fn code_of_a_language_is_run_with_its_arguments_environment_and_time() {
    let data = tempfile::tempdir().expect("a directory");
    let server = Server::start(data.path());
    let id = server.create(json!({}));
    for (body, status, want) in [
        (
            json!({ "language": "python", "code": "import sys, os\nprint(sys.argv[1:], os.environ['A'])\nprint('e', file=sys.stderr)", "argv": ["x", "y"], "envs": { "A": "b" } }),
            200,
            json!({ "exitCode": 0, "result": "['x', 'y'] b\ne\n" }),
        ),
        (
            json!({ "language": "python", "code": "raise SystemExit(3)" }),
            200,
            json!({ "exitCode": 3, "result": "" }),
        ),
        (
            json!({ "language": "javascript", "code": "console.log(1 + 1, process.argv.slice(2))", "argv": ["x"] }),
            200,
            json!({ "exitCode": 0, "result": "2 [ 'x' ]\n" }),
        ),
        (
            json!({ "language": "python", "code": "while True: pass", "timeout": 1 }),
            408,
            json!("REQUEST_TIMEOUT"),
        ),
        (
            json!({ "language": "cobol", "code": "" }),
            400,
            json!("BAD_REQUEST"),
        ),
        (json!({ "language": "python" }), 400, json!("BAD_REQUEST")),
    ] {
        let path = format!("/toolbox/{id}/process/code-run");
        let answer = server.send("POST", &path, Some(&body));
        assert_eq!(answer.status, status, "{body}: {}", answer.text);
        let answer = answer.json();
        let found = if status == 200 {
            &answer
        } else {
            &answer["code"]
        };
        assert_eq!(*found, want, "{body}");
    }
    let metrics = server
        .send("GET", &format!("/toolbox/{id}/system/metrics"), None)
        .json();
    let number = |name: &str| metrics[name].as_f64().expect("a number");
    assert!(
        number("cpuCount") >= 1.0 && number("memTotal") > number("memUsed"),
        "{metrics}"
    );
    assert!(number("diskTotal") >= number("diskFree"), "{metrics}");
    server.end();
}

/// Sends one request to the interpreter; gives its messages and the code of the close frame.
async fn run(server: &Server, id: &str, request: Value) -> (Vec<Value>, u16) {
    let url = format!(
        "ws://127.0.0.1:{}/toolbox/{id}/process/interpreter/execute",
        server.port
    );
    let mut handshake = url.into_client_request().expect("a request");
    let key = format!("Bearer {}", server.key);
    handshake
        .headers_mut()
        .insert("authorization", key.parse().expect("a value"));
    let stream = TcpStream::connect(("127.0.0.1", server.port))
        .await
        .expect("connected");
    let (mut socket, _) = tokio_tungstenite::client_async(handshake, stream)
        .await
        .expect("a WebSocket");
    socket
        .send(Message::text(request.to_string()))
        .await
        .expect("sent");
    let mut messages = Vec::new();
    while let Some(Ok(message)) = socket.next().await {
        match message {
            Message::Text(text) => messages.push(serde_json::from_str(&text).expect("JSON")),
            Message::Close(frame) => return (messages, frame.expect("a frame").code.into()),
            _ => {}
        }
    }
    panic!("no close frame");
}

/// What was printed on one of the streams.
fn printed(messages: &[Value], kind: &str) -> String {
    let of_kind = messages.iter().filter(|message| message["type"] == kind);
    of_kind
        .filter_map(|message| message["text"].as_str())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interpreter_remembers_within_a_context_and_not_between_two() {
    let data = tempfile::tempdir().expect("a directory");
    let server = Server::start(data.path());
    let id = server.create(json!({}));
    let contexts = format!("/toolbox/{id}/process/interpreter/context");
    let made = server
        .send("POST", &contexts, Some(&json!({ "cwd": "/tmp" })))
        .json();
    let context = made["id"].as_str().expect("an id");
    assert_eq!(
        (&made["cwd"], &made["language"]),
        (&json!("/tmp"), &json!("python"))
    );
    for (context, code, out, err, error) in [
        (None, "x = 1", "", "", None),
        (
            None,
            "print(x)\nimport sys\nprint('e', file=sys.stderr)",
            "1\n",
            "e\n",
            None,
        ),
        // What children print, and text without a line's end, is there before the end is.
        (
            None,
            "import os\nos.system('printf child')\nsys.stdout.write('é')",
            "childé",
            "",
            None,
        ),
        (Some(context), "print(x)", "", "", Some("NameError")),
        (
            Some(context),
            "import os\nprint(os.getcwd(), os.environ['A'])",
            "/tmp b\n",
            "",
            None,
        ),
        (None, "print(os.environ.get('A'))", "None\n", "", None),
        (None, "def f(:", "", "", Some("SyntaxError")),
        (None, "raise SystemExit(1)", "", "", Some("SystemExit")),
        (None, "print(x)", "1\n", "", None),
    ] {
        let mut request = json!({ "code": code, "contextId": context });
        if context.is_some() {
            request["envs"] = json!({ "A": "b" });
        }
        let (messages, close) = run(&server, &id, request).await;
        assert_eq!(close, 1000, "{code}");
        assert_eq!(printed(&messages, "stdout"), out, "{code}: {messages:?}");
        assert_eq!(printed(&messages, "stderr"), err, "{code}: {messages:?}");
        let found = messages.iter().find(|message| message["type"] == "error");
        assert_eq!(
            found.and_then(|found| found["name"].as_str()),
            error,
            "{code}"
        );
        let last = messages.last().expect("a message");
        assert_eq!(
            *last,
            json!({ "type": "control", "text": "completed" }),
            "{code}"
        );
    }
    let listed = server.send("GET", &contexts, None).json();
    assert_eq!(listed["contexts"], json!([made]));
    let path = format!("{contexts}/{context}");
    for want in [200, 404] {
        assert_eq!(server.send("DELETE", &path, None).status, want);
    }
    let (_, close) = run(&server, &id, json!({ "code": "1", "contextId": context })).await;
    assert_eq!(close, 1008, "a context that is not there");
    server.end();
}

#[tokio::test(flavor = "multi_thread")]
async fn code_that_takes_too_long_is_interrupted_and_the_state_stays_unless_it_does_not_listen() {
    let data = tempfile::tempdir().expect("a directory");
    let server = Server::start(data.path());
    let id = server.create(json!({}));
    let deaf =
        "import signal, time\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\ntime.sleep(1000)";
    for (code, kept) in [("import time\ntime.sleep(1000)", "1\n"), (deaf, "gone\n")] {
        run(&server, &id, json!({ "code": "x = 1" })).await;
        let (_, close) = run(&server, &id, json!({ "code": code, "timeout": 1 })).await;
        assert_eq!(close, 4008, "{code}");
        let (messages, _) = run(
            &server,
            &id,
            json!({ "code": "print(globals().get('x', 'gone'))" }),
        )
        .await;
        assert_eq!(printed(&messages, "stdout"), kept, "{code}");
    }
    // A process that ends itself is told, and another one follows.
    let (messages, close) = run(&server, &id, json!({ "code": "import os\nos._exit(1)" })).await;
    assert_eq!(
        (close, &messages[0]["name"]),
        (1000, &json!("InterpreterError"))
    );
    let (messages, _) = run(&server, &id, json!({ "code": "print(2)" })).await;
    assert_eq!(printed(&messages, "stdout"), "2\n");
    server.end();
}

#[test]
fn a_signed_link_opens_one_file_without_the_key_until_its_own_is_changed() {
    use base64::Engine as _;
    use hmac::Mac as _;
    let data = tempfile::tempdir().expect("a directory");
    let mut server = Server::start(data.path());
    let id = server.create(json!({}));
    assert_eq!(server.exec(&id, "echo one > ~/f; echo two > ~/g").0, 0);
    let key_path = format!("/api/sandbox/{id}/signing-key");
    let link = |key: &str, method: &str, operation: &str, path: &str| {
        let mut mac = hmac::Hmac::<sha2::Sha256>::new_from_slice(key.as_bytes()).expect("a key");
        mac.update(format!("v1:files:{method}:{path}:0").as_bytes());
        let signature = base64::prelude::BASE64_URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes());
        format!("/toolbox/{id}/files/{operation}?path={path}&expires=0&signature=v1_{signature}")
    };
    let key = |server: &Server| {
        server
            .send("GET", &key_path, None)
            .json()
            .as_str()
            .expect("a key")
            .to_owned()
    };
    let first = key(&server);
    let get = |server: &Server, path: &str| {
        let answer = ureq::get(format!("http://127.0.0.1:{}{path}", server.port))
            .config()
            .http_status_as_error(false)
            .build()
            .call();
        let mut answer = answer.expect("an answer");
        (
            answer.status().as_u16(),
            answer.body_mut().read_to_string().expect("a text"),
        )
    };
    let download = link(&first, "GET", "download", "f");
    server.kill();
    server = Server::start(data.path());
    server.send("POST", &format!("/api/sandbox/{id}/start"), None);
    server.wait(&id, "started");
    assert_eq!(key(&server), first, "it stays");
    assert_eq!(get(&server, &download), (200, "one\n".to_owned()));
    for refused in [
        download.replace("path=f", "path=g"),
        download.replace("files/download", "files/info"),
        link(&first, "POST", "download", "f"),
        link("", "GET", "download", "f"),
    ] {
        assert_eq!(get(&server, &refused).0, 401, "{refused}");
    }
    let rotated = server
        .send("POST", &format!("{key_path}/rotate"), None)
        .json();
    assert_eq!(rotated, json!(key(&server)));
    assert_eq!(get(&server, &download).0, 401, "the key before");
    let upload = link(&key(&server), "POST", "upload-v2", "up");
    let sent = ureq::post(format!("http://127.0.0.1:{}{upload}", server.port)).send("three");
    assert_eq!(sent.expect("it is taken").status(), 200);
    assert_eq!(server.exec(&id, "cat ~/up"), (0, "three".to_owned()));
    server.end();
}

#[test]
fn a_list_of_snapshots_has_the_pages_and_the_filters_that_are_asked_for() {
    let data = tempfile::tempdir().expect("a directory");
    let server = Server::start(data.path());
    let id = server.create(json!({}));
    let path = format!("/api/sandbox/{id}/snapshot");
    server.send("POST", &path, Some(&json!({ "name": "mine" })));
    until("it is there", || {
        server.send("GET", "/api/snapshots/mine", None).json()["state"] == "active"
    });
    for (query, names, total, pages) in [
        (
            "",
            json!(["daytona-small", "daytona-medium", "daytona-large", "mine"]),
            4,
            1,
        ),
        ("?limit=3&page=2", json!(["mine"]), 4, 2),
        ("?name=med", json!(["daytona-medium"]), 1, 1),
        (&format!("?sourceSandboxId={id}"), json!(["mine"]), 1, 1),
        (
            "?sort=name&order=asc&limit=2",
            json!(["daytona-large", "daytona-medium"]),
            4,
            2,
        ),
        ("?page=9", json!([]), 4, 1),
    ] {
        let found = server
            .send("GET", &format!("/api/snapshots{query}"), None)
            .json();
        let items = found["items"].as_array().expect("a list");
        let found_names: Vec<&Value> = items.iter().map(|item| &item["name"]).collect();
        assert_eq!(json!(found_names), names, "{query}");
        assert_eq!(
            (&found["total"], &found["totalPages"]),
            (&json!(total), &json!(pages)),
            "{query}"
        );
    }
    for query in ["?limit=0", "?page=x", "?sort=size", "?order=up"] {
        let status = server
            .send("GET", &format!("/api/snapshots{query}"), None)
            .status;
        assert_eq!(status, 400, "{query}");
    }
    server.end();
}
