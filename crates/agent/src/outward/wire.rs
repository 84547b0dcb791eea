//! Bodies that pass: counted, bounded, never collected, and cut when nothing moves.

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;

/// An error of a body, of whichever side.
pub(super) type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Until when something must move on a connection.
#[derive(Clone)]
pub(super) struct Pulse(Arc<Due>);

struct Due {
    at: Mutex<Instant>,
    is_sooner: Notify,
}

impl Pulse {
    pub(super) fn new(limit: Duration) -> Self {
        Pulse(Arc::new(Due {
            at: Mutex::new(Instant::now() + limit),
            is_sooner: Notify::new(),
        }))
    }

    fn due(&self) -> Instant {
        *self.0.at.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Something moved; the next thing must within this time.
    pub(super) fn beat(&self, limit: Duration) {
        let next = Instant::now() + limit;
        let mut at = self.0.at.lock().unwrap_or_else(PoisonError::into_inner);
        if next < *at {
            self.0.is_sooner.notify_one();
        }
        *at = next;
    }

    /// Returns when nothing moved for too long.
    pub(super) async fn stopped(&self) {
        loop {
            let due = self.due();
            if due <= Instant::now() {
                return;
            }
            tokio::select! {
                () = tokio::time::sleep_until(due) => {}
                () = self.0.is_sooner.notified() => {}
            }
        }
    }
}

/// Why an upload ended before its end.
#[derive(Debug, thiserror::Error)]
pub(super) enum UploadError {
    #[error("more than {0} bytes")]
    Large(u64),
    #[error(transparent)]
    Cut(#[from] hyper::Error),
}

/// A request's body on its way from the sandbox.
pub(super) struct Upload {
    inner: Incoming,
    limit: u64,
    left: u64,
    pulse: Pulse,
    idle: Duration,
    ended: Arc<Notify>,
}

impl Upload {
    pub(super) fn new(inner: Incoming, limit: u64, pulse: Pulse, idle: Duration) -> Self {
        let ended = Arc::new(Notify::new());
        if inner.is_end_stream() {
            ended.notify_one();
        }
        Upload {
            inner,
            limit,
            left: limit,
            pulse,
            idle,
            ended,
        }
    }

    /// What has not been read.
    pub(super) fn into_inner(self) -> Incoming {
        self.inner
    }

    /// Notified when the last byte has gone.
    pub(super) fn ended(&self) -> Arc<Notify> {
        Arc::clone(&self.ended)
    }
}

impl Body for Upload {
    type Data = Bytes;
    type Error = UploadError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, UploadError>>> {
        let frame = ready!(Pin::new(&mut self.inner).poll_frame(cx));
        self.pulse.beat(self.idle);
        let Some(frame) = frame.transpose()? else {
            self.ended.notify_one();
            return Poll::Ready(None);
        };
        // Trailers are nothing that anybody here sends.
        let data = frame.into_data().unwrap_or_default();
        let Some(left) = self.left.checked_sub(data.len() as u64) else {
            return Poll::Ready(Some(Err(UploadError::Large(self.limit))));
        };
        self.left = left;
        if self.inner.is_end_stream() {
            self.ended.notify_one();
        }
        Poll::Ready(Some(Ok(Frame::data(data))))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// What sees an answer pass.
pub(super) trait Watch: Send {
    /// The next bytes.
    fn pass(&mut self, bytes: &[u8]);
    /// All has passed.
    fn end(&mut self);
}

/// An answer's body on its way to the sandbox.
pub(super) struct Download<W> {
    inner: reqwest::Body,
    watch: W,
    pulse: Pulse,
    idle: Duration,
}

impl<W> Download<W> {
    pub(super) fn new(inner: reqwest::Body, watch: W, pulse: Pulse, idle: Duration) -> Self {
        pulse.beat(idle);
        Download {
            inner,
            watch,
            pulse,
            idle,
        }
    }
}

impl<W: Watch + Unpin> Body for Download<W> {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let frame = ready!(Pin::new(&mut self.inner).poll_frame(cx));
        self.pulse.beat(self.idle);
        let Some(frame) = frame.transpose()? else {
            self.watch.end();
            return Poll::Ready(None);
        };
        let data = frame.into_data().unwrap_or_default();
        self.watch.pass(&data);
        if self.inner.is_end_stream() {
            self.watch.end();
        }
        Poll::Ready(Some(Ok(Frame::data(data))))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
