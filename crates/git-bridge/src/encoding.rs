//! Files of the worktree that are not in the encoding that their attribute names
//! (`working-tree-encoding`): they are fatal to `git add`, and would keep every other file here. They
//! travel as they are.

use crate::error::Error;
use crate::git::{self, Git, text};
use crate::project::Project;

/// Files that git cannot convert.
#[derive(Default)]
pub(crate) struct AsTheyAre {
    /// Lines for `update-index --index-info`.
    pub(crate) entries: Vec<u8>,
    /// Pathspecs that leave them out, each with a NUL behind it.
    pub(crate) exclude: Vec<u8>,
}

impl Project {
    /// Finds them.
    pub(crate) async fn as_they_are(&self, git: &Git<'_>, dir: &str) -> Result<AsTheyAre, Error> {
        let (names, attributes) = (format!("{dir}/all-names"), format!("{dir}/encodings"));
        let list = [
            "ls-files",
            "-z",
            "--cached",
            "--others",
            "--exclude-standard",
        ];
        git.to_file(&list, "", &names).await?;
        let check = ["check-attr", "-z", "--stdin", "working-tree-encoding"];
        git.file_to_file(&check, &names, &attributes).await?;
        let listed = self.whole(&attributes).await?;
        let mut found = AsTheyAre::default();
        for (path, _) in git::attributes(&listed) {
            let Ok(path) = std::str::from_utf8(path) else {
                continue;
            };
            // Only with `-w` does git mind what it cannot convert.
            let convert = ["hash-object", "-w", "--", path];
            let raw = ["hash-object", "-w", "--no-filters", "--", path];
            if git.run(&convert, "").await?.code == 0 {
                continue;
            }
            let raw = git.run(&raw, "").await?;
            if raw.code == 0 {
                let entry = format!("100644 {}\t{path}\0", text(&raw.stdout));
                found.entries.extend(entry.into_bytes());
                let exclude = format!(":(exclude,literal){path}\0");
                found.exclude.extend(exclude.into_bytes());
            }
        }
        Ok(found)
    }
}
