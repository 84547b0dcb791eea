//! A moment for the requests in progress when the daemon ends.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use http_body_util::BodyExt as _;
use tokio::sync::watch;

/// How long that moment is.
const MOMENT: Duration = Duration::from_secs(5);

/// Counts requests in progress, and cuts them off.
pub(super) struct Drain {
    open: watch::Sender<usize>,
    cut: watch::Sender<bool>,
}

impl Drain {
    pub(super) fn new() -> Self {
        Self {
            open: watch::Sender::new(0),
            cut: watch::Sender::new(false),
        }
    }

    /// Waits, within limits, until no request is in progress, and then lets none go on.
    pub(super) async fn finish(&self) {
        let mut open = self.open.subscribe();
        let _ = tokio::time::timeout(MOMENT, open.wait_for(|open| *open == 0)).await;
        self.cut.send_replace(true);
    }
}

/// While this lives, a request is in progress.
struct Open(Arc<Drain>);

impl Open {
    fn new(drain: Arc<Drain>) -> Self {
        drain.open.send_modify(|open| *open += 1);
        Self(drain)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.send_modify(|open| *open -= 1);
    }
}

/// Counts every request but the server's own. Of one that is cut off the client sees what a proxy
/// says when the daemon behind it is gone.
pub(super) async fn count(
    State(drain): State<Arc<Drain>>,
    request: Request,
    next: Next,
) -> Response {
    if request.uri().path().starts_with("/_") {
        return next.run(request).await;
    }
    let mut cut = drain.cut.subscribe();
    let open = Open::new(drain.clone());
    let reply = tokio::select! {
        reply = next.run(request) => reply,
        _ = cut.wait_for(|cut| *cut) => return StatusCode::BAD_GATEWAY.into_response(),
    };
    if reply.status() == StatusCode::SWITCHING_PROTOCOLS {
        return reply;
    }
    reply.map(|body| {
        Body::new(body.map_frame(move |frame| {
            let _ = &open;
            frame
        }))
    })
}
