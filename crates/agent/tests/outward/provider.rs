//! A provider whose every byte a test writes.

use crate::world::soon;
use std::net::SocketAddr;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// A provider that waits for requests.
pub(crate) struct Provider {
    listener: TcpListener,
    pub(crate) address: SocketAddr,
}

impl Provider {
    pub(crate) async fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        Provider { listener, address }
    }

    /// The next request, whose body has a length.
    pub(crate) async fn next(&self) -> Call {
        let (mut stream, _) = soon(self.listener.accept()).await.unwrap();
        let mut bytes = Vec::new();
        loop {
            let text = String::from_utf8_lossy(&bytes);
            if let Some((head, body)) = text.split_once("\r\n\r\n") {
                let head = head.to_string();
                let length = head
                    .lines()
                    .find_map(|line| line.strip_prefix("content-length: "));
                if body.len() >= length.map_or(0, |length| length.parse().unwrap()) {
                    let body = body.to_string();
                    return Call { stream, head, body };
                }
            }
            let length = soon(stream.read_buf(&mut bytes)).await.unwrap();
            assert!(length > 0, "a request ended early");
        }
    }

    /// Whether a connection has come that nobody has looked at: connections come in the order they were made in.
    pub(crate) async fn was_asked(&self) -> bool {
        let own = TcpStream::connect(self.address).await.unwrap();
        let (_, first) = soon(self.listener.accept()).await.unwrap();
        first != own.local_addr().unwrap()
    }
}

/// A request that a provider has got.
pub(crate) struct Call {
    stream: TcpStream,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Call {
    pub(crate) async fn write(&mut self, text: &str) {
        self.stream.write_all(text.as_bytes()).await.unwrap();
        self.stream.flush().await.unwrap();
    }

    /// Answers with a body that is there at once.
    pub(crate) async fn answer(mut self, status: &str, headers: &str, body: &str) {
        let length = body.len();
        self.write(&format!(
            "HTTP/1.1 {status}\r\nconnection: close\r\n{headers}content-length: {length}\r\n\r\n{body}"
        ))
        .await;
    }

    /// Begins a stream of events.
    pub(crate) async fn begin(&mut self) {
        self.write("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
            .await;
    }

    /// One event.
    pub(crate) async fn event(&mut self, data: &str) {
        let text = format!("data: {data}\n\n");
        self.write(&format!("{:x}\r\n{text}\r\n", text.len())).await;
    }

    /// Ends a stream.
    pub(crate) async fn end(&mut self) {
        self.write("0\r\n\r\n").await;
    }

    /// Waits until the other side has gone.
    pub(crate) async fn gone(mut self) {
        let mut rest = Vec::new();
        let _ = soon(self.stream.read_to_end(&mut rest)).await;
    }
}
