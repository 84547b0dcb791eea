//! OpenCode's database by way of the user's own `opencode`.

use crate::history::{Database, Row};
use async_trait::async_trait;
use host::Host;
use std::sync::Arc;

const PROGRAM: &str = "opencode";
/// It takes one to two seconds on a quiet machine; a large answer takes longer.
const LIMIT_MS: u64 = 300_000;
/// Of an answer. A query asks for far less; one message alone may be large.
const MAX_BYTES: usize = 256 * 1024 * 1024;

/// Asks the first `opencode` on the PATH.
pub struct Installed {
    host: Arc<dyn Host>,
    directory: String,
}

impl Installed {
    /// The program, called in a directory. It loads no project there.
    pub fn new(host: Arc<dyn Host>, directory: &str) -> Installed {
        let directory = directory.to_string();
        Installed { host, directory }
    }
}

/// The first `opencode` on the PATH; none if there is none.
pub(crate) async fn program(host: &dyn Host) -> Option<String> {
    let places = host.platform();
    for place in places.places_of(PROGRAM, |name| host.env(name)) {
        if host.file_size(&place).await.is_ok() {
            return Some(place);
        }
    }
    None
}

#[async_trait(?Send)]
impl Database for Installed {
    async fn query(&self, sql: &str) -> Result<Vec<Row>, String> {
        let missing = || {
            format!(
                "no `{PROGRAM}` is on the PATH, and past sessions are read with it: install OpenCode, or call this where it is found"
            )
        };
        let program = program(&*self.host).await.ok_or_else(missing)?;
        let args = ["db", sql, "--format", "json"];
        let output = self
            .host
            .output_of(&program, &args, &self.directory, LIMIT_MS, MAX_BYTES);
        let failed = |why: String| {
            format!(
                "`{program} db` gave no sessions: {why}. It is there from OpenCode 1.2 on; run `opencode db path` to see what it says"
            )
        };
        let output = output.await.map_err(failed)?;
        // No rows are no text.
        match output.trim() {
            "" => Ok(Vec::new()),
            text => serde_json::from_str(text).map_err(|error| failed(error.to_string())),
        }
    }
}
