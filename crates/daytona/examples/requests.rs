//! Prints one request of every kind that this client sends, a line of JSON each, for the test that
//! compares them with the official client (`tests/compat/types.test.mjs`).
//!
//! The requests are the client's own: a host writes them down and answers.

use daytona::*;
use host::{Body, Host, HttpRequest};
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::Arc;
use testkit::{TestHost, run};

const PROXY: &str = "https://proxy.example/toolbox";
const API: &str = "https://api.example/api";

fn main() {
    for request in requests() {
        let url = request.url.as_str();
        let toolbox = format!("{PROXY}/id");
        let (side, path) = match url.strip_prefix(&toolbox) {
            Some(path) => ("toolbox", path),
            None => ("api", url.strip_prefix(API).expect("one of the two")),
        };
        let (body, parts) = match &request.body {
            Body::Empty => (None, None),
            Body::Json(text) => (serde_json::from_str::<serde_json::Value>(text).ok(), None),
            Body::Multipart(parts) => {
                let names = parts.iter().map(|part| part.name.clone());
                (None, Some(names.collect::<Vec<_>>()))
            }
        };
        println!(
            "{}",
            json!({ "side": side, "method": request.method, "path": path, "body": body, "parts": parts })
        );
    }
}

/// One request of every kind, with every field set.
fn requests() -> Vec<HttpRequest> {
    let host = Arc::new(TestHost::new(&[]));
    host.answer_with(|request| match request.url.as_str() {
        url if url.contains("limit=") && url.contains("cursor=") => r#"{"items":[]}"#,
        url if url.contains("limit=") => r#"{"items":[],"nextCursor":"c"}"#,
        url if url.ends_with("/execute") => "{}",
        url if url.contains("/signed-preview-url") => r#"{"url":"https://h","token":"t"}"#,
        url if url.contains("/snapshots/") => {
            r#"{"id":"id","name":"name","state":"active","sourceSandboxId":"id"}"#
        }
        _ => r#"{"id":"id","state":"started"}"#,
    });
    let settings = Settings {
        api_url: API.into(),
        api_key: "key".into(),
        organization: Some("organization".into()),
    };
    let client = Client::new(Arc::clone(&host) as Arc<dyn Host>, settings);
    let toolbox = Toolbox {
        id: "id".into(),
        proxy_url: PROXY.into(),
    };
    let map = BTreeMap::from([("name".to_string(), "value".to_string())]);
    let mut create = CreateSandbox {
        name: "name".into(),
        snapshot: Some("snapshot".into()),
        build_info: None,
        target: Some("target".into()),
        env: map.clone(),
        labels: map.clone(),
        auto_stop_interval: Some(1),
        auto_archive_interval: Some(1),
        auto_delete_interval: Some(1),
        resources: Resources {
            cpu: Some(1),
            memory: Some(1),
            disk: Some(1),
        },
    };
    create.image("debian:12");
    let execute = Execute {
        command: "true".into(),
        envs: map.clone(),
        timeout: 1,
    };
    let upload = Upload {
        path: "/tmp/a".into(),
        source: UploadSource::Bytes(vec![1]),
    };
    run(async {
        client.create(&create).await.expect("a create");
        client.get("id").await.expect("a get");
        client.list(&map).await.expect("a list");
        client.start("id").await.expect("a start");
        client.delete("id").await.expect("a delete");
        let bytes = 1000;
        client
            .execute(&toolbox, &execute, bytes)
            .await
            .expect("an execute");
        client.upload(&toolbox, &[upload]).await.expect("an upload");
        client
            .download(&toolbox, "/tmp/a b", "/dev/null", 0..100, 100)
            .await
            .expect("a download");
        client
            .signed_preview_url("id", 3000, 60)
            .await
            .expect("a preview");
        let asked = client.ask_for_snapshot("id", "name").await;
        asked.expect("a snapshot of a sandbox");
        client.snapshot("name").await.expect("a snapshot");
        client.remove_snapshot("id").await.expect("a removal");
    });
    host.requests()
}
