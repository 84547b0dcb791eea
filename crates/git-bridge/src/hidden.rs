//! Edits that git was told not to see, with `git update-index --skip-worktree` or `--assume-unchanged`.
//! They stay on the host, as they stay out of every commit there, and are named.

use crate::error::Error;
use crate::git::Git;
use crate::project::Project;
use crate::secret::Staged;
use crate::sparse::Kind;
use std::collections::BTreeSet;

impl Project {
    /// Files that differ from what git has of them, and that it does not look at. `index` is a copy of
    /// the user's, which `git` works on.
    pub(crate) async fn hidden(
        &self,
        git: &Git<'_>,
        kind: Kind,
        staged: &[Staged],
        index: &str,
        dir: &str,
    ) -> Result<Vec<String>, Error> {
        // In a sparse checkout the mark says that a file is not in the worktree.
        if kind.is_sparse {
            return Ok(Vec::new());
        }
        let flagged = staged.iter().filter(|file| file.is_unseen);
        let flagged: BTreeSet<&[u8]> = flagged.map(|file| &file.path[..]).collect();
        if flagged.is_empty() {
            return Ok(Vec::new());
        }
        let seeing = format!("{dir}/seeing");
        self.host.copy_file(index, &seeing).await?;
        let git = git.clone().with("GIT_INDEX_FILE", seeing);
        let mut paths: Vec<u8> = Vec::new();
        for path in &flagged {
            paths.extend([path, &b"\0"[..]].concat());
        }
        for flag in ["--no-skip-worktree", "--no-assume-unchanged"] {
            let update = ["update-index", flag, "-z", "--stdin"];
            let updated = git.feed(&update, paths.clone()).await?;
            git.check(&update, updated)?;
        }
        let diff = [
            "diff",
            "--no-ext-diff",
            "--no-textconv",
            "--ignore-submodules=all",
            "--name-only",
            "--diff-filter=MT",
            "-z",
        ];
        let changed = git.checked(&diff, "").await?.stdout;
        let hidden = changed.split(|byte| *byte == 0);
        Ok(hidden
            .filter(|path| flagged.contains(path))
            .map(|path| String::from_utf8_lossy(path).into_owned())
            .collect())
    }
}
