//! A project: a worktree with its depot, and git in either.

use crate::error::Error;
use crate::git::{self, Git};
use crate::layout::{self, BETWEEN, Layout};
use crate::names::{given, kept};
use crate::settings;
use host::{FileError, Host, TEMPORARY};
use std::sync::{Arc, Mutex};

/// How much is carried into a sandbox, or taken from one, unless something else is asked for: bytes.
pub const MAX_PACK: u64 = 1_000_000_000;

/// Who makes our commits.
pub(crate) const US: &str = "opencode-daytona-sandbox";
/// Directories left by processes that are gone are looked for in here, beside the store.
const PLACE: &str = "temporary";

/// A worktree and its depot.
#[derive(Clone)]
pub struct Project {
    pub(crate) host: Arc<dyn Host>,
    pub(crate) worktree: String,
    pub(crate) repository: bool,
    pub(crate) depot: String,
    pub(crate) limit: u64,
    /// Sessions that are packed for, with their temporary directories.
    pub(crate) packing: Arc<Mutex<Vec<(String, String)>>>,
}

impl Project {
    /// `repository` says whether `worktree` belongs to a git repository; `depot` is a path for
    /// the depot, which is made when it is needed first.
    pub fn new(host: Arc<dyn Host>, worktree: &str, repository: bool, depot: &str) -> Self {
        Project {
            host,
            worktree: worktree.into(),
            repository,
            depot: depot.into(),
            limit: MAX_PACK,
            packing: Arc::default(),
        }
    }

    /// With another limit than [`MAX_PACK`].
    pub fn with_limit(mut self, limit: u64) -> Self {
        self.limit = limit;
        self
    }

    /// How much is carried into a sandbox or taken from one, in bytes.
    pub fn limit(&self) -> u64 {
        self.limit
    }

    /// True if the branches are in the user's own repository, and not in the depot.
    pub fn is_repository(&self) -> bool {
        self.repository
    }

    /// The depot's path.
    pub fn depot(&self) -> &str {
        &self.depot
    }

    /// Git in the user's repository, which runs no program that the repository names; in the depot,
    /// if there is no repository.
    pub(crate) async fn users(&self) -> Result<Git<'_>, Error> {
        match self.layout().await? {
            Some(layout) => self.users_at(&layout).await.map(|(git, _)| git),
            None => Ok(self.private()),
        }
    }

    /// The same where the places are known, with all settings as `config -z --list` writes them.
    pub(crate) async fn users_at(&self, layout: &Layout) -> Result<(Git<'_>, Vec<u8>), Error> {
        let git = Git::users(&*self.host, &self.worktree);
        let git = git.with("GIT_DIR", layout.dir.clone());
        let settings = git.checked(&["config", "-z", "--list"], "").await?.stdout;
        let overrides = settings::overrides(&settings);
        if overrides.is_empty() {
            return Ok((git, settings));
        }
        let file = format!("{}/overrides", self.depot);
        self.keep_file(&file, &overrides).await?;
        Ok((git.overruled(file), settings))
    }

    /// Writes a file, unless that is its content already.
    pub(crate) async fn keep_file(&self, path: &str, content: &[u8]) -> Result<(), Error> {
        let known = self.host.read_file(path).await.unwrap_or_default();
        if known != content {
            self.host.replace_file(path, content).await?;
        }
        Ok(())
    }

    /// Shows a file of git's to `see`, a record after the other, each without the byte that ends it.
    pub(crate) async fn in_records(
        &self,
        path: &str,
        end: u8,
        mut see: impl FnMut(&[u8]),
    ) -> Result<(), Error> {
        let mut rest = Vec::new();
        self.in_parts(path, |part| {
            rest.extend_from_slice(part);
            let whole = rest.iter().rposition(|byte| *byte == end);
            if let Some(whole) = whole {
                rest[..whole].split(|byte| *byte == end).for_each(&mut see);
                rest.drain(..=whole);
            }
            Ok(())
        })
        .await
    }

    /// Shows a file of git's to `see`, a part after the other: it may be larger than memory should be.
    pub(crate) async fn in_parts(
        &self,
        path: &str,
        mut see: impl FnMut(&[u8]) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let mut at = 0;
        loop {
            let part = self.host.read_part(path, at, 1024 * 1024).await?;
            if part.is_empty() {
                return Ok(());
            }
            at += part.len() as u64;
            see(&part)?;
        }
    }

    /// Git in the depot, with no configuration but its own. Git before 2.32 looks for the user's where
    /// the home is.
    pub(crate) fn private(&self) -> Git<'_> {
        Git::plain(&*self.host, &self.worktree)
            .with("GIT_DIR", self.depot.clone())
            .with("HOME", "/dev/null")
            .with("XDG_CONFIG_HOME", "/dev/null")
            .with("GIT_CONFIG_GLOBAL", "/dev/null")
            .with("GIT_CONFIG_NOSYSTEM", "1")
            .with("GIT_ATTR_NOSYSTEM", "1")
    }

    /// Makes the depot, unless it is there, and gives git in it.
    pub(crate) async fn open(&self) -> Result<Git<'_>, Error> {
        let layout = self.layout().await?;
        self.open_at(layout.as_ref()).await
    }

    /// The same, where the places of the user's repository are known.
    pub(crate) async fn open_at(&self, layout: Option<&Layout>) -> Result<Git<'_>, Error> {
        self.open_within(layout, None).await
    }

    /// The same, with a temporary directory of the caller's.
    pub(crate) async fn open_within(
        &self,
        layout: Option<&Layout>,
        dir: Option<&str>,
    ) -> Result<Git<'_>, Error> {
        let private = self.private();
        let alternates = format!("{}/objects/info/alternates", self.depot);
        if !self.has_depot(&self.depot).await {
            let format = layout.map_or("sha1", |layout| &layout.format);
            match dir {
                Some(dir) => self.make_depot(&private, format, dir).await?,
                None => {
                    let dir = self.temp_dir().await?;
                    let made = self.make_depot(&private, format, &dir).await;
                    let _ = self.host.remove_dir(&dir).await;
                    made?;
                }
            }
        }
        if let Some(layout) = layout {
            let wanted = git::text_of_alternates(&layout.objects);
            self.keep_file(&alternates, wanted.as_bytes()).await?;
        }
        Ok(private)
    }

    /// True if a depot is there, and whole: this directory is the last thing that git makes of one.
    pub(crate) async fn has_depot(&self, depot: &str) -> bool {
        let objects = self.host.list_dir(&format!("{depot}/objects")).await;
        objects.is_ok_and(|names| names.iter().any(|name| name == "info"))
    }

    /// Makes the depot as one step, because another process may look for it, or make it, at the same time.
    async fn make_depot(&self, private: &Git<'_>, format: &str, dir: &str) -> Result<(), Error> {
        let format = format!("--object-format={format}");
        let init = ["init", "--quiet", "--bare", "--template=", &format];
        let made = format!("{dir}/depot.git");
        let git = private.clone().with("GIT_DIR", made.clone());
        git.checked(&init, "").await?;
        let moved = self.host.rename_file(&made, &self.depot).await;
        if moved.is_err() && !self.has_depot(&self.depot).await {
            // What stands in the way is half a depot, of a git that was killed: git completes it.
            private.checked(&init, "").await?;
        }
        Ok(())
    }

    /// Forgets what was kept for a session that is gone for good. Its branches stay.
    pub async fn forget(&self, session: &str) {
        let private = self.private();
        if !self.has_depot(&self.depot).await {
            return;
        }
        for kind in ["base", "home", "lfs"] {
            let name = kept(kind, session);
            let _ = private.run(&["update-ref", "-d", &name], "").await;
        }
        for commit in self.given(&private, session).await.unwrap_or_default() {
            let name = given(session, &commit);
            let _ = private.run(&["update-ref", "-d", &name], "").await;
        }
        // What nobody needs any more goes once there is enough of it.
        let gc = [
            "-c",
            "gc.auto=5000",
            "-c",
            "gc.autoDetach=false",
            "gc",
            "--auto",
            "--quiet",
            "--prune=1.day.ago",
        ];
        let _ = private.run(&gc, "").await;
    }

    /// Commits of other branches of the user's that went into the session's sandbox.
    pub(crate) async fn given(
        &self,
        private: &Git<'_>,
        session: &str,
    ) -> Result<Vec<String>, Error> {
        let below = format!("{}/", kept("given", session));
        let list = ["for-each-ref", "--format=%(objectname)", &below];
        let list = private.line(&list).await?;
        Ok(list.lines().map(str::to_string).collect())
    }

    /// The commit that the session's work starts from, if the depot has it.
    pub(crate) async fn kept(
        &self,
        private: &Git<'_>,
        kind: &str,
        session: &str,
    ) -> Option<String> {
        let name = format!("{}^{{commit}}", kept(kind, session));
        let found = private
            .run(&["rev-parse", "--verify", "--quiet", &name], "")
            .await
            .ok()?;
        (found.code == 0).then(|| git::text(&found.stdout))
    }

    /// The places of the user's repository; none if there is none.
    pub(crate) async fn layout(&self) -> Result<Option<Layout>, Error> {
        if !self.repository {
            return Ok(None);
        }
        let git = Git::users(&*self.host, &self.worktree);
        let mut args = vec!["rev-parse", "--path-format=absolute"];
        args.extend(["--show-object-format", BETWEEN, "--show-prefix", BETWEEN]);
        args.push("--absolute-git-dir");
        for place in ["objects", "index", "shallow", "info/exclude"] {
            args.extend([BETWEEN, "--git-path", place]);
        }
        let output = git.checked(&args, "").await?;
        let output = String::from_utf8_lossy(&output.stdout).into_owned();
        let layout = layout::read(&output, &self.worktree);
        layout.map(Some).ok_or_else(|| Error::Git {
            worktree: self.worktree.clone(),
            command: "rev-parse".into(),
            reason: "its answer is not what was asked for".into(),
        })
    }

    pub(crate) fn temporary(&self) -> String {
        let beside = self.depot.rsplit_once('/').map_or(".", |(dir, _)| dir);
        format!("{beside}/{PLACE}")
    }

    /// Makes a private, empty directory for temporary files and gives its path.
    pub async fn temp_dir(&self) -> Result<String, FileError> {
        let path = self.temp_path();
        self.host.make_dir(&path).await?;
        Ok(path)
    }

    /// A path for a directory for temporary files.
    pub(crate) fn temp_path(&self) -> String {
        let (host, random) = (&self.host, self.host.random());
        let (machine, pid) = (machine(&**host), host.pid());
        let place = self.temporary();
        format!("{place}/{TEMPORARY}{machine}-{pid}-{random:016x}")
    }

    /// Git that commits in our name.
    pub(crate) fn signed<'a>(&self, git: &Git<'a>) -> Git<'a> {
        let mut git = git.clone();
        for role in ["AUTHOR", "COMMITTER"] {
            git = git
                .with(&format!("GIT_{role}_NAME"), US)
                .with(
                    &format!("GIT_{role}_EMAIL"),
                    "opencode-daytona-sandbox@localhost",
                )
                .with(
                    &format!("GIT_{role}_DATE"),
                    format!("{} +0000", self.host.now_ms() / 1000),
                );
        }
        git
    }
}

/// The machine's name, as it can stand in a file's.
pub(crate) fn machine(host: &dyn Host) -> String {
    let plain = |c: &char| c.is_ascii_alphanumeric();
    host.machine().chars().filter(plain).take(40).collect()
}
