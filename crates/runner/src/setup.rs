//! Makes the project directory: an empty repository, or one that holds an uploaded commit.
//!
//! Everything is prepared in a directory beside `root` and renamed into place, so a crash half-way
//! leaves nothing that looks finished. If `root` exists already and is not empty (an image may ship
//! it), the repository is built beside it, moved in as `.git`, and only then is the commit
//! checked out; the missing checkout mark makes the next run finish the job.
//!
//! The last thing of all is a mark with the sandbox's id, in `.git` and beside the runner's other
//! records (the agent may remove `.git`). Without it nothing takes or changes the project's state
//! ([`is_set_up`]): what is there may be half a project. A setup holds the project's lock throughout.
//!
//! Never: touch the working tree of a repository that has this base already.
//!
//! Surprise: the image may be a snapshot of a sandbox that another session worked in. The sandbox's
//! id, kept in `.git`, tells; then that session's refs, branches and half-done merges go, and so do
//! its files, except those that git ignores.
//!
//! Surprise: a pack may build on commits that an image of the same name had yesterday, so nothing
//! points to the new commit before all of its objects are known to be there.

mod agents;
mod arrival;
mod packs;

use crate::answer::{error, sandbox, setup_failed};
use crate::exclude;
use crate::git::{Git, is_hash};
use crate::partial;
use crate::storage::{Storage, name_of};
use protocol::{Base, Code, Ready, Setup, ToolError};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

pub(crate) use agents::configure;

pub(crate) const BASE_REF: &str = "refs/opencode/base";
/// In `.git` from the time the repository is in place until the checkout is complete.
const UNFINISHED: &str = "opencode-checkout";
/// In `.git`: the commits that the image brought, one per line, as of the first setup.
const FOUND: &str = "opencode-found";
const MAX_FOUND: usize = 20;
/// In `.git`: the tags that were there when the first setup ended, one per line with its object.
pub(crate) const TAGS: &str = "opencode-tags";
/// Most processes that write files.
const MAX_WORKERS: usize = 8;
/// A disk with fewer bytes than these is full.
const FULL: u64 = 1024 * 1024;
/// In `.git`: the id of the sandbox that the repository was set up in.
const SANDBOX: &str = "opencode-sandbox";
/// Beside records and jobs: the same, in one file per project directory.
const PROJECTS: &str = "projects";
/// What the image had checked out, where the project took its place.
const REPLACED: &str = "refs/opencode/replaced";
/// Marks in `.git` of what git was doing.
const UNDER_WAY: &[&str] = &[
    "MERGE_HEAD",
    "MERGE_MODE",
    "MERGE_MSG",
    "CHERRY_PICK_HEAD",
    "REVERT_HEAD",
    "BISECT_START",
    "rebase-apply",
    "rebase-merge",
    "sequencer",
    "index.lock",
    "HEAD.lock",
];

/// Makes a repository, without what the image would put into every one.
pub(crate) const INIT: &[&str] = &["init", "--quiet", "--template="];

/// Makes `setup.root`, or finds that it is there. `sandbox` is the id of this sandbox.
pub(crate) fn run(
    storage: &Storage,
    setup: &Setup,
    sandbox_id: Option<&str>,
) -> Result<Ready, ToolError> {
    let root = Path::new(&setup.root);
    if !root.is_absolute() || root.parent().is_none() {
        return Err(error(
            Code::BadRequest,
            format!(
                "root must be an absolute path below /, not `{}`",
                setup.root
            ),
        ));
    }
    fs::create_dir_all(root).map_err(|why| {
        sandbox(format!(
            "The project directory {} cannot be made in the sandbox: {why}. Set the option `projectDir` to a directory that the sandbox's user may write.",
            root.display()
        ))
    })?;
    let _lock = lock(storage, root);
    let done = set_up(storage, root, setup, sandbox_id);
    match done {
        Err(why) if why.code == Code::Sandbox && is_full(root) => Err(ToolError {
            message: format!(
                "The project does not fit on the sandbox's disk: {} is full. Use a snapshot or an image with more room, or set the option `projectDir` to a directory that has it. ({})",
                root.display(),
                why.message
            ),
            ..why
        }),
        done => done,
    }
}

/// True if the file system of the directory takes no more.
fn is_full(dir: &Path) -> bool {
    let free = rustix::fs::statvfs(dir);
    free.is_ok_and(|free| {
        let no_files = free.f_files > 0 && free.f_favail == 0;
        no_files || free.f_bavail * free.f_frsize < FULL
    })
}

fn set_up(
    storage: &Storage,
    root: &Path,
    setup: &Setup,
    sandbox_id: Option<&str>,
) -> Result<Ready, ToolError> {
    let git = Git::new(root);
    git.check()?;
    let place = Place {
        storage,
        root,
        sandbox: sandbox_id,
    };
    let inherited = !setup.probe && place.is_inherited();
    let found = found(&git, inherited);
    let list: String = found.iter().map(|hash| format!("{hash}\n")).collect();
    // The list is written here, before anything of ours is in a repository that the image brought, and
    // again below, where there was no repository yet.
    let note = || fs::write(root.join(".git").join(FOUND), &list);
    let _ = note();
    match &setup.base {
        Some(base) => with_base(&git, &place, base, inherited)?,
        None if inherited => forget(&git, None)?,
        None if root.join(".git").exists() => {}
        None => git.run(INIT)?,
    }
    configure(&git, setup.identity.as_ref(), setup.hooks.as_deref())?;
    let _ = note();
    make_cwd(root, setup.cwd.as_deref());
    let head = git.text(&["rev-parse", "--verify", "--quiet", "HEAD^{commit}"]);
    let tags = root.join(".git").join(TAGS);
    if root.join(".git").is_dir() && !tags.exists() {
        let list = [
            "for-each-ref",
            "--format=%(refname) %(objectname)",
            "refs/tags",
        ];
        fs::write(tags, git.feed(&list, b"")?).map_err(setup_failed)?;
    }
    if !setup.probe || head.is_some() {
        place.mark()?;
    }
    if let Some(base) = &setup.base {
        packs::discard(base);
    }
    Ok(Ready {
        home: std::env::var("HOME").unwrap_or_else(|_| "/".to_string()),
        head,
        arch: rustix::system::uname()
            .machine()
            .to_string_lossy()
            .into_owned(),
        found,
    })
}

/// Makes the directory that the session works in, where the project has none. A file of the agent's
/// may be in its place; then there is none.
pub(crate) fn make_cwd(root: &Path, cwd: Option<&str>) {
    let cwd = cwd.map(Path::new).filter(|cwd| cwd.starts_with(root));
    if let Some(cwd) = cwd {
        let _ = fs::create_dir_all(cwd);
    }
}

/// Waits for the project's lock: a setup and everything about its state come one after the other.
/// Git inherits it, so that a git whose runner was killed still keeps the next one waiting. It is on
/// the directory itself, because a full disk takes no file for it.
pub(crate) fn lock(storage: &Storage, root: &Path) -> Option<File> {
    let lock = File::open(root).ok().filter(|root| {
        let exclusive = rustix::fs::FlockOperation::LockExclusive;
        rustix::fs::flock(root, exclusive).is_ok()
    });
    let lock = lock.or_else(|| storage.lock("work"))?;
    let _ = rustix::io::fcntl_setfd(&lock, rustix::io::FdFlags::empty());
    Some(lock)
}

/// True if a setup of the project directory has ended in this sandbox, and none is half done. The
/// caller holds the lock. Without an id, only the latter can be seen.
pub(crate) fn is_set_up(storage: &Storage, root: &Path, sandbox: Option<&str>) -> bool {
    let place = Place {
        storage,
        root,
        sandbox,
    };
    !place.unfinished().exists() && (sandbox.is_none() || place.is_marked())
}

/// A project directory of a sandbox.
struct Place<'a> {
    storage: &'a Storage,
    root: &'a Path,
    sandbox: Option<&'a str>,
}

impl Place<'_> {
    fn unfinished(&self) -> PathBuf {
        self.root.join(".git").join(UNFINISHED)
    }

    fn own_mark(&self) -> PathBuf {
        self.root.join(".git").join(SANDBOX)
    }

    /// Where the runner's records have the mark of this directory.
    fn records(&self) -> impl Iterator<Item = PathBuf> {
        let name = name_of(self.root);
        self.storage.all(PROJECTS).map(move |dir| dir.join(&name))
    }

    fn is_marked(&self) -> bool {
        let is_ours = |mark: PathBuf| {
            let sandbox = fs::read_to_string(mark).ok();
            sandbox.is_some() && sandbox.as_deref() == self.sandbox
        };
        is_ours(self.own_mark()) || self.records().any(is_ours)
    }

    /// True if another sandbox set the repository up.
    fn is_inherited(&self) -> bool {
        let before = fs::read_to_string(self.own_mark()).ok();
        self.sandbox.is_some() && before.is_some() && before.as_deref() != self.sandbox
    }

    /// Says that all is done.
    fn mark(&self) -> Result<(), ToolError> {
        let unfinished = self.unfinished();
        if let Some(sandbox) = self.sandbox {
            let own = self.own_mark();
            if self.root.join(".git").is_dir()
                && fs::read_to_string(&own).ok().as_deref() != Some(sandbox)
            {
                fs::write(own, sandbox).map_err(setup_failed)?;
            }
            let _ = self.storage.sub(PROJECTS);
            for record in self.records() {
                let _ = fs::write(record, sandbox);
            }
        }
        match unfinished.exists() {
            true => fs::remove_file(&unfinished).map_err(setup_failed),
            false => Ok(()),
        }
    }
}

/// Removes what the session of another sandbox left in the repository, except for `branch`. What
/// it had on its branches is in the objects still.
fn forget(git: &Git, branch: Option<&str>) -> Result<(), ToolError> {
    let refs = git.refs(&["refs/opencode", "refs/heads", "refs/stash"])?;
    let current = git.text(&["symbolic-ref", "--quiet", "HEAD"]);
    let kept = branch.or(current.as_deref());
    let script: String = refs
        .iter()
        .filter(|(name, _)| Some(name.as_str()) != kept && name != REPLACED)
        .map(|(name, _)| format!("delete {name}\n"))
        .collect();
    git.feed(&["update-ref", "--stdin"], script.as_bytes())?;
    let repository = git.dir.join(".git");
    for entry in fs::read_dir(&repository).map_err(setup_failed)?.flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let is_ours =
            name.starts_with("opencode-") && ![FOUND, SANDBOX, UNFINISHED].contains(&&*name);
        if is_ours || UNDER_WAY.contains(&&*name) {
            let path = entry.path();
            let _ = fs::remove_file(&path).or_else(|_| fs::remove_dir_all(&path));
        }
    }
    Ok(())
}

/// The commits that came with the image. Asked again, later, when the agent has made some of its
/// own, it is what the first setup wrote down.
fn found(git: &Git, inherited: bool) -> Vec<String> {
    let repository = git.dir.join(".git");
    if !repository.exists() {
        return Vec::new();
    }
    if inherited {
        // The list was written for the other sandbox's image. This sandbox's image brought all that the
        // repository holds now.
    } else if let Ok(list) = fs::read_to_string(repository.join(FOUND)) {
        return list.lines().map(str::to_string).collect();
    } else if git.resolve(&[BASE_REF]) != [None] {
        return Vec::new();
    }
    let mut found = Vec::new();
    let tips = git.feed(
        &[
            "for-each-ref",
            "--sort=-committerdate",
            "--format=%(objectname)",
            "refs/heads",
            "refs/remotes",
            BASE_REF,
        ],
        b"",
    );
    let tips = String::from_utf8_lossy(&tips.unwrap_or_default()).into_owned();
    let head = git.resolve(&["HEAD^{commit}"]).remove(0);
    for hash in head.into_iter().chain(tips.lines().map(str::to_string)) {
        if !found.contains(&hash) {
            found.push(hash);
        }
    }
    found.truncate(MAX_FOUND);
    found
}

fn with_base(git: &Git, place: &Place<'_>, base: &Base, inherited: bool) -> Result<(), ToolError> {
    let branch_ref = format!("refs/heads/{}", base.branch);
    arrival::check(base)?;
    if !is_hash(&base.commit) || !git.succeeds(&["check-ref-format", &branch_ref]) {
        let message = format!(
            "`{}` is not a full commit hash or `{}` is not a branch name",
            base.commit, base.branch
        );
        return Err(error(Code::BadRequest, message));
    }
    let repository = git.dir.join(".git");
    let unfinished = place.unfinished();
    let old = if repository.exists() {
        git.text(&["rev-parse", "--verify", "--quiet", BASE_REF])
    } else {
        None
    };
    if inherited || old.as_ref() != Some(&base.commit) {
        let is_images = inherited || old.is_none();
        let is_done = !unfinished.exists() && !inherited;
        // The agent may have removed `.git`, or what is ours in it.
        let old = old.or_else(|| place.is_marked().then(|| "that is gone".to_string()));
        if let Some(old) = old.filter(|_| is_done) {
            let message = format!(
                "{} in the sandbox already holds work on commit {old}, so commit {} was not put there. Use a fresh sandbox or another `projectDir`.",
                git.dir.display(),
                base.commit
            );
            return Err(ToolError {
                metadata: Some(serde_json::json!({ "base": old })),
                ..error(Code::HoldsWork, message)
            });
        }
        if repository.exists() {
            // A repository that came with the image: what its branch was stays reachable.
            let before = git.resolve(&[&branch_ref, "HEAD"]);
            if is_images && let Some(before) = before.into_iter().flatten().next() {
                git.run(&["update-ref", REPLACED, &before])?;
            }
            packs::unpack(git, base)?;
            mark(&unfinished)?;
            if inherited {
                forget(git, Some(&branch_ref))?;
            }
            point(git, base, &branch_ref)?;
        } else {
            build_beside(git, base, &branch_ref)?;
        }
    }
    exclude::take(git, place.storage, base.exclude.as_deref()).map_err(setup_failed)?;
    if unfinished.exists() {
        git.run(&["symbolic-ref", "HEAD", &branch_ref])?;
        if base.partial {
            partial::leave_out(git)?;
        }
        if let Some(lfs) = &base.lfs {
            arrival::keep(git, lfs)?;
        }
        let workers = format!("checkout.workers={}", workers());
        let mut checkout = vec!["-c", &workers];
        checkout.extend(["read-tree", "--reset", "-u", "--no-sparse-checkout", "HEAD"]);
        // One process alone leaves what it cannot write to its end, by which a full disk is known.
        if !git.succeeds(&checkout) {
            git.run(&checkout[2..])?;
        }
        if git.resolve(&[REPLACED]) != [None] {
            // What else is in the directory would count as the agent's work. What cannot be
            // removed does, and that is no reason to fail.
            git.succeeds(&["clean", "-d", "--force", "--force", "--quiet"]);
        }
        if let Some(under_way) = &base.under_way {
            arrival::under_way(git, under_way)?;
        }
    }
    Ok(())
}

/// How many processes write files: one is busy with the file system alone.
fn workers() -> usize {
    std::thread::available_parallelism().map_or(1, |cores| cores.get().min(MAX_WORKERS))
}

/// A whole repository in `ROOT.opencode-setup`, then its `.git` moved into place in one step.
fn build_beside(git: &Git, base: &Base, branch_ref: &str) -> Result<(), ToolError> {
    let mut name = git.dir.file_name().unwrap_or_default().to_os_string();
    name.push(".opencode-setup");
    // Beside the root if that is possible, else in it: both are on the same file system.
    let beside = git.dir.with_file_name(&name);
    let _ = fs::remove_dir_all(&beside);
    let place = match fs::create_dir(&beside) {
        Ok(()) => beside,
        Err(_) => {
            let inside = git.dir.join(".opencode-setup");
            let _ = fs::remove_dir_all(&inside);
            fs::create_dir(&inside).map_err(setup_failed)?;
            inside
        }
    };
    let fresh = Git::new(&place);
    let build = || -> Result<(), ToolError> {
        let format = if base.commit.len() == 64 {
            "--object-format=sha256"
        } else {
            "--object-format=sha1"
        };
        if !fresh.succeeds(&[INIT, &[format]].concat()) {
            fresh.run(INIT)?;
        }
        packs::unpack(&fresh, base)?;
        mark(&place.join(".git").join(UNFINISHED))?;
        point(&fresh, base, branch_ref)?;
        fresh.run(&["symbolic-ref", "HEAD", branch_ref])?;
        match fs::rename(place.join(".git"), git.dir.join(".git")) {
            // The root may be a mount of its own.
            Err(why) if why.kind() == io::ErrorKind::CrossesDevices => {
                let inside = git.dir.join(".git.opencode-setup");
                let _ = fs::remove_dir_all(&inside);
                let copied = Command::new("cp")
                    .arg("-a")
                    .arg(place.join(".git"))
                    .arg(&inside)
                    .status();
                if !copied.is_ok_and(|status| status.success()) {
                    return Err(setup_failed(why));
                }
                fs::rename(&inside, git.dir.join(".git")).map_err(setup_failed)
            }
            moved => moved.map_err(setup_failed),
        }
    };
    let built = build();
    let _ = fs::remove_dir_all(&place);
    built
}

fn mark(path: &Path) -> Result<(), ToolError> {
    fs::write(path, "the checkout is not complete\n").map_err(setup_failed)
}

/// Makes the refs.
fn point(git: &Git, base: &Base, branch_ref: &str) -> Result<(), ToolError> {
    git.run(&["update-ref", branch_ref, &base.commit])?;
    arrival::refs(git, base)?;
    git.run(&["update-ref", BASE_REF, &base.commit])
}
