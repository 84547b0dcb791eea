//! What git was doing on the host when the sandbox was made: a merge, a cherry-pick or a revert with
//! conflicts goes along, so that the agent can end it; of a rebase only the conflicts, and what it is.

use crate::error::Error;
use crate::git::{Git, text};
use crate::names::is_hash;
use crate::project::Project;
use crate::secret::Clean;
use crate::start::Start;
use std::collections::BTreeSet;

/// An unmerged entry of the index: one version of a file with conflicts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnmergedEntry {
    /// Mode, as git writes it.
    pub mode: String,
    /// Full hash.
    pub blob: String,
    /// 1 is the common ancestor's, 2 ours, 3 theirs.
    pub stage: u8,
    /// The file.
    pub path: String,
}

/// What git was doing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UnderWay {
    /// Files of the git directory that say so: name and text.
    pub marks: Vec<(String, String)>,
    /// Files with conflicts.
    pub unmerged: Vec<UnmergedEntry>,
    /// A commit whose tree has the unmerged entries' blobs.
    pub blobs: Option<String>,
    /// For whoever sees the files: what it is.
    pub says: Option<String>,
    /// Commits that the marks name.
    pub(crate) heads: Vec<String>,
}

/// The mark, what it means, and what ends it.
const KINDS: &[(&str, &str, &str)] = &[
    ("MERGE_HEAD", "a merge", "`git commit`"),
    (
        "CHERRY_PICK_HEAD",
        "a cherry-pick",
        "`git cherry-pick --continue`",
    ),
    ("REVERT_HEAD", "a revert", "`git revert --continue`"),
];
/// What goes along beside a mark.
const MARKS: &[&str] = &["MERGE_MSG", "MERGE_MODE"];
const MAX_MARK: u64 = 1024 * 1024;
const MAX_NAMED: usize = 10;

impl Project {
    /// Looks what git is doing in the worktree, whose git directory is `dir`.
    pub(crate) async fn under_way(
        &self,
        git: &Git<'_>,
        dir: &str,
        start: &Start,
        clean: &mut Clean,
    ) -> Result<UnderWay, Error> {
        let mut found = UnderWay::default();
        let names = self.host.list_dir(dir).await?;
        let has = |name: &str| names.iter().any(|found| found == name);
        found.unmerged = self.unmerged(git, start, clean).await?;
        let kind = KINDS.iter().find(|(mark, ..)| has(mark));
        if let Some((mark, ..)) = kind {
            for name in [mark].into_iter().chain(MARKS).filter(|name| has(name)) {
                let path = format!("{dir}/{name}");
                let text = self.host.read_part(&path, 0, MAX_MARK).await?;
                let text = String::from_utf8_lossy(&text).into_owned();
                if name == mark {
                    let heads = text.lines().filter(|line| is_hash(line));
                    found.heads = heads.map(str::to_string).collect();
                }
                if !start.secrets.are_in(text.as_bytes()) {
                    found.marks.push((name.to_string(), text));
                }
            }
        }
        let files: BTreeSet<&str> = found.unmerged.iter().map(|entry| &*entry.path).collect();
        let (what, ends) = match kind {
            Some((_, what, ends)) => (what.to_string(), Some(*ends)),
            None if has("rebase-merge") => (self.rebase(dir).await, None),
            None if has("rebase-apply") => ("a rebase, or `git am`,".into(), None),
            None if has("BISECT_LOG") => ("a bisect".into(), None),
            None if !files.is_empty() => (
                "something with conflicts (`git stash pop`, or a checkout)".into(),
                None,
            ),
            None => return Ok(found),
        };
        let named: Vec<&str> = files.iter().take(MAX_NAMED).copied().collect();
        let more = match files.len() - named.len() {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let conflicts = match named.is_empty() {
            true => String::new(),
            false => format!(" Files with conflicts: {}{more}.", named.join(", ")),
        };
        let end = match ends {
            Some(ends) => format!(" It is under way in the sandbox as well, and {ends} ends it."),
            None => " Only the files and their conflicts are in the sandbox: resolve them there, commit nothing that continues it, and leave it to the user to go on.".into(),
        };
        found.says = Some(format!(
            "When the sandbox was made, {what} was under way in the user's repository.{conflicts}{end}"
        ));
        Ok(found)
    }

    /// What is rebased onto what.
    async fn rebase(&self, dir: &str) -> String {
        let read = async |name: &str| {
            let path = format!("{dir}/rebase-merge/{name}");
            let text = self
                .host
                .read_part(&path, 0, 1024)
                .await
                .unwrap_or_default();
            crate::git::text(&text)
        };
        let branch = read("head-name").await;
        let branch = branch.strip_prefix("refs/heads/").unwrap_or("a branch");
        let onto = read("onto").await;
        match is_hash(&onto) {
            true => format!("a rebase of {branch} onto {}", &onto[..10]),
            false => format!("a rebase of {branch}"),
        }
    }

    /// The files with conflicts, as the user's index has them, without what must stay here.
    async fn unmerged(
        &self,
        git: &Git<'_>,
        start: &Start,
        clean: &mut Clean,
    ) -> Result<Vec<UnmergedEntry>, Error> {
        let listed = git.checked(&["ls-files", "--unmerged", "-z"], "").await?;
        let unmerged = listed.stdout.split(|byte| *byte == 0).filter_map(|line| {
            let (head, path) = std::str::from_utf8(line).ok()?.split_once('\t')?;
            let mut head = head.split(' ');
            let entry = UnmergedEntry {
                mode: head.next()?.into(),
                blob: head.next()?.into(),
                stage: head.next()?.parse().ok()?,
                path: path.into(),
            };
            (entry.mode != "160000" && !start.keep_out.contains(&entry.path)).then_some(entry)
        });
        let mut unmerged: Vec<UnmergedEntry> = unmerged.collect();
        let blobs = unmerged.iter().map(|entry| entry.blob.clone()).collect();
        let secret = self.holding(git, &start.secrets, blobs, clean).await?;
        let paths: BTreeSet<String> = unmerged
            .iter()
            .filter(|entry| secret.contains(&entry.blob))
            .map(|entry| entry.path.clone())
            .collect();
        unmerged.retain(|entry| !paths.contains(&entry.path));
        Ok(unmerged)
    }

    /// A commit that carries the blobs of the unmerged entries.
    pub(crate) async fn unmerged_commit(
        &self,
        git: &Git<'_>,
        unmerged: &[UnmergedEntry],
    ) -> Result<Option<String>, Error> {
        if unmerged.is_empty() {
            return Ok(None);
        }
        let blobs: BTreeSet<&String> = unmerged.iter().map(|entry| &entry.blob).collect();
        let lines = blobs.iter();
        let lines: String = lines
            .map(|blob| format!("100644 blob {blob}\t{blob}\n"))
            .collect();
        let tree = text(&git.checked(&["mktree"], &lines).await?.stdout);
        let message = "Files with conflicts";
        let commit = ["commit-tree", "--no-gpg-sign", "-m", message, &tree];
        self.signed(git).line(&commit).await.map(Some)
    }
}

impl UnderWay {
    /// Without what names commits that do not go along.
    pub(crate) fn without_heads(&mut self) {
        self.heads.clear();
        self.marks.clear();
    }
}
