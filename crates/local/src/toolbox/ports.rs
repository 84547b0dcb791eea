//! What listens inside the sandbox, and the way to it.

use std::net::{Ipv4Addr, Ipv6Addr};

use axum::Json;
use axum::extract::{Path, Request};
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse as _, Response};
use serde_json::{Value, json};
use tokio::net::TcpStream;

use super::daemon::Reply;
use crate::problem::Problem;
use crate::relay;

/// IPv4 ports only, like the daemon.
fn listening() -> Vec<u16> {
    const LISTEN: &str = "0A";
    let table = std::fs::read_to_string("/proc/self/net/tcp").unwrap_or_default();
    let mut ports: Vec<u16> = table
        .lines()
        .skip(1)
        .filter_map(|line| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let (local, state) = (fields.get(1)?, fields.get(3)?);
            let port = u16::from_str_radix(local.split(':').nth(1)?, 16).ok()?;
            (*state == LISTEN).then_some(port)
        })
        .collect();
    ports.sort_unstable();
    ports.dedup();
    ports
}

pub(super) async fn list() -> Json<Value> {
    Json(json!({ "ports": listening() }))
}

pub(super) async fn in_use(Path(port): Path<u16>) -> Reply {
    if !(3000..=9999).contains(&port) {
        return Err(Problem::bad_request(
            "bad request: port must be in range 3000-9999",
        ));
    }
    Ok(Json(json!({ "isInUse": listening().contains(&port) })))
}

/// `/proxy/{port}/{path}` to localhost.
pub(super) async fn proxy(mut request: Request) -> Response {
    let path_and_query = request.uri().path_and_query().map_or("", |p| p.as_str());
    let rest = path_and_query.trim_start_matches("/proxy/");
    let cut = rest.find(['/', '?']).unwrap_or(rest.len());
    let (port, path) = rest.split_at(cut);
    let Ok(port) = port.parse::<u16>() else {
        return Problem::bad_request("bad request: not a port").into_response();
    };
    let path = if path.starts_with('/') {
        path.to_owned()
    } else {
        format!("/{path}")
    };
    *request.uri_mut() = path.parse().unwrap_or_else(|_| Uri::from_static("/"));
    let stream = match TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await {
        Ok(stream) => Ok(stream),
        Err(_) => TcpStream::connect((Ipv6Addr::LOCALHOST, port)).await,
    };
    let Ok(stream) = stream else {
        return StatusCode::BAD_GATEWAY.into_response();
    };
    match relay::exchange(stream, request, ()).await {
        Ok(reply) => reply,
        Err(_) => StatusCode::BAD_GATEWAY.into_response(),
    }
}
