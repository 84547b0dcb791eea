//! A git host: real repositories behind git's own `http-backend`, which wants a token.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use tempfile::TempDir;

/// The token that no client may ever see.
pub(crate) const TOKEN: &str = "ghs_the-real-token";

/// A git host. It serves as long as the test runs.
pub(crate) struct GitHub {
    root: TempDir,
    pub(crate) address: SocketAddr,
    /// The first line of each request, and whether its body was compressed.
    pub(crate) asked: Arc<Mutex<Vec<(String, bool)>>>,
}

impl GitHub {
    pub(crate) fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (path, list) = (root.path().to_path_buf(), Arc::clone(&asked));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (path, list) = (path.clone(), Arc::clone(&list));
                std::thread::spawn(move || serve(stream, &path, &list));
            }
        });
        GitHub {
            root,
            address,
            asked,
        }
    }

    /// Where the repository `owner/name` is.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(format!("{name}.git"))
    }
}

/// Serves one request. What a client has broken off is its own affair.
fn serve(stream: TcpStream, root: &Path, asked: &Mutex<Vec<(String, bool)>>) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let mut head = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        match line.trim_end() {
            "" => break,
            line => head.push(line.to_string()),
        }
    }
    let header = |name: &str| {
        let lines = head.iter().filter_map(|line| line.split_once(": "));
        let mut found = lines.filter(|(header, _)| header.eq_ignore_ascii_case(name));
        found.next().map(|(_, value)| value.to_string())
    };
    let encoding = header("content-encoding");
    let first = head.first()?.clone();
    asked
        .lock()
        .unwrap()
        .push((first.clone(), encoding.is_some()));
    let login = STANDARD.encode(format!("x-access-token:{TOKEN}"));
    let (mut out, target) = (stream, first.split(' ').nth(1)?);
    if header("authorization").as_deref() != Some(&format!("Basic {login}")) {
        return out
            .write_all(b"HTTP/1.1 401 Unauthorized\r\nconnection: close\r\n\r\n")
            .ok();
    }
    if let Some(rest) = target.strip_prefix("/old/") {
        let moved = format!(
            "HTTP/1.1 301 Moved Permanently\r\nconnection: close\r\nlocation: /new/{rest}\r\n\r\n"
        );
        return out.write_all(moved.as_bytes()).ok();
    }
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let mut backend = Command::new("git")
        .arg("http-backend")
        .env("GIT_PROJECT_ROOT", root)
        .env("GIT_HTTP_EXPORT_ALL", "1")
        .env("REMOTE_USER", "somebody")
        .env("PATH_INFO", path)
        .env("QUERY_STRING", query)
        .env("REQUEST_METHOD", first.split(' ').next()?)
        .env("CONTENT_TYPE", header("content-type").unwrap_or_default())
        .env("HTTP_CONTENT_ENCODING", encoding.unwrap_or_default())
        .env("GIT_PROTOCOL", header("git-protocol").unwrap_or_default())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .ok()?;
    let mut input = backend.stdin.take()?;
    let is_chunked = header("transfer-encoding").is_some();
    let length = header("content-length").map_or(0, |length| length.parse().unwrap());
    let body = std::thread::spawn(move || match is_chunked {
        true => copy_chunks(&mut reader, &mut input),
        false => std::io::copy(&mut reader.take(length), &mut input)
            .ok()
            .map(drop),
    });
    let mut output = BufReader::new(backend.stdout.take()?);
    let (mut status, mut headers) = ("200 OK".to_string(), String::new());
    loop {
        let mut line = String::new();
        output.read_line(&mut line).ok()?;
        match (line.trim_end(), line.strip_prefix("Status: ")) {
            ("", _) => break,
            (_, Some(found)) => status = found.trim_end().into(),
            (line, None) => headers += &format!("{line}\r\n"),
        }
    }
    let head = format!("HTTP/1.1 {status}\r\nconnection: close\r\n{headers}\r\n");
    out.write_all(head.as_bytes()).ok()?;
    std::io::copy(&mut output, &mut out).ok()?;
    body.join().ok()?;
    backend.wait().ok().map(drop)
}

fn copy_chunks(reader: &mut impl BufRead, to: &mut impl Write) -> Option<()> {
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let size = u64::from_str_radix(line.trim_end(), 16).ok()?;
        if size == 0 {
            return Some(());
        }
        std::io::copy(&mut reader.take(size), to).ok()?;
        reader.read_line(&mut line).ok()?;
    }
}
