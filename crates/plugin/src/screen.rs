//! The host and OpenCode as the core has them: no log line, toast, question or live output that goes out
//! through here holds a secret.

use crate::opencode::{Asked, OpenCode, Registered};
use crate::secrets::Secrets;
use crate::wire::{Permission, Progress, Toast};
use async_trait::async_trait;
use host::*;
use serde_json::Value;
use std::rc::Rc;
use std::sync::Arc;

/// The host and OpenCode as the core has them: what it says to them holds no secret.
pub(crate) struct Screen<T> {
    inner: T,
    secrets: Arc<Secrets>,
}

impl<T> Screen<T> {
    pub(crate) fn new(inner: T, secrets: &Arc<Secrets>) -> Screen<T> {
        let secrets = Arc::clone(secrets);
        Screen { inner, secrets }
    }
}

impl LocalHost for Screen<Arc<dyn LocalHost>> {
    fn spawn(&self, task: Task) {
        self.inner.spawn(task);
    }
}

#[cfg_attr(target_family = "wasm", async_trait(?Send))]
#[cfg_attr(not(target_family = "wasm"), async_trait)]
impl Host for Screen<Arc<dyn LocalHost>> {
    async fn http(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        self.inner.http(request).await
    }

    fn uses_proxies(&self) -> bool {
        self.inner.uses_proxies()
    }

    async fn first_line(&self, address: &str, tls: bool, text: &str) -> Option<String> {
        self.inner.first_line(address, tls, text).await
    }

    async fn read_part(&self, path: &str, offset: u64, length: u64) -> Result<Vec<u8>, FileError> {
        self.inner.read_part(path, offset, length).await
    }

    async fn read_file(&self, path: &str) -> Result<Vec<u8>, FileError> {
        self.inner.read_file(path).await
    }

    async fn replace_file(&self, path: &str, content: &[u8]) -> Result<(), FileError> {
        self.inner.replace_file(path, content).await
    }

    async fn create_file(&self, path: &str) -> Result<(), FileError> {
        self.inner.create_file(path).await
    }

    async fn rename_file(&self, from: &str, to: &str) -> Result<(), FileError> {
        self.inner.rename_file(from, to).await
    }

    async fn copy_file(&self, from: &str, to: &str) -> Result<(), FileError> {
        self.inner.copy_file(from, to).await
    }

    async fn remove_file(&self, path: &str) -> Result<(), FileError> {
        self.inner.remove_file(path).await
    }

    async fn list_dir(&self, path: &str) -> Result<Vec<String>, FileError> {
        self.inner.list_dir(path).await
    }

    async fn make_dir(&self, path: &str) -> Result<(), FileError> {
        self.inner.make_dir(path).await
    }

    async fn remove_dir(&self, path: &str) -> Result<(), FileError> {
        self.inner.remove_dir(path).await
    }

    async fn real_path(&self, path: &str) -> Result<String, FileError> {
        self.inner.real_path(path).await
    }

    async fn file_size(&self, path: &str) -> Result<u64, FileError> {
        self.inner.file_size(path).await
    }

    async fn file_sizes(&self, dir: &str, names: &[String]) -> Vec<u64> {
        self.inner.file_sizes(dir, names).await
    }

    async fn modified_ms(&self, path: &str) -> Result<u64, FileError> {
        self.inner.modified_ms(path).await
    }

    async fn git(&self, call: GitCall) -> Result<GitOutput, GitError> {
        self.inner.git(call).await
    }

    async fn output_of(
        &self,
        program: &str,
        args: &[&str],
        cwd: &str,
        timeout_ms: u64,
        max_bytes: usize,
    ) -> Result<String, String> {
        let output = self
            .inner
            .output_of(program, args, cwd, timeout_ms, max_bytes);
        output.await
    }

    fn now_ms(&self) -> u64 {
        self.inner.now_ms()
    }

    fn random(&self) -> u64 {
        self.inner.random()
    }

    async fn sleep(&self, ms: u64) {
        self.inner.sleep(ms).await;
    }

    fn env(&self, name: &str) -> Option<String> {
        self.inner.env(name)
    }

    fn platform(&self) -> Platform {
        self.inner.platform()
    }

    fn pid(&self) -> u32 {
        self.inner.pid()
    }

    fn machine(&self) -> String {
        self.inner.machine()
    }

    fn pid_alive(&self, pid: u32) -> bool {
        self.inner.pid_alive(pid)
    }

    fn log(&self, level: Level, message: &str) {
        self.inner.log(level, &self.secrets.hide(message));
    }
}

#[async_trait(?Send)]
impl OpenCode for Screen<Rc<dyn OpenCode>> {
    async fn release(&self) -> Option<String> {
        self.inner.release().await
    }

    async fn ask(&self, call: u32, question: &Permission) -> Asked {
        let mut question = question.clone();
        let all = question.patterns.iter_mut().chain(&mut question.always);
        all.for_each(|text| *text = self.secrets.hide(text).into_owned());
        self.secrets.hide_in(&mut question.metadata);
        self.inner.ask(call, &question).await
    }

    async fn parent(&self, session: &str) -> Result<Option<String>, String> {
        self.inner.parent(session).await
    }

    async fn has(&self, session: &str) -> Result<bool, String> {
        self.inner.has(session).await
    }

    async fn rules(&self, session: &str) -> Result<Value, String> {
        self.inner.rules(session).await
    }

    async fn registered(&self) -> Result<Registered, String> {
        self.inner.registered().await
    }

    async fn sessions(&self) -> Result<Value, String> {
        self.inner.sessions().await
    }

    async fn messages(&self, session: &str) -> Result<Value, String> {
        self.inner.messages(session).await
    }

    fn progress(&self, call: u32, progress: &Progress) {
        let shown = Progress {
            title: self.secrets.hide(&progress.title).into_owned(),
            output: progress
                .output
                .as_ref()
                .map(|output| self.secrets.hide(output).into_owned()),
        };
        self.inner.progress(call, &shown);
    }

    fn terminal(&self, line: &str) -> bool {
        self.inner.terminal(&self.secrets.hide(line))
    }

    fn toast(&self, toast: Toast) {
        self.inner.toast(Toast {
            title: self.secrets.hide(&toast.title).into_owned(),
            message: self.secrets.hide(&toast.message).into_owned(),
            variant: toast.variant,
        });
    }
}
