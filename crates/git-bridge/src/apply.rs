//! The session's change, put onto the worktree, if the user wants that and nothing is in its way.
//!
//! Never: overwrite or merge anything. Git applies the whole change or none of it, writes beyond
//! no link, and the user's index stays as it is.

use crate::error::Error;
use crate::git::{self, text};
use crate::names::is_hash;
use crate::project::Project;

/// Most bytes of files, as they were and as they are, that are applied: git holds some four times as
/// many in memory for it.
const MAX_APPLIED: u64 = 48 * 1024 * 1024;

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Applied {
    /// The worktree has the change, now or already.
    Yes,
    /// It has not, and why.
    No(String),
}

impl Project {
    /// Applies what lies between two commits of the depot.
    pub async fn apply(&self, from: &str, to: &str) -> Result<Applied, Error> {
        let private = self.open().await?;
        let dir = self.temp_dir().await?;
        let result = self.apply_in(&private, from, to, &dir).await;
        let _ = self.host.remove_dir(&dir).await;
        result
    }

    async fn apply_in(
        &self,
        private: &git::Git<'_>,
        from: &str,
        to: &str,
        dir: &str,
    ) -> Result<Applied, Error> {
        let bytes = self.bytes_between(private, from, to, dir).await?;
        if bytes > MAX_APPLIED {
            return Ok(Applied::No(format!(
                "the changed files have {} MB, and at most {} MB are put there at once",
                bytes / 1_000_000,
                MAX_APPLIED / 1_000_000
            )));
        }
        let patch = format!("{dir}/change.patch");
        let diff = [
            "diff-tree",
            "-r",
            "-p",
            "--binary",
            "--full-index",
            "--no-renames",
            "--no-ext-diff",
            "--no-textconv",
            from,
            to,
        ];
        private.to_file(&diff, "", &patch).await?;
        if self.host.file_size(&patch).await? == 0 {
            return Ok(Applied::Yes);
        }
        let users = self.users().await?;
        let names = git::changed_names(from, to);
        let names = private.checked(&names, "").await?.stdout;
        let touches_attributes = names.split(|byte| *byte == 0).any(|name| {
            name.rsplit(|byte| *byte == b'/')
                .next()
                .is_some_and(|name| name.eq_ignore_ascii_case(b".gitattributes"))
        });
        if touches_attributes {
            return Ok(Applied::No(
                "it changes .gitattributes, which decides what programs git runs on files".into(),
            ));
        }
        if let Some((one, other)) = self.collide(&users, &names).await? {
            return Ok(Applied::No(format!(
                "{one} and {other} differ only in the case of letters, which this file system does not tell apart"
            )));
        }
        // A filter is a program on this machine; it runs on nothing that comes from a sandbox.
        let filters = users
            .clone()
            .with("GIT_WORK_TREE", self.worktree.clone())
            .feed(&["check-attr", "-z", "--stdin", "filter"], names)
            .await?;
        let mut values = filters.stdout.split(|byte| *byte == 0).skip(2).step_by(3);
        if filters.code != 0 || values.any(|value| !matches!(value, b"unspecified" | b"unset")) {
            return Ok(Applied::No(
                "it changes files that a git filter of yours works on".into(),
            ));
        }
        let worktree = users.with("GIT_WORK_TREE", self.worktree.clone());
        let apply = ["apply", "--whitespace=nowarn"];
        let done = worktree.fed_from(&apply, &patch, 0).await?;
        if done.code == 0 {
            return Ok(Applied::Yes);
        }
        // A crash may have come between the change and the note of it.
        let reverse = ["apply", "--whitespace=nowarn", "--check", "--reverse"];
        if worktree.fed_from(&reverse, &patch, 0).await?.code == 0 {
            return Ok(Applied::Yes);
        }
        let reason = git::reason(&done);
        let first = reason.lines().next().unwrap_or_default();
        let first = first.strip_prefix("error: ").unwrap_or(first);
        Ok(Applied::No(first.to_string()))
    }

    /// Bytes of the files that differ, on both sides.
    async fn bytes_between(
        &self,
        private: &git::Git<'_>,
        from: &str,
        to: &str,
        dir: &str,
    ) -> Result<u64, Error> {
        let changed = format!("{dir}/changed");
        let diff = ["diff-tree", "-r", "-z", "--no-renames", from, to];
        private.to_file(&diff, "", &changed).await?;
        let mut blobs = String::new();
        self.in_records(&changed, 0, |record| {
            // `:MODE MODE HASH HASH STATUS`, or a path.
            if let Some(fields) = record.strip_prefix(b":") {
                let fields = String::from_utf8_lossy(fields);
                for hash in fields.split(' ').filter(|field| is_hash(field)) {
                    blobs += &format!("{hash}\n");
                }
            }
        })
        .await?;
        let sizes = ["cat-file", "--batch-check=%(objectsize)"];
        let sizes = private.checked(&sizes, &blobs).await?;
        let sizes = text(&sizes.stdout);
        // What is not on one of the sides is missing, and has no size.
        Ok(sizes
            .lines()
            .filter_map(|size| size.parse::<u64>().ok())
            .sum())
    }
}
