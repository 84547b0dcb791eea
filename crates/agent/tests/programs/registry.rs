//! A registry of packages on loopback.

use agent::package::{Arch, Libc, Packages, Platform};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use flate2::Compression;
use flate2::write::GzEncoder;
use sha2::{Digest as _, Sha512};
use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::thread;
use testkit::TestHost;

pub(crate) const HERE: Platform = Platform {
    arch: Arch::X64,
    libc: Libc::Glibc,
};

/// A registry: bodies by path, and what was asked for.
pub(crate) struct Registry {
    pub(crate) url: String,
    pub(crate) bodies: Arc<Mutex<BTreeMap<String, Vec<u8>>>>,
    pub(crate) asked: Arc<Mutex<Vec<String>>>,
}

impl Registry {
    pub(crate) fn start() -> Registry {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let (bodies, asked) = (
            Arc::<Mutex<BTreeMap<String, Vec<u8>>>>::default(),
            Arc::<Mutex<Vec<String>>>::default(),
        );
        let (given, seen) = (bodies.clone(), asked.clone());
        thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.expect("a connection");
                let lines = BufReader::new(stream.try_clone().expect("a stream")).lines();
                let head: Vec<String> = lines
                    .map_while(Result::ok)
                    .take_while(|line| !line.is_empty())
                    .collect();
                let path = head
                    .first()
                    .and_then(|line| line.split(' ').nth(1))
                    .unwrap_or_default()
                    .to_owned();
                let body = given.lock().expect("bodies").get(&path).cloned();
                seen.lock().expect("paths").push(path);
                let (status, body) =
                    body.map_or(("404 Not Found", Vec::new()), |body| ("200 OK", body));
                let _ = write!(
                    stream,
                    "HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
                    body.len()
                );
                let _ = stream.write_all(&body);
            }
        });
        Registry { url, bodies, asked }
    }

    pub(crate) fn put(&self, path: &str, body: impl Into<Vec<u8>>) {
        self.bodies
            .lock()
            .expect("bodies")
            .insert(path.to_owned(), body.into());
    }

    /// Publishes a package with one file.
    pub(crate) fn publish(&self, entry: &str, file: &str, content: &[u8], integrity: Option<&str>) {
        let tarball = packed(file, content);
        let digest = serde_json::json!(digest_of(&tarball));
        let integrity =
            integrity.map_or(digest, |given| serde_json::from_str(given).expect("JSON"));
        let path = format!("/tarball{}", entry.replace('%', "-"));
        let dist = serde_json::json!({ "dist": { "tarball": format!("{}{path}", self.url), "integrity": integrity } });
        self.put(entry, dist.to_string());
        self.put(&path, tarball);
    }
}

fn packed(file: &str, content: &[u8]) -> Vec<u8> {
    let mut archive = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
    let mut header = tar::Header::new_gnu();
    header.set_size(content.len() as u64);
    header.set_mode(0o755);
    archive
        .append_data(&mut header, file, content)
        .expect("appended");
    archive
        .into_inner()
        .and_then(GzEncoder::finish)
        .expect("packed")
}

fn digest_of(tarball: &[u8]) -> String {
    format!("sha512-{}", BASE64_STANDARD.encode(Sha512::digest(tarball)))
}

pub(crate) fn packages(registry: &Registry, cache: &std::path::Path) -> Packages {
    Packages::new(
        Arc::new(TestHost::new(&[])),
        &registry.url,
        cache.to_owned(),
    )
}
