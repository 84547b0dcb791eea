//! `opencode-daytona-sandbox snapshot …`: makes a snapshot of a sandbox that the project was carried
//! into, as a session's would be, and remembers it in the project's store.
//!
//! Nothing is made that is not written down before: the sandbox as one that no tool ever used, the
//! snapshot with that sandbox. A run that dies anywhere leaves both to the next one, and the sandbox to
//! the next start of OpenCode as well.

mod arguments;
mod inside;
mod terminal;

use super::call::Cancel;
use super::{Core, Plugin};
use crate::doctor::{self, HELP};
use crate::error::Error;
use crate::transfer::prepared;
use crate::wire::{Cli, CliDone, Init, Progress};
use arguments::{Command, Create};
use daytona::{Snapshot, Usable};
use futures::future::{Either, select};
use host::Level;
use sessions::PreparedSnapshot;
use std::cell::RefCell;
use std::pin::pin;
use std::rc::Rc;
use terminal::Terminal;

/// How long the service may take to make a snapshot.
const SNAPSHOT_SECONDS: u64 = 60 * 60;
/// How long a sandbox that cannot be deleted yet is waited for.
const DELETE_MS: u64 = 60_000;
const DELETE_AGAIN_MS: u64 = 2_000;
/// Characters of a commit's hash that are shown.
const SHORT: usize = 10;
/// Exit code of a run that was interrupted.
const INTERRUPTED: i32 = 130;

/// Why nothing was made.
enum Failure {
    Because(Error),
    Interrupted,
}

impl<T: Into<Error>> From<T> for Failure {
    fn from(reason: T) -> Self {
        Failure::Because(reason.into())
    }
}

/// What was made.
struct Made {
    prepared: PreparedSnapshot,
    snapshot: Snapshot,
    /// The sandbox that it was made of.
    sandbox: String,
    /// Bytes of the project's directory in it, as far as they could be counted.
    bytes: Option<u64>,
}

impl Plugin {
    /// Runs `snapshot …`, without an OpenCode.
    pub(super) async fn snapshot(self: &Rc<Self>, cli: &Cli, cancel: Cancel) -> CliDone {
        let args: Vec<&str> = cli.args.iter().skip(1).map(String::as_str).collect();
        let done = |output: String, exit| CliDone { output, exit };
        let command = match arguments::parse(&args) {
            Ok(command) => command,
            Err(why) => return done(format!("{why}\n\n{HELP}"), 2),
        };
        let (plugin, core) = match self.without_opencode(&cli.directory).await {
            Ok(opened) => opened,
            Err(why) => return done(format!("{why}\n"), 1),
        };
        let result = match command {
            Command::Create(create) => plugin.create(&core, &create, cancel).await,
            Command::List => plugin.list(&core).await,
            Command::Forget => plugin.forget(&core).await,
        };
        match result {
            Ok(said) => done(plugin.fit_to_read(&said), 0),
            Err(Failure::Because(why)) => {
                done(format!("{}\n", plugin.fit_to_read(&why.to_string())), 1)
            }
            Err(Failure::Interrupted) => interrupted(),
        }
    }

    /// The plugin as OpenCode would start it in a directory.
    async fn without_opencode(&self, directory: &str) -> Result<(Rc<Plugin>, Rc<Core>), Error> {
        let options = doctor::options(
            self.host.clone(),
            &self.secrets,
            &self.init.assets,
            directory,
        );
        let options = options.await?;
        let project_id = git_bridge::project_id(&*self.host, directory).await;
        let init = Init {
            directory: directory.into(),
            // It is looked for.
            worktree: String::new(),
            project_id: project_id?,
            options,
            ..self.init.clone()
        };
        let terminal = Terminal(Rc::clone(&self.opencode));
        let plugin = Plugin::new(self.host.clone(), Rc::new(terminal), init);
        if let Some(reason) = plugin.old_git().await {
            return Err(reason.into());
        }
        let core = Rc::new(plugin.load().await?);
        core.sessions.build_snapshots();
        Ok((plugin, core))
    }

    /// Shows a line.
    fn say(&self, line: &str) {
        self.print(&format!("{line}\n"));
    }

    fn print(&self, text: &str) {
        let (title, output) = (String::new(), Some(text.into()));
        self.opencode.progress(0, &Progress { title, output });
    }

    async fn create(
        &self,
        core: &Core,
        create: &Create,
        cancel: Cancel,
    ) -> Result<String, Failure> {
        let worktree = core.paths.host();
        let is_repository = core.transfer.project.is_repository();
        if git_bridge::is_no_project(&*self.host, worktree, is_repository) {
            let worktree = worktree.into();
            return Err(git_bridge::Error::NotAProject { worktree }
                .to_string()
                .into());
        }
        if let Some(command) = &create.run
            && self.fit_to_read(command) != *command
        {
            return Err("The command holds a key or password of yours, and none may get into a sandbox or a snapshot. Give what it needs in another way."
                .to_string()
                .into());
        }
        self.clear(core, create).await?;
        let random = self.host.random() as u32;
        let session = format!("snapshot-{}-{random:08x}", create.name);
        let made = self.make(core, create, &session, cancel).await;
        let remembered = match made {
            Ok(made) => {
                let brings = [Some(made.prepared.commit.clone())];
                let brings = brings.into_iter().chain([made.prepared.host_head.clone()]);
                let mut brings: Vec<String> = brings.flatten().collect();
                brings.dedup();
                let before = core.sessions.remember(made.prepared.clone(), brings).await;
                before.map(|before| (made, before)).map_err(Failure::from)
            }
            Err(failure) => Err(failure),
        };
        match remembered {
            Ok((made, before)) => {
                // What was carried into it is kept.
                core.sessions.delete_unused(&session).await?;
                self.wait_until_gone(core, &made.sandbox).await;
                let mut said = report(core, &made);
                if let Some(before) = before {
                    said += &self.replaced(core, create, &made.prepared, &before).await;
                }
                Ok(said)
            }
            Err(failure) => {
                self.give_up(core, &session).await;
                Err(failure)
            }
        }
    }

    /// Sees that nothing of an earlier run is in the way, and nothing else has the name.
    async fn clear(&self, core: &Core, create: &Create) -> Result<(), Failure> {
        core.sessions.sweep_sandboxes().await?;
        for name in core.sessions.drop_left_snapshots().await? {
            self.say(&format!(
                "The snapshot {name}, which an interrupted run left, is deleted."
            ));
        }
        let client = core.remote.service();
        match client.snapshot_if_any(&create.name).await? {
            None => Ok(()),
            Some(found) => Err(format!(
                "Daytona has a snapshot {} already (it is {}), and a name is given once. Choose another, such as {}; with --replace the project's snapshot so far is deleted when the new one is there.",
                create.name,
                found.state,
                prepared::next(&create.name)
            )
            .into()),
        }
    }

    /// Makes a sandbox, carries the project into it, runs the command and makes the snapshot.
    async fn make(
        &self,
        core: &Core,
        create: &Create,
        session: &str,
        cancel: Cancel,
    ) -> Result<Made, Failure> {
        let template = &core.config.template;
        let from = match (&template.snapshot, &template.build_info) {
            (Some(snapshot), _) => format!("the snapshot {snapshot}"),
            (None, Some(_)) => "the image of the options".into(),
            (None, None) => "Daytona's default snapshot".into(),
        };
        self.say(&format!(
            "Making a sandbox of {from}, and carrying {} into it …",
            core.paths.host()
        ));
        core.sessions.created(session);
        let ensured = pin!(core.sessions.ensure(session));
        let toolbox = match select(ensured, cancel.clone()).await {
            Either::Left((toolbox, _)) => toolbox?,
            Either::Right((_, ensured)) => {
                self.say("Interrupted: the sandbox that is being made is deleted as soon as it is there. Another Ctrl-C leaves that to the next start of OpenCode here.");
                let _ = ensured.await;
                return Err(Failure::Interrupted);
            }
        };
        let entry = core.sessions.entry_of(session).await?.unwrap_or_default();
        let Some(commit) = entry.base_commit else {
            return Err(format!("Nothing was carried into sandbox {}.", toolbox.id)
                .to_string()
                .into());
        };
        let bytes = self.known.of(session).packed_bytes.get();
        self.say(&format!(
            "Sandbox {} has the project at {} ({} were carried).",
            toolbox.id,
            short(&commit),
            prepared::size(bytes)
        ));
        if let Some(command) = &create.run {
            self.run_inside(core, session, command, create.minutes, &cancel)
                .await?;
        }
        let measured = self.measure_inside(core, session, &cancel).await?;
        core.sessions
            .note_snapshot(&create.name, &toolbox.id)
            .await?;
        let snapshot = self.copy(core, create, &toolbox.id, cancel).await?;
        Ok(Made {
            prepared: PreparedSnapshot {
                name: create.name.clone(),
                commit,
                host_head: entry.host_head,
                bytes,
                run: create.run.clone(),
                at: self.host.now_ms(),
                session: session.into(),
                ..PreparedSnapshot::default()
            },
            snapshot,
            sandbox: toolbox.id,
            bytes: measured,
        })
    }

    /// Has the service make the snapshot.
    async fn copy(
        &self,
        core: &Core,
        create: &Create,
        sandbox: &str,
        cancel: Cancel,
    ) -> Result<Snapshot, Failure> {
        self.say(&format!("Making the snapshot {} …", create.name));
        let seen = RefCell::new(String::new());
        let waits = |state: &str| {
            if *seen.borrow() != state {
                *seen.borrow_mut() = state.into();
                self.say(&format!("The snapshot {} is {state} …", create.name));
            }
        };
        let client = core.remote.service();
        let making = client.make_snapshot(sandbox, &create.name, SNAPSHOT_SECONDS, &waits);
        match select(pin!(making), cancel).await {
            Either::Left((made, _)) => Ok(made?),
            Either::Right(_) => Err(Failure::Interrupted),
        }
    }

    /// Deletes the sandbox, and what may have become of the snapshot.
    async fn give_up(&self, core: &Core, session: &str) {
        self.say("Deleting the sandbox …");
        let entry = core.sessions.entry_of(session).await.unwrap_or_default();
        if let Err(error) = core.sessions.delete(session).await {
            self.say(&format!(
                "{error} It is tried again at the next start of OpenCode here."
            ));
        }
        if let Some(entry) = entry {
            self.wait_until_gone(core, &entry.sandbox_id).await;
        }
        match core.sessions.drop_left_snapshots().await {
            Ok(names) => names
                .iter()
                .for_each(|name| self.say(&format!("The snapshot {name} is deleted."))),
            Err(error) => self.say(&format!(
                "{error} The next `snapshot create` tries again to delete what was made."
            )),
        }
    }

    /// A sandbox of which a snapshot is being made cannot be deleted yet.
    async fn wait_until_gone(&self, core: &Core, sandbox: &str) {
        let until = self.host.now_ms() + DELETE_MS;
        loop {
            let is_left = match core.sessions.is_to_be_deleted(sandbox).await {
                Ok(is_left) => is_left,
                Err(error) => return self.host.log(Level::Warn, &error.to_string()),
            };
            if !is_left {
                return;
            }
            if self.host.now_ms() >= until {
                return self.say(&format!(
                    "Sandbox {sandbox} could not be deleted yet: that is tried again at the next start of OpenCode here."
                ));
            }
            self.host.sleep(DELETE_AGAIN_MS).await;
            if let Err(error) = core.sessions.sweep_sandboxes().await {
                self.host.log(Level::Warn, &error.to_string());
            }
        }
    }

    /// What becomes of the snapshot that was remembered before.
    async fn replaced(
        &self,
        core: &Core,
        create: &Create,
        made: &PreparedSnapshot,
        before: &PreparedSnapshot,
    ) -> String {
        core.transfer.project.forget(&before.session).await;
        if before.name == made.name {
            return String::new();
        }
        if !create.replace {
            return format!(
                "The snapshot {} stays at Daytona: delete it in the dashboard when nobody needs it.\n",
                before.name
            );
        }
        match core.remote.service().delete_snapshot(&before.name).await {
            Ok(true) => format!("The snapshot {} is deleted.\n", before.name),
            Ok(false) => format!("The snapshot {} is not there any more.\n", before.name),
            Err(error) => format!(
                "The snapshot {} could not be deleted: {error} Delete it in the Daytona dashboard.\n",
                before.name
            ),
        }
    }

    async fn list(&self, core: &Core) -> Result<String, Failure> {
        let Some(found) = core.sessions.remembered().await? else {
            return Ok("This project has no prepared snapshot.\n".into());
        };
        let client = core.remote.service();
        let state = match client.snapshot_if_any(&found.name).await? {
            None => prepared::unusable(&found, None) + ".",
            Some(there) if there.usable() == Usable::No => {
                prepared::unusable(&found, Some(&there.state)) + "."
            }
            Some(there) => format!("It is {}.", there.state),
        };
        let template = &core.config.template;
        let is_named = template.snapshot.as_ref().is_none_or(|s| *s == found.name);
        let is_used = match is_named && template.build_info.is_none() {
            true => "Sessions of this project start from it.",
            false => "The options name something else, so no session starts from it.",
        };
        let run = found
            .run
            .as_ref()
            .map_or_else(String::new, |run| format!(", after `{run}` was run in it"));
        Ok(format!(
            "{}: this project at {}{run}. {state} {is_used}\n",
            found.name,
            short(&found.commit)
        ))
    }

    async fn forget(&self, core: &Core) -> Result<String, Failure> {
        Ok(match core.sessions.forget_prepared().await? {
            None => "This project has no prepared snapshot.\n".into(),
            Some(forgotten) => format!(
                "Sessions of this project start from the default again. The snapshot {} stays at Daytona: delete it in the dashboard when nobody needs it.\n",
                forgotten.name
            ),
        })
    }
}

/// What was made, and what that means.
fn report(core: &Core, made: &Made) -> String {
    let prepared = &made.prepared;
    let mut sizes = Vec::new();
    if let Some(bytes) = made.bytes {
        sizes.push(format!("{} of the project", prepared::size(bytes)));
    }
    if let Some(size) = made.snapshot.size.filter(|size| *size > 0.0) {
        sizes.push(format!("{size:.2} GB in all, as Daytona says"));
    }
    let sizes = match sizes.is_empty() {
        true => String::new(),
        false => format!(" ({})", sizes.join(", ")),
    };
    let name = &prepared.name;
    let template = &core.config.template;
    let is_named = template.build_info.is_some()
        || (template.snapshot.as_ref()).is_some_and(|named| named != name);
    let used = match is_named {
        true => format!(
            "The options name what sandboxes are made of: for sessions to start from it, put \"snapshot\": \"{name}\" there instead."
        ),
        false => format!(
            "Sessions of this project start from it from now on, on this machine. For everybody who uses the project, put \"snapshot\": \"{name}\" into the plugin's options in opencode.json."
        ),
    };
    format!(
        "The snapshot {name} is there, with the project at {}{sizes}, and its sandbox is deleted.\n{used}\n",
        short(&prepared.commit)
    )
}

/// The end of a run that the user broke off.
pub(super) fn interrupted() -> CliDone {
    CliDone {
        output: "Interrupted.\n".into(),
        exit: INTERRUPTED,
    }
}

fn short(commit: &str) -> &str {
    commit.get(..SHORT).unwrap_or(commit)
}
