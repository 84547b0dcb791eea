//! Session sync as a WebAssembly module: one class, and OpenCode's side and the terminal in JavaScript.
//! It holds no logic.

// JavaScript's values stay on their thread, so there is nothing here for native programs, whose hosts are `Send`.
#![cfg(target_family = "wasm")]

use async_trait::async_trait;
use session_sync::cli::Terminal;
use session_sync::edge::{Edge, Init};
use session_sync::opencode::{Conversation, Session, from_json};
use session_sync::plugin::OpenCode;
use std::rc::Rc;
use std::sync::Arc;
use wasm_bindgen::prelude::*;
use wasm_host::{JsHost, JsMachine, promise, reason, report_panics, text};

#[wasm_bindgen]
extern "C" {
    /// What the shim implements (`packages/session-sync/src/side.ts`).
    pub type JsOpenCode;
    #[wasm_bindgen(method, catch)]
    async fn conversation(this: &JsOpenCode, session: &str) -> Result<JsValue, JsValue>;
    #[wasm_bindgen(method, catch)]
    async fn sessions(this: &JsOpenCode) -> Result<JsValue, JsValue>;
    #[wasm_bindgen(method)]
    fn toast(this: &JsOpenCode, message: &str);

    /// What the shim implements (`packages/session-sync/src/terminal.ts`).
    pub type JsTerminal;
    #[wasm_bindgen(method)]
    fn print(this: &JsTerminal, line: &str);
    #[wasm_bindgen(method)]
    fn progress(this: &JsTerminal, line: &str);
    #[wasm_bindgen(method, catch)]
    async fn ask(this: &JsTerminal, question: &str, hidden: bool) -> Result<JsValue, JsValue>;
    #[wasm_bindgen(method, catch)]
    async fn piped(this: &JsTerminal) -> Result<JsValue, JsValue>;
}

struct Side(JsOpenCode);

#[async_trait(?Send)]
impl OpenCode for Side {
    async fn conversation(&self, session: &str) -> Result<Option<Conversation>, String> {
        let found = self.0.conversation(session).await;
        let found = found.map_err(|error| reason(&error).1)?;
        let found = found.as_string();
        let parse = |json: String| from_json(&json).map_err(|error| error.to_string());
        found.map(parse).transpose()
    }

    async fn sessions(&self) -> Result<Vec<Session>, String> {
        let sessions = self.0.sessions().await.map_err(|error| reason(&error).1)?;
        from_json(&text(sessions)).map_err(|error| error.to_string())
    }

    fn toast(&self, message: &str) {
        self.0.toast(message);
    }
}

struct Screen(JsTerminal);

#[async_trait(?Send)]
impl Terminal for Screen {
    fn print(&self, line: &str) {
        self.0.print(line);
    }

    fn progress(&self, line: &str) {
        self.0.progress(line);
    }

    async fn ask(&self, question: &str, hidden: bool) -> Option<String> {
        self.0.ask(question, hidden).await.ok()?.as_string()
    }

    async fn piped(&self) -> Option<String> {
        self.0.piped().await.ok()?.as_string()
    }
}

/// The plugin of one OpenCode instance, or one run of the command.
#[wasm_bindgen]
pub struct Core(Rc<Edge>);

#[wasm_bindgen]
impl Core {
    /// `side` is the shim's object: the host, and OpenCode or the terminal. `init` is the JSON of `Init`.
    #[wasm_bindgen(constructor)]
    pub fn new(side: JsValue, init: &str) -> Result<Core, JsError> {
        let init: Init = serde_json::from_str(init)?;
        let host: JsHost = side.clone().unchecked_into();
        let opencode = Side(side.clone().unchecked_into());
        let terminal = Screen(side.unchecked_into());
        let machine = Arc::new(JsMachine::new(host.clone()));
        // What a panic says goes to the log of this machine and no further.
        report_panics(host, |_| None);
        let edge = Edge::new(machine, Rc::new(opencode), Rc::new(terminal), init);
        Ok(Core(Rc::new(edge)))
    }

    /// Runs one call of the generated `Calls` table: JSON in, JSON out.
    pub fn call(&self, name: String, params: String) -> js_sys::Promise {
        let edge = Rc::clone(&self.0);
        promise(async move { edge.dispatch(&name, &params).await })
    }
}
