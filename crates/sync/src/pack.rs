//! Into the sandbox: a commit of the worktree as it is, and a pack that holds it.

use crate::agents::Agents;
use crate::depth::{Cut, cut};
use crate::git::{Git, text};
use crate::layout::Layout;
use crate::lfs::Kept;
use crate::secret::{Clean, Staged};
use crate::sparse::{self, Kind};
use crate::{Error, Project, Refs, Secrets, UnderWay, git, given, kept};
use host::{GitOutput, Host, Level};
use std::collections::BTreeSet;

/// What git exits with if it does not know an option.
const USAGE: i32 = 129;

/// What a sandbox starts from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Start {
    /// How many commits of history go along; 0 is none but the state itself.
    pub history: usize,
    /// Paths, relative to the worktree, that stay on the host.
    pub keep_out: Vec<String>,
    /// A commit of the depot to start from, instead of the worktree as it is.
    pub from: Option<String>,
    /// Commits that the sandbox has already.
    pub known: Vec<String>,
    /// Files and commits that hold one of these stay on the host.
    pub secrets: Secrets,
    /// Tell whose the user's commits are.
    pub identity: bool,
}

/// The worktree, packed. Call [`Packed::discard`] when it has been uploaded.
#[derive(Clone, Debug)]
pub struct Packed {
    /// Pack file on the host.
    pub pack: String,
    /// Full hash of the commit in it: the user's HEAD itself if nothing differs from it, else a
    /// commit on top of it.
    pub commit: String,
    /// Branch to check it out on, without `refs/heads/`.
    pub branch: String,
    /// Commits in it whose parents stay behind.
    pub shallow: Vec<String>,
    /// True if files that the commit names are neither in the pack nor on the host.
    pub is_partial: bool,
    /// File on the host with rules for ignored files that no file of the project has, if there are any.
    pub exclude: Option<String>,
    /// The host's HEAD, if it has a commit.
    pub host_head: Option<String>,
    /// Commits that were left out because the sandbox has them.
    pub without: Vec<String>,
    /// Files that stayed on the host, because they hold a secret.
    pub held_back: Vec<String>,
    /// The commit that holds a secret, and where, if the history stayed on the host for that.
    pub tainted: Option<String>,
    /// A commit in it with files that Git LFS keeps, by the SHA-256 of their bytes.
    pub lfs: Option<String>,
    /// What goes along beside the branch.
    pub refs: Refs,
    /// What git was doing in the worktree.
    pub under_way: UnderWay,
    /// Repositories in the worktree whose files stay on the host.
    pub nested: Vec<String>,
    /// Files with edits that git was told not to see.
    pub hidden: Vec<String>,
    /// Files that stay on the host because git does not take them: unreadable, or of an odd name.
    pub left: Vec<String>,
    /// What the agent's git is told.
    pub agents: Agents,
    dir: String,
}

impl Packed {
    /// Removes the temporary files.
    pub async fn discard(self, host: &dyn Host) {
        let _ = host.remove_temp_dir(&self.dir).await;
    }
}

/// True for a root of a file system, the home directory, and, unless it is a repository, for a
/// directory that holds the home directory.
pub fn is_no_project(host: &dyn Host, worktree: &str, is_repository: bool) -> bool {
    let trim = |path: &str| path.trim_end_matches(['/', '\\']).to_string();
    let worktree = trim(worktree);
    let is_drive = worktree.len() == 2 && worktree.ends_with(':');
    let homes = ["HOME", "USERPROFILE"]
        .into_iter()
        .filter_map(|n| host.env(n));
    worktree.is_empty()
        || is_drive
        || homes.map(|home| trim(&home)).any(|home| {
            let below = home.strip_prefix(&worktree);
            below.is_some_and(|rest| {
                rest.is_empty() || (!is_repository && rest.starts_with(['/', '\\']))
            })
        })
}

/// First line of the commit that holds what the user has not committed.
pub(crate) const EDITS: &str = "Project as it was on the host";
/// Who makes it.
pub(crate) const US: &str = "opencode-daytona-sandbox";

/// The worktree, committed.
pub(crate) struct Snapshot {
    pub(crate) commit: String,
    pub(crate) branch: String,
    pub(crate) head: Option<String>,
    held_back: Vec<String>,
    lfs: Kept,
    nested: Vec<String>,
    hidden: Vec<String>,
    left: Vec<String>,
}

/// What reads the worktree.
struct Reader<'a> {
    git: Git<'a>,
    /// All that git has, as `config -z --list` writes them.
    settings: Vec<u8>,
    /// For ignored files, beside those in the worktree.
    rules: Vec<u8>,
    /// What of the files may be here.
    kind: Kind,
}

impl Project {
    /// Packs the worktree, or what `start` names, for `session`. The depot keeps the commit.
    pub async fn pack(&self, session: &str, start: &Start) -> Result<Packed, Error> {
        if is_no_project(&*self.host, &self.worktree, self.repository) {
            return Err(Error::NotAProject {
                worktree: self.worktree.clone(),
            });
        }
        let layout = self.layout().await?;
        let private = self.open_at(layout.as_ref()).await?;
        let dir = self.host.temp_dir().await?;
        let layout = layout.as_ref();
        let result = self.pack_in(&private, layout, session, start, &dir).await;
        if result.is_err() {
            let _ = self.host.remove_temp_dir(&dir).await;
        }
        result
    }

    async fn pack_in(
        &self,
        private: &Git<'_>,
        layout: Option<&Layout>,
        session: &str,
        start: &Start,
        dir: &str,
    ) -> Result<Packed, Error> {
        // Read by the rules of the user's repository, written to the depot's objects.
        let root = layout.filter(|layout| layout.prefix.is_empty());
        let reader = self.reader(private, layout).await?;
        let (git, kind) = (reader.git, reader.kind);
        let mut clean = self.clean(&start.secrets).await;
        let snapshot = self.snapshot(&git, root, kind, start, &mut clean, dir);
        let mut snapshot = snapshot.await?;
        if let Some(from) = &start.from {
            clean.absent.clear();
            if kind.is_partial {
                let tree = format!("{from}^{{tree}}");
                self.find_absent(&git, &tree, &mut clean).await?;
            }
            self.without(&git, from, start, &mut clean, dir, &mut snapshot)
                .await?;
        }
        let name = kept("base", session);
        private
            .checked(&["update-ref", &name, &snapshot.commit], "")
            .await?;

        let along = self.along(&git, (root, !kind.is_partial), start, &snapshot, &mut clean);
        let mut along = along.await?;
        let lfs = std::mem::take(&mut snapshot.lfs);
        let lfs = self
            .lfs_commit(&git, session, lfs, &start.secrets, &mut clean)
            .await?;
        let is_partial = !clean.absent.is_empty();
        self.keep_clean(clean).await?;
        let mut without = Vec::new();
        for commit in &start.known {
            if crate::is_hash(commit) && git.has(commit).await? {
                without.push(commit.clone());
            }
        }
        let pack = format!("{dir}/base.pack");
        let ends = (&without[..], is_partial);
        let of = (root, &snapshot, lfs.as_ref());
        self.write_within(&git, of, &mut along, ends, &pack).await?;
        for commit in along.tips() {
            let name = given(session, commit);
            private.checked(&["update-ref", &name, commit], "").await?;
        }
        let exclude = format!("{dir}/exclude");
        if !reader.rules.is_empty() {
            self.host.replace_file(&exclude, &reader.rules).await?;
        }
        Ok(Packed {
            pack,
            is_partial,
            exclude: (!reader.rules.is_empty()).then_some(exclude),
            commit: snapshot.commit,
            branch: snapshot.branch,
            shallow: along.shallow,
            host_head: snapshot.head,
            without,
            held_back: snapshot.held_back,
            tainted: along.tainted,
            lfs,
            refs: along.refs,
            under_way: along.under_way,
            nested: snapshot.nested,
            hidden: snapshot.hidden,
            left: snapshot.left,
            agents: self.agents(&reader.settings, start, root.is_some()).await?,
            dir: dir.into(),
        })
    }

    /// Reads the user's settings. A part of a repository is a tree of its own.
    async fn reader<'a>(
        &'a self,
        private: &Git<'a>,
        layout: Option<&Layout>,
    ) -> Result<Reader<'a>, Error> {
        let root = layout.filter(|layout| layout.prefix.is_empty());
        let (git, settings) = match root {
            Some(root) => self.users_at(root).await?,
            None => {
                let users = Git::users(&*self.host, &self.worktree);
                let settings = users.checked(&["config", "-z", "--list"], "").await?;
                (private.clone(), settings.stdout)
            }
        };
        let rules = self.rules(layout, &settings).await?;
        if root.is_none() {
            let own = format!("{}/info/exclude", self.depot);
            self.keep_file(&own, &rules).await?;
        }
        Ok(Reader {
            git: git
                .with("GIT_WORK_TREE", self.worktree.clone())
                .with("GIT_OBJECT_DIRECTORY", format!("{}/objects", self.depot)),
            kind: root.map_or_else(Kind::default, |_| Kind::of(&settings)),
            settings,
            rules,
        })
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

    /// Makes the snapshot one of a commit without what stays on the host, which may come from a sandbox
    /// and be any that the sandbox knows a hash of.
    async fn without(
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
        let held_back = self.hold_back(&git, &start.secrets, clean, &mut staged);
        snapshot.held_back = held_back.await?;
        let head = snapshot.head.as_deref();
        snapshot.lfs = self.point(&git, head, false, dir).await?;
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

    async fn snapshot(
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
        self.add_all(&git, kind, root, head.as_deref(), &index, dir)
            .await?;
        remove(&git, &start.keep_out).await?;
        let mut staged = self.staged(&git, dir).await?;
        if kind.is_partial {
            let tree = git.line(&["write-tree", "--missing-ok"]).await?;
            self.find_absent(&git, &tree, clean).await?;
            if !sparse::is_left_out(&staged, clean) {
                let worktree = self.worktree.clone();
                return Err(Error::Incomplete { worktree });
            }
        }
        let held_back = self.hold_back(&git, &start.secrets, clean, &mut staged);
        let held_back = held_back.await?;
        let lfs = self.point(&git, head.as_deref(), true, dir).await?;
        let (nested, mut left) = self.not_in(&git, head.as_deref(), &staged).await?;
        left.retain(|path| !start.keep_out.contains(path) && !held_back.contains(path));
        let hidden = self.hidden(&git, kind, &staged, &index, dir).await?;
        let tree = write_tree(&git, clean).await?;
        let commit = self.commit(&git, head.as_deref(), &tree, start).await?;
        Ok(Snapshot {
            commit,
            branch,
            head,
            held_back,
            lfs,
            nested,
            hidden,
            left,
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
        kind: Kind,
        root: Option<&Layout>,
        head: Option<&str>,
        index: &str,
        dir: &str,
    ) -> Result<(), Error> {
        // A copy of the user's index saves hashing what has not changed, and says what a sparse checkout
        // leaves out. Without one, HEAD says what is tracked even if a rule ignores it.
        let users = match root {
            Some(layout) => self.host.read_file(&layout.index).await.ok(),
            None => None,
        };
        let fresh = async || {
            self.host.remove_file(index).await?;
            match head {
                Some(head) => git.checked(&["read-tree", head], "").await.map(drop),
                None => Ok(()),
            }
        };
        match &users {
            Some(users) => self.host.replace_file(index, users).await?,
            None => fresh().await?,
        }
        if self.add(git, kind, dir).await?.code == 0 {
            return Ok(());
        }
        match users.filter(|_| kind.is_sparse) {
            // A fresh one would call all that is left out deleted.
            Some(users) => self.host.replace_file(index, &users).await?,
            None => fresh().await?,
        }
        let again = self.add(git, kind, dir).await?;
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

    /// Adds the worktree to the index. A submodule is told apart by the index alone and never entered:
    /// git would ask for its status, with programs that the submodule configures for itself. The
    /// commit that it is at is recorded by reading its HEAD.
    async fn add(&self, git: &Git<'_>, kind: Kind, dir: &str) -> Result<GitOutput, Error> {
        let submodules = submodules(&self.staged(git, dir).await?);
        let mut paths = b".\0".to_vec();
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

    /// How many commits of history may go along.
    pub(crate) async fn history(
        &self,
        git: &Git<'_>,
        snapshot: &Snapshot,
        start: &Start,
    ) -> Result<usize, Error> {
        let Some(head) = snapshot.head.as_ref().filter(|_| start.history > 0) else {
            return Ok(0);
        };
        if !start.keep_out.is_empty() {
            let mut args = vec!["rev-list", "--max-count=1", "--full-history"];
            args.extend([head.as_str(), &snapshot.commit, "--"]);
            args.extend(start.keep_out.iter().map(String::as_str));
            if !git.line(&args).await?.is_empty() {
                self.host.log(
                    Level::Warn,
                    "history stays on the host, because it holds a file that must not leave it",
                );
                return Ok(0);
            }
        }
        // What is on top of HEAD is no part of the user's history.
        let on_top = ["rev-list", "--count", &snapshot.commit, &format!("^{head}")];
        let on_top: usize = git.line(&on_top).await?.parse().unwrap_or(0);
        Ok(start.history + on_top)
    }

    /// Where the history of `tips` is cut, and what goes.
    pub(crate) async fn shallow(
        &self,
        git: &Git<'_>,
        root: Option<&Layout>,
        tips: &[&str],
        depth: usize,
    ) -> Result<(Vec<String>, BTreeSet<String>), Error> {
        let depth = depth.max(1);
        let mut count = depth.saturating_mul(4).max(1_000);
        let cut: Cut = loop {
            let max = format!("--max-count={count}");
            let list = ["rev-list", "--parents", &max];
            let log = git.line(&[&list[..], tips, &["--"]].concat()).await?;
            let complete = log.lines().count() < count;
            match cut(&log, tips, depth, complete) {
                Some(cut) => break cut,
                None => count = count.saturating_mul(16),
            }
        };
        // Where the user's own clone is cut, so is the sandbox's.
        let users = match root {
            Some(layout) => self.host.read_file(&layout.shallow).await,
            None => Ok(Vec::new()),
        };
        let users = users.unwrap_or_default();
        let users = String::from_utf8_lossy(&users);
        let users = users
            .lines()
            .filter(|commit| cut.commits.contains(*commit))
            .map(str::to_string);
        let all: BTreeSet<String> = cut.shallow.iter().cloned().chain(users).collect();
        Ok((all.into_iter().collect(), cut.commits))
    }
}

/// The tree of the index.
async fn write_tree(git: &Git<'_>, clean: &Clean) -> Result<String, Error> {
    match clean.absent.is_empty() {
        true => git.line(&["write-tree"]).await,
        false => git.line(&["write-tree", "--missing-ok"]).await,
    }
}

/// Paths of the submodules in the index, as bytes.
pub(crate) fn submodules(staged: &[Staged]) -> Vec<Vec<u8>> {
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
