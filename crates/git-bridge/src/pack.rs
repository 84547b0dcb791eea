//! Into the sandbox: a commit of the worktree as it is, and a pack that holds it.

use crate::agents::Agents;
use crate::bases::{self, Goes, PackFile};
use crate::error::Error;
use crate::git::Git;
use crate::layout::Layout;
use crate::names::{given, kept};
use crate::project::Project;
use crate::refs::Refs;
use crate::sparse::Kind;
use crate::start::Start;
use crate::steps::{Step, Tell};
use crate::under_way::UnderWay;
use futures::channel::mpsc::unbounded;
use host::Host;
use std::sync::{MutexGuard, PoisonError};

/// The worktree, packed. Call [`Packed::discard`] when it has been uploaded.
#[derive(Clone, Debug)]
pub struct Packed {
    /// Packs on the host, to be unpacked in this order.
    pub packs: Vec<PackFile>,
    /// Bytes of the files when they are checked out, and how many there are.
    pub files: (usize, u64),
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
    /// What the history would have had in bytes, if it stayed on the host for that.
    pub too_long: Option<u64>,
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
    /// Bytes that are uploaded.
    pub fn size(&self) -> u64 {
        self.packs.iter().map(|pack| pack.size).sum()
    }

    /// Removes the temporary files.
    pub async fn discard(self, host: &dyn Host) {
        let _ = host.remove_dir(&self.dir).await;
    }
}

/// True for a root of a file system, the home directory, and, unless it is a repository, for a
/// directory that holds the home directory.
pub fn is_no_project(host: &dyn Host, worktree: &str, is_repository: bool) -> bool {
    let platform = host.platform();
    let worktree = platform.slashed(worktree);
    let worktree = worktree.trim_end_matches('/');
    let homes = ["HOME", "USERPROFILE"]
        .into_iter()
        .filter_map(|n| host.env(n));
    worktree.len() <= platform.root_length(worktree)
        || homes.into_iter().any(|home| {
            let below = platform.below(home.trim_end_matches(['/', '\\']), worktree);
            below.is_some_and(|rest| rest.is_empty() || !is_repository)
        })
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
        self.pack_telling(session, start, unbounded().0).await
    }

    /// The same, with somebody who hears how far it is.
    pub async fn pack_telling(
        &self,
        session: &str,
        start: &Start,
        tell: Tell,
    ) -> Result<Packed, Error> {
        if is_no_project(&*self.host, &self.worktree, self.repository) {
            return Err(Error::NotAProject {
                worktree: self.worktree.clone(),
            });
        }
        // Known before it is there: this future may be dropped at every step from here on.
        let dir = self.temp_path();
        let under_way = (session.to_string(), dir.clone());
        self.packing().push(under_way.clone());
        let result = async {
            self.host.make_dir(&dir).await?;
            let layout = self.layout().await?;
            let layout = layout.as_ref();
            let private = self.open_within(layout, Some(&dir)).await?;
            let ways = (&dir[..], tell);
            self.pack_in(&private, layout, session, start, ways).await
        };
        let result = result.await;
        if result.is_err() {
            let _ = self.host.remove_dir(&dir).await;
        }
        self.packing().retain(|other| *other != under_way);
        result
    }

    fn packing(&self) -> MutexGuard<'_, Vec<(String, String)>> {
        // A list that is pushed to and filtered is whole whenever a thread dies.
        self.packing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Removes what a pack for the session left whose future was dropped.
    pub async fn abandon(&self, session: &str) {
        let mut left = Vec::new();
        self.packing().retain(|(of, dir)| {
            let is_other = of != session;
            if !is_other {
                left.push(dir.clone());
            }
            is_other
        });
        for dir in left {
            let _ = self.host.remove_dir(&dir).await;
        }
    }

    async fn pack_in(
        &self,
        private: &Git<'_>,
        layout: Option<&Layout>,
        session: &str,
        start: &Start,
        (dir, tell): (&str, Tell),
    ) -> Result<Packed, Error> {
        // Read by the rules of the user's repository, written to the depot's objects.
        let root = layout.filter(|layout| layout.prefix.is_empty());
        let reader = self.reader(private, layout).await?;
        let (git, kind) = (reader.git, reader.kind);
        let mut clean = self.clean(&start.secrets, dir, tell.clone()).await;
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

        let mut without = Vec::new();
        for commit in &start.known {
            // Where only a part goes, what else the sandbox has is not told apart.
            let is_whole = snapshot.below.is_none() && crate::names::is_hash(commit);
            if is_whole && git.has(commit).await? {
                without.push(commit.clone());
            }
        }
        let within = (root, !kind.is_partial, without.is_empty());
        let along = self.along(&git, within, start, &snapshot, &mut clean, dir);
        let (mut along, mut objects) = along.await?;
        let lfs = std::mem::take(&mut snapshot.lfs);
        let lfs = self
            .lfs_commit(&git, session, lfs, &start.secrets, &mut clean)
            .await?;
        let is_partial = !clean.absent.is_empty();
        self.keep_clean(&clean).await?;
        let _ = tell.unbounded_send(Step::Sized {
            files: snapshot.files,
            packed: objects.disk(),
        });
        let listener = bases::heard(tell);
        let packs = match without.is_empty() {
            true => {
                let more: Vec<&String> = along.more().chain(&lfs).collect();
                if !more.is_empty() {
                    objects.add_all(
                        self.objects(&git, more, (&clean.sizes, !kind.is_partial), dir)
                            .await?,
                    );
                    self.fits(&objects)?;
                }
                let (tips, commits) = self.own(&git, root, &snapshot, &along).await?;
                let goes = Goes {
                    snapshot: &snapshot,
                    objects: &objects,
                    sizes: &clean.sizes,
                    tips: tips.iter().collect(),
                    commits: commits.iter().collect(),
                    secrets: clean.secrets(),
                };
                self.packs(&git, &goes, dir, &listener).await?
            }
            false => {
                let pack = format!("{dir}/base.pack");
                let ends = (&without[..], is_partial);
                let of = (root, &snapshot, lfs.as_ref());
                self.write_within(&git, of, &mut along, ends, &pack).await?
            }
        };
        for commit in along.tips() {
            let name = given(session, commit);
            private.checked(&["update-ref", &name, commit], "").await?;
        }
        let exclude = format!("{dir}/exclude");
        if !reader.rules.is_empty() {
            self.host.replace_file(&exclude, &reader.rules).await?;
        }
        Ok(Packed {
            packs,
            files: snapshot.files,
            is_partial,
            exclude: (!reader.rules.is_empty()).then_some(exclude),
            commit: snapshot.commit,
            branch: snapshot.branch,
            shallow: along.shallow,
            host_head: snapshot.head,
            without,
            held_back: snapshot.held_back,
            tainted: along.tainted,
            too_long: along.too_long,
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
}
