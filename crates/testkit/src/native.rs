//! The [`Host`] of tests: real files, real HTTP, real git, and faults where a test plants them.

use async_trait::async_trait;
use host::*;
use std::collections::{HashMap, HashSet};
use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::path::Path;
use std::process::Stdio;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt};
use tokio::sync::oneshot;

/// A fault: sees the operation's name and its path or URL, and may answer in its place.
pub type Fault = Box<dyn Fn(&str, &str) -> Option<String> + Send + Sync>;

/// Answers a request in the network's place.
type Answer = Box<dyn Fn(&HttpRequest) -> String + Send + Sync>;

/// A host on the real machine.
#[derive(Default)]
pub struct TestHost {
    env: Mutex<HashMap<String, String>>,
    fault: Mutex<Option<Fault>>,
    answer: Mutex<Option<Answer>>,
    requests: Mutex<Vec<HttpRequest>>,
    log: Mutex<Vec<String>>,
    temps: Mutex<HashSet<String>>,
    /// Effects until it dies, and who hears of it.
    left: Setting<Option<usize>>,
    died: Mutex<Option<oneshot::Sender<()>>>,
    /// Status of what [`TestHost::answer_with`] answers, if not 200.
    pub status: Setting<Option<u16>>,
    /// Milliseconds added to the clock.
    pub skip_ms: Setting<u64>,
    /// Sleeps end at once and move the clock instead.
    pub fast: Setting<bool>,
    /// The operating system whose rules hold.
    pub platform: Setting<Platform>,
    /// Number of this process, if a test plays several.
    pub pid: Setting<Option<u32>>,
    seed: Setting<u64>,
}

impl TestHost {
    /// A host with this environment and no other.
    pub fn new(env: &[(&str, &str)]) -> Self {
        let host = TestHost::default();
        locked(&host.env).extend(env.iter().map(|(k, v)| (k.to_string(), v.to_string())));
        // Two hosts of one millisecond must not give the same names.
        static HOSTS: AtomicU64 = AtomicU64::new(0);
        let number = HOSTS.fetch_add(1, Ordering::Relaxed);
        let process = u64::from(std::process::id()) << 32;
        host.platform.set(match std::env::consts::OS {
            "windows" => Platform::Windows,
            "macos" => Platform::Mac,
            _ => Platform::Linux,
        });
        host.seed
            .set(host.now_ms() ^ process ^ number.rotate_right(16));
        host
    }

    /// Sets a variable of the environment.
    pub fn set_env(&self, name: &str, value: &str) {
        locked(&self.env).insert(name.into(), value.into());
    }

    /// From now on `fault` is asked first: for `read`, `replace`, `create`, `rename`, `remove`,
    /// `list` and `temp` with a path, `run` with a program, `http` with `METHOD URL`, `git` with its arguments, joined by
    /// spaces. What it says becomes the error. For `http` it is the code that a runtime would throw,
    /// or `timeout` or `connect`; every other word is a dropped connection.
    pub fn fail(&self, fault: impl Fn(&str, &str) -> Option<String> + Send + Sync + 'static) {
        *locked(&self.fault) = Some(Box::new(fault));
    }

    /// Plays a process that dies as `kill -9` does: its `n`-th effect from now on (a file changed, a
    /// request sent, a git that writes) does not happen any more, and nothing after it ever returns.
    /// The receiver hears when it has come to that.
    pub fn die_at(&self, n: usize) -> oneshot::Receiver<()> {
        let (died, heard) = oneshot::channel();
        *locked(&self.died) = Some(died);
        self.left.set(Some(n));
        heard
    }

    /// Nothing fails any more, and requests are sent again.
    pub fn heal(&self) {
        *locked(&self.fault) = None;
        *locked(&self.answer) = None;
    }

    /// From now on no request is sent: each is answered with 200 and this body.
    pub fn answer_with<T: Into<String>>(
        &self,
        answer: impl Fn(&HttpRequest) -> T + Send + Sync + 'static,
    ) {
        *locked(&self.answer) = Some(Box::new(move |request| answer(request).into()));
    }

    /// The requests so far, without uploads that were sent.
    pub fn requests(&self) -> Vec<HttpRequest> {
        locked(&self.requests).clone()
    }

    /// Temporary directories that were made and not removed.
    pub fn temps(&self) -> Vec<String> {
        locked(&self.temps).iter().cloned().collect()
    }

    /// All lines logged so far.
    pub fn logged(&self) -> Vec<String> {
        locked(&self.log).clone()
    }

    async fn planted(&self, operation: &str, what: &str) -> Option<String> {
        if is_effect(operation, what) {
            let left = self.left.get().map(|left| left.saturating_sub(1));
            self.left.set(left);
            if left == Some(0)
                && let Some(died) = locked(&self.died).take()
            {
                let _ = died.send(());
            }
        }
        if self.left.get() == Some(0) {
            std::future::pending::<()>().await;
        }
        locked(&self.fault)
            .as_ref()
            .and_then(|fault| fault(operation, what))
    }

    fn file<T>(
        &self,
        operation: &str,
        path: &str,
        result: std::io::Result<T>,
    ) -> Result<T, FileError> {
        result.map_err(|error| FileError {
            path: path.into(),
            kind: match error.kind() {
                std::io::ErrorKind::NotFound => FileErrorKind::NotFound,
                std::io::ErrorKind::AlreadyExists => FileErrorKind::Exists,
                _ => FileErrorKind::Other,
            },
            reason: format!("{operation}: {error}"),
        })
    }

    async fn check(&self, operation: &str, path: &str) -> Result<(), FileError> {
        match self.planted(operation, path).await {
            Some(reason) => Err(FileError {
                path: path.into(),
                kind: FileErrorKind::Other,
                reason,
            }),
            None => Ok(()),
        }
    }
}

impl LocalHost for TestHost {
    fn spawn(&self, task: Task) {
        tokio::task::spawn_local(task);
    }
}

/// A value that a test sets while the host is in use.
#[derive(Default)]
pub struct Setting<T>(Mutex<T>);

impl<T> Setting<T> {
    /// With its first value.
    pub fn new(value: T) -> Self {
        Setting(Mutex::new(value))
    }
}

impl<T: Copy> Setting<T> {
    /// What it is.
    pub fn get(&self) -> T {
        *locked(&self.0)
    }

    /// Makes it another.
    pub fn set(&self, value: T) {
        *locked(&self.0) = value;
    }

    /// Makes it another, and gives what it was.
    pub fn replace(&self, value: T) -> T {
        std::mem::replace(&mut *locked(&self.0), value)
    }
}

/// What a failed assertion in another thread has left is still what the test looks at.
fn locked<T: ?Sized>(value: &Mutex<T>) -> MutexGuard<'_, T> {
    value.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Subcommands of git that only read.
const READING: &[&str] = &[
    " rev-parse ",
    " rev-list ",
    " cat-file ",
    " grep ",
    " for-each-ref ",
    " merge-base ",
    " diff-tree ",
    " check-attr ",
    " config ",
    " symbolic-ref ",
    "--version",
    " check-ignore ",
    " help ",
    " worktree list ",
];

/// True if the world is another one afterwards.
fn is_effect(operation: &str, what: &str) -> bool {
    match operation {
        "read" | "list" | "run" => false,
        "git" => !READING.iter().any(|reading| what.contains(reading)),
        _ => true,
    }
}

fn make_parent(path: &str) -> std::io::Result<()> {
    std::fs::create_dir_all(Path::new(path).parent().unwrap_or(Path::new("/")))
}

fn opened_at(path: &str, offset: u64) -> std::io::Result<std::fs::File> {
    let mut file = std::fs::File::open(path)?;
    file.seek(SeekFrom::Start(offset))?;
    Ok(file)
}

/// At most `length` bytes of a file.
fn slice(path: &str, offset: u64, length: u64) -> std::io::Result<Vec<u8>> {
    let mut part = Vec::new();
    opened_at(path, offset)?
        .take(length)
        .read_to_end(&mut part)?;
    Ok(part)
}

/// A file that is there, to be written from a byte on.
fn written_at(path: &str, offset: u64) -> std::io::Result<std::fs::File> {
    let mut file = std::fs::File::options().write(true).open(path)?;
    file.seek(SeekFrom::Start(offset))?;
    Ok(file)
}

/// An empty file that only its owner reads.
fn private_file(path: &str) -> std::io::Result<std::fs::File> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

fn not_saved(url: &str, path: &str, error: std::io::Error) -> HttpError {
    HttpError::Dropped {
        url: url.into(),
        reason: format!("{path}: {error}"),
    }
}

#[async_trait]
impl Host for TestHost {
    async fn http(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        if let Some(answer) = &*locked(&self.answer) {
            let mut body = answer(&request).into_bytes();
            if let Some((path, _)) = &request.save_to {
                std::fs::write(path, std::mem::take(&mut body)).expect("saved");
            }
            locked(&self.requests).push(request);
            return Ok(HttpResponse {
                status: self.status.get().unwrap_or(200),
                headers: Vec::new(),
                body,
            });
        }
        if !matches!(request.body, Body::Multipart(_)) {
            locked(&self.requests).push(request.clone());
        }
        let url = request.url.clone();
        if let Some(reason) = self
            .planted("http", &format!("{} {url}", request.method))
            .await
        {
            let code = match reason.as_str() {
                "timeout" => "TimeoutError",
                "connect" => "ECONNREFUSED",
                other => other,
            };
            let thrown = Thrown {
                code: code.into(),
                ..Thrown::default()
            };
            let proxy = proxy::in_force(self, &url);
            let (limit, max) = (request.timeout_ms, request.max_bytes);
            return Err(HttpError::of(thrown, &url, limit, max, proxy));
        }
        let client = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .timeout(Duration::from_millis(request.timeout_ms))
            .pool_max_idle_per_host(0)
            .build()
            .expect("a client");
        let mut builder = client.request(request.method.parse().expect("a method"), &request.url);
        for (name, value) in &request.headers {
            builder = builder.header(name, value);
        }
        builder = match request.body {
            Body::Empty => builder,
            Body::Json(text) => builder
                .header("content-type", "application/json")
                .body(text),
            Body::Multipart(parts) => {
                let mut form = reqwest::multipart::Form::new();
                for part in parts {
                    form = match part.content {
                        PartContent::Text(text) => form.text(part.name, text),
                        PartContent::Bytes(bytes) => form.part(
                            part.name,
                            reqwest::multipart::Part::bytes(bytes).file_name("file"),
                        ),
                        PartContent::File(path) => {
                            let bytes = std::fs::read(&path).expect("reads the file to upload");
                            form.part(
                                part.name,
                                reqwest::multipart::Part::bytes(bytes).file_name("file"),
                            )
                        }
                        PartContent::Slice {
                            path,
                            offset,
                            length,
                        } => {
                            let bytes = slice(&path, offset, length);
                            let bytes = bytes.expect("reads the file to upload");
                            form.part(
                                part.name,
                                reqwest::multipart::Part::bytes(bytes).file_name("file"),
                            )
                        }
                    };
                }
                builder.multipart(form)
            }
        };
        let failed = |error: reqwest::Error| {
            let url = request.url.clone();
            if error.is_timeout() {
                HttpError::Timeout {
                    url,
                    timeout_ms: request.timeout_ms,
                }
            } else if error.is_connect() {
                HttpError::Connect {
                    url,
                    reason: error.to_string(),
                }
            } else {
                HttpError::Dropped {
                    url,
                    reason: error.to_string(),
                }
            }
        };
        let response = builder.send().await.map_err(failed)?;
        let status = response.status().as_u16();
        let headers = response
            .headers()
            .iter()
            .map(|(name, value)| {
                (
                    name.to_string(),
                    String::from_utf8_lossy(value.as_bytes()).into_owned(),
                )
            })
            .collect();
        let save_to = request.save_to.as_ref();
        let mut saved = match save_to.filter(|_| (200..300).contains(&status)) {
            Some((path, offset)) => {
                let file = match offset {
                    0 => private_file(path),
                    at => written_at(path, *at),
                };
                let file = file.map_err(|error| not_saved(&url, path, error))?;
                Some((file, path))
            }
            None => None,
        };
        let (mut response, mut body, mut size) = (response, Vec::new(), 0);
        while let Some(chunk) = response.chunk().await.map_err(failed)? {
            size += chunk.len();
            if size > request.max_bytes {
                return Err(HttpError::TooLarge {
                    url,
                    max_bytes: request.max_bytes,
                });
            }
            match &mut saved {
                Some((file, path)) => std::io::Write::write_all(file, &chunk)
                    .map_err(|error| not_saved(&url, path, error))?,
                None => body.extend_from_slice(&chunk),
            }
        }
        Ok(HttpResponse {
            status,
            headers,
            body,
        })
    }

    fn uses_proxies(&self) -> bool {
        true
    }

    async fn first_line(&self, address: &str, _: bool, text: &str) -> Option<String> {
        let mut stream = tokio::net::TcpStream::connect(address).await.ok()?;
        stream.write_all(text.as_bytes()).await.ok()?;
        let mut line = String::new();
        let mut reader = tokio::io::BufReader::new(stream);
        reader.read_line(&mut line).await.ok()?;
        Some(line)
    }

    async fn read_part(&self, path: &str, offset: u64, length: u64) -> Result<Vec<u8>, FileError> {
        self.check("read", path).await?;
        self.file("read", path, slice(path, offset, length))
    }

    async fn read_file(&self, path: &str) -> Result<Vec<u8>, FileError> {
        self.check("read", path).await?;
        self.file("read", path, std::fs::read(path))
    }

    async fn replace_file(&self, path: &str, content: &[u8]) -> Result<(), FileError> {
        self.check("replace", path).await?;
        let replace = || {
            make_parent(path)?;
            let dir = Path::new(path).parent().expect("a file has a directory");
            let mut file = tempfile::NamedTempFile::new_in(dir)?;
            std::io::Write::write_all(&mut file, content)?;
            file.as_file().sync_all()?;
            file.persist(path)?;
            Ok(())
        };
        self.file("replace", path, replace())
    }

    async fn create_file(&self, path: &str) -> Result<(), FileError> {
        self.check("create", path).await?;
        let create = || {
            make_parent(path)?;
            std::fs::File::create_new(path).map(drop)
        };
        self.file("create", path, create())
    }

    async fn rename_file(&self, from: &str, to: &str) -> Result<(), FileError> {
        self.check("rename", from).await?;
        self.file("rename", from, std::fs::rename(from, to))
    }

    async fn copy_file(&self, from: &str, to: &str) -> Result<(), FileError> {
        self.check("copy", from).await?;
        let copy = || {
            let written = std::fs::metadata(from)?.modified()?;
            std::fs::copy(from, to)?;
            let copied = std::fs::File::options().write(true).open(to)?;
            copied.set_modified(written)
        };
        self.file("copy", from, copy())
    }

    async fn remove_file(&self, path: &str) -> Result<(), FileError> {
        self.check("remove", path).await?;
        match std::fs::remove_file(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            result => self.file("remove", path, result),
        }
    }

    async fn list_dir(&self, path: &str) -> Result<Vec<String>, FileError> {
        self.check("list", path).await?;
        match std::fs::read_dir(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
            result => {
                let entries = self.file("list", path, result)?;
                Ok(entries
                    .flatten()
                    .map(|e| e.file_name().to_string_lossy().into_owned())
                    .collect())
            }
        }
    }

    async fn make_dir(&self, path: &str) -> Result<(), FileError> {
        self.check("temp", path).await?;
        let mut private = std::fs::DirBuilder::new();
        private.recursive(true);
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut private, 0o700);
        self.file("temp", path, private.create(path))?;
        locked(&self.temps).insert(path.into());
        Ok(())
    }

    async fn remove_dir(&self, path: &str) -> Result<(), FileError> {
        self.check("remove", path).await?;
        let name = Path::new(path).file_name().unwrap_or_default();
        assert!(name.to_string_lossy().starts_with(TEMPORARY), "{path}");
        let below = format!("{path}/");
        let stays = |other: &String| other != path && !other.starts_with(&below);
        locked(&self.temps).retain(stays);
        match std::fs::remove_dir_all(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            removed => self.file("remove", path, removed),
        }
    }

    async fn real_path(&self, path: &str) -> Result<String, FileError> {
        let real = self.file("stat", path, std::fs::canonicalize(path))?;
        Ok(real.to_string_lossy().into_owned())
    }

    async fn file_size(&self, path: &str) -> Result<u64, FileError> {
        self.file("stat", path, std::fs::metadata(path).map(|m| m.len()))
    }

    async fn file_sizes(&self, dir: &str, names: &[String]) -> Vec<u64> {
        let size = |name: &String| {
            let found = std::fs::symlink_metadata(Path::new(dir).join(name));
            found
                .ok()
                .filter(|found| found.is_file())
                .map_or(0, |found| found.len())
        };
        names.iter().map(size).collect()
    }

    async fn modified_ms(&self, path: &str) -> Result<u64, FileError> {
        let modified = std::fs::metadata(path).and_then(|found| found.modified());
        let modified = self.file("stat", path, modified)?;
        let since = modified.duration_since(UNIX_EPOCH).unwrap_or_default();
        Ok(since.as_millis() as u64)
    }

    async fn git(&self, call: GitCall) -> Result<GitOutput, GitError> {
        if let Some(reason) = self.planted("git", &call.args.join(" ")).await {
            return Err(GitError::NotRun(reason));
        }
        let not_run = |error: std::io::Error| GitError::NotRun(error.to_string());
        let mut command = tokio::process::Command::new("git");
        command
            .args(&call.args)
            .current_dir(&call.cwd)
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("GIT_") {
                command.env_remove(name);
            }
        }
        for (name, value) in &*locked(&self.env) {
            // Git finds its settings, and is found, by these.
            let is_way = ["HOME", "XDG_CONFIG_HOME", "PATH"].contains(&name.as_str());
            if is_way || call.keep.contains(name) {
                command.env(name, value);
            }
        }
        command.envs(call.env);
        match &call.stdin_file {
            Some((path, offset)) => command.stdin(opened_at(path, *offset).map_err(not_run)?),
            None => command.stdin(Stdio::piped()),
        };
        match &call.stdout_file {
            Some(path) => command.stdout(std::fs::File::create(path).map_err(not_run)?),
            None => command.stdout(Stdio::piped()),
        };
        let mut child = command.spawn().map_err(not_run)?;
        if let Some(mut stdin) = child.stdin.take() {
            let bytes = call.stdin;
            tokio::spawn(async move {
                let _ = stdin.write_all(&bytes).await;
            });
        }
        let limit = match call.timeout_ms {
            0 => Duration::MAX,
            limit => Duration::from_millis(limit),
        };
        let said = Arc::new(Mutex::new(Vec::new()));
        if let Some(listener) = call.listener
            && let Some(mut stderr) = child.stderr.take()
        {
            let said = Arc::clone(&said);
            tokio::spawn(async move {
                let mut part = [0; 4096];
                while let Ok(length @ 1..) = stderr.read(&mut part).await {
                    locked(&said).extend_from_slice(&part[..length]);
                    listener.0.hear(&String::from_utf8_lossy(&part[..length]));
                }
            });
        }
        let output = tokio::time::timeout(limit, child.wait_with_output()).await;
        let too_slow = |_| GitError::TooSlow {
            timeout_ms: call.timeout_ms,
        };
        let output = output.map_err(too_slow)?.map_err(not_run)?;
        Ok(GitOutput {
            code: output.status.code().unwrap_or(-1),
            stdout: output.stdout,
            stderr: String::from_utf8_lossy(
                &[output.stderr, std::mem::take(&mut *locked(&said))].concat(),
            )
            .into_owned(),
        })
    }

    async fn output_of(
        &self,
        program: &str,
        args: &[&str],
        cwd: &str,
        timeout_ms: u64,
        max_bytes: usize,
    ) -> Result<String, String> {
        if let Some(reason) = self.planted("run", program).await {
            return Err(reason);
        }
        let mut command = tokio::process::Command::new(program);
        command.args(args).current_dir(cwd).kill_on_drop(true);
        let output = tokio::time::timeout(Duration::from_millis(timeout_ms), command.output());
        let output = output.await.map_err(|late| late.to_string())?;
        let output = output.map_err(|error| error.to_string())?;
        match output.status.success() {
            true if output.stdout.len() > max_bytes => {
                Err(format!("it wrote more than {max_bytes} bytes"))
            }
            true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
            false => Err(output.status.to_string()),
        }
    }

    fn now_ms(&self) -> u64 {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .expect("after 1970");
        now.as_millis() as u64 + self.skip_ms.get()
    }

    fn random(&self) -> u64 {
        // splitmix64: enough for names and pauses in a test.
        self.seed
            .set(self.seed.get().wrapping_add(0x9e37_79b9_7f4a_7c15));
        let mut z = self.seed.get();
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    async fn sleep(&self, ms: u64) {
        if self.fast.get() {
            self.skip_ms.set(self.skip_ms.get() + ms);
            tokio::task::yield_now().await;
        } else {
            tokio::time::sleep(Duration::from_millis(ms)).await;
        }
    }

    fn env(&self, name: &str) -> Option<String> {
        locked(&self.env)
            .get(name)
            .filter(|value| !value.is_empty())
            .cloned()
    }

    fn platform(&self) -> Platform {
        self.platform.get()
    }

    fn pid(&self) -> u32 {
        self.pid.get().unwrap_or_else(std::process::id)
    }

    fn machine(&self) -> String {
        "tests".into()
    }

    fn pid_alive(&self, pid: u32) -> bool {
        if cfg!(target_os = "linux") {
            return Path::new(&format!("/proc/{pid}")).exists();
        }
        #[cfg(unix)]
        if let Some(pid) = i32::try_from(pid)
            .ok()
            .and_then(rustix::process::Pid::from_raw)
        {
            return rustix::process::test_kill_process(pid).is_ok();
        }
        pid == std::process::id()
    }

    fn log(&self, level: Level, message: &str) {
        locked(&self.log).push(format!("{} {message}", level.name()));
    }
}
