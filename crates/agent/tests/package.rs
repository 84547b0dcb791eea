//! Programs out of npm's packages, from a registry that lies in every way.

use agent::package::{
    Arch, Libc, OPENCODE_FLOOR, OPENCODE_VERSION, PackageError, Packages, Platform, Program,
};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use sha2::{Digest as _, Sha256, Sha512};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::thread;
use testkit::TestHost;

const HERE: Platform = Platform {
    arch: Arch::X64,
    libc: Libc::Glibc,
};

/// A registry: bodies by path, and what was asked for.
struct Registry {
    url: String,
    bodies: Arc<Mutex<BTreeMap<String, Vec<u8>>>>,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Registry {
    fn start() -> Registry {
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

    fn put(&self, path: &str, body: impl Into<Vec<u8>>) {
        self.bodies
            .lock()
            .expect("bodies")
            .insert(path.to_owned(), body.into());
    }

    /// Publishes a package with one file.
    fn publish(&self, entry: &str, file: &str, content: &[u8], integrity: Option<&str>) {
        let mut archive = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o755);
        archive
            .append_data(&mut header, file, content)
            .expect("appended");
        let tarball = archive
            .into_inner()
            .and_then(GzEncoder::finish)
            .expect("packed");
        let digest = format!(
            "sha512-{}",
            BASE64_STANDARD.encode(Sha512::digest(&tarball))
        );
        let integrity = integrity.map_or(serde_json::json!(digest), |given| {
            serde_json::from_str(given).expect("JSON")
        });
        let dist = serde_json::json!({ "dist": { "tarball": format!("{}/tarball", self.url), "integrity": integrity } });
        self.put(entry, dist.to_string());
        self.put("/tarball", tarball);
    }
}

fn packages(registry: &Registry, cache: &std::path::Path) -> Packages {
    Packages::new(
        Arc::new(TestHost::new(&[])),
        &registry.url,
        cache.to_owned(),
    )
}

#[tokio::test]
async fn a_program_is_fetched_once_and_kept_ready_to_be_uploaded() {
    let registry = Registry::start();
    registry.publish(
        "/opencode-linux-x64/1.18.33",
        "package/bin/opencode",
        b"a program",
        None,
    );
    let cache = tempfile::tempdir().expect("a directory");
    let packages = packages(&registry, cache.path());
    let packed = packages
        .get(Program::OpenCode, HERE)
        .await
        .expect("it is there");
    let mut content = Vec::new();
    GzDecoder::new(File::open(&packed.path).expect("a file"))
        .read_to_end(&mut content)
        .expect("unpacked");
    assert_eq!(content, b"a program");
    let digest: String = Sha256::digest(b"a program")
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    assert_eq!(packed.sha256, digest);
    let again = packages
        .get(Program::OpenCode, HERE)
        .await
        .expect("it is there");
    assert_eq!(again, packed);
    assert_eq!(
        *registry.asked.lock().expect("paths"),
        ["/opencode-linux-x64/1.18.33", "/tarball"]
    );
    // One that a killed process left half done is fetched again, and nothing else is in the cache.
    fs::remove_file(packed.path.with_file_name("sha256")).expect("removed");
    packages
        .get(Program::OpenCode, HERE)
        .await
        .expect("it is there");
    assert_eq!(registry.asked.lock().expect("paths").len(), 4);
    assert_eq!(fs::read_dir(cache.path()).expect("a directory").count(), 1);
}

#[tokio::test]
async fn what_is_not_as_the_registry_says_is_refused_and_not_kept() {
    let rg = "/@vscode%2fripgrep-linux-x64/1.18.0";
    let publish = |registry: &Registry, file: &str, integrity: Option<&str>| {
        registry.publish(rg, file, b"x", integrity)
    };
    type Make<'a> = &'a dyn Fn(&Registry);
    let cases: [(&str, Make<'_>, &str); 7] = [
        (
            "another digest",
            &|r| publish(r, "package/bin/rg", Some("\"sha512-AAAA\"")),
            "SHA-512 differs",
        ),
        (
            "an old digest",
            &|r| publish(r, "package/bin/rg", Some("\"sha1-AAAA\"")),
            "no SHA-512",
        ),
        (
            "no digest",
            &|r| publish(r, "package/bin/rg", Some("null")),
            "no digest",
        ),
        (
            "another file",
            &|r| publish(r, "package/bin/other", None),
            "no package/bin/rg",
        ),
        ("no entry", &|_| {}, "answered 404"),
        ("no JSON", &|r| r.put(rg, "<html>"), "cannot be read"),
        (
            "no package",
            &|r| {
                publish(r, "package/bin/rg", None);
                r.bodies.lock().expect("bodies").remove("/tarball");
            },
            "answered 404",
        ),
    ];
    for (what, make, part) in cases {
        let registry = Registry::start();
        make(&registry);
        let cache = tempfile::tempdir().expect("a directory");
        let found = packages(&registry, cache.path())
            .get(Program::Ripgrep, HERE)
            .await;
        let error = found.expect_err(what).to_string();
        assert!(error.contains(part), "{what}: {error}");
        assert_eq!(
            fs::read_dir(cache.path()).expect("a directory").count(),
            0,
            "{what}"
        );
    }
    let nobody = Packages::new(
        Arc::new(TestHost::new(&[])),
        "http://127.0.0.1:9",
        std::env::temp_dir(),
    );
    let error = nobody
        .get(Program::Ripgrep, HERE)
        .await
        .expect_err("nobody answers");
    assert!(matches!(error, PackageError::Unreachable { .. }), "{error}");
}

/// Two places that must agree: what is brought into sandboxes, and what this project is tested with.
#[test]
fn the_versions_are_those_that_the_project_is_tested_with_and_every_package_exists() {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
    let read = |name: &str| fs::read_to_string(format!("{root}/{name}")).expect("a file");
    let package: serde_json::Value = serde_json::from_str(&read("package.json")).expect("JSON");
    assert_eq!(package["devDependencies"]["opencode-ai"], OPENCODE_VERSION);
    assert_eq!(package["devDependencies"]["@vscode/ripgrep"], "1.18.0");
    let numbers: Vec<u32> = OPENCODE_VERSION
        .split('.')
        .map(|n| n.parse().expect("a number"))
        .collect();
    assert!((numbers[0], numbers[1], numbers[2]) >= OPENCODE_FLOOR);
    let lock = read("package-lock.json");
    for arch in [Arch::X64, Arch::Arm64] {
        for libc in [Libc::Glibc, Libc::Musl] {
            for program in [Program::OpenCode, Program::Ripgrep] {
                let name = program.name(Platform { arch, libc });
                assert!(lock.contains(&format!("\"node_modules/{name}\"")), "{name}");
            }
        }
    }
}
