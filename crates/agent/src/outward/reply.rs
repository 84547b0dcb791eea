//! What both halves answer with.

use super::wire::BoxError;
use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::Response;

/// An answer on its way to a sandbox.
pub(super) type Reply = Response<UnsyncBoxBody<Bytes, BoxError>>;

/// A body that is there as a whole.
pub(super) fn full(bytes: impl Into<Bytes>) -> UnsyncBoxBody<Bytes, BoxError> {
    let body = Full::new(bytes.into());
    body.map_err(|never| match never {}).boxed_unsync()
}

/// Names in a sentence.
pub(super) fn names<'a>(names: impl Iterator<Item = &'a String>) -> String {
    let names: Vec<_> = names.map(|name| format!("`{name}`")).collect();
    match names.is_empty() {
        true => "none".into(),
        false => names.join(", "),
    }
}
