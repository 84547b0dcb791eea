//! What the host lacks, in one file that git on the other side can fetch from.
//!
//! The bundle is thin: it builds on what the host has. If the host has nothing that the sandbox
//! knows, it holds everything that is here; from a shallow history that is a bundle whose oldest
//! commits name parents that it does not hold, so the receiver must know the boundary.
//!
//! Surprise: a ref that the host has already is not in the bundle, so `out/0` is missing if only
//! other branches have something new.

use super::repository::{OUT, Repository};
use super::weight;
use crate::answer::error;
use crate::git::{Git, is_hash};
use crate::setup::TAGS;
use crate::storage::Storage;
use base64::Engine;
use protocol::{Branch, Bundle, Code, MAX_INLINE, TooMuch, ToolError};
use sha2::{Digest, Sha256};
use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::Path;

const MAX_BRANCHES: usize = 50;
const BUNDLES: &str = "bundles";

/// The agent's other branches and its stash, as far as neither `tip` nor what the host has reaches
/// them, and commits that only a tag holds. The newest come first, the stash comes last.
pub(super) fn branches(
    repository: &Repository,
    tip: &str,
    have: &[String],
) -> Result<Vec<Branch>, ToolError> {
    let git = &repository.git;
    let mut all = git.refs(&["refs/heads", "refs/stash"])?;
    all.extend(tags(repository)?);
    let commits: Vec<&String> = all.iter().map(|(_, commit)| commit).collect();
    let here: HashSet<String> = known(repository, &commits).into_iter().collect();
    let without = known(repository, &have.iter().collect::<Vec<_>>());
    let mut without: String = without.iter().map(|known| format!("^{known}\n")).collect();
    without += &format!("^{tip}\n");
    let new = |commits: &[&String]| {
        let wanted: String = commits.iter().map(|commit| format!("{commit}\n")).collect();
        git.feed(&["rev-list", "--stdin"], (wanted + &without).as_bytes())
    };
    let mut others: Vec<&String> = commits
        .into_iter()
        .filter(|commit| commit.as_str() != tip && here.contains(*commit))
        .collect();
    if others.is_empty() {
        return Ok(Vec::new());
    }
    let listed = new(&others).or_else(|_| {
        // A branch that is damaged must not keep the others from coming home.
        others.retain(|commit| new(&[*commit]).is_ok());
        new(&others)
    })?;
    let listed = String::from_utf8_lossy(&listed);
    let place: HashMap<&str, usize> = listed.lines().zip(0..).collect();
    let mut found: Vec<(bool, usize, Branch)> = all
        .iter()
        .filter_map(|(name, commit)| {
            let short = name.strip_prefix("refs/heads/");
            let short = short.or_else(|| name.strip_prefix("refs/tags/"));
            let branch = Branch {
                name: short.unwrap_or("stash").to_string(),
                commit: commit.clone(),
            };
            Some((short.is_none(), *place.get(commit.as_str())?, branch))
        })
        .collect();
    found.sort_by_key(|(is_stash, place, _)| (*is_stash, *place));
    let branches = found.into_iter().map(|(_, _, branch)| branch);
    Ok(branches.take(MAX_BRANCHES).collect())
}

/// Tags of the agent's, with the commits that they stand for: neither those of the image or the user, nor
/// those that came with a remote's branches.
fn tags(repository: &Repository) -> Result<Vec<(String, String)>, ToolError> {
    let git = &repository.git;
    let known = fs::read_to_string(repository.dir.join(TAGS)).unwrap_or_default();
    let known: HashSet<&str> = known.lines().collect();
    let format = "--format=%(refname) %(objecttype) %(objectname) %(*objecttype) %(*objectname)";
    let list = git.feed(&["for-each-ref", format, "refs/tags"], b"")?;
    let list = String::from_utf8_lossy(&list).into_owned();
    let tags = list.lines().filter_map(|line| {
        let fields: Vec<&str> = line.split(' ').collect();
        let (name, object, commit) = match fields[..] {
            [name, "commit", commit, ..] => (name, commit, commit),
            [name, "tag", object, "commit", commit] => (name, object, commit),
            _ => return None,
        };
        let is_known = known.contains(&*format!("{name} {object}"));
        (!is_known).then(|| (name.to_string(), commit.to_string()))
    });
    let mut tags: Vec<_> = tags.collect();
    if !tags.is_empty() {
        let commits: String = tags
            .iter()
            .map(|(_, commit)| format!("{commit}\n"))
            .collect();
        let own = ["rev-list", "--stdin", "--not", "--remotes"];
        let own = git.feed(&own, commits.as_bytes()).unwrap_or_default();
        let own = String::from_utf8_lossy(&own).into_owned();
        let own: HashSet<&str> = own.lines().collect();
        tags.retain(|(_, commit)| own.contains(&**commit));
    }
    Ok(tags)
}

/// Those of the commits that are here.
pub(super) fn known(repository: &Repository, commits: &[&String]) -> Vec<String> {
    let named = commits.iter().filter(|hash| is_hash(hash));
    let named: Vec<String> = named.map(|hash| format!("{hash}^{{commit}}")).collect();
    if named.is_empty() {
        return Vec::new();
    }
    let named: Vec<&str> = named.iter().map(String::as_str).collect();
    let found = repository.git.resolve(&named);
    found.into_iter().flatten().collect()
}

/// What became of a bundle.
pub(super) enum Made {
    /// The host has everything.
    Nothing,
    Bundle(Bundle),
    TooMuch(TooMuch),
}

/// Bundles commits without what the host has. A bundle of more than `max` bytes is not made.
pub(super) fn make(
    storage: &Storage,
    repository: &Repository,
    tips: &[&str],
    known: &[String],
    max: Option<u64>,
) -> Result<Made, ToolError> {
    let git = &repository.git;
    let fresh: Vec<(String, &str)> = tips
        .iter()
        .enumerate()
        .map(|(n, commit)| (format!("{OUT}/{n}"), *commit))
        .collect();
    let old = git.refs(&[OUT])?;
    let gone = old
        .iter()
        .filter(|(name, _)| fresh.iter().all(|(fresh, _)| fresh != name));
    let mut changes: Vec<(String, Option<&str>)> =
        gone.map(|(name, _)| (name.clone(), None)).collect();
    changes.extend(fresh.iter().map(|(name, to)| (name.clone(), Some(*to))));
    repository.set(&changes)?;

    let without: Vec<String> = known.iter().map(|commit| format!("^{commit}")).collect();
    let mut revisions: Vec<&str> = fresh.iter().map(|(name, _)| name.as_str()).collect();
    revisions.extend(without.iter().map(String::as_str));
    let script = revisions.join("\n") + "\n";
    let first = git.feed(&["rev-list", "-n", "1", "--stdin"], script.as_bytes())?;
    // What the host asked for before and did not get is still there.
    let name = digest(&[tips.join("\n").as_bytes(), script.as_bytes()].concat()) + ".bundle";
    remove_old(storage, &name);
    if first.is_empty() {
        return Ok(Made::Nothing);
    }
    if let Some(max) = max.filter(|max| weight::may_exceed(repository, *max)) {
        let weight = weight::weigh(repository, tips, known)?;
        if weight.large > max {
            return Ok(Made::TooMuch(weight.all));
        }
    }
    let Some(place) = storage.sub(BUNDLES) else {
        return Err(error(
            Code::Sandbox,
            "There is no place in the sandbox to put a bundle: neither the home directory nor /tmp can be written. Make room with bash.",
        ));
    };
    let path = place.join(name);
    // As arguments: git before 2.32 does not see refs that come on stdin.
    let create = [["bundle", "create", "-"].as_slice(), &revisions].concat();
    if !path.exists() && !write(git, &create, &path, max)? {
        let weight = weight::weigh(repository, tips, known)?;
        return Ok(Made::TooMuch(weight.all));
    }
    let bundle = wrap(&path).map_err(|why| cannot("read", &path, &why))?;
    if max.is_some_and(|max| bundle.size > max) {
        // From when the limit was another.
        let _ = fs::remove_file(&path);
        return Ok(Made::TooMuch(weight::weigh(repository, tips, known)?.all));
    }
    Ok(Made::Bundle(bundle))
}

/// Writes what git prints to a file; false, and no file, if it has more than `max` bytes.
fn write(git: &Git, args: &[&str], path: &Path, max: Option<u64>) -> Result<bool, ToolError> {
    let aside = path.with_extension("part");
    let written = || {
        let cannot = |why| cannot("written", &aside, &why);
        let mut file = File::create(&aside).map_err(cannot)?;
        let mut size = 0;
        git.stream(args, &mut |part| {
            size += part.len() as u64;
            let is_within = max.is_none_or(|max| size <= max);
            if is_within {
                file.write_all(part).map_err(cannot)?;
            }
            Ok(is_within)
        })
    };
    let written = written();
    if matches!(written, Ok(true)) {
        fs::rename(&aside, path).map_err(|why| cannot("written", path, &why))?;
    } else {
        let _ = fs::remove_file(&aside);
    }
    written
}

fn cannot(what: &str, path: &Path, why: &io::Error) -> ToolError {
    let path = path.display();
    let message =
        format!("The bundle {path} cannot be {what} in the sandbox: {why}. Make room with bash.");
    error(Code::Sandbox, message)
}

fn digest(bytes: &[u8]) -> String {
    hex(Sha256::digest(bytes).as_slice())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn wrap(path: &Path) -> io::Result<Bundle> {
    let mut file = File::open(path)?;
    let size = file.metadata()?.len();
    let mut hash = Sha256::new();
    let mut whole = Vec::new();
    let is_small = size <= MAX_INLINE as u64;
    let mut buffer = vec![0; 1 << 16];
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            break;
        }
        hash.update(&buffer[..read]);
        if is_small {
            whole.extend_from_slice(&buffer[..read]);
        }
    }
    if is_small {
        let _ = fs::remove_file(path);
    }
    Ok(Bundle {
        size,
        sha256: hex(hash.finalize().as_slice()),
        inline: is_small.then(|| base64::engine::general_purpose::STANDARD.encode(&whole)),
        path: (!is_small).then(|| path.to_string_lossy().into_owned()),
    })
}

/// Removes what earlier syncs left for the host, but for the file that is to be made now.
pub(super) fn remove_old(storage: &Storage, but: &str) {
    for place in storage.all(BUNDLES) {
        for entry in fs::read_dir(place).into_iter().flatten().flatten() {
            if entry.file_name() != but {
                let _ = fs::remove_file(entry.path());
            }
        }
    }
}
