//! A server of which a case knows every byte.

use std::sync::{Arc, Mutex};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// A request as it arrived.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) method: String,
    pub(crate) target: String,
    headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Seen {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }
}

/// What a server does about a request.
pub(crate) struct Answer {
    bytes: Vec<u8>,
    then: Then,
}

/// What it does afterwards.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Then {
    Next,
    Close,
    Reset,
    /// Nothing, until the other end closes.
    Hang,
    /// It connects what follows to this port.
    Tunnel(u16),
}

pub(crate) fn answer(status: u16, headers: &str, body: impl AsRef<[u8]>) -> Answer {
    let body = body.as_ref();
    let length = body.len();
    let head = format!("HTTP/1.1 {status} Words\r\ncontent-length: {length}\r\n{headers}\r\n");
    raw([head.as_bytes(), body].concat(), Then::Next)
}

pub(crate) fn ok(body: impl AsRef<[u8]>) -> Answer {
    answer(200, "", body)
}

pub(crate) fn raw(bytes: impl AsRef<[u8]>, then: Then) -> Answer {
    Answer {
        bytes: bytes.as_ref().to_vec(),
        then,
    }
}

type Handler = dyn Fn(&Seen) -> Answer + Send + Sync;

/// A server that ends with its case.
pub(crate) struct Server {
    pub(crate) port: u16,
    seen: Arc<Mutex<Vec<Seen>>>,
    /// Connections that the other end closed while an answer was awaited.
    left: Arc<Mutex<usize>>,
}

impl Server {
    pub(crate) async fn start(handler: impl Fn(&Seen) -> Answer + Send + Sync + 'static) -> Server {
        Server::over(None, handler).await
    }

    pub(crate) async fn over(
        tls: Option<TlsAcceptor>,
        handler: impl Fn(&Seen) -> Answer + Send + Sync + 'static,
    ) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let handler: Arc<Handler> = Arc::new(handler);
        let server = Server {
            port,
            seen: Arc::default(),
            left: Arc::default(),
        };
        let (seen, left) = (Arc::clone(&server.seen), Arc::clone(&server.left));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (handler, tls) = (Arc::clone(&handler), tls.clone());
                let (seen, left) = (Arc::clone(&seen), Arc::clone(&left));
                tokio::spawn(async move {
                    match tls {
                        None => serve(stream, &*handler, &seen, &left).await,
                        Some(tls) => {
                            // A client that wants another certificate goes away.
                            let stream = tls.accept(stream).await.ok()?;
                            serve(stream, &*handler, &seen, &left).await
                        }
                    }
                });
            }
        });
        server
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// The requests so far.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().expect("requests").clone()
    }

    pub(crate) fn left(&self) -> usize {
        *self.left.lock().expect("a number")
    }
}

trait Stream: AsyncRead + AsyncWrite + Unpin {
    fn socket(&self) -> &TcpStream;
}

impl Stream for TcpStream {
    fn socket(&self) -> &TcpStream {
        self
    }
}

impl Stream for TlsStream<TcpStream> {
    fn socket(&self) -> &TcpStream {
        self.get_ref().0
    }
}

async fn serve<S: Stream>(
    mut stream: S,
    handler: &Handler,
    all: &Mutex<Vec<Seen>>,
    left: &Mutex<usize>,
) -> Option<()> {
    let mut buffer = Vec::new();
    loop {
        let seen = request(&mut stream, &mut buffer).await?;
        let answer = handler(&seen);
        all.lock().expect("requests").push(seen);
        stream.write_all(&answer.bytes).await.ok()?;
        stream.flush().await.ok()?;
        match answer.then {
            Then::Next => {}
            Then::Close => return stream.shutdown().await.ok(),
            Then::Reset => return stream.socket().set_zero_linger().ok(),
            Then::Hang => {
                let mut rest = [0; 1024];
                while let Ok(1..) = stream.read(&mut rest).await {}
                *left.lock().expect("a number") += 1;
                return None;
            }
            Then::Tunnel(port) => {
                let mut to = TcpStream::connect(("127.0.0.1", port)).await.ok()?;
                let _ = tokio::io::copy_bidirectional(&mut stream, &mut to).await;
                return None;
            }
        }
    }
}

/// Reads until `buffer` has `end`, and takes all up to and with it.
async fn up_to(stream: &mut impl Stream, buffer: &mut Vec<u8>, end: &[u8]) -> Option<Vec<u8>> {
    loop {
        if let Some(at) = buffer.windows(end.len()).position(|part| part == end) {
            return Some(buffer.drain(..at + end.len()).collect());
        }
        if stream.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    }
}

async fn exactly(stream: &mut impl Stream, buffer: &mut Vec<u8>, length: usize) -> Option<Vec<u8>> {
    while buffer.len() < length {
        if stream.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    }
    Some(buffer.drain(..length).collect())
}

async fn request(stream: &mut impl Stream, buffer: &mut Vec<u8>) -> Option<Seen> {
    let head = up_to(stream, buffer, b"\r\n\r\n").await?;
    // Each byte is a letter.
    let head: String = head.into_iter().map(char::from).collect();
    let mut lines = head.lines();
    let mut first = lines.next()?.split(' ');
    let headers = lines.filter_map(|line| line.split_once(':'));
    let headers = headers.map(|(name, value)| (name.to_lowercase(), value.trim().to_string()));
    let mut seen = Seen {
        method: first.next()?.into(),
        target: first.next()?.into(),
        headers: headers.collect(),
        body: Vec::new(),
    };
    if seen.header("transfer-encoding") == Some("chunked") {
        loop {
            let size = up_to(stream, buffer, b"\r\n").await?;
            let size = String::from_utf8_lossy(&size);
            let size = usize::from_str_radix(size.trim(), 16).ok()?;
            seen.body.extend(exactly(stream, buffer, size).await?);
            exactly(stream, buffer, 2).await?;
            if size == 0 {
                return Some(seen);
            }
        }
    }
    let length = seen
        .header("content-length")
        .map_or(0, |text| text.parse().unwrap_or(0));
    seen.body = exactly(stream, buffer, length).await?;
    Some(seen)
}
