//! The work of the agent, as git sees it: what goes home, and what an undo comes back to.
//!
//! Everything is a commit below `refs/opencode/`, made of the files as they are ([`state`]):
//!
//! | ref | what |
//! | --- | --- |
//! | `base` | what the host sent; set by [`crate::setup`] |
//! | `work` | the state that was committed last, by a [`SyncRequest`], a checkpoint or an undo: the next one stands on it, so all of them come home |
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
mod repository;
mod restore;
mod state;
mod weight;

use crate::job;
use crate::storage::Storage;
use protocol::{SyncRequest, Synced, ToolCall, ToolError};
use std::fs;
use std::path::Path;
use tools::catalog;

use bundle::Made;
pub(crate) use repository::Site;
use repository::{Repository, TURNS, WORK, project, turn_name};
pub(crate) use restore::restore;

/// Checkpoints that are kept.
const MAX_TURNS: usize = 200;
/// What is told where the way to a state is larger than the state.
const SHORTENED: &str =
    "the states of the files between are too large to come home, and stay in the sandbox";
/// Commits the state, and bundles what the host does not have.
pub(crate) fn sync(site: Site<'_>, sync: &SyncRequest) -> Result<Synced, ToolError> {
    let after = sync.after.as_deref().map(turn_name).transpose()?;
    let repository = Repository::open_or_make(site, project(&sync.root)?)?;
    let storage = site.storage;
    // Before the files are looked at: what a command writes that ends meanwhile is not in the
    // state, so the host must ask again.
    let jobs = job::count_background(storage);
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
    send(storage, &repository, sync, &known, &mut synced)?;
    if after.is_none() && synced.too_much.is_some() {
        // What was large may be gone by now.
        let tip = state::shortened(&repository.git, &synced.tip, &known, &sync.message)?;
        if let Some(tip) = tip.filter(|tip| *tip != synced.tip) {
            let last = std::mem::replace(&mut synced.tip, tip);
            send(storage, &repository, sync, &known, &mut synced)?;
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
    storage: &Storage,
    repository: &Repository,
    sync: &SyncRequest,
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
    let made = bundle::make(storage, repository, &tips, known, sync.max_bytes)?;
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
        let _ = keep(&repository, &name, turn);
    }
    Ok(())
}

/// Makes a checkpoint, and drops the oldest if there are too many.
fn keep(repository: &Repository, name: &str, turn: &str) -> Result<(), ToolError> {
    let now = state::take(repository, &format!("Before the turn {turn}"), false)?;
    let turns = repository.turns()?;
    let excess = (turns.len() + 1).saturating_sub(MAX_TURNS);
    let commit = Some(now.commit.as_str());
    let mut changes = vec![(name.to_string(), commit), (WORK.to_string(), commit)];
    let old = turns.iter().take(excess);
    changes.extend(old.map(|(turn, _)| (format!("{TURNS}/{turn}"), None)));
    repository.set(&changes)
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
