//! Yamux's bytes as messages of a WebSocket: one message is one frame.
//!
//! Because each frame passes through here in one piece, this is also where the rules of the wire are kept that
//! yamux does not have (see the crate), where a frame of our own can be put between its frames,
//! and where a connection ends for which yamux has found its peer guilty: it would only tell that peer.

use crate::ends::Ends;
use crate::rules::{Breach, MAX_BODY};
use bytes::{Buf as _, Bytes, BytesMut};
use futures_util::{AsyncRead, AsyncWrite, Sink, Stream, ready};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead as Read, AsyncWrite as Write};
use tokio::sync::{Notify, mpsc};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::error::{CapacityError, ProtocolError};
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message};

/// Version, type, flags (two bytes), stream (four), length (four).
const HEADER: usize = 12;
const DATA: u8 = 0;
const WINDOW: u8 = 1;
const PING: u8 = 2;
const AWAY: u8 = 3;
const SYN: u16 = 1;
const FIN: u16 = 4;
const RST: u16 = 8;
/// All flags that there are.
const FLAGS: u16 = 15;

/// A close of the WebSocket, by either end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the connection was closed with code {0}")]
pub(crate) struct Closed(pub(crate) u16);

/// What goes out between yamux's frames.
pub(crate) enum Control {
    /// The end of a stream that was given up.
    Reset(u32),
    /// Are you there?
    Ping,
    /// The end of the connection.
    Close(u16),
}

/// The settings of a WebSocket. Nothing is held back to be sent together, because each message is as large as
/// it should be; answers to a flood of pings are bounded.
pub(crate) fn websocket() -> WebSocketConfig {
    WebSocketConfig::default()
        .max_message_size(Some(HEADER + MAX_BODY))
        .max_frame_size(Some(HEADER + MAX_BODY))
        .read_buffer_size(64 * 1024)
        .write_buffer_size(0)
        .max_write_buffer_size(8 * MAX_BODY)
}

/// A WebSocket as yamux reads and writes it.
pub(crate) struct Frames<S> {
    socket: WebSocketStream<S>,
    /// What is left of the frame that yamux reads.
    incoming: Bytes,
    /// The frame that yamux writes, as far as it is there.
    outgoing: BytesMut,
    controls: mpsc::UnboundedReceiver<Control>,
    ends: Arc<Ends>,
    answered: Arc<Notify>,
    /// Why this end has given the connection up, once that has been sent.
    over: Option<Over>,
}

#[derive(Clone)]
enum Over {
    Breach(Breach),
    Closed(Closed),
}

impl Over {
    fn error(&self) -> io::Error {
        match self.clone() {
            Over::Breach(breach) => breach.into(),
            Over::Closed(closed) => io::Error::new(io::ErrorKind::ConnectionAborted, closed),
        }
    }
}

impl From<Breach> for io::Error {
    fn from(breach: Breach) -> io::Error {
        io::Error::new(io::ErrorKind::InvalidData, breach)
    }
}

impl<S: Read + Write + Unpin> Frames<S> {
    pub(crate) fn new(
        socket: WebSocketStream<S>,
        controls: mpsc::UnboundedReceiver<Control>,
        ends: Arc<Ends>,
        answered: Arc<Notify>,
    ) -> Self {
        Frames {
            socket,
            incoming: Bytes::new(),
            outgoing: BytesMut::new(),
            controls,
            ends,
            answered,
            over: None,
        }
    }

    /// Ready when the next frame of yamux can be sent, and what goes before it has been. Only between frames.
    fn poll_clear(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            ready!(Pin::new(&mut self.socket).poll_ready(cx)).map_err(failed)?;
            if let Some(over) = &self.over {
                return Poll::Ready(Err(over.error()));
            }
            let Poll::Ready(Some(control)) = self.controls.poll_recv(cx) else {
                return Poll::Ready(Ok(()));
            };
            let message = match control {
                Control::Reset(id) => Message::Binary(reset(id)),
                Control::Ping => Message::Ping(Bytes::new()),
                Control::Close(code) => {
                    self.over = Some(Over::Closed(Closed(code)));
                    Message::Close(Some(CloseFrame {
                        code: code.into(),
                        reason: Default::default(),
                    }))
                }
            };
            Pin::new(&mut self.socket)
                .start_send(message)
                .map_err(failed)?;
        }
    }

    /// Sends the frame if it is whole.
    fn send_if_whole(&mut self) -> io::Result<()> {
        let Some(header) = Header::of(&self.outgoing) else {
            return Ok(());
        };
        if self.outgoing.len() < header.frame() {
            return Ok(());
        }
        let frame = self.outgoing.split().freeze();
        match header.kind {
            // Yamux measures the way with them to make windows larger; see the crate.
            PING => return Ok(()),
            // The peer is told, and then it is over.
            AWAY if header.length != 0 => self.over = Some(Over::Breach(Breach::Multiplexing)),
            _ => {}
        }
        Pin::new(&mut self.socket)
            .start_send(Message::Binary(frame))
            .map_err(failed)
    }

    /// A message of the peer as a frame, if it is one.
    fn take(&mut self, message: Message) -> io::Result<()> {
        match message {
            Message::Binary(frame) => {
                let header = Header::of(&frame).filter(|header| header.is_allowed(frame.len()));
                let header = header.ok_or(Breach::NoFrame)?;
                if header.flags & SYN != 0 {
                    self.ends.begin(header.stream);
                }
                if header.flags & (FIN | RST) != 0 {
                    self.ends.end(header.stream, header.flags & RST == 0);
                }
                self.ends.arrive(header.stream, frame.len() - HEADER)?;
                self.incoming = frame;
            }
            // The library answers.
            Message::Ping(_) => {}
            Message::Pong(_) => self.answered.notify_one(),
            Message::Close(frame) => {
                let code = frame.map_or(1005, |frame| frame.code.into());
                return Err(Over::Closed(Closed(code)).error());
            }
            Message::Text(_) | Message::Frame(_) => {
                return Err(Breach::NoWebSocket("a text".to_owned()).into());
            }
        }
        Ok(())
    }
}

impl<S: Read + Write + Unpin> AsyncRead for Frames<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        to: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        while self.incoming.is_empty() {
            match ready!(Pin::new(&mut self.socket).poll_next(cx)) {
                None => return Poll::Ready(Ok(0)),
                Some(message) => self.take(message.map_err(failed)?)?,
            }
        }
        let length = to.len().min(self.incoming.len());
        to[..length].copy_from_slice(&self.incoming[..length]);
        self.incoming.advance(length);
        Poll::Ready(Ok(length))
    }
}

impl<S: Read + Write + Unpin> AsyncWrite for Frames<S> {
    /// Waits only between frames: what has begun is taken to its end.
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        from: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.outgoing.is_empty() {
            ready!(self.poll_clear(cx))?;
        }
        let whole = Header::of(&self.outgoing).map_or(HEADER, |header| header.frame());
        let length = from.len().min(whole - self.outgoing.len());
        self.outgoing.extend_from_slice(&from[..length]);
        self.send_if_whole()?;
        Poll::Ready(Ok(length))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.outgoing.is_empty() {
            ready!(self.poll_clear(cx))?;
        }
        Pin::new(&mut self.socket).poll_flush(cx).map_err(failed)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_close(cx).map_err(failed)
    }
}

/// The header of a frame of yamux.
struct Header {
    version: u8,
    kind: u8,
    flags: u16,
    stream: u32,
    length: u32,
}

impl Header {
    /// The header that `frame` begins with, if all of it is there.
    fn of(frame: &[u8]) -> Option<Header> {
        let mut bytes: &[u8] = frame.get(..HEADER)?;
        Some(Header {
            version: bytes.get_u8(),
            kind: bytes.get_u8(),
            flags: bytes.get_u16(),
            stream: bytes.get_u32(),
            length: bytes.get_u32(),
        })
    }

    /// Size of the whole frame. Only data has something behind the header.
    fn frame(&self) -> usize {
        match self.kind {
            DATA => HEADER.saturating_add(self.length as usize),
            _ => HEADER,
        }
    }

    /// True if a peer may send this as a message of `size` bytes.
    fn is_allowed(&self, size: usize) -> bool {
        let is_kind = match self.kind {
            DATA | WINDOW => self.stream != 0,
            AWAY => self.stream == 0,
            _ => false,
        };
        self.version == 0 && is_kind && self.flags & !FLAGS == 0 && self.frame() == size
    }
}

/// The frame that ends a stream at once.
fn reset(id: u32) -> Bytes {
    let mut frame = [0; HEADER];
    frame[2..4].copy_from_slice(&RST.to_be_bytes());
    frame[4..8].copy_from_slice(&id.to_be_bytes());
    Bytes::copy_from_slice(&frame)
}

/// A failure of the WebSocket: of the way, or of the peer.
fn failed(error: Error) -> io::Error {
    match error {
        Error::Io(error) => error,
        Error::Capacity(CapacityError::MessageTooLong { .. }) => Breach::TooLarge.into(),
        Error::ConnectionClosed
        | Error::AlreadyClosed
        | Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => {
            io::ErrorKind::ConnectionReset.into()
        }
        other => Breach::NoWebSocket(other.to_string()).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u16, stream: u32, length: u32, body: usize) -> Vec<u8> {
        let mut frame = vec![0, kind];
        frame.extend(flags.to_be_bytes());
        frame.extend(stream.to_be_bytes());
        frame.extend(length.to_be_bytes());
        frame.resize(HEADER + body, 0);
        frame
    }

    #[test]
    fn a_message_is_exactly_one_frame_of_those_that_are_allowed() {
        let mut version = frame(DATA, 0, 1, 0, 0);
        version[0] = 1;
        for (what, frame, is_allowed) in [
            ("data", frame(DATA, 0, 1, 5, 5), true),
            ("a beginning", frame(DATA, SYN, 2, 0, 0), true),
            ("a window", frame(WINDOW, 0, 1, 1 << 18, 0), true),
            ("an end", frame(AWAY, 0, 0, 0, 0), true),
            ("a ping", frame(PING, SYN, 0, 7, 0), false),
            (
                "data with less than it says",
                frame(DATA, 0, 1, 6, 5),
                false,
            ),
            (
                "data with more than it says",
                frame(DATA, 0, 1, 4, 5),
                false,
            ),
            ("data with no end", frame(DATA, 0, 1, u32::MAX, 5), false),
            (
                "two frames",
                [frame(WINDOW, 0, 1, 9, 0), frame(WINDOW, 0, 1, 9, 0)].concat(),
                false,
            ),
            ("data of no stream", frame(DATA, SYN, 0, 0, 0), false),
            ("an unknown kind", frame(4, 0, 1, 0, 0), false),
            ("an unknown flag", frame(DATA, 16, 1, 0, 0), false),
            ("another version", version, false),
            ("half a header", vec![0; HEADER - 1], false),
        ] {
            let header = Header::of(&frame).filter(|header| header.is_allowed(frame.len()));
            assert_eq!(header.is_some(), is_allowed, "{what}");
        }
    }
}
