//! Files go up and come down a piece at a time, whatever their size. A program of its own, because memory is
//! counted for a whole process.
#![cfg(target_os = "linux")]

use host::{Body, Host, HttpRequest, Part, PartContent};
use host_native::NativeHost;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const SIZE: u64 = 200 << 20;
const MOST: u64 = 48 << 20;

/// The most memory that this process has had, in bytes.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("read");
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    let kilobytes = line.and_then(|line| line.split_whitespace().nth(1));
    let kilobytes: u64 = kilobytes.expect("a number").parse().expect("a number");
    kilobytes * 1024
}

/// Reads a request with a body of at least `SIZE` bytes, or answers one without a body with as many.
async fn serve(mut stream: TcpStream) -> std::io::Result<()> {
    let mut part = vec![0; 256 * 1024];
    let first = stream.read(&mut part).await?;
    if part.starts_with(b"GET") {
        let head =
            format!("HTTP/1.1 200 OK\r\ncontent-length: {SIZE}\r\nconnection: close\r\n\r\n");
        stream.write_all(head.as_bytes()).await?;
        part.fill(0);
        for _ in 0..SIZE / part.len() as u64 {
            stream.write_all(&part).await?;
        }
        return stream.shutdown().await;
    }
    let (mut size, mut end) = (first as u64, part[..first].to_vec());
    // The form's end: it may come in two pieces.
    while size < SIZE || !end.ends_with(b"--\r\n") {
        let length = stream.read(&mut part).await?;
        assert!(length > 0, "the body ended after {size} bytes");
        size += length as u64;
        end.drain(..end.len().saturating_sub(4));
        end.extend_from_slice(&part[..length]);
    }
    let body = size.to_string();
    let length = body.len();
    let answer =
        format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}");
    stream.write_all(answer.as_bytes()).await?;
    stream.shutdown().await
}

#[test]
fn large_files_go_up_and_come_down_with_little_memory() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let dir = tempfile::tempdir().expect("a directory");
    let path = |name: &str| dir.path().join(name).to_string_lossy().into_owned();
    let (large, saved) = (path("large"), path("saved"));
    let file = std::fs::File::create(&large).expect("made");
    file.set_len(SIZE).expect("a file with a hole");
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream));
            }
        });
        let request = |method, body, save_to| HttpRequest {
            method,
            url: format!("http://127.0.0.1:{port}/"),
            headers: Vec::new(),
            body,
            timeout_ms: 600_000,
            max_bytes: SIZE as usize,
            save_to,
        };
        let host = NativeHost::new([("no_proxy", "*")]);
        let before = peak();
        let content = PartContent::File(large);
        let parts = vec![Part {
            name: "file".into(),
            content,
        }];
        let sent = host
            .http(request("POST", Body::Multipart(parts), None))
            .await;
        let sent = String::from_utf8(sent.expect("answered").body).expect("a number");
        assert!(sent.parse::<u64>().expect("a number") > SIZE);
        let to = Some((saved.clone(), 0));
        host.http(request("GET", Body::Empty, to))
            .await
            .expect("answered");
        assert_eq!(std::fs::metadata(&saved).expect("saved").len(), SIZE);
        let grown = peak() - before;
        assert!(grown < MOST, "{grown} bytes of memory for {SIZE} bytes");
    });
}
