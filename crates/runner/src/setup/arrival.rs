//! What arrives in the pack beside the commit that is checked out.

use crate::answer::{error, sandbox, setup_failed};
use crate::git::{Git, is_hash};
use crate::lfs;
use protocol::{Base, Code, ToolError, UnderWay, Upstream};
use std::fs;
use std::process::Stdio;

/// Where refs of the user's are.
const PLACES: &[&str] = &["refs/heads/", "refs/remotes/", "refs/tags/"];
/// Files of the git directory that say what git is doing.
const MARKS: &[&str] = &[
    "MERGE_HEAD",
    "MERGE_MODE",
    "MERGE_MSG",
    "CHERRY_PICK_HEAD",
    "REVERT_HEAD",
];

/// Everything that the pack must hold, by hash.
pub(super) fn objects(base: &Base) -> impl Iterator<Item = &String> {
    let refs = base.refs.iter().map(|(_, object)| object);
    let under_way = base.under_way.as_ref();
    let blobs = under_way.and_then(|under_way| under_way.blobs.as_ref());
    let all = [&base.commit].into_iter().chain(&base.lfs);
    all.chain(refs).chain(blobs)
}

/// Refuses what the host would not say.
pub(super) fn check(base: &Base) -> Result<(), ToolError> {
    let under_way = base.under_way.iter();
    let marks = under_way.clone().flat_map(|under_way| &under_way.marks);
    let sides = under_way.flat_map(|under_way| &under_way.sides);
    let bad_hash = base
        .shallow
        .iter()
        .chain(objects(base))
        .chain(sides.map(|(_, blob, ..)| blob))
        .find(|hash| !is_hash(hash));
    let names = base.refs.iter().map(|(name, _)| name);
    let bad_ref = names
        .chain(base.default.iter().map(|(name, _)| name))
        .find(|name| !PLACES.iter().any(|place| name.starts_with(place)));
    let bad_mark = marks
        .map(|(name, _)| name)
        .find(|name| !MARKS.contains(&name.as_str()));
    let message = match (bad_hash, bad_ref.or(bad_mark)) {
        (Some(hash), _) => format!("`{hash}` is not a full commit hash"),
        (None, Some(name)) => format!("`{name}` is not a name of the user's that is taken"),
        (None, None) => return Ok(()),
    };
    Err(error(Code::BadRequest, message))
}

/// Makes the user's other refs. One that cannot be made is no reason to fail.
pub(super) fn refs(git: &Git, base: &Base) -> Result<(), ToolError> {
    let own = format!("refs/heads/{}", base.branch);
    let refs = base.refs.iter().filter(|(name, _)| *name != own);
    let line = |(name, object): &(String, String)| format!("update {name} {object}\n");
    let script: String = refs.clone().map(line).collect();
    let update = |script: &str| git.feed(&["update-ref", "--stdin"], script.as_bytes());
    if !script.is_empty() && update(&script).is_err() {
        for one in refs {
            let _ = update(&line(one));
        }
    }
    if let Some((name, other)) = &base.default {
        git.succeeds(&["symbolic-ref", name, other]);
    }
    match &base.upstream {
        Some(upstream) => follow(git, &base.branch, upstream),
        None => Ok(()),
    }
}

/// Makes a branch follow what it follows on the host.
fn follow(git: &Git, branch: &str, upstream: &Upstream) -> Result<(), ToolError> {
    let Upstream {
        remote,
        merge,
        tracking,
    } = upstream;
    git.run(&["config", &format!("branch.{branch}.remote"), remote])?;
    git.run(&["config", &format!("branch.{branch}.merge"), merge])?;
    let fetch = format!("remote.{remote}.fetch");
    if remote != "." && git.text(&["config", "--get-all", &fetch]).is_none() {
        git.run(&["config", &fetch, &format!("+{merge}:{tracking}")])?;
    }
    Ok(())
}

/// Makes a merge, or what it is, that has not ended on the host one that has not ended here.
pub(super) fn under_way(git: &Git, under_way: &UnderWay) -> Result<(), ToolError> {
    let mut entries = String::new();
    for (_, blob, _, path) in &under_way.sides {
        entries += &format!("0 {} 0\t{path}\0", "0".repeat(blob.len()));
    }
    for (mode, blob, stage, path) in &under_way.sides {
        entries += &format!("{mode} {blob} {stage}\t{path}\0");
    }
    if !entries.is_empty() {
        let update = ["update-index", "-z", "--index-info"];
        git.feed(&update, entries.as_bytes())?;
    }
    for (name, text) in &under_way.marks {
        fs::write(git.dir.join(".git").join(name), text).map_err(setup_failed)?;
    }
    Ok(())
}

/// Puts files that Git LFS keeps where its filter finds them.
pub(super) fn keep(git: &Git, commit: &str) -> Result<(), ToolError> {
    let Some(store) = lfs::store(&git.dir) else {
        return Ok(());
    };
    let list = git.feed(&["ls-tree", commit], b"")?;
    for line in String::from_utf8_lossy(&list).lines() {
        let Some((entry, oid)) = line.split_once('\t') else {
            continue;
        };
        let blob = entry.rsplit(' ').next().unwrap_or_default();
        let mut child = git
            .command(&["cat-file", "blob", blob])
            .stdout(Stdio::piped())
            .spawn()
            .map_err(setup_failed)?;
        let kept = child
            .stdout
            .take()
            .map(|mut out| lfs::keep(&store, &mut out));
        let status = child.wait().map_err(setup_failed)?;
        let kept = kept.transpose().map_err(setup_failed)?;
        if !status.success() || kept.is_none_or(|pointer| pointer.oid != oid) {
            return Err(sandbox(format!(
                "The file with the SHA-256 {oid}, which Git LFS keeps, did not arrive in the sandbox whole."
            )));
        }
    }
    Ok(())
}
