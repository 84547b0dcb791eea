//! How a connection comes, goes and comes back.

use crate::scene::*;
use agent::connection::{Connection, DialError, Lost, OpenError, Secret, State, Times, Trouble};
use std::io::ErrorKind::ConnectionReset;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

fn refused(state: &State) -> Option<u16> {
    match state {
        State::Down(trouble) => match &**trouble {
            Trouble::Dial(DialError::Refused { status }) => Some(*status),
            _ => None,
        },
        _ => None,
    }
}

#[tokio::test]
async fn a_wrong_secret_is_answered_with_403_and_nothing_else() {
    let sandbox = Sandbox::start().await;
    for (secret, status) in [
        (
            Some("a-secret-of-the-tests-0123456780"),
            "HTTP/1.1 403 Forbidden",
        ),
        (Some(""), "HTTP/1.1 403 Forbidden"),
        (None, "HTTP/1.1 403 Forbidden"),
    ] {
        let mut socket = TcpStream::connect(("127.0.0.1", sandbox.port))
            .await
            .expect("connected");
        let header = secret.map_or_else(String::new, |secret| {
            format!("{}: {secret}\r\n", carrier::SECRET_HEADER)
        });
        let request = format!(
            "GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{header}\r\n"
        );
        says(&mut socket, request.as_bytes()).await;
        let answer = String::from_utf8(rest(&mut socket).await.expect("an answer")).expect("text");
        assert_eq!(answer.trim_end(), status, "{secret:?}");
    }
    let wrong = Secret::new("another-secret-of-the-tests-01234").expect("a secret");
    let program = Connection::start_with(client(), At::port(sandbox.port), wrong, quick());
    let state = is("refused", &mut program.state(), |state| {
        refused(state).is_some()
    })
    .await;
    assert_eq!(refused(&state), Some(403));
    // Nothing of this has closed the door.
    let program = sandbox.program().await;
    let (mut ours, mut theirs) = sandbox.opened(&program).await;
    exchange(&mut ours, &mut theirs).await;
}

#[tokio::test]
async fn what_is_no_request_does_not_stop_the_sandboxs_end() {
    let sandbox = Sandbox::start().await;
    let mut open = Vec::new();
    for garbage in [
        &b"\0\xff\r\n\r\n"[..],
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"",
        b"GET",
    ] {
        let mut socket = TcpStream::connect(("127.0.0.1", sandbox.port))
            .await
            .expect("connected");
        says(&mut socket, garbage).await;
        open.push(socket);
    }
    let program = sandbox.program().await;
    let (mut ours, mut theirs) = sandbox.opened(&program).await;
    exchange(&mut ours, &mut theirs).await;
}

/// Answers each request with a status.
async fn answering(status: u16) -> u16 {
    let (listener, port) = listener().await;
    tokio::spawn(async move {
        loop {
            let (mut socket, _) = listener.accept().await.expect("a connection");
            let mut request = [0; 2048];
            let _ = socket.read(&mut request).await;
            let answer = format!(
                "HTTP/1.1 {status} X\r\nConnection: close\r\nContent-Length: 2\r\nLocation: /login\r\n\r\nno"
            );
            let _ = socket.write_all(answer.as_bytes()).await;
        }
    });
    port
}

#[tokio::test]
async fn an_answer_that_opens_nothing_is_told_and_the_address_asked_for_again() {
    let sandbox = Sandbox::start().await;
    for status in [200, 307, 401, 403, 404, 500, 502, 503] {
        let at = At::port(answering(status).await);
        let program = program(at.clone(), quick());
        let mut states = program.state();
        let state = is("refused", &mut states, |state| refused(state).is_some()).await;
        assert_eq!(refused(&state), Some(status));
        // A new token, for example.
        at.is_now(
            format!("http://127.0.0.1:{}/", sandbox.port),
            &[("x-token", "new")],
        );
        is("live", &mut states, |state| matches!(state, State::Live)).await;
        assert!(at.asked() >= 2, "{status}");
        program.close().await;
    }
}

#[tokio::test]
async fn a_101_without_the_right_proof_is_no_websocket() {
    let (listener, port) = listener().await;
    let program = program(At::port(port), quick());
    let (mut socket, _) = soon("a connection", listener.accept())
        .await
        .expect("a connection");
    let mut request = [0; 2048];
    let _ = socket.read(&mut request).await;
    let answer = b"HTTP/1.1 101 X\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: x\r\n\r\n";
    says(&mut socket, answer).await;
    is("no WebSocket", &mut program.state(), |state| {
        let State::Down(trouble) = state else {
            return false;
        };
        matches!(&**trouble, Trouble::Dial(DialError::NoWebSocket))
    })
    .await;
}

#[tokio::test]
async fn a_newer_connection_replaces_the_older_which_does_not_come_back() {
    let sandbox = Sandbox::start().await;
    let older = sandbox.program().await;
    let (mut ours, mut theirs) = sandbox.opened(&older).await;
    let (mut call, mut called) = sandbox.called(&older).await;
    let newer = sandbox.program().await;
    is("replaced", &mut older.state(), |state| {
        matches!(state, State::Replaced)
    })
    .await;
    for (what, end) in [
        ("ours", rest(&mut ours).await),
        ("theirs", rest(&mut theirs).await),
        ("call", rest(&mut call).await),
        ("called", rest(&mut called).await),
    ] {
        assert_eq!(end, Err(ConnectionReset), "{what}");
    }
    assert!(matches!(older.open().await, Err(OpenError::Replaced)));
    assert!(soon("the end", older.accept()).await.is_none());
    let (mut ours, mut theirs) = sandbox.opened(&newer).await;
    exchange(&mut ours, &mut theirs).await;
    let (mut call, mut called) = sandbox.called(&newer).await;
    exchange(&mut call, &mut called).await;
}

#[tokio::test]
async fn a_connection_that_drops_comes_back_and_what_was_open_is_reset() {
    let sandbox = Sandbox::start().await;
    let way = Way::to(sandbox.port).await;
    let program = program(At::port(way.port), quick());
    let mut states = program.state();
    let (mut ours, mut theirs) = sandbox.opened(&program).await;
    let (mut call, mut called) = sandbox.called(&program).await;
    exchange(&mut ours, &mut theirs).await;
    way.cut();
    for (what, end) in [
        ("ours", rest(&mut ours).await),
        ("theirs", rest(&mut theirs).await),
        ("call", rest(&mut call).await),
        ("called", rest(&mut called).await),
    ] {
        assert_eq!(end, Err(ConnectionReset), "{what}");
    }
    is("down", &mut states, |state| matches!(state, State::Down(_))).await;
    // What is opened meanwhile waits, at both ends.
    let mut waiting = Box::pin(program.open());
    assert!(futures_util::poll!(&mut waiting).is_pending());
    let mut call = sandbox.call().await;
    way.mend();
    let mut ours = soon("a stream", waiting).await.expect("a stream");
    let mut theirs = sandbox.accepted().await;
    exchange(&mut ours, &mut theirs).await;
    let mut called = soon("a stream", program.accept()).await.expect("a stream");
    exchange(&mut call, &mut called).await;
}

#[tokio::test]
async fn local_connections_wait_for_the_program_and_are_closed_at_last() {
    let sandbox = Sandbox::start().await;
    let mut call = sandbox.call().await;
    says(&mut call, b"asked before there was a program").await;
    let program = sandbox.program().await;
    let mut called = soon("a stream", program.accept()).await.expect("a stream");
    hears(&mut called, b"asked before there was a program").await;

    let sandbox = Sandbox::start_waiting(Duration::from_millis(50)).await;
    let mut call = sandbox.call().await;
    assert_eq!(rest(&mut call).await, Ok(vec![]));
}

#[tokio::test]
async fn a_stream_waits_for_a_connection_so_long_and_says_what_was_wrong() {
    let times = Times {
        max_wait: Duration::from_millis(200),
        ..quick()
    };
    let program = program(At::port(answering(401).await), times);
    is("refused", &mut program.state(), |state| {
        refused(state).is_some()
    })
    .await;
    let error = soon("an end", program.open()).await.expect_err("no stream");
    let said = error.to_string();
    assert!(matches!(error, OpenError::TimedOut { .. }), "{said}");
    assert!(said.contains("answered 401"), "{said}");
}

#[tokio::test]
async fn a_closed_connection_is_over_at_both_ends() {
    let sandbox = Sandbox::start().await;
    let program = sandbox.program().await;
    let (mut ours, mut theirs) = sandbox.opened(&program).await;
    soon("the end", program.close()).await;
    assert!(matches!(*program.state().borrow(), State::Closed));
    assert_eq!(rest(&mut ours).await, Err(ConnectionReset));
    assert_eq!(rest(&mut theirs).await, Err(ConnectionReset));
    assert!(matches!(program.open().await, Err(OpenError::Closed)));
    assert!(soon("the end", program.accept()).await.is_none());
    soon("nothing more", program.close()).await;
    // Also while it is trying.
    let program = self::program(At::port(answering(502).await), quick());
    soon("the end", program.close()).await;
    assert!(matches!(*program.state().borrow(), State::Closed));
}

#[tokio::test]
async fn a_dropped_connection_is_over_at_both_ends() {
    let sandbox = Sandbox::start().await;
    let program = sandbox.program().await;
    let (mut ours, mut theirs) = sandbox.opened(&program).await;
    drop(program);
    assert_eq!(rest(&mut ours).await, Err(ConnectionReset));
    assert_eq!(rest(&mut theirs).await, Err(ConnectionReset));
}

#[tokio::test]
async fn an_idle_connection_lives_by_its_pings() {
    let sandbox = Sandbox::start().await;
    let way = Way::to(sandbox.port).await;
    let times = Times {
        ping_every: Duration::from_millis(5),
        ..quick()
    };
    let program = program(At::port(way.port), times);
    let (mut ours, mut theirs) = sandbox.opened(&program).await;
    // An unanswered ping would end it, and many have been sent.
    let before = way.carried();
    testkit::until("pings and answers", async || way.carried() > before + 100).await;
    exchange(&mut ours, &mut theirs).await;
}

#[tokio::test]
async fn a_peer_that_does_not_answer_has_lost_the_connection() {
    let sandbox = Sandbox::start().await;
    let way = Way::to(sandbox.port).await;
    let times = Times {
        ping_every: Duration::from_millis(10),
        answer_within: Duration::from_millis(500),
        ..quick()
    };
    let program = program(At::port(way.port), times);
    let mut states = program.state();
    let (mut ours, _theirs) = sandbox.opened(&program).await;
    // No end of anything: the bytes just go nowhere.
    way.stall();
    let is_silent = |state: &State| match state {
        State::Down(trouble) => matches!(&**trouble, Trouble::Lost(Lost::Silent { .. })),
        _ => false,
    };
    is("silent", &mut states, is_silent).await;
    assert_eq!(rest(&mut ours).await, Err(ConnectionReset));
}
