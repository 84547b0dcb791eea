//! Programs for a sandbox that has none: which package of npm has the one for its platform, fetched once, checked
//! against what the registry says of it, and kept as a compressed file that is ready to be uploaded.
//!
//! ```text
//! CACHE/NAME-VERSION/program.gz   the program alone
//! CACHE/NAME-VERSION/sha256       of the program, in hexadecimal
//! ```
//!
//! Only the digest that comes with the registry's entry counts; a package without one is refused. Nothing of
//! a package is run here.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use host::{Body, Host, HttpError, HttpRequest};
use serde::Deserialize;
use sha2::{Digest as _, Sha256, Sha512};
use std::fs::{self, File};
use std::io::{self, BufReader, Read, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The release of OpenCode that sandboxes get.
pub const OPENCODE_VERSION: &str = "1.18.33";
/// The first release whose answer to a prompt is one, whatever the clocks say: before it, a prompt with an id that is
/// ahead of the sandbox's clock is answered again and again (observed, November 2026).
pub const OPENCODE_FLOOR: (u32, u32, u32) = (1, 18, 15);
const RIPGREP_VERSION: &str = "1.18.0";

/// The most that an entry of the registry and a package may have, in bytes.
const MAX_ENTRY: usize = 1 << 20;
const MAX_PACKAGE: usize = 300 << 20;
const ENTRY_MS: u64 = 30_000;
const PACKAGE_MS: u64 = 600_000;

/// A processor that OpenCode runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arch {
    /// `x86_64`.
    X64,
    /// `aarch64`.
    Arm64,
}

/// A C library.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Libc {
    /// That of most distributions.
    Glibc,
    /// That of Alpine.
    Musl,
}

/// What a sandbox is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Platform {
    /// Its processor.
    pub arch: Arch,
    /// Its C library.
    pub libc: Libc,
}

/// A program that is brought into sandboxes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// `opencode`.
    OpenCode,
    /// `rg`: without it a search of OpenCode can hang for ever.
    Ripgrep,
}

impl Program {
    /// The name of its package.
    pub fn name(self, platform: Platform) -> String {
        self.package(platform).0
    }

    /// Name and version of its package, and its path in there.
    fn package(self, platform: Platform) -> (String, &'static str, &'static str) {
        let arch = match platform.arch {
            Arch::X64 => "x64",
            Arch::Arm64 => "arm64",
        };
        match self {
            Program::OpenCode => {
                let libc = match platform.libc {
                    Libc::Glibc => "",
                    Libc::Musl => "-musl",
                };
                let name = format!("opencode-linux-{arch}{libc}");
                (name, OPENCODE_VERSION, "package/bin/opencode")
            }
            // It is linked statically.
            Program::Ripgrep => {
                let name = format!("@vscode/ripgrep-linux-{arch}");
                (name, RIPGREP_VERSION, "package/bin/rg")
            }
        }
    }
}

/// A program, ready to be uploaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packed {
    /// The compressed file (gzip).
    pub path: PathBuf,
    /// SHA-256 of the program itself, in hexadecimal.
    pub sha256: String,
}

/// Why there is no program.
#[derive(Debug, thiserror::Error)]
pub enum PackageError {
    /// The registry was not reached, or broke off.
    #[error(
        "the npm registry {registry} did not give {name}: {why}. Check the network, or name another registry"
    )]
    Unreachable {
        /// Its address.
        registry: String,
        /// The package.
        name: String,
        /// What happened.
        why: String,
    },
    /// It answered with something else.
    #[error("the npm registry {registry} answered {status} for {name}")]
    Status {
        /// Its address.
        registry: String,
        /// The package.
        name: String,
        /// The status of HTTP.
        status: u16,
    },
    /// What was fetched is not what the registry describes.
    #[error(
        "{name} is not what the npm registry says that it is ({why}), so it is not used. Try again, or another registry"
    )]
    Damaged {
        /// The package.
        name: String,
        /// What differs.
        why: String,
    },
    /// The cache.
    #[error("{path} cannot be written: {error}")]
    Cache {
        /// Where.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
}

/// What the registry says of a version, as far as it is read.
#[derive(Deserialize)]
struct Entry {
    dist: Dist,
}

#[derive(Deserialize)]
struct Dist {
    tarball: String,
    integrity: Option<String>,
}

/// Fetches programs and keeps them.
pub struct Packages {
    host: Arc<dyn Host>,
    registry: String,
    cache: PathBuf,
    /// One fetch at a time: who waits finds it done.
    fetching: tokio::sync::Mutex<()>,
}

impl Packages {
    /// `registry` is an address as npm has it in its setting of that name.
    pub fn new(host: Arc<dyn Host>, registry: &str, cache: PathBuf) -> Self {
        Self {
            host,
            registry: registry.trim_end_matches('/').to_owned(),
            cache,
            fetching: tokio::sync::Mutex::default(),
        }
    }

    /// The program for a platform.
    pub async fn get(&self, program: Program, platform: Platform) -> Result<Packed, PackageError> {
        let _one = self.fetching.lock().await;
        let (name, version, path) = program.package(platform);
        let label = format!("{name}@{version}");
        let dir = self
            .cache
            .join(format!("{}-{version}", name.replace('/', "-")));
        let packed = dir.join("program.gz");
        if let Ok(sha256) = fs::read_to_string(dir.join("sha256"))
            && packed.exists()
        {
            return Ok(Packed {
                path: packed,
                sha256,
            });
        }
        let cannot = |error| PackageError::Cache {
            path: self.cache.clone(),
            error,
        };
        fs::create_dir_all(&self.cache).map_err(cannot)?;
        let fresh = tempfile::tempdir_in(&self.cache).map_err(cannot)?;
        let tarball = fresh.path().join("package.tgz");
        let integrity = self.fetch(&name, version, &tarball).await?;
        let work = fresh.path().to_owned();
        let unpacked =
            tokio::task::spawn_blocking(move || repack(&tarball, &integrity, path, &work));
        let unpacked = unpacked
            .await
            .unwrap_or_else(|panic| Err(panic.to_string()));
        unpacked.map_err(|why| PackageError::Damaged { name: label, why })?;
        let _ = fs::remove_file(fresh.path().join("package.tgz"));
        // One that is not whole may be there.
        let _ = fs::remove_dir_all(&dir);
        fs::rename(fresh.keep(), &dir).map_err(cannot)?;
        let sha256 = fs::read_to_string(dir.join("sha256")).map_err(cannot)?;
        Ok(Packed {
            path: packed,
            sha256,
        })
    }

    /// Fetches a package into a file; gives the digest that it must have, in the form of `integrity`.
    async fn fetch(&self, name: &str, version: &str, file: &Path) -> Result<String, PackageError> {
        let url = format!("{}/{}/{version}", self.registry, name.replace('/', "%2f"));
        let entry = self.ask(name, &url, ENTRY_MS, MAX_ENTRY, None).await?;
        let damaged = |why: &str| PackageError::Damaged {
            name: name.to_owned(),
            why: why.to_owned(),
        };
        let entry: Entry = serde_json::from_slice(&entry)
            .map_err(|error| damaged(&format!("its entry cannot be read: {error}")))?;
        let integrity = entry.dist.integrity;
        let integrity = integrity.ok_or_else(|| damaged("its entry has no digest"))?;
        let file = file.to_string_lossy().into_owned();
        self.ask(
            name,
            &entry.dist.tarball,
            PACKAGE_MS,
            MAX_PACKAGE,
            Some(file),
        )
        .await?;
        Ok(integrity)
    }

    async fn ask(
        &self,
        name: &str,
        url: &str,
        timeout_ms: u64,
        max_bytes: usize,
        file: Option<String>,
    ) -> Result<Vec<u8>, PackageError> {
        let request = HttpRequest {
            method: "GET",
            url: url.to_owned(),
            headers: Vec::new(),
            body: Body::Empty,
            timeout_ms,
            max_bytes,
            save_to: file.map(|file| (file, 0)),
        };
        let response = self.host.http(request).await;
        let response = response.map_err(|error: HttpError| PackageError::Unreachable {
            registry: self.registry.clone(),
            name: name.to_owned(),
            why: error.to_string(),
        })?;
        match response.status {
            200 => Ok(response.body),
            status => Err(PackageError::Status {
                registry: self.registry.clone(),
                name: name.to_owned(),
                status,
            }),
        }
    }
}

/// Checks a package and writes the program in it, compressed, and its digest; an error says what is wrong.
fn repack(tarball: &Path, integrity: &str, path: &str, into: &Path) -> Result<(), String> {
    let text = |error: io::Error| error.to_string();
    // Several may be named; of those that are not known here nothing is expected.
    let wanted = integrity
        .split(' ')
        .find_map(|one| one.strip_prefix("sha512-"));
    let wanted = wanted.ok_or("its entry has no SHA-512")?;
    let mut digest = Sha512::new();
    io::copy(&mut File::open(tarball).map_err(text)?, &mut digest).map_err(text)?;
    if BASE64_STANDARD.encode(digest.finalize()) != wanted {
        return Err("its SHA-512 differs".to_owned());
    }
    let tarball = BufReader::new(File::open(tarball).map_err(text)?);
    let mut archive = tar::Archive::new(GzDecoder::new(tarball));
    for entry in archive.entries().map_err(text)? {
        let mut entry = entry.map_err(text)?;
        if entry.path_bytes() != path.as_bytes() || !entry.header().entry_type().is_file() {
            continue;
        }
        let mut digest = Sha256::new();
        let file = File::create(into.join("program.gz")).map_err(text)?;
        let mut packed = GzEncoder::new(file, Compression::new(6));
        let mut buffer = vec![0; 1 << 16];
        loop {
            let length = entry.read(&mut buffer).map_err(text)?;
            if length == 0 {
                break;
            }
            digest.update(&buffer[..length]);
            packed.write_all(&buffer[..length]).map_err(text)?;
        }
        packed
            .finish()
            .and_then(|file| file.sync_all())
            .map_err(text)?;
        let sha256: String = digest
            .finalize()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        // Written last: without it the cache has nothing.
        return fs::write(into.join("sha256"), sha256).map_err(text);
    }
    Err(format!("there is no {path} in it"))
}
