//! One request, one reply, whatever happens in between.
//!
//! Every request carries an id, and the runner does the work of an id once. So a request whose
//! answer was lost is simply sent again. What is wrong with the sandbox is looked up only after a
//! call failed ([`Patience`]): a warm call is one request.

use crate::error::Error;
use crate::patience::Patience;
use crate::script::{MISSING, OTHER_ARCH, SHOWN_CHARS, call_script, install_script, short, unfit};
use crate::target::Target;
use daytona::{Client, Execute, ExecuteResult, Toolbox, Upload, UploadSource};
use futures::StreamExt;
use futures::stream;
use host::{Host, Level};
use protocol::{
    ENV_CHUNK, ENV_REQUEST, MAX_ENV_REQUEST, MAX_REPLY, Op, Outcome, Reply, Request, ToolError,
    VERSION, frame,
};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// How often a damaged reply is asked for again.
const DAMAGED_RETRIES: u32 = 3;
/// How often a runner is installed for one call.
const INSTALLS: u32 = 2;
/// A larger file travels in parts, either way: one that breaks is sent again without the others, and the
/// runtime of OpenCode holds in memory what it is sent faster than it is written.
pub const PART: u64 = 16 * 1024 * 1024;
/// How many parts are under way at a time.
const AT_ONCE: usize = 2;
/// Nearly every sandbox is of this machine; another one says so, and gets its own.
const USUAL: &str = "x86_64";
/// The slowest disk that a project is unpacked on, in bytes per millisecond.
const SLOWEST: u64 = 2_000;
/// An answer of the wrong kind.
pub const OTHER: &str = "the runner answered another question than was asked";
/// What the runner prints around a reply is noise, but noise has a limit too. JSON in JSON doubles
/// every quote.
const MAX_EXECUTE_BYTES: usize = 2 * MAX_REPLY + 1024 * 1024;

/// The packaged runners (`runners.json` beside them).
#[derive(Clone, Debug, Deserialize)]
struct Runners {
    /// By machine, as `uname -m` says.
    #[serde(flatten)]
    by_arch: BTreeMap<String, RunnerFile>,
}

impl Runners {
    /// Runs the runner of whatever machine it is.
    fn call_script(&self) -> String {
        let hashes = self.by_arch.values().map(|runner| short(&runner.sha256));
        call_script(&hashes.map(str::to_string).collect::<Vec<_>>())
    }

    /// The machines that there is one for, in words.
    fn known(&self) -> String {
        self.by_arch
            .keys()
            .cloned()
            .collect::<Vec<_>>()
            .join(" and ")
    }
}

#[derive(Clone, Debug, Deserialize)]
struct RunnerFile {
    /// Compressed file, beside `runners.json`.
    file: String,
    /// SHA-256 of the binary.
    sha256: String,
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
pub struct Answer {
    /// What the runner said.
    pub result: Result<Outcome, ToolError>,
    /// The sandbox that answered is not the one the call started with.
    pub replaced: Option<String>,
}

/// Talks to the runner of any sandbox.
pub struct RunnerClient {
    host: Arc<dyn Host>,
    client: Client,
    assets: String,
    runners: Mutex<Option<Runners>>,
}

impl RunnerClient {
    /// `assets` is a directory with `runners.json` and what that names.
    pub fn new(host: Arc<dyn Host>, client: Client, assets: String) -> Self {
        RunnerClient {
            host,
            client,
            assets,
            runners: Mutex::default(),
        }
    }

    /// A fresh id.
    pub fn id(&self) -> String {
        format!("{:016x}{:016x}", self.host.random(), self.host.random())
    }

    /// The client of the service.
    pub fn service(&self) -> &Client {
        &self.client
    }

    /// Sends a request to the runner in `toolbox` until it is answered, through every fault that can be
    /// survived. What was not sent when `cancelled` says so is not sent any more.
    pub async fn call<T: Target>(
        &self,
        target: &T,
        mut toolbox: Toolbox,
        request: &Request,
        cancelled: impl Fn() -> bool,
    ) -> Result<Answer, Error<T::Error>> {
        let first = toolbox.id.clone();
        let script = self.runners().await.map_err(Error::Package)?.call_script();
        let mut patience = Patience::new(&*self.host, &self.client, target);
        let (mut damaged, mut installs, mut began) = (0, 0, false);
        loop {
            if cancelled() {
                return Err(Error::Cancelled);
            }
            let answer = |reply: Reply, toolbox: &Toolbox| Answer {
                result: reply.result,
                replaced: (toolbox.id != first).then(|| toolbox.id.clone()),
            };
            let sent = match self.run(&toolbox, &script, request).await {
                // The disk was mounted anew, say: it is put elsewhere. That script knows the machine.
                Ok(Sent::Broken(_)) if installs < INSTALLS => Ok(Sent::Missing(USUAL.into())),
                sent => sent,
            };
            match &sent {
                Ok(_) => target.reached(),
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
                        Err(Error::Daytona(error)) => error,
                        Err(error) => return Err(self.explained(&toolbox, error).await),
                    }
                }
                Ok(Sent::Missing(_)) => {
                    return Err(Error::Runner("it disappears after it was installed".into()));
                }
                Ok(Sent::Damaged(how)) => {
                    damaged += 1;
                    if damaged > DAMAGED_RETRIES {
                        let error = Error::Damaged(how);
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
                    let error = Error::Runner(why);
                    return Err(self.explained(&toolbox, error).await);
                }
                Err(error) => error,
            };
            let next = patience.after(&toolbox, error).await;
            let next = next.map_err(|error| error.open_if(began))?;
            let is_other = next.id != toolbox.id;
            toolbox = next;
            if is_other {
                toolbox = target.enter().await.map_err(Error::Target)?;
            }
        }
    }

    /// Why no runner answers in a sandbox: an old daemon does not pass its request on.
    async fn explained<E>(&self, toolbox: &Toolbox, error: Error<E>) -> Error<E> {
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

    /// Installs the runner in a fresh sandbox, together with other files, and runs
    /// `request`.
    pub async fn install_first<T: Target>(
        &self,
        target: &T,
        toolbox: &Toolbox,
        files: Vec<Upload>,
        request: &Request,
    ) -> Result<Reply, Error<T::Error>> {
        let mut patience = Patience::new(&*self.host, &self.client, target);
        let mut toolbox = toolbox.clone();
        loop {
            let installed = self.install(&toolbox, USUAL, files.clone(), request);
            match installed.await {
                Err(Error::Daytona(error)) => {
                    toolbox = patience.after(&toolbox, error).await?;
                }
                Err(error) => return Err(self.explained(&toolbox, error).await),
                reply => return reply,
            }
        }
    }

    /// Runs the runner with arguments instead of a request, and installs it where it is missing. Arguments are words of
    /// a shell.
    pub async fn invoke<E>(
        &self,
        toolbox: &Toolbox,
        args: &[&str],
        seconds: u64,
    ) -> Result<ExecuteResult, Error<E>> {
        let runners = self.runners().await.map_err(Error::Package)?;
        let run = async |script: String| {
            let execute = Execute {
                command: format!("set -- {}\n{script}", args.join(" ")),
                envs: BTreeMap::new(),
                timeout: seconds,
            };
            let sent = self.client.execute(toolbox, &execute, MAX_EXECUTE_BYTES);
            sent.await.map_err(Error::Daytona)
        };
        let mut result = run(runners.call_script()).await?;
        for _ in 0..INSTALLS {
            let Some(arch) =
                marked(&result.result, MISSING).or_else(|| marked(&result.result, OTHER_ARCH))
            else {
                break;
            };
            result = run(self.bring(toolbox, &runners, &arch, Vec::new()).await?).await?;
        }
        match unfit(&result.result) {
            Some(why) => Err(Error::Runner(why)),
            None => Ok(result),
        }
    }

    /// Uploads the runner of a machine, after other files; gives the script that installs it and runs it.
    async fn bring<E>(
        &self,
        toolbox: &Toolbox,
        runners: &Runners,
        arch: &str,
        mut files: Vec<Upload>,
    ) -> Result<String, Error<E>> {
        let runner = runners.by_arch.get(canonical(arch));
        let runner = runner.ok_or_else(|| Error::Arch(arch.into(), runners.known()))?;
        let packed = format!("/tmp/.opencode-upload-{}-runner.gz", self.id());
        files.push(Upload {
            path: packed.clone(),
            source: UploadSource::File(format!("{}/{}", self.assets, runner.file)),
        });
        self.client.upload(toolbox, &files).await?;
        Ok(install_script(&packed, canonical(arch), &runner.sha256))
    }

    /// Cuts a file into uploads of parts; one part if it is small.
    pub fn parts(&self, path: &str, size: u64) -> Vec<Upload> {
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
    pub async fn upload_parts<T: Target>(
        &self,
        target: &T,
        fresh: &Toolbox,
        parts: Vec<Upload>,
        arrived: impl Fn(u64),
    ) -> Result<(), Error<T::Error>> {
        let arrived = &arrived;
        let uploads = parts.into_iter().map(async |part| {
            let part = [part];
            let mut patience = Patience::new(&*self.host, &self.client, target);
            let mut toolbox = fresh.clone();
            loop {
                match self.client.upload(&toolbox, &part).await {
                    Ok(()) => {
                        arrived(PART);
                        return Ok::<_, Error<T::Error>>(());
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

    async fn install<E>(
        &self,
        toolbox: &Toolbox,
        arch: &str,
        files: Vec<Upload>,
        request: &Request,
    ) -> Result<Reply, Error<E>> {
        let runners = self.runners().await.map_err(Error::Package)?;
        let mut arch = arch.to_string();
        let mut files = files;
        for _ in 0..=DAMAGED_RETRIES {
            let files = std::mem::take(&mut files);
            let script = self.bring(toolbox, &runners, &arch, files).await?;
            match self.run(toolbox, &script, request).await? {
                Sent::Reply(reply) => return Ok(*reply),
                Sent::Missing(other) => arch = other,
                Sent::Damaged(how) => self
                    .host
                    .log(Level::Warn, &format!("the reply was {how}; asking again")),
                Sent::Broken(why) | Sent::Failed(why) => return Err(Error::Runner(why)),
            }
        }
        Err(Error::Runner(
            "it was installed several times and never answered".into(),
        ))
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

    async fn runners(&self) -> Result<Runners, String> {
        let kept = || self.runners.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(runners) = kept().clone() {
            return Ok(runners);
        }
        let path = format!("{}/runners.json", self.assets);
        let bytes = self.host.read_file(&path).await;
        let bytes = bytes.map_err(|error| error.to_string())?;
        let runners: Runners =
            serde_json::from_slice(&bytes).map_err(|error| format!("{path}: {error}"))?;
        *kept() = Some(runners.clone());
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
            } else if let Some(why) = unfit(text) {
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
            (crate::script::NO_GZIP.into(), 0, "failed"),
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
