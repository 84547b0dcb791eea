//! What a sandbox may not do, done by a peer that stands in its end's place.

use crate::scene::*;
use agent::connection::{Breach, Connection, Lost, State, Times, Trouble};
use futures_util::{SinkExt as _, StreamExt as _};
use std::time::Duration;
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

const DATA: u8 = 0;
const WINDOW: u8 = 1;
const PING: u8 = 2;
const SYN: u16 = 1;
const RST: u16 = 8;

/// A frame of yamux as a message.
fn frame(kind: u8, flags: u16, stream: u32, length: u32, body: &[u8]) -> Message {
    let mut frame = vec![0, kind];
    frame.extend(flags.to_be_bytes());
    frame.extend(stream.to_be_bytes());
    frame.extend(length.to_be_bytes());
    frame.extend(body);
    Message::binary(frame)
}

fn data(flags: u16, stream: u32, body: &[u8]) -> Message {
    frame(DATA, flags, stream, body.len() as u32, body)
}

/// A program whose sandbox is in the test's hands.
async fn met(times: Times) -> (Connection, WebSocketStream<TcpStream>, TcpListener) {
    let (listener, port) = listener().await;
    let program = program(At::port(port), times);
    let socket = meet(&listener).await;
    (program, socket, listener)
}

async fn meet(listener: &TcpListener) -> WebSocketStream<TcpStream> {
    let (socket, _) = soon("a connection", listener.accept())
        .await
        .expect("a connection");
    tokio_tungstenite::accept_async(socket)
        .await
        .expect("upgraded")
}

fn lost(state: &State) -> Option<&Lost> {
    let State::Down(trouble) = state else {
        return None;
    };
    match &**trouble {
        Trouble::Lost(lost) => Some(lost),
        Trouble::Dial(_) => None,
    }
}

/// All messages that a peer sends in one case, and what it is cut off for.
fn cases() -> Vec<(&'static str, Vec<Message>, Breach)> {
    let body = vec![0; carrier::MAX_BODY];
    let beyond = vec![0; carrier::MAX_BODY + 1];
    let mut flood = vec![data(SYN, 2, b"")];
    flood.extend((0..17).map(|_| data(0, 2, &body)));
    let mut crumbs = vec![data(SYN, 2, b"")];
    crumbs.extend((0..65_537).map(|_| data(0, 2, b"x")));
    let twice = vec![data(SYN, 2, b""), data(SYN, 2, b"")];
    let credit = vec![data(SYN, 2, b""), frame(WINDOW, 0, 2, u32::MAX, b"")];
    let more = data(0, 2, b"more than it says").into_data()[..20].to_vec();
    vec![
        (
            "a text",
            vec![Message::text("hello")],
            Breach::NoWebSocket("a text".to_owned()),
        ),
        (
            "garbage",
            vec![Message::binary(vec![0xff; 40])],
            Breach::NoFrame,
        ),
        ("nothing", vec![Message::binary(vec![])], Breach::NoFrame),
        ("half a frame", vec![Message::binary(more)], Breach::NoFrame),
        (
            "a frame that is too large",
            vec![data(SYN, 2, &beyond)],
            Breach::TooLarge,
        ),
        (
            "a message that is far too large",
            vec![Message::binary(vec![0; 10 << 20])],
            Breach::TooLarge,
        ),
        (
            "yamux's ping",
            vec![frame(PING, SYN, 0, 1, b"")],
            Breach::NoFrame,
        ),
        (
            "a stream with our numbers",
            vec![data(SYN, 1, b"")],
            Breach::Multiplexing,
        ),
        ("a stream twice", twice, Breach::Multiplexing),
        ("more than a window", flood, Breach::Multiplexing),
        ("more credit than there is", credit, Breach::Multiplexing),
        ("more frames than are kept", crumbs, Breach::Unread),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_breaks_the_protocol_is_cut_off_and_nobody_else() {
    let good = Sandbox::start().await;
    let other = good.program().await;
    let (mut ours, mut theirs) = good.opened(&other).await;
    for (what, messages, breach) in cases() {
        let (program, socket, listener) = met(quick()).await;
        let mut states = program.state();
        let (mut send, mut receive) = socket.split();
        let reading = tokio::spawn(async move { while let Some(Ok(_)) = receive.next().await {} });
        // It may be cut off before all is sent.
        let sending = async {
            for message in messages {
                if send.feed(message).await.is_err() {
                    return;
                }
            }
            let _ = send.flush().await;
        };
        let (state, ()) = tokio::join!(
            is(what, &mut states, |state| lost(state).is_some()),
            sending
        );
        match lost(&state) {
            Some(Lost::Breach(found)) => assert_eq!(*found, breach, "{what}"),
            lost => panic!("{what}: {lost:?}"),
        }
        soon("the end of the connection", reading)
            .await
            .expect("no panic");
        // What is good again is taken again.
        let _again = meet(&listener).await;
        is("live", &mut states, |state| matches!(state, State::Live)).await;
        exchange(&mut ours, &mut theirs).await;
    }
    assert!(matches!(*other.state().borrow(), State::Live));
}

#[tokio::test]
async fn what_is_no_websocket_is_cut_off() {
    let (program, mut socket, _listener) = met(quick()).await;
    socket.get_mut().write_all(&[0xff; 64]).await.expect("sent");
    let state = is("lost", &mut program.state(), |state| lost(state).is_some()).await;
    assert!(
        matches!(lost(&state), Some(Lost::Breach(Breach::NoWebSocket(_)))),
        "{state:?}"
    );
}

#[tokio::test]
async fn streams_beyond_the_96th_are_reset_and_the_others_live() {
    let (program, socket, _listener) = met(quick()).await;
    let (mut send, mut receive) = socket.split();
    const OPENED: u32 = 500;
    let mut held = Vec::new();
    for n in 1..=96 {
        send.send(data(SYN, 2 * n, b"")).await.expect("sent");
        held.push(soon("a stream", program.accept()).await.expect("a stream"));
    }
    let sending = async {
        for n in 97..=OPENED {
            send.send(data(SYN, 2 * n, b"")).await.expect("sent");
        }
    };
    let receiving = async {
        let mut resets = std::collections::BTreeSet::new();
        while resets.len() < OPENED as usize - 96 {
            let message = soon("a reset", receive.next()).await.expect("a message");
            let frame = message.expect("a message").into_data();
            // A ping has nothing in it.
            if frame.get(2..4) == Some(&RST.to_be_bytes()) {
                resets.insert(frame[4..8].to_vec());
            }
        }
    };
    tokio::join!(sending, receiving);
    let mut first = held.swap_remove(0);
    send.send(data(0, 2, b"still here")).await.expect("sent");
    hears(&mut first, b"still here").await;
    assert!(matches!(*program.state().borrow(), State::Live));
}

#[tokio::test]
async fn a_peer_that_never_reads_has_lost_the_connection_however_much_it_sends() {
    let times = Times {
        ping_every: Duration::from_millis(10),
        answer_within: Duration::from_millis(500),
        ..quick()
    };
    let (program, mut socket, _listener) = met(times).await;
    let mut states = program.state();
    let mut ours = soon("a stream", program.open()).await.expect("a stream");
    let writing = tokio::spawn(async move {
        // As much as there is room for.
        while ours.write_all(&[0; 4096]).await.is_ok() {}
    });
    let ping = Message::Ping(vec![0; 125].into());
    let sending = async {
        while socket.send(ping.clone()).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    let (state, ()) = tokio::join!(
        is("lost", &mut states, |state| lost(state).is_some()),
        sending
    );
    assert!(
        matches!(lost(&state), Some(Lost::Silent { .. })),
        "{state:?}"
    );
    soon("the writer's end", writing).await.expect("no panic");
}
