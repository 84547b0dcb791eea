//! A project, a server, and an OpenCode that only remembers what it was asked and told.

use async_trait::async_trait;
use plugin::*;
use serde_json::{Value, json};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::rc::Rc;
use std::sync::Arc;
pub(crate) use testkit::until;
use testkit::{Local, TestHost, write_tree};

/// Files of the project, committed; beside them `draft.txt`, which is not.
pub(crate) const FILES: &str = "\
//- a.txt
one
two
three
//- src/lib.rs
pub fn answer() -> u32 { 42 }
//- .gitignore
/target
";

/// Number of a process that cannot exist: larger than Linux allows.
pub(crate) const DEAD: u32 = 5_000_000;

pub(crate) struct World {
    pub(crate) local: Local,
    pub(crate) project: tempfile::TempDir,
    data: tempfile::TempDir,
    pub(crate) project_id: String,
    /// Sessions that no OpenCode that starts has any more.
    pub(crate) deleted: RefCell<Vec<String>>,
    /// Options of every OpenCode that is given none.
    pub(crate) options: Value,
    /// The release that every OpenCode says it is; it does not answer as long as there is none.
    pub(crate) release: Rc<Cell<Option<&'static str>>>,
}

impl World {
    pub(crate) fn new() -> World {
        let project = tempfile::tempdir().expect("a directory");
        git(
            project.path(),
            &["init", "--quiet", "--initial-branch=main"],
        );
        write_tree(project.path(), FILES);
        git(project.path(), &["add", "."]);
        git(project.path(), &["commit", "--quiet", "-m", "first"]);
        write_tree(project.path(), "//- draft.txt\nnot committed\n");
        World {
            local: Local::start(),
            project,
            data: tempfile::tempdir().expect("a directory"),
            project_id: "project".into(),
            deleted: RefCell::default(),
            options: json!({}),
            release: Rc::new(Cell::new(Some(plugin::TESTED))),
        }
    }

    pub(crate) fn host(&self, api_url: &str) -> Arc<TestHost> {
        let data = self.data.path().to_string_lossy().into_owned();
        let env = [
            ("DAYTONA_API_URL", api_url),
            ("DAYTONA_API_KEY", &self.local.key),
            ("XDG_DATA_HOME", &data),
        ];
        Arc::new(TestHost::new(&env))
    }

    pub(crate) async fn open(&self) -> Open {
        self.open_with(self.options.clone(), self.host(&self.local.url))
            .await
    }

    /// An OpenCode whose process is dead as soon as anybody else looks.
    pub(crate) async fn open_mortal(&self, number: u32) -> Open {
        let host = self.host(&self.local.url);
        host.pid.set(Some(DEAD + number));
        self.open_with(self.options.clone(), host).await
    }

    /// Like [`World::open_mortal`], so long after others that what they held is void.
    pub(crate) async fn open_later(&self, number: u32) -> Open {
        let host = self.host(&self.local.url);
        host.pid.set(Some(DEAD + number));
        host.skip_ms.set(u64::from(number) * 5_000);
        self.open_with(self.options.clone(), host).await
    }

    pub(crate) async fn open_snapshot(&self, snapshot: &str) -> Open {
        self.open_with(json!({ "snapshot": snapshot }), self.host(&self.local.url))
            .await
    }

    pub(crate) fn init(&self, options: Value) -> Init {
        let worktree = self.project.path().to_string_lossy().into_owned();
        Init {
            directory: worktree.clone(),
            worktree,
            project_id: self.project_id.clone(),
            project_since: Some(1_700_000_000_000.0),
            options,
            assets: runners(),
            shell: "/packaged/sandbox-shell".into(),
            javascript: "/opencode".into(),
        }
    }

    pub(crate) async fn open_with(&self, options: Value, host: Arc<TestHost>) -> Open {
        self.open_as(self.init(options), host).await
    }

    /// With whatever OpenCode tells a plugin.
    pub(crate) async fn open_as(&self, init: Init, host: Arc<TestHost>) -> Open {
        let opencode = Rc::new(Fake {
            deleted: self.deleted.borrow().clone(),
            release: Rc::clone(&self.release),
            ..Fake::default()
        });
        let plugin = Plugin::new(host.clone(), opencode.clone(), init);
        let started = plugin.start(Nothing {}).await;
        Open {
            plugin,
            opencode,
            host,
            started,
            next: Cell::new(1),
        }
    }

    pub(crate) fn store_path(&self) -> PathBuf {
        let dir = self.data.path().join("opencode/storage/daytona");
        dir.join(host::file_name(&self.project_id))
    }

    /// The store as it is on disk; null if there is none.
    pub(crate) fn store(&self) -> Value {
        let text = std::fs::read(self.store_path()).unwrap_or_else(|_| b"null".to_vec());
        serde_json::from_slice(&text).expect("the store always parses")
    }

    pub(crate) fn entry(&self, session: &str) -> Value {
        self.store()["sessions"][session].clone()
    }

    pub(crate) fn sandbox_of(&self, session: &str) -> String {
        let entry = self.entry(session);
        entry["sandboxId"]
            .as_str()
            .unwrap_or_else(|| panic!("{session} has no sandbox: {entry}"))
            .into()
    }

    /// Ids of all sandboxes that are not on their way out.
    pub(crate) async fn sandboxes(&self) -> Vec<String> {
        let page = self.local.control("GET", "/api/sandbox", json!({})).await;
        let items = page["items"].as_array().expect("a page").iter();
        let lives = |s: &&Value| !matches!(s["state"].as_str(), Some("destroyed" | "destroying"));
        items
            .filter(lives)
            .map(|s| s["id"].as_str().expect("an id").to_string())
            .collect()
    }

    /// Runs a command in a sandbox past the plugin.
    pub(crate) async fn inside(&self, sandbox: &str, command: &str) -> String {
        let path = format!("/toolbox/{sandbox}/process/execute");
        let answer = self
            .local
            .control("POST", &path, json!({ "command": command }))
            .await;
        answer["result"]
            .as_str()
            .expect("a result")
            .trim()
            .to_string()
    }

    pub(crate) async fn processes(&self, sandbox: &str) -> String {
        let path = format!("/_test/processes/{sandbox}");
        self.local
            .control("GET", &path, json!({}))
            .await
            .to_string()
    }

    pub(crate) async fn forget_requests(&self) {
        self.local
            .control("DELETE", "/_test/requests", json!({}))
            .await;
    }

    pub(crate) async fn requests(&self) -> u64 {
        let counts = self
            .local
            .control("GET", "/_test/requests", json!({}))
            .await;
        counts["total"].as_u64().expect("a number")
    }

    pub(crate) async fn executes(&self) -> u64 {
        self.count("POST /toolbox/{sandboxId}/process/execute")
            .await
    }

    /// How often the API was asked about one sandbox.
    pub(crate) async fn looks(&self) -> u64 {
        self.count("GET /api/sandbox/{sandboxIdOrName}").await
    }

    /// How often a sandbox was started.
    pub(crate) async fn starts(&self) -> u64 {
        self.count("POST /api/sandbox/{sandboxIdOrName}/start")
            .await
    }

    async fn count(&self, route: &str) -> u64 {
        let counts = self
            .local
            .control("GET", "/_test/requests", json!({}))
            .await;
        counts["counts"][route].as_u64().unwrap_or_default()
    }

    /// Stops a sandbox past the plugin.
    pub(crate) async fn stop(&self, sandbox: &str) {
        let path = format!("/api/sandbox/{sandbox}");
        let stop = format!("{path}/stop");
        self.local.control("POST", &stop, json!({})).await;
        until("it is stopped", async || {
            self.local.control("GET", &path, json!({})).await["state"] == "stopped"
        })
        .await;
    }

    /// Deletes a sandbox past the plugin, so long ago that the proxy has forgotten it, or just now.
    pub(crate) async fn delete_elsewhere(&self, sandbox: &str, long_ago: bool) {
        let path = format!("/api/sandbox/{sandbox}");
        self.local.control("DELETE", &path, json!({})).await;
        until("it is gone", async || {
            !(self.sandboxes().await).contains(&sandbox.to_string())
        })
        .await;
        if long_ago {
            let forward = json!({ "advance_ms": 121_000 });
            self.local.control("POST", "/_test/clock", forward).await;
        }
    }

    /// Plants a fault in the toolbox's execute.
    pub(crate) async fn fault(&self, times: i64, action: Value) {
        self.local
            .fault("POST", "/toolbox/*/process/execute", times, action)
            .await;
    }

    pub(crate) async fn mend(&self) {
        self.local
            .control("DELETE", "/_test/faults", json!({}))
            .await;
    }
}

/// One OpenCode process in the project.
pub(crate) struct Open {
    pub(crate) plugin: Rc<Plugin>,
    pub(crate) opencode: Rc<Fake>,
    pub(crate) host: Arc<TestHost>,
    pub(crate) started: Started,
    next: Cell<u32>,
}

impl Open {
    pub(crate) fn execute(&self, session: &str, tool: &str, args: Value) -> Execute {
        let call = self.next.replace(self.next.get() + 1);
        Execute {
            call,
            tool: tool.into(),
            args,
            session_id: session.into(),
            agent: "build".into(),
        }
    }

    pub(crate) async fn call(&self, session: &str, tool: &str, args: Value) -> Executed {
        self.plugin.execute(self.execute(session, tool, args)).await
    }

    /// The output of a call that succeeds.
    pub(crate) async fn ok(&self, session: &str, tool: &str, args: Value) -> String {
        match self.call(session, tool, args).await {
            Executed::Done(done) => done.output,
            other => panic!("{tool}: {other:?}\n{}", self.host.logged().join("\n")),
        }
    }

    /// The message of a call that fails.
    pub(crate) async fn error(&self, session: &str, tool: &str, args: Value) -> String {
        match self.call(session, tool, args).await {
            Executed::Failed { message } => message,
            other => panic!("{tool} did not fail: {other:?}"),
        }
    }

    pub(crate) async fn bash(&self, session: &str, command: &str) -> String {
        self.ok(session, "bash", json!({ "command": command }))
            .await
    }

    pub(crate) async fn event(&self, kind: &str, properties: Value) {
        self.plugin
            .event(Event {
                kind: kind.into(),
                properties,
            })
            .await;
    }

    pub(crate) fn toasts(&self) -> Vec<String> {
        self.opencode.toasts.borrow().clone()
    }
}

/// OpenCode as the plugin sees it.
#[derive(Default)]
pub(crate) struct Fake {
    pub(crate) asked: RefCell<Vec<Permission>>,
    pub(crate) toasts: RefCell<Vec<String>>,
    /// What they said.
    pub(crate) told: RefCell<Vec<String>>,
    /// What was shown of calls: none takes it away.
    pub(crate) shown: RefCell<Vec<Option<String>>>,
    /// Lines in the terminal, and how often one was tried.
    pub(crate) lines: RefCell<Vec<String>>,
    pub(crate) screens: Cell<u32>,
    /// The release that it says it is; it does not answer as long as there is none.
    release: Rc<Cell<Option<&'static str>>>,
    /// It gives an answer to a permission question without asking anybody.
    pub(crate) unasking: Cell<bool>,
    /// Permissions that are refused.
    pub(crate) rejects: RefCell<Vec<String>>,
    /// Parents of subagents' sessions.
    pub(crate) parents: RefCell<Vec<(String, String)>>,
    /// Questions stay open.
    pub(crate) silent: Cell<bool>,
    /// Sessions that OpenCode does not have any more.
    deleted: Vec<String>,
    /// Neither parents nor rules can be looked up.
    pub(crate) forgetful: Cell<bool>,
    /// Sessions and their messages, as OpenCode lists them.
    pub(crate) sessions: RefCell<BTreeMap<String, (Value, Vec<Value>)>>,
    /// Rules of the agent, after one that allows everything: permission, pattern, action.
    pub(crate) rules: RefCell<Vec<[&'static str; 3]>>,
}

impl Fake {
    /// All that was shown of calls.
    pub(crate) fn printed(&self) -> String {
        let shown = self.shown.borrow();
        let texts: Vec<&str> = shown.iter().flatten().map(String::as_str).collect();
        texts.join("\n")
    }
}

#[async_trait(?Send)]
impl OpenCode for Fake {
    async fn release(&self) -> Option<String> {
        let says = async || self.release.get().is_some();
        until("it says which release it is", says).await;
        self.release.get().map(str::to_string)
    }

    async fn ask(&self, _: u32, question: &Permission) -> Asked {
        self.asked.borrow_mut().push(question.clone());
        if self.silent.get() {
            std::future::pending::<()>().await;
        }
        if self.unasking.get() {
            return Asked::Unasked;
        }
        match self.rejects.borrow().contains(&question.permission) {
            true => Asked::Rejected,
            false => Asked::Allowed,
        }
    }

    async fn parent(&self, session: &str) -> Result<Option<String>, String> {
        if self.forgetful.get() {
            return Err("no answer".into());
        }
        let parents = self.parents.borrow();
        let found = parents.iter().find(|(child, _)| child == session);
        Ok(found.map(|(_, parent)| parent.clone()))
    }

    async fn has(&self, session: &str) -> Result<bool, String> {
        match self.forgetful.get() {
            true => Err("no answer".into()),
            false => Ok(!self.deleted.iter().any(|id| id == session)),
        }
    }

    async fn rules(&self, _: &str) -> Result<Value, String> {
        if self.forgetful.get() {
            return Err("no answer".into());
        }
        let rules = self.rules.borrow();
        let rules: Vec<Value> = [["*", "*", "allow"]]
            .iter()
            .chain(rules.iter())
            .map(|[permission, pattern, action]| {
                json!({ "permission": permission, "pattern": pattern, "action": action })
            })
            .collect();
        Ok(json!({ "agents": [{ "name": "build", "permission": rules }], "session": {} }))
    }

    async fn registered(&self) -> Result<Registered, String> {
        match self.forgetful.get() {
            true => Err("no answer".into()),
            false => Ok(Registered {
                tools: vec!["bash".into()],
                servers: vec!["server".into()],
            }),
        }
    }

    async fn sessions(&self) -> Result<Value, String> {
        let all = self.sessions.borrow();
        Ok(all.values().map(|(info, _)| info.clone()).collect())
    }

    async fn messages(&self, session: &str) -> Result<Value, String> {
        let all = self.sessions.borrow();
        let found = all.get(session).map(|(_, messages)| messages.clone());
        Ok(found.unwrap_or_default().into())
    }

    fn progress(&self, _: u32, progress: &Progress) {
        self.shown.borrow_mut().push(progress.output.clone());
    }

    fn toast(&self, toast: Toast) {
        self.toasts.borrow_mut().push(toast.title);
        self.told.borrow_mut().push(toast.message);
    }

    fn terminal(&self, line: &str) -> bool {
        // As if OpenCode's screen were still there at first.
        self.screens.set(self.screens.get() + 1);
        if self.screens.get() > 2 {
            self.lines.borrow_mut().push(line.into());
        }
        self.screens.get() > 2
    }
}

fn runners() -> String {
    testkit::runners().to_string_lossy().into_owned()
}

pub(crate) fn git(dir: &Path, args: &[&str]) -> String {
    let output = Command::new("git")
        .args(["-c", "user.name=a", "-c", "user.email=a@localhost"])
        .args(args)
        .current_dir(dir)
        .output()
        .expect("git runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "git {args:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    text
}
