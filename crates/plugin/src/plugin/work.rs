//! What becomes of a turn's work: it comes home when the session is idle, when a tool asks for it
//! and when OpenCode ends; and it goes back when the user undoes messages.
//!
//! OpenCode tells of an undo and of a redo by the session alone (1.18.33, November 2026):
//! `session.updated` has `revert` with the first undone message, or has it no more. The latter also
//! happens when the user goes on from there; then the messages are removed first, and nothing is
//! put back. What the sandbox must still follow is in the store, and no tool runs before it did.

use super::call::{failed, never};
use super::{Core, Plugin};
use crate::config::SyncMode;
use crate::error::Error;
use crate::known::{Following, Turn, Undone};
use crate::remote::RemoteError;
use crate::transfer::{NotHome, SyncResult};
use crate::trust;
use crate::wire::*;
use futures::future::join_all;
use host::Level;
use protocol::{Code, Op, Outcome, Request, Restore, RestoreTo, ToolArgs};
use runner_client::Answer;
use serde_json::{Value, json};
use sessions::Undo;
use std::rc::Rc;
use std::sync::Arc;

/// Longest time between two signs of life to a sandbox with background commands.
const AWAKE_MS: u64 = 5 * 60_000;
/// Minutes that a link holds, and at most.
const LINK_MINUTES: (u64, u64) = (60, 1_440);
/// First line of the commit that follows an undo.
const UNDID: &str = "OpenCode: after an undo or redo of messages";
/// Most files that the tool names.
const MAX_NAMED: usize = 50;

impl Plugin {
    /// A user's message begins a turn, or names the one that has begun.
    pub(super) fn turn(&self, root: &str, id: &str, subject: Option<String>) {
        let known = self.known.of(root);
        let mut turn = known.turn.borrow_mut();
        let turn = turn.get_or_insert_default();
        if id > turn.id.as_str() {
            *turn = Turn {
                id: id.into(),
                subject: String::new(),
            };
        }
        if turn.id == id
            && let Some(subject) = subject
        {
            turn.subject = subject;
        }
    }

    /// The turn that a root session is in.
    pub(super) fn turn_of(&self, root: &str) -> Option<String> {
        let known = self.known.find(root)?;
        let id = known.turn.borrow().as_ref().map(|turn| turn.id.clone())?;
        protocol::is_id(&id).then_some(id)
    }

    /// Brings home what a root session may have left, and tells the user.
    pub(super) fn come_home(
        self: &Rc<Self>,
        core: Rc<Core>,
        root: String,
        subject: Option<&'static str>,
    ) {
        let plugin = Rc::clone(self);
        self.host.spawn(Box::pin(async move {
            let jobs = plugin.come_home_now(&core, &root, subject, false).await;
            if jobs.is_some_and(|jobs| jobs > 0) || plugin.has_background(&root) {
                plugin.keep_awake(core, root);
            }
        }));
    }

    /// How many background commands still run there, if that could be asked.
    async fn come_home_now(
        &self,
        core: &Core,
        root: &str,
        subject: Option<&str>,
        force: bool,
    ) -> Option<u32> {
        if core.config.sync == SyncMode::Off {
            return Some(self.jobs_of(core, root).await);
        }
        let brought = core
            .transfer
            .try_to_bring(&core.sessions, root, subject, force);
        match brought.await {
            Ok(brought) => {
                let brought = brought.unwrap_or_default();
                if let Some(known) = self.known.find(root) {
                    known.too_much.take();
                }
                self.tell(&brought);
                Some(brought.jobs)
            }
            Err(not) => {
                let reason = &not.reason;
                self.host.log(
                    Level::Warn,
                    &format!("the work of session {root} is not home yet: {reason}"),
                );
                if core.sessions.is_lost() {
                    // The user knows, and it is tried again when something answers.
                    self.known.of(root).waits_for_service.set(true);
                } else if self.tell_not_home(root, &not) && not.too_much.is_some() {
                    let text = format!("The work of this session cannot come home: {reason}");
                    let known = self.known.of(root);
                    let mut remark = known.remark.borrow_mut();
                    if !remark.is_empty() {
                        remark.push('\n');
                    }
                    remark.push_str(&trust::text(text));
                }
                not.too_much.map(|(_, jobs)| jobs)
            }
        }
    }

    /// Tells the user why work is not home; false if they know it of just this state.
    fn tell_not_home(&self, root: &str, not: &NotHome) -> bool {
        if let Some((state, _)) = &not.too_much {
            let known = self.known.of(root).too_much.replace(Some(state.clone()));
            if known.as_ref() == Some(state) {
                return false;
            }
        }
        let reason = &not.reason;
        self.toast(
            "Work not home yet",
            &format!("It is safe in the sandbox, and the next turn or start tries again. {reason}"),
            "warning",
        );
        true
    }

    /// Tells the user what came home.
    pub(super) fn tell(&self, brought: &SyncResult) {
        let Some(summary) = brought.summary() else {
            return;
        };
        self.host.log(Level::Info, &format!("came home: {summary}"));
        let is_odd = brought.not_applied.is_some()
            || !(brought.left_out.is_empty() && brought.notes.is_empty())
            || !brought.odd.is_empty()
            || (brought.landed.as_ref()).is_some_and(|landed| landed.beside.is_some());
        let variant = if is_odd { "warning" } else { "success" };
        self.toast("Work came home", &summary, variant);
    }

    /// How many background commands run, where nothing comes home. The sandbox commits its state for
    /// this, as it does whenever it is asked, and the commit stays there.
    async fn jobs_of(&self, core: &Core, root: &str) -> u32 {
        if !self.has_background(root) {
            return 0;
        }
        let sync = protocol::SyncRequest {
            root: core.paths.root().into(),
            message: "OpenCode: work in the sandbox\n".into(),
            have: None,
            max_bytes: None,
            after: None,
        };
        let request = Request::new(core.remote.id(), Op::Sync(sync));
        match (core.remote)
            .call_existing(&core.sessions, root, &request)
            .await
        {
            Ok(answer) => match answer.result {
                Ok(Outcome::Synced(synced)) => synced.jobs,
                _ => 0,
            },
            Err(_) => 0,
        }
    }

    /// As long as background commands run, the sandbox hears of us, and what they made comes home.
    fn keep_awake(self: &Rc<Self>, core: Rc<Core>, root: String) {
        if self.known.of(&root).is_kept_awake.replace(true) {
            return;
        }
        let stop = core.config.template.auto_stop_interval.unwrap_or(15);
        let pause = match stop {
            0 => AWAKE_MS,
            minutes => (minutes as u64 * 60_000 / 3).clamp(1_000, AWAKE_MS),
        };
        let plugin = Rc::downgrade(self);
        let host = Arc::clone(&self.host);
        self.host.spawn(Box::pin(async move {
            loop {
                host.sleep(pause).await;
                let Some(plugin) = plugin.upgrade().filter(|plugin| !plugin.disposed.get()) else {
                    return;
                };
                let jobs = plugin.come_home_now(&core, &root, None, true).await;
                if jobs == Some(0) || (jobs.is_none() && !core.sessions.is_lost()) {
                    if let Some(known) = plugin.known.find(&root) {
                        known.is_kept_awake.set(false);
                        known.has_background.set(false);
                    }
                    return;
                }
            }
        }));
    }

    fn has_background(&self, root: &str) -> bool {
        (self.known.find(root)).is_some_and(|known| known.has_background.get())
    }

    /// Daytona can be reached again: what could not come home meanwhile does.
    pub(super) fn reached(self: &Rc<Self>) {
        if let Ok(core) = self.core() {
            for (root, known) in self.known.all() {
                if known.waits_for_service.take() {
                    self.come_home(Rc::clone(&core), root, None);
                }
            }
        }
    }

    /// Brings everything home that this process knows of.
    pub(super) async fn all_home(&self, core: &Core) {
        if core.config.sync == SyncMode::Off {
            return;
        }
        let all = core.sessions.unsynced();
        let all = all.iter().map(async |root| {
            let brought = core.transfer.bring(&core.sessions, root, None, false).await;
            if let Err(reason) = brought {
                let message = format!("the work of session {root} is not home yet: {reason}");
                self.host.log(Level::Warn, &message);
            }
        });
        join_all(all).await;
    }

    /// The tool `sync`.
    pub(super) async fn sync_tool(
        &self,
        core: &Core,
        session: &str,
        args: protocol::args::Sync,
    ) -> Executed {
        if core.config.sync == SyncMode::Off {
            return failed(
                "The user keeps the work in the sandbox (option `sync` is off), so nothing is brought home.".into(),
            );
        }
        let root = match self.root(session).await {
            Ok(root) => root,
            Err(reason) => return failed(reason),
        };
        if let Err(reason) = self.set_up(core, &root).await {
            return failed(format!("The work could not be brought home: {reason}"));
        }
        if let Err(reason) = self.settle(core, &root).await {
            return failed(reason.to_string());
        }
        let subject = args.message.as_deref();
        let carry = &core.transfer;
        let brought = carry.try_to_bring(&core.sessions, &root, subject, true);
        let brought = match brought.await {
            Ok(Some(brought)) => brought,
            Ok(None) => SyncResult::default(),
            Err(not) => {
                if not.too_much.is_some() {
                    self.tell_not_home(&root, &not);
                }
                let reason = not.reason;
                return failed(format!("The work could not be brought home: {reason}"));
            }
        };
        self.tell(&brought);
        report(&brought)
    }

    /// Waits for the end of the set-up of a sandbox that the session has.
    async fn set_up(&self, core: &Core, root: &str) -> Result<(), Error> {
        let entry = core.sessions.entry_of(root).await;
        let entry = entry?;
        if entry.is_none_or(|entry| entry.ready == Some(true)) {
            return Ok(());
        }
        let ready = core.sessions.ensure(root).await;
        ready
            .map(drop)
            .map_err(|error| RemoteError::Target(error).into())
    }

    /// The tool `preview`: a link, once something listens.
    pub(super) async fn preview_tool(
        &self,
        core: &Core,
        session: &str,
        args: protocol::args::Preview,
    ) -> Executed {
        let (port, minutes) = (args.port, args.minutes.unwrap_or(LINK_MINUTES.0));
        let minutes = minutes.clamp(1, LINK_MINUTES.1);
        let call = ToolArgs::Preview(args);
        let mut quiet = |_: &str| {};
        let listens = self.work(core, session, call, never(), None, &mut quiet);
        let listening = match listens.await {
            Executed::Done(listening) => listening,
            refused => return refused,
        };
        let link = async {
            let root = self.root(session).await?;
            let toolbox = core.sessions.existing(&root).await?;
            let toolbox = toolbox.ok_or("the session has no sandbox")?;
            let service = core.remote.service();
            let link = service.signed_preview_url(&toolbox.id, port, minutes * 60);
            Ok::<_, Error>(link.await?)
        };
        match link.await {
            Ok(link) => {
                let url = link.url;
                // The same link may have been given before.
                self.secrets.forget_link(&url);
                self.toast("Preview", &format!("Port {port}: {url}"), "info");
                let text = format!(
                    "{url}\nis a link to port {port} of the sandbox. It works in the user's browser for {minutes} minutes. Hand it to the user as it is."
                );
                let metadata = json!({ "url": url, "port": port, "minutes": minutes });
                Executed::Done(Done {
                    title: listening.title,
                    output: text,
                    metadata,
                    attachments: Vec::new(),
                    link: Some(url),
                })
            }
            Err(reason) => failed(format!("There is no link to port {port}: {reason}")),
        }
    }

    /// Something of a session changed: did the user undo or redo?
    pub(super) fn updated(self: &Rc<Self>, core: Rc<Core>, session: String, info: &Value) {
        if info["parentID"].is_string() {
            return;
        }
        let to = info.pointer("/revert/messageID").and_then(Value::as_str);
        let to = to.map(str::to_string);
        // The turn in progress is told apart from a redo before anything waits.
        let known = self.known.of(&session);
        let goes_on = to.is_none() && known.is_removing.take();
        known.undo.news.borrow_mut().push_back((to, goes_on));
        let plugin = Rc::clone(self);
        self.host.spawn(Box::pin(async move {
            let following = &known.undo;
            let mut slot = following.known.lock().await;
            let heard = plugin.hear(&core, &session, following, &mut slot).await;
            drop(slot);
            match heard {
                Ok(true) if core.config.sync != SyncMode::Off => {
                    plugin.come_home(core, session, Some(UNDID));
                }
                Ok(_) => {}
                Err(reason) => {
                    let reason = reason.to_string();
                    plugin.host.log(Level::Warn, &reason);
                    plugin.toast("Files not put back yet", &reason, "warning");
                }
            }
        }));
    }

    /// A message of a session is removed.
    pub(super) fn removed(&self, session: String) {
        self.known.of(&session).is_removing.set(true);
    }

    /// What the store has, asked once.
    async fn known_undo(
        &self,
        core: &Core,
        root: &str,
        slot: &mut Option<Undone>,
    ) -> Result<Option<Undo>, Error> {
        if slot.is_none() {
            let entry = core.sessions.entry_of(root).await;
            let entry = entry?;
            *slot = Some(Undone(entry.and_then(|entry| entry.undo)));
        }
        Ok(slot.clone().and_then(|undone| undone.0))
    }

    /// Makes sure that the files are as the user's last undo or redo wants them.
    pub(super) async fn settle(&self, core: &Core, root: &str) -> Result<(), Error> {
        let session = self.known.of(root);
        let mut known = session.undo.known.lock().await;
        self.hear(core, root, &session.undo, &mut known).await?;
        self.known_undo(core, root, &mut known).await?;
        self.follow(core, root, &mut known).await
    }

    /// Follows all that OpenCode has told, in its order. True if the files may be others now.
    async fn hear(
        &self,
        core: &Core,
        root: &str,
        following: &Following,
        known: &mut Option<Undone>,
    ) -> Result<bool, Error> {
        let mut followed = false;
        loop {
            let news = following.news.borrow_mut().pop_front();
            let Some((to, goes_on)) = news else {
                return Ok(followed);
            };
            followed |= self.undone(core, root, to, goes_on, known).await?;
        }
    }

    async fn undone(
        &self,
        core: &Core,
        root: &str,
        to: Option<String>,
        goes_on: bool,
        known: &mut Option<Undone>,
    ) -> Result<bool, Error> {
        let before = self.known_undo(core, root, known).await?;
        let was_to = before.as_ref().and_then(|undo| undo.to.clone());
        if to == was_to {
            return Ok(false);
        }
        let pending = before.filter(|undo| undo.pending);
        let never_followed = pending.as_ref().is_some_and(|undo| undo.first);
        let undo = match to {
            Some(to) => Some(Undo {
                to: Some(to),
                first: was_to.is_none() || never_followed,
                pending: true,
                ..Undo::default()
            }),
            // What the sandbox has not followed it still must.
            None if goes_on => pending.map(|undo| Undo { over: true, ..undo }),
            None if never_followed => None,
            None => Some(Undo {
                pending: true,
                ..Undo::default()
            }),
        };
        let written = core.sessions.undo(root, undo.clone()).await;
        written?;
        *known = Some(Undone(undo));
        self.follow(core, root, known).await?;
        Ok(true)
    }

    async fn follow(
        &self,
        core: &Core,
        root: &str,
        slot: &mut Option<Undone>,
    ) -> Result<(), Error> {
        let Some(Undone(Some(undo))) = slot
            .as_ref()
            .filter(|undone| (undone.0.as_ref()).is_some_and(|undo| undo.pending))
        else {
            return Ok(());
        };
        let restore = Restore {
            root: core.paths.root().into(),
            to: match &undo.to {
                Some(turn) => RestoreTo::Before {
                    turn: turn.clone(),
                    first: undo.first,
                },
                None => RestoreTo::Latest,
            },
            cwd: Some(core.paths.cwd().into()),
        };
        let settled = (undo.to.is_some() && !undo.over).then(|| Undo {
            pending: false,
            ..undo.clone()
        });
        let request = Request::new(core.remote.id(), Op::Restore(restore));
        let answer = core
            .remote
            .call_existing(&core.sessions, root, &request)
            .await;
        let result = match answer {
            Ok(Answer {
                result: Err(error), ..
            }) if error.code != Code::NotSetUp => Err(trust::sentence(&error.message)),
            Ok(Answer {
                result: Ok(restored),
                ..
            }) => Ok(restored),
            // There is nothing to put back.
            Ok(_) | Err(RemoteError::Target(sessions::Error::Gone(_))) => {
                Ok(Outcome::Restored(protocol::Restored { changed: false }))
            }
            Err(error) => Err(error.to_string()),
        };
        result.map_err(|reason| {
            format!("The files could not be put back to where the messages were undone: {reason}")
        })?;
        let written = core.sessions.undo(root, settled.clone()).await;
        written?;
        *slot = Some(Undone(settled));
        Ok(())
    }
}

/// What the tool `sync` says of what came home.
fn report(brought: &SyncResult) -> Executed {
    if !brought.left_out.is_empty() {
        return failed(format!(
            "Not all of the work could be brought home. Left in the sandbox: {}. Make these files readable, or delete or ignore them, and call sync again.",
            brought.left_out.join("; ")
        ));
    }
    let own = (brought.home.as_ref()).map(|home| (home.branch.as_str(), home.commit.as_str()));
    let landed = brought.landed.as_ref();
    let arrived = landed.map(|landed| (landed.branch.as_str(), landed.commit.as_str()));
    let Some((branch, commit)) = arrived.or(own) else {
        return done(
            "nothing to bring home",
            "Nothing was changed in this session, so there is no branch.".into(),
            json!({ "files": [] }),
        );
    };
    let mut text =
        format!("The work is in the user's repository: branch {branch}, commit {commit}.");
    let files = (brought.landed.as_ref()).map_or(&[][..], |landed| &landed.files);
    match files.len() {
        0 => text.push_str("\nNothing new since it came home last."),
        count => {
            text.push_str(&format!("\n{count} changed since it came home last:"));
            for file in files.iter().take(MAX_NAMED) {
                text.push_str(&format!("\n{file}"));
            }
            if count > MAX_NAMED {
                text.push_str(&format!("\n(and {} more)", count - MAX_NAMED));
            }
        }
    }
    if let Some(landed) = &brought.landed {
        if let Some(why) = &landed.beside {
            text.push_str(&format!(
                "\nIt is not the session's own branch, because {why}."
            ));
        }
        if !landed.others.is_empty() {
            text.push_str(&format!(
                "\nFurther branches: {}.",
                landed.others.join(", ")
            ));
        }
    }
    if let Some(take) = brought.take.as_ref().filter(|_| !files.is_empty()) {
        text.push_str(&format!(
            "\nThe user puts it into the working tree with: {take}"
        ));
    }
    if let Some(reason) = &brought.not_applied {
        text.push_str(&format!(
            "\nIt is not in the user's working tree: {reason}."
        ));
    }
    for note in &brought.notes {
        text.push_str(&format!("\nNote: {note}."));
    }
    if brought.jobs > 0 {
        text.push_str("\nBackground commands still run: what they write from now on is not in it.");
    }
    let metadata = json!({ "branch": branch, "commit": commit, "files": files });
    done(branch, trust::text(text), metadata)
}

fn done(title: &str, output: String, metadata: Value) -> Executed {
    Executed::Done(Done {
        title: title.into(),
        output,
        metadata,
        attachments: Vec::new(),
        link: None,
    })
}
