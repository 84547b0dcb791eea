//! The plugins' host (`packages/shared/host.ts`) in OpenCode's own Bun, as a [`Host`]. What the crate
//! `wasm-host` does on the way to it is done here in the same way.

use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use host::*;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use tokio::sync::oneshot;

/// The value that a method gave, or the code and the message of what it threw.
type Outcome = Result<Value, (String, String)>;

struct Waiting {
    end: oneshot::Sender<Outcome>,
    listener: Option<Listener>,
}

pub(crate) struct BunHost {
    child: Mutex<Child>,
    stdin: Mutex<ChildStdin>,
    waiting: Arc<Mutex<HashMap<u32, Waiting>>>,
    last: AtomicU32,
}

/// The repository's root.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// OpenCode as npm has installed it: the package of the platform with the shortest name, as in
/// `tests/lib/world.mjs`.
fn opencode() -> PathBuf {
    let modules = root().join("node_modules");
    let entries = std::fs::read_dir(&modules).into_iter().flatten().flatten();
    let mut found: Vec<PathBuf> = entries
        .filter(|entry| entry.file_name().to_string_lossy().starts_with("opencode-"))
        .map(|entry| entry.path().join("bin/opencode"))
        .filter(|path| path.exists())
        .collect();
    found.sort_by_key(|path| path.as_os_str().len());
    match found.into_iter().next() {
        Some(path) => path,
        None => panic!("OpenCode is not in {}: run `npm ci`", modules.display()),
    }
}

impl BunHost {
    pub(crate) fn start(env: &[(String, String)]) -> BunHost {
        let mut child = Command::new(opencode())
            .arg(root().join("crates/host-native/tests/contract/machine.ts"))
            .env_clear()
            .envs(env.iter().map(|(name, value)| (name, value)))
            .env("BUN_BE_BUN", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("OpenCode's Bun starts");
        let stdin = Mutex::new(child.stdin.take().expect("a pipe"));
        let stdout = child.stdout.take().expect("a pipe");
        let waiting = Arc::default();
        let heard = Arc::clone(&waiting);
        std::thread::spawn(move || hear(stdout, &heard));
        BunHost {
            child: Mutex::new(child),
            stdin,
            waiting,
            last: AtomicU32::new(0),
        }
    }

    pub(crate) fn process(&self) -> u32 {
        self.child.lock().expect("a child").id()
    }

    fn say(&self, id: u32, method: &str, args: Value) {
        let line = json!({ "id": id, "method": method, "args": args });
        let mut stdin = self.stdin.lock().expect("its input");
        // A process that is gone says so by ending its output.
        let _ = writeln!(stdin, "{line}");
    }

    fn send(
        &self,
        method: &str,
        args: impl FnOnce(u32) -> Value,
        listener: Option<Listener>,
    ) -> (u32, oneshot::Receiver<Outcome>) {
        let id = self.last.fetch_add(1, Ordering::Relaxed) + 1;
        let (end, outcome) = oneshot::channel();
        let waiting = Waiting { end, listener };
        self.waiting.lock().expect("calls").insert(id, waiting);
        self.say(id, method, args(id));
        (id, outcome)
    }

    async fn call(&self, method: &str, args: Value) -> Outcome {
        let (_, outcome) = self.send(method, |_| args, None);
        outcome.await.expect("Bun lives")
    }

    /// A method that does not wait.
    fn ask(&self, method: &str) -> Value {
        self.ask_with(method, json!([]))
    }

    fn ask_with(&self, method: &str, args: Value) -> Value {
        let (_, mut outcome) = self.send(method, |_| args, None);
        loop {
            match outcome.try_recv() {
                Ok(outcome) => return outcome.expect("it throws nothing"),
                Err(oneshot::error::TryRecvError::Empty) => std::thread::yield_now(),
                Err(oneshot::error::TryRecvError::Closed) => panic!("Bun ended"),
            }
        }
    }

    /// A call that is ended when nobody waits for it any more.
    async fn endable(
        &self,
        method: &str,
        args: impl FnOnce(u32) -> Value,
        listener: Option<Listener>,
    ) -> Outcome {
        struct Running<'a>(&'a BunHost, u32);
        impl Drop for Running<'_> {
            fn drop(&mut self) {
                self.0.say(0, "end", json!([self.1]));
            }
        }
        let (id, outcome) = self.send(method, args, listener);
        let running = Running(self, id);
        let outcome = outcome.await.expect("Bun lives");
        std::mem::forget(running);
        outcome
    }
}

impl Drop for BunHost {
    fn drop(&mut self) {
        let child = self.child.get_mut().expect("a child");
        let _ = child.kill();
        let _ = child.wait();
    }
}

/// Hands on what Bun says, until it ends; then nobody waits any more.
fn hear(stdout: ChildStdout, waiting: &Mutex<HashMap<u32, Waiting>>) {
    for line in BufReader::new(stdout).lines() {
        let Ok(line) = line else { break };
        let Ok(mut line) = serde_json::from_str::<Value>(&line) else {
            panic!("this is no answer: {line}");
        };
        let id = line["id"].as_u64().expect("an id") as u32;
        let mut waiting = waiting.lock().expect("calls");
        if let Some(heard) = line["heard"].as_str() {
            let listener = waiting.get(&id).and_then(|call| call.listener.clone());
            drop(waiting);
            listener.expect("somebody listens").0.hear(heard);
            continue;
        }
        let Some(call) = waiting.remove(&id) else {
            continue;
        };
        let text = |value: &Value| value.as_str().unwrap_or_default().to_string();
        let outcome = match line.get("code") {
            Some(code) => Err((text(code), text(&line["message"]))),
            None => Ok(line["value"].take()),
        };
        let _ = call.end.send(outcome);
    }
    waiting.lock().expect("calls").clear();
}

fn bytes(content: &[u8]) -> Value {
    json!({ "bytes": STANDARD.encode(content) })
}

fn unpacked(value: &Value) -> Vec<u8> {
    let text = value.as_str().expect("bytes as text");
    STANDARD.decode(text).expect("base64")
}

fn file_error(path: &str) -> impl Fn((String, String)) -> FileError + '_ {
    move |(code, reason)| FileError {
        path: path.into(),
        kind: match code.as_str() {
            "ENOENT" => FileErrorKind::NotFound,
            "EEXIST" => FileErrorKind::Exists,
            _ => FileErrorKind::Other,
        },
        reason,
    }
}

/// A request as JSON, and the bytes that its parts name.
fn wire(request: &HttpRequest) -> (Value, Vec<Value>) {
    let mut all = Vec::new();
    let mut part = |part: &Part| {
        let mut wire =
            json!({ "name": part.name, "text": null, "file": null, "slice": null, "bytes": null });
        match &part.content {
            PartContent::Text(text) => wire["text"] = json!(text),
            PartContent::File(path) => wire["file"] = json!(path),
            PartContent::Slice {
                path,
                offset,
                length,
            } => {
                wire["file"] = json!(path);
                wire["slice"] = json!([offset, offset + length]);
            }
            PartContent::Bytes(content) => {
                wire["bytes"] = json!(all.len());
                all.push(bytes(content));
            }
        }
        wire
    };
    let (json, parts) = match &request.body {
        Body::Empty => (None, None),
        Body::Json(text) => (Some(text), None),
        Body::Multipart(parts) => (None, Some(parts.iter().map(&mut part).collect::<Vec<_>>())),
    };
    let head = json!({
        "method": request.method,
        "url": request.url,
        "headers": request.headers,
        "timeoutMs": request.timeout_ms,
        "maxBytes": request.max_bytes,
        "saveTo": request.save_to,
        "json": json,
        "parts": parts,
    });
    (head, all)
}

#[async_trait]
impl Host for BunHost {
    async fn http(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let (head, bytes) = wire(&request);
        let args = |id| json!([id, head.to_string(), bytes]);
        let (code, message) = match self.endable("http", args, None).await {
            Ok(framed) => {
                let head: Value = serde_json::from_str(framed["head"].as_str().expect("a head"))
                    .expect("its JSON");
                return Ok(HttpResponse {
                    status: head["status"].as_u64().expect("a status") as u16,
                    headers: serde_json::from_value(head["headers"].clone()).expect("headers"),
                    body: unpacked(&framed["body"]),
                });
            }
            Err(thrown) => thrown,
        };
        let mut thrown = Thrown {
            code,
            message,
            name: None,
        };
        let proxy = self.proxy(&request.url);
        if thrown.is_of_name_or_port() {
            let name = match &proxy {
                Some(proxy) => Some(proxy.host()),
                None => proxy::authority(&request.url).map(|(host, _)| host),
            };
            let found = self.call("lookup", json!([name])).await;
            thrown.name = found.err().map(|(code, _)| code);
        }
        let (limit, max) = (request.timeout_ms, request.max_bytes);
        Err(HttpError::of(thrown, &request.url, limit, max, proxy))
    }

    fn uses_proxies(&self) -> bool {
        self.ask("usesProxies") == json!(true)
    }

    async fn first_line(&self, address: &str, tls: bool, text: &str) -> Option<String> {
        let line = self.call("firstLine", json!([address, tls, text])).await;
        Some(line.ok()?.as_str()?.to_string())
    }

    async fn read_part(&self, path: &str, offset: u64, length: u64) -> Result<Vec<u8>, FileError> {
        let read = self.call("readPart", json!([path, offset, length])).await;
        Ok(unpacked(&read.map_err(file_error(path))?))
    }

    async fn read_file(&self, path: &str) -> Result<Vec<u8>, FileError> {
        let read = self.call("readFile", json!([path])).await;
        Ok(unpacked(&read.map_err(file_error(path))?))
    }

    async fn replace_file(&self, path: &str, content: &[u8]) -> Result<(), FileError> {
        let args = json!([path, bytes(content)]);
        let replaced = self.call("replaceFile", args).await;
        replaced.map_err(file_error(path)).map(drop)
    }

    async fn create_file(&self, path: &str) -> Result<(), FileError> {
        let created = self.call("createFile", json!([path])).await;
        created.map_err(file_error(path)).map(drop)
    }

    async fn copy_file(&self, from: &str, to: &str) -> Result<(), FileError> {
        let copied = self.call("copyFile", json!([from, to])).await;
        copied.map_err(file_error(from)).map(drop)
    }

    async fn rename_file(&self, from: &str, to: &str) -> Result<(), FileError> {
        let renamed = self.call("renameFile", json!([from, to])).await;
        renamed.map_err(file_error(from)).map(drop)
    }

    async fn remove_file(&self, path: &str) -> Result<(), FileError> {
        let removed = self.call("removeFile", json!([path])).await;
        removed.map_err(file_error(path)).map(drop)
    }

    async fn list_dir(&self, path: &str) -> Result<Vec<String>, FileError> {
        let names = self.call("listDir", json!([path])).await;
        Ok(serde_json::from_value(names.map_err(file_error(path))?).expect("names"))
    }

    async fn make_dir(&self, path: &str) -> Result<(), FileError> {
        let made = self.call("makeDir", json!([path])).await;
        made.map_err(file_error(path)).map(drop)
    }

    async fn remove_dir(&self, path: &str) -> Result<(), FileError> {
        let removed = self.call("removeDir", json!([path])).await;
        removed.map_err(file_error(path)).map(drop)
    }

    async fn real_path(&self, path: &str) -> Result<String, FileError> {
        let real = self.call("realPath", json!([path])).await;
        Ok(serde_json::from_value(real.map_err(file_error(path))?).expect("a path"))
    }

    async fn file_size(&self, path: &str) -> Result<u64, FileError> {
        let size = self.call("fileSize", json!([path])).await;
        Ok(serde_json::from_value(size.map_err(file_error(path))?).expect("a size"))
    }

    async fn file_sizes(&self, dir: &str, names: &[String]) -> Vec<u64> {
        let sizes = self.call("fileSizes", json!([dir, names])).await;
        serde_json::from_value(sizes.expect("sizes")).expect("numbers")
    }

    async fn modified_ms(&self, path: &str) -> Result<u64, FileError> {
        let modified = self.call("modified", json!([path])).await;
        let modified = modified.map_err(file_error(path))?;
        Ok(modified.as_f64().expect("a time") as u64)
    }

    async fn git(&self, call: GitCall) -> Result<GitOutput, GitError> {
        let wire = json!({
            "args": call.args,
            "cwd": call.cwd,
            "env": call.env,
            "keep": call.keep,
            "timeoutMs": call.timeout_ms,
            "stdinFile": call.stdin_file,
            "stdoutFile": call.stdout_file,
        });
        let listener = call.listener.is_some().then(|| json!({ "listener": true }));
        let args = |id| json!([id, wire.to_string(), bytes(&call.stdin), listener]);
        let output = self.endable("git", args, call.listener.clone()).await;
        let framed = output.map_err(|(code, message)| match code.as_str() {
            "ETIMEDOUT" => GitError::TooSlow {
                timeout_ms: call.timeout_ms,
            },
            _ => GitError::NotRun(message),
        })?;
        let head: Value =
            serde_json::from_str(framed["head"].as_str().expect("a head")).expect("its JSON");
        Ok(GitOutput {
            code: head["code"].as_i64().expect("a code") as i32,
            stdout: unpacked(&framed["body"]),
            stderr: head["stderr"].as_str().expect("a text").into(),
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
        let args = json!([program, args, cwd, timeout_ms, max_bytes]);
        let output = self.call("outputOf", args).await;
        let output = output.map_err(|(_, message)| message)?;
        Ok(output.as_str().expect("a text").into())
    }

    fn now_ms(&self) -> u64 {
        self.ask("now").as_u64().expect("a time")
    }

    fn random(&self) -> u64 {
        let bits = self.ask("random");
        bits.as_str().expect("a number").parse().expect("64 bits")
    }

    async fn sleep(&self, ms: u64) {
        self.call("sleep", json!([ms])).await.expect("it sleeps");
    }

    fn env(&self, name: &str) -> Option<String> {
        let value = self.ask_with("env", json!([name]));
        value.as_str().filter(|v| !v.is_empty()).map(str::to_string)
    }

    fn platform(&self) -> Platform {
        Platform::named(self.ask("platform").as_str().expect("a name"))
    }

    fn pid(&self) -> u32 {
        self.ask("pid").as_u64().expect("a number") as u32
    }

    fn machine(&self) -> String {
        self.ask("machine").as_str().expect("a name").into()
    }

    fn pid_alive(&self, pid: u32) -> bool {
        self.ask_with("pidAlive", json!([pid])) == json!(true)
    }

    fn log(&self, _: Level, _: &str) {}
}
