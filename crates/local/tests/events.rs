//! The event socket, in the frames of Socket.IO 4: `0` opens, `40` joins, `44` refuses, `42` is an event.

mod common;

use common::Server;
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

struct Socket(WebSocketStream<TcpStream>);

impl Socket {
    /// Without the header of the key, which the clients do not send here.
    async fn open(server: &Server) -> Self {
        let address = format!("127.0.0.1:{}", server.port);
        let url = format!("ws://{address}/api/socket.io/?EIO=4&transport=websocket");
        let stream = TcpStream::connect(address).await.expect("connected");
        let opened = tokio_tungstenite::client_async(url, stream).await;
        let mut socket = Self(opened.expect("a WebSocket").0);
        assert!(socket.next().await.starts_with("0{"));
        socket
    }

    async fn join(&mut self, credentials: &Value) -> String {
        let frame = Message::text(format!("40{credentials}"));
        self.0.send(frame).await.expect("sent");
        self.next().await
    }

    /// The next frame that is not a ping.
    async fn next(&mut self) -> String {
        loop {
            let frame = self.0.next().await.expect("a frame").expect("whole");
            let frame = frame.into_text().expect("text");
            match frame.as_str() {
                "2" => self.0.send(Message::text("3")).await.expect("sent"),
                other => return other.to_owned(),
            }
        }
    }

    async fn event(&mut self) -> Value {
        let frame = self.next().await;
        let event = frame
            .strip_prefix("42")
            .unwrap_or_else(|| panic!("{frame}"));
        serde_json::from_str(event).expect("JSON")
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_has_the_key_hears_what_becomes_of_sandboxes() {
    let data = tempfile::tempdir().expect("a directory");
    let server = Server::start(data.path());
    for wrong in [json!({ "token": "wrong" }), json!({}), json!([])] {
        let mut refused = Socket::open(&server).await;
        let answer = refused.join(&wrong).await;
        assert!(answer.starts_with("44"), "{wrong}: {answer}");
    }
    let mut socket = Socket::open(&server).await;
    let joined = socket.join(&json!({ "token": server.key })).await;
    assert!(joined.starts_with("40{"), "{joined}");
    let id = server.create(json!({ "name": "n" }));
    let created = socket.event().await;
    assert_eq!(
        [&created[0], &created[1]["id"], &created[1]["name"]],
        ["sandbox.created", &*id, "n"]
    );
    server.send("POST", &format!("/api/sandbox/{id}/stop"), None);
    server.wait(&id, "stopped");
    server.send("DELETE", &format!("/api/sandbox/{id}"), None);
    let states = [
        "creating",
        "started",
        "stopping",
        "stopped",
        "destroying",
        "destroyed",
    ];
    for states in states.windows(2) {
        let event = socket.event().await;
        assert_eq!(event[0], "sandbox.state.updated");
        let event = &event[1];
        let sandbox = &event["sandbox"];
        assert_eq!([&event["oldState"], &event["newState"]], states);
        assert_eq!([&sandbox["id"], &sandbox["state"]], [&*id, states[1]]);
    }
}
