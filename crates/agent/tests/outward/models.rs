//! Requests to models that are sent on.

use crate::provider::Provider;
use crate::world::{KEY, World, chat, post, soon};
use agent::outward::{Limits, ModelKind, ModelRoute, Secret, Tokens, Usage, provider_config};

#[tokio::test]
async fn the_first_event_arrives_before_the_second_is_sent() {
    let provider = Provider::new().await;
    let mut world = World::with_models(provider.address, Limits::default()).await;
    let mut client = world.send(chat()).await;
    let mut call = provider.next().await;
    call.begin().await;
    client.until("HTTP/1.1 200").await;
    for number in 0..3 {
        call.event(&format!("event {number}")).await;
        client.until(&format!("event {number}")).await;
    }
    call.event(r#"{"usage":{"prompt_tokens":5,"completion_tokens":7}}"#)
        .await;
    call.end().await;
    let answer = client.answer().await;
    assert!(answer.is_whole, "{answer:?}");
    assert!(
        answer.head.contains("content-type: text/event-stream"),
        "{answer:?}"
    );
    let usage = soon(world.used.recv()).await.unwrap();
    let expected = Usage {
        provider: "like-openai".into(),
        model: "small".into(),
        tokens: Some(Tokens {
            input: 5,
            output: 7,
        }),
        sent: r#"{"model":"small","messages":[]}"#.len() as u64,
        received: answer.body.len() as u64,
    };
    assert_eq!(usage, expected);
}

#[tokio::test]
async fn each_kind_is_asked_at_its_own_path_with_the_key_in_its_own_header() {
    let provider = Provider::new().await;
    let world = World::with_models(provider.address, Limits::default()).await;
    let small = r#"{"model":"small"}"#;
    for (path, body, asked, key) in [
        (
            "like-openai/chat/completions",
            small,
            "/v1/chat/completions",
            "authorization: Bearer ",
        ),
        (
            "like-openai/responses",
            small,
            "/v1/responses",
            "authorization: Bearer ",
        ),
        (
            "anthropic/v1/messages?beta=true",
            small,
            "/v1/messages?beta=true",
            "x-api-key: ",
        ),
        (
            "anthropic/v1/messages/count_tokens",
            small,
            "/v1/messages/count_tokens",
            "x-api-key: ",
        ),
        (
            "google/v1beta/models/small:generateContent?key=a",
            "{}",
            "/v1beta/models/small:generateContent",
            "x-goog-api-key: ",
        ),
        (
            "google/v1beta/models/small:streamGenerateContent?alt=sse&key=a",
            r#"{"model":"models/small"}"#,
            "/v1beta/models/small:streamGenerateContent?alt=sse",
            "x-goog-api-key: ",
        ),
        (
            "opencode/chat/completions",
            small,
            "/zen/v1/chat/completions",
            "authorization: Bearer ",
        ),
        (
            "opencode/responses",
            small,
            "/zen/v1/responses",
            "authorization: Bearer ",
        ),
        (
            "opencode/messages",
            small,
            "/zen/v1/messages",
            "x-api-key: ",
        ),
        (
            "opencode/models/small:streamGenerateContent?alt=sse",
            "{}",
            "/zen/v1/models/small:streamGenerateContent?alt=sse",
            "x-goog-api-key: ",
        ),
    ] {
        let client = world.send(post(&format!("/model/{path}"), "", body)).await;
        let call = provider.next().await;
        let line = call.head.lines().next().unwrap();
        assert_eq!(line, format!("POST {asked} HTTP/1.1"));
        assert!(
            call.head.contains(&format!("\r\n{key}{KEY}")),
            "{path}: {}",
            call.head
        );
        assert_eq!(call.head.matches(KEY).count(), 1, "{path}: {}", call.head);
        assert_eq!(call.body, body, "{path}");
        call.answer("200 OK", "", "{}").await;
        assert_eq!(client.answer().await.status, 200, "{path}");
    }
}

#[tokio::test]
async fn only_listed_headers_pass_in_either_direction() {
    let provider = Provider::new().await;
    let world = World::with_models(provider.address, Limits::default()).await;
    let headers = "Authorization: Bearer theirs\r\nx-api-key: theirs\r\nx-goog-api-key: theirs\r\n\
        api-key: theirs\r\nCookie: theirs\r\nx-forwarded-for: theirs\r\nForwarded: theirs\r\n\
        Connection: close, x-theirs\r\nx-theirs: theirs\r\nproxy-authorization: theirs\r\n\
        openai-organization: theirs\r\naccept-encoding: theirs\r\nte: theirs\r\n\
        anthropic-beta: ours\r\nanthropic-version: ours\r\nuser-agent: ours\r\nx-opencode-session: ours\r\n";
    let body = r#"{"model":"small"}"#;
    let client = world
        .send(post("/model/anthropic/v1/messages", headers, body))
        .await;
    let call = provider.next().await;
    assert!(!call.head.contains("theirs"), "{}", call.head);
    assert!(
        call.head.contains("\r\naccept-encoding: identity"),
        "{}",
        call.head
    );
    assert_eq!(call.head.matches(": ours").count(), 4, "{}", call.head);
    assert!(
        call.head.contains(&format!("host: {}", provider.address)),
        "{}",
        call.head
    );
    let headers = "set-cookie: theirs\r\nx-api-key: theirs\r\nserver: theirs\r\nanthropic-organization-id: theirs\r\n\
        www-authenticate: theirs\r\nlocation: theirs\r\nalt-svc: theirs\r\n\
        retry-after: ours\r\nrequest-id: ours\r\nanthropic-ratelimit-tokens-remaining: ours\r\ncontent-type: ours\r\n";
    call.answer("200 OK", headers, "{}").await;
    let answer = client.answer().await;
    assert!(!answer.head.contains("theirs"), "{answer:?}");
    assert_eq!(answer.head.matches(": ours").count(), 4, "{answer:?}");
}

#[tokio::test]
async fn the_key_is_in_no_answer_even_if_the_provider_repeats_it() {
    let provider = Provider::new().await;
    let world = World::with_models(provider.address, Limits::default()).await;
    let echo = format!(r#"{{"error":{{"message":"Incorrect key: {KEY}"}}}}"#);
    for (status, headers) in [
        ("401 Unauthorized", String::new()),
        ("400 Bad Request", String::new()),
        (
            "500 Internal Server Error",
            format!("x-request-id: {KEY}\r\n"),
        ),
        (
            "302 Found",
            format!("location: http://127.0.0.1/?key={KEY}\r\n"),
        ),
    ] {
        let client = world.send(chat()).await;
        let call = provider.next().await;
        call.answer(status, &headers, &echo).await;
        let answer = client.answer().await;
        assert!(answer.status >= 400, "{answer:?}");
        assert!(!answer.message().is_empty(), "{answer:?}");
        assert!(!format!("{answer:?}").contains(KEY), "{answer:?}");
    }
}

#[tokio::test]
async fn an_error_of_the_provider_passes_as_it_is() {
    let provider = Provider::new().await;
    let mut world = World::with_models(provider.address, Limits::default()).await;
    let client = world.send(chat()).await;
    let call = provider.next().await;
    let body = r#"{"error":{"message":"Too long.","code":"context_length_exceeded"}}"#;
    call.answer(
        "429 Too Many Requests",
        "retry-after: 7\r\ncontent-type: application/json\r\n",
        body,
    )
    .await;
    let answer = client.answer().await;
    assert_eq!((answer.status, answer.body.as_str()), (429, body));
    assert!(answer.head.contains("retry-after: 7"), "{answer:?}");
    assert_eq!(soon(world.used.recv()).await.unwrap().tokens, None);
}

#[tokio::test]
async fn the_list_of_models_is_that_of_the_allowed_ones() {
    let provider = Provider::new().await;
    let world = World::with_models(provider.address, Limits::default()).await;
    for name in ["like-openai", "opencode"] {
        let request = format!("GET /model/{name}/models HTTP/1.1\r\nhost: a\r\n\r\n");
        let answer = world.ask(request).await;
        let body: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
        let ids: Vec<_> = body["data"]
            .as_array()
            .unwrap()
            .iter()
            .map(|model| &model["id"])
            .collect();
        assert_eq!(ids, ["small", "large"]);
    }
    assert!(!provider.was_asked().await);
}

#[test]
fn the_configuration_for_opencode_has_our_addresses_and_no_key() {
    let route = |name: &str, kind| ModelRoute {
        name: name.into(),
        kind,
        base_url: "https://api.example".into(),
        key: Secret::new(KEY),
        models: vec!["small".into()],
    };
    let routes = [
        route("openai", ModelKind::OpenAiCompatible),
        route("mine", ModelKind::OpenAiCompatible),
        route("anthropic", ModelKind::Anthropic),
        route("google", ModelKind::Google),
        route("opencode", ModelKind::Zen),
    ];
    let config = provider_config(&routes, 4100);
    for (name, path, package) in [
        ("openai", "openai", Some("@ai-sdk/openai")),
        ("mine", "mine", Some("@ai-sdk/openai-compatible")),
        ("anthropic", "anthropic/v1", Some("@ai-sdk/anthropic")),
        ("google", "google/v1beta", Some("@ai-sdk/google")),
        ("opencode", "opencode", None),
    ] {
        let provider = &config[name];
        assert_eq!(
            provider["options"]["baseURL"],
            format!("http://127.0.0.1:4100/model/{path}")
        );
        assert_eq!(provider["npm"].as_str(), package, "{name}");
        assert_eq!(
            provider["whitelist"],
            serde_json::json!(["small"]),
            "{name}"
        );
        assert!(provider["models"]["small"].is_object(), "{name}");
    }
    assert!(!config.to_string().contains(KEY));
}
