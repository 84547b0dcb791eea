//! Everything this client sends, compared with the published OpenAPI documents where they are.
//!
//! The requests are the client's own: a host writes them down and answers.

use daytona::*;
use host::{Body, Host, HttpRequest, PartContent};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;
use std::rc::Rc;
use testkit::{TestHost, run};

const PROXY: &str = "https://proxy.example/toolbox";
const API: &str = "https://api.example/api";

fn document(name: &str) -> Option<Value> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/daytona-openapi");
    let Ok(text) = std::fs::read_to_string(dir.join(name)) else {
        println!("SKIPPED: {name} is not at {}", dir.display());
        return None;
    };
    Some(serde_json::from_str(&text).expect("JSON"))
}

/// One request of every kind, with every field set.
fn requests() -> Vec<HttpRequest> {
    let host = Rc::new(TestHost::new(&[]));
    host.answer_with(|request| match request.url.as_str() {
        url if url.contains("limit=") && url.contains("cursor=") => r#"{"items":[]}"#,
        url if url.contains("limit=") => r#"{"items":[],"nextCursor":"c"}"#,
        url if url.ends_with("/execute") => "{}",
        url if url.contains("/signed-preview-url") => r#"{"url":"https://h","token":"t"}"#,
        _ => r#"{"id":"id","state":"started"}"#,
    });
    let settings = Settings {
        api_url: API.into(),
        api_key: "key".into(),
        organization: Some("organization".into()),
    };
    let client = Client::new(Rc::clone(&host) as Rc<dyn Host>, settings);
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
            .download(&toolbox, "/tmp/a b", "/dev/null", bytes)
            .await
            .expect("a download");
        client
            .signed_preview_url("id", 3000, 60)
            .await
            .expect("a preview");
    });
    host.requests()
}

/// The schema that a `$ref` names, in OpenAPI 3 and in Swagger 2.
fn resolve<'a>(document: &'a Value, schema: &'a Value) -> &'a Value {
    match schema["$ref"].as_str() {
        Some(reference) => document
            .pointer(reference.trim_start_matches('#'))
            .unwrap_or_else(|| panic!("{reference}")),
        None => schema["allOf"]
            .get(0)
            .map_or(schema, |first| resolve(document, first)),
    }
}

/// Every field of `value` is in `schema`, with its kind, and so are theirs.
fn check(document: &Value, schema: &Value, value: &Value, at: &str) {
    let schema = resolve(document, schema);
    let kind = match value {
        Value::Object(_) => "object",
        Value::String(_) => "string",
        Value::Number(_) => "number",
        other => panic!("{at}: {other}"),
    };
    let expected = schema["type"].as_str().unwrap_or("object");
    assert_eq!(kind, expected.replace("integer", "number"), "{at}");
    let Some(fields) = schema["properties"].as_object() else {
        return;
    };
    for (name, value) in value.as_object().into_iter().flatten() {
        let field = fields.get(name);
        let field = field.unwrap_or_else(|| panic!("{at}.{name} is not in the document"));
        check(document, field, value, &format!("{at}.{name}"));
    }
}

/// The operation of a request; `{…}` in a path stands for the id or the port.
fn operation<'a>(document: &'a Value, request: &HttpRequest, base: &str) -> (&'a Value, String) {
    let path = request.url.strip_prefix(base).expect("its base");
    let path = path.split('?').next().expect("a path");
    let is_it = |known: &str| {
        known.split('/').count() == path.split('/').count()
            && known.split('/').zip(path.split('/')).all(|(known, own)| {
                known == own || (known.starts_with('{') && ["id", "3000"].contains(&own))
            })
    };
    let at = format!("{} {path}", request.method);
    let paths = document["paths"].as_object().expect("paths");
    let method = request.method.to_lowercase();
    let operation = paths
        .iter()
        .filter(|(known, _)| is_it(known))
        .find_map(|(_, methods)| methods.get(&method));
    (
        operation.unwrap_or_else(|| panic!("{at} is not in the document")),
        at,
    )
}

#[test]
fn every_request_is_in_the_published_document() {
    let (Some(api), Some(toolbox)) = (document("api.json"), document("toolbox.json")) else {
        return;
    };
    let requests = requests();
    assert_eq!(requests.len(), 10);
    for request in &requests {
        let base = format!("{PROXY}/id");
        let (document, (operation, at)) = match request.url.starts_with(PROXY) {
            true => (&toolbox, operation(&toolbox, request, &base)),
            false => (&api, operation(&api, request, API)),
        };
        let parameters = operation["parameters"].as_array();
        let parameter = |name: &str| {
            let all = parameters.into_iter().flatten();
            all.clone()
                .find(|parameter| parameter["name"] == name)
                .cloned()
        };
        let query = request.url.split_once('?').map_or("", |(_, query)| query);
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let name = pair.split('=').next().expect("a name");
            let found = parameter(name).unwrap_or_else(|| panic!("{at}: no parameter {name}"));
            assert_eq!(found["in"], "query", "{at}: {name}");
        }
        match &request.body {
            Body::Empty => assert!(
                operation["requestBody"]["required"] != true,
                "{at} needs a body"
            ),
            Body::Json(text) => {
                let body: Value = serde_json::from_str(text).expect("JSON");
                // OpenAPI 3 has a body, Swagger 2 a parameter in the body.
                let three = &operation["requestBody"]["content"]["application/json"]["schema"];
                let two = parameters
                    .into_iter()
                    .flatten()
                    .find(|parameter| parameter["in"] == "body")
                    .map_or(&Value::Null, |parameter| &parameter["schema"]);
                let schema = if three.is_null() { two } else { three };
                assert!(!schema.is_null(), "{at} takes no JSON");
                check(document, schema, &body, &at);
            }
            // The document does not name the fields of an upload; the daemon wants path, then file.
            Body::Multipart(parts) => {
                assert_eq!(operation["consumes"][0], "multipart/form-data", "{at}");
                let names: Vec<_> = parts.iter().map(|part| part.name.as_str()).collect();
                assert_eq!(names, ["files[0].path", "files[0].file"]);
                assert!(matches!(&parts[0].content, PartContent::Text(path) if path == "/tmp/a"));
            }
        }
    }
}
