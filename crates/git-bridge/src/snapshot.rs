//! The worktree as a commit: of what git tracks and what it does not, without what stays on the host.

use crate::error::Error;
use crate::git::{self, Git, text};
use crate::layout::Layout;
use crate::lfs::Kept;
use crate::objects::{Object, Objects};
use crate::project::Project;
use crate::secret::{Clean, Staged};
use crate::sparse::{self, Kind};
use crate::start::Start;
use host::{GitOutput, Level};
use std::collections::{BTreeSet, HashSet};

/// So many files are many, and of so many it is asked first how large they are.
const MANY: usize = 5_000;
const LARGEST: usize = 500;
/// What git exits with if it does not know an option.
const USAGE: i32 = 129;

/// First line of the commit that holds what the user has not committed.
pub(crate) const EDITS: &str = "Project as it was on the host";

/// The worktree, committed.
#[derive(Default)]
pub(crate) struct Snapshot {
    pub(crate) commit: String,
    pub(crate) branch: String,
    pub(crate) head: Option<String>,
    pub(crate) held_back: Vec<String>,
    pub(crate) lfs: Kept,
    pub(crate) nested: Vec<String>,
    pub(crate) hidden: Vec<String>,
    pub(crate) left: Vec<String>,
    /// Files, and how many bytes they have when they are checked out.
    pub(crate) files: (usize, u64),
    /// What is below the paths that are carried, if not all is.
    pub(crate) below: Option<Below>,
}

/// What of a project is carried, if not all of it is.
#[derive(Clone, Debug, Default)]
pub(crate) struct Below {
    paths: Vec<String>,
    /// Files there, by their blobs: the same blob may be elsewhere, too.
    blobs: HashSet<String>,
}

impl Below {
    fn new(paths: &[String]) -> Option<Below> {
        (!paths.is_empty()).then(|| Below {
            paths: paths.to_vec(),
            blobs: HashSet::new(),
        })
    }

    /// True for a path that is carried.
    fn has(&self, path: &[u8]) -> bool {
        self.paths.iter().any(|below| {
            let rest = path.strip_prefix(below.as_bytes());
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
        })
    }

    /// True for an object that is carried.
    pub(crate) fn takes(&self, object: &Object<'_>) -> bool {
        !object.is_blob || self.has(object.path) || self.blobs.contains(object.name)
    }

    pub(crate) fn paths(&self) -> &[String] {
        &self.paths
    }
}

impl Project {
    /// Makes the snapshot from the commit `from`, without the files that stay on the host. They have to be looked
    /// for in every such commit: which one it is may be the choice of a sandbox, and a sandbox that knows the
    /// hash of a commit of the user's could otherwise ask for files that it was never given.
    pub(crate) async fn without(
        &self,
        git: &Git<'_>,
        from: &str,
        start: &Start,
        clean: &mut Clean,
        dir: &str,
        snapshot: &mut Snapshot,
    ) -> Result<(), Error> {
        let git = self
            .signed(git)
            .with("GIT_INDEX_FILE", format!("{dir}/from-index"));
        git.checked(&["read-tree", from], "").await?;
        remove(&git, &start.keep_out).await?;
        let mut staged = self.staged(&git, dir).await?;
        self.measure(&git, &staged, clean, dir, snapshot).await?;
        let held_back = self.hold_back(&git, &start.secrets, clean, &mut staged);
        snapshot.held_back = held_back.await?;
        let head = snapshot.head.as_deref();
        let changed = self.changed_filtered(&git, head, dir).await?;
        snapshot.lfs = self.point(&git, &changed, false, dir).await?;
        let tree = write_tree(&git, clean).await?;
        let is_same = git
            .line(&["rev-parse", &format!("{from}^{{tree}}")])
            .await?
            == tree;
        if is_same && !self.says(&git, &start.secrets, from).await? {
            snapshot.commit = from.into();
            return Ok(());
        }
        let message = "Without what stays on the host";
        let commit = ["commit-tree", "--no-gpg-sign", "-m", message, "-p", from];
        snapshot.commit = git.line(&[&commit[..], &[&tree]].concat()).await?;
        Ok(())
    }

    pub(crate) async fn snapshot(
        &self,
        git: &Git<'_>,
        root: Option<&Layout>,
        kind: Kind,
        start: &Start,
        clean: &mut Clean,
        dir: &str,
    ) -> Result<Snapshot, Error> {
        let index = format!("{dir}/index");
        let git = self.signed(git).with("GIT_INDEX_FILE", index.clone());
        let (mut head, mut branch) = (None, "main".to_string());
        if root.is_some() {
            let found = git
                .run(&["rev-parse", "--verify", "--quiet", "HEAD^{commit}"], "")
                .await?;
            head = (found.code == 0).then(|| text(&found.stdout));
            let name = git.run(&["symbolic-ref", "--quiet", "HEAD"], "").await?;
            if let Some(name) = text(&name.stdout).strip_prefix("refs/heads/") {
                branch = name.into();
            }
        }
        let below = self.pathspecs(&start.paths).await;
        self.add_all(&git, (kind, root), head.as_deref(), &index, &below, dir)
            .await?;
        remove(&git, &start.keep_out).await?;
        let mut staged = self.staged(&git, dir).await?;
        let mut snapshot = Snapshot {
            branch,
            below: Below::new(&start.paths),
            ..Snapshot::default()
        };
        if kind.is_partial {
            let tree = git.line(&["write-tree", "--missing-ok"]).await?;
            self.find_absent(&git, &tree, clean).await?;
            if !sparse::is_left_out(&staged, clean) {
                let worktree = self.worktree.clone();
                return Err(Error::Incomplete { worktree });
            }
        }
        self.measure(&git, &staged, clean, dir, &mut snapshot)
            .await?;
        let held_back = self.hold_back(&git, &start.secrets, clean, &mut staged);
        let held_back = held_back.await?;
        let changed = self.changed_filtered(&git, head.as_deref(), dir).await?;
        if let Some(layout) = root {
            self.restore_untouched(&git, layout, &changed, dir).await?;
        }
        snapshot.lfs = self.point(&git, &changed, true, dir).await?;
        let (nested, mut left) = self.not_in(&git, head.as_deref(), &staged).await?;
        left.retain(|path| {
            let is_meant = |below: &Below| below.has(path.as_bytes());
            let stays = start.keep_out.contains(path) || held_back.contains(path);
            !stays && snapshot.below.as_ref().is_none_or(is_meant)
        });
        snapshot.hidden = self.hidden(&git, kind, &staged, &index, dir).await?;
        let tree = write_tree(&git, clean).await?;
        snapshot.commit = self.commit(&git, head.as_deref(), &tree, start).await?;
        (snapshot.nested, snapshot.left) = (nested, left);
        (snapshot.held_back, snapshot.head) = (held_back, head);
        Ok(snapshot)
    }

    /// Refuses a worktree that is more than is carried, and notes how large it is. What is not below the
    /// paths that are carried is as if it were not here.
    async fn measure(
        &self,
        git: &Git<'_>,
        staged: &[Staged],
        clean: &mut Clean,
        dir: &str,
        snapshot: &mut Snapshot,
    ) -> Result<(), Error> {
        let is_file = |file: &&Staged| file.mode != "160000" && !clean.absent.contains(&file.blob);
        let mut files: Vec<&Staged> = staged.iter().filter(is_file).collect();
        if let Some(below) = &mut snapshot.below {
            let (inside, outside): (Vec<_>, Vec<_>) =
                files.into_iter().partition(|file| below.has(&file.path));
            below.blobs = inside.iter().map(|file| file.blob.clone()).collect();
            let outside = outside.into_iter().map(|file| &file.blob);
            let outside = outside.filter(|blob| !below.blobs.contains(*blob));
            clean.absent.extend(outside.cloned());
            files = inside;
        }
        if files.len() > MANY {
            self.largest_fit(git, &files, dir).await?;
        }
        let mut blobs = Objects::default();
        self.sized(git, lines(&files), &mut blobs, dir).await?;
        self.fits(&blobs)?;
        clean.sizes.learn(&blobs);
        let size = |file: &&Staged| clean.sizes.of(file.blob.as_bytes());
        let sizes = files.iter().filter_map(size).map(|(size, _)| size);
        snapshot.files = (files.len(), sizes.sum());
        Ok(())
    }

    /// Refuses a worktree of which the largest files are more than is carried. Of many files it takes git
    /// some seconds to say how large they are, the worktree says it at once.
    async fn largest_fit(&self, git: &Git<'_>, files: &[&Staged], dir: &str) -> Result<(), Error> {
        let names = files
            .iter()
            .map(|file| String::from_utf8_lossy(&file.path).into_owned());
        let sizes = self.sizes_of(&names.collect::<Vec<_>>()).await;
        let mut largest: Vec<(u64, &Staged)> =
            sizes.into_iter().zip(files.iter().copied()).collect();
        largest.sort_by_key(|(size, _)| std::cmp::Reverse(*size));
        largest.truncate(LARGEST);
        let largest: Vec<&Staged> = largest.into_iter().map(|(_, file)| file).collect();
        let mut blobs = Objects::default();
        self.sized(git, lines(&largest), &mut blobs, dir).await?;
        self.fits(&blobs).map_err(|mut error| {
            if let Error::TooLarge { files: count, .. } = &mut error {
                *count = files.len();
            }
            error
        })
    }

    /// A commit of the tree: HEAD, if it has that, and else one on top of it.
    async fn commit(
        &self,
        git: &Git<'_>,
        head: Option<&str>,
        tree: &str,
        start: &Start,
    ) -> Result<String, Error> {
        let mut commit = vec!["commit-tree", "--no-gpg-sign", "-m", EDITS];
        if let Some(head) = head {
            let own = format!("{head}^{{tree}}");
            let own = git.line(&["rev-parse", &own]).await?;
            if own == tree && !self.says(git, &start.secrets, head).await? {
                return Ok(head.into());
            }
            commit.extend(["-p", head]);
        }
        commit.push(tree);
        git.line(&commit).await
    }

    /// Makes the index: what is tracked, and all of the worktree.
    async fn add_all(
        &self,
        git: &Git<'_>,
        (kind, root): (Kind, Option<&Layout>),
        head: Option<&str>,
        index: &str,
        below: &[String],
        dir: &str,
    ) -> Result<(), Error> {
        // A copy of the user's index saves hashing what has not changed, and says what a sparse checkout
        // leaves out. Without one, HEAD says what is tracked even if a rule ignores it.
        let copy = async || match root {
            Some(layout) => self.host.copy_file(&layout.index, index).await.is_ok(),
            None => false,
        };
        let fresh = async || {
            self.host.remove_file(index).await?;
            match head {
                Some(head) => git.checked(&["read-tree", head], "").await.map(drop),
                None => Ok(()),
            }
        };
        if !copy().await {
            fresh().await?;
        }
        if below.is_empty() {
            return Ok(());
        }
        self.uncommitted_fits(git, below, dir).await?;
        if self.add(git, kind, below, dir).await?.code == 0 {
            return Ok(());
        }
        // In a sparse checkout a fresh one would call all that is left out deleted.
        if !(kind.is_sparse && copy().await) {
            fresh().await?;
        }
        let again = self.add(git, kind, below, dir).await?;
        // What cannot be read does not travel; git has added the rest.
        if self.host.read_file(index).await.is_err() {
            git.check(&["add"], again)?;
        } else if again.code != 0 {
            let (worktree, reason) = (&self.worktree, git::reason(&again));
            let message = format!("not all of {worktree} is brought into the sandbox: {reason}");
            self.host.log(Level::Warn, &message);
        }
        Ok(())
    }

    /// Pathspecs of what is carried, as far as it is there; git takes none that matches nothing.
    async fn pathspecs(&self, paths: &[String]) -> Vec<String> {
        if paths.is_empty() {
            return vec![".".into()];
        }
        let mut found = Vec::new();
        for path in paths {
            let full = format!("{}/{path}", self.worktree);
            match self.host.real_path(&full).await {
                Ok(_) => found.push(format!(":(literal){path}")),
                Err(_) => {
                    let message = format!(
                        "{path}, which the option `carry.paths` names, is not in the project"
                    );
                    self.host.log(Level::Warn, &message);
                }
            }
        }
        found
    }

    /// Adds the worktree to the index. A submodule is told apart by the index alone and never entered:
    /// git would ask for its status, with programs that the submodule configures for itself. The
    /// commit that it is at is recorded by reading its HEAD.
    async fn add(
        &self,
        git: &Git<'_>,
        kind: Kind,
        below: &[String],
        dir: &str,
    ) -> Result<GitOutput, Error> {
        let submodules = submodules(&self.staged(git, dir).await?);
        let mut paths = below.join("\0").into_bytes();
        paths.push(0);
        for path in &submodules {
            paths.extend([b":(exclude,literal)", &path[..], b"\0"].concat());
        }
        let mut added = self.add_paths(git, kind, paths.clone()).await?;
        if !matches!(added.code, 0 | 1) {
            let as_they_are = self.as_they_are(git, dir).await?;
            if !as_they_are.entries.is_empty() {
                paths.extend(as_they_are.exclude);
                added = self.add_paths(git, kind, paths).await?;
                let update = ["update-index", "-z", "--index-info"];
                let updated = git.feed(&update, as_they_are.entries).await?;
                git.check(&update, updated)?;
            }
        }
        if added.code == 0 && !submodules.is_empty() {
            let mut paths = submodules.join(&0);
            paths.push(0);
            let update = ["update-index", "--remove", "-z", "--stdin"];
            return git.feed(&update, paths).await;
        }
        Ok(added)
    }

    async fn add_paths(
        &self,
        git: &Git<'_>,
        kind: Kind,
        paths: Vec<u8>,
    ) -> Result<GitOutput, Error> {
        let from = ["--pathspec-from-file=-", "--pathspec-file-nul"];
        let add = [&["add", "--all", "--ignore-errors"][..], &from].concat();
        if kind.is_sparse {
            let beyond = [&add[..], &["--sparse"]].concat();
            let added = git.feed(&beyond, paths.clone()).await?;
            // Git before 2.34 knows no limit to what is added.
            if added.code != USAGE {
                return Ok(added);
            }
        }
        git.feed(&add, paths).await
    }

    /// Repositories in the worktree that no HEAD knows, whose files are not in the index; and files that
    /// git could not put there.
    async fn not_in(
        &self,
        git: &Git<'_>,
        head: Option<&str>,
        staged: &[Staged],
    ) -> Result<(Vec<String>, Vec<String>), Error> {
        let mut links = submodules(staged);
        let others = ["ls-files", "-z", "--others", "--exclude-standard"];
        let others = git.checked(&others, "").await?.stdout;
        let others = others.split(|byte| *byte == 0);
        let (others, left): (Vec<&[u8]>, Vec<&[u8]>) = others
            .filter(|name| !name.is_empty())
            .partition(|name| name.ends_with(b"/"));
        if let Some(head) = head
            && !links.is_empty()
        {
            let known = git
                .checked(&["ls-tree", "-r", "-z", head], "")
                .await?
                .stdout;
            let known: BTreeSet<&[u8]> = known
                .split(|byte| *byte == 0)
                .filter(|line| line.starts_with(b"160000"))
                .filter_map(|line| {
                    let tab = line.iter().position(|byte| *byte == b'\t')?;
                    Some(&line[tab + 1..])
                })
                .collect();
            links.retain(|path| !known.contains(&path[..]));
        }
        let mut modules = Vec::new();
        if !links.is_empty() {
            let read = [
                "config",
                "-z",
                "-f",
                ".gitmodules",
                "--get-regexp",
                "\\.path$",
            ];
            modules = git.run(&read, "").await?.stdout;
        }
        let modules: BTreeSet<&[u8]> = modules
            .split(|byte| *byte == 0)
            .filter_map(|pair| {
                let end = pair.iter().position(|byte| *byte == b'\n')?;
                Some(&pair[end + 1..])
            })
            .collect();
        links.retain(|path| !modules.contains(&path[..]));
        let shown = |path: &[u8]| String::from_utf8_lossy(path).into_owned();
        let others = others.iter().map(|path| &path[..path.len() - 1]);
        let nested = links.iter().map(|path| &path[..]).chain(others).map(shown);
        Ok((nested.collect(), left.into_iter().map(shown).collect()))
    }
}

/// `BLOB PATH` for each blob of the files.
fn lines(files: &[&Staged]) -> Vec<u8> {
    let (mut seen, mut lines) = (HashSet::new(), Vec::new());
    for file in files {
        if seen.insert(file.blob.as_str()) {
            lines.extend_from_slice(file.blob.as_bytes());
            lines.push(b' ');
            // A line must be one.
            let path = file.path.iter();
            lines.extend(path.map(|byte| if *byte == b'\n' { b'?' } else { *byte }));
            lines.push(b'\n');
        }
    }
    lines
}

/// The tree of the index.
async fn write_tree(git: &Git<'_>, clean: &Clean) -> Result<String, Error> {
    match clean.absent.is_empty() {
        true => git.line(&["write-tree"]).await,
        false => git.line(&["write-tree", "--missing-ok"]).await,
    }
}

/// Paths of the submodules in the index, as bytes.
fn submodules(staged: &[Staged]) -> Vec<Vec<u8>> {
    let submodules = staged.iter().filter(|file| file.mode == "160000");
    submodules.map(|file| file.path.clone()).collect()
}

/// Takes paths out of the index.
async fn remove(git: &Git<'_>, paths: &[String]) -> Result<(), Error> {
    if !paths.is_empty() {
        let remove = ["rm", "--quiet", "--cached", "--ignore-unmatch", "-f", "--"];
        let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
        git.checked(&[&remove[..], &paths].concat(), "").await?;
    }
    Ok(())
}
