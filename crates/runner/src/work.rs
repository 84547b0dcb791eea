//! The work of the agent, as git sees it: what goes home, and what an undo comes back to.
//!
//! Everything is a commit below `refs/opencode/`, made of the files as they are ([`state`]):
//!
//! | ref | what |
//! | --- | --- |
//! | `base` | what the host sent; set by [`crate::setup`] |
//! | `work` | the state that was committed last, by a [`Sync`], a checkpoint or an undo: the next one stands on it, so all of them come home |
//! | `turn/ID` | the state before the first change of a turn: a checkpoint |
//! | `undone` | the state before the first undo |
//! | `out/N` | what the last bundle holds, see [`bundle`] |
//!
//! Whoever wants any of it opens the [`Repository`], which holds the project's lock, and opens only
//! where a setup has ended: a half-made project has no state.
//!
//! Never: touch HEAD, the agent's branches, its index or its stash; run a hook; let a checkpoint
//! that fails stop a tool.
//!
//! Surprise: the agent may remove `.git`. Then a sync makes a new one, and everything that is there
//! becomes a commit without a parent.

mod bundle;
mod encoding;
mod index;
mod left;
mod lfs;
mod restore;
mod state;
mod weight;

use crate::git::Git;
use crate::setup::{self, INIT};
use crate::state::State;
use crate::{error, exclude, job};
use protocol::{Code, Sync, Synced, ToolCall, ToolError};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};
use tools::catalog;

use bundle::Made;
pub(crate) use restore::restore;

const PLACE: &str = "refs/opencode";
const WORK: &str = "refs/opencode/work";
const TURNS: &str = "refs/opencode/turn";
/// Checkpoints that are kept.
const MAX_TURNS: usize = 200;
/// What is told where the way to a state is larger than the state.
const SHORTENED: &str =
    "the states of the files between are too large to come home, and stay in the sandbox";
/// What a repository that is beyond repair is called from then on.
const BROKEN: &str = ".git.broken-";

/// Where a request finds the project's state.
#[derive(Clone, Copy)]
pub(crate) struct Site<'a> {
    pub(crate) state: &'a State,
    /// The id of this sandbox, as the host says.
    pub(crate) sandbox: Option<&'a str>,
}

/// The project's repository, set up, with nobody else at work on it.
struct Repository {
    git: Git,
    /// Where git keeps it: `.git`, or where that points to.
    dir: PathBuf,
    #[expect(dead_code, reason = "held, not looked at")]
    lock: Option<File>,
}

/// Commits the state, and bundles what the host does not have.
pub(crate) fn sync(site: Site<'_>, sync: &Sync) -> Result<Synced, ToolError> {
    let after = sync.after.as_deref().map(turn_name).transpose()?;
    let repository = Repository::open_or_make(site, project(&sync.root)?)?;
    let state = site.state;
    // Before the files are looked at: what a command writes that ends meanwhile is not in the
    // state, so the host must ask again.
    let jobs = job::count_background(state);
    let kept = match after {
        Some(after) => {
            let turns = repository.turns()?;
            turns.into_iter().find(|(turn, _)| turn.as_str() > after)
        }
        None => None,
    };
    let (tip, left) = match kept {
        Some((_, commit)) => (commit, left::Left::default()),
        None => {
            let now = state::take(&repository, &sync.message, true)?;
            (now.commit, now.left)
        }
    };
    if after.is_none() {
        repository.set(&[(WORK.to_string(), Some(&tip))])?;
    }
    let mut synced = Synced {
        tip,
        left_out: left.out,
        notes: left.notes,
        jobs,
        ..Synced::default()
    };
    let Some(have) = &sync.have else {
        if after.is_none() {
            synced.branches = bundle::branches(&repository, &synced.tip, &[])?;
        }
        return Ok(synced);
    };
    let known = bundle::known(&repository, &have.iter().collect::<Vec<_>>());
    send(state, &repository, sync, &known, &mut synced)?;
    if after.is_none() && synced.too_much.is_some() {
        // What was large may be gone by now.
        let tip = state::shortened(&repository.git, &synced.tip, &known, &sync.message)?;
        if let Some(tip) = tip.filter(|tip| *tip != synced.tip) {
            let last = std::mem::replace(&mut synced.tip, tip);
            send(state, &repository, sync, &known, &mut synced)?;
            match synced.too_much {
                Some(_) => synced.tip = last,
                None => {
                    repository.set(&[(WORK.to_string(), Some(&synced.tip))])?;
                    synced.notes.push(SHORTENED.into());
                }
            }
        }
    }
    Ok(synced)
}

/// Bundles what the host does not have of the state that `synced` names, and says what is in it.
fn send(
    state: &State,
    repository: &Repository,
    sync: &Sync,
    known: &[String],
    synced: &mut Synced,
) -> Result<(), ToolError> {
    let have = sync.have.as_deref().unwrap_or_default();
    synced.branches = match sync.after {
        Some(_) => Vec::new(),
        None => bundle::branches(repository, &synced.tip, have)?,
    };
    let mut tips = vec![synced.tip.as_str()];
    tips.extend(synced.branches.iter().map(|branch| branch.commit.as_str()));
    let lfs = lfs::kept(repository, &tips, known)?;
    tips.extend(lfs.as_deref());
    let made = bundle::make(state, repository, &tips, known, sync.max_bytes)?;
    synced.lfs = lfs;
    (synced.bundle, synced.too_much) = match made {
        Made::Nothing => (None, None),
        Made::Bundle(bundle) => (Some(bundle), None),
        Made::TooMuch(too_much) => (None, Some(too_much)),
    };
    Ok(())
}

/// Before the first call of a turn that may change files: keeps their state. An error only if the
/// turn's name is none; whatever git has to say is no reason to refuse the call.
pub(crate) fn checkpoint(site: Site<'_>, call: &ToolCall) -> Result<(), ToolError> {
    let Some(turn) = &call.turn else {
        return Ok(());
    };
    let turn = turn_name(turn)?;
    let mutates = catalog::find(call.args.tool()).is_none_or(|tool| tool.mutates);
    let name = format!("{TURNS}/{turn}");
    let dir = Path::new(&call.root).join(".git");
    if !mutates || is_ref(&dir, &name) {
        return Ok(());
    }
    let Ok(Some(repository)) = Repository::open(site, Path::new(&call.root)) else {
        return Ok(());
    };
    // Somebody else may have made it while this one waited.
    if repository.git.resolve(&[&name]) == [None] {
        let _ = repository.keep(&name, turn);
    }
    Ok(())
}

fn project(root: &str) -> Result<&Path, ToolError> {
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

fn turn_name(turn: &str) -> Result<&str, ToolError> {
    if protocol::is_id(turn) {
        return Ok(turn);
    }
    Err(error(
        Code::BadRequest,
        format!("`{turn}` is not a turn: letters, digits, `-` and `_`, at most 64"),
    ))
}

/// A cheap look for a ref, without git: true if it is there for sure.
fn is_ref(dir: &Path, name: &str) -> bool {
    let is_packed = || {
        let packed = fs::read_to_string(dir.join("packed-refs")).unwrap_or_default();
        let mut names = packed.lines().filter_map(|line| line.split_once(' '));
        names.any(|(_, packed)| packed == name)
    };
    dir.join(name).exists() || is_packed()
}

/// Waits for the project's lock; an error if no setup of it has ended.
fn enter(site: Site<'_>, root: &Path) -> Result<Option<File>, ToolError> {
    let lock = setup::lock(site.state, root);
    if setup::is_set_up(site.state, root, site.sandbox) {
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
    fn open(site: Site<'_>, root: &Path) -> Result<Option<Repository>, ToolError> {
        let lock = enter(site, root)?;
        let found = find(root);
        Ok(found.map(|(git, dir)| Repository { git, dir, lock }))
    }

    /// The same, with a new repository if there is none (any more).
    fn open_or_make(site: Site<'_>, root: &Path) -> Result<Repository, ToolError> {
        let lock = enter(site, root)?;
        if let Some((git, dir)) = find(root) {
            return Ok(Repository { git, dir, lock });
        }
        let git = Git::new(root);
        git.check()?;
        let make = || {
            git.run(INIT)?;
            // Without them the host's ignored files would come home.
            exclude::restore(&git, site.state).map_err(setup::io_failed)?;
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
    fn turns(&self) -> Result<Vec<(String, String)>, ToolError> {
        let refs = self.git.refs(&[TURNS])?.into_iter();
        let turns = refs.filter_map(|(name, commit)| {
            let turn = name.strip_prefix(TURNS)?.strip_prefix('/')?;
            Some((turn.to_string(), commit))
        });
        Ok(turns.collect())
    }

    /// Makes a checkpoint, and drops the oldest if there are too many.
    fn keep(&self, name: &str, turn: &str) -> Result<(), ToolError> {
        let now = state::take(self, &format!("Before the turn {turn}"), false)?;
        let turns = self.turns()?;
        let excess = (turns.len() + 1).saturating_sub(MAX_TURNS);
        let commit = Some(now.commit.as_str());
        let mut changes = vec![(name.to_string(), commit), (WORK.to_string(), commit)];
        let old = turns.iter().take(excess);
        changes.extend(old.map(|(turn, _)| (format!("{TURNS}/{turn}"), None)));
        self.set(&changes)
    }

    /// Points refs to commits, or removes them.
    fn set(&self, changes: &[(String, Option<&str>)]) -> Result<(), ToolError> {
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
            for place in [PLACE, TURNS, bundle::OUT] {
                remove_locks(&self.dir.join(place));
            }
            set()?;
        }
        Ok(())
    }
}

fn remove_locks(dir: &Path) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.extension().is_some_and(|end| end == "lock") {
            let _ = fs::remove_file(path);
        }
    }
}
