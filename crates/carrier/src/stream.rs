//! A stream: what is written at one end is read at the other, each direction with an end of its own.

use crate::ends::Ends;
use crate::frames::Control;
use futures_util::{AsyncRead as _, AsyncWrite as _, ready};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::{OwnedSemaphorePermit, mpsc};

/// A stream of a connection.
///
/// It is as exact as TCP: reading ends where the peer has shut its side down, and fails with
/// [`io::ErrorKind::ConnectionReset`] where the peer has given the stream up or the connection is lost. Dropping
/// it before it was shut down resets it. What was written before a shutdown arrives, also if the stream
/// is dropped then.
pub struct Stream {
    /// Something until it is dropped.
    inner: Option<Inner>,
}

struct Inner {
    stream: yamux::Stream,
    id: u32,
    is_shut: bool,
    is_at_end: bool,
    /// Nobody reads it any more; this end waits until the peer has seen what was written.
    is_left: bool,
    ways: Ways,
    /// Its place among the streams that may be open, until both directions are over.
    permit: Option<OwnedSemaphorePermit>,
}

impl Inner {
    fn is_over(&mut self) -> bool {
        let is_over = self.is_shut && self.is_at_end;
        if is_over {
            self.permit = None;
        }
        is_over
    }
}

/// Where a stream that ends reaches its connection.
#[derive(Clone)]
pub(crate) struct Ways {
    pub(crate) ends: Arc<Ends>,
    pub(crate) controls: mpsc::UnboundedSender<Control>,
    /// Streams that were left after they were shut down.
    pub(crate) left: mpsc::UnboundedSender<Stream>,
}

impl Stream {
    pub(crate) fn new(
        stream: yamux::Stream,
        ways: Ways,
        permit: Option<OwnedSemaphorePermit>,
    ) -> Stream {
        let id = stream.id().val();
        ways.ends.begin(id);
        Stream {
            inner: Some(Inner {
                stream,
                id,
                is_shut: false,
                is_at_end: false,
                is_left: false,
                ways,
                permit,
            }),
        }
    }

    fn inner(&mut self) -> &mut Inner {
        self.inner
            .as_mut()
            .expect("a stream is whole until it is dropped")
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let Some(mut inner) = self.inner.take() else {
            return;
        };
        if inner.is_over() {
            return;
        }
        if inner.is_shut && !inner.is_left {
            // A reset would overtake what was written.
            inner.is_left = true;
            let left = inner.ways.left.clone();
            let _ = left.send(Stream { inner: Some(inner) });
            return;
        }
        // Before yamux hears of it: after the peer's end it would send an end, too, as if all had been written.
        let _ = inner.ways.controls.send(Control::Reset(inner.id));
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.ways.ends.forget(self.id);
    }
}

fn reset() -> io::Error {
    io::ErrorKind::ConnectionReset.into()
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        to: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let inner = self.inner();
        if to.remaining() == 0 || inner.is_at_end {
            return Poll::Ready(Ok(()));
        }
        let read = Pin::new(&mut inner.stream).poll_read(cx, to.initialize_unfilled());
        let length = ready!(read).map_err(|_| reset())?;
        if length == 0 {
            // A reset looks the same to yamux's readers.
            if !inner.ways.ends.has_finished(inner.id) {
                return Poll::Ready(Err(reset()));
            }
            inner.is_at_end = true;
            inner.is_over();
        }
        inner.ways.ends.read(inner.id, length);
        to.advance(length);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        from: &[u8],
    ) -> Poll<io::Result<usize>> {
        if from.is_empty() {
            return Poll::Ready(Ok(0));
        }
        let written = Pin::new(&mut self.inner().stream).poll_write(cx, from);
        written.map_err(|_| reset())
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.inner().stream).poll_flush(cx);
        flushed.map_err(|_| reset())
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let inner = self.inner();
        if !inner.is_shut {
            ready!(Pin::new(&mut inner.stream).poll_close(cx)).map_err(|_| reset())?;
            inner.is_shut = true;
            inner.is_over();
        }
        Poll::Ready(Ok(()))
    }
}

impl std::fmt::Debug for Stream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let id = self.inner.as_ref().map(|inner| inner.id);
        f.debug_struct("Stream").field("id", &id).finish()
    }
}
