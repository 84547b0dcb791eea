//! What crosses the edge to JavaScript: one method, one parameter value in, one result value out. The
//! TypeScript types are generated from these (`cargo xtask types`).

use crate::cli::{Cli, Terminal};
use crate::config::{self, Config};
use crate::database::Installed;
use crate::drain::drain;
use crate::plugin::{OpenCode, Plugin};
use crate::record::Policy;
use crate::send::Sender;
use crate::spool::Spool;
use crate::store::Store;
use host::{Level, LocalHost};
use serde::{Deserialize, Serialize};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

/// The command that OpenCode's end leaves behind; it is for nobody to type.
const DRAIN: &str = "drain";

macro_rules! edge {
    ($($(#[$doc:meta])* struct $name:ident $body:tt)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
        #[serde(rename_all = "camelCase")]
        #[cfg_attr(feature = "ts", derive(ts_rs::TS))]
        pub struct $name $body
    )*};
}

edge! {
    /// Where this runs.
    struct Init {
        /// OpenCode's directory, or the terminal's.
        pub directory: String,
        /// The environment: the values of its secrets never leave.
        pub environment: BTreeMap<String, String>,
    }

    /// Nothing.
    struct Nothing {}

    /// Something has happened to a session.
    struct Event {
        /// OpenCode's name for it.
        #[serde(rename = "type")]
        pub kind: String,
        /// The session.
        pub session_id: String,
        /// Of `session.status`: busy, retry or idle.
        pub status: Option<String>,
    }

    /// OpenCode has ended.
    struct Disposed {
        /// Arguments of the command that brings out what is left; none if nothing is.
        pub command: Option<Vec<String>>,
    }

    /// A command line, without the program's name.
    struct Command {
        /// Its words.
        pub args: Vec<String>,
    }

    /// A command has ended.
    struct Ended {
        /// The exit code.
        pub exit: i32,
    }
}

/// A call that was not understood: a defect of the shim.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// There is no such method.
    #[error("there is no call {0:?}")]
    Unknown(String),
    /// The parameters are not those of the method.
    #[error("the parameters of {0:?} are wrong: {1}")]
    Parameters(String, serde_json::Error),
}

/// One instance of OpenCode, or one run of the command.
pub struct Edge {
    host: Arc<dyn LocalHost>,
    opencode: Rc<dyn OpenCode>,
    terminal: Rc<dyn Terminal>,
    init: Init,
    plugin: RefCell<Option<Rc<Plugin>>>,
}

macro_rules! calls {
    ($($name:literal => $method:ident($params:ty) -> $result:ty;)*) => {
        impl Edge {
            /// Runs the method `name` with JSON parameters; gives its JSON result.
            pub async fn dispatch(&self, name: &str, params: &str) -> Result<String, CallError> {
                match name {
                    $($name => {
                        let params: $params = serde_json::from_str(params)
                            .map_err(|error| CallError::Parameters(name.into(), error))?;
                        let result: $result = self.$method(params).await;
                        Ok(serde_json::to_string(&result).expect("plain data serializes"))
                    })*
                    _ => Err(CallError::Unknown(name.into())),
                }
            }
        }

        /// The generated TypeScript module.
        #[cfg(feature = "ts")]
        pub fn typescript() -> String {
            use ts_rs::TS;
            let config = ts_rs::Config::default();
            let mut out = String::from("// Generated from crates/session-sync/src/edge.rs by `cargo xtask types`. Do not edit.\n\n");
            for declaration in [
                Init::decl(&config), Nothing::decl(&config), Event::decl(&config), Disposed::decl(&config),
                Command::decl(&config), Ended::decl(&config),
            ] {
                out.push_str(&format!("export {declaration}\n\n"));
            }
            let events = serde_json::to_string(crate::plugin::EVENTS).expect("names");
            out.push_str(&format!("/** Events that the core hears of. */\nexport const events: readonly string[] = {events}\n\n"));
            out.push_str("/** Every call: what goes in, what comes out. */\nexport interface Calls {\n");
            $(out.push_str(&format!("  {}: {{ params: {}, result: {} }}\n", $name, <$params>::name(&config), <$result>::name(&config)));)*
            out.push_str("}\n");
            out
        }
    };
}

calls! {
    "start" => start(Nothing) -> Nothing;
    "event" => event(Event) -> Nothing;
    "dispose" => dispose(Nothing) -> Disposed;
    "command" => command(Command) -> Ended;
}

impl Edge {
    /// The plugin sees `opencode`, the command sees `terminal`.
    pub fn new(
        host: Arc<dyn LocalHost>,
        opencode: Rc<dyn OpenCode>,
        terminal: Rc<dyn Terminal>,
        init: Init,
    ) -> Edge {
        Edge {
            host,
            opencode,
            terminal,
            init,
            plugin: RefCell::default(),
        }
    }

    async fn start(&self, _: Nothing) -> Nothing {
        match self.plugin().await {
            Ok(plugin) => {
                plugin.start();
                *self.plugin.borrow_mut() = Some(plugin);
            }
            Err(why) => self
                .host
                .log(Level::Warn, &format!("Sessions are not synced: {why}.")),
        }
        Nothing {}
    }

    async fn plugin(&self) -> Result<Rc<Plugin>, String> {
        let (config, spool) = (self.config().await?, self.spool()?);
        let policy = Policy::new(config.include, &self.init.environment);
        let (host, opencode) = (self.host.clone(), Rc::clone(&self.opencode));
        Plugin::new(host, opencode, config, policy, spool)
    }

    async fn config(&self) -> Result<Config, String> {
        config::load(&*self.host).await
    }

    /// The directory of what waits, beside which is what else is to be remembered.
    fn state(&self) -> Result<String, String> {
        config::state(self.host.platform(), |name| self.host.env(name))
    }

    fn spool(&self) -> Result<Spool, String> {
        let dir = format!("{}/sessions", self.state()?);
        Ok(Spool::new(self.host.clone(), &dir))
    }

    async fn event(&self, event: Event) -> Nothing {
        if let Some(plugin) = self.plugin.borrow().as_ref() {
            plugin.event(&event.kind, &event.session_id, event.status.as_deref());
        }
        Nothing {}
    }

    async fn dispose(&self, _: Nothing) -> Disposed {
        let plugin = self.plugin.borrow_mut().take();
        let left = match plugin {
            Some(plugin) => plugin.dispose().await,
            None => 0,
        };
        let command = (left > 0).then(|| vec![DRAIN.to_string()]);
        Disposed { command }
    }

    async fn command(&self, command: Command) -> Ended {
        if command.args == [DRAIN] {
            let exit = i32::from(self.drain().await.is_err());
            return Ended { exit };
        }
        let state = match self.state() {
            Ok(state) => state,
            Err(why) => {
                self.terminal.print(&why);
                return Ended { exit: 1 };
            }
        };
        let database = Installed::new(self.host.clone(), &self.init.directory);
        let cli = Cli {
            host: self.host.clone(),
            terminal: Rc::clone(&self.terminal),
            database: Rc::new(database),
            directory: self.init.directory.clone(),
            spool: format!("{state}/sessions"),
            variables: self.init.environment.clone(),
            version: env!("CARGO_PKG_VERSION").into(),
        };
        let exit = cli.run(&command.args).await;
        Ended { exit }
    }

    async fn drain(&self) -> Result<(), String> {
        let (config, spool) = (self.config().await?, self.spool()?);
        let (Some(url), Some(key)) = (&config.url, &config.key) else {
            return Ok(());
        };
        let store = Store::new(self.host.clone(), url, key);
        let sender = Sender::new(self.host.clone(), store, spool.clone(), config.exclude);
        let mark = format!("{}/drain", self.state()?);
        let drained = drain(&*self.host, &spool, &sender, &mark).await;
        drained.map(drop).map_err(|error| error.to_string())
    }
}
