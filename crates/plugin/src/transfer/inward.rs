//! Makes a fresh sandbox useful: the runner and the project go up in one request, a second one
//! unpacks both. What it starts from is the worktree as it is; for a fork, the state of the other
//! session; for a sandbox that takes a lost one's place, what came home last.

use super::progress::Arrived;
use super::size::{Size, grouped};
use super::{Transfer, fork};
use crate::dotenv;
use crate::error::Error;
use crate::known::Ready;
use crate::remote::RemoteError;
use crate::trust;
use crate::wire::Toast;
use async_trait::async_trait;
use daytona::{Sandbox, Upload, UploadSource};
use futures::StreamExt;
use futures::channel::mpsc::unbounded;
use futures::future::{Either, select};
use git_bridge::{Packed, Start, Step};
use host::Level;
use protocol::{
    Base, Code, Identity, Op, Outcome, Request, Setup, ToolError, UnderWay, Upstream, Whole,
};
use sessions::{Carrier, Fresh, Origin, Prepared, Sessions};
use std::cell::Cell;
use std::pin::pin;

/// Most repositories in the project that are named.
const MAX_TOLD: usize = 10;
/// A project that needs less room is put into every sandbox without a look at its disk.
const LARGE: u64 = 500_000_000;

impl Transfer {
    /// True if there are commits in the project directory of somebody else's sandbox. If not, it is
    /// now at least a repository.
    async fn holds_work(&self, sessions: &Sessions, fresh: &Fresh<'_>) -> Result<bool, Error> {
        let setup = Setup {
            root: self.root.clone(),
            base: None,
            probe: true,
            cwd: None,
            identity: None,
            hooks: None,
        };
        let request = Request::new(self.remote.id(), Op::Setup(setup));
        let target = sessions.sandbox(fresh.session, false, false);
        let reply = self
            .remote
            .install_first(&target, fresh.toolbox, Vec::new(), &request)
            .await;
        match reply?.result {
            Ok(Outcome::Ready(ready)) => Ok(ready.head.is_some()),
            Ok(_) => Err(Error::Answer),
            Err(error) => Err(trust::sentence(&error.message).into()),
        }
    }
}

impl Transfer {
    /// Files that stay on the host: no key of ours may reach a sandbox.
    async fn keep_out(&self) -> Vec<String> {
        let path = format!("{}/{}", self.worktree, dotenv::NAME);
        let entries = dotenv::parse(&self.host.read_file(&path).await.unwrap_or_default());
        let key = dotenv::value(&entries, "DAYTONA_API_KEY").unwrap_or_default();
        if key.trim().is_empty() {
            return Vec::new();
        }
        self.host.log(
            Level::Info,
            &format!("{path} holds the API key of Daytona, so it is not brought into the sandbox"),
        );
        vec![dotenv::NAME.into()]
    }
}

/// What goes into the sandbox beside the branch.
fn beside(packed: &Packed) -> Base {
    let refs = packed.refs.refs.iter();
    let upstream = packed.refs.upstream.as_ref();
    let sides = packed.under_way.unmerged.iter();
    let sides: Vec<_> = sides
        .map(|side| {
            let (mode, blob) = (side.mode.clone(), side.blob.clone());
            (mode, blob, side.stage, side.path.clone())
        })
        .collect();
    let marks = packed.under_way.marks.clone();
    let is_under_way = !(marks.is_empty() && sides.is_empty());
    Base {
        refs: refs
            .map(|found| (found.name.clone(), found.object.clone()))
            .collect(),
        default: packed.refs.default.clone(),
        upstream: upstream.map(|upstream| Upstream {
            remote: upstream.remote.clone(),
            merge: upstream.merge.clone(),
            tracking: upstream.tracking.clone(),
        }),
        under_way: is_under_way.then(|| UnderWay {
            marks,
            sides,
            blobs: packed.under_way.blobs.clone(),
        }),
        ..Base::default()
    }
}

impl Transfer {
    /// Notes what the model is told with its first result.
    fn remark(&self, session: &str, packed: &Packed) {
        let mut said: Vec<String> = packed.under_way.says.iter().cloned().collect();
        if !packed.nested.is_empty() {
            let named: Vec<&str> = packed
                .nested
                .iter()
                .take(MAX_TOLD)
                .map(|path| &**path)
                .collect();
            said.push(format!(
                "These directories are repositories of their own on the user's machine, and their files are not in the sandbox: {}.",
                named.join(", ")
            ));
        }
        if !said.is_empty() {
            let said = trust::text(said.join("\n"));
            self.known.of(session).remark.replace(said);
        }
    }
}

impl Transfer {
    /// A commit of the depot to start from instead of the worktree.
    async fn origin(&self, sessions: &Sessions, session: &str) -> Result<Option<String>, Error> {
        let last = self.project.last(session).await;
        if let Some(last) = last? {
            return Ok(Some(last));
        }
        let known = sessions.known().await?;
        let source = match fork::source(&*self.opencode, session, &known).await {
            Ok(Some(source)) => source,
            Ok(None) => return Ok(None),
            Err(reason) => {
                let message = format!("cannot tell whether session {session} is a fork: {reason}");
                self.host.log(Level::Warn, &message);
                return Ok(None);
            }
        };
        let state = self.state_after(sessions, &source.session, &source.message);
        state.await.map_err(|reason| {
            Error::Because(format!(
                "This session is a fork of {}, and its state cannot be had: {reason}",
                source.session
            ))
        })
    }

    /// Tells the user, once, which files and which history stay here for what they hold.
    fn tell_what_stays(&self, packed: &Packed) {
        let files = packed.held_back.iter().map(|path| {
            format!(
                "{path} holds a key or password of yours, so it is not brought into the sandbox."
            )
        });
        let history = packed.tainted.as_ref().map(|place| {
            format!("The history is not brought into the sandbox, because {place} holds a key or password of yours. Replace the key at Daytona, and the history goes along again.")
        });
        let too_long = packed.too_long.map(|size| {
            format!(
                "The history is not brought into the sandbox, because the project has {} MB with it, and at most {} MB are carried. Raise the option `carry.maxMegabytes`, or lower `history`.",
                size / 1_000_000,
                self.project.limit() / 1_000_000
            )
        });
        let nested = packed.nested.iter().map(|path| {
            format!("{path} is a repository of its own, so its files are not brought into the sandbox. Make it a submodule, or open OpenCode in it.")
        });
        let hidden = packed.hidden.iter().map(|path| {
            format!("{path} has edits that git is told not to see, so the sandbox has it as it was committed. `git update-index --no-skip-worktree --no-assume-unchanged` with its name takes them along.")
        });
        let left = packed.left.iter().map(|path| {
            format!("git does not take {path}, so it is not brought into the sandbox. Make it readable, or give it another name.")
        });
        let more = nested.take(MAX_TOLD).chain(left.take(MAX_TOLD));
        let more = more.chain(hidden.take(MAX_TOLD));
        for message in files.chain(history).chain(too_long).chain(more) {
            self.tell_once("Stays on this machine", message);
        }
    }

    fn tell_once(&self, title: &str, message: String) {
        if self.told.borrow_mut().insert(message.clone()) {
            self.host.log(Level::Warn, &message);
            self.opencode.toast(Toast {
                title: title.into(),
                message,
                variant: "warning".into(),
            });
        }
    }

    /// Shows how far packing is.
    fn show(&self, session: &str, step: Step) {
        match step {
            Step::Sized { files, packed } => {
                let size = Size { files, packed };
                self.steps.measured(session, Some(size), None);
            }
            Step::Searching { done, of } => {
                let (done, of) = (grouped(done / 1_000_000), grouped(of / 1_000_000));
                let how_far = format!(": {done} of {of} MB");
                self.steps
                    .say(session, "Looking for keys in the project", &how_far);
            }
            Step::Packing { done, of } => {
                let how_far = format!(": {} of {} objects", grouped(done), grouped(of));
                self.steps.say(session, "Packing the project", &how_far);
            }
        }
    }

    async fn pack(&self, session: &str, start: &Start) -> Result<Option<Packed>, Error> {
        let (tell, heard) = unbounded();
        let shown = heard.for_each(async |step| self.show(session, step));
        let packing = pin!(self.project.pack_telling(session, start, tell));
        let packed = match select(packing, pin!(shown)).await {
            Either::Left((packed, _)) => packed,
            Either::Right(((), packing)) => packing.await,
        };
        match packed {
            Ok(packed) => {
                self.tell_what_stays(&packed);
                Ok(Some(packed))
            }
            // The sandbox is empty then.
            Err(error @ git_bridge::Error::NotAProject { .. }) => {
                self.tell_once("Stays on this machine", error.to_string());
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Packs what the session's sandbox starts from.
    async fn get_ready(
        &self,
        sessions: &Sessions,
        session: &str,
        known: Vec<String>,
    ) -> Result<Ready, Error> {
        let start = Start {
            history: self.history,
            keep_out: self.keep_out().await,
            paths: self.paths.clone(),
            from: self.origin(sessions, session).await?,
            known,
            secrets: self.secrets.values(),
            identity: self.identity,
        };
        let packed = self.pack(session, &start).await?;
        if let Some(packed) = &packed {
            self.measure(sessions, session, packed).await;
        }
        Ok(Ready { start, packed })
    }

    /// Sends what was packed; an error of the runner comes as it is.
    async fn send(
        &self,
        sessions: &Sessions,
        fresh: &Fresh<'_>,
        packed: Option<&Packed>,
    ) -> Result<Result<Outcome, ToolError>, Error> {
        let (mut large, mut files) = (Vec::new(), Vec::new());
        let base = packed.map(|packed| {
            let mut parts = |file: &String, size| {
                let parts = self.remote.parts(file, size);
                let names = parts.iter().map(|part| part.path.clone()).collect();
                match parts.len() {
                    1 => files.extend(parts),
                    _ => large.extend(parts),
                }
                names
            };
            let (mut whole, mut pack) = (None, Vec::new());
            for file in &packed.packs {
                let named = parts(&file.path, file.size);
                match &file.index {
                    None => pack = named,
                    Some(_) => {
                        whole = Some(Whole {
                            parts: named,
                            index: String::new(),
                            size: file.size,
                        });
                    }
                }
            }
            let mut upload = |name: &str, file: &String| {
                let path = format!("/tmp/.opencode-upload-{}-{name}", self.remote.id());
                files.push(Upload {
                    path: path.clone(),
                    source: UploadSource::File(file.clone()),
                });
                path
            };
            let index = packed.packs.iter().find_map(|file| file.index.as_ref());
            if let (Some(whole), Some(index)) = (&mut whole, index) {
                whole.index = upload("index", index);
            }
            Base {
                whole,
                pack,
                exclude: packed.exclude.as_ref().map(|file| upload("exclude", file)),
                commit: packed.commit.clone(),
                branch: packed.branch.clone(),
                partial: packed.is_partial,
                shallow: packed.shallow.clone(),
                lfs: packed.lfs.clone(),
                ..beside(packed)
            }
        });
        let agents = packed
            .map(|packed| packed.agents.clone())
            .unwrap_or_default();
        let identity = agents
            .identity
            .map(|(name, email)| Identity { name, email });
        let setup = Setup {
            root: self.root.clone(),
            base: base.map(Box::new),
            probe: false,
            cwd: Some(self.cwd.clone()),
            identity,
            hooks: agents.hooks,
        };
        let request = Request::new(self.remote.id(), Op::Setup(setup));
        let sent = async {
            let size = packed.map_or(0, Packed::size);
            let arrived = Arrived {
                steps: &self.steps,
                session: fresh.session,
                done: Cell::new(0),
                of: size,
            };
            arrived.more(0);
            let part = &|bytes| arrived.more(bytes);
            let remote = &self.remote;
            let target = sessions.sandbox(fresh.session, false, false);
            remote
                .upload_parts(&target, fresh.toolbox, large, part)
                .await?;
            if let Some(packed) = packed {
                let files = grouped(packed.files.0 as u64);
                let how_far = format!(" {files} files in the sandbox");
                self.steps.say(fresh.session, "Unpacking", &how_far);
            }
            remote
                .install_first(&target, fresh.toolbox, files, &request)
                .await
        };
        match sent.await {
            Ok(reply) => Ok(reply.result),
            Err(error @ (RemoteError::Daytona(_) | RemoteError::Running(_))) => {
                let why = format!("The project could not be brought into the sandbox. {error}");
                // The daemon's words decide nothing here; they tell what would help.
                let is_full = why.to_lowercase().contains("no space left");
                let help = ". Its disk is full: use a snapshot or an image with more room";
                Err((why + if is_full { help } else { "" }).into())
            }
            // Whoever asked for the sandbox says that it cannot be used.
            Err(RemoteError::Target(error)) => Err(error.into()),
            Err(error) => Err(error.into()),
        }
    }
}

#[async_trait(?Send)]
impl Carrier for Transfer {
    async fn make_ready(&self, sessions: &Sessions, session: &str, known: Vec<String>) {
        self.give_up(session).await;
        self.steps.begin(session);
        let ready = self.get_ready(sessions, session, known);
        let ready = self.steps.until_stopped(session, ready).await;
        self.project.abandon(session).await;
        // If it fails, it fails again in `prepare`, which says so.
        if let Ok(ready) = ready {
            self.known.of(session).ready.replace(Some(ready));
            self.steps.say(session, "Creating the sandbox", "");
        }
    }

    fn created(&self, session: &str, sandbox: &Sandbox) {
        self.steps.measured(session, None, sandbox.disk);
    }

    async fn give_up(&self, session: &str) {
        self.steps.end(session);
        let ready = self.known.of(session).ready.take();
        if let Some(packed) = ready.and_then(|ready| ready.packed) {
            packed.discard(&*self.host).await;
        }
    }

    async fn is_deleted(&self, session: &str) -> bool {
        matches!(self.opencode.has(session).await, Ok(false))
    }

    async fn prepare(&self, sessions: &Sessions, fresh: Fresh<'_>) -> Result<Prepared, String> {
        self.steps.begin(fresh.session);
        let prepared = self.prepare_now(sessions, &fresh).await;
        self.steps.end(fresh.session);
        if prepared.is_err() {
            self.give_up(fresh.session).await;
        }
        prepared.map_err(|error| error.to_string())
    }

    async fn bring_home(&self, sessions: &Sessions, session: &str) -> Result<(), String> {
        let brought = self.bring(sessions, session, None, false).await;
        if let Some(brought) = brought.map_err(|error| error.to_string())? {
            (self.tell)(&brought);
            if !brought.left_out.is_empty() {
                return Err(format!(
                    "some files cannot be committed ({})",
                    brought.left_out.join("; ")
                ));
            }
        }
        Ok(())
    }

    async fn forget(&self, session: &str) {
        self.project.forget(session).await;
    }

    async fn origin_of(&self, worktree: &str, is_known: bool) -> Origin {
        let depot = git_bridge::depot_path(&self.store, worktree, true);
        match self.project.origin_of(worktree, &depot, is_known).await {
            git_bridge::Origin::Here => Origin::Here,
            git_bridge::Origin::Elsewhere => Origin::Elsewhere,
            git_bridge::Origin::Gone => Origin::Gone,
        }
    }

    async fn take_over(&self, worktree: &str) -> Result<(), String> {
        let depot = git_bridge::depot_path(&self.store, worktree, true);
        let taken = self.project.take_over(&depot).await;
        taken.map_err(|error| error.to_string())
    }
}

impl Transfer {
    /// Refuses a project for which the sandbox has no room.
    async fn has_room(&self, fresh: &Fresh<'_>, packed: &Packed) -> Result<(), Error> {
        let size = Size {
            files: packed.files,
            packed: packed.size(),
        };
        if size.room() < LARGE {
            return Ok(());
        }
        let sandbox = self.remote.service().get(&fresh.toolbox.id).await;
        let disk = sandbox.ok().and_then(|sandbox| sandbox.disk);
        match size.lacks_room(disk) {
            Some(why) => Err(why.into()),
            None => Ok(()),
        }
    }

    async fn prepare_now(&self, sessions: &Sessions, fresh: &Fresh<'_>) -> Result<Prepared, Error> {
        self.steps.go_on(fresh.session)?;
        if fresh.foreign && self.holds_work(sessions, fresh).await? {
            return Ok(Prepared::default());
        }
        let ready = self.known.of(fresh.session).ready.take();
        let Ready {
            mut start,
            mut packed,
        } = match ready {
            Some(ready) => ready,
            None => {
                let ready = self.get_ready(sessions, fresh.session, fresh.known.clone());
                let ready = self.steps.until_stopped(fresh.session, ready).await;
                self.project.abandon(fresh.session).await;
                ready?
            }
        };
        loop {
            let sent = async {
                if let Some(packed) = &packed {
                    self.has_room(fresh, packed).await?;
                }
                self.send(sessions, fresh, packed.as_ref()).await
            };
            let result = self.steps.until_stopped(fresh.session, sent).await;
            let mut prepared = Prepared::default();
            if let Some(packed) = packed.take() {
                prepared.base_commit = Some(packed.commit.clone());
                prepared.host_head = packed.host_head.clone();
                if result.as_ref().is_ok_and(|outcome| outcome.is_ok()) {
                    self.remark(fresh.session, &packed);
                }
                packed.discard(&*self.host).await;
            }
            return match result? {
                Ok(Outcome::Ready(ready)) => {
                    prepared.found = Some(ready.found);
                    Ok(prepared)
                }
                Ok(_) => Err(Error::Answer),
                // The snapshot is not what it was.
                Err(error) if error.code == Code::MissingBase && !start.known.is_empty() => {
                    start.known.clear();
                    packed = self.pack(fresh.session, &start).await?;
                    continue;
                }
                // An earlier preparation got this far, and was not written down: work may be there.
                Err(error) if error.code == Code::HoldsWork => {
                    let base = error
                        .metadata
                        .and_then(|data| Some(data["base"].as_str()?.into()));
                    Ok(Prepared {
                        base_commit: base.filter(|base: &String| git_bridge::is_hash(base)),
                        ..Prepared::default()
                    })
                }
                Err(error) => Err(trust::sentence(&error.message).into()),
            };
        }
    }
}
