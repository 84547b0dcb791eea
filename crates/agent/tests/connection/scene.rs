//! What the tests have around a connection: a sandbox's end, a server that stands for OpenCode, and a way between
//! both ends that can be cut.

use agent::connection::{Address, Connection, Locate, Secret, State, Stream, Times};
use async_trait::async_trait;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};

pub(crate) const SECRET: &str = "a-secret-of-the-tests-0123456789";
/// Longer than anything here takes on a machine that works.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) fn secret() -> Secret {
    Secret::new(SECRET).expect("a secret")
}

/// The end in the sandbox, in this process, and the listener that stands for OpenCode.
pub(crate) struct Sandbox {
    pub(crate) port: u16,
    pub(crate) outward: u16,
    pub(crate) opencode: TcpListener,
}

impl Sandbox {
    pub(crate) async fn start() -> Sandbox {
        Sandbox::start_waiting(carrier::MAX_WAIT).await
    }

    pub(crate) async fn start_waiting(max_wait: Duration) -> Sandbox {
        let (opencode, target) = listener().await;
        let bound = carrier::Carrier::bind(0, target, 0, secret()).await;
        let carrier = bound.expect("ports").waiting(max_wait);
        let (port, outward) = carrier.ports().expect("ports");
        tokio::spawn(async move { carrier.serve().await });
        Sandbox {
            port,
            outward,
            opencode,
        }
    }

    /// A program that is connected to it.
    pub(crate) async fn program(&self) -> Connection {
        connected(self.port).await
    }

    /// A stream of the program and the connection that OpenCode has of it.
    pub(crate) async fn opened(&self, program: &Connection) -> (Stream, TcpStream) {
        let stream = soon("a stream", program.open()).await.expect("a stream");
        (stream, self.accepted().await)
    }

    pub(crate) async fn accepted(&self) -> TcpStream {
        let accepted = soon("a connection", self.opencode.accept()).await;
        accepted.expect("a connection").0
    }

    /// A connection of something in the sandbox and the stream that the program has of it.
    pub(crate) async fn called(&self, program: &Connection) -> (TcpStream, Stream) {
        let local = self.call().await;
        let stream = soon("a stream", program.accept()).await;
        (local, stream.expect("a stream"))
    }

    pub(crate) async fn call(&self) -> TcpStream {
        let call = TcpStream::connect(("127.0.0.1", self.outward)).await;
        call.expect("connected")
    }
}

/// A listener on a free port.
pub(crate) async fn listener() -> (TcpListener, u16) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    (listener, port)
}

/// Says what it was told, and counts how often it was asked.
pub(crate) struct At {
    address: Mutex<Address>,
    asked: AtomicUsize,
}

impl At {
    pub(crate) fn port(port: u16) -> Arc<At> {
        At::url(format!("http://127.0.0.1:{port}/"), &[])
    }

    pub(crate) fn url(url: String, headers: &[(&str, &str)]) -> Arc<At> {
        let asked = AtomicUsize::new(0);
        let address = Mutex::new(address(url, headers));
        Arc::new(At { address, asked })
    }

    pub(crate) fn is_now(&self, url: String, headers: &[(&str, &str)]) {
        *self.address.lock().expect("no panic") = address(url, headers);
    }

    pub(crate) fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

fn address(url: String, headers: &[(&str, &str)]) -> Address {
    let headers = headers
        .iter()
        .map(|(name, value)| (name.to_string(), value.to_string()));
    Address {
        url,
        headers: headers.collect(),
    }
}

#[async_trait]
impl Locate for At {
    async fn locate(&self) -> Result<Address, Box<dyn std::error::Error + Send + Sync>> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        Ok(self.address.lock().expect("no panic").clone())
    }
}

pub(crate) fn client() -> reqwest::Client {
    // There is one already after the first call.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let builder = reqwest::Client::builder().no_proxy();
    let builder = builder.redirect(reqwest::redirect::Policy::none());
    builder.build().expect("a client")
}

/// Times that no test waits long for.
pub(crate) fn quick() -> Times {
    Times {
        first_pause: Duration::from_millis(5),
        ..Times::default()
    }
}

pub(crate) fn program(at: Arc<At>, times: Times) -> Connection {
    Connection::start_with(client(), at, secret(), times)
}

pub(crate) async fn connected(port: u16) -> Connection {
    let program = program(At::port(port), quick());
    is("live", &mut program.state(), |state| {
        matches!(state, State::Live)
    })
    .await;
    program
}

/// Waits until the state is one.
pub(crate) async fn is(
    what: &str,
    state: &mut watch::Receiver<State>,
    is_it: impl FnMut(&State) -> bool,
) -> State {
    let found = soon(what, state.wait_for(is_it)).await;
    found
        .unwrap_or_else(|_| panic!("it is over, and was never {what}"))
        .clone()
}

/// The result of what must not take for ever.
pub(crate) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    let done = timeout(PATIENCE, future).await;
    done.unwrap_or_else(|_| panic!("it never came: {what}"))
}

/// All up to the end of file, or how it ended.
pub(crate) async fn rest(
    from: &mut (impl AsyncRead + Unpin),
) -> Result<Vec<u8>, std::io::ErrorKind> {
    let mut bytes = Vec::new();
    let read = soon("the end", from.read_to_end(&mut bytes)).await;
    read.map(|_| bytes).map_err(|error| error.kind())
}

/// Reads exactly that.
pub(crate) async fn hears(from: &mut (impl AsyncRead + Unpin), want: &[u8]) {
    let mut bytes = vec![0; want.len()];
    let read = soon("bytes", from.read_exact(&mut bytes)).await;
    read.expect("as many bytes");
    assert!(bytes == want, "{} bytes differ", want.len());
}

pub(crate) async fn says(to: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) {
    soon("written", to.write_all(bytes)).await.expect("written");
}

/// One message there and one back.
pub(crate) async fn exchange(
    one: &mut (impl AsyncRead + AsyncWrite + Unpin),
    other: &mut (impl AsyncRead + AsyncWrite + Unpin),
) {
    says(one, b"to the other").await;
    hears(other, b"to the other").await;
    says(other, b"and back").await;
    hears(one, b"and back").await;
}

/// Bytes that differ from place to place.
pub(crate) fn bytes(seed: usize, length: usize) -> Vec<u8> {
    (0..length)
        .map(|n| (n * 31 + n / 251 + seed * 7) as u8)
        .collect()
}

/// A way to a port that can be cut: what goes through it is then lost, and nothing gets through until it
/// is mended. Stalled, it carries nothing more and ends nothing.
pub(crate) struct Way {
    pub(crate) port: u16,
    is: watch::Sender<Is>,
    carried: Arc<AtomicUsize>,
}

#[derive(Clone, Copy, PartialEq)]
enum Is {
    Open,
    Stalled,
    Cut,
}

impl Way {
    pub(crate) async fn to(target: u16) -> Way {
        Way::slow(target, f64::INFINITY).await
    }

    /// A way that carries so many bytes in a second, each way.
    pub(crate) async fn slow(target: u16, rate: f64) -> Way {
        let (listener, port) = listener().await;
        let (is, mut now) = watch::channel(Is::Open);
        let carried = Arc::new(AtomicUsize::new(0));
        let counted = carried.clone();
        tokio::spawn(async move {
            loop {
                let (near, _) = listener.accept().await.expect("a connection");
                if *now.borrow_and_update() == Is::Cut {
                    continue;
                }
                let (now, counted) = (now.clone(), counted.clone());
                tokio::spawn(async move {
                    let far = TcpStream::connect(("127.0.0.1", target))
                        .await
                        .expect("there");
                    let (near, far) = (near.into_split(), far.into_split());
                    tokio::select! {
                        () = carry(near.0, far.1, now.clone(), &counted, rate) => {}
                        () = carry(far.0, near.1, now, &counted, rate) => {}
                    }
                });
            }
        });
        Way { port, is, carried }
    }

    /// How often something went through.
    pub(crate) fn carried(&self) -> usize {
        self.carried.load(Ordering::SeqCst)
    }

    pub(crate) fn cut(&self) {
        self.is.send_replace(Is::Cut);
    }

    pub(crate) fn stall(&self) {
        self.is.send_replace(Is::Stalled);
    }

    pub(crate) fn mend(&self) {
        self.is.send_replace(Is::Open);
    }
}

/// One direction of a way, up to its end or a cut.
async fn carry(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut now: watch::Receiver<Is>,
    carried: &AtomicUsize,
    rate: f64,
) {
    let mut buffer = vec![0; 16 * 1024];
    let mut free = Instant::now();
    loop {
        let is = *now.borrow_and_update();
        if is == Is::Cut {
            return;
        }
        tokio::select! {
            _ = now.changed() => {}
            read = from.read(&mut buffer), if is == Is::Open => {
                let length = read.unwrap_or(0);
                if length == 0 || to.write_all(&buffer[..length]).await.is_err() {
                    return;
                }
                carried.fetch_add(1, Ordering::SeqCst);
                free = free.max(Instant::now()) + Duration::from_secs_f64(length as f64 / rate);
                // A timer is no more exact than that.
                if free > Instant::now() + Duration::from_millis(2) {
                    sleep_until(free).await;
                }
            }
        }
    }
}
