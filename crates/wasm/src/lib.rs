//! The only room that knows JavaScript: one class for OpenCode's side, the JavaScript [`Host`] for
//! ours, one codec (JSON text; bytes as `Uint8Array`) and one error converter. It holds no logic.
//!
//! Surprise: a panic kills the instance, and promises that were pending would stay so for ever.
//! The panic hook tells the shim before the trap, and the shim fails every call from then on.

mod js;

use js::{JsHost, JsSide};
use plugin::{Init, Plugin};
use std::rc::Rc;
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::future_to_promise;

/// The plugin of one OpenCode instance.
#[wasm_bindgen]
pub struct Core(Rc<Plugin>);

#[wasm_bindgen]
impl Core {
    /// `init` is the JSON of `Init`.
    #[wasm_bindgen(constructor)]
    pub fn new(host: JsHost, init: &str) -> Result<Core, JsError> {
        let init: Init = serde_json::from_str(init)?;
        let side = Rc::new(JsSide::new(host));
        let plugin = Plugin::new(Rc::clone(&side) as _, Rc::clone(&side) as _, init);
        js::report_panics(side, Rc::downgrade(&plugin));
        Ok(Core(plugin))
    }

    /// Runs one call of the generated `Calls` table: JSON in, JSON out.
    pub fn call(&self, name: String, params: String) -> js_sys::Promise {
        let plugin = Rc::clone(&self.0);
        future_to_promise(async move {
            match plugin::dispatch(&plugin, &name, &params).await {
                Ok(result) => Ok(result.into()),
                Err(error) => Err(JsError::new(&error.to_string()).into()),
            }
        })
    }
}
