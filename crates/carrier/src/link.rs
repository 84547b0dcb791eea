//! One connection, from its upgrade to its end: streams are opened, come in, and are lost with it.

use crate::frames::{Closed, Control, Frames, websocket};
use crate::rules::{Breach, MAX_BODY};
use crate::stream::{Stream, Ways};
use futures_util::AsyncWrite as _;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol;

/// Streams that the program may open: requests to OpenCode, those of terminals too.
const TO_SANDBOX: usize = 128;
/// Streams that the sandbox may open: what OpenCode and git ask for.
const TO_PROGRAM: usize = 64;
/// Streams that yamux keeps beyond those that have a place, while it tells the peer that they have none.
const REFUSED: usize = 32;
/// The window of a stream: what yamux begins with.
const WINDOW: usize = 256 * 1024;
/// How long a stream that was left is still read, so that the peer sees what was written to it.
const LEFT: Duration = Duration::from_secs(10);

/// The code of a close that was meant.
pub const CLOSED: u16 = 1000;
/// The code of a close because a newer connection has come.
pub const REPLACED: u16 = 4001;

/// Which end this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The end that dials.
    Program,
    /// The end that is dialed.
    Sandbox,
}

/// What an end does, and lets its peer do.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Streams of the peer that may be open. What it opens beyond that is reset.
    pub inbound: usize,
    /// Streams of this end that may be open. The next one waits.
    pub outbound: usize,
    /// Time between two pings.
    pub ping_every: Duration,
    /// How long the answer to a ping may take.
    pub answer_within: Duration,
}

impl Settings {
    /// The settings of an end.
    pub fn of(role: Role) -> Settings {
        // A stream may be over at the peer, which opens the next one, and not yet here.
        let (inbound, outbound) = match role {
            Role::Program => (TO_PROGRAM + TO_PROGRAM / 2, TO_SANDBOX),
            Role::Sandbox => (TO_SANDBOX * 2, TO_PROGRAM),
        };
        Settings {
            inbound,
            outbound,
            ping_every: Duration::from_secs(20),
            answer_within: Duration::from_secs(30),
        }
    }
}

/// Why a connection is no more.
#[derive(Debug, thiserror::Error)]
pub enum Lost {
    /// One of both ends has closed it.
    #[error("The connection was closed with code {code}.")]
    Closed {
        /// The WebSocket's code.
        code: u16,
    },
    /// A newer connection with the right secret has come.
    #[error(
        "Another connection to this sandbox has replaced this one. End the other one, or leave the sandbox to it."
    )]
    Replaced,
    /// The peer does not answer.
    #[error("The other end has not answered a ping for {} ms.", within.as_millis())]
    Silent {
        /// The time that it had.
        within: Duration,
    },
    /// The peer has broken the protocol.
    #[error("The other end has broken the protocol and was cut off: it sent {0}.")]
    Breach(Breach),
    /// The way has failed.
    #[error("The connection broke: {0}.")]
    Broken(io::Error),
}

/// A connection with its three sides: who opens streams, where the peer's arrive, and what drives all.
pub struct Link<D> {
    /// Opens streams, and ends the connection.
    pub opener: Opener,
    /// Drives the connection, and ends with it. Dropping it resets all streams.
    pub driver: D,
}

/// Opens streams of a connection.
#[derive(Clone)]
pub struct Opener {
    requests: mpsc::Sender<oneshot::Sender<Stream>>,
    controls: mpsc::UnboundedSender<Control>,
}

impl Opener {
    /// Opens a stream, or waits until there is a place for one. None if the connection is no more.
    pub async fn open(&self) -> Option<Stream> {
        let (reply, stream) = oneshot::channel();
        self.requests.send(reply).await.ok()?;
        stream.await.ok()
    }

    /// True if the connection is no more.
    pub fn is_lost(&self) -> bool {
        self.requests.is_closed()
    }

    /// Asks for the end of the connection, with this code. The driver ends when the peer has been told.
    pub fn close(&self, code: u16) {
        let _ = self.controls.send(Control::Close(code));
    }
}

/// A connection over `io`, behind an upgrade that both ends have agreed on. Streams of the peer go to `inbound`;
/// those that it has no room for are reset.
pub async fn link<S>(
    io: S,
    role: Role,
    settings: Settings,
    inbound: mpsc::Sender<Stream>,
) -> Link<impl Future<Output = Lost> + Send>
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    let websocket_role = match role {
        Role::Program => protocol::Role::Client,
        Role::Sandbox => protocol::Role::Server,
    };
    let socket = WebSocketStream::from_raw_socket(io, websocket_role, Some(websocket())).await;
    link_websocket(socket, role, settings, inbound)
}

/// A connection over a WebSocket.
pub(crate) fn link_websocket<S>(
    socket: WebSocketStream<S>,
    role: Role,
    settings: Settings,
    inbound: mpsc::Sender<Stream>,
) -> Link<impl Future<Output = Lost> + Send>
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    let mode = match role {
        Role::Program => yamux::Mode::Client,
        Role::Sandbox => yamux::Mode::Server,
    };
    let most = settings.inbound + settings.outbound + REFUSED;
    let mut config = yamux::Config::default();
    config
        .set_max_num_streams(most)
        // Not a byte for larger windows.
        .set_max_connection_receive_window(Some(most * WINDOW))
        .set_split_send_size(MAX_BODY);
    let (controls, to_frames) = mpsc::unbounded_channel();
    let (left, to_linger) = mpsc::unbounded_channel();
    let (requests, to_open) = mpsc::channel(1);
    let ways = Ways {
        ends: Arc::default(),
        controls: controls.clone(),
        left,
    };
    let answered = Arc::new(Notify::new());
    let frames = Frames::new(socket, to_frames, ways.ends.clone(), answered.clone());
    let driver = Driver {
        yamux: yamux::Connection::new(frames, config, mode),
        ways,
        inbound,
        inbound_places: Arc::new(Semaphore::new(settings.inbound)),
        outbound_places: Arc::new(Semaphore::new(settings.outbound)),
    };
    let pulse = Pulse {
        controls: controls.clone(),
        answered,
        settings,
    };
    Link {
        opener: Opener { requests, controls },
        driver: driver.run(pulse, to_open, to_linger),
    }
}

struct Driver<S> {
    yamux: yamux::Connection<Frames<S>>,
    ways: Ways,
    inbound: mpsc::Sender<Stream>,
    inbound_places: Arc<Semaphore>,
    outbound_places: Arc<Semaphore>,
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Driver<S> {
    async fn run(
        mut self,
        pulse: Pulse,
        mut to_open: mpsc::Receiver<oneshot::Sender<Stream>>,
        mut to_linger: mpsc::UnboundedReceiver<Stream>,
    ) -> Lost {
        let mut lingering = JoinSet::new();
        let silent = pulse.watch();
        tokio::pin!(silent);
        loop {
            tokio::select! {
                stream = poll_fn(|cx| self.yamux.poll_next_inbound(cx)) => match stream {
                    Some(Ok(stream)) => self.arrive(stream),
                    Some(Err(error)) => return lost(error),
                    None => return Lost::Closed { code: CLOSED },
                },
                Some((reply, permit)) = next(&mut to_open, &self.outbound_places) => {
                    let stream = match self.open().await {
                        Ok(stream) => stream,
                        Err(error) => return lost(error),
                    };
                    // Whoever asked may have gone.
                    let _ = reply.send(Stream::new(stream, self.ways.clone(), Some(permit)));
                }
                Some(stream) = to_linger.recv() => {
                    lingering.spawn(linger(stream));
                }
                Some(_) = lingering.join_next() => {}
                within = &mut silent => return Lost::Silent { within },
            }
        }
    }

    /// The peer has opened a stream.
    fn arrive(&self, stream: yamux::Stream) {
        let permit = self.inbound_places.clone().try_acquire_owned().ok();
        let has_place = permit.is_some();
        let stream = Stream::new(stream, self.ways.clone(), permit);
        if has_place {
            let _ = self.inbound.try_send(stream);
        }
    }

    async fn open(&mut self) -> yamux::Result<yamux::Stream> {
        let mut stream = poll_fn(|cx| self.yamux.poll_new_outbound(cx)).await?;
        // Yamux says that there is a stream with its first frame, which has room in the new stream's queue.
        poll_fn(|cx| Pin::new(&mut stream).poll_write(cx, &[])).await?;
        Ok(stream)
    }
}

/// The next request for a stream that there is a place for.
async fn next(
    requests: &mut mpsc::Receiver<oneshot::Sender<Stream>>,
    places: &Arc<Semaphore>,
) -> Option<(oneshot::Sender<Stream>, OwnedSemaphorePermit)> {
    let permit = places.clone().acquire_owned().await.ok()?;
    Some((requests.recv().await?, permit))
}

/// Waits until the peer has seen what was written to a stream that nobody reads any more.
async fn linger(mut stream: Stream) {
    let _ = timeout(LEFT, tokio::io::copy(&mut stream, &mut tokio::io::sink())).await;
}

/// Whether the peer is there.
struct Pulse {
    controls: mpsc::UnboundedSender<Control>,
    answered: Arc<Notify>,
    settings: Settings,
}

impl Pulse {
    /// Ends with the time that the peer has not answered in.
    async fn watch(self) -> Duration {
        let within = self.settings.answer_within;
        loop {
            sleep(self.settings.ping_every).await;
            let _ = self.controls.send(Control::Ping);
            if timeout(within, self.answered.notified()).await.is_err() {
                return within;
            }
        }
    }
}

/// What yamux's error is in truth.
fn lost(error: yamux::ConnectionError) -> Lost {
    use yamux::{ConnectionError, FrameDecodeError};
    let error = match error {
        ConnectionError::Io(error) | ConnectionError::Decode(FrameDecodeError::Io(error)) => error,
        ConnectionError::Closed => return Lost::Closed { code: CLOSED },
        _ => return Lost::Breach(Breach::Multiplexing),
    };
    let inner = error.get_ref();
    if let Some(breach) = inner.and_then(|inner| inner.downcast_ref::<Breach>()) {
        return Lost::Breach(breach.clone());
    }
    match inner.and_then(|inner| inner.downcast_ref::<Closed>()) {
        Some(Closed(REPLACED)) => Lost::Replaced,
        Some(Closed(code)) => Lost::Closed { code: *code },
        None => Lost::Broken(error),
    }
}
