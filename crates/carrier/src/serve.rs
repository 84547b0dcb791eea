//! The sandbox's end: it copies bytes, and looks at none of them.

use crate::frames::websocket;
use crate::link::{Lost, Opener, REPLACED, Role, Settings, link_websocket};
use crate::rules::MAX_BODY;
use crate::secret::{SECRET_HEADER, Secret};
use crate::stream::Stream;
use socket2::SockRef;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::copy_bidirectional_with_sizes;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::http::StatusCode;

/// How long a local connection waits for the program.
pub const MAX_WAIT: Duration = Duration::from_secs(60);
/// How long an upgrade may take.
const UPGRADE: Duration = Duration::from_secs(10);
/// How long the program of a replaced connection may take to hear of it.
const FAREWELL: Duration = Duration::from_secs(5);
/// What of the connection the kernel may hold back: a small message waits behind it.
const UNSENT: u32 = 64 * 1024;
/// What is copied at once: a frame's body.
const COPY: usize = MAX_BODY;

/// The sandbox's end, listening.
pub struct Carrier {
    listener: TcpListener,
    outward: TcpListener,
    target: SocketAddr,
    secret: Arc<Secret>,
    settings: Settings,
    max_wait: Duration,
}

impl Carrier {
    /// Listens on loopback: on `port` for the program, and on `outward` for whoever in the sandbox wants to speak to
    /// it. Streams of the program become connections to `target`. A port may be 0, for any.
    pub async fn bind(port: u16, target: u16, outward: u16, secret: Secret) -> io::Result<Carrier> {
        let local = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        Ok(Carrier {
            listener: TcpListener::bind(local(port)).await?,
            outward: TcpListener::bind(local(outward)).await?,
            target: local(target),
            secret: Arc::new(secret),
            settings: Settings::of(Role::Sandbox),
            max_wait: MAX_WAIT,
        })
    }

    /// The same with a shorter wait of local connections than [`MAX_WAIT`].
    pub fn waiting(mut self, max_wait: Duration) -> Carrier {
        self.max_wait = max_wait;
        self
    }

    /// The ports: the program's, and the outward one.
    pub fn ports(&self) -> io::Result<(u16, u16)> {
        Ok((
            self.listener.local_addr()?.port(),
            self.outward.local_addr()?.port(),
        ))
    }

    /// Serves, and never ends.
    pub async fn serve(self) -> ! {
        let (arrivals, arrived) = mpsc::channel(1);
        let (current, live) = watch::channel(None);
        let places = self.settings.outbound;
        tokio::spawn(keep(arrived, current, self.target, self.settings));
        tokio::spawn(carry_outward(self.outward, live, places, self.max_wait));
        welcome(self.listener, self.secret, arrivals).await
    }
}

/// Upgrades the connections of programs that know the secret.
async fn welcome(
    listener: TcpListener,
    secret: Arc<Secret>,
    arrivals: mpsc::Sender<WebSocketStream<TcpStream>>,
) -> ! {
    loop {
        let socket = accept(&listener).await;
        let (secret, arrivals) = (secret.clone(), arrivals.clone());
        tokio::spawn(async move {
            if let Ok(Some(socket)) = timeout(UPGRADE, upgrade(socket, &secret)).await {
                let _ = arrivals.send(socket).await;
            }
        });
    }
}

async fn upgrade(socket: TcpStream, secret: &Secret) -> Option<WebSocketStream<TcpStream>> {
    let _ = socket.set_nodelay(true);
    let _ = SockRef::from(&socket).set_tcp_notsent_lowat(UNSENT);
    // The size of the error is the library's.
    #[allow(clippy::result_large_err)]
    let check = |request: &Request, response: Response| {
        let given = request.headers().get(SECRET_HEADER);
        if given.is_some_and(|given| secret.is(given.as_bytes())) {
            return Ok(response);
        }
        let mut refusal = ErrorResponse::new(None);
        *refusal.status_mut() = StatusCode::FORBIDDEN;
        Err(refusal)
    };
    let upgraded =
        tokio_tungstenite::accept_hdr_async_with_config(socket, check, Some(websocket()));
    upgraded.await.ok()
}

/// Keeps the newest connection.
async fn keep(
    mut arrived: mpsc::Receiver<WebSocketStream<TcpStream>>,
    current: watch::Sender<Option<Opener>>,
    target: SocketAddr,
    settings: Settings,
) {
    let mut running: Option<JoinHandle<Lost>> = None;
    while let Some(socket) = arrived.recv().await {
        // All that the program may open has a place.
        let (inbound, streams) = mpsc::channel(settings.inbound);
        let link = link_websocket(socket, Role::Sandbox, settings.clone(), inbound);
        let older = current.send_replace(Some(link.opener));
        if let (Some(opener), Some(driver)) = (older, running.take()) {
            opener.close(REPLACED);
            tokio::spawn(end(driver));
        }
        tokio::spawn(carry_inward(streams, target));
        running = Some(tokio::spawn(link.driver));
    }
}

/// Ends a connection whose program has been told, or does not listen.
async fn end(mut driver: JoinHandle<Lost>) {
    if timeout(FAREWELL, &mut driver).await.is_err() {
        driver.abort();
    }
}

/// Connects what the program opens.
async fn carry_inward(mut streams: mpsc::Receiver<Stream>, target: SocketAddr) {
    while let Some(stream) = streams.recv().await {
        tokio::spawn(async move {
            // Where nobody listens, the stream is reset.
            if let Ok(socket) = TcpStream::connect(target).await {
                copy(socket, stream).await;
            }
        });
    }
}

/// Opens a stream for each local connection, when there is a program.
async fn carry_outward(
    listener: TcpListener,
    live: watch::Receiver<Option<Opener>>,
    places: usize,
    max_wait: Duration,
) {
    let places = Arc::new(Semaphore::new(places));
    loop {
        let Ok(place) = places.clone().acquire_owned().await else {
            return;
        };
        let socket = accept(&listener).await;
        let live = live.clone();
        tokio::spawn(async move {
            if let Ok(Some(stream)) = timeout(max_wait, open(live)).await {
                copy(socket, stream).await;
            }
            drop(place);
        });
    }
}

/// A stream to the program, as soon as there is one.
async fn open(mut live: watch::Receiver<Option<Opener>>) -> Option<Stream> {
    loop {
        let is_live =
            |opener: &Option<Opener>| opener.as_ref().is_some_and(|opener| !opener.is_lost());
        let opener = live.wait_for(is_live).await.ok()?.clone()?;
        if let Some(stream) = opener.open().await {
            return Some(stream);
        }
    }
}

/// Copies both ways until both have ended. If one breaks, the other is reset, too.
async fn copy(mut socket: TcpStream, mut stream: Stream) {
    let _ = socket.set_nodelay(true);
    let copied = copy_bidirectional_with_sizes(&mut socket, &mut stream, COPY, COPY).await;
    if copied.is_err() {
        // Else it would look as if all had arrived.
        let _ = SockRef::from(&socket).set_linger(Some(Duration::ZERO));
    }
}

/// The next connection. What can go wrong is that there are too many of them.
async fn accept(listener: &TcpListener) -> TcpStream {
    loop {
        match listener.accept().await {
            Ok((socket, _)) => return socket,
            Err(_) => sleep(Duration::from_millis(100)).await,
        }
    }
}
