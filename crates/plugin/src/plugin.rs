//! The plugin itself: hooks in, decisions out.

mod call;
mod calls;
mod events;
mod gate;
mod ground;
mod hooks;
mod notices;
mod permit;
mod running;
mod snapshot;
mod start;
mod typed;
mod work;

use crate::config::{Config, DEFAULT_PROJECT_DIR};
use crate::guard::Guard;
use crate::known::{Known, MAX_DEPTH};
use crate::opencode::{Asked, OpenCode};
use crate::remote::Remote;
use crate::screen::Screen;
use crate::secrets::Secrets;
use crate::transfer::Transfer;
use crate::wire::*;
use futures::channel::oneshot;
use host::{Level, LocalHost};
use permission::Paths;
use permission::rules::Approvals;
use sessions::Sessions;
use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet};
use std::rc::Rc;
use std::sync::Arc;

use call::UnderWay;

/// One plugin per OpenCode instance (that is, per directory).
pub struct Plugin {
    /// Both hear no secret.
    host: Arc<dyn LocalHost>,
    opencode: Rc<dyn OpenCode>,
    secrets: Arc<Secrets>,
    init: Init,
    readiness: RefCell<Readiness>,
    guard: Guard,
    /// Tools of others of which the user has heard.
    told: RefCell<HashSet<String>>,
    /// What is known of OpenCode's sessions.
    known: Rc<Known>,
    aborts: RefCell<HashMap<u32, oneshot::Sender<()>>>,
    /// Calls that are under way.
    under_way: RefCell<HashMap<u32, UnderWay>>,
    /// What users have allowed for good.
    approvals: RefCell<Approvals>,
    /// Bytes of a background job's output that the model has seen.
    jobs: RefCell<HashMap<String, u64>>,
    /// When the terminal heard last how far the preparation of a sandbox is.
    step_at: Cell<u64>,
    disposed: Cell<bool>,
}

#[derive(Clone)]
enum Readiness {
    /// Why nothing works.
    Refusing(String),
    Working(Rc<Core>),
}

/// What a working plugin has.
struct Core {
    config: Config,
    paths: Paths,
    remote: Rc<Remote>,
    transfer: Rc<Transfer>,
    sessions: Rc<Sessions>,
}

impl Plugin {
    /// A plugin that refuses everything until [`Plugin::start`] has read the configuration.
    pub fn new(host: Arc<dyn LocalHost>, opencode: Rc<dyn OpenCode>, init: Init) -> Rc<Plugin> {
        let secrets = Arc::new(Secrets::default());
        secrets.learn_settings(&init.options, |name| host.env(name), &[]);
        let guard = Guard::new(host.random());
        Rc::new(Plugin {
            host: Arc::new(Screen::new(host, &secrets)),
            opencode: Rc::new(Screen::new(opencode, &secrets)),
            secrets,
            init,
            guard,
            told: RefCell::default(),
            readiness: RefCell::new(Readiness::Refusing(
                "opencode-daytona-sandbox has not been started".into(),
            )),
            known: Rc::default(),
            aborts: RefCell::default(),
            under_way: RefCell::default(),
            approvals: RefCell::default(),
            jobs: RefCell::default(),
            step_at: Cell::default(),
            disposed: Cell::new(false),
        })
    }

    /// From now on every tool refuses.
    fn refuse(&self, reason: &str) {
        self.host.log(Level::Error, reason);
        *self.readiness.borrow_mut() = Readiness::Refusing(reason.into());
        self.toast("Sandbox unavailable", reason, "error");
    }

    /// What must not be read by anybody.
    pub(crate) fn secrets(&self) -> &Secrets {
        &self.secrets
    }

    /// How many sessions of OpenCode this process knows something of.
    pub fn sessions_known(&self) -> usize {
        self.known.all().len()
    }

    /// A text without the secrets that are known: for what leaves the core past its calls.
    pub fn fit_to_read(&self, text: &str) -> String {
        self.secrets.hide(text).into_owned()
    }

    fn core(&self) -> Result<Rc<Core>, String> {
        match &*self.readiness.borrow() {
            Readiness::Working(core) => Ok(Rc::clone(core)),
            Readiness::Refusing(reason) => Err(reason.clone()),
        }
    }

    fn toast(&self, title: &str, message: &str, variant: &str) {
        self.opencode.toast(Toast {
            title: title.into(),
            message: message.into(),
            variant: variant.into(),
        });
    }

    /// Tells the user something about a tool, once.
    fn tell_once(&self, tool: &str, title: &str, message: &str) {
        if self.told.borrow_mut().insert(tool.into()) {
            self.host.log(Level::Warn, &format!("{title}: {message}"));
            self.toast(title, message, "warning");
        }
    }

    /// The project's paths, also while nothing works.
    fn paths(&self) -> Paths {
        match self.core() {
            Ok(core) => core.paths.clone(),
            Err(_) => Paths::new(
                &self.init.worktree,
                &self.init.directory,
                DEFAULT_PROJECT_DIR,
            ),
        }
    }

    /// The root of a session's tree: subagents work in its sandbox. If that cannot be found out, it
    /// is no guess: a subagent in a sandbox of its own would lose its work.
    async fn root(&self, session: &str) -> Result<String, String> {
        let mut current = session.to_string();
        for _ in 0..MAX_DEPTH {
            let parent = match self.known.parent(&current) {
                Some(parent) => parent,
                None => {
                    let parent = self.opencode.parent(&current).await.map_err(|reason| {
                        format!("OpenCode does not say whose session {current} is: {reason}")
                    })?;
                    let known = self.known.of(&current);
                    known.parent.replace(Some(parent.clone()));
                    parent
                }
            };
            match parent {
                Some(parent) => current = parent,
                None => break,
            }
        }
        Ok(current)
    }
}
