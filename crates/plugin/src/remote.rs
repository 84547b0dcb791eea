//! The runner, from the host's end: one request, one reply, whatever happens in between.
//!
//! Every request carries an id, and the runner does the work of an id once. So a request whose
//! answer was lost is simply sent again. What is wrong with the sandbox is looked up only after a
//! call failed ([`Patience`]): a warm call is one request.

mod script;

use crate::patience::Patience;
use daytona::{Client, Execute, ExecuteResult, Toolbox, Upload, UploadSource};
use futures::StreamExt;
use futures::stream;
use host::{Host, Level};
use protocol::{
    ENV_CHUNK, ENV_REQUEST, MAX_ENV_REQUEST, MAX_REPLY, Op, Outcome, Reply, Request, ToolError,
    VERSION, frame,
};
use script::{MISSING, NO_GZIP, OTHER_ARCH, call_script, install_script, no_place};
use serde::Deserialize;
use sessions::{Fresh, Sessions};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;
use tools::catalog;

/// How often a damaged reply is asked for again.
const DAMAGED_RETRIES: u32 = 3;
/// How often a runner is installed for one call.
const INSTALLS: u32 = 2;
/// A larger file travels in parts, either way: one that breaks is sent again without the others, and the
/// runtime of OpenCode holds in memory what it is sent faster than it is written.
pub(crate) const PART: u64 = 16 * 1024 * 1024;
/// How many parts are under way at a time.
const AT_ONCE: usize = 2;
/// Nearly every sandbox is of this machine; another one says so, and gets its own.
const USUAL: &str = "x86_64";
/// The slowest disk that a project is unpacked on, in bytes per millisecond.
const SLOWEST: u64 = 2_000;
/// An answer of the wrong kind.
pub(crate) const OTHER: &str = "the runner answered another question than was asked";
/// What the runner prints around a reply is noise, but noise has a limit too. JSON in JSON doubles
/// every quote.
const MAX_EXECUTE_BYTES: usize = 2 * MAX_REPLY + 1024 * 1024;
/// How much of what a sandbox printed in place of a reply is shown.
const SHOWN_CHARS: usize = 300;

/// The packaged runners (`runners.json` beside them).
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Runners {
    /// By machine, as `uname -m` says.
    #[serde(flatten)]
    by_arch: BTreeMap<String, RunnerFile>,
}

#[derive(Clone, Debug, Deserialize)]
struct RunnerFile {
    /// Compressed file, beside `runners.json`.
    file: String,
    /// SHA-256 of the binary.
    sha256: String,
}

/// Why a call has no reply.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum RemoteError {
    /// No sandbox.
    #[error("The sandbox of this session cannot be used: {0}")]
    Session(#[from] sessions::Error),
    /// The service says no, for good.
    #[error("The sandbox cannot be reached: {0}")]
    Daytona(#[from] daytona::Error),
    /// It runs, and still answers nothing that can be used.
    #[error(
        "The sandbox cannot be reached, although Daytona says that it runs and takes the API key: {0}. Try again in a minute; if it stays so, restart the sandbox in the Daytona dashboard."
    )]
    Running(daytona::Error),
    /// Bytes arrive, but no reply.
    #[error(
        "The sandbox answered, but its reply was {0} each time. The call may have had its effect; look before you repeat it."
    )]
    Damaged(String),
    /// It does not start in this sandbox.
    #[error("The runner does not start in this sandbox: {0}")]
    Runner(String),
    /// The package has no runner for this machine.
    #[error(
        "This sandbox is a {0} machine, and the package has runners for {1} only. Use another snapshot or image."
    )]
    Arch(String, String),
    /// Nobody wants it any more.
    #[error("Tool execution aborted")]
    Cancelled,
    /// It was sent at least once, and nobody said what came of it: what it began may go on.
    #[error("{0}")]
    Open(Box<RemoteError>),
    /// The package is not whole.
    #[error("The package opencode-daytona-sandbox is not complete: {0}. Install it again.")]
    Package(String),
}

impl RemoteError {
    /// True if the way to the sandbox failed: what runs there goes on.
    pub(crate) fn is_of_the_way(&self) -> bool {
        match self {
            RemoteError::Session(sessions::Error::Daytona(error))
            | RemoteError::Daytona(error)
            | RemoteError::Running(error) => !matches!(
                error,
                daytona::Error::Failed { .. } | daytona::Error::NotFound { .. }
            ),
            RemoteError::Damaged(_) | RemoteError::Open(_) => true,
            _ => false,
        }
    }

    /// The same, if the request may have begun something that nobody has ended.
    fn open_if(self, began: bool) -> RemoteError {
        match self {
            // It has a way of its own.
            RemoteError::Daytona(daytona::Error::Killed) => self,
            error if began && error.is_of_the_way() => RemoteError::Open(Box::new(error)),
            error => error,
        }
    }
}

/// True if the request may have reached the runner.
fn may_have_arrived(error: &daytona::Error) -> bool {
    match error {
        daytona::Error::Toolbox { status, .. } => *status >= 500 || *status == 408,
        daytona::Error::Killed => true,
        error => error.is_unanswered(),
    }
}

/// A reply, and what the model must know beside it.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) result: Result<Outcome, ToolError>,
    /// The sandbox that answered is not the one the call started with.
    pub(crate) replaced: Option<String>,
}

/// The runner of any sandbox.
pub(crate) struct Remote {
    host: Arc<dyn Host>,
    client: Client,
    assets: String,
    runners: RefCell<Option<Runners>>,
}

impl Remote {
    pub(crate) fn new(host: Arc<dyn Host>, client: Client, assets: String) -> Self {
        Remote {
            host,
            client,
            assets,
            runners: RefCell::default(),
        }
    }

    /// A fresh id.
    pub(crate) fn id(&self) -> String {
        format!("{:016x}{:016x}", self.host.random(), self.host.random())
    }

    /// Calls the runner in the session's sandbox, through every fault that can be survived. What
    /// was not sent when `cancelled` says so is not sent any more.
    pub(crate) async fn call(
        &self,
        sessions: &Sessions,
        session: &str,
        request: &Request,
        cancelled: impl Fn() -> bool,
    ) -> Result<Answer, RemoteError> {
        sessions.ensure(session).await?;
        if cancelled() {
            return Err(RemoteError::Cancelled);
        }
        let toolbox = sessions.enter(session, changes(&request.op)).await?;
        let make = true;
        self.insist(sessions, session, toolbox, request, &cancelled, make)
            .await
    }

    /// Like [`Remote::call`], in the sandbox that the session has, which is started if it is
    /// stopped, but never made: it is asked for what it holds.
    pub(crate) async fn call_existing(
        &self,
        sessions: &Sessions,
        session: &str,
        request: &Request,
    ) -> Result<Answer, RemoteError> {
        let toolbox = sessions.existing(session).await?;
        let none = || sessions::Error::Gone(format!("of session {session}"));
        let toolbox = toolbox.ok_or_else(none)?;
        self.insist(sessions, session, toolbox, request, &|| false, false)
            .await
    }

    /// Sends a request until it is answered. With `make` a sandbox that is gone is replaced.
    async fn insist(
        &self,
        sessions: &Sessions,
        session: &str,
        mut toolbox: Toolbox,
        request: &Request,
        // One copy of this in the wasm, whoever calls.
        cancelled: &dyn Fn() -> bool,
        make: bool,
    ) -> Result<Answer, RemoteError> {
        let first = toolbox.id.clone();
        let mut patience = Patience::new(&*self.host, sessions, session, make);
        let (mut damaged, mut installs, mut began) = (0, 0, false);
        loop {
            if cancelled() {
                return Err(RemoteError::Cancelled);
            }
            let answer = |reply: Reply, toolbox: &Toolbox| Answer {
                result: reply.result,
                replaced: (toolbox.id != first).then(|| toolbox.id.clone()),
            };
            let sent = match self.send(&toolbox, request).await {
                // The disk was mounted anew, say: it is put elsewhere. That script knows the machine.
                Ok(Sent::Broken(_)) if installs < INSTALLS => Ok(Sent::Missing(USUAL.into())),
                sent => sent,
            };
            match &sent {
                Ok(_) => sessions.reached(),
                Err(error) => began |= may_have_arrived(error),
            }
            let error = match sent {
                Ok(Sent::Reply(reply)) => return Ok(answer(*reply, &toolbox)),
                Ok(Sent::Missing(arch)) if installs < INSTALLS => {
                    installs += 1;
                    self.host.log(
                        Level::Info,
                        &format!(
                            "no runner in sandbox {} ({arch}); installing it",
                            toolbox.id
                        ),
                    );
                    match self.install(&toolbox, &arch, Vec::new(), request).await {
                        Ok(reply) => return Ok(answer(reply, &toolbox)),
                        Err(RemoteError::Daytona(error)) => error,
                        Err(error) => return Err(self.explained(&toolbox, error).await),
                    }
                }
                Ok(Sent::Missing(_)) => {
                    return Err(RemoteError::Runner(
                        "it disappears after it was installed".into(),
                    ));
                }
                Ok(Sent::Damaged(how)) => {
                    damaged += 1;
                    if damaged > DAMAGED_RETRIES {
                        let error = RemoteError::Damaged(how);
                        let error = self.explained(&toolbox, error).await;
                        return Err(error.open_if(true));
                    }
                    self.host.log(
                        Level::Warn,
                        &format!("sandbox {}: the reply was {how}; asking again", toolbox.id),
                    );
                    continue;
                }
                Ok(Sent::Broken(why) | Sent::Failed(why)) => {
                    let error = RemoteError::Runner(why);
                    return Err(self.explained(&toolbox, error).await);
                }
                Err(error) => error,
            };
            let next = patience.after(&toolbox, error).await;
            let next = next.map_err(|error| error.open_if(began))?;
            let is_other = next.id != toolbox.id;
            toolbox = next;
            if is_other {
                toolbox = sessions.enter(session, changes(&request.op)).await?;
            }
        }
    }

    /// Why no runner answers in a sandbox: an old daemon does not pass its request on.
    async fn explained(&self, toolbox: &Toolbox, error: RemoteError) -> RemoteError {
        match self
            .client
            .get(&toolbox.id)
            .await
            .map(daytona::Sandbox::fit)
        {
            Ok(Err(old)) => old.into(),
            _ => error,
        }
    }

    /// Installs the runner in the session's fresh sandbox, together with other files, and runs
    /// `request`.
    pub(crate) async fn install_first(
        &self,
        sessions: &Sessions,
        session: &str,
        toolbox: &Toolbox,
        files: Vec<Upload>,
        request: &Request,
    ) -> Result<Reply, RemoteError> {
        let mut patience = Patience::new(&*self.host, sessions, session, false);
        let mut toolbox = toolbox.clone();
        loop {
            let installed = self.install(&toolbox, USUAL, files.clone(), request);
            match installed.await {
                Err(RemoteError::Daytona(error)) => {
                    toolbox = patience.after(&toolbox, error).await?;
                }
                Err(error) => return Err(self.explained(&toolbox, error).await),
                reply => return reply,
            }
        }
    }

    /// Cuts a file into uploads of parts; one part if it is small.
    pub(crate) fn parts(&self, path: &str, size: u64) -> Vec<Upload> {
        let count = size.div_ceil(PART).max(1);
        let part = |n| Upload {
            path: format!("/tmp/.opencode-upload-{}-pack", self.id()),
            source: UploadSource::Slice {
                path: path.into(),
                offset: n * PART,
                length: PART,
            },
        };
        (0..count).map(part).collect()
    }

    /// Uploads parts of files, and says of each how many bytes it has at most, when it is there.
    pub(crate) async fn upload_parts(
        &self,
        sessions: &Sessions,
        fresh: &Fresh<'_>,
        parts: Vec<Upload>,
        arrived: &dyn Fn(u64),
    ) -> Result<(), RemoteError> {
        let uploads = parts.into_iter().map(async |part| {
            let part = [part];
            let mut patience = Patience::new(&*self.host, sessions, fresh.session, false);
            let mut toolbox = fresh.toolbox.clone();
            loop {
                match self.client.upload(&toolbox, &part).await {
                    Ok(()) => {
                        arrived(PART);
                        return Ok::<_, RemoteError>(());
                    }
                    Err(error) => toolbox = patience.after(&toolbox, error).await?,
                }
            }
        });
        let mut uploads = stream::iter(uploads).buffer_unordered(AT_ONCE);
        while let Some(uploaded) = uploads.next().await {
            uploaded?;
        }
        Ok(())
    }

    async fn install(
        &self,
        toolbox: &Toolbox,
        arch: &str,
        files: Vec<Upload>,
        request: &Request,
    ) -> Result<Reply, RemoteError> {
        let runners = self.runners().await?;
        let mut arch = arch.to_string();
        let mut files = Some(files);
        for _ in 0..=DAMAGED_RETRIES {
            let known = || {
                runners
                    .by_arch
                    .keys()
                    .cloned()
                    .collect::<Vec<_>>()
                    .join(" and ")
            };
            let runner = runners
                .by_arch
                .get(canonical(&arch))
                .ok_or_else(|| RemoteError::Arch(arch.clone(), known()))?;
            let packed = format!("/tmp/.opencode-upload-{}-runner.gz", self.id());
            let mut uploads = files.take().unwrap_or_default();
            uploads.push(Upload {
                path: packed.clone(),
                source: UploadSource::File(format!("{}/{}", self.assets, runner.file)),
            });
            self.client.upload(toolbox, &uploads).await?;
            let script = install_script(&packed, canonical(&arch), &runner.sha256);
            match self.run(toolbox, &script, request).await? {
                Sent::Reply(reply) => return Ok(*reply),
                Sent::Missing(other) => arch = other,
                Sent::Damaged(how) => self
                    .host
                    .log(Level::Warn, &format!("the reply was {how}; asking again")),
                Sent::Broken(why) | Sent::Failed(why) => return Err(RemoteError::Runner(why)),
            }
        }
        Err(RemoteError::Runner(
            "it was installed several times and never answered".into(),
        ))
    }

    async fn send(&self, toolbox: &Toolbox, request: &Request) -> daytona::Result<Sent> {
        let hashes: Vec<String> = match self.runners().await {
            Ok(runners) => runners
                .by_arch
                .values()
                .map(|r| short(&r.sha256).to_string())
                .collect(),
            Err(error) => return Ok(Sent::Failed(error.to_string())),
        };
        self.run(toolbox, &call_script(&hashes), request).await
    }

    async fn run(
        &self,
        toolbox: &Toolbox,
        script: &str,
        request: &Request,
    ) -> daytona::Result<Sent> {
        let addressed = Request {
            sandbox: Some(toolbox.id.clone()),
            ..request.clone()
        };
        let json = serde_json::to_string(&addressed).expect("plain data serializes");
        let mut execute = Execute {
            command: script.into(),
            envs: BTreeMap::new(),
            timeout: hold_ms(&request.op).div_ceil(1000) + 60,
        };
        if json.len() <= MAX_ENV_REQUEST {
            for (index, chunk) in chunks(&json, ENV_CHUNK).into_iter().enumerate() {
                execute
                    .envs
                    .insert(format!("{ENV_REQUEST}{index}"), chunk.to_string());
            }
        } else {
            // Too much for an environment: it travels as a file. Two requests, for a megabyte.
            // One name per request, so that a repeated one leaves no second file behind.
            let path = format!("/tmp/.opencode-upload-{}-request.json", request.id);
            let upload = Upload {
                path: path.clone(),
                source: UploadSource::Bytes(json.into_bytes()),
            };
            self.client.upload(toolbox, &[upload]).await?;
            execute.command = format!("set -- --request-file {path}\n{script}");
        }
        let result = self
            .client
            .execute(toolbox, &execute, MAX_EXECUTE_BYTES)
            .await?;
        Ok(read(&request.id, &result))
    }

    async fn runners(&self) -> Result<Runners, RemoteError> {
        if let Some(runners) = self.runners.borrow().clone() {
            return Ok(runners);
        }
        let path = format!("{}/runners.json", self.assets);
        let bytes = self
            .host
            .read_file(&path)
            .await
            .map_err(|error| RemoteError::Package(error.to_string()))?;
        let runners: Runners = serde_json::from_slice(&bytes)
            .map_err(|error| RemoteError::Package(format!("{path}: {error}")))?;
        *self.runners.borrow_mut() = Some(runners.clone());
        Ok(runners)
    }
}

/// What came of one execute.
enum Sent {
    Reply(Box<Reply>),
    /// No runner, or none for this machine.
    Missing(String),
    /// A reply that cannot be believed, and how it looks.
    Damaged(String),
    /// There is a runner that cannot be run where it is.
    Broken(String),
    /// The script ran and says why the runner cannot.
    Failed(String),
}

/// Reads the output of a script. Everything in it comes from the sandbox.
fn read(id: &str, result: &ExecuteResult) -> Sent {
    let text = &result.result;
    match frame::decode(id, text, MAX_REPLY) {
        Ok(body) => match serde_json::from_str::<Reply>(body) {
            Ok(reply) if reply.protocol == VERSION && reply.id == id => {
                Sent::Reply(Box::new(reply))
            }
            Ok(reply) => Sent::Failed(format!(
                "it speaks protocol {} and this plugin {VERSION}",
                reply.protocol
            )),
            Err(error) => Sent::Damaged(format!("not what the runner says ({error})")),
        },
        Err(frame::FrameError::Damaged) => Sent::Damaged("cut or changed on the way".into()),
        Err(frame::FrameError::TooLarge(size)) => Sent::Failed(format!(
            "its reply has {size} bytes, more than the {MAX_REPLY} that are read"
        )),
        Err(frame::FrameError::Missing) => {
            if let Some(arch) = marked(text, MISSING).or_else(|| marked(text, OTHER_ARCH)) {
                Sent::Missing(arch)
            } else if text.contains(NO_GZIP) {
                Sent::Failed("the image has no gzip to unpack it. Use an image with gzip.".into())
            } else if let Some(why) = no_place(text) {
                Sent::Failed(why)
            } else if text.trim().is_empty() {
                Sent::Damaged("empty".into())
            } else {
                let shown: String = text.trim().chars().take(SHOWN_CHARS).collect();
                match result.exit_code {
                    // It is there, and the shell cannot run it.
                    126 => Sent::Broken(format!("exit code 126: {shown}")),
                    127 | -1 => Sent::Failed(format!("exit code {}: {shown}", result.exit_code)),
                    _ => Sent::Damaged(format!("not a reply ({shown:?})")),
                }
            }
        }
    }
}

fn marked(text: &str, mark: &str) -> Option<String> {
    let rest = &text[text.find(mark)? + mark.len()..];
    let arch: String = rest
        .chars()
        .take_while(|c| c.is_ascii_alphanumeric() || *c == '_')
        .take(20)
        .collect();
    (!arch.is_empty()).then_some(arch)
}

/// One name per machine.
fn canonical(arch: &str) -> &str {
    match arch {
        "amd64" => "x86_64",
        "arm64" => "aarch64",
        other => other,
    }
}

fn short(sha256: &str) -> &str {
    sha256.get(..16).unwrap_or(sha256)
}

/// Milliseconds that a request may be held open by the runner.
fn hold_ms(op: &Op) -> u64 {
    match op {
        Op::Tool(call) => call.wait.max_ms,
        Op::JobWait(wait) => wait.wait.max_ms,
        Op::JobStop(_) | Op::Preview(_) => 10_000,
        Op::Setup(setup) => {
            let base = setup.base.as_ref();
            let whole = base.and_then(|base| base.whole.as_ref());
            // Parts of the other are of one size at most.
            let parts = base.map_or(0, |base| base.pack.len() as u64 * PART);
            let bytes = parts + whole.map_or(0, |whole| whole.size);
            240_000 + bytes / SLOWEST
        }
        Op::Sync(_) | Op::Restore(_) => 240_000,
    }
}

/// True if there may be work afterwards that is not home.
fn changes(op: &Op) -> bool {
    match op {
        Op::Tool(call) => catalog::find(call.args.tool()).is_none_or(|tool| tool.mutates),
        Op::Restore(_) => true,
        _ => false,
    }
}

/// Cuts at character bounds, because each piece becomes one variable.
fn chunks(text: &str, size: usize) -> Vec<&str> {
    let mut out = Vec::new();
    let mut rest = text;
    while rest.len() > size {
        let at = (0..=size)
            .rev()
            .find(|at| rest.is_char_boundary(*at))
            .unwrap_or(size);
        let (head, tail) = rest.split_at(at);
        out.push(head);
        rest = tail;
    }
    out.push(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::{Ready, Runner};

    fn output(result: &str, exit_code: i64) -> ExecuteResult {
        ExecuteResult {
            exit_code,
            result: result.into(),
        }
    }

    #[test]
    fn whatever_a_sandbox_prints_has_one_meaning() {
        let reply = Reply {
            protocol: VERSION,
            runner: Runner {
                version: "1".into(),
                commit: "c".into(),
            },
            id: "a".into(),
            replayed: false,
            result: Ok(Outcome::Ready(Ready {
                home: "/h".into(),
                head: None,
                arch: "x86_64".into(),
                found: Vec::new(),
            })),
        };
        let json = serde_json::to_string(&reply).expect("serializes");
        let whole = frame::encode("a", &json);
        let other = frame::encode(
            "a",
            &json.replace(&format!("\"protocol\":{VERSION}"), "\"protocol\":9"),
        );
        for (text, code, expected) in [
            (format!("noise\n{whole}noise"), 0, "reply"),
            (whole[..whole.len() - 30].to_string(), 0, "damaged"),
            (frame::encode("a", "not json"), 0, "damaged"),
            (frame::encode("b", &json), 0, "damaged"),
            (other, 0, "failed"),
            (
                "<<<opencode-runner-missing:x86_64>>>\n".into(),
                0,
                "missing x86_64",
            ),
            (
                "<<<opencode-runner-arch:aarch64>>>\n".into(),
                0,
                "missing aarch64",
            ),
            (
                "<<<opencode-runner-missing:$(rm -rf /)>>>".into(),
                0,
                "damaged",
            ),
            (
                "bash: runner: cannot execute binary file: Exec format error".into(),
                126,
                "broken",
            ),
            (NO_GZIP.into(), 0, "failed"),
            (String::new(), 0, "damaged"),
        ] {
            let got = match read("a", &output(&text, code)) {
                Sent::Reply(_) => "reply".to_string(),
                Sent::Missing(arch) => format!("missing {arch}"),
                Sent::Damaged(_) => "damaged".into(),
                Sent::Broken(_) => "broken".into(),
                Sent::Failed(_) => "failed".into(),
            };
            assert_eq!(got, expected, "{text:?}");
        }
    }

    #[test]
    fn chunks_join_to_the_whole_and_none_is_too_long() {
        let text = "aé€𝄞".repeat(1000);
        let parts = chunks(&text, 97);
        assert!(parts.iter().all(|part| part.len() <= 97));
        assert_eq!(parts.concat(), text);
    }
}
