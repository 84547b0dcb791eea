//! Previews: who may see a port inside, at which address, and what the sandbox hears of it.

mod common;

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;

use common::{Answer, Server, until};
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;

/// Says what it was asked, with all headers; streams below `/stream`, and speaks WebSocket below `/ws`:
/// greets, then echoes one short text.
const PAGE: &str = r#"
import base64, hashlib, os, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
class Page(BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'
    def do_GET(self):
        if self.path == '/ws': return self.ws()
        if self.path == '/stream': return self.stream()
        body = (self.path + '\n' + str(self.headers)).encode()
        self.send_response(200); self.send_header('Content-Length', str(len(body))); self.end_headers()
        self.wfile.write(body)
    def stream(self):
        self.send_response(200); self.send_header('Transfer-Encoding', 'chunked'); self.end_headers()
        self.wfile.write(b'6\r\nfirst\n\r\n'); self.wfile.flush()
        while not os.path.exists('go'): time.sleep(0.01)
        self.wfile.write(b'7\r\nsecond\n\r\n0\r\n\r\n')
    def ws(self):
        key = self.headers['Sec-WebSocket-Key'].encode()
        ok = base64.b64encode(hashlib.sha1(key + b'258EAFA5-E914-47DA-95CA-C5AB0DC85B11').digest())
        self.wfile.write(b'HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ' + ok + b'\r\n\r\n\x81\x05hello')
        self.wfile.flush(); f = self.rfile.read(2); n = f[1] & 127; mask = self.rfile.read(4); text = self.rfile.read(n)
        self.wfile.write(bytes([0x81, n]) + bytes(b ^ mask[i % 4] for i, b in enumerate(text)))
        self.close_connection = True
ThreadingHTTPServer(('127.0.0.1', 3000), Page).serve_forever()
"#;

fn serve_page(server: &Server, id: &str) {
    let run = "nohup python3 page.py >/dev/null 2>&1 </dev/null &";
    server.exec(id, &format!("cat > page.py <<'END'\n{PAGE}\nEND\n{run}"));
    until("the port", || {
        let answer = server.send("GET", &format!("/toolbox/{id}/port/3000/in-use"), None);
        answer.json()["isInUse"] == true
    });
}

fn link(server: &Server, id: &str, which: &str) -> Value {
    let path = format!("/api/sandbox/{id}/ports/3000/{which}");
    server.send("GET", &path, None).json()
}

fn text(value: &Value) -> &str {
    value.as_str().expect("a string")
}

/// An address in its parts: the port of this machine, what `Host` says, and the path.
fn parts(url: &str) -> (u16, String, String) {
    let rest = url.strip_prefix("http://").expect("a URL");
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    let port = host.rsplit(':').next().and_then(|port| port.parse().ok());
    (port.expect("a port"), host.to_owned(), path.to_owned())
}

/// GET of a preview without the key, as a browser sends it.
fn visit(url: &str, below: &str, headers: &[(&str, &str)]) -> Answer {
    let (port, host, path) = parts(url);
    let path = match path.is_empty() {
        true => below.to_owned(),
        false => format!("/{path}{below}"),
    };
    let config = ureq::Agent::config_builder().http_status_as_error(false);
    let agent: ureq::Agent = config.build().into();
    let mut request = agent
        .get(format!("http://127.0.0.1:{port}{path}"))
        .header("host", host);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let mut reply = request.call().expect("an answer");
    Answer {
        status: reply.status().as_u16(),
        headers: reply.headers().clone(),
        text: reply.body_mut().read_to_string().expect("text"),
    }
}

#[test]
fn a_preview_is_seen_with_a_token_and_the_sandbox_sees_none() {
    for address in ["port", "name"] {
        let data = tempfile::tempdir().expect("a directory");
        let server = Server::start_with(data.path(), &["--previews", address]);
        let id = server.create(json!({}));
        serve_page(&server, &id);
        let plain = link(&server, &id, "preview-url");
        let signed = link(&server, &id, "signed-preview-url");
        let (token, signed_token) = (text(&plain["token"]), text(&signed["token"]));
        let (plain, signed) = (text(&plain["url"]), text(&signed["url"]));
        let bearer = format!("Bearer {}", server.key);
        let cookie = format!("a=b; daytona-preview-3000-{id}={signed_token}; c=d");
        let of_another = format!("daytona-preview-3001-{id}={signed_token}");
        let query = format!("/x?a=1&DAYTONA_SANDBOX_AUTH_KEY={token}&b=2");
        let wrong = "/x?DAYTONA_SANDBOX_AUTH_KEY=wrong";
        for (url, below, headers, want) in [
            (plain, "/x?a=1&b=2", &[][..], 401),
            (plain, wrong, &[], 401),
            (plain, "/x", &[("x-daytona-preview-token", "wrong")], 401),
            (plain, "/x", &[("cookie", &*of_another)], 401),
            (
                plain,
                "/x?a=1&b=2",
                &[("x-daytona-preview-token", token)],
                200,
            ),
            (plain, &query, &[], 200),
            (plain, "/x?a=1&b=2", &[("authorization", &*bearer)], 200),
            (plain, "/x?a=1&b=2", &[("cookie", &*cookie)], 200),
            (signed, "/x?a=1&b=2", &[], 200),
            (signed, "/x?a=1&b=2", &[("authorization", "Basic own")], 200),
        ] {
            let case = format!("{address} {url} {below} {headers:?}");
            let answer = visit(url, below, headers);
            assert_eq!(answer.status, want, "{case}: {}", answer.text);
            if want != 200 {
                continue;
            }
            assert!(answer.text.starts_with("/x?a=1&b=2\n"), "{}", answer.text);
            // A page knows the name that it is asked for.
            let heard = answer
                .text
                .lines()
                .filter(|line| !line.starts_with("host:"));
            let heard: String = heard.collect();
            for secret in [token, signed_token, &server.key] {
                assert!(!heard.contains(secret), "{case}: {heard}");
            }
            let is_own = headers.iter().any(|(_, value)| *value == "Basic own");
            assert_eq!(answer.text.contains("Basic own"), is_own, "{case}");
            let keeps = headers.iter().any(|(name, _)| *name == "cookie");
            assert_eq!(answer.text.contains("a=b; c=d"), keeps, "{case}");
            // Whoever gave a token in an address has it for the page's own links.
            let given = answer.headers.get("set-cookie");
            let in_address = below.contains("AUTH_KEY") || url == signed;
            assert_eq!(given.is_some(), in_address, "{case}");
            if let Some(given) = given {
                let given = given.to_str().expect("text").split(';').next();
                let given = [("cookie", given.expect("a cookie"))];
                assert_eq!(visit(plain, "/y", &given).status, 200, "{case}");
            }
        }
        let expire =
            format!("/api/sandbox/{id}/ports/3000/signed-preview-url/{signed_token}/expire");
        server.send("POST", &expire, None);
        assert_eq!(visit(signed, "/x", &[]).status, 401);
        server.send("POST", &format!("/api/sandbox/{id}/public/true"), None);
        assert_eq!(visit(plain, "/x", &[]).status, 200);
    }
}

#[test]
fn a_signed_link_is_of_one_port_and_ends() {
    let data = tempfile::tempdir().expect("a directory");
    let server = Server::start(data.path());
    let id = server.create(json!({}));
    serve_page(&server, &id);
    let signed = link(&server, &id, "signed-preview-url?expiresInSeconds=60");
    let other = format!("/api/sandbox/{id}/ports/3001/preview-url");
    let other = server.send("GET", &other, None).json();
    let of_other = format!("{}/{}", text(&other["url"]), text(&signed["token"]));
    assert_eq!(visit(&of_other, "/", &[]).status, 401);
    let url = text(&signed["url"]);
    assert_eq!(visit(url, "", &[]).status, 200);
    // A page of somebody else whose name leads here.
    let (port, _, path) = parts(url);
    let rebound = TcpStream::connect(("127.0.0.1", port)).expect("connects");
    let request = format!("GET /{path} HTTP/1.1\r\nHost: evil.example:{port}\r\n\r\n");
    (&rebound).write_all(request.as_bytes()).expect("sent");
    let mut status = String::new();
    let read = BufReader::new(rebound).read_line(&mut status);
    read.expect("an answer");
    assert_eq!(status, "HTTP/1.1 403 Forbidden\r\n");
    let minute = json!({ "advance_ms": 60_000 });
    server.send("POST", "/_test/clock", Some(&minute));
    assert_eq!(visit(url, "", &[]).status, 401);
}

#[test]
fn links_outlive_the_server_and_not_the_sandbox() {
    let data = tempfile::tempdir().expect("a directory");
    let server = Server::start(data.path());
    let id = server.create(json!({}));
    let signed = link(&server, &id, "signed-preview-url?expiresInSeconds=86400");
    let url = text(&signed["url"]);
    server.end();
    let server = Server::start(data.path());
    server.send("POST", &format!("/api/sandbox/{id}/start"), None);
    serve_page(&server, &id);
    assert_eq!(visit(url, "/x", &[]).status, 200);
    server.send("DELETE", &format!("/api/sandbox/{id}"), None);
    let port = parts(url).0;
    until("the port is closed", || {
        TcpStream::connect(("127.0.0.1", port)).is_err()
    });
}

#[test]
fn what_a_page_streams_arrives_as_it_comes() {
    let data = tempfile::tempdir().expect("a directory");
    let server = Server::start(data.path());
    let id = server.create(json!({}));
    serve_page(&server, &id);
    let signed = link(&server, &id, "signed-preview-url");
    let config = ureq::Agent::config_builder();
    let agent: ureq::Agent = config.build().into();
    let reply = agent
        .get(format!("{}/stream", text(&signed["url"])))
        .call()
        .expect("an answer");
    let mut lines = BufReader::new(reply.into_body().into_reader()).lines();
    assert_eq!(lines.next().expect("a line").expect("text"), "first");
    server.exec(&id, "touch go");
    assert_eq!(lines.next().expect("a line").expect("text"), "second");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_websocket_reaches_a_port_inside_and_keeps_the_sandbox_awake() {
    for address in ["port", "name"] {
        let data = tempfile::tempdir().expect("a directory");
        let server = Server::start_with(data.path(), &["--previews", address]);
        let id = server.create(json!({ "autoStopInterval": 1 }));
        serve_page(&server, &id);
        let signed = link(&server, &id, "signed-preview-url");
        let (port, _, _) = parts(text(&signed["url"]));
        let url = text(&signed["url"]).replace("http://", "ws://") + "/ws";
        let request = url.into_client_request().expect("a request");
        let stream = tokio::net::TcpStream::connect(("127.0.0.1", port));
        let stream = stream.await.expect("connected");
        let (mut socket, _) = tokio_tungstenite::client_async(request, stream)
            .await
            .expect("a WebSocket");
        let hello = socket.next().await.expect("a message").expect("whole");
        assert_eq!(hello.into_text().expect("text").as_str(), "hello");
        let sandbox = || {
            server
                .send("GET", &format!("/api/sandbox/{id}"), None)
                .json()
        };
        let hour = || text(&sandbox()["lastActivityAt"])[..13].to_owned();
        let before = hour();
        let an_hour = json!({ "advance_ms": 3_600_000 });
        server.send("POST", "/_test/clock", Some(&an_hour));
        until("the timers to run", || hour() != before);
        socket.send(Message::text("echo me")).await.expect("sent");
        let echo = socket.next().await.expect("a message").expect("whole");
        assert_eq!(echo.into_text().expect("text").as_str(), "echo me");
        assert_eq!(sandbox()["state"], "started");
    }
}
