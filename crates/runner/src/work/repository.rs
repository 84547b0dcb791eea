//! The project's repository, and the refs in it that are ours.

use crate::answer::{error, setup_failed};
use crate::exclude;
use crate::git::Git;
use crate::setup::{self, INIT};
use crate::storage::Storage;
use protocol::{Code, ToolError};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// Below it is all that is ours.
const PLACE: &str = "refs/opencode";
/// The state that was committed last.
pub(super) const WORK: &str = "refs/opencode/work";
/// Below it are the checkpoints.
pub(super) const TURNS: &str = "refs/opencode/turn";
/// Below it is what the last bundle holds.
pub(super) const OUT: &str = "refs/opencode/out";
/// What a repository that is beyond repair is called from then on.
const BROKEN: &str = ".git.broken-";

/// Where a request finds the project's state.
#[derive(Clone, Copy)]
pub(crate) struct Site<'a> {
    pub(crate) storage: &'a Storage,
    /// The id of this sandbox, as the host says.
    pub(crate) sandbox: Option<&'a str>,
}

/// The project's repository, set up, with nobody else at work on it.
pub(super) struct Repository {
    pub(super) git: Git,
    /// Where git keeps it: `.git`, or where that points to.
    pub(super) dir: PathBuf,
    #[expect(dead_code, reason = "held, not looked at")]
    lock: Option<File>,
}

/// Waits for the project's lock; an error if no setup of it has ended.
fn enter(site: Site<'_>, root: &Path) -> Result<Option<File>, ToolError> {
    let lock = setup::lock(site.storage, root);
    if setup::is_set_up(site.storage, root, site.sandbox) {
        return Ok(lock);
    }
    Err(error(
        Code::NotSetUp,
        format!(
            "The project was never brought into {} of this sandbox completely, so there is no work in it to take.",
            root.display()
        ),
    ))
}

/// The repository of exactly this directory, and where git keeps it.
fn find(root: &Path) -> Option<(Git, PathBuf)> {
    let git = Git::new(root);
    let dir = git.text(&["rev-parse", "--absolute-git-dir"])?;
    Some((git, PathBuf::from(dir)))
}

impl Repository {
    /// Waits for the lock; none if the project has no repository that git accepts, an error if no
    /// setup of it has ended.
    pub(super) fn open(site: Site<'_>, root: &Path) -> Result<Option<Repository>, ToolError> {
        let lock = enter(site, root)?;
        let found = find(root);
        Ok(found.map(|(git, dir)| Repository { git, dir, lock }))
    }

    /// The same, with a new repository if there is none (any more).
    pub(super) fn open_or_make(site: Site<'_>, root: &Path) -> Result<Repository, ToolError> {
        let lock = enter(site, root)?;
        if let Some((git, dir)) = find(root) {
            return Ok(Repository { git, dir, lock });
        }
        let git = Git::new(root);
        git.check()?;
        let make = || {
            git.run(INIT)?;
            // Without them the host's ignored files would come home.
            exclude::restore(&git, site.storage).map_err(setup_failed)?;
            setup::configure(&git, None, None)
        };
        // Git repairs what lacks a part.
        let mut made = make();
        let mut found = find(root);
        if found.is_none() && root.join(".git").exists() {
            let now = SystemTime::now().duration_since(UNIX_EPOCH);
            let aside = format!("{BROKEN}{}", now.unwrap_or_default().as_nanos());
            let _ = fs::rename(root.join(".git"), root.join(aside));
            made = make();
            let exclude = root.join(".git/info/exclude");
            let old = fs::read_to_string(&exclude).unwrap_or_default();
            let _ = fs::write(&exclude, format!("{old}/{BROKEN}*\n"));
            found = find(root);
        }
        made?;
        let (git, dir) = found.ok_or_else(|| {
            error(
                Code::Sandbox,
                format!(
                    "{} in the sandbox has no git repository and none can be made there. Look at its .git with bash.",
                    root.display()
                ),
            )
        })?;
        Ok(Repository { git, dir, lock })
    }

    /// Checkpoints, oldest first: turn and commit.
    pub(super) fn turns(&self) -> Result<Vec<(String, String)>, ToolError> {
        let refs = self.git.refs(&[TURNS])?.into_iter();
        let turns = refs.filter_map(|(name, commit)| {
            let turn = name.strip_prefix(TURNS)?.strip_prefix('/')?;
            Some((turn.to_string(), commit))
        });
        Ok(turns.collect())
    }

    /// Points refs to commits, or removes them.
    pub(super) fn set(&self, changes: &[(String, Option<&str>)]) -> Result<(), ToolError> {
        let mut script = String::new();
        for (name, commit) in changes {
            script += &match commit {
                Some(commit) => format!("update {name} {commit}\n"),
                None => format!("delete {name}\n"),
            };
        }
        let set = || self.git.feed(&["update-ref", "--stdin"], script.as_bytes());
        if set().is_err() {
            // A git that was killed leaves locks that only their owner may remove. Here that is us.
            for place in [PLACE, TURNS, OUT] {
                remove_locks(&self.dir.join(place));
            }
            set()?;
        }
        Ok(())
    }
}

pub(super) fn project(root: &str) -> Result<&Path, ToolError> {
    let path = Path::new(root);
    match (path.is_absolute(), path.is_dir()) {
        (true, true) => Ok(path),
        (true, false) => Err(error(
            Code::Sandbox,
            format!(
                "The project directory {root} is not there in the sandbox (any more). What was committed in it is gone with it; what came home before is safe. Use a fresh sandbox, or make it again with bash."
            ),
        )),
        (false, _) => Err(error(
            Code::BadRequest,
            format!("root must be an absolute path, not `{root}`"),
        )),
    }
}

pub(super) fn turn_name(turn: &str) -> Result<&str, ToolError> {
    if protocol::is_id(turn) {
        return Ok(turn);
    }
    Err(error(
        Code::BadRequest,
        format!("`{turn}` is not a turn: letters, digits, `-` and `_`, at most 64"),
    ))
}

fn remove_locks(dir: &Path) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.extension().is_some_and(|end| end == "lock") {
            let _ = fs::remove_file(path);
        }
    }
}
