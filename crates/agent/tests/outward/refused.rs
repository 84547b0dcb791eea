//! Requests that go nowhere.

use crate::provider::Provider;
use crate::world::{KEY, World, chat, post};
use agent::outward::{GitHost, GitLogin, Limits, Refused, Repository, Secret, Settings};
use std::time::Duration;

const SMALL: &str = r#"{"model":"small"}"#;

#[tokio::test]
async fn what_is_not_listed_is_refused_with_a_sentence_and_reaches_no_provider() {
    let provider = Provider::new().await;
    let limits = Limits {
        model_body: 1000,
        ..Limits::default()
    };
    let world = World::with_models(provider.address, limits).await;
    let large = format!(r#"{{"model":"small","input":"{}"}}"#, "a".repeat(1000));
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n");
    let chunked = format!(
        "POST /model/like-openai/responses HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n{:x}\r\n{large}\r\n0\r\n\r\n",
        large.len()
    );
    let base = "/model/like-openai/chat/completions";
    for (request, status, words) in [
        (get(base), 405, "POST only"),
        (get("/model/anthropic/v1/messages"), 405, "POST only"),
        (
            post("/model/like-openai/models", "", SMALL),
            405,
            "GET only",
        ),
        (
            post("/model/like-openai/embeddings", "", SMALL),
            404,
            "none of the requests",
        ),
        (
            post("/model/like-openai/v1/chat/completions", "", SMALL),
            404,
            "none of the requests",
        ),
        (
            post("/model/nobody/chat/completions", "", SMALL),
            404,
            "`nobody` is not configured",
        ),
        (
            post("/model/LIKE-OPENAI/chat/completions", "", SMALL),
            404,
            "Configured: `like-openai`",
        ),
        (
            post("/model/like-openai", "", SMALL),
            404,
            "nothing at this path",
        ),
        (post("/", "", SMALL), 400, "no escapes"),
        (
            post(
                "/model/like-openai/../like-openai/chat/completions",
                "",
                SMALL,
            ),
            400,
            "no escapes",
        ),
        (
            post("/model/like-openai/%2e%2e/files", "", SMALL),
            400,
            "no escapes",
        ),
        (
            post("/model/like-openai/chat%2Fcompletions", "", SMALL),
            400,
            "no escapes",
        ),
        (
            post("/model//like-openai/chat/completions", "", SMALL),
            400,
            "no escapes",
        ),
        (
            post("/model/like-openai//chat/completions", "", SMALL),
            400,
            "no escapes",
        ),
        (
            post(&format!("http://api.example{base}"), "", SMALL),
            400,
            "no host",
        ),
        (
            post(&format!("//api.example{base}"), "", SMALL),
            400,
            "no escapes",
        ),
        (
            "CONNECT api.example:443 HTTP/1.1\r\nhost: api.example:443\r\n\r\n".into(),
            400,
            "no host",
        ),
        (
            post(base, "connection: upgrade\r\nupgrade: websocket\r\n", SMALL),
            400,
            "upgraded",
        ),
        (
            post(base, "", r#"{"model":"huge"}"#),
            403,
            "`huge` of `like-openai` is not allowed here. Allowed: `small`, `large`",
        ),
        (post(base, "", r#"{"model":"SMALL"}"#), 403, "`SMALL`"),
        (
            post(base, "", r#"{"model":"small","models":["small","huge"]}"#),
            403,
            "`huge`",
        ),
        (
            post(base, "", r#"{"model":"small","Model":"huge"}"#),
            400,
            "`Model`",
        ),
        (
            post(base, "", r#"{"model":"small","model":"huge"}"#),
            400,
            "`model`",
        ),
        (post(base, "", "{}"), 400, "names no model"),
        (post(base, "", "no JSON"), 400, "cannot be used"),
        (
            post(base, "content-encoding: gzip\r\n", SMALL),
            400,
            "compressed",
        ),
        (
            post("/model/google/v1beta/models/huge:generateContent", "", "{}"),
            403,
            "`huge`",
        ),
        (
            post(
                "/model/google/v1beta/models/small:generateContent",
                "",
                r#"{"model":"models/huge"}"#,
            ),
            403,
            "`huge`",
        ),
        (
            post("/model/opencode/models/huge:generateContent", "", "{}"),
            403,
            "`huge`",
        ),
        (post(base, "", &large), 413, "1000 bytes"),
        (chunked, 413, "1000 bytes"),
    ] {
        let answer = world.ask(&request).await;
        assert_eq!(answer.status, status, "{request}: {answer:?}");
        assert!(answer.message().contains(words), "{request}: {answer:?}");
        assert!(!answer.body.contains(KEY), "{answer:?}");
    }
    assert!(!provider.was_asked().await);
}

#[tokio::test]
async fn a_refusal_is_seen_by_a_client_that_sends_all_of_a_large_body_first() {
    let provider = Provider::new().await;
    let limits = Limits {
        model_body: 1000,
        ..Limits::default()
    };
    let world = World::with_models(provider.address, limits).await;
    // More than the buffers of both sockets hold.
    let body = "a".repeat(20 << 20);
    for (path, status) in [("responses", 413), ("files", 404)] {
        let path = format!("/model/like-openai/{path}");
        let answer = world.ask(post(&path, "", &body)).await;
        assert_eq!(answer.status, status, "{answer:?}");
    }
}

#[tokio::test]
async fn what_is_no_http_is_refused() {
    let provider = Provider::new().await;
    let world = World::with_models(provider.address, Limits::default()).await;
    let body = r#"{"model":"small"}"#;
    for request in [
        "SSH-2.0-OpenSSH\r\n\r\n".to_string(),
        format!(
            "POST /model/a/b HTTP/1.1\r\nx: {}\r\n\r\n",
            "a".repeat(1 << 20)
        ),
        post(
            "/model/like-openai/responses",
            "content-length: 3\r\n",
            body,
        ),
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".into(),
    ] {
        let answer = world.ask(&request).await;
        assert!([0, 400, 431].contains(&answer.status), "{answer:?}");
    }
    assert!(!provider.was_asked().await);
}

#[tokio::test]
async fn a_second_request_on_a_connection_is_never_read() {
    let provider = Provider::new().await;
    let world = World::with_models(provider.address, Limits::default()).await;
    let client = world.send(chat() + &chat()).await;
    provider.next().await.answer("200 OK", "", "{}").await;
    let answer = client.answer().await;
    assert_eq!((answer.status, answer.body.as_str()), (200, "{}"));
    assert!(answer.head.contains("connection: close"), "{answer:?}");
    assert!(!provider.was_asked().await);
}

#[tokio::test]
async fn an_allowance_that_is_used_up_refuses_and_says_whether_to_try_again() {
    let provider = Provider::new().await;
    let mut world = World::with_models(provider.address, Limits::default()).await;
    for (retry_after, status, header) in [
        (None, 402, None),
        (Some(Duration::from_secs(9)), 429, Some("retry-after: 9")),
    ] {
        let reason = "This turn has used its 1000 tokens.".to_string();
        *world.purse.refused.lock().unwrap() = Some(Refused {
            reason: reason.clone(),
            retry_after,
        });
        let answer = world.ask(chat()).await;
        assert_eq!((answer.status, answer.message()), (status, reason));
        assert!(
            header.is_none_or(|header| answer.head.contains(header)),
            "{answer:?}"
        );
        assert_eq!(
            answer.head.contains("retry-after"),
            header.is_some(),
            "{answer:?}"
        );
    }
    assert!(!provider.was_asked().await);
    assert!(
        world.used.try_recv().is_err(),
        "what was not allowed has used nothing"
    );
}

#[tokio::test]
async fn of_git_only_the_three_requests_for_listed_repositories_pass() {
    let provider = Provider::new().await;
    let host = |name: &str, ignores_case| GitHost {
        name: name.into(),
        base_url: format!("http://{}", provider.address),
        login: Some(GitLogin {
            user: "x-access-token".into(),
            token: Secret::new(KEY),
        }),
        ignores_case,
    };
    let settings = Settings {
        git: vec![host("Git.example", true), host("exact.example", false)],
        ..Settings::default()
    };
    let repository = |host: &str, owner: &str, name: &str| Repository {
        host: host.into(),
        owner: owner.into(),
        name: name.into(),
        may_push: false,
    };
    let repositories = vec![
        repository("git.example", "Owner", "site.github.io"),
        repository("exact.example", "group/sub", "r"),
    ];
    let world = World::new(settings, repositories).await;
    let get = |path: &str| format!("GET /git/{path} HTTP/1.1\r\nhost: a\r\n\r\n");
    let refs = |path: &str| get(&format!("{path}/info/refs?service=git-upload-pack"));
    let mine = "git.example/Owner/site.github.io";
    for (request, status, words) in [
        (
            refs("other.example/a/b"),
            404,
            "`other.example` is not configured here. Configured: `git.example`",
        ),
        (
            refs("git.example/other/site.github.io"),
            403,
            "none of those that this sandbox may use",
        ),
        (refs("git.example/Owner/site"), 403, "none of those"),
        (
            refs("git.example/Owner/site.github.io.git.git"),
            403,
            "none of those",
        ),
        (refs("exact.example/Group/sub/r"), 403, "none of those"),
        (refs("exact.example/sub/r"), 403, "none of those"),
        (
            refs("git.example/Owner/../Owner/site.github.io"),
            400,
            "no escapes",
        ),
        (
            refs("git.example/Owner/site%2egithub.io"),
            400,
            "no escapes",
        ),
        (
            get(&format!("{mine}/info/refs?service=git-receive-pack")),
            403,
            "not pushed to",
        ),
        (
            get(&format!("{mine}/info/refs")),
            403,
            "Only git's own fetch and push",
        ),
        (
            get(&format!("{mine}/info/refs?service=git-upload-archive")),
            403,
            "Only git's",
        ),
        (
            get(&format!("{mine}/info/refs?service=git-upload-pack&a=b")),
            403,
            "Only git's",
        ),
        (get(&format!("{mine}/HEAD")), 403, "Only git's"),
        (
            get(&format!("{mine}.git/objects/info/packs")),
            403,
            "Only git's",
        ),
        (get(&format!("{mine}/git-upload-pack")), 405, "POST only"),
        (
            post(
                &format!("/git/{mine}/info/refs?service=git-upload-pack"),
                "",
                "",
            ),
            405,
            "GET only",
        ),
        (
            post(&format!("/git/{mine}/git-receive-pack"), "", "0000"),
            403,
            "not pushed to",
        ),
        (
            post(&format!("/git/{mine}/git-upload-archive"), "", "0000"),
            403,
            "Only git's",
        ),
        (get("git.example/git-upload-pack"), 403, "Only git's"),
    ] {
        let answer = world.ask(&request).await;
        assert_eq!(answer.status, status, "{request}: {answer:?}");
        assert!(answer.body.contains(words), "{request}: {answer:?}");
        assert!(
            answer.status == 400 || answer.head.contains("content-type: text/plain"),
            "{answer:?}"
        );
    }
    for (path, status) in [("objects/batch", 403), ("locks/verify", 404)] {
        let answer = world
            .ask(post(&format!("/git/{mine}.git/info/lfs/{path}"), "", "{}"))
            .await;
        assert_eq!(answer.status, status, "{answer:?}");
        assert!(
            answer
                .head
                .contains("content-type: application/vnd.git-lfs+json"),
            "{answer:?}"
        );
        let body: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
        assert!(
            body["message"]
                .as_str()
                .unwrap()
                .contains("GIT_LFS_SKIP_SMUDGE")
        );
    }
    assert!(!provider.was_asked().await);
    for (path, asked) in [
        (
            "GIT.example/owner/SITE.github.io.git",
            "/Owner/site.github.io.git",
        ),
        (mine, "/Owner/site.github.io.git"),
        ("exact.example/group/sub/r", "/group/sub/r.git"),
    ] {
        let client = world.send(refs(path)).await;
        let call = provider.next().await;
        let line = call.head.lines().next().unwrap();
        assert_eq!(
            line,
            format!("GET {asked}/info/refs?service=git-upload-pack HTTP/1.1")
        );
        call.answer(
            "200 OK",
            "content-type: application/x-git-upload-pack-advertisement\r\n",
            "",
        )
        .await;
        assert_eq!(client.answer().await.status, 200);
    }
}
