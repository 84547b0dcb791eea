//! [`OpenCode`] on top of a JavaScript object.

use async_trait::async_trait;
use plugin::{Asked, OpenCode, Permission, Progress, Registered, Toast};
use wasm_bindgen::prelude::*;
use wasm_host::{json, parsed, reason};

#[wasm_bindgen]
extern "C" {
    /// What the shim implements (`plugin-shim/src/side.ts`).
    pub type JsOpenCode;

    #[wasm_bindgen(method, catch)]
    async fn release(this: &JsOpenCode) -> Result<JsValue, JsValue>;
    #[wasm_bindgen(method, catch)]
    async fn ask(this: &JsOpenCode, call: u32, question: &str) -> Result<JsValue, JsValue>;
    #[wasm_bindgen(method, catch)]
    async fn parent(this: &JsOpenCode, session: &str) -> Result<JsValue, JsValue>;
    #[wasm_bindgen(method, catch)]
    async fn find(this: &JsOpenCode, session: &str) -> Result<JsValue, JsValue>;
    #[wasm_bindgen(method, catch)]
    async fn registered(this: &JsOpenCode) -> Result<JsValue, JsValue>;
    #[wasm_bindgen(method, catch)]
    async fn rules(this: &JsOpenCode, session: &str) -> Result<JsValue, JsValue>;
    #[wasm_bindgen(method, catch)]
    async fn sessions(this: &JsOpenCode) -> Result<JsValue, JsValue>;
    #[wasm_bindgen(method, catch)]
    async fn messages(this: &JsOpenCode, session: &str) -> Result<JsValue, JsValue>;
    #[wasm_bindgen(method)]
    fn progress(this: &JsOpenCode, call: u32, progress: &str);
    #[wasm_bindgen(method)]
    fn toast(this: &JsOpenCode, toast: &str);
    #[wasm_bindgen(method)]
    fn terminal(this: &JsOpenCode, line: &str) -> bool;
}

/// OpenCode's side of the shim.
pub(crate) struct Side(pub(crate) JsOpenCode);

#[async_trait(?Send)]
impl OpenCode for Side {
    async fn release(&self) -> Option<String> {
        self.0.release().await.ok()?.as_string()
    }

    async fn ask(&self, call: u32, question: &Permission) -> Asked {
        match self.0.ask(call, &json(question)).await {
            Ok(answer) if answer.as_bool() == Some(true) => Asked::Allowed,
            Ok(answer) if answer.is_undefined() => Asked::Unasked,
            // Whatever goes wrong with the question is not a yes.
            _ => Asked::Rejected,
        }
    }

    async fn parent(&self, session: &str) -> Result<Option<String>, String> {
        let parent = self.0.parent(session).await;
        Ok(parent.map_err(|error| reason(&error).1)?.as_string())
    }

    async fn has(&self, session: &str) -> Result<bool, String> {
        let status = self.0.find(session).await;
        match status.map_err(|error| reason(&error).1)?.as_f64() {
            Some(200.0) => Ok(true),
            Some(404.0) => Ok(false),
            other => Err(format!("OpenCode answers {other:?}")),
        }
    }

    async fn registered(&self) -> Result<Registered, String> {
        let registered = parsed(self.0.registered().await)?;
        serde_json::from_value(registered).map_err(|error| error.to_string())
    }

    async fn rules(&self, session: &str) -> Result<serde_json::Value, String> {
        parsed(self.0.rules(session).await)
    }

    async fn sessions(&self) -> Result<serde_json::Value, String> {
        parsed(self.0.sessions().await)
    }

    async fn messages(&self, session: &str) -> Result<serde_json::Value, String> {
        parsed(self.0.messages(session).await)
    }

    fn progress(&self, call: u32, progress: &Progress) {
        self.0.progress(call, &json(progress));
    }

    fn toast(&self, toast: Toast) {
        self.0.toast(&json(&toast));
    }

    fn terminal(&self, line: &str) -> bool {
        self.0.terminal(line)
    }
}
