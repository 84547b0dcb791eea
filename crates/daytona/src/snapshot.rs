//! Snapshots that are made of a sandbox: asked for, waited for, deleted. What the service has under
//! the name, and the state of the sandbox, decide; never the words of a refusal.

use crate::client::{Client, POLL_MS, failed, going, parse, segment};
use crate::error::{Error, Result};
use crate::types::{MakeSnapshot, Sandbox, SandboxState, Snapshot, Usable};
use host::Body;

/// How often a snapshot is asked for: an answer may be lost, and the sandbox may be on its way.
const ASKS: u32 = 5;
/// How often one that was promised may be missing while the sandbox does nothing.
const MISSING: u32 = 15;
/// How long a snapshot that is deleted may stay.
const REMOVE_SECONDS: u64 = 120;

impl Client {
    /// A snapshot, by id or name.
    pub async fn snapshot(&self, name: &str) -> Result<Snapshot> {
        let path = format!("/snapshots/{}", segment(name));
        let response = self
            .repeat("GET", &path, &format!("snapshot {name}"))
            .await?;
        parse("a snapshot", response)
    }

    /// The same; none if there is none.
    pub async fn snapshot_if_any(&self, name: &str) -> Result<Option<Snapshot>> {
        match self.snapshot(name).await {
            Ok(snapshot) => Ok(Some(snapshot)),
            Err(Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Makes a snapshot of a sandbox's files and waits until sandboxes can start from it. Safe to
    /// repeat: one that was made of this sandbox under this name is the one. `waits` is told at each
    /// look how far it is.
    pub async fn make_snapshot(
        &self,
        sandbox: &str,
        name: &str,
        seconds: u64,
        waits: impl Fn(&str),
    ) -> Result<Snapshot> {
        let deadline = self.host.now_ms() + seconds * 1000;
        let (mut asks, mut missing, mut accepted, mut refusal) = (0, 0, false, None);
        loop {
            let state = self.state_of(sandbox).await;
            let found = self.snapshot_if_any(name).await?;
            let is_busy = match &found {
                // What becomes of the sandbox afterwards does not matter.
                Some(found)
                    if found.usable() == Usable::Yes
                        && found.source_sandbox_id.as_deref() == Some(sandbox) =>
                {
                    matches!(state, Ok(SandboxState::Changing(_)))
                }
                _ => matches!(state?, SandboxState::Changing(_)),
            };
            let how = match found {
                Some(found) => {
                    let of = found.source_sandbox_id.as_deref();
                    if of.map_or(!accepted, |of| of != sandbox) {
                        return Err(Error::SnapshotTaken { name: name.into() });
                    }
                    match found.usable() {
                        Usable::Yes if !is_busy => return Ok(found),
                        Usable::Yes | Usable::NotYet => found.state,
                        Usable::No => return Err(broken(name, &found)),
                    }
                }
                None if is_busy => "snapshotting".into(),
                None if accepted && missing >= MISSING => {
                    return Err(Error::SnapshotFailed {
                        name: name.into(),
                        reason: "it was accepted, and is not there".into(),
                    });
                }
                None if accepted => {
                    missing += 1;
                    "pending".into()
                }
                None => {
                    if let Some(error) = refusal.take_if(|_| asks >= ASKS) {
                        return Err(error);
                    }
                    asks += 1;
                    match self.ask_for_snapshot(sandbox, name).await {
                        Ok(_) => accepted = true,
                        Err(error @ Error::Conflict { .. }) => refusal = Some(error),
                        Err(error) if error.is_transient() || error.is_unanswered() => {
                            self.pause(&error, asks).await;
                            refusal = Some(error);
                        }
                        Err(error) => return Err(error),
                    }
                    "pending".into()
                }
            };
            if self.host.now_ms() >= deadline {
                return Err(Error::SnapshotTooSlow {
                    name: name.into(),
                    state: how,
                    seconds,
                });
            }
            waits(&how);
            self.host.sleep(POLL_MS).await;
        }
    }

    /// Where the sandbox stands that a snapshot is made of.
    async fn state_of(&self, sandbox: &str) -> Result<SandboxState> {
        let found = self.get(sandbox).await?;
        match found.state {
            SandboxState::Error | SandboxState::BuildFailed => Err(failed(&found)),
            SandboxState::Destroyed | SandboxState::Destroying => Err(going(sandbox)),
            state => Ok(state),
        }
    }

    /// Asks for a snapshot of a sandbox's files, once.
    pub async fn ask_for_snapshot(&self, sandbox: &str, name: &str) -> Result<Sandbox> {
        let url = self.api(&format!("/sandbox/{}/snapshot", segment(sandbox)));
        let body = serde_json::to_string(&MakeSnapshot { name: name.into() });
        let body = Body::Json(body.expect("plain data serializes"));
        let response = self.ask("POST", url.clone(), body).await?;
        parse(
            "a snapshot of a sandbox",
            self.checked(&format!("snapshot {name}"), &url, response)?,
        )
    }

    /// Deletes a snapshot and waits until its name is free; false if there was none.
    pub async fn delete_snapshot(&self, name: &str) -> Result<bool> {
        let deadline = self.host.now_ms() + REMOVE_SECONDS * 1000;
        let Some(found) = self.snapshot_if_any(name).await? else {
            return Ok(false);
        };
        self.remove_snapshot(&found.id).await?;
        // Anybody between us and the service can answer 200.
        while let Some(left) = self.snapshot_if_any(name).await? {
            if self.host.now_ms() >= deadline {
                return Err(Error::SnapshotTooSlow {
                    name: name.into(),
                    state: left.state,
                    seconds: REMOVE_SECONDS,
                });
            }
            self.host.sleep(POLL_MS).await;
        }
        Ok(true)
    }
}

impl Client {
    /// Asks for the end of a snapshot, by its id; false if there is none.
    pub async fn remove_snapshot(&self, id: &str) -> Result<bool> {
        let path = format!("/snapshots/{}", segment(id));
        let what = format!("snapshot {id}");
        match self.repeat("DELETE", &path, &what).await {
            Ok(_) => Ok(true),
            Err(Error::NotFound { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }
}

fn broken(name: &str, found: &Snapshot) -> Error {
    let reason = found.error_reason.clone().filter(|why| !why.is_empty());
    Error::SnapshotFailed {
        name: name.into(),
        reason: match reason {
            Some(reason) => format!("{} ({reason})", found.state),
            None => format!("it is {}", found.state),
        },
    }
}
