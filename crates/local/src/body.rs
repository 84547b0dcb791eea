//! The body of a request, read to its end.

use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::{Body, BodyDataStream};
use axum::extract::Request;
use bytes::Bytes;
use futures_util::{Stream, StreamExt as _};

/// A request whose body is read to its end, whatever the handler leaves of it: it ends with the last file of
/// a form, which is before the end of the body. A connection on which something is unread is reset when it
/// closes, and the answer may be lost with it.
pub(crate) async fn read_to_the_end(request: Request) -> Request {
    request.map(|body| Body::from_stream(ToTheEnd(Some(body.into_data_stream()))))
}

/// A body that reads its rest when it is dropped.
struct ToTheEnd(Option<BodyDataStream>);

impl Stream for ToTheEnd {
    type Item = Result<Bytes, axum::Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Some(body) = &mut self.0 else {
            return Poll::Ready(None);
        };
        let polled = body.poll_next_unpin(context);
        if matches!(polled, Poll::Ready(None | Some(Err(_)))) {
            self.0 = None;
        }
        polled
    }
}

impl Drop for ToTheEnd {
    fn drop(&mut self) {
        if let Some(mut rest) = self.0.take() {
            tokio::spawn(async move { while let Some(Ok(_)) = rest.next().await {} });
        }
    }
}
