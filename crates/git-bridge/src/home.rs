//! Home: a bundle from a sandbox becomes commits in the depot, then a branch of the user's.
//!
//! Nothing of a bundle is believed. It is unpacked into a temporary directory of objects first: its
//! head is read here; git checks every object in it (`fsck.rs` says what is refused: `.git` in all its
//! spellings, `..`, `.gitmodules` tricks), and that nothing is missing; every new commit must be in
//! it, and what they hold must be of a size that can be listed. What fails leaves nothing behind.

use crate::error::Error;
use crate::git::{self, Git, text};
use crate::header;
use crate::listing::Listing;
use crate::names::{is_hash, kept};
use crate::project::{Project, US};
use crate::snapshot::EDITS;
use crate::spelling::is_other_case;
use std::collections::BTreeMap;

/// What the sandbox says it has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Incoming {
    /// The commit that holds the state.
    pub tip: String,
    /// Other branches: name and commit.
    pub branches: Vec<(String, String)>,
    /// A commit with files that Git LFS keeps, by the SHA-256 of their bytes.
    pub lfs: Option<String>,
    /// File on the host with a bundle of them, if anything is new.
    pub bundle: Option<String>,
}

/// Which branch a session's work goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tip<'a> {
    /// The session.
    pub session: &'a str,
    /// The branch, without `refs/heads/`.
    pub branch: &'a str,
    /// The commit that came home before.
    pub last: Option<&'a str>,
    /// Why the work must go to a branch beside the session's own, if it must.
    pub beside: Option<&'a str>,
}

/// The branches of the user's repository as they are after a session's work has landed there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BranchUpdate {
    /// The branch that holds the work now.
    pub branch: String,
    /// Its commit.
    pub commit: String,
    /// Files that differ from what came home before, or from what the sandbox started with.
    pub files: Vec<String>,
    /// Why it is not the session's own branch, but one beside it.
    pub beside: Option<String>,
    /// Further branches.
    pub others: Vec<String>,
    /// How the session's change gets into the working tree.
    pub take: Take,
    /// What the user should know of its files.
    pub notes: Vec<String>,
}

/// How the session's change gets into the working tree.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Take {
    /// By a merge of the branch.
    #[default]
    Merge,
    /// As what lies between this commit and the branch's: the user had edits that were not committed,
    /// which are on the branch, too, and a merge would overwrite them.
    Since(String),
    /// As what lies between this commit, which only the depot has, and the branch's: the agent made
    /// another repository.
    SinceInDepot(String),
}

/// How often it is looked where branches are.
const MAX_LOOKS: usize = 4;
/// How many branches beside the own one are tried.
const MAX_BESIDE: usize = 100;
/// Most further branches that are taken; the runner sends fewer.
const MAX_BRANCHES: usize = 100;
/// Most files that are named, and how many bytes are read for it.
const MAX_FILES: usize = 1_000;
const MAX_NAMES: u64 = 1024 * 1024;

/// A branch as it is.
struct Existing {
    commit: String,
    checked_out: bool,
}

impl Project {
    /// Commits that this end has of the session's work, newest first: a bundle need not hold what
    /// they reach. `host_head` is the HEAD that the sandbox started from.
    pub async fn have(&self, session: &str, host_head: Option<&str>) -> Result<Vec<String>, Error> {
        let private = self.open().await?;
        let mut have = Vec::new();
        for kind in ["home", "base"] {
            have.extend(self.kept(&private, kind, session).await);
        }
        if let Some(head) = host_head
            && private.has(head).await?
        {
            have.push(head.to_string());
        }
        have.extend(self.given(&private, session).await?);
        have.dedup();
        Ok(have)
    }

    /// The commit that came home last, as the depot knows it.
    pub async fn last(&self, session: &str) -> Result<Option<String>, Error> {
        let private = self.open().await?;
        Ok(self.kept(&private, "home", session).await)
    }

    /// Takes the commits into the depot, checked, and gives what is odd about them, in sentences. Safe
    /// to repeat.
    pub async fn receive(
        &self,
        session: &str,
        incoming: &Incoming,
        host_head: Option<&str>,
    ) -> Result<Vec<String>, Error> {
        let private = self.open().await?;
        let mut commits = vec![incoming.tip.as_str()];
        commits.extend(incoming.branches.iter().map(|(_, commit)| commit.as_str()));
        commits.extend(incoming.lfs.as_deref());
        if incoming.branches.len() > MAX_BRANCHES {
            return Err(Error::Refused(format!(
                "it has {} branches, and at most {MAX_BRANCHES} are taken",
                incoming.branches.len()
            )));
        }
        if !commits.iter().all(|commit| is_hash(commit)) {
            return Err(Error::Refused("it names a commit by no full hash".into()));
        }
        let have = self.have(session, host_head).await?;
        let dir = self.temp_dir().await?;
        let checked = self.check(&private, incoming, &commits, &have, &dir).await;
        let _ = self.host.remove_dir(&dir).await;
        let mut all = Vec::new();
        if let Some((bundle, pack_at, odd)) = checked? {
            let take = ["index-pack", "--stdin", "--fix-thin"];
            let taken = private.fed_from(&take, bundle, pack_at).await?;
            private.check(&take, taken)?;
            all = odd;
        }
        if let Some(lfs) = &incoming.lfs {
            self.deliver(&private, lfs).await?;
        }
        Ok(all)
    }

    /// Makes a commit that was received the one that came home last: the session's next bundle builds
    /// on it, and so does a sandbox that takes a lost one's place.
    pub async fn keep(&self, session: &str, tip: &str) -> Result<(), Error> {
        let private = self.open().await?;
        let name = kept("home", session);
        private.checked(&["update-ref", &name, tip], "").await?;
        Ok(())
    }

    /// Files of what came home last (`last`), or of what the session began with, that `tip` lacks, and
    /// of how many, if it lacks most of them and nothing explains it. What explains it is a change that
    /// was made in the session (`was_changed`), on top of what was there.
    pub async fn lost(
        &self,
        session: &str,
        last: Option<&str>,
        tip: &str,
        was_changed: bool,
    ) -> Result<Option<(usize, usize)>, Error> {
        let private = self.open().await?;
        let from = match last {
            Some(last) => Some(last.to_string()),
            None => self.kept(&private, "base", session).await,
        };
        let Some(from) = from else {
            return Ok(None);
        };
        if was_changed && private.is_ancestor(&from, tip).await? {
            return Ok(None);
        }
        let deleted = [
            "diff-tree",
            "-r",
            "-z",
            "--name-only",
            "--no-renames",
            "--diff-filter=D",
        ];
        let all = ["ls-tree", "-r", "-z", "--name-only"];
        let lost = self
            .count(&private, &[&deleted[..], &[&from, tip]].concat())
            .await?;
        if lost == 0 {
            return Ok(None);
        }
        let of = self.count(&private, &[&all[..], &[&from]].concat()).await?;
        Ok((lost * 2 > of).then_some((lost, of)))
    }

    /// How many names git lists.
    async fn count(&self, git: &Git<'_>, args: &[&str]) -> Result<usize, Error> {
        let dir = self.temp_dir().await?;
        let names = format!("{dir}/names");
        let counted = async {
            git.to_file(args, "", &names).await?;
            let mut count = 0;
            self.in_parts(&names, |part| {
                count += part.iter().filter(|byte| **byte == 0).count();
                Ok(())
            })
            .await?;
            Ok(count)
        }
        .await;
        let _ = self.host.remove_dir(&dir).await;
        counted
    }

    /// Unpacks into `dir`, which is a quarantine for objects as git has one for a push, and checks everything in
    /// it together with the depot's objects. Gives the bundle, if there is one,
    /// where its pack begins, and what is odd about it.
    async fn check<'a>(
        &self,
        private: &Git<'_>,
        incoming: &'a Incoming,
        commits: &[&str],
        have: &[String],
        dir: &str,
    ) -> Result<Option<(&'a str, u64, Vec<String>)>, Error> {
        let quarantine = private.clone().with("GIT_OBJECT_DIRECTORY", dir);
        let depot = git::quoted(&format!("{}/objects", self.depot));
        let with_depot = quarantine
            .clone()
            .with("GIT_ALTERNATE_OBJECT_DIRECTORIES", depot);
        let bundle = match &incoming.bundle {
            Some(bundle) => {
                let unpacked = self.unbundle(private, &with_depot, bundle, commits, dir);
                let (pack_at, odd) = unpacked.await?;
                Some((bundle.as_str(), pack_at, odd))
            }
            None => None,
        };
        // Everything must be there that the commits reach and we did not have before.
        let mut list = String::new();
        for commit in commits {
            list.push_str(&format!("{commit}\n"));
        }
        for commit in have {
            list.push_str(&format!("^{commit}\n"));
        }
        let args = ["rev-list", "--objects", "--quiet", "--stdin"];
        let walked = with_depot.run(&args, &list).await?;
        if walked.code != 0 {
            return Err(Error::Refused(format!(
                "objects are missing ({})",
                git::reason(&walked)
            )));
        }
        for commit in commits {
            if !with_depot.is_commit(commit).await? {
                return Err(Error::Refused(format!("{commit} is no commit")));
            }
        }
        // Every new commit must be one that was sent. A sandbox may name the hash of a commit of the user's that
        // it was never given: the depot has that one, so git would not miss it, and the work would hold it.
        let new = with_depot.checked(&["rev-list", "--stdin"], &list).await?;
        let sent = ["cat-file", "--batch-check=%(objecttype)"];
        let sent = quarantine.checked(&sent, &text(&new.stdout)).await?;
        if text(&sent.stdout).contains("missing") {
            return Err(Error::Refused(
                "it names commits that it did not send".into(),
            ));
        }
        if bundle.is_some() {
            self.list(&with_depot, commits, dir).await?;
        }
        Ok(bundle)
    }

    /// Refuses trees with more paths than anybody can list: a few objects may name the same ones
    /// over and over.
    async fn list(&self, git: &Git<'_>, commits: &[&str], dir: &str) -> Result<(), Error> {
        let (names, trees) = (format!("{dir}/names"), format!("{dir}/trees"));
        let roots: String = commits.iter().map(|c| format!("{c}^{{tree}}\n")).collect();
        let args = [
            "rev-list",
            "--objects",
            "--no-object-names",
            "--filter=blob:none",
            // Those of a partial clone, which the walk before has found to be nobody's fault.
            "--missing=allow-any",
            "--stdin",
        ];
        git.to_file(&args, &roots, &names).await?;
        let args = ["cat-file", "--batch", "--buffer"];
        git.file_to_file(&args, &names, &trees).await?;
        let hash = commits.first().map_or(40, |commit| commit.len()) / 2;
        let mut listing = Listing::new(hash);
        self.in_parts(&trees, |part| listing.read(part).map_err(Error::Refused))
            .await?;
        match listing.is_bounded() {
            true => Ok(()),
            false => Err(Error::Refused(
                "its trees name more files than can be listed".into(),
            )),
        }
    }

    /// Checks a bundle and unpacks it; gives where its pack begins, and what is odd about it.
    async fn unbundle(
        &self,
        private: &Git<'_>,
        git: &Git<'_>,
        bundle: &str,
        commits: &[&str],
        dir: &str,
    ) -> Result<(u64, Vec<String>), Error> {
        let size = self.host.file_size(bundle).await?;
        if size > self.limit {
            return Err(Error::TooMuch {
                size,
                limit: self.limit,
                largest: Vec::new(),
            });
        }
        let mut header = Err(String::new());
        for length in header::HEADS {
            let head = self.host.read_part(bundle, 0, length).await?;
            header = header::parse(&head);
            if header.is_ok() || (head.len() as u64) < length {
                break;
            }
        }
        let header = header.map_err(Error::Refused)?;
        let expected: Vec<(String, String)> = commits
            .iter()
            .enumerate()
            .map(|(n, commit)| (format!("refs/opencode/out/{n}"), commit.to_string()))
            .collect();
        // A ref that the host has already is left out by git.
        let is_expected = |found: &(String, String)| expected.contains(found);
        if header.refs.is_empty() || !header.refs.iter().all(is_expected) {
            return Err(Error::Refused(
                "its refs are not those that were asked for".into(),
            ));
        }
        let at = (bundle, header.pack_at);
        let odd = self.unpack(private, git, at, dir).await?;
        Ok((header.pack_at, odd))
    }

    /// The highest number that any branch has behind `prefix`, whose ever it is; 0 if none has one.
    pub async fn last_number(&self, prefix: &str) -> Result<u64, Error> {
        self.open().await?;
        let users = self.users().await?;
        let prefix = format!("refs/heads/{prefix}");
        let pattern = format!("{prefix}*");
        let list = [
            "for-each-ref",
            "--ignore-case",
            "--format=%(refname)",
            &pattern,
        ];
        let listed = users.checked(&list, "").await?;
        let listed = text(&listed.stdout);
        let numbers = listed.lines().filter_map(|name| {
            // In letters of another case it may be the same file.
            let (before, number) = name.split_at_checked(prefix.len())?;
            let number = Some(number).filter(|_| before.eq_ignore_ascii_case(&prefix))?;
            number.split('-').next()?.parse().ok()
        });
        Ok(numbers
            .filter(|number| *number < u64::MAX)
            .max()
            .unwrap_or(0))
    }

    /// Hands what was received to the user's repository and moves the session's branch there. A
    /// branch that is checked out, or that holds other commits, is left alone: the work goes to one
    /// beside it.
    pub async fn land(
        &self,
        tip: Tip<'_>,
        incoming: &Incoming,
        host_head: Option<&str>,
    ) -> Result<BranchUpdate, Error> {
        let private = self.open().await?;
        let users = self.users().await?;
        let base = self.kept(&private, "base", tip.session).await;
        if let Some(lfs) = self.kept(&private, "lfs", tip.session).await {
            self.deliver(&private, &lfs).await?;
        }
        if self.repository {
            self.hand_over(&private, &users, tip, incoming, host_head)
                .await?;
        }
        let mut looks = 1;
        let (branch, beside, others) = loop {
            let base = base.as_deref();
            match self.settle(&private, &users, tip, incoming, base).await {
                // Another process may have moved it at the same moment.
                Err(Error::Branch { .. }) if looks < MAX_LOOKS => looks += 1,
                settled => break settled?,
            }
        };
        let (mut files, mut notes) = (Vec::new(), Vec::new());
        let take = self.take(&private, &incoming.tip, host_head, base.as_deref());
        let take = take.await?;
        if let Some(from) = tip.last.map(str::to_string).or(base) {
            files = self.files(&private, &from, &incoming.tip).await?;
            notes = self.filtered(&private, &from, &incoming.tip).await?;
            let crowded = self.crowded(&private, &users, &incoming.tip, &files);
            notes.extend(crowded.await?);
        }
        Ok(BranchUpdate {
            branch,
            commit: incoming.tip.clone(),
            files,
            beside,
            others,
            notes,
            take,
        })
    }

    /// How the change that `tip` ends gets into the working tree.
    async fn take(
        &self,
        private: &Git<'_>,
        tip: &str,
        host_head: Option<&str>,
        base: Option<&str>,
    ) -> Result<Take, Error> {
        let subject = format!("--grep={EDITS}");
        let author = format!("--author={US}@localhost");
        let mut args = vec!["rev-list", "--max-count=1", "--fixed-strings"];
        args.extend([&subject[..], &author, tip]);
        let head = match host_head {
            Some(head) if private.has(head).await? => Some(head),
            _ => None,
        };
        if let Some(head) = head {
            args.extend(["--not", head]);
        }
        let edits = private.line(&args).await?;
        if is_hash(&edits) {
            return Ok(Take::Since(edits));
        }
        match (head, base) {
            (Some(head), Some(base)) if !private.is_ancestor(head, tip).await? => {
                Ok(Take::SinceInDepot(base.into()))
            }
            (None, Some(base)) => Ok(Take::SinceInDepot(base.into())),
            _ => Ok(Take::Merge),
        }
    }

    /// Moves the session's branch and its further ones: which one, why it is another, and theirs.
    async fn settle(
        &self,
        private: &Git<'_>,
        users: &Git<'_>,
        tip: Tip<'_>,
        incoming: &Incoming,
        base: Option<&str>,
    ) -> Result<(String, Option<String>, Vec<String>), Error> {
        let mut existing = self.branches(users, tip.branch).await?;
        if is_in_the_way(&existing, tip.branch) {
            return Err(Error::Taken(tip.branch.into()));
        }
        if tip.last.is_none()
            && tip.beside.is_none()
            && let Some(own) = existing.get(tip.branch)
        {
            // From a crash right after it was made, of another process, or somebody else's.
            let ours = match (own.commit.as_str(), incoming.tip.as_str()) {
                (own, new) if users.is_ancestor(own, new).await? => Some(own),
                (own, new) if users.is_ancestor(new, own).await? => Some(new),
                _ => None,
            };
            let is_ours = match (ours, base) {
                (Some(ours), Some(base)) => !private.is_ancestor(ours, base).await?,
                _ => false,
            };
            if !is_ours {
                return Err(Error::Taken(tip.branch.into()));
            }
        }
        let (branch, beside) = self.place(users, tip, &incoming.tip, &existing).await?;
        if beside.is_none() {
            self.tidy(users, tip.branch, &incoming.tip, &existing)
                .await?;
        }
        let mut others = Vec::new();
        for (name, commit) in &incoming.branches {
            let name = self.other(users, tip, name, commit, &existing).await?;
            let now = Existing {
                commit: commit.clone(),
                checked_out: false,
            };
            // Another of this session's may want the name too.
            existing.entry(name.clone()).or_insert(now).commit = commit.clone();
            others.push(name);
        }
        Ok((branch, beside, others))
    }

    /// Copies what the user's repository does not have yet.
    async fn hand_over(
        &self,
        private: &Git<'_>,
        users: &Git<'_>,
        tip: Tip<'_>,
        incoming: &Incoming,
        host_head: Option<&str>,
    ) -> Result<(), Error> {
        let mut list = String::new();
        for commit in [&incoming.tip]
            .into_iter()
            .chain(incoming.branches.iter().map(|(_, commit)| commit))
        {
            list.push_str(&format!("{commit}\n"));
        }
        for commit in [tip.last, host_head].into_iter().flatten() {
            // The depot sees the user's objects, not the other way round.
            if users.has(commit).await? && private.has(commit).await? {
                list.push_str(&format!("^{commit}\n"));
            }
        }
        let dir = self.temp_dir().await?;
        let pack = format!("{dir}/home.pack");
        let result = async {
            let args = [
                "pack-objects",
                "--revs",
                "--stdout",
                "--quiet",
                "--thin",
                "--delta-base-offset",
            ];
            private.to_file(&args, &list, &pack).await?;
            let small = self.host.file_size(&pack).await? < 1024 * 1024;
            let args: &[&str] = match small {
                true => &["unpack-objects", "-q"],
                false => &["index-pack", "--stdin", "--fix-thin"],
            };
            let output = users.fed_from(args, &pack, 0).await?;
            users.check(args, output).map(drop)
        }
        .await;
        let _ = self.host.remove_dir(&dir).await;
        result
    }

    /// The branch and those whose names begin with it, in letters of any case.
    async fn branches(
        &self,
        users: &Git<'_>,
        branch: &str,
    ) -> Result<BTreeMap<String, Existing>, Error> {
        let own = format!("refs/heads/{branch}");
        let beside = format!("{own}-*");
        let format = "--format=%(objectname)%00%(worktreepath)%00%(refname)";
        let listed = users
            .checked(
                &["for-each-ref", "--ignore-case", format, &own, &beside],
                "",
            )
            .await?;
        let all = text(&listed.stdout);
        let read = |line: &str| {
            let mut fields = line.split('\0');
            let (commit, path, name) = (fields.next()?, fields.next()?, fields.next()?);
            let existing = Existing {
                commit: commit.into(),
                checked_out: !path.is_empty(),
            };
            Some((name.strip_prefix("refs/heads/")?.to_string(), existing))
        };
        Ok(all.lines().filter_map(read).collect())
    }

    /// Moves the session's branch, or the first one beside it that can move.
    async fn place(
        &self,
        users: &Git<'_>,
        tip: Tip<'_>,
        commit: &str,
        existing: &BTreeMap<String, Existing>,
    ) -> Result<(String, Option<String>), Error> {
        let mut why = tip.beside.map(str::to_string);
        let first = if why.is_some() { 2 } else { 1 };
        for n in first..=MAX_BESIDE {
            let name = match n {
                1 => tip.branch.to_string(),
                n => format!("{}-{n}", tip.branch),
            };
            let old = existing.get(&name);
            if is_in_the_way(existing, &name) {
                continue;
            }
            if let Some(old) = old
                && old.commit != commit
            {
                // Somebody moved it on from there: another process, or the user.
                if tip.last != Some(&old.commit) && users.is_ancestor(commit, &old.commit).await? {
                    return Ok((name, why));
                }
                let reason = if old.checked_out {
                    Some(format!("{name} is checked out"))
                } else if !users.is_ancestor(&old.commit, commit).await? {
                    Some(format!("{name} has commits that are not the session's"))
                } else {
                    None
                };
                if reason.is_some() {
                    why = why.or(reason);
                    continue;
                }
            }
            self.update(users, &name, commit, old.map(|old| old.commit.as_str()))
                .await?;
            return Ok((name, why));
        }
        Err(Error::Branch {
            branch: tip.branch.into(),
            reason: format!("it and {MAX_BESIDE} others beside it cannot move"),
        })
    }

    async fn update(
        &self,
        users: &Git<'_>,
        name: &str,
        new: &str,
        old: Option<&str>,
    ) -> Result<(), Error> {
        if old == Some(new) {
            return Ok(());
        }
        let refname = format!("refs/heads/{name}");
        let zeros = "0".repeat(new.len());
        let message = "opencode-daytona-sandbox: work from the sandbox";
        let args = [
            "update-ref",
            "-m",
            message,
            &refname,
            new,
            old.unwrap_or(&zeros),
        ];
        let output = users.run(&args, "").await?;
        if output.code != 0 {
            return Err(Error::Branch {
                branch: name.into(),
                reason: git::reason(&output),
            });
        }
        Ok(())
    }

    /// Branches beside go when the own one holds all of theirs again.
    async fn tidy(
        &self,
        users: &Git<'_>,
        branch: &str,
        commit: &str,
        existing: &BTreeMap<String, Existing>,
    ) -> Result<(), Error> {
        for n in 2..=MAX_BESIDE {
            let name = format!("{branch}-{n}");
            let Some(old) = existing.get(&name) else {
                break;
            };
            if !old.checked_out && users.is_ancestor(&old.commit, commit).await? {
                let refname = format!("refs/heads/{name}");
                users
                    .run(&["update-ref", "-d", &refname, &old.commit], "")
                    .await?;
            }
        }
        Ok(())
    }

    /// One of the agent's own branches: its name comes from the sandbox, so only a part of it is
    /// used. What it pointed to before stays, under another name.
    async fn other(
        &self,
        users: &Git<'_>,
        tip: Tip<'_>,
        name: &str,
        commit: &str,
        existing: &BTreeMap<String, Existing>,
    ) -> Result<String, Error> {
        let plain = format!("{}-{}", tip.branch, plain_name(name));
        let names = [plain.clone(), format!("{plain}-{}", &commit[..10])];
        for name in names {
            if is_in_the_way(existing, &name) {
                continue;
            }
            let old = match existing.get(&name) {
                Some(old) if old.commit == commit => return Ok(name),
                Some(old) if old.checked_out => continue,
                Some(old) if !users.is_ancestor(&old.commit, commit).await? => continue,
                old => old.map(|old| old.commit.as_str()),
            };
            self.update(users, &name, commit, old).await?;
            return Ok(name);
        }
        Err(Error::Branch {
            branch: plain,
            reason: "it cannot move".into(),
        })
    }

    async fn files(&self, private: &Git<'_>, from: &str, to: &str) -> Result<Vec<String>, Error> {
        let args = git::changed_names(from, to);
        let dir = self.temp_dir().await?;
        let file = format!("{dir}/names");
        let listed = async {
            private.to_file(&args, "", &file).await?;
            Ok(self.host.read_part(&file, 0, MAX_NAMES).await?)
        }
        .await;
        let _ = self.host.remove_dir(&dir).await;
        let listed: Vec<u8> = listed.or_else(|error: Error| match error {
            Error::Git { .. } => Ok(Vec::new()),
            error => Err(error),
        })?;
        let whole = listed.iter().rposition(|byte| *byte == 0).unwrap_or(0);
        Ok(listed[..whole]
            .split(|byte| *byte == 0)
            .filter(|name| !name.is_empty())
            .take(MAX_FILES)
            .map(|name| String::from_utf8_lossy(name).into_owned())
            .collect())
    }
}

/// True if the branch is not there, but one whose file it would have on many systems.
fn is_in_the_way(existing: &BTreeMap<String, Existing>, name: &str) -> bool {
    let is_other = |other: &String| is_other_case(other, name);
    !existing.contains_key(name) && existing.keys().any(is_other)
}

/// Letters, digits, `.`, `_` and `-` of a branch's name; never a number, which means another thing.
fn plain_name(name: &str) -> String {
    let mut plain = String::new();
    for c in name.chars().take(60) {
        let c = if c.is_ascii_alphanumeric() || c == '_' || c == '.' {
            c
        } else {
            '-'
        };
        // Neither `..` nor `--` nor a dot in the wrong place.
        if !(matches!(c, '.' | '-') && plain.ends_with(['.', '-'])) {
            plain.push(c);
        }
    }
    let plain = plain.trim_matches(['.', '-']);
    let plain = plain.strip_suffix(".lock").unwrap_or(plain);
    if plain.is_empty() || plain.bytes().all(|b| b.is_ascii_digit()) {
        format!("branch{plain}")
    } else {
        plain.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::plain_name;

    #[test]
    fn a_name_from_a_sandbox_becomes_a_plain_part_of_one() {
        for (name, plain) in [
            ("feature", "feature"),
            ("feat/x y", "feat-x-y"),
            ("../../etc", "etc"),
            ("2", "branch2"),
            ("", "branch"),
            ("a..b~^:?*[\\", "a.b"),
            ("x.lock", "x"),
            ("\u{202e}é", "branch"),
            ("@{-1}", "branch1"),
        ] {
            let got = plain_name(name);
            assert_eq!(got, plain, "{name:?}");
        }
        assert!(plain_name(&"x".repeat(500)).len() <= 60);
    }
}
