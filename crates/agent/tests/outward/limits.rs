//! Time, places, and connections that end early.

use crate::provider::Provider;
use crate::world::{AT_ONCE, World, chat, post, soon};
use agent::outward::{GitHost, Limits, Repository, Settings, Tokens};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

const SHORT: Duration = Duration::from_millis(1500);

#[tokio::test]
async fn a_client_that_goes_away_cancels_the_request() {
    let provider = Provider::new().await;
    let mut world = World::with_models(provider.address, Limits::default()).await;
    // Before the answer's first byte.
    let client = world.send(chat()).await;
    let call = provider.next().await;
    drop(client);
    call.gone().await;
    assert_eq!(soon(world.used.recv()).await.unwrap().tokens, None);
    // In the middle of a stream, which has said what it used so far.
    let mut client = world.send(chat()).await;
    let mut call = provider.next().await;
    call.begin().await;
    call.event(r#"{"message":{"usage":{"input_tokens":3,"output_tokens":1}}}"#)
        .await;
    client.until("output_tokens").await;
    drop(client);
    call.gone().await;
    let tokens = soon(world.used.recv()).await.unwrap().tokens;
    assert_eq!(
        tokens,
        Some(Tokens {
            input: 3,
            output: 1
        })
    );
}

#[tokio::test]
async fn a_client_that_only_ends_its_own_side_is_one_that_went_away() {
    let provider = Provider::new().await;
    let world = World::with_models(provider.address, Limits::default()).await;
    let mut client = world.send(chat()).await;
    let call = provider.next().await;
    client.stream.shutdown().await.unwrap();
    call.gone().await;
}

#[tokio::test]
async fn requests_at_once_are_bounded_and_a_place_is_free_when_one_ends() {
    let provider = Provider::new().await;
    let mut world = World::with_models(provider.address, Limits::default()).await;
    let mut open = Vec::new();
    for _ in 0..AT_ONCE {
        let client = world.send(chat()).await;
        let mut call = provider.next().await;
        call.begin().await;
        open.push((client, call));
    }
    let answer = world.ask(chat()).await;
    assert_eq!(answer.status, 429, "{answer:?}");
    assert!(answer.head.contains("retry-after: 1"), "{answer:?}");
    assert!(answer.message().contains("2 requests"), "{answer:?}");
    assert!(!provider.was_asked().await);
    let (client, mut call) = open.pop().unwrap();
    call.end().await;
    assert!(client.answer().await.is_whole);
    soon(world.used.recv()).await.unwrap();
    let client = world.send(chat()).await;
    provider.next().await.answer("200 OK", "", "{}").await;
    assert_eq!(client.answer().await.status, 200);
}

#[tokio::test]
async fn a_provider_that_hangs_is_given_up() {
    let provider = Provider::new().await;
    let limits = Limits {
        first_byte: SHORT,
        ..Limits::default()
    };
    let world = World::with_models(provider.address, limits).await;
    let client = world.send(chat()).await;
    let call = provider.next().await;
    let answer = client.answer().await;
    assert_eq!(answer.status, 504, "{answer:?}");
    assert_eq!(
        answer.message(),
        "`like-openai` did not answer within 1.5 seconds."
    );
    call.gone().await;
}

#[tokio::test]
async fn a_stream_that_stops_is_cut() {
    let provider = Provider::new().await;
    let limits = Limits {
        idle: SHORT,
        ..Limits::default()
    };
    let world = World::with_models(provider.address, limits).await;
    let client = world.send(chat()).await;
    let mut call = provider.next().await;
    call.begin().await;
    let answer = client.answer().await;
    assert!(!answer.is_whole, "{answer:?}");
    call.gone().await;
}

#[tokio::test]
async fn a_request_whose_body_stops_is_cut() {
    let provider = Provider::new().await;
    let limits = Limits {
        idle: SHORT,
        ..Limits::default()
    };
    let world = World::with_models(provider.address, limits).await;
    let whole = chat();
    let answer = world.ask(&whole[..whole.len() - 1]).await;
    assert_eq!(answer.status, 0, "{answer:?}");
    assert!(!provider.was_asked().await);
}

#[tokio::test]
async fn a_provider_that_is_down_or_breaks_off_is_an_error_with_a_sentence() {
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = free.local_addr().unwrap();
    drop(free);
    let world = World::with_models(address, Limits::default()).await;
    let answer = world.ask(chat()).await;
    assert_eq!(answer.status, 502, "{answer:?}");
    assert!(
        answer
            .message()
            .contains("`like-openai` could not be reached: there is no connection"),
        "{answer:?}"
    );

    let provider = Provider::new().await;
    let world = World::with_models(provider.address, Limits::default()).await;
    let client = world.send(chat()).await;
    drop(provider.next().await);
    let answer = client.answer().await;
    assert_eq!(answer.status, 502, "{answer:?}");
    assert!(answer.message().contains("broke off"), "{answer:?}");

    let client = world.send(chat()).await;
    let mut call = provider.next().await;
    call.begin().await;
    call.event("half").await;
    drop(call);
    let answer = client.answer().await;
    assert!(
        answer.body.contains("half") && !answer.is_whole,
        "{answer:?}"
    );
}

#[tokio::test]
async fn a_redirect_is_an_error_and_is_not_followed() {
    let provider = Provider::new().await;
    let other = Provider::new().await;
    let world = World::with_models(provider.address, Limits::default()).await;
    for status in [
        "301 Moved Permanently",
        "307 Temporary Redirect",
        "308 Permanent Redirect",
    ] {
        let client = world.send(chat()).await;
        let call = provider.next().await;
        let location = format!("location: http://{}/\r\n", other.address);
        call.answer(status, &location, "").await;
        let answer = client.answer().await;
        assert_eq!(answer.status, 502, "{answer:?}");
        assert!(answer.message().contains("redirect"), "{answer:?}");
        assert!(!answer.head.contains("location"), "{answer:?}");
    }
    assert!(!other.was_asked().await);
}

/// A gateway whose one git host has this address.
async fn with_git(address: SocketAddr, limits: Limits) -> World {
    let host = GitHost {
        name: "git.example".into(),
        base_url: format!("http://{address}"),
        login: None,
        ignores_case: false,
    };
    let repository = Repository {
        host: "git.example".into(),
        owner: "o".into(),
        name: "r".into(),
        may_push: true,
    };
    let settings = Settings {
        git: vec![host],
        limits,
        ..Settings::default()
    };
    World::new(settings, vec![repository]).await
}

const PUSH: &str = "/git/git.example/o/r/git-receive-pack";

#[tokio::test]
async fn a_git_host_that_hangs_is_given_up_and_one_that_is_left_is_cancelled() {
    let provider = Provider::new().await;
    let limits = Limits {
        first_byte: SHORT,
        ..Limits::default()
    };
    let world = with_git(provider.address, limits).await;
    for request in [
        "GET /git/git.example/o/r/info/refs?service=git-upload-pack HTTP/1.1\r\nhost: a\r\n\r\n"
            .into(),
        post(PUSH, "", "0000"),
    ] {
        let client = world.send(request).await;
        let call = provider.next().await;
        let answer = client.answer().await;
        let expected = (504, "`git.example` did not answer within 1.5 seconds.\n");
        assert_eq!((answer.status, answer.body.as_str()), expected);
        call.gone().await;
    }
    let world = with_git(provider.address, Limits::default()).await;
    let client = world.send(post(PUSH, "", "0000")).await;
    let call = provider.next().await;
    drop(client);
    call.gone().await;
}

#[tokio::test]
async fn a_push_that_is_too_large_or_stops_is_broken_off() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let limits = Limits {
        git_body: 10,
        idle: SHORT,
        ..Limits::default()
    };
    let world = with_git(address, limits).await;
    let answer = world.ask(post(PUSH, "", "more than ten")).await;
    assert_eq!(answer.status, 413, "{answer:?}");
    let head = format!("POST {PUSH} HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n");
    for (body, status) in [
        ("8\r\neight by\r\n8\r\nand more\r\n0\r\n\r\n", 413),
        ("8\r\neight by\r\n", 0),
    ] {
        let client = world.send(format!("{head}{body}")).await;
        let (mut stream, _) = soon(listener.accept()).await.unwrap();
        let mut seen = Vec::new();
        let _ = soon(stream.read_to_end(&mut seen)).await;
        let seen = String::from_utf8(seen).unwrap();
        assert!(
            !seen.contains("and more") && !seen.ends_with("0\r\n\r\n"),
            "{seen}"
        );
        let answer = client.answer().await;
        assert_eq!(answer.status, status, "{answer:?}");
    }
}
