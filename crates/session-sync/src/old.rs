//! What releases of OpenCode before 1.2.0 have left: JSON files under `<data>/storage`, one for each session
//! (`session/PROJECT/ID.json`), message (`message/SESSION/ID.json`) and part (`part/MESSAGE/ID.json`). The release
//! that brought the database has not taken all of them over for everybody.

use crate::found::{Found, Read, conversation};
use crate::opencode::from_json;
use host::Host;
use serde_json::Value;
use std::collections::BTreeSet;
use std::sync::Arc;

/// Messages of one session that are read at once.
const PAGE_MESSAGES: usize = 200;

/// The files.
pub struct Files {
    host: Arc<dyn Host>,
    dir: String,
}

impl Files {
    /// The files of this user; none if there is no place for them. On every platform it is where XDG has it.
    pub fn new(host: &Arc<dyn Host>) -> Option<Files> {
        let platform = host.platform();
        let env = |name: &str| host.env(name);
        let data = env("XDG_DATA_HOME").map(|dir| platform.slashed(&dir));
        let data = data.or_else(|| Some(format!("{}/.local/share", platform.home(env)?)))?;
        Some(Files {
            host: Arc::clone(host),
            dir: format!("{data}/opencode/storage"),
        })
    }

    /// The sessions that are not known.
    pub(crate) async fn sessions(&self, known: &BTreeSet<String>) -> Result<Vec<Found>, String> {
        let (mut found, mut seen) = (Vec::new(), BTreeSet::new());
        for project in self.list("session").await? {
            let dir = format!("session/{project}");
            for id in self.ids(&dir).await? {
                if known.contains(&id) || !seen.insert(id.clone()) {
                    continue;
                }
                let info = self.read(&format!("{dir}/{id}.json")).await;
                let Some(info) = info.filter(|info| info["id"] == id.as_str()) else {
                    continue;
                };
                let updated = info["time"]["updated"].as_f64().unwrap_or_default();
                found.push(Found {
                    info,
                    id,
                    updated,
                    bytes: 0,
                    is_old: true,
                });
            }
        }
        Ok(found)
    }

    /// The ids of a session's messages, in pages. They rise with time.
    pub(crate) async fn pages(&self, session: &str) -> Result<Vec<Vec<String>>, String> {
        let ids = self.ids(&format!("message/{session}")).await?;
        match ids.is_empty() {
            true => Ok(vec![Vec::new()]),
            false => Ok(ids.chunks(PAGE_MESSAGES).map(<[String]>::to_vec).collect()),
        }
    }

    /// Reads a page of a session.
    pub(crate) async fn page(&self, found: &Found, ids: &[String]) -> Option<Read> {
        let mut read = Vec::new();
        for id in ids {
            let message = self.read(&format!("message/{}/{id}.json", found.id)).await;
            let dir = format!("part/{id}");
            let mut parts = Vec::new();
            for part in self.ids(&dir).await.unwrap_or_default() {
                parts.extend(self.read(&format!("{dir}/{part}.json")).await);
            }
            read.push((id.clone(), message, parts));
        }
        conversation(&found.info, read.into_iter())
    }

    async fn list(&self, dir: &str) -> Result<Vec<String>, String> {
        let listed = self.host.list_dir(&format!("{}/{dir}", self.dir)).await;
        let mut names = listed.map_err(|error| error.to_string())?;
        names.sort();
        Ok(names)
    }

    async fn ids(&self, dir: &str) -> Result<Vec<String>, String> {
        let names = self.list(dir).await?;
        let ids = names.iter().filter_map(|name| name.strip_suffix(".json"));
        Ok(ids.map(str::to_string).collect())
    }

    async fn read(&self, path: &str) -> Option<Value> {
        let bytes = self.host.read_file(&format!("{}/{path}", self.dir)).await;
        from_json(&String::from_utf8_lossy(&bytes.ok()?)).ok()
    }
}
