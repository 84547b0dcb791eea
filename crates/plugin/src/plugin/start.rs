//! How the plugin starts: it reads the configuration, and says which tools there are.

use super::{Core, Plugin, Readiness};
use crate::config::{Network, SyncMode};
use crate::guard::{self};
use crate::links;
use crate::remote::Remote;
use crate::transfer::Transfer;
use crate::transfer::progress::Steps;
use crate::wire::*;
use daytona::Client;
use futures::future::join;
use host::Level;
use permission::Paths;
use sessions::{Carrier, Notice, Project, Sessions, Store};
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

/// Events that [`Plugin::event`] does something about.
const EVENTS: &[&str] = &[
    "session.created",
    "session.deleted",
    "session.idle",
    "session.compacted",
    "session.updated",
    "message.updated",
    "message.removed",
    "message.part.removed",
    "permission.asked",
    "permission.replied",
];

impl Plugin {
    /// Reads the configuration and says which tools there are. They are the same whether it works
    /// or not: without a sandbox they refuse.
    pub async fn start(self: &Rc<Self>, _: Nothing) -> Started {
        let (loaded, refusal) = join(self.load(), self.gate()).await;
        let problem = match refusal.map_or(loaded, Err) {
            Ok(core) => {
                let core = Rc::new(core);
                *self.readiness.borrow_mut() = Readiness::Working(Rc::clone(&core));
                let plugin = Rc::clone(self);
                // Whatever fails from now on is looked after, before anything is waited for.
                core.sessions.keep_clean();
                self.host.spawn(Box::pin(async move {
                    if let Some(reason) = plugin.old_git().await {
                        return plugin.refuse(&reason);
                    }
                    let failed = |reason: String| {
                        let message = format!("cleaning up after earlier runs failed: {reason}");
                        plugin.host.log(Level::Warn, &message);
                    };
                    if let Err(error) = core.sessions.sweep().await {
                        failed(error.to_string());
                    }
                    if let Err(error) = core.transfer.project.sweep().await {
                        failed(error.to_string());
                    }
                }));
                self.host.log(
                    Level::Info,
                    &format!(
                        "opencode-daytona-sandbox {} is ready",
                        env!("CARGO_PKG_VERSION")
                    ),
                );
                None
            }
            Err(reason) => {
                self.refuse(&reason);
                Some(reason)
            }
        };
        let on_host = self
            .core()
            .is_ok_and(|core| core.config.network != Network::Sandbox);
        let not_ours = if on_host { guard::WEB } else { &[] };
        Started {
            without: not_ours.iter().map(|tool| tool.to_string()).collect(),
            mark: self.guard.mark.clone(),
            events: EVENTS.iter().map(|kind| kind.to_string()).collect(),
            problem,
        }
    }

    pub(super) async fn load(self: &Rc<Self>) -> Result<Core, String> {
        let init = &self.init;
        let worktree = self.worktree().await?;
        let git = worktree != "/" && !worktree.is_empty();
        let root = if git { &worktree } else { &init.directory };
        let config = self.secrets.settings(&*self.host, &init.options, root);
        let config = config.await.map_err(|e| e.to_string())?;
        let mut paths = Paths::new(&worktree, &init.directory, &config.project_dir);
        links::start(&*self.host, &mut paths, &init.directory).await;
        let dir = sessions::store_dir(self.host.platform(), |name| self.host.env(name))
            .map_err(|e| e.to_string())?;
        let client = Client::new(self.host.clone(), config.settings.clone());
        let remote = Rc::new(Remote::new(
            self.host.clone(),
            client.clone(),
            init.assets.clone(),
        ));
        let secrets = Arc::clone(&self.secrets);
        let store = Store::new(self.host.clone(), &dir, &init.project_id, paths.host())
            .telling(move |reason| secrets.hide(reason).into_owned());
        let depot = git_bridge::depot_path(store.path(), paths.host(), git);
        let plugin = Rc::downgrade(self);
        let steps = {
            let plugin = plugin.clone();
            let show = Box::new(move |session: &str, text: Option<&str>| {
                let Some(plugin) = plugin.upgrade() else {
                    return;
                };
                match text {
                    Some(text) => plugin.step(session, text),
                    None => plugin.nothing_waits_any_more(session),
                }
            });
            Steps::new(self.host.clone(), Rc::clone(&self.known), show)
        };
        let transfer = Rc::new(Transfer {
            host: self.host.clone(),
            opencode: Rc::clone(&self.opencode),
            remote: Rc::clone(&remote),
            project: git_bridge::Project::new(self.host.clone(), paths.host(), git, &depot)
                .with_limit(config.carry.max_bytes),
            store: store.path().to_string(),
            worktree: paths.host().to_string(),
            root: config.project_dir.clone(),
            cwd: paths.cwd().to_string(),
            history: config.history,
            paths: config.carry.paths.clone(),
            steps,
            mode: config.sync,
            branch_prefix: config.branch_prefix.clone(),
            known: Rc::clone(&self.known),
            secrets: Arc::clone(&self.secrets),
            told: RefCell::default(),
            is_behind_told: Cell::default(),
            identity: config.identity,
            tell: Box::new(move |brought| {
                if let Some(plugin) = plugin.upgrade() {
                    plugin.tell(brought);
                }
            }),
        });
        let project = Project {
            id: init.project_id.clone(),
            worktree: paths.host().to_string(),
            is_repository: git,
            brings_home: config.sync != SyncMode::Off,
            known_since: init.project_since.map(|since| since as u64),
        };
        let plugin = Rc::downgrade(self);
        let notices = Box::new(move |notice: Notice| {
            if let Some(plugin) = plugin.upgrade() {
                plugin.notice(&notice);
            }
        });
        let template = config.template.clone();
        let sessions = Sessions::new(
            self.host.clone(),
            client,
            store,
            project,
            template,
            Rc::clone(&transfer) as Rc<dyn Carrier>,
            notices,
        );
        Ok(Core {
            config,
            paths,
            remote,
            transfer,
            sessions: Rc::new(sessions),
        })
    }
}
