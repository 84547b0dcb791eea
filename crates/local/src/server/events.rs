//! The event socket: what becomes of sandboxes, pushed to whoever waits for it.
//!
//! The official clients open it when they make a client, and poll beside it (TypeScript SDK 0.216):
//! Socket.IO 4 over WebSocket at `/api/socket.io/`, the key in the payload of the connection. A client
//! that is refused here tries again for minutes, and its program does not end before that.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use serde::Deserialize;
use serde_json::{Value, json};
use socketioxide::extract::{SocketRef, TryData};
use socketioxide::handler::ConnectHandler as _;
use socketioxide::service::SocketIoService;
use socketioxide::{SocketIo, TransportType};
use tokio::sync::broadcast::error::RecvError;
use tower_service::Service as _;

use super::app::App;
use super::lifecycle::Change;
use super::{api, auth};

pub(super) const PATH: &str = "/api/socket.io";

/// The socket's end in this server.
pub(super) struct Events(SocketIoService<Router>);

#[derive(Deserialize)]
struct Credentials {
    token: String,
}

impl Events {
    /// Serves the socket, and tells all who hold one of every change from now on.
    pub(super) fn serve(app: Arc<App>) -> Self {
        let elsewhere = Router::new().fallback(api::unknown);
        let builder = SocketIo::builder()
            .req_path(PATH)
            .transports([TransportType::Websocket]);
        let (service, io) = builder.build_with_inner_svc(elsewhere);
        let key = app.key.clone();
        let has_key = async move |_: SocketRef, TryData(given): TryData<Credentials>| match given {
            Ok(given) if auth::same(&given.token, &key) => Ok(()),
            _ => Err("Invalid credentials"),
        };
        let joins = async |_: SocketRef| {};
        io.ns("/", joins.with(has_key));
        tokio::spawn(tell(app, io));
        Self(service)
    }

    /// Answers a request below [`PATH`].
    pub(super) async fn answer(&self, request: Request) -> Response {
        let Ok(reply) = self.0.clone().call(request).await;
        reply.map(Body::new)
    }
}

async fn tell(app: Arc<App>, io: SocketIo) {
    let mut changes = app.sandboxes.changes();
    loop {
        let change = match changes.recv().await {
            Ok(change) => change,
            // Nobody misses an event for long: every client polls, too.
            Err(RecvError::Lagged(_)) => continue,
            Err(RecvError::Closed) => return,
        };
        let (name, event) = event(&change, &app.toolbox_url());
        // It fails for a client that is gone.
        let _ = io.emit(name, &event).await;
    }
}

/// Name and payload of an event.
fn event(change: &Change, toolbox_url: &str) -> (&'static str, Value) {
    let sandbox = change.record.dto(toolbox_url);
    match change.before {
        None => ("sandbox.created", sandbox),
        Some(before) => {
            let new = change.record.state;
            let event = json!({ "sandbox": sandbox, "oldState": before, "newState": new });
            ("sandbox.state.updated", event)
        }
    }
}
