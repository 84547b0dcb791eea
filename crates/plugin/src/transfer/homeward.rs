//! The work comes home: what the sandbox has becomes a branch of the user's repository.
//!
//! One request commits and bundles; a large bundle is fetched by a second one. Every step may be
//! repeated: the sandbox keeps what it committed, the depot what it received, and the store says
//! only what has arrived. So a kill between any two of them costs nothing but doing it again.

use super::{NotHome, SyncResult, Transfer};
use crate::config::SyncMode;
use crate::error::Error;
use crate::trust;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use daytona::Toolbox;
use git_bridge::{Applied, BranchUpdate, Incoming, Take, Tip};
use host::Level;
use protocol::{Bundle, Code, Op, Outcome, Request, Synced};
use runner_client::{PART, Patience};
use sessions::{Entry, Home, Sessions};

/// How often another branch number is tried: others may take one at the same moment.
const NUMBERS: usize = 20;
/// How often a part that is not whole is fetched.
const DOWNLOADS: u32 = 4;
/// Most files that are named where there is too much.
const NAMED: usize = 3;
/// Longest first line of a commit message, in characters.
const SUBJECT: usize = 72;

impl Transfer {
    /// Brings the session's work home, if there may be any, or in any case with `force`. None if
    /// there was nothing to do.
    pub(crate) async fn bring(
        &self,
        sessions: &Sessions,
        session: &str,
        subject: Option<&str>,
        force: bool,
    ) -> Result<Option<SyncResult>, Error> {
        let brought = self.try_to_bring(sessions, session, subject, force).await;
        brought.map_err(|not| not.reason)
    }

    /// The same, for whoever must know why it is not home.
    pub(crate) async fn try_to_bring(
        &self,
        sessions: &Sessions,
        session: &str,
        subject: Option<&str>,
        force: bool,
    ) -> Result<Option<SyncResult>, NotHome> {
        let bring = async |entry: Option<Entry>| {
            let Some(entry) = entry.filter(|entry| force || entry.unsynced.is_some()) else {
                return Ok(None);
            };
            if !entry.may_hold_work() {
                return Ok(Some(SyncResult::nothing(&entry)));
            }
            match self.bring_now(sessions, session, &entry, subject).await {
                Ok(brought) => Ok(Some(brought)),
                Err(not) => {
                    if let Err(error) = sessions.stayed(session, &not.reason.to_string()).await {
                        self.host.log(Level::Warn, &error.to_string());
                    }
                    Err(not)
                }
            }
        };
        // Most sessions that only talk have no sandbox.
        if sessions.entry_of(session).await?.is_none() {
            return Ok(None);
        }
        sessions.homing(session, bring).await?
    }

    async fn bring_now(
        &self,
        sessions: &Sessions,
        session: &str,
        entry: &Entry,
        subject: Option<&str>,
    ) -> Result<SyncResult, NotHome> {
        let head = entry.host_head.as_deref();
        let message = self.message(session, subject);
        let Some(synced) = self.ask(sessions, session, entry, &message, None).await? else {
            sessions.came_home(session, entry, None, true).await?;
            return Ok(SyncResult::nothing(entry));
        };
        let left_out = trust::sentences(&synced.left_out);
        let all = synced.jobs == 0 && left_out.is_empty();
        let known = entry.home.as_ref().map(|home| home.commit.as_str());
        let start = entry.base_commit.as_deref();
        let is_new =
            synced.tip != known.or(start).unwrap_or_default() || !synced.branches.is_empty();
        let mut brought = SyncResult {
            left_out,
            notes: trust::sentences(&synced.notes),
            jobs: synced.jobs,
            ..SyncResult::nothing(entry)
        };
        let mut arrived = None;
        if is_new {
            let (incoming, told) = self.incoming(sessions, session, synced, head).await?;
            brought.odd = told;
            let odd = self.is_odd(session, entry, &incoming.tip).await?;
            let landed = self
                .land(sessions, session, entry, &incoming, odd.as_deref())
                .await?;
            let Some(landed) = landed else {
                // Another process brought it home and ended the session.
                return Ok(SyncResult::nothing(entry));
            };
            if odd.is_none() {
                self.project.keep(session, &incoming.tip).await?;
                arrived = Some(Home {
                    commit: landed.commit.clone(),
                    branch: landed.branch.clone(),
                    at: self.host.now_ms(),
                    ..Home::default()
                });
                brought.home.clone_from(&arrived);
            }
            brought.notes.extend(trust::sentences(&landed.notes));
            let changed = !landed.files.is_empty() || known != Some(&landed.commit);
            brought.take = Some(self.take(&landed));
            brought.landed = changed.then_some(landed);
        }
        sessions.came_home(session, entry, arrived, all).await?;
        if self.mode == SyncMode::Apply
            && let Some(home) = &brought.home
        {
            brought.not_applied = self.apply(sessions, session, entry, &home.commit).await?;
            brought.take = brought.take.filter(|_| brought.not_applied.is_some());
        }
        Ok(brought)
    }

    /// The command that puts the session's change into the working tree, run at its root.
    fn take(&self, landed: &BranchUpdate) -> String {
        let branch = &landed.branch;
        // The user's shell reads it, and a home directory may have any name.
        let depot = self.project.depot().replace('\'', "'\\''");
        let depot = format!("git --git-dir='{depot}'");
        let apply = match self.project.is_repository() {
            true => "git apply".to_string(),
            // A repository around the project is none of its.
            false => format!("{depot} --work-tree=. apply"),
        };
        match &landed.take {
            Take::Merge => format!("git merge {branch}"),
            Take::Since(commit) => {
                let git = match self.project.is_repository() {
                    true => "git",
                    false => &depot,
                };
                let commit = commit.get(..12).unwrap_or(commit);
                format!("{git} diff --binary {commit} {branch} | {apply}")
            }
            Take::SinceInDepot(commit) => {
                let tip = &landed.commit;
                format!("{depot} diff --binary {commit} {tip} | {apply}")
            }
        }
    }

    /// Why a commit is not what the session's work goes on from, if it is not: most of the files are
    /// gone that it stands on, and nothing that was done in the session explains that. What a sandbox
    /// has become after it lost its disk looks like this.
    async fn is_odd(
        &self,
        session: &str,
        entry: &Entry,
        tip: &str,
    ) -> Result<Option<String>, Error> {
        let last = entry.home.as_ref().map(|home| home.commit.as_str());
        let was_changed = entry.unsynced.is_some();
        let lost = self.project.lost(session, last, tip, was_changed).await;
        let lost = lost?;
        Ok(lost.map(|(lost, of)| {
            format!("it lacks {lost} of the {of} files that the session's work stands on, and nothing that was done in the session explains that")
        }))
    }

    /// Asks the sandbox to commit and to bundle what this end does not have. None if it was found by
    /// its label, and no setup of the project has ended in it.
    async fn ask(
        &self,
        sessions: &Sessions,
        session: &str,
        entry: &Entry,
        message: &str,
        after: Option<&str>,
    ) -> Result<Option<Synced>, Error> {
        let have = self.project.have(session, entry.host_head.as_deref()).await;
        let have = have?;
        let request = Request::new(
            self.remote.id(),
            Op::Sync(protocol::SyncRequest {
                root: self.root.clone(),
                message: message.into(),
                have: Some(have),
                max_bytes: Some(self.project.limit()),
                after: after.map(str::to_string),
            }),
        );
        let answer = self
            .remote
            .call_existing(sessions, session, &request)
            .await?;
        match answer.result {
            Ok(Outcome::Synced(synced)) => Ok(Some(synced)),
            Ok(_) => Err(Error::Answer),
            Err(error) if error.code == Code::NotSetUp && entry.ready != Some(true) => Ok(None),
            Err(error) => Err(trust::sentence(&error.message).into()),
        }
    }

    /// Takes what the sandbox says it has into the depot, checked; gives what is odd about it, too.
    async fn incoming(
        &self,
        sessions: &Sessions,
        session: &str,
        synced: Synced,
        head: Option<&str>,
    ) -> Result<(Incoming, Vec<String>), NotHome> {
        if let Some(too_much) = &synced.too_much {
            let largest = too_much.largest.iter().take(NAMED);
            let largest = largest.map(|(path, size)| (trust::sentence(path), *size));
            let too_much = git_bridge::Error::TooMuch {
                size: too_much.size,
                limit: self.project.limit(),
                largest: largest.collect(),
            };
            return Err(NotHome {
                reason: too_much.into(),
                too_much: Some((synced.tip, synced.jobs)),
            });
        }
        let mut incoming = Incoming {
            tip: synced.tip,
            branches: synced
                .branches
                .into_iter()
                .map(|branch| (branch.name, branch.commit))
                .collect(),
            lfs: synced.lfs,
            bundle: None,
        };
        let dir = self.project.temp_dir().await?;
        let file = format!("{dir}/work.bundle");
        let received = async {
            if let Some(bundle) = &synced.bundle {
                self.fetch(sessions, session, bundle, &file).await?;
                incoming.bundle = Some(file);
            }
            Ok::<_, Error>(self.project.receive(session, &incoming, head).await?)
        }
        .await;
        let _ = self.host.remove_dir(&dir).await;
        Ok(received.map(|odd| (incoming, odd))?)
    }

    async fn fetch(
        &self,
        sessions: &Sessions,
        session: &str,
        bundle: &Bundle,
        file: &str,
    ) -> Result<(), Error> {
        if bundle.size > self.project.limit() {
            let too_much = git_bridge::Error::TooMuch {
                size: bundle.size,
                limit: self.project.limit(),
                largest: Vec::new(),
            };
            return Err(too_much.into());
        }
        match (&bundle.inline, &bundle.path) {
            (Some(text), _) => {
                let bytes = STANDARD.decode(text);
                let bytes = bytes.map_err(|_| "the sandbox sent a bundle that is not base64")?;
                let written = self.host.replace_file(file, &bytes).await;
                written?;
            }
            (None, Some(path)) => {
                return self
                    .download(sessions, session, path, bundle.size, file)
                    .await;
            }
            (None, None) => return Err("the sandbox named a bundle and sent none".into()),
        }
        self.has_size(file, bundle.size).await
    }

    async fn has_size(&self, file: &str, size: u64) -> Result<(), Error> {
        match self.host.file_size(file).await {
            Ok(found) if found == size => Ok(()),
            _ => Err("the sandbox sent a bundle of another size than it said".into()),
        }
    }

    /// Fetches a file of the sandbox, which may have stopped since it was written.
    async fn download(
        &self,
        sessions: &Sessions,
        session: &str,
        path: &str,
        size: u64,
        file: &str,
    ) -> Result<(), Error> {
        let toolbox: Option<Toolbox> = (sessions.existing(session).await)?;
        let mut toolbox = toolbox.ok_or("the session has no sandbox any more")?;
        let (mut at, mut attempt) = (0, 0);
        let target = sessions.sandbox(session, false, false);
        let service = self.remote.service();
        let mut patience = Patience::new(&*self.host, service, &target);
        while at < size {
            let end = size.min(at + PART);
            // A service that knows no parts sends the whole file.
            let most = if at == 0 { size } else { end - at };
            let got = (self.remote.service())
                .download(&toolbox, path, file, at..end, most)
                .await;
            let arrived = match got {
                Ok(()) => self.host.file_size(file).await.unwrap_or_default(),
                Err(_) => 0,
            };
            match got {
                Ok(()) if arrived == end || arrived == size => {
                    (at, attempt) = (arrived, 0);
                    patience = Patience::new(&*self.host, service, &target);
                }
                Ok(()) if attempt + 1 < DOWNLOADS => attempt += 1,
                Ok(()) => break,
                Err(error) => {
                    let next = patience.after(&toolbox, error).await;
                    toolbox = next?;
                }
            }
        }
        self.has_size(file, size).await
    }

    /// Moves the session's branch, under another number if its own is taken; `odd` says why it must
    /// be one beside it. None if the store does not know the session any more.
    async fn land(
        &self,
        sessions: &Sessions,
        session: &str,
        entry: &Entry,
        incoming: &Incoming,
        odd: Option<&str>,
    ) -> Result<Option<BranchUpdate>, Error> {
        let renumber = async |tried, taken| sessions.renumber(session, tried, taken).await;
        let mut number = match entry.branch_number {
            None => renumber(None, 0).await?,
            known => known,
        };
        let last = entry.home.as_ref().map(|home| home.commit.as_str());
        for _ in 0..NUMBERS {
            let Some(own) = number else {
                return Ok(None);
            };
            let branch = format!("{}{own}", self.branch_prefix);
            let tip = Tip {
                session,
                branch: &branch,
                last,
                beside: odd,
            };
            match (self.project)
                .land(tip, incoming, entry.host_head.as_deref())
                .await
            {
                Err(git_bridge::Error::Taken(_)) => {
                    // Branches outlive their sessions, so the store knows only some of them.
                    let taken = self.project.last_number(&self.branch_prefix).await;
                    let taken = taken?.max(own);
                    number = renumber(Some(own), taken).await?;
                }
                landed => return Ok(Some(landed?)),
            }
        }
        Err(Error::Because(format!(
            "{NUMBERS} branches of the names {}1, … are taken. Set the option `branchPrefix`.",
            self.branch_prefix
        )))
    }

    async fn apply(
        &self,
        sessions: &Sessions,
        session: &str,
        entry: &Entry,
        tip: &str,
    ) -> Result<Option<String>, Error> {
        let Some(from) = entry.applied.as_ref().or(entry.base_commit.as_ref()) else {
            return Ok(Some("it is not known what the sandbox started from".into()));
        };
        if from == tip {
            return Ok(None);
        }
        match self.project.apply(from, tip).await {
            Ok(Applied::Yes) => {
                sessions.applied(session, tip).await?;
                Ok(None)
            }
            Ok(Applied::No(reason)) => Ok(Some(reason)),
            Err(error) => Ok(Some(error.to_string())),
        }
    }

    /// The state that another session had when this one was forked off it, in the depot.
    pub(crate) async fn state_after(
        &self,
        sessions: &Sessions,
        source: &str,
        message: &str,
    ) -> Result<Option<String>, Error> {
        let entry = sessions.entry_of(source).await;
        let Some(entry) = entry? else {
            return Ok(None);
        };
        let text = self.message(source, None);
        let synced = match entry.may_hold_work() {
            true => {
                self.ask(sessions, source, &entry, &text, Some(message))
                    .await?
            }
            false => None,
        };
        let Some(synced) = synced else {
            // Its sandbox takes the place of one that is gone, and is to begin from there.
            return Ok(entry.home.map(|home| home.commit));
        };
        let head = entry.host_head.as_deref();
        let incoming = self.incoming(sessions, source, synced, head).await;
        let (incoming, _) = incoming.map_err(|not| not.reason)?;
        Ok(Some(incoming.tip))
    }

    /// The message of the commit for what the agent left uncommitted.
    fn message(&self, session: &str, subject: Option<&str>) -> String {
        let known = self.known.find(session);
        let turn = known.and_then(|known| known.turn.borrow().clone());
        let turn = turn.unwrap_or_default();
        let first = subject.unwrap_or(&turn.subject);
        let first: String = first.chars().take(SUBJECT).collect();
        let first = match (first.trim(), subject) {
            ("", _) => "OpenCode: work in the sandbox".to_string(),
            (first, Some(_)) => first.to_string(),
            (first, None) => format!("OpenCode: {first}"),
        };
        let mut message = format!("{first}\n\nSession: {session}\n");
        if !turn.id.is_empty() {
            message.push_str(&format!("Turn: {}\n", turn.id));
        }
        message
    }
}
