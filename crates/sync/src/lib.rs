//! Carrying the worktree into the sandbox and the work back, with git.
//!
//! The middle of both ways is the *depot*: a bare repository of our own beside the store, one per
//! worktree, which borrows the user's objects. [`Project::pack`] puts a commit of the worktree as it
//! is there, and packs it for the sandbox with some history. [`Project::receive`] takes a bundle from
//! the sandbox into the depot, checked; [`Project::land`] hands checked commits to the user's
//! repository and moves a branch there; [`Project::apply`] puts them onto the worktree, if the user
//! wants that. A project without git has its branches in the depot itself.
//!
//! Never: write to the user's index, HEAD, stash, configuration or checked-out branch; run a program
//! that the user's repository or a bundle names (`settings.rs` has the ways); write to the worktree, but for [`Project::apply`].
//!
//! Surprise: git runs on the user's own git directory while the worktree is read, so that its ignore
//! rules, attributes, line ends and sparse checkouts are what they are; new objects go to the depot
//! and the index is a copy.

mod agents;
mod along;
mod apply;
mod bases;
mod behind;
mod depth;
mod encoding;
mod exclude;
mod fsck;
mod git;
mod ground;
mod header;
mod hidden;
mod home;
mod layout;
mod lfs;
mod listing;
mod moved;
mod objects;
mod pack;
mod project_id;
mod refs;
mod secret;
mod settings;
mod snapshot;
mod sparse;
mod spelling;
mod temporary;
mod uncommitted;
mod under_way;
mod untouched;
mod version;

use git::Git;
use host::{FileError, GitError, Host};
use layout::Layout;
use std::sync::{Arc, Mutex};

pub use agents::Agents;
pub use apply::Applied;
pub use bases::PackFile;
pub use ground::{Ground, ground};
pub use home::{Incoming, Landed, Take, Tip};
pub use moved::Origin;
pub use pack::{Packed, Start, Step, Tell, is_no_project};
pub use project_id::{NO_PROJECT, project_id};
pub use refs::{Ref, Refs, Upstream};
pub use secret::Secrets;
pub use under_way::{Side, UnderWay};
pub use version::git_version;

/// How much is carried into a sandbox, or taken from one, unless something else is asked for: bytes.
pub const MAX_PACK: u64 = 1_000_000_000;

/// Why something could not be carried.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Git did not run, or did not finish.
    #[error(transparent)]
    NotRun(#[from] GitError),
    /// A temporary file or the depot cannot be used.
    #[error("cannot use a temporary directory: {0}")]
    File(#[from] FileError),
    /// Git says no.
    #[error("cannot read the project at {worktree}: git {command} failed: {reason}")]
    Git {
        /// The project.
        worktree: String,
        /// Git's subcommand.
        command: String,
        /// Git's words.
        reason: String,
    },
    /// Too much to upload.
    #[error("the project at {worktree} has {} MB to carry into a sandbox, in {files} files, and at most {} MB are carried{}. Leave out what the agent does not need with .gitignore or the option `carry.paths`, or raise the option `carry.maxMegabytes`.", size.div_ceil(1_000_000), limit / 1_000_000, named(largest))]
    TooLarge {
        /// The project.
        worktree: String,
        /// Bytes, as git keeps them; those of a file that git does not have yet as they are.
        size: u64,
        /// How many files they are in.
        files: usize,
        /// The largest files, with their bytes of that.
        largest: Vec<(String, u64)>,
        /// Bytes that are carried.
        limit: u64,
    },
    /// A partial clone without some files of the commit that it is at.
    #[error(
        "{worktree} is a partial clone that lacks files of its own HEAD which no sparse checkout leaves out, and nothing is fetched without being asked for. Fetch them (`git checkout .` does), then try again."
    )]
    Incomplete {
        /// The project.
        worktree: String,
    },
    /// Git on this machine is too old.
    #[error(
        "this machine has {found}, and version {needed} or newer is needed to carry a project into a sandbox and its work home. Update git, and see with `git --version` that it comes first on the PATH."
    )]
    OldGit {
        /// What it says of itself.
        found: String,
        /// The oldest version that will do.
        needed: String,
    },
    /// A directory that nobody means as a project.
    #[error(
        "{worktree} is the root of the file system, the home directory or above it; it is not uploaded. Start OpenCode in a project's directory."
    )]
    NotAProject {
        /// The directory.
        worktree: String,
    },
    /// A repository, and nothing that is checked out.
    #[error(
        "{directory} is inside a git repository that has no files checked out there (a bare repository, or the directory around its worktrees), so there is nothing to carry into a sandbox. Start OpenCode in {help}."
    )]
    NoWorktree {
        /// The directory.
        directory: String,
        /// Where to start it.
        help: String,
    },
    /// A repository of another user's.
    #[error(
        "{path} is a git repository that belongs to another user, so git refuses to use it and no work could come home there. If you trust it, run `git config --global --add safe.directory '{path}'` and start OpenCode again."
    )]
    NotTrusted {
        /// Its worktree.
        path: String,
    },
    /// A repository that git cannot read.
    #[error(
        "{path} does not lead to a git repository that can be read ({reason}), so no work could come home there. Repair it (`git worktree repair` and `git init` do that), or move it away, and start OpenCode again."
    )]
    Damaged {
        /// Its `.git`.
        path: String,
        /// Git's words.
        reason: String,
    },
    /// The sandbox sent something that is not taken.
    #[error(
        "what the sandbox sent was refused: {0}. Nothing of it was taken; the work is still in the sandbox."
    )]
    Refused(String),
    /// More new work than is taken.
    #[error("the sandbox has {} MB of new work, and at most {} MB are brought home{}. Raise the option `carry.maxMegabytes`, or delete or ignore in the sandbox what is not needed; until then all of it stays there.", size.div_ceil(1_000_000), limit / 1_000_000, named(largest))]
    TooMuch {
        /// Bytes, packed.
        size: u64,
        /// Bytes that are taken.
        limit: u64,
        /// The largest files, with the bytes that they take of that, if they are known.
        largest: Vec<(String, u64)>,
    },
    /// The user's repository does not take the branch.
    #[error(
        "cannot write branch {branch}: {reason}. Rename what is in the way, or set the option `branchPrefix`."
    )]
    Branch {
        /// Its name.
        branch: String,
        /// Git's words.
        reason: String,
    },
    /// Somebody else's branch has the name.
    #[error("there is a branch {0} already that is not this session's")]
    Taken(String),
}

/// A file with fewer bytes is not named as large.
const SMALL: u64 = 50_000;

/// Files and their sizes, in words.
fn named(files: &[(String, u64)]) -> String {
    let mut files = files.iter().filter(|(_, size)| *size >= SMALL).peekable();
    if files.peek().is_none() {
        return String::new();
    }
    let megabytes = |size: &u64| match *size as f64 / 1e6 {
        size if size < 10.0 => format!("{size:.1}"),
        size => format!("{size:.0}"),
    };
    let files = files.map(|(path, size)| format!("{path} ({} MB)", megabytes(size)));
    format!(
        "; the largest files: {}",
        files.collect::<Vec<_>>().join(", ")
    )
}

/// A worktree and its depot.
#[derive(Clone)]
pub struct Project {
    host: Arc<dyn Host>,
    worktree: String,
    repository: bool,
    depot: String,
    limit: u64,
    /// Sessions that are packed for, with their temporary directories.
    packing: Arc<Mutex<Vec<(String, String)>>>,
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
    async fn users(&self) -> Result<Git<'_>, Error> {
        match self.layout().await? {
            Some(layout) => self.users_at(&layout).await.map(|(git, _)| git),
            None => Ok(self.private()),
        }
    }

    /// The same where the places are known, with all settings as `config -z --list` writes them.
    async fn users_at(&self, layout: &Layout) -> Result<(Git<'_>, Vec<u8>), Error> {
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
    async fn keep_file(&self, path: &str, content: &[u8]) -> Result<(), Error> {
        let known = self.host.read_file(path).await.unwrap_or_default();
        if known != content {
            self.host.replace_file(path, content).await?;
        }
        Ok(())
    }

    /// Shows a file of git's to `see`, a record after the other, each without the byte that ends it.
    async fn in_records(
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
    async fn in_parts(
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
    fn private(&self) -> Git<'_> {
        Git::plain(&*self.host, &self.worktree)
            .with("GIT_DIR", self.depot.clone())
            .with("HOME", "/dev/null")
            .with("XDG_CONFIG_HOME", "/dev/null")
            .with("GIT_CONFIG_GLOBAL", "/dev/null")
            .with("GIT_CONFIG_NOSYSTEM", "1")
            .with("GIT_ATTR_NOSYSTEM", "1")
    }

    /// Makes the depot, unless it is there, and gives git in it.
    async fn open(&self) -> Result<Git<'_>, Error> {
        let layout = self.layout().await?;
        self.open_at(layout.as_ref()).await
    }

    /// The same, where the places of the user's repository are known.
    async fn open_at(&self, layout: Option<&Layout>) -> Result<Git<'_>, Error> {
        let private = self.private();
        let alternates = format!("{}/objects/info/alternates", self.depot);
        if !self.has_depot(&self.depot).await {
            let format = layout.map_or("sha1", |layout| &layout.format);
            self.make_depot(&private, format).await?;
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
    async fn make_depot(&self, private: &Git<'_>, format: &str) -> Result<(), Error> {
        let dir = self.temp_dir().await?;
        let format = format!("--object-format={format}");
        let init = ["init", "--quiet", "--bare", "--template=", &format];
        let made = format!("{dir}/depot.git");
        let git = private.clone().with("GIT_DIR", made.clone());
        let mut result = git.checked(&init, "").await.map(drop);
        if result.is_ok() {
            let moved = self.host.rename_file(&made, &self.depot).await;
            if moved.is_err() && !self.has_depot(&self.depot).await {
                // What stands in the way is half a depot, of a git that was killed: git completes it.
                result = private.checked(&init, "").await.map(drop);
            }
        }
        let _ = self.host.remove_dir(&dir).await;
        result
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
    async fn given(&self, private: &Git<'_>, session: &str) -> Result<Vec<String>, Error> {
        let below = format!("{}/", kept("given", session));
        let list = ["for-each-ref", "--format=%(objectname)", &below];
        let list = private.line(&list).await?;
        Ok(list.lines().map(str::to_string).collect())
    }

    /// The commit that the session's work starts from, if the depot has it.
    async fn kept(&self, private: &Git<'_>, kind: &str, session: &str) -> Option<String> {
        let name = format!("{}^{{commit}}", kept(kind, session));
        let found = private
            .run(&["rev-parse", "--verify", "--quiet", &name], "")
            .await
            .ok()?;
        (found.code == 0).then(|| git::text(&found.stdout))
    }
}

/// Ref in the depot: `base` is what a session's work starts from, `home` what came home last, `lfs` has
/// files that Git LFS keeps and that went into the sandbox.
fn kept(kind: &str, session: &str) -> String {
    // Only what cannot leave the directory or break a ref's name.
    let session: String = session
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || c == '_' || c == '-' {
                c
            } else {
                '-'
            }
        })
        .collect();
    format!("refs/opencode/{kind}/{session}")
}

/// Ref in the depot for a commit of the user's that went into a session's sandbox with its history.
fn given(session: &str, commit: &str) -> String {
    format!("{}/{commit}", kept("given", session))
}

/// FNV-1a.
fn fnv(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3)
    })
}

/// Where the depot of a worktree is, beside the store's file.
pub fn depot_path(store: &str, worktree: &str, repository: bool) -> String {
    // Clones of one repository share a store, but not their objects.
    let hash = fnv(worktree.as_bytes());
    let store = store.strip_suffix(".json").unwrap_or(store);
    let kind = if repository { "" } else { "-plain" };
    format!("{store}-{hash:016x}{kind}.git")
}

/// True for a full hash, in lower case.
pub fn is_hash(text: &str) -> bool {
    matches!(text.len(), 40 | 64)
        && text
            .bytes()
            .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}
