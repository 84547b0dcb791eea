//! Drives the built binary as the host does: a request in the environment, a frame on stdout.
//!
//! No test sleeps to be on the safe side; each waits for the thing itself.

mod bundle;
mod exclude;
mod files;
mod half;
mod image;
mod jobs;
mod keep;
mod large;
mod left;
mod lfs;
mod packs;
mod requests;
mod setup;
mod undo;
mod work;

use protocol::{Outcome, Reply, ToolError, ToolOutput, frame};
use serde_json::{Value, json};
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

/// The built binary.
const RUNNER: &str = env!("CARGO_BIN_EXE_opencode-runner");

/// A sandbox: a home and a project of its own.
struct Sandbox {
    dir: tempfile::TempDir,
    home: PathBuf,
    next: std::sync::atomic::AtomicU32,
}

impl Sandbox {
    fn new() -> Sandbox {
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path().join("home");
        std::fs::create_dir(&home).unwrap();
        std::fs::create_dir(dir.path().join("project")).unwrap();
        Sandbox {
            dir,
            home,
            next: 0.into(),
        }
    }

    /// Files in one string: `//- /path` starts a file of the project.
    fn with(fixture: &str) -> Sandbox {
        let sandbox = Sandbox::new();
        for part in fixture.split("//- /").skip(1) {
            let (path, text) = part.split_once('\n').unwrap();
            let path = sandbox.path(path.trim());
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        sandbox
    }

    fn root(&self) -> PathBuf {
        self.dir.path().join("project")
    }

    fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.root().join(name)
    }

    fn text(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap()
    }

    fn id(&self) -> String {
        format!(
            "id-{}",
            self.next.fetch_add(1, std::sync::atomic::Ordering::Relaxed)
        )
    }

    /// A runner that has the request in its environment, in chunks, as the host sends it.
    fn command(&self, request: &Value) -> Command {
        self.command_of(Path::new(RUNNER), request)
    }

    fn command_of(&self, runner: &Path, request: &Value) -> Command {
        let mut command = Command::new(runner);
        // As the toolbox's own shell leaves it.
        command.env("OLDPWD", "/");
        let text = request.to_string();
        for (n, chunk) in text.as_bytes().chunks(protocol::ENV_CHUNK).enumerate() {
            command.env(
                format!("{}{n}", protocol::ENV_REQUEST),
                String::from_utf8(chunk.to_vec()).unwrap(),
            );
        }
        command
            .env("HOME", &self.home)
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .stdin(Stdio::null());
        command
    }

    /// Like [`Sandbox::send`], as a user from whom files can be kept: where this is root, one who is
    /// nobody and has the whole sandbox meanwhile.
    fn send_unprivileged(&self, request: &Value) -> Reply {
        const NOBODYS: u32 = 61_000;
        if std::fs::metadata(self.dir.path()).unwrap().uid() != 0 {
            return self.send(request);
        }
        // The runner's own place may be below a directory of root's.
        let runner = self.dir.path().join("runner");
        std::fs::copy(RUNNER, &runner).unwrap();
        self.give(NOBODYS);
        let mut command = self.command_of(&runner, request);
        let output = command.uid(NOBODYS).gid(NOBODYS).output();
        self.give(0);
        parse(request["id"].as_str().unwrap(), &output.unwrap())
    }

    /// Gives all files of the sandbox to a user.
    fn give(&self, user: u32) {
        let mut left = vec![self.dir.path().to_path_buf()];
        while let Some(path) = left.pop() {
            std::os::unix::fs::lchown(&path, Some(user), Some(user)).unwrap();
            if path.is_dir() && !path.is_symlink() {
                let entries = std::fs::read_dir(&path).unwrap();
                left.extend(entries.map(|entry| entry.unwrap().path()));
            }
        }
    }

    fn send(&self, request: &Value) -> Reply {
        parse(
            request["id"].as_str().unwrap(),
            &self.command(request).output().unwrap(),
        )
    }

    fn call(&self, tool: &str, args: Value) -> Value {
        json!({
            "protocol": protocol::VERSION, "id": self.id(), "op": "tool", "root": self.root(), "cwd": self.root(),
            "tool": tool, "args": args, "wait": { "output_ms": 60_000, "max_ms": 60_000 },
        })
    }

    fn run(&self, tool: &str, args: Value) -> Result<ToolOutput, ToolError> {
        done(self.send(&self.call(tool, args)).result)
    }

    fn op(&self, op: &str, fields: Value) -> Value {
        let mut request = json!({ "protocol": protocol::VERSION, "id": self.id(), "op": op });
        request
            .as_object_mut()
            .unwrap()
            .extend(fields.as_object().unwrap().clone());
        request
    }

    /// Starts a command that is still running when its request returns; the result is the job.
    fn start(&self, command: &str, timeout: u64) -> String {
        let mut call = self.call("bash", json!({ "command": command, "timeout": timeout }));
        call["wait"] = json!({ "output_ms": 0, "max_ms": 0 });
        match self.send(&call).result.unwrap() {
            Outcome::Running(state) => state.job,
            other => panic!("{command} is not running: {other:?}"),
        }
    }

    fn wait(&self, job: &str) -> Result<Outcome, ToolError> {
        self.send(&self.op("job_wait", json!({ "job": job, "offset": 1u64 << 40, "wait": { "output_ms": 60_000, "max_ms": 60_000 } }))).result
    }
}

fn parse(id: &str, output: &Output) -> Reply {
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{:?} {text} {}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    parse_text(id, &text)
}

fn parse_text(id: &str, text: &str) -> Reply {
    let body = frame::decode(id, text, protocol::MAX_REPLY)
        .unwrap_or_else(|error| panic!("{error:?} in {text}"));
    assert_eq!(
        text.matches("<<<opencode-runner:").count(),
        1,
        "one frame: {text}"
    );
    serde_json::from_str(body).unwrap()
}

fn done(result: Result<Outcome, ToolError>) -> Result<ToolOutput, ToolError> {
    result.map(|outcome| match outcome {
        Outcome::Done(output) => output,
        other => panic!("not done: {other:?}"),
    })
}

/// Waits until something is so, which it must be soon.
fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < Duration::from_secs(20), "never: {what}");
        std::thread::yield_now();
    }
}

/// True while the process lives and is not a zombie.
fn lives(pid: &str) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
    stat.rsplit_once(") ")
        .is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}
