//! The whole way, through the preview of a sandbox of `daytona-local`.

use crate::scene::{At, bytes, hears, is, program, quick, says, secret, soon};
use agent::connection::{DialError, State, Trouble};
use serde_json::{Value, json};
use testkit::Local;

const PORT: u16 = 4100;
const OUTWARD: u16 = 4101;
const OPENCODE: u16 = 4102;

/// Stands for OpenCode: sends back what it is sent. And something in the sandbox that calls out, and sends
/// back what it hears.
const ECHO: &str = r#"
import socket, threading
def echo(s):
    while True:
        b = s.recv(65536)
        if not b: break
        s.sendall(b)
    s.close()
listener = socket.create_server(('127.0.0.1', 4102))
threading.Thread(target=lambda: echo(socket.create_connection(('127.0.0.1', 4101)))).start()
while True: threading.Thread(target=echo, args=(listener.accept()[0],)).start()
"#;

async fn exec(local: &Local, id: &str, command: &str) -> String {
    let body = json!({ "command": command, "timeout": 30 });
    let done = local
        .control("POST", &format!("/toolbox/{id}/process/execute"), body)
        .await;
    assert_eq!(done["exitCode"], 0, "{command}: {done}");
    done["result"].as_str().expect("text").to_owned()
}

/// Waits until something in the sandbox listens.
async fn listens(local: &Local, id: &str, port: u16) {
    testkit::until("a listener", async || {
        let path = format!("/toolbox/{id}/port/{port}/in-use");
        local.control("GET", &path, json!({})).await["isInUse"] == true
    })
    .await;
}

fn text(value: &Value) -> &str {
    value.as_str().expect("a string")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_goes_through_a_preview_and_outlives_a_restart_of_the_sandbox() {
    let local = Local::start();
    let created = local.control("POST", "/api/sandbox", json!({})).await;
    let id = text(&created["id"]);
    let home = local.data().join("sandboxes").join(id).join("home");
    std::fs::copy(testkit::runner(), home.join("runner")).expect("copied");
    std::fs::write(home.join("secret"), secret().expose()).expect("written");
    std::fs::write(home.join("echo.py"), ECHO).expect("written");
    let carry = async || {
        let run = format!(
            "nohup ./runner --carry {PORT} {OPENCODE} {OUTWARD} secret >carried 2>&1 </dev/null & echo"
        );
        exec(&local, id, &run).await;
        listens(&local, id, OUTWARD).await;
        exec(
            &local,
            id,
            "nohup python3 echo.py >echoed 2>&1 </dev/null & echo",
        )
        .await;
        listens(&local, id, OPENCODE).await;
    };
    carry().await;
    let link = async || {
        let path = format!("/api/sandbox/{id}/ports/{PORT}/preview-url");
        let link = local.control("GET", &path, json!({})).await;
        (
            text(&link["url"]).to_owned(),
            text(&link["token"]).to_owned(),
        )
    };
    let (url, token) = link().await;
    let at = At::url(url.clone(), &[("x-daytona-preview-token", "wrong")]);
    let program = program(at.clone(), quick());
    let mut states = program.state();
    is("401", &mut states, |state| {
        let State::Down(trouble) = state else {
            return false;
        };
        matches!(
            &**trouble,
            Trouble::Dial(DialError::Refused { status: 401 })
        )
    })
    .await;
    at.is_now(url, &[("x-daytona-preview-token", &token)]);
    is("live", &mut states, |state| matches!(state, State::Live)).await;
    let mut ours = soon("a stream", program.open()).await.expect("a stream");
    round(&mut ours).await;
    let mut called = soon("a stream", program.accept()).await.expect("a stream");
    round(&mut called).await;

    local
        .control("POST", &format!("/api/sandbox/{id}/stop"), json!({}))
        .await;
    is("down", &mut states, |state| matches!(state, State::Down(_))).await;
    testkit::until("stopped", async || {
        let now = local
            .control("GET", &format!("/api/sandbox/{id}"), json!({}))
            .await;
        now["state"] == "stopped"
    })
    .await;
    local
        .control("POST", &format!("/api/sandbox/{id}/start"), json!({}))
        .await;
    carry().await;
    let (url, token) = link().await;
    at.is_now(url, &[("x-daytona-preview-token", &token)]);
    let mut ours = soon("a stream", program.open()).await.expect("a stream");
    round(&mut ours).await;
    let mut called = soon("a stream", program.accept()).await.expect("a stream");
    round(&mut called).await;
}

/// There and back again.
async fn round(stream: &mut agent::connection::Stream) {
    let sent = bytes(3, 100_000);
    let (mut read, mut write) = tokio::io::split(stream);
    tokio::join!(says(&mut write, &sent), hears(&mut read, &sent));
}
