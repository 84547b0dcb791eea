//! Terminals: made, watched, typed into, ended.

mod common;

use common::{Server, until};
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;

const EXIT_CONTROL: &str = "X-Daytona-Pty-Exit-Control";

/// A client at a terminal.
struct Client {
    socket: WebSocketStream<TcpStream>,
    /// What was printed so far.
    seen: String,
    /// Control messages so far.
    told: Vec<Value>,
    /// Code and reason of the close frame.
    closed: Option<(u16, String)>,
}

impl Client {
    async fn connect(server: &Server, path: &str, protocols: &str) -> Self {
        let url = format!("ws://127.0.0.1:{}{path}", server.port);
        let mut request = url.into_client_request().expect("a request");
        let headers = request.headers_mut();
        let key = format!("Bearer {}", server.key);
        headers.insert("authorization", key.parse().expect("a value"));
        if !protocols.is_empty() {
            let protocols = protocols.parse().expect("a value");
            headers.insert("sec-websocket-protocol", protocols);
        }
        let stream = TcpStream::connect(("127.0.0.1", server.port)).await;
        let (socket, _) = tokio_tungstenite::client_async(request, stream.expect("connected"))
            .await
            .expect("a WebSocket");
        Self {
            socket,
            seen: String::new(),
            told: Vec::new(),
            closed: None,
        }
    }

    async fn type_in(&mut self, text: &str) {
        let message = Message::binary(text.as_bytes().to_vec());
        self.socket.send(message).await.expect("sent");
    }

    /// Reads one message; false is the end.
    async fn read(&mut self) -> bool {
        match self.socket.next().await {
            Some(Ok(Message::Binary(bytes))) => {
                self.seen.push_str(&String::from_utf8_lossy(&bytes));
            }
            Some(Ok(Message::Text(text))) => {
                let control: Value = serde_json::from_str(&text).expect("JSON");
                assert_eq!(control["type"], "control");
                self.told.push(control);
            }
            Some(Ok(Message::Close(Some(frame)))) => {
                self.closed = Some((frame.code.into(), frame.reason.to_string()));
            }
            Some(Ok(_)) => {}
            Some(Err(_)) | None => return false,
        }
        true
    }

    /// Reads until `text` was printed.
    async fn expect(&mut self, text: &str) {
        let reading = async {
            while !self.seen.contains(text) {
                assert!(self.read().await, "ended before {text:?}: {}", self.seen);
            }
        };
        let in_time = tokio::time::timeout(std::time::Duration::from_secs(60), reading).await;
        assert!(in_time.is_ok(), "{text:?} was never printed");
    }

    /// Reads to the end; gives the code and the reason of the close frame.
    async fn end(&mut self) -> (u16, String) {
        while self.read().await {}
        self.closed.clone().expect("a close frame")
    }
}

/// The server, a sandbox, and the path of its terminals.
fn start(data: &std::path::Path) -> (Server, String) {
    let server = Server::start(data);
    let id = server.create(json!({}));
    (server, format!("/toolbox/{id}/process/pty"))
}

fn create(server: &Server, pty: &str, body: Value) {
    let answer = server.send("POST", pty, Some(&body));
    assert_eq!(answer.status, 201, "{}", answer.text);
    assert_eq!(answer.json(), json!({ "sessionId": body["id"] }));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_shell_on_a_terminal_is_typed_into_and_its_exit_code_comes_twice() {
    let data = tempfile::tempdir().expect("a directory");
    let (server, pty) = start(data.path());
    let id = pty.split('/').nth(2).expect("an id");
    // What a login shell reads, whichever it is.
    server.exec(id, "echo 'LOGIN=login' | tee ~/.bash_profile > ~/.zprofile");
    let body =
        json!({ "id": "one", "cwd": "/tmp", "envs": { "GIVEN": "yes" }, "cols": 91, "rows": 17 });
    create(&server, &pty, body);
    let mut client = Client::connect(&server, &format!("{pty}/one/connect"), EXIT_CONTROL).await;
    client
        .type_in("stty size; test -t 0 && echo a-terminal; echo $LOGIN-$GIVEN-$TERM-$PWD\n")
        .await;
    client.expect("17 91").await;
    client.expect("a-terminal\r").await;
    client.expect("login-yes-xterm-256color-/tmp").await;
    client.type_in("exit 3\n").await;
    let (code, reason) = client.end().await;
    let reason: Value = serde_json::from_str(&reason).expect("JSON");
    assert_eq!(code, 1011);
    assert_eq!(
        reason,
        json!({ "exitCode": 3, "exitReason": "non-zero exit" })
    );
    assert_eq!(
        client.told,
        [
            json!({ "type": "control", "status": "connected" }),
            json!({ "type": "control", "status": "exited", "exitCode": 3, "exitReason": "non-zero exit" }),
        ]
    );
    until("the id to be free", || {
        server.send("GET", &format!("{pty}/one"), None).status == 404
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clean_exit_closes_normally_and_needs_no_control_message() {
    let data = tempfile::tempdir().expect("a directory");
    let (server, pty) = start(data.path());
    create(&server, &pty, json!({ "id": "one", "lazyStart": true }));
    let mut client = Client::connect(&server, &format!("{pty}/one/connect"), "").await;
    client.type_in("exit\n").await;
    assert_eq!(client.end().await, (1000, r#"{"exitCode":0}"#.to_owned()));
    assert_eq!(client.told.len(), 1, "{:?}", client.told);
}

#[tokio::test(flavor = "multi_thread")]
async fn create_connect_makes_and_attaches_and_passes_the_environment() {
    let data = tempfile::tempdir().expect("a directory");
    let (server, pty) = start(data.path());
    // {"GIVEN":"hidden"}
    let protocols = format!("X-Daytona-Pty-Envs~eyJHSVZFTiI6ImhpZGRlbiJ9, {EXIT_CONTROL}");
    let path = format!("{pty}/create-connect?id=one&cols=100&rows=30&cwd=/tmp");
    let mut client = Client::connect(&server, &path, &protocols).await;
    client.type_in("echo $GIVEN in $PWD; stty size\n").await;
    client.expect("hidden in /tmp").await;
    client.expect("30 100").await;
    let info = server.send("GET", &format!("{pty}/one"), None).json();
    assert_eq!(
        (&info["active"], &info["cols"]),
        (&json!(true), &json!(100))
    );
    // The same id once more is an error, told on the socket.
    let mut second = Client::connect(&server, &path, &protocols).await;
    while second.read().await {}
    assert_eq!(second.told[0]["status"], "error");
    assert!(
        second.told[0]["error"]
            .to_string()
            .contains("already exists"),
        "{:?}",
        second.told
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_terminal_says_137_and_leaves_no_process() {
    let data = tempfile::tempdir().expect("a directory");
    let (server, pty) = start(data.path());
    let path = format!("{pty}/create-connect?id=one");
    let mut client = Client::connect(&server, &path, EXIT_CONTROL).await;
    client
        .type_in("(trap '' HUP TERM; sleep 4324) & sleep 4325\n")
        .await;
    let id = pty.split('/').nth(2).expect("an id");
    let running = || {
        server
            .send("GET", &format!("/_test/processes/{id}"), None)
            .text
    };
    until("both sleeps", || {
        running().contains("sleep 4324") && running().contains("sleep 4325")
    });
    let answer = server.send("DELETE", &format!("{pty}/one"), None);
    assert_eq!(
        (answer.status, answer.json()),
        (200, json!({ "message": "PTY session deleted" }))
    );
    let (code, reason) = client.end().await;
    assert_eq!(
        (code, reason.as_str()),
        (1011, r#"{"exitCode":137,"exitReason":"SIGKILL"}"#)
    );
    assert_eq!(client.told[1]["exitCode"], 137);
    until("nothing to be left", || !running().contains("sleep"));
}

#[tokio::test(flavor = "multi_thread")]
async fn everyone_at_a_terminal_sees_the_same_and_the_size_follows() {
    let data = tempfile::tempdir().expect("a directory");
    let (server, pty) = start(data.path());
    create(&server, &pty, json!({ "id": "one" }));
    let path = format!("{pty}/one/connect");
    let mut first = Client::connect(&server, &path, "").await;
    let mut second = Client::connect(&server, &path, "").await;
    while second.told.is_empty() {
        assert!(second.read().await);
    }
    let resized = json!({ "cols": 70, "rows": 20 });
    let info = server.send("POST", &format!("{pty}/one/resize"), Some(&resized));
    assert_eq!(
        (info.status, &info.json()["cols"]),
        (200, &json!(70)),
        "{}",
        info.text
    );
    first.type_in("stty size; echo typed by $((1))\n").await;
    for client in [&mut first, &mut second] {
        client.expect("20 70").await;
        client.expect("typed by 1").await;
    }
    // Who leaves takes nothing along.
    drop(first);
    second.type_in("echo still $((2))\n").await;
    second.expect("still 2").await;
    // Ctrl+C ends the program and not the shell.
    let sleep = "(echo sle''eps; exec sleep 4326); echo code $?\n";
    second.type_in(sleep).await;
    second.expect("sleeps").await;
    second.type_in("\x03").await;
    second.type_in("echo after $((3))\n").await;
    second.expect("after 3").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_may_type_64_kib_and_not_one_byte_more() {
    let data = tempfile::tempdir().expect("a directory");
    let (server, pty) = start(data.path());
    create(&server, &pty, json!({ "id": "one" }));
    let mut client = Client::connect(&server, &format!("{pty}/one/connect"), "").await;
    client
        .type_in("stty raw -echo; echo re''ady; head -c 65536 | wc -c; stty sane\n")
        .await;
    client.expect("ready").await;
    client.type_in(&"x".repeat(64 * 1024)).await;
    client.expect("65536").await;
    client.type_in(&"x".repeat(64 * 1024 + 1)).await;
    assert_eq!(client.end().await.0, 1009);
    assert_eq!(server.send("GET", &format!("{pty}/one"), None).status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_read_is_dropped_and_the_others_go_on() {
    let data = tempfile::tempdir().expect("a directory");
    let (server, pty) = start(data.path());
    create(&server, &pty, json!({ "id": "one" }));
    let path = format!("{pty}/one/connect");
    let mut slow = Client::connect(&server, &path, "").await;
    let mut quick = Client::connect(&server, &path, "").await;
    // Far more than what the connection and the queue of a client hold.
    quick
        .type_in("head -c 20000000 /dev/zero | tr '\\0' x; echo fi''nished\n")
        .await;
    while !quick.seen.contains("finished") {
        assert!(quick.read().await, "the quick client was dropped, too");
        if quick.seen.len() > 10_000 {
            quick.seen.drain(..9_900);
        }
    }
    assert_eq!(slow.end().await, (1008, "slow consumer".to_owned()));
    quick.type_in("echo still $((1))\n").await;
    quick.expect("still 1").await;
}

#[test]
fn what_cannot_be_is_refused_with_its_reason() {
    let data = tempfile::tempdir().expect("a directory");
    let (server, pty) = start(data.path());
    create(&server, &pty, json!({ "id": "one" }));
    create(&server, &pty, json!({ "id": "lazy", "lazyStart": true }));
    for (method, below, body, status, error) in [
        ("POST", "", json!({}), 400, "session ID is required"),
        (
            "POST",
            "",
            json!({ "id": "x", "cols": 1001 }),
            400,
            "invalid value for cols - must be less than 1000",
        ),
        (
            "POST",
            "",
            json!({ "id": "x", "cwd": "/none" }),
            500,
            "failed to start PTY session",
        ),
        (
            "POST",
            "",
            json!({ "id": "one" }),
            409,
            "PTY session with ID 'one' already exists",
        ),
        ("GET", "/none", Value::Null, 404, "PTY session not found"),
        ("DELETE", "/none", Value::Null, 404, "PTY session not found"),
        (
            "POST",
            "/none/resize",
            json!({ "cols": 1, "rows": 1 }),
            410,
            "PTY session none not found",
        ),
        (
            "POST",
            "/one/resize",
            json!({ "cols": 0, "rows": 1 }),
            400,
            "cols must be",
        ),
        (
            "POST",
            "/lazy/resize",
            json!({ "cols": 1, "rows": 1 }),
            500,
            "cannot resize inactive PTY session",
        ),
    ] {
        let body = Some(&body).filter(|body| !body.is_null());
        let answer = server.send(method, &format!("{pty}{below}"), body);
        assert_eq!(answer.status, status, "{method} {below}: {}", answer.text);
        let said = answer.json()["error"]
            .as_str()
            .expect("an error")
            .to_owned();
        assert!(said.starts_with(error), "{method} {below}: {said}");
    }
    let list = server.send("GET", &pty, None).json();
    let mut all: Vec<(String, bool)> = list["sessions"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|s| {
            (
                s["id"].as_str().expect("an id").to_owned(),
                s["active"] == true,
            )
        })
        .collect();
    all.sort();
    assert_eq!(all, [("lazy".to_owned(), false), ("one".to_owned(), true)]);
}
