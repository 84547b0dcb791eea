//! Requests, and their answers.

use crate::server::{Answer, Seen, Server, Then, answer, ok, raw};
use crate::world::{World, until};
use host::{Body, HttpError, HttpRequest, HttpResponse, Part, PartContent};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

pub(crate) fn get(url: String) -> HttpRequest {
    HttpRequest {
        method: "GET",
        url,
        headers: Vec::new(),
        body: Body::Empty,
        timeout_ms: 60_000,
        max_bytes: 1 << 20,
        save_to: None,
    }
}

fn post(url: String, parts: Vec<Part>) -> HttpRequest {
    HttpRequest {
        method: "POST",
        body: Body::Multipart(parts),
        ..get(url)
    }
}

fn part(name: &str, content: PartContent) -> Part {
    let name = name.into();
    Part { name, content }
}

pub(crate) async fn a_request_arrives_as_it_was_given(world: &World) {
    let server = Server::start(|_| ok("")).await;
    let given = |method, body| HttpRequest {
        method,
        headers: vec![
            ("Authorization".into(), "Bearer k".into()),
            ("X-Own".into(), "a, b".into()),
            ("x-letters".into(), "caf\u{e9}".into()),
            ("user-agent".into(), "own/1".into()),
        ],
        body,
        ..get(server.url("/a%20b/c?d=e%2Ff&g"))
    };
    for (method, body, kind, content) in [
        ("GET", Body::Empty, None, ""),
        ("DELETE", Body::Empty, None, ""),
        ("POST", Body::Empty, None, ""),
        (
            "PUT",
            Body::Json("{\"a\":\"ä\"}".into()),
            Some("application/json"),
            "{\"a\":\"ä\"}",
        ),
        (
            "POST",
            Body::Json(String::new()),
            Some("application/json"),
            "",
        ),
    ] {
        let response = world
            .host
            .http(given(method, body))
            .await
            .expect("answered");
        assert_eq!(response.status, 200);
        let seen = server.seen().pop().expect("a request");
        assert_eq!(
            (&*seen.method, &*seen.target),
            (method, "/a%20b/c?d=e%2Ff&g")
        );
        assert_eq!(seen.header("authorization"), Some("Bearer k"));
        assert_eq!(seen.header("x-own"), Some("a, b"));
        assert_eq!(seen.header("user-agent"), Some("own/1"));
        // In UTF-8: the server shows each byte as a letter.
        assert_eq!(seen.header("x-letters"), Some("caf\u{c3}\u{a9}"));
        assert_eq!(seen.header("content-type"), kind, "{method}");
        assert_eq!(seen.body, content.as_bytes());
    }
    // What says itself which kind its JSON is has one kind all the same.
    let mut twice = given("POST", Body::Json("[]".into()));
    twice
        .headers
        .push(("Content-Type".into(), "text/plain".into()));
    world.host.http(twice).await.expect("answered");
    let seen = server.seen().pop().expect("a request");
    assert_eq!(seen.header("content-type"), Some("application/json"));
}

pub(crate) async fn a_redirect_is_an_answer(world: &World) {
    let server = Server::start(|seen| match seen.target.trim_start_matches('/').parse() {
        Ok(status) => answer(status, "location: /elsewhere\r\n", "moved"),
        Err(_) => ok("followed"),
    });
    let server = server.await;
    for status in [301, 302, 303, 307, 308] {
        let request = get(server.url(&format!("/{status}")));
        let response = world.host.http(request).await.expect("answered");
        assert_eq!((response.status, &*response.body), (status, &b"moved"[..]));
        assert_eq!(response.header("location"), Some("/elsewhere"));
    }
    assert!(server.seen().iter().all(|seen| seen.target != "/elsewhere"));
}

/// The parts of a form: name, file name and content.
fn parts_of(seen: &Seen) -> Vec<(String, Option<String>, Vec<u8>)> {
    let kind = seen.header("content-type").expect("a content type");
    let boundary = kind.strip_prefix("multipart/form-data; boundary=");
    let boundary = boundary.expect("a form").trim_matches('"');
    let (first, between) = (format!("--{boundary}\r\n"), format!("\r\n--{boundary}"));
    let find = |text: &[u8], part: &[u8]| text.windows(part.len()).position(|at| at == part);
    let mut rest = seen
        .body
        .strip_prefix(first.as_bytes())
        .expect("a first part");
    let mut parts = Vec::new();
    loop {
        let head = find(rest, b"\r\n\r\n").expect("the end of a head");
        let text = String::from_utf8(rest[..head].to_vec()).expect("a head in UTF-8");
        rest = &rest[head + 4..];
        let end = find(rest, between.as_bytes()).expect("the end of a part");
        let lines = text
            .lines()
            .map(|line| line.split_once(": ").expect("a header"));
        let says = |(name, _): &(&str, &str)| name.eq_ignore_ascii_case("content-disposition");
        let (_, says) = lines.clone().find(says).expect("a disposition");
        let of = |what: &str| {
            let (_, after) = says.split_once(&format!("; {what}=\""))?;
            Some(after.split_once('"')?.0.to_string())
        };
        let is_file = of("filename").is_some();
        let kind = lines
            .clone()
            .find(|(name, _)| name.eq_ignore_ascii_case("content-type"));
        let expected = is_file.then_some("application/octet-stream");
        assert_eq!(kind.map(|(_, kind)| kind), expected, "{text}");
        parts.push((
            of("name").expect("a name"),
            of("filename"),
            rest[..end].to_vec(),
        ));
        rest = &rest[end + between.len()..];
        match rest.strip_prefix(b"\r\n") {
            Some(more) => rest = more,
            None => {
                assert_eq!(rest, b"--\r\n");
                return parts;
            }
        }
    }
}

pub(crate) async fn every_part_of_a_form_arrives_byte_by_byte(world: &World) {
    let server = Server::start(|_| ok("")).await;
    let content: Vec<u8> = [0, 1, 253, 255, 13, 10, 45, 45].repeat(100_000);
    let path = world.file("file", &content);
    let empty = world.file("empty", "");
    let slice = |offset, length| {
        let path = path.clone();
        PartContent::Slice {
            path,
            offset,
            length,
        }
    };
    let length = content.len() as u64;
    let parts = vec![
        part(
            "files[0].path",
            PartContent::Text("/a b/ä\"'%20\n\r\nend\r".into()),
        ),
        part("files[0].file", PartContent::File(path.clone())),
        part("bytes", PartContent::Bytes(vec![0, 255, 13, 10])),
        part("none", PartContent::Bytes(Vec::new())),
        part("empty", PartContent::File(empty)),
        part("first", slice(0, 3)),
        part("middle", slice(3, 400_000)),
        part("last", slice(length - 5, 1 << 40)),
        part("beyond", slice(length + 7, 10)),
        part("nothing", slice(5, 0)),
        part("", PartContent::Text(String::new())),
        part("ä %22", PartContent::Text("x".into())),
    ];
    world
        .host
        .http(post(server.url("/"), parts))
        .await
        .expect("answered");
    let seen = parts_of(&server.seen().pop().expect("a request"));
    let file = || Some("file".to_string());
    let expected = [
        ("files[0].path", None, "/a b/ä\"'%20\n\r\nend\r".into()),
        ("files[0].file", file(), content.clone()),
        ("bytes", file(), vec![0, 255, 13, 10]),
        ("none", file(), Vec::new()),
        ("empty", file(), Vec::new()),
        ("first", file(), content[..3].to_vec()),
        ("middle", file(), content[3..400_003].to_vec()),
        ("last", file(), content[content.len() - 5..].to_vec()),
        ("beyond", file(), Vec::new()),
        ("nothing", file(), Vec::new()),
        ("", None, Vec::new()),
        ("ä %22", None, "x".into()),
    ];
    assert_eq!(seen.len(), expected.len());
    for (seen, (name, file, content)) in seen.into_iter().zip(expected) {
        assert_eq!((&*seen.0, seen.1), (name, file));
        assert!(
            seen.2 == content,
            "{name}: {} bytes, not {}",
            seen.2.len(),
            content.len()
        );
    }
}

pub(crate) async fn an_upload_that_cannot_be_read_is_not_sent(world: &World) {
    let server = Server::start(|_| ok("")).await;
    for path in [world.path("missing"), world.dir()] {
        let whole = PartContent::File(path.clone());
        let (offset, length) = (1, 2);
        let slice = PartContent::Slice {
            path: path.clone(),
            offset,
            length,
        };
        for content in [whole, slice] {
            let request = post(server.url("/"), vec![part("file", content)]);
            let error = world.host.http(request).await.expect_err("unread");
            assert!(
                matches!(error, HttpError::Request { .. }),
                "{path}: {error:?}"
            );
        }
    }
    assert!(server.seen().is_empty());
}

pub(crate) async fn a_request_that_cannot_be_made_is_not_sent(world: &World) {
    let server = Server::start(|_| ok("")).await;
    let with = |name: &str, value: &str| HttpRequest {
        headers: vec![(name.into(), value.into())],
        ..get(server.url("/"))
    };
    for request in [
        with("authorization", "Bearer a\u{200b}b"),
        with("authorization", "Bearer a\rb"),
        with("a b", "c"),
        get("http://exa mple/".into()),
        get("no address".into()),
        get("http://".into()),
    ] {
        let url = request.url.clone();
        let error = world.host.http(request).await.expect_err("not made");
        assert!(
            matches!(error, HttpError::Request { .. }),
            "{url}: {error:?}"
        );
        assert!(error.had_no_effect() && !error.is_passing(), "{error:?}");
    }
    assert!(server.seen().is_empty());
}

fn text(response: &HttpResponse) -> String {
    String::from_utf8_lossy(&response.body).into_owned()
}

pub(crate) async fn the_answer_has_names_in_lower_case_and_a_body_for_every_status(world: &World) {
    let server = Server::start(|seen| match seen.target.trim_start_matches('/').parse() {
        Ok(204) => raw("HTTP/1.1 204 No\r\nX-Answer: yes\r\n\r\n", Then::Next),
        Ok(status) => answer(status, "X-Answer: yes\r\nX-Word: caf\u{e9}\r\n", "why: ä"),
        Err(_) => raw(
            "HTTP/1.1 200 OK\r\nX-Answer: yes\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nwhy\r\n4\r\n: \u{e4}\r\n0\r\n\r\n",
            Then::Next,
        ),
    });
    let server = server.await;
    for (path, status, body) in [
        ("/200", 200, "why: ä"),
        ("/404", 404, "why: ä"),
        ("/409", 409, "why: ä"),
        ("/503", 503, "why: ä"),
        ("/204", 204, ""),
        ("/chunks", 200, "why: ä"),
    ] {
        let response = world
            .host
            .http(get(server.url(path)))
            .await
            .expect("answered");
        assert_eq!(
            (response.status, &*text(&response)),
            (status, body),
            "{path}"
        );
        assert_eq!(response.header("x-answer"), Some("yes"));
        if let Some(word) = response.header("x-word") {
            assert_eq!(word, "caf\u{c3}\u{a9}", "each byte is a letter");
        }
    }
}

fn large(seen: &Seen) -> Answer {
    let body = "x".repeat(5000);
    match &*seen.target {
        "/announced" => ok(body),
        _ => raw(
            format!("HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n{body}"),
            Then::Close,
        ),
    }
}

pub(crate) async fn an_answer_as_large_as_allowed_is_taken_and_a_larger_one_is_not(world: &World) {
    let server = Server::start(large).await;
    for path in ["/announced", "/unannounced"] {
        for save_to in [None, Some((world.path("saved"), 0))] {
            for (max_bytes, fits) in [(5000, true), (4999, false), (0, false)] {
                let (url, save_to) = (server.url(path), save_to.clone());
                let request = HttpRequest {
                    max_bytes,
                    save_to,
                    ..get(url.clone())
                };
                let error = world.host.http(request).await.err();
                let expected = (!fits).then_some(HttpError::TooLarge { url, max_bytes });
                assert_eq!(error, expected, "{path}");
            }
        }
    }
}

pub(crate) async fn a_saved_answer_is_a_new_private_file_or_goes_behind_what_is_there(
    world: &World,
) {
    let server = Server::start(|seen| ok(seen.target.trim_start_matches('/'))).await;
    let path = world.path("saved");
    for (body, offset, expected) in [
        ("0123456789", 0, "0123456789"),
        ("abc", 0, "abc"),
        ("de", 3, "abcde"),
        ("X", 1, "aXcde"),
        ("f", 7, "aXcde\0\0f"),
        ("new", 0, "new"),
    ] {
        let save_to = Some((path.clone(), offset));
        let request = HttpRequest {
            save_to,
            ..get(server.url(&format!("/{body}")))
        };
        let response = world.host.http(request).await.expect("answered");
        assert_eq!((response.status, &*text(&response)), (200, ""));
        assert_eq!(fs::read_to_string(&path).expect("saved"), expected);
        let mode = fs::metadata(&path).expect("saved").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}

pub(crate) async fn an_answer_that_says_no_is_not_saved(world: &World) {
    let server = Server::start(|seen| {
        let status = seen.target.trim_start_matches('/').parse();
        answer(status.expect("a status"), "location: /\r\n", "why")
    });
    let (server, path) = (server.await, world.path("unsaved"));
    for status in [302, 404, 500] {
        let save_to = Some((path.clone(), 0));
        let request = HttpRequest {
            save_to,
            ..get(server.url(&format!("/{status}")))
        };
        let response = world.host.http(request).await.expect("answered");
        assert_eq!((response.status, &*text(&response)), (status, "why"));
        assert!(!fs::exists(&path).expect("looked at"));
    }
}

pub(crate) async fn an_answer_that_cannot_be_saved_may_have_had_its_effect(world: &World) {
    let server = Server::start(|_| ok("body")).await;
    for (path, offset) in [("missing/saved", 0), ("missing", 3), (".", 0)] {
        let save_to = Some((world.path(path), offset));
        let request = HttpRequest {
            save_to,
            ..get(server.url("/"))
        };
        let error = world.host.http(request).await.expect_err("not saved");
        assert!(
            matches!(error, HttpError::Dropped { .. }),
            "{path}: {error:?}"
        );
    }
    assert_eq!(fs::read_dir(world.dir()).expect("listed").count(), 0);
}

pub(crate) async fn many_requests_go_at_the_same_time(world: &World) {
    const MANY: usize = 16;
    // Each waits until all are there.
    let all = Arc::new(std::sync::Barrier::new(MANY));
    let server = Server::start(move |seen| {
        let all = Arc::clone(&all);
        tokio::task::block_in_place(move || all.wait());
        ok(&seen.target)
    });
    let server = server.await;
    let requests = (0..MANY).map(|number| {
        let request = get(server.url(&format!("/{number}")));
        async move { text(&world.host.http(request).await.expect("answered")) }
    });
    let answers = futures::future::join_all(requests).await;
    let expected: Vec<_> = (0..MANY).map(|number| format!("/{number}")).collect();
    assert_eq!(answers, expected);
}

pub(crate) async fn a_request_whose_future_is_dropped_is_ended(world: &World) {
    let server = Server::start(|seen| match &*seen.target {
        "/head" => raw("", Then::Hang),
        "/body" => raw(
            "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf",
            Then::Hang,
        ),
        _ => ok("whole"),
    });
    let server = server.await;
    for (number, path) in ["/head", "/body"].into_iter().enumerate() {
        let request = world.host.http(get(server.url(path)));
        let arrived = until("it arrives", || {
            server.seen().iter().any(|seen| seen.target == path)
        });
        tokio::select! {
            answer = request => panic!("it ended: {:?}", answer.err()),
            () = arrived => {}
        }
        until("its connection is closed", || server.left() > number).await;
    }
    let other = world.host.http(get(server.url("/other"))).await;
    assert_eq!(text(&other.expect("answered")), "whole");
}
