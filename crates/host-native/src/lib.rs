//! [`Host`] for native programs: tokio's runtime with many threads, one HTTP client with a pool of
//! connections, files, git and the clock of this machine.
//!
//! The host of the plugins is `packages/shared/host.ts`. Both mean the same by every method, and the tests
//! in `tests/contract` hold both to it.
//!
//! No call blocks a thread of the runtime: files are read and written on the threads that tokio keeps for
//! that. A child process ends with the future that waits for it, at its time limit, and with this process
//! ([`process`]).

mod environment;
mod files;
mod http;
mod process;

use async_trait::async_trait;
use environment::{Environment, variable};
use host::*;
use std::ffi::OsString;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// This machine, as far as the core may touch it.
pub struct NativeHost {
    env: Environment,
    http: http::Http,
}

impl NativeHost {
    /// A host with this environment: the one that [`Host::env`] reads, that says which proxies and
    /// certificates count, and that children get.
    pub fn new<N: Into<OsString>, V: Into<OsString>>(
        env: impl IntoIterator<Item = (N, V)>,
    ) -> Self {
        let env: Environment = (env.into_iter())
            .map(|(name, value)| (name.into(), value.into()))
            .collect();
        let http = http::Http::new(&env);
        NativeHost { env, http }
    }

    /// A host with the environment of this process, as it is now.
    pub fn from_process() -> Self {
        NativeHost::new(std::env::vars_os())
    }

    /// The HTTP client of this host, for what [`Host::http`] cannot do: bodies that pass as they come.
    /// Certificates are read from disk, so it blocks.
    pub fn client(&self) -> Result<reqwest::ClientBuilder, TlsError> {
        http::client(&self.env).map_err(TlsError)
    }
}

/// TLS could not be set up.
#[derive(Debug, thiserror::Error)]
#[error("TLS could not be set up: {0}; this is a fault of the program")]
pub struct TlsError(#[source] rustls::Error);

#[async_trait]
impl Host for NativeHost {
    async fn http(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        self.http.send(request).await
    }

    fn uses_proxies(&self) -> bool {
        true
    }

    async fn first_line(&self, address: &str, tls: bool, text: &str) -> Option<String> {
        self.http.first_line(address, tls, text).await
    }

    async fn read_part(&self, path: &str, offset: u64, length: u64) -> Result<Vec<u8>, FileError> {
        files::read_part(path, offset, length).await
    }

    async fn read_file(&self, path: &str) -> Result<Vec<u8>, FileError> {
        files::read_file(path).await
    }

    async fn replace_file(&self, path: &str, content: &[u8]) -> Result<(), FileError> {
        files::replace_file(path, content.to_vec()).await
    }

    async fn create_file(&self, path: &str) -> Result<(), FileError> {
        files::create_file(path).await
    }

    async fn copy_file(&self, from: &str, to: &str) -> Result<(), FileError> {
        files::copy_file(from, to).await
    }

    async fn rename_file(&self, from: &str, to: &str) -> Result<(), FileError> {
        files::rename_file(from, to).await
    }

    async fn remove_file(&self, path: &str) -> Result<(), FileError> {
        files::remove_file(path).await
    }

    async fn list_dir(&self, path: &str) -> Result<Vec<String>, FileError> {
        files::list_dir(path).await
    }

    async fn make_dir(&self, path: &str) -> Result<(), FileError> {
        files::make_dir(path).await
    }

    async fn remove_dir(&self, path: &str) -> Result<(), FileError> {
        files::remove_dir(path).await
    }

    async fn real_path(&self, path: &str) -> Result<String, FileError> {
        files::real_path(path).await
    }

    async fn file_size(&self, path: &str) -> Result<u64, FileError> {
        files::file_size(path).await
    }

    async fn file_sizes(&self, dir: &str, names: &[String]) -> Vec<u64> {
        files::file_sizes(dir, names.to_vec()).await
    }

    async fn modified_ms(&self, path: &str) -> Result<u64, FileError> {
        files::modified_ms(path).await
    }

    async fn git(&self, call: GitCall) -> Result<GitOutput, GitError> {
        process::git(&self.env, call).await
    }

    async fn output_of(
        &self,
        program: &str,
        args: &[&str],
        cwd: &str,
        timeout_ms: u64,
        max_bytes: usize,
    ) -> Result<String, String> {
        process::output_of(&self.env, program, args, cwd, timeout_ms, max_bytes).await
    }

    fn now_ms(&self) -> u64 {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        now.unwrap_or_default().as_millis() as u64
    }

    /// # Panics
    ///
    /// Where the system has no random bits: what is named or locked by them would not be safe.
    fn random(&self) -> u64 {
        match getrandom::u64() {
            Ok(bits) => bits,
            Err(error) => panic!("the system gives no random bits: {error}"),
        }
    }

    async fn sleep(&self, ms: u64) {
        tokio::time::sleep(Duration::from_millis(ms)).await;
    }

    fn env(&self, name: &str) -> Option<String> {
        variable(&self.env, name)
    }

    fn platform(&self) -> Platform {
        match std::env::consts::OS {
            "windows" => Platform::Windows,
            "macos" => Platform::Mac,
            _ => Platform::Linux,
        }
    }

    fn pid(&self) -> u32 {
        std::process::id()
    }

    fn machine(&self) -> String {
        #[cfg(unix)]
        let name = {
            let system = rustix::system::uname();
            system.nodename().to_string_lossy().into_owned()
        };
        #[cfg(not(unix))]
        let name = self.env("COMPUTERNAME").unwrap_or_default();
        name
    }

    fn pid_alive(&self, pid: u32) -> bool {
        process::is_alive(pid)
    }

    fn log(&self, level: Level, message: &str) {
        match level {
            Level::Debug => tracing::debug!("{message}"),
            Level::Info => tracing::info!("{message}"),
            Level::Warn => tracing::warn!("{message}"),
            Level::Error => tracing::error!("{message}"),
        }
    }
}
