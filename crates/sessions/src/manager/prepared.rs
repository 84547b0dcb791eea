//! Prepared snapshots: made of a sandbox that the project was carried into, and what sessions start from
//! where the options name nothing else.
//!
//! A sandbox that is made for a snapshot has an entry like a session's, which nothing ever marks as
//! used: whoever finds it after its process has died deletes it. A snapshot that is asked for is noted
//! with that sandbox, so one that an interrupted run left is known to be nobody else's.

use super::{Error, LABEL_SNAPSHOT, Notice, Sessions};
use crate::store::{Document, PreparedSnapshot, Snapshotting};
use daytona::{CreateSandbox, Usable};
use serde_json::Map;

/// OpenCode's id of every project without commits: directories that share it are told apart here.
const SHARED: &str = "global";
/// A sandbox that is made for a snapshot is stopped after so many idle minutes, and deleted so many
/// after that, if everything that knows of it is lost.
const STOP_MINUTES: i64 = 15;
const DELETE_MINUTES: i64 = 60;

impl Sessions {
    /// From now on sandboxes are made for snapshots, and none for sessions of OpenCode.
    pub fn build_snapshots(&self) {
        self.builds.set(true);
    }

    /// Where the project's prepared snapshot stands in the store.
    fn place(&self) -> String {
        match self.project.is_repository && self.project.id != SHARED {
            true => String::new(),
            false => self.project.worktree.clone(),
        }
    }

    fn prepared_in(&self, document: &Document) -> Option<PreparedSnapshot> {
        document.prepared.get(&self.place()).cloned()
    }

    /// The prepared snapshot that the store remembers.
    pub async fn remembered(&self) -> Result<Option<PreparedSnapshot>, Error> {
        Ok(self.prepared_in(&self.store.read().await?))
    }

    /// The prepared snapshot that sandboxes are made of; none if the options name something else, or
    /// if it was found to be unusable.
    pub async fn prepared(&self) -> Result<Option<PreparedSnapshot>, Error> {
        let named = self.template.snapshot.as_ref();
        if self.builds.get() || self.template.build_info.is_some() {
            return Ok(None);
        }
        let is_meant = |found: &PreparedSnapshot| {
            named.is_none_or(|named| *named == found.name)
                && !self.unusable.borrow().contains(&found.name)
        };
        Ok(self.remembered().await?.filter(is_meant))
    }

    /// What a create must say beside what the options say.
    pub(super) fn shape(&self, request: &mut CreateSandbox, session: &str) {
        if !self.builds.get() {
            request.labels.extend(self.labels(Some(session)));
            return;
        }
        // No session's, so that nobody takes it for one whose entry was lost.
        request.labels.extend(self.labels(None));
        request
            .labels
            .insert(LABEL_SNAPSHOT.into(), session.to_string());
        request.auto_stop_interval = Some(STOP_MINUTES);
        request.auto_delete_interval = Some(DELETE_MINUTES);
    }

    /// True if the prepared snapshot `name` is why a create was refused: the service has it no longer,
    /// or does not let sandboxes start from it. The user hears of it, and it is not tried again here.
    pub(super) async fn is_unusable(&self, name: &str) -> bool {
        let state = match self.client.snapshot_if_any(name).await {
            Ok(Some(found)) if found.usable() != Usable::Yes => Some(found.state),
            Ok(None) => None,
            // It is not the reason, or nobody knows.
            Ok(Some(_)) | Err(_) => return false,
        };
        let prepared = self.remembered().await.unwrap_or_default();
        if self.unusable.borrow_mut().insert(name.into())
            && let Some(prepared) = prepared
        {
            (self.notices)(Notice::PreparedUnusable { prepared, state });
        }
        true
    }

    /// Notes that a snapshot is about to be asked for.
    pub async fn note_snapshot(&self, name: &str, sandbox: &str) -> Result<(), Error> {
        let note = Snapshotting {
            name: name.into(),
            sandbox: sandbox.into(),
            pid: self.host.pid(),
            since: self.host.now_ms(),
            rest: Map::new(),
        };
        self.store
            .update(|document| document.snapshotting.push(note))
            .await?;
        Ok(())
    }

    /// Remembers a snapshot that is there, with the commits that it brings. Gives the one that was
    /// remembered before.
    pub async fn remember(
        &self,
        made: PreparedSnapshot,
        brings: Vec<String>,
    ) -> Result<Option<PreparedSnapshot>, Error> {
        let place = self.place();
        let before = self
            .store
            .update(|document| {
                document.snapshotting.retain(|note| note.name != made.name);
                document.snapshots.insert(made.name.clone(), brings);
                document.prepared.insert(place, made)
            })
            .await?;
        Ok(before)
    }

    /// Sessions start from the service's default again. Gives what was remembered.
    pub async fn forget_prepared(&self) -> Result<Option<PreparedSnapshot>, Error> {
        let place = self.place();
        let forgotten = self
            .store
            .update(|document| {
                let forgotten = document.prepared.remove(&place)?;
                let is_named = |other: &PreparedSnapshot| other.name == forgotten.name;
                if !document.prepared.values().any(is_named) {
                    document.snapshots.remove(&forgotten.name);
                }
                Some(forgotten)
            })
            .await?;
        if let Some(forgotten) = &forgotten {
            self.carrier.forget(&forgotten.session).await;
        }
        Ok(forgotten)
    }

    /// True if a sandbox was to be deleted, and could not be yet.
    pub async fn is_to_be_deleted(&self, sandbox: &str) -> Result<bool, Error> {
        let document = self.store.read().await?;
        Ok((document.cleanup.iter()).any(|note| note.sandbox == sandbox))
    }

    /// Deletes the snapshots that this process, or one that has died, asked for and nobody remembers.
    /// Gives their names.
    pub async fn drop_left_snapshots(&self) -> Result<Vec<String>, Error> {
        let own = self.host.pid();
        let left: Vec<Snapshotting> = (self.store.read().await?.snapshotting.into_iter())
            .filter(|note| note.pid == own || !self.lives(note.pid, note.since))
            .collect();
        let mut dropped = Vec::new();
        for note in left {
            let found = self.client.snapshot_if_any(&note.name).await?;
            let is_ours = |of: &String| *of == note.sandbox;
            if found.is_some_and(|found| found.source_sandbox_id.as_ref().is_some_and(is_ours)) {
                self.client.delete_snapshot(&note.name).await?;
                dropped.push(note.name.clone());
            }
            self.store
                .update(|document| document.snapshotting.retain(|other| *other != note))
                .await?;
        }
        Ok(dropped)
    }
}
