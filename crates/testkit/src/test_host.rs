//! The [`Host`] of tests: the one of native programs, with faults where a test plants them.

use async_trait::async_trait;
use host::*;
use host_native::NativeHost;
use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::oneshot;

/// A fault: sees the operation's name and its path or URL, and may answer in its place.
pub type Fault = Box<dyn Fn(&str, &str) -> Option<String> + Send + Sync>;

/// Answers a request in the network's place.
type Answer = Box<dyn Fn(&HttpRequest) -> String + Send + Sync>;

/// A host on the real machine.
pub struct TestHost {
    /// What the test gave: [`Host::env`] has nothing else.
    env: Mutex<BTreeMap<String, String>>,
    /// The machine, with the environment of this process for children, and that of the test before it.
    native: Mutex<Arc<NativeHost>>,
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
}

impl TestHost {
    /// A host with this environment and no other.
    pub fn new(env: &[(&str, &str)]) -> Self {
        let env = env.iter().map(|(k, v)| (k.to_string(), v.to_string()));
        let env: BTreeMap<_, _> = env.collect();
        let native = native(&env);
        TestHost {
            platform: Setting::new(native.platform()),
            native: Mutex::new(Arc::new(native)),
            env: Mutex::new(env),
            fault: Mutex::default(),
            answer: Mutex::default(),
            requests: Mutex::default(),
            log: Mutex::default(),
            temps: Mutex::default(),
            left: Setting::default(),
            died: Mutex::default(),
            status: Setting::default(),
            skip_ms: Setting::default(),
            fast: Setting::default(),
            pid: Setting::default(),
        }
    }

    /// Sets a variable of the environment.
    pub fn set_env(&self, name: &str, value: &str) {
        let mut env = locked(&self.env);
        env.insert(name.into(), value.into());
        *locked(&self.native) = Arc::new(native(&env));
    }

    fn native(&self) -> Arc<NativeHost> {
        Arc::clone(&locked(&self.native))
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

/// The machine for a test's environment. Children of tests find programs as this process does; variables
/// that say how git or the network is used are the test's alone.
fn native(env: &BTreeMap<String, String>) -> NativeHost {
    let is_own = |name: &str| {
        let name = name.to_ascii_uppercase();
        !name.starts_with("GIT_") && !name.ends_with("_PROXY")
    };
    let process = std::env::vars_os().filter(|(name, _)| is_own(&name.to_string_lossy()));
    let test = env.iter().map(|(k, v)| (k.into(), v.into()));
    NativeHost::new(process.chain(test))
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
        let url = &request.url;
        let what = format!("{} {url}", request.method);
        if let Some(reason) = self.planted("http", &what).await {
            let code = match reason.as_str() {
                "timeout" => "TimeoutError",
                "connect" => "ECONNREFUSED",
                other => other,
            };
            let thrown = Thrown {
                code: code.into(),
                ..Thrown::default()
            };
            let proxy = self.proxy(url);
            let (limit, max) = (request.timeout_ms, request.max_bytes);
            return Err(HttpError::of(thrown, url, limit, max, proxy));
        }
        self.native().http(request).await
    }

    fn uses_proxies(&self) -> bool {
        self.native().uses_proxies()
    }

    async fn first_line(&self, address: &str, tls: bool, text: &str) -> Option<String> {
        self.native().first_line(address, tls, text).await
    }

    async fn read_part(&self, path: &str, offset: u64, length: u64) -> Result<Vec<u8>, FileError> {
        self.check("read", path).await?;
        self.native().read_part(path, offset, length).await
    }

    async fn read_file(&self, path: &str) -> Result<Vec<u8>, FileError> {
        self.check("read", path).await?;
        self.native().read_file(path).await
    }

    async fn replace_file(&self, path: &str, content: &[u8]) -> Result<(), FileError> {
        self.check("replace", path).await?;
        self.native().replace_file(path, content).await
    }

    async fn create_file(&self, path: &str) -> Result<(), FileError> {
        self.check("create", path).await?;
        self.native().create_file(path).await
    }

    async fn rename_file(&self, from: &str, to: &str) -> Result<(), FileError> {
        self.check("rename", from).await?;
        self.native().rename_file(from, to).await
    }

    async fn copy_file(&self, from: &str, to: &str) -> Result<(), FileError> {
        self.check("copy", from).await?;
        self.native().copy_file(from, to).await
    }

    async fn remove_file(&self, path: &str) -> Result<(), FileError> {
        self.check("remove", path).await?;
        self.native().remove_file(path).await
    }

    async fn list_dir(&self, path: &str) -> Result<Vec<String>, FileError> {
        self.check("list", path).await?;
        self.native().list_dir(path).await
    }

    async fn make_dir(&self, path: &str) -> Result<(), FileError> {
        self.check("temp", path).await?;
        self.native().make_dir(path).await?;
        locked(&self.temps).insert(path.into());
        Ok(())
    }

    async fn remove_dir(&self, path: &str) -> Result<(), FileError> {
        self.check("remove", path).await?;
        let below = format!("{path}/");
        let stays = |other: &String| other != path && !other.starts_with(&below);
        locked(&self.temps).retain(stays);
        self.native().remove_dir(path).await
    }

    async fn real_path(&self, path: &str) -> Result<String, FileError> {
        self.native().real_path(path).await
    }

    async fn file_size(&self, path: &str) -> Result<u64, FileError> {
        self.native().file_size(path).await
    }

    async fn file_sizes(&self, dir: &str, names: &[String]) -> Vec<u64> {
        self.native().file_sizes(dir, names).await
    }

    async fn modified_ms(&self, path: &str) -> Result<u64, FileError> {
        self.native().modified_ms(path).await
    }

    async fn git(&self, call: GitCall) -> Result<GitOutput, GitError> {
        if let Some(reason) = self.planted("git", &call.args.join(" ")).await {
            return Err(GitError::NotRun(reason));
        }
        self.native().git(call).await
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
        let native = self.native();
        (native.output_of(program, args, cwd, timeout_ms, max_bytes)).await
    }

    fn now_ms(&self) -> u64 {
        self.native().now_ms() + self.skip_ms.get()
    }

    fn random(&self) -> u64 {
        self.native().random()
    }

    async fn sleep(&self, ms: u64) {
        if self.fast.get() {
            self.skip_ms.set(self.skip_ms.get() + ms);
            tokio::task::yield_now().await;
        } else {
            self.native().sleep(ms).await;
        }
    }

    fn env(&self, name: &str) -> Option<String> {
        let env = locked(&self.env);
        env.get(name).filter(|value| !value.is_empty()).cloned()
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
        self.native().pid_alive(pid)
    }

    fn log(&self, level: Level, message: &str) {
        locked(&self.log).push(format!("{} {message}", level.name()));
    }
}
