//! What git has not seen yet is looked at before git takes it: a file of the user's may be larger than
//! anything that is carried.

use crate::error::Error;
use crate::git::Git;
use crate::objects::MAX_NAMED;
use crate::project::Project;

/// How many files are asked for at a time.
const FILES: usize = 1_000;

impl Project {
    /// Sizes of files of the worktree.
    pub(crate) async fn sizes_of(&self, files: &[String]) -> Vec<u64> {
        let mut sizes = Vec::with_capacity(files.len());
        for some in files.chunks(FILES) {
            sizes.extend(self.host.file_sizes(&self.worktree, some).await);
        }
        sizes
    }

    /// Refuses a worktree whose files that git would have to take are more than is carried. `git` works
    /// on the index that they would be taken into; `below` are the pathspecs that they match.
    pub(crate) async fn uncommitted_fits(
        &self,
        git: &Git<'_>,
        below: &[String],
        dir: &str,
    ) -> Result<(), Error> {
        let names = format!("{dir}/uncommitted");
        let mut list = vec![
            "ls-files",
            "-z",
            "--others",
            "--modified",
            "--exclude-standard",
            "--",
        ];
        list.extend(below.iter().map(String::as_str));
        git.to_file(&list, "", &names).await?;
        let mut found = Vec::new();
        self.in_records(&names, 0, |name| {
            // A name that is no text is asked for in vain, and counts nothing.
            found.push(String::from_utf8_lossy(name).into_owned());
        })
        .await?;
        let sizes = self.sizes_of(&found).await;
        let size: u64 = sizes.iter().sum();
        if size <= self.limit {
            return Ok(());
        }
        let mut files: Vec<(String, u64)> = found.into_iter().zip(sizes).collect();
        files.sort_by_key(|(_, size)| std::cmp::Reverse(*size));
        let count = files.len();
        files.truncate(MAX_NAMED);
        Err(Error::TooLarge {
            worktree: self.worktree.clone(),
            size,
            files: count,
            largest: files,
            limit: self.limit,
        })
    }
}
