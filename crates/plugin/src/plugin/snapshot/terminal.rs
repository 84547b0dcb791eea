//! The terminal in the place of OpenCode: there is nobody else to tell, and nobody to ask.

use crate::opencode::Registered;
use crate::opencode::{Asked, OpenCode};
use crate::wire::{Permission, Progress, Toast};
use async_trait::async_trait;
use serde_json::Value;
use std::rc::Rc;

/// Writes what a user must know where the command's progress goes.
pub(super) struct Terminal(pub(super) Rc<dyn OpenCode>);

const NONE: &str = "there is no OpenCode";

#[async_trait(?Send)]
impl OpenCode for Terminal {
    async fn release(&self) -> Option<String> {
        None
    }

    async fn ask(&self, _: u32, _: &Permission) -> Asked {
        Asked::Rejected
    }

    async fn parent(&self, _: &str) -> Result<Option<String>, String> {
        Err(NONE.into())
    }

    async fn has(&self, _: &str) -> Result<bool, String> {
        Err(NONE.into())
    }

    async fn rules(&self, _: &str) -> Result<Value, String> {
        Err(NONE.into())
    }

    async fn registered(&self) -> Result<Registered, String> {
        Err(NONE.into())
    }

    // It is no fork of anything.
    async fn sessions(&self) -> Result<Value, String> {
        Ok(Value::Array(Vec::new()))
    }

    async fn messages(&self, _: &str) -> Result<Value, String> {
        Ok(Value::Array(Vec::new()))
    }

    fn progress(&self, call: u32, progress: &Progress) {
        self.0.progress(call, progress);
    }

    fn toast(&self, toast: Toast) {
        // A failure is the command's own answer, and a success is no news here.
        if matches!(toast.variant.as_str(), "warning" | "info") {
            let (title, output) = (
                String::new(),
                Some(format!("{}: {}\n", toast.title, toast.message)),
            );
            self.0.progress(0, &Progress { title, output });
        }
    }

    fn terminal(&self, line: &str) -> bool {
        self.0.terminal(line)
    }
}
