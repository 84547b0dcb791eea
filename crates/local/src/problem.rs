//! An error reply before it has a body: the two sides of Daytona word theirs differently.
//!
//! A handler returns a [`Problem`]; the middleware that knows the request's path renders it.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Map, json};

use crate::clock::{now_ms, rfc3339};

/// What went wrong, for the caller.
#[derive(Clone, Debug)]
pub(crate) struct Problem {
    pub(crate) status: StatusCode,
    pub(crate) message: String,
    /// What clients tell errors apart by; by default the status's own, and empty is none.
    pub(crate) code: Option<&'static str>,
}

impl Problem {
    pub(crate) fn new(status: StatusCode, message: impl Into<String>) -> Self {
        let message = message.into();
        Self {
            status,
            message,
            code: None,
        }
    }

    pub(crate) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    pub(crate) fn not_found(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, message)
    }

    pub(crate) fn conflict(message: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, message)
    }

    pub(crate) fn internal(error: impl std::fmt::Display) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string())
    }

    pub(crate) fn code(mut self, code: &'static str) -> Self {
        self.code = Some(code);
        self
    }

    /// The control plane's body.
    pub(crate) fn api(&self, path: &str) -> Response {
        let body = json!({
            "path": path,
            "timestamp": rfc3339(now_ms()),
            "statusCode": self.status.as_u16(),
            "error": self.status.canonical_reason().unwrap_or("Error"),
            "message": self.message,
        });
        (self.status, Json(body)).into_response()
    }

    /// The toolbox's body, as the 0.216 specification words it.
    pub(crate) fn toolbox(&self, method: &str, path: &str) -> Response {
        let mut body = self.typed(method, path);
        body["source"] = json!("DAYTONA_DAEMON");
        (self.status, Json(body)).into_response()
    }

    /// The body of older daemons, and of the proxy and the runner in front of every toolbox: nothing
    /// in it says who wrote it.
    pub(crate) fn named(&self, method: &str, path: &str) -> Response {
        (self.status, Json(self.typed(method, path))).into_response()
    }

    fn typed(&self, method: &str, path: &str) -> serde_json::Value {
        let code = self.code.unwrap_or(match self.status.as_u16() {
            400 => "BAD_REQUEST",
            401 => "UNAUTHORIZED",
            403 => "FORBIDDEN",
            404 => "NOT_FOUND",
            408 => "REQUEST_TIMEOUT",
            409 => "CONFLICT",
            410 => "GONE",
            422 => "UNPROCESSABLE_ENTITY",
            501 => "NOT_IMPLEMENTED",
            _ => "INTERNAL_SERVER_ERROR",
        });
        let mut body = json!({
            "statusCode": self.status.as_u16(),
            "message": self.message,
            "timestamp": rfc3339(now_ms()),
            "path": path,
            "method": method,
        });
        if !code.is_empty() {
            body["code"] = json!(code);
        }
        body
    }
}

/// An unrendered reply: the status and, aside, what to say.
impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut reply = self.status.into_response();
        reply.extensions_mut().insert(self);
        reply
    }
}

/// Reads typed fields out of a JSON object and collects every complaint, as the API does.
pub(crate) struct Fields<'a> {
    object: &'a Map<String, serde_json::Value>,
    complaints: Vec<String>,
}

impl<'a> Fields<'a> {
    pub(crate) fn of(body: &'a serde_json::Value) -> Result<Self, Problem> {
        let object = body
            .as_object()
            .ok_or_else(|| Problem::bad_request("the body must be a JSON object"))?;
        Ok(Self {
            object,
            complaints: Vec::new(),
        })
    }

    /// The field, or `None` where it is absent or null; `kind` completes "`name` must be ...".
    pub(crate) fn get<T: serde::de::DeserializeOwned>(
        &mut self,
        name: &str,
        kind: &str,
    ) -> Option<T> {
        let value = self.object.get(name).filter(|v| !v.is_null())?;
        match T::deserialize(value) {
            Ok(value) => Some(value),
            Err(_) => {
                self.complain(format!("{name} must be {kind}"));
                None
            }
        }
    }

    pub(crate) fn complain(&mut self, complaint: String) {
        self.complaints.push(complaint);
    }

    pub(crate) fn finish(self) -> Result<(), Problem> {
        if self.complaints.is_empty() {
            return Ok(());
        }
        Err(Problem::bad_request(self.complaints.join(", ")))
    }
}
