//! What goes into the sandbox beside the commit of the worktree: history, other refs, and what git was
//! doing. All of it is looked through for secrets; what holds one stays, and then what is left goes.

use crate::bases::PackFile;
use crate::error::Error;
use crate::git::Git;
use crate::layout::Layout;
use crate::objects::Objects;
use crate::project::Project;
use crate::refs::Refs;
use crate::secret::Clean;
use crate::snapshot::Snapshot;
use crate::start::Start;
use crate::under_way::UnderWay;
use host::Level;
use std::collections::BTreeSet;

/// What goes along.
#[derive(Default)]
pub(crate) struct Along {
    pub(crate) refs: Refs,
    pub(crate) under_way: UnderWay,
    /// Commits whose parents stay behind.
    pub(crate) shallow: Vec<String>,
    /// The commit that holds a secret, and where, if the history stays for that.
    pub(crate) tainted: Option<String>,
    /// What goes would have had so many bytes, if the history stays for that.
    pub(crate) too_long: Option<u64>,
    /// Commits of history, beside the snapshot's own.
    depth: usize,
    tips: Vec<String>,
}

impl Along {
    /// Commits of the user's, beside the snapshot, whose history goes along.
    pub(crate) fn tips(&self) -> &[String] {
        &self.tips
    }

    /// What goes beside commits and their files.
    pub(crate) fn more(&self) -> impl Iterator<Item = &String> {
        let refs = self.refs.refs.iter().map(|found| &found.object);
        refs.chain(&self.under_way.blobs)
    }
}

impl Project {
    /// Finds what goes along, and the objects of commits that go. The first flag is false for a partial
    /// clone: its old files are not there, and nobody asked for them to be fetched. The second is false if
    /// the sandbox has some of it, so that its size says nothing.
    pub(crate) async fn along(
        &self,
        git: &Git<'_>,
        (root, has_history, is_bounded): (Option<&Layout>, bool, bool),
        start: &Start,
        snapshot: &Snapshot,
        clean: &mut Clean,
        dir: &str,
    ) -> Result<(Along, Objects), Error> {
        let mut along = Along::default();
        if let Some(layout) = root {
            if has_history {
                along.depth = self.history(git, snapshot, start).await?;
            }
            if start.from.is_none() {
                along.under_way = self.under_way(git, &layout.dir, start, clean).await?;
            }
        }
        if along.depth > 0 {
            let refs = self.branches_along(git, &snapshot.branch, &start.secrets);
            along.refs = refs.await?;
            // A detached HEAD is on a branch in the sandbox that may be another one here.
            let own = format!("refs/heads/{}", snapshot.branch);
            along.refs.refs.retain(|found| found.name != own);
            let mut tips: BTreeSet<String> = along.refs.tips().into_iter().collect();
            tips.extend(along.under_way.heads.iter().cloned());
            tips.remove(&snapshot.commit);
            for tip in tips {
                if git.has(&tip).await? {
                    along.tips.push(tip);
                }
            }
            let heads = &along.under_way.heads;
            let has = |head: &String| *head == snapshot.commit || along.tips.contains(head);
            if !heads.iter().all(has) {
                along.under_way.without_heads();
            }
            if self.keeps_out(git, &along.tips, snapshot, start).await? {
                self.drop_other_branches(&mut along);
            }
        }
        let (commits, objects) = loop {
            let commits = self.cut(git, root, snapshot, &mut along).await?;
            let objects = commits.iter().chain([&snapshot.commit]);
            let mut objects = self
                .objects(git, objects, (&clean.sizes, has_history), dir)
                .await?;
            if let Some(below) = &snapshot.below {
                objects.retain(|object| below.takes(object));
            }
            clean.sizes.learn(&objects);
            let size = Some(objects.disk()).filter(|size| is_bounded && *size > self.limit);
            let tainted = match size {
                None => {
                    let of = (&commits, &objects);
                    self.tainted(git, &start.secrets, of, clean).await?
                }
                Some(_) => None,
            };
            if tainted.is_none() && size.is_none() {
                break (commits, objects);
            }
            if !along.tips.is_empty() {
                self.drop_other_branches(&mut along);
            } else if along.depth > 0 {
                along.under_way.without_heads();
                along.depth = 0;
                (along.tainted, along.too_long) = (tainted, size);
            } else {
                self.fits(&objects)?;
            }
        };
        if along.depth > 0 {
            let mut commits = commits;
            commits.extend(snapshot.head.clone());
            let tags = self.tags_along(git, &commits, &start.secrets).await?;
            along.refs.refs.extend(tags);
        } else {
            along.under_way.without_heads();
        }
        let unmerged = &along.under_way.unmerged;
        along.under_way.blobs = self.unmerged_commit(git, unmerged).await?;
        Ok((along, objects))
    }

    /// The tips of the user's own commits that go along, and all of these: what a base is made of. None
    /// if there is no history to go.
    pub(crate) async fn own(
        &self,
        git: &Git<'_>,
        root: Option<&Layout>,
        snapshot: &Snapshot,
        along: &Along,
    ) -> Result<(Vec<String>, BTreeSet<String>), Error> {
        let head = snapshot.head.iter().filter(|_| along.depth > 0);
        let tips: Vec<String> = head.chain(&along.tips).cloned().collect();
        if tips.is_empty() {
            return Ok((tips, BTreeSet::new()));
        }
        let names: Vec<&str> = tips.iter().map(String::as_str).collect();
        let (_, commits) = self.shallow(git, root, &names, along.depth).await?;
        Ok((tips, commits))
    }

    /// Leaves out the other branches with their history. What history goes has to be worked out again after that.
    fn drop_other_branches(&self, along: &mut Along) {
        self.host.log(
            Level::Warn,
            "the default branch and the upstream are not brought into the sandbox: they hold what must stay here, or are too large",
        );
        along.refs = Refs::default();
        along.tips.clear();
        along.under_way.without_heads();
    }

    /// Cuts the history; gives the commits that go beside the snapshot.
    async fn cut(
        &self,
        git: &Git<'_>,
        root: Option<&Layout>,
        snapshot: &Snapshot,
        along: &mut Along,
    ) -> Result<BTreeSet<String>, Error> {
        let tips: Vec<&str> = [&snapshot.commit]
            .into_iter()
            .chain(&along.tips)
            .map(String::as_str)
            .collect();
        let (shallow, mut commits) = self.shallow(git, root, &tips, along.depth).await?;
        along.shallow = shallow;
        commits.remove(&snapshot.commit);
        Ok(commits)
    }

    /// True if the history of the tips holds a file that must stay here.
    async fn keeps_out(
        &self,
        git: &Git<'_>,
        tips: &[String],
        snapshot: &Snapshot,
        start: &Start,
    ) -> Result<bool, Error> {
        if tips.is_empty() || start.keep_out.is_empty() {
            return Ok(false);
        }
        let without = format!("^{}", snapshot.commit);
        let mut args = vec!["rev-list", "--max-count=1", "--full-history"];
        args.extend(tips.iter().map(String::as_str));
        args.extend([without.as_str(), "--"]);
        args.extend(start.keep_out.iter().map(String::as_str));
        Ok(!git.line(&args).await?.is_empty())
    }

    /// Writes a pack of the snapshot and of what goes along, within the limit: other branches stay if
    /// they do not fit.
    pub(crate) async fn write_within(
        &self,
        git: &Git<'_>,
        (root, snapshot, lfs): (Option<&Layout>, &Snapshot, Option<&String>),
        along: &mut Along,
        ends: (&[String], bool),
        pack: &str,
    ) -> Result<Vec<PackFile>, Error> {
        let own: Vec<&String> = [&snapshot.commit].into_iter().chain(lfs).collect();
        let mut size = self.write_pack(git, &own, along, ends, pack).await?;
        if size > self.limit && !along.tips.is_empty() {
            self.drop_other_branches(along);
            self.cut(git, root, snapshot, along).await?;
            size = self.write_pack(git, &own, along, ends, pack).await?;
        }
        match size > self.limit {
            false => Ok(vec![PackFile {
                path: pack.into(),
                index: None,
                size,
            }]),
            true => Err(Error::TooLarge {
                worktree: self.worktree.clone(),
                size,
                files: snapshot.files.0,
                largest: Vec::new(),
                limit: self.limit,
            }),
        }
    }

    /// Writes a pack of commits and of what goes along; gives its size.
    async fn write_pack(
        &self,
        git: &Git<'_>,
        own: &[&String],
        along: &Along,
        (without, is_partial): (&[String], bool),
        pack: &str,
    ) -> Result<u64, Error> {
        let mut revisions = String::new();
        for commit in &along.shallow {
            revisions.push_str(&format!("--shallow {commit}\n"));
        }
        let refs = along.refs.refs.iter().map(|found| &found.object);
        let more = own.iter().copied().chain(&along.tips).chain(refs);
        for object in more.chain(&along.under_way.blobs) {
            revisions.push_str(&format!("{object}\n"));
        }
        for commit in without {
            revisions.push_str(&format!("^{commit}\n"));
        }
        let mut args = vec![
            "pack-objects",
            "--revs",
            "--stdout",
            "--quiet",
            "--delta-base-offset",
            "--shallow",
        ];
        if !without.is_empty() {
            args.push("--thin");
        }
        if is_partial {
            args.push("--missing=allow-any");
        }
        git.to_file(&args, &revisions, pack).await?;
        Ok(self.host.file_size(pack).await?)
    }
}
