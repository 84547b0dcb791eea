//! [`Host`] on top of a JavaScript object, for every module that is compiled to WebAssembly: one codec
//! (JSON text; bytes as `Uint8Array`) and one error converter. It holds no logic.
//!
//! Surprise: a panic kills the instance, and promises that were pending would stay so for ever.
//! [`report_panics`] tells the shim before the trap, and the shim fails every call from then on.

// JavaScript's values stay on their thread, so there is nothing here for native programs, whose hosts are `Send`.
#![cfg(target_family = "wasm")]

use async_trait::async_trait;
use host::*;
use js_sys::{Array, Uint8Array};
use serde::{Deserialize, Serialize};
use std::cell::{Cell, RefCell};
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::{future_to_promise, spawn_local};

#[wasm_bindgen]
extern "C" {
    /// What the shim implements (`host.ts`).
    #[derive(Clone)]
    pub type JsHost;

    #[wasm_bindgen(method, catch)]
    async fn http(this: &JsHost, id: u32, request: &str, bytes: Array) -> Result<JsValue, JsValue>;
    /// Ends a request or a git that nobody waits for any more.
    #[wasm_bindgen(method)]
    fn end(this: &JsHost, id: u32);
    #[wasm_bindgen(method, catch)]
    async fn lookup(this: &JsHost, name: &str) -> Result<JsValue, JsValue>;
    #[wasm_bindgen(method, js_name = usesProxies)]
    fn uses_proxies(this: &JsHost) -> bool;
    #[wasm_bindgen(method, catch, js_name = firstLine)]
    async fn first_line(
        this: &JsHost,
        address: &str,
        tls: bool,
        text: &str,
    ) -> Result<JsValue, JsValue>;
    #[wasm_bindgen(method, catch, js_name = readPart)]
    async fn read_part(
        this: &JsHost,
        path: &str,
        offset: f64,
        length: f64,
    ) -> Result<JsValue, JsValue>;
    #[wasm_bindgen(method, catch, js_name = readFile)]
    async fn read_file(this: &JsHost, path: &str) -> Result<JsValue, JsValue>;
    #[wasm_bindgen(method, catch, js_name = replaceFile)]
    async fn replace_file(
        this: &JsHost,
        path: &str,
        content: Uint8Array,
    ) -> Result<JsValue, JsValue>;
    #[wasm_bindgen(method, catch, js_name = createFile)]
    async fn create_file(this: &JsHost, path: &str) -> Result<JsValue, JsValue>;
    #[wasm_bindgen(method, catch, js_name = renameFile)]
    async fn rename_file(this: &JsHost, from: &str, to: &str) -> Result<JsValue, JsValue>;
    #[wasm_bindgen(method, catch, js_name = copyFile)]
    async fn copy_file(this: &JsHost, from: &str, to: &str) -> Result<JsValue, JsValue>;
    #[wasm_bindgen(method, catch, js_name = removeFile)]
    async fn remove_file(this: &JsHost, path: &str) -> Result<JsValue, JsValue>;
    #[wasm_bindgen(method, catch, js_name = listDir)]
    async fn list_dir(this: &JsHost, path: &str) -> Result<JsValue, JsValue>;
    #[wasm_bindgen(method, catch, js_name = makeDir)]
    async fn make_dir(this: &JsHost, path: &str) -> Result<JsValue, JsValue>;
    #[wasm_bindgen(method, catch, js_name = removeDir)]
    async fn remove_dir(this: &JsHost, path: &str) -> Result<JsValue, JsValue>;
    #[wasm_bindgen(method, catch, js_name = realPath)]
    async fn real_path(this: &JsHost, path: &str) -> Result<JsValue, JsValue>;
    #[wasm_bindgen(method, catch, js_name = fileSize)]
    async fn file_size(this: &JsHost, path: &str) -> Result<JsValue, JsValue>;
    #[wasm_bindgen(method, catch, js_name = fileSizes)]
    async fn file_sizes(this: &JsHost, dir: &str, names: Array) -> Result<JsValue, JsValue>;
    #[wasm_bindgen(method, catch)]
    async fn modified(this: &JsHost, path: &str) -> Result<JsValue, JsValue>;
    #[wasm_bindgen(method, catch)]
    async fn git(
        this: &JsHost,
        id: u32,
        call: &str,
        stdin: Uint8Array,
        listener: Option<&js_sys::Function>,
    ) -> Result<JsValue, JsValue>;
    #[wasm_bindgen(method, catch, js_name = outputOf)]
    async fn output_of(
        this: &JsHost,
        program: &str,
        args: Array,
        cwd: &str,
        timeout_ms: f64,
        max_bytes: f64,
    ) -> Result<JsValue, JsValue>;
    #[wasm_bindgen(method)]
    fn now(this: &JsHost) -> f64;
    #[wasm_bindgen(method)]
    fn random(this: &JsHost) -> u64;
    #[wasm_bindgen(method, catch)]
    async fn sleep(this: &JsHost, ms: f64) -> Result<JsValue, JsValue>;
    #[wasm_bindgen(method)]
    fn env(this: &JsHost, name: &str) -> Option<String>;
    #[wasm_bindgen(method)]
    fn platform(this: &JsHost) -> String;
    #[wasm_bindgen(method)]
    fn pid(this: &JsHost) -> u32;
    #[wasm_bindgen(method)]
    fn machine(this: &JsHost) -> String;
    #[wasm_bindgen(method, js_name = pidAlive)]
    fn pid_alive(this: &JsHost, pid: u32) -> bool;
    #[wasm_bindgen(method)]
    fn log(this: &JsHost, level: &str, message: &str);
    #[wasm_bindgen(method)]
    fn dead(this: &JsHost, message: &str);

    /// A JSON head with bytes behind it.
    type Framed;
    #[wasm_bindgen(method, getter)]
    fn head(this: &Framed) -> String;
    #[wasm_bindgen(method, getter)]
    fn body(this: &Framed) -> Uint8Array;

    /// Anything that was thrown.
    type Caught;
    #[wasm_bindgen(method, getter)]
    fn code(this: &Caught) -> JsValue;
    #[wasm_bindgen(method, getter)]
    fn message(this: &Caught) -> JsValue;
    #[wasm_bindgen(method, getter)]
    fn name(this: &Caught) -> JsValue;
}

/// The host, in JavaScript.
pub struct JsMachine(JsHost);

/// Makes a panic's message fit to be read by anybody; none once its owner is gone.
type Screen = Box<dyn Fn(&str) -> Option<String>>;

thread_local! {
    /// Who is told of a panic: every instance, as all share one memory and die together.
    static WITNESSES: RefCell<Vec<(JsHost, Screen)>> = const { RefCell::new(Vec::new()) };
}

/// Tells every instance of a panic, before the trap. `screen` makes the message fit to be read by anybody,
/// and gives none once there is nothing left that must not be read.
pub fn report_panics(host: JsHost, screen: impl Fn(&str) -> Option<String> + 'static) {
    WITNESSES.with_borrow_mut(|all| all.push((host, Box::new(screen))));
    std::panic::set_hook(Box::new(|info| {
        let text = info.to_string();
        WITNESSES.with(|all| {
            if let Ok(all) = all.try_borrow() {
                let screened =
                    |text: String, (_, screen): &(JsHost, Screen)| screen(&text).unwrap_or(text);
                let text = all.iter().fold(text.clone(), screened);
                all.iter().for_each(|(host, _)| host.dead(&text));
            }
        });
    }));
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Request<'a> {
    method: &'a str,
    url: &'a str,
    headers: &'a [(String, String)],
    timeout_ms: u64,
    max_bytes: usize,
    save_to: Option<&'a (String, u64)>,
    json: Option<&'a str>,
    parts: Option<Vec<WirePart<'a>>>,
}

/// One of `text`, `file` with the part of it that is meant, or the index of its bytes.
#[derive(Serialize)]
struct WirePart<'a> {
    name: &'a str,
    text: Option<&'a str>,
    file: Option<&'a str>,
    slice: Option<(u64, u64)>,
    bytes: Option<u32>,
}

impl<'a> WirePart<'a> {
    fn new(part: &'a Part, bytes: &Array) -> Self {
        let mut wire = WirePart {
            name: &part.name,
            text: None,
            file: None,
            slice: None,
            bytes: None,
        };
        match &part.content {
            PartContent::Text(text) => wire.text = Some(text),
            PartContent::File(path) => wire.file = Some(path),
            PartContent::Slice {
                path,
                offset,
                length,
            } => {
                wire.file = Some(path);
                wire.slice = Some((*offset, offset + length));
            }
            PartContent::Bytes(content) => {
                wire.bytes = Some(bytes.push(&Uint8Array::from(content.as_slice())) - 1)
            }
        }
        wire
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ResponseHead {
    status: u16,
    headers: Vec<(String, String)>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct WireGit<'a> {
    args: &'a [String],
    cwd: &'a str,
    env: &'a [(String, String)],
    keep: &'a [String],
    timeout_ms: u64,
    stdin_file: Option<&'a (String, u64)>,
    stdout_file: Option<&'a str>,
}

#[derive(Deserialize)]
struct GitHead {
    code: i32,
    stderr: String,
}

/// A text; an empty one for anything else.
pub fn text(value: JsValue) -> String {
    value.as_string().unwrap_or_default()
}

/// The code and the message of what was thrown.
pub fn reason(error: &JsValue) -> (String, String) {
    let thrown: &Caught = error.unchecked_ref();
    if !error.is_object() {
        return (String::new(), format!("{error:?}"));
    }
    let code = thrown
        .code()
        .as_string()
        .unwrap_or_else(|| text(thrown.name()));
    (code, text(thrown.message()))
}

fn file_error(path: &str) -> impl Fn(JsValue) -> FileError + '_ {
    move |error| {
        let (code, reason) = reason(&error);
        let kind = match code.as_str() {
            "ENOENT" => FileErrorKind::NotFound,
            "EEXIST" => FileErrorKind::Exists,
            _ => FileErrorKind::Other,
        };
        FileError {
            path: path.into(),
            kind,
            reason,
        }
    }
}

/// JSON text of plain data.
pub fn json<T: Serialize>(value: &T) -> String {
    serde_json::to_string(value).expect("plain data serializes")
}

/// Work of the JavaScript side that ends when nobody waits for it any more.
struct Running<'a> {
    side: &'a JsMachine,
    id: u32,
}

impl<'a> Running<'a> {
    fn new(side: &'a JsMachine) -> Self {
        thread_local! {
            static LAST: Cell<u32> = const { Cell::new(0) };
        }
        let id = LAST.get().wrapping_add(1);
        LAST.set(id);
        Running { side, id }
    }

    /// It has ended by itself.
    fn ended(self) {
        std::mem::forget(self);
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.side.0.end(self.id);
    }
}

impl JsMachine {
    /// The host that a JavaScript object is.
    pub fn new(host: JsHost) -> Self {
        JsMachine(host)
    }

    async fn http_error(&self, error: &JsValue, request: &HttpRequest) -> HttpError {
        let (code, message) = reason(error);
        let mut thrown = Thrown {
            code,
            message,
            name: None,
        };
        let url = &request.url;
        let proxy = self.proxy(url);
        if thrown.is_of_name_or_port() {
            let name = match &proxy {
                Some(proxy) => Some(proxy.host()),
                None => proxy::authority(url).map(|(host, _)| host),
            };
            let found = self.0.lookup(name.unwrap_or_default()).await;
            thrown.name = found.err().map(|error| reason(&error).0);
        }
        HttpError::of(thrown, url, request.timeout_ms, request.max_bytes, proxy)
    }
}

impl LocalHost for JsMachine {
    fn spawn(&self, task: Task) {
        spawn_local(task);
    }
}

#[async_trait(?Send)]
impl Host for JsMachine {
    async fn http(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let bytes = Array::new();
        let mut wire = Request {
            method: request.method,
            url: &request.url,
            headers: &request.headers,
            timeout_ms: request.timeout_ms,
            max_bytes: request.max_bytes,
            save_to: request.save_to.as_ref(),
            json: None,
            parts: None,
        };
        match &request.body {
            Body::Empty => {}
            Body::Json(text) => wire.json = Some(text),
            Body::Multipart(parts) => {
                wire.parts = Some(
                    parts
                        .iter()
                        .map(|part| WirePart::new(part, &bytes))
                        .collect(),
                );
            }
        }
        let wire = json(&wire);
        let running = Running::new(self);
        let response = self.0.http(running.id, &wire, bytes).await;
        running.ended();
        let response = match response {
            Ok(response) => response,
            Err(error) => return Err(self.http_error(&error, &request).await),
        };
        let framed: Framed = response.unchecked_into();
        let head: ResponseHead =
            serde_json::from_str(&framed.head()).map_err(|error| HttpError::Dropped {
                url: request.url.clone(),
                reason: error.to_string(),
            })?;
        Ok(HttpResponse {
            status: head.status,
            headers: head.headers,
            body: framed.body().to_vec(),
        })
    }

    fn uses_proxies(&self) -> bool {
        self.0.uses_proxies()
    }

    async fn first_line(&self, address: &str, tls: bool, text: &str) -> Option<String> {
        let line = self.0.first_line(address, tls, text).await;
        line.ok()?.as_string()
    }

    async fn read_part(&self, path: &str, offset: u64, length: u64) -> Result<Vec<u8>, FileError> {
        let bytes = self.0.read_part(path, offset as f64, length as f64).await;
        Ok(Uint8Array::new(&bytes.map_err(file_error(path))?).to_vec())
    }

    async fn read_file(&self, path: &str) -> Result<Vec<u8>, FileError> {
        let bytes = self.0.read_file(path).await.map_err(file_error(path))?;
        Ok(Uint8Array::new(&bytes).to_vec())
    }

    async fn replace_file(&self, path: &str, content: &[u8]) -> Result<(), FileError> {
        self.0
            .replace_file(path, Uint8Array::from(content))
            .await
            .map_err(file_error(path))
            .map(drop)
    }

    async fn create_file(&self, path: &str) -> Result<(), FileError> {
        self.0
            .create_file(path)
            .await
            .map_err(file_error(path))
            .map(drop)
    }

    async fn rename_file(&self, from: &str, to: &str) -> Result<(), FileError> {
        self.0
            .rename_file(from, to)
            .await
            .map_err(file_error(from))
            .map(drop)
    }

    async fn copy_file(&self, from: &str, to: &str) -> Result<(), FileError> {
        let copied = self.0.copy_file(from, to).await;
        copied.map_err(file_error(from)).map(drop)
    }

    async fn remove_file(&self, path: &str) -> Result<(), FileError> {
        self.0
            .remove_file(path)
            .await
            .map_err(file_error(path))
            .map(drop)
    }

    async fn list_dir(&self, path: &str) -> Result<Vec<String>, FileError> {
        let names = self.0.list_dir(path).await.map_err(file_error(path))?;
        Ok(Array::from(&names)
            .iter()
            .filter_map(|name| name.as_string())
            .collect())
    }

    async fn make_dir(&self, path: &str) -> Result<(), FileError> {
        let made = self.0.make_dir(path).await;
        made.map_err(file_error(path)).map(drop)
    }

    async fn remove_dir(&self, path: &str) -> Result<(), FileError> {
        let removed = self.0.remove_dir(path).await;
        removed.map_err(file_error(path)).map(drop)
    }

    async fn real_path(&self, path: &str) -> Result<String, FileError> {
        let real = self.0.real_path(path).await;
        real.map_err(file_error(path)).map(text)
    }

    async fn file_size(&self, path: &str) -> Result<u64, FileError> {
        let size = self.0.file_size(path).await.map_err(file_error(path))?;
        Ok(size.as_f64().unwrap_or_default() as u64)
    }

    async fn file_sizes(&self, dir: &str, names: &[String]) -> Vec<u64> {
        let names = names.iter().map(JsValue::from).collect();
        let sizes = self.0.file_sizes(dir, names).await;
        let sizes = Array::from(&sizes.unwrap_or_default());
        let size = |size: JsValue| size.as_f64().unwrap_or_default() as u64;
        sizes.iter().map(size).collect()
    }

    async fn modified_ms(&self, path: &str) -> Result<u64, FileError> {
        let modified = self.0.modified(path).await.map_err(file_error(path))?;
        Ok(modified.as_f64().unwrap_or_default() as u64)
    }

    async fn git(&self, call: GitCall) -> Result<GitOutput, GitError> {
        let wire = json(&WireGit {
            args: &call.args,
            cwd: &call.cwd,
            env: &call.env,
            keep: &call.keep,
            timeout_ms: call.timeout_ms,
            stdin_file: call.stdin_file.as_ref(),
            stdout_file: call.stdout_file.as_deref(),
        });
        let listener = call.listener.map(|listener| {
            Closure::<dyn Fn(String)>::new(move |text: String| listener.0.hear(&text))
        });
        let function = listener
            .as_ref()
            .map(|listener| listener.as_ref().unchecked_ref());
        let stdin = Uint8Array::from(call.stdin.as_slice());
        let running = Running::new(self);
        let output = self.0.git(running.id, &wire, stdin, function).await;
        running.ended();
        let output = output.map_err(|error| match reason(&error) {
            (code, _) if code == "ETIMEDOUT" => GitError::TooSlow {
                timeout_ms: call.timeout_ms,
            },
            (_, words) => GitError::NotRun(words),
        })?;
        let framed: Framed = output.unchecked_into();
        let head: GitHead = serde_json::from_str(&framed.head())
            .map_err(|error| GitError::NotRun(error.to_string()))?;
        Ok(GitOutput {
            code: head.code,
            stdout: framed.body().to_vec(),
            stderr: head.stderr,
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
        let args = args.iter().copied().map(JsValue::from_str).collect();
        let (timeout_ms, max_bytes) = (timeout_ms as f64, max_bytes as f64);
        let output = self.0.output_of(program, args, cwd, timeout_ms, max_bytes);
        output.await.map(text).map_err(|error| reason(&error).1)
    }

    fn now_ms(&self) -> u64 {
        self.0.now() as u64
    }

    fn random(&self) -> u64 {
        self.0.random()
    }

    async fn sleep(&self, ms: u64) {
        let _ = self.0.sleep(ms as f64).await;
    }

    fn env(&self, name: &str) -> Option<String> {
        self.0.env(name).filter(|value| !value.is_empty())
    }

    fn platform(&self) -> Platform {
        Platform::named(&self.0.platform())
    }

    fn pid(&self) -> u32 {
        self.0.pid()
    }

    fn machine(&self) -> String {
        self.0.machine()
    }

    fn pid_alive(&self, pid: u32) -> bool {
        self.0.pid_alive(pid)
    }

    fn log(&self, level: Level, message: &str) {
        self.0.log(level.name(), message);
    }
}

/// A promise of a call's JSON result, or of the error that it says.
pub fn promise<E: std::fmt::Display>(
    call: impl Future<Output = Result<String, E>> + 'static,
) -> js_sys::Promise {
    future_to_promise(async move {
        match call.await {
            Ok(result) => Ok(result.into()),
            Err(error) => Err(JsError::new(&error.to_string()).into()),
        }
    })
}

/// What a JSON text says, or why it was not given.
pub fn parsed(answer: Result<JsValue, JsValue>) -> Result<serde_json::Value, String> {
    let answer = text(answer.map_err(|error| reason(&error).1)?);
    serde_json::from_str(&answer).map_err(|error| error.to_string())
}
