//! The routes and fields served, compared with the published OpenAPI documents where they are.

mod common;

use std::path::Path;

use serde_json::{Value, json};

fn document(name: &str) -> Option<Value> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/daytona-openapi");
    let Ok(text) = std::fs::read_to_string(dir.join(name)) else {
        eprintln!("SKIPPED: {name} is not at {}", dir.display());
        return None;
    };
    Some(serde_json::from_str(&text).expect("JSON"))
}

#[test]
fn every_route_is_in_the_published_document() {
    // Of an older daemon, and still called.
    let legacy = [("POST", "/files/upload")];
    for (name, routes) in [
        ("api.json", daytona_local::routes::API),
        ("toolbox.json", daytona_local::routes::TOOLBOX),
    ] {
        let Some(document) = document(name) else {
            continue;
        };
        for (method, path) in routes {
            let known = !document["paths"][path][method.to_lowercase()].is_null();
            assert!(
                known || legacy.contains(&(method, path)),
                "{name}: {method} {path}"
            );
        }
    }
}

#[test]
fn every_required_field_is_there() {
    let Some(document) = document("api.json") else {
        return;
    };
    let data = tempfile::tempdir().expect("a directory");
    let server = common::Server::start(data.path());
    let id = server.create(json!({}));
    let list = server.send("GET", "/api/sandbox", None).json();
    for (schema, value) in [
        (
            "Sandbox",
            server
                .send("GET", &format!("/api/sandbox/{id}"), None)
                .json(),
        ),
        ("SandboxListItem", list["items"][0].clone()),
        ("ListSandboxesResponse", list),
        (
            "PortPreviewUrl",
            server
                .send(
                    "GET",
                    &format!("/api/sandbox/{id}/ports/3000/preview-url"),
                    None,
                )
                .json(),
        ),
        (
            "SignedPortPreviewUrl",
            server
                .send(
                    "GET",
                    &format!("/api/sandbox/{id}/ports/3000/signed-preview-url"),
                    None,
                )
                .json(),
        ),
        (
            "SnapshotDto",
            server
                .send("GET", "/api/snapshots/daytona-small", None)
                .json(),
        ),
        (
            "PaginatedSnapshots",
            server.send("GET", "/api/snapshots", None).json(),
        ),
        (
            "DaytonaConfiguration",
            server.send("GET", "/api/config", None).json(),
        ),
    ] {
        for field in document["components"]["schemas"][schema]["required"]
            .as_array()
            .expect("a list")
        {
            let field = field.as_str().expect("a name");
            assert!(value.get(field).is_some(), "{schema}.{field} in {value}");
        }
    }
}
