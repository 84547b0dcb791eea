//! The plugin of sandboxes as a WebAssembly module: one class, and OpenCode's side in JavaScript. It holds no
//! logic.

// JavaScript's values stay on their thread, so there is nothing here for native programs, whose hosts are `Send`.
#![cfg(target_family = "wasm")]

mod opencode;

use opencode::{JsOpenCode, Side};
use plugin::{Init, Plugin};
use std::rc::Rc;
use std::sync::Arc;
use wasm_bindgen::prelude::*;
use wasm_host::{JsHost, JsMachine, promise, report_panics};

/// The plugin of one OpenCode instance.
#[wasm_bindgen]
pub struct Core(Rc<Plugin>);

#[wasm_bindgen]
impl Core {
    /// `side` is the shim's object: the host, and OpenCode. `init` is the JSON of `Init`.
    #[wasm_bindgen(constructor)]
    pub fn new(side: JsValue, init: &str) -> Result<Core, JsError> {
        let init: Init = serde_json::from_str(init)?;
        let host: JsHost = side.clone().unchecked_into();
        let opencode = Side(side.unchecked_into::<JsOpenCode>());
        let plugin = Plugin::new(
            Arc::new(JsMachine::new(host.clone())),
            Rc::new(opencode),
            init,
        );
        let alive = Rc::downgrade(&plugin);
        report_panics(host, move |text| Some(alive.upgrade()?.fit_to_read(text)));
        Ok(Core(plugin))
    }

    /// Runs one call of the generated `Calls` table: JSON in, JSON out.
    pub fn call(&self, name: String, params: String) -> js_sys::Promise {
        let plugin = Rc::clone(&self.0);
        promise(async move { plugin::dispatch(&plugin, &name, &params).await })
    }
}
