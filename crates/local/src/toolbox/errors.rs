//! The forms of errors, which differ between versions of the daemon and between its routes.

use axum::extract::{Request, State};
use axum::http::{Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};

use crate::options::Daemon;
use crate::problem::Problem;

/// What every version says to a path or a method that it does not know.
pub(super) fn no_such_route() -> Response {
    let kind = [(header::CONTENT_TYPE, "text/plain")];
    (StatusCode::NOT_FOUND, kind, "404 page not found").into_response()
}

/// Gives every error its form.
pub(super) async fn render(State(daemon): State<Daemon>, request: Request, next: Next) -> Response {
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    // What comes from a port inside is none of the daemon's.
    if path.starts_with("/proxy/") {
        return next.run(request).await;
    }
    // axum takes HEAD for GET, the daemon for a method that it does not know.
    if method == Method::HEAD {
        return no_such_route();
    }
    let reply = next.run(request).await;
    let problem = reply.extensions().get::<Problem>().cloned();
    let Some(problem) = problem.or_else(|| of_the_library(&reply)) else {
        return reply;
    };
    match daemon {
        Daemon::V0_190 if is_bare(&path, problem.status) => problem.status.into_response(),
        Daemon::V0_190 => problem.named(method.as_str(), &path),
        Daemon::V0_216 => problem.toolbox(method.as_str(), &path),
    }
}

/// axum's own words for a query that does not parse and the like.
fn of_the_library(reply: &Response) -> Option<Problem> {
    let kind = reply.headers().get(header::CONTENT_TYPE)?;
    // The daemon's own text has no character set.
    let is_axums = kind == "text/plain; charset=utf-8" && reply.status().is_client_error();
    let reason = reply.status().canonical_reason().unwrap_or("error");
    is_axums.then(|| Problem::new(reply.status(), reason.to_lowercase()))
}

/// Whether 0.190 sends only the status: its handlers of files and ports, and the check of a session's
/// command, send the headers before they say what is wrong.
fn is_bare(path: &str, status: StatusCode) -> bool {
    let is_bulk = path.starts_with("/files/bulk-");
    let is_file = path.starts_with("/files") && !is_bulk;
    let is_exec = path.starts_with("/process/session/") && path.ends_with("/exec");
    let is_check = is_exec && status == StatusCode::BAD_REQUEST && !path.contains("/entrypoint/");
    status != StatusCode::NOT_IMPLEMENTED && (is_file || is_check || path.starts_with("/port/"))
}
