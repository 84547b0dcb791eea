//! Files that a filter of the user's own works on, and that nobody wrote since the user's index knows them.
//!
//! Git looks at a file's content again if the file was written in the same second as the index. The
//! filter does not run for us, so such a file seems to have changed, and would go into the sandbox as the
//! worktree has it: decrypted, for one. Its size and its time, which the index has to the nanosecond, say
//! that it has not.

use crate::error::Error;
use crate::git::Git;
use crate::layout::Layout;
use crate::lfs::Changed;
use crate::project::Project;
use protocol::pointer::FILTER;
use std::collections::BTreeMap;

/// Lines of `ls-files --debug` on a file: `ctime`, `mtime`, `dev` and `ino`, `uid` and `gid`, `size` and
/// `flags`.
const LINES: usize = 5;

/// A file in an index.
#[derive(Debug, PartialEq)]
struct Entry {
    blob: String,
    /// In seconds and nanoseconds.
    written: (u64, u64),
    size: u64,
}

impl Project {
    /// Takes from the user's index what is in the index of `git` only because no filter ran.
    pub(crate) async fn restore_untouched(
        &self,
        git: &Git<'_>,
        layout: &Layout,
        changed: &[(Changed, String)],
        dir: &str,
    ) -> Result<(), Error> {
        let own = changed.iter().filter(|(_, filter)| filter != FILTER);
        let files: BTreeMap<&[u8], &Changed> =
            own.map(|(file, _)| (&file.path[..], file)).collect();
        if files.is_empty() {
            return Ok(());
        }
        let index = format!("{dir}/users-index");
        if self.host.copy_file(&layout.index, &index).await.is_err() {
            return Ok(());
        }
        let list = format!("{dir}/entries");
        let git_of_user = git.clone().with("GIT_INDEX_FILE", index);
        let debug = ["ls-files", "--stage", "--debug", "-z"];
        git_of_user.to_file(&debug, "", &list).await?;
        let listed = self.whole(&list).await?;
        let mut entries = Vec::new();
        for (path, entry) in listed_entries(&listed) {
            let Some(file) = files.get(path) else {
                continue;
            };
            if entry.blob != file.new && self.is_untouched(path, &entry).await {
                entries.extend(format!("{} {}\t", file.mode, entry.blob).into_bytes());
                entries.extend([path, b"\0"].concat());
            }
        }
        if !entries.is_empty() {
            let update = ["update-index", "-z", "--index-info"];
            let updated = git.feed(&update, entries).await?;
            git.check(&update, updated)?;
        }
        Ok(())
    }

    /// True if the worktree's file has the size and the time of the entry.
    async fn is_untouched(&self, path: &[u8], entry: &Entry) -> bool {
        let Ok(path) = std::str::from_utf8(path) else {
            return false;
        };
        let path = format!("{}/{path}", self.worktree);
        let Ok(written) = self.host.modified_ms(&path).await else {
            return false;
        };
        let (seconds, nanoseconds) = entry.written;
        // A git that keeps no nanoseconds keeps 0: only a file of another second is surely another.
        nanoseconds != 0
            && written == seconds * 1000 + nanoseconds / 1_000_000
            && self.host.file_size(&path).await == Ok(entry.size)
    }
}

/// Reads `ls-files --stage --debug -z`: `MODE BLOB STAGE\tPATH`, a NUL, and lines on the file.
fn listed_entries(list: &[u8]) -> Vec<(&[u8], Entry)> {
    let mut found = Vec::new();
    let mut rest = list;
    while let Some(end) = rest.iter().position(|byte| *byte == 0) {
        let (head, details) = (&rest[..end], &rest[end + 1..]);
        let ends = details
            .iter()
            .enumerate()
            .filter(|(_, byte)| **byte == b'\n');
        let Some(length) = ends.map(|(at, _)| at + 1).nth(LINES - 1) else {
            break;
        };
        let (details, after) = details.split_at(length);
        rest = after;
        found.extend(entry(head, &String::from_utf8_lossy(details)));
    }
    found
}

fn entry<'a>(head: &'a [u8], details: &str) -> Option<(&'a [u8], Entry)> {
    let tab = head.iter().position(|byte| *byte == b'\t')?;
    let blob = std::str::from_utf8(&head[..tab]).ok()?.split(' ').nth(1)?;
    let value = |name: &str| {
        let words = details.split_whitespace();
        words.skip_while(move |word| *word != name).nth(1)
    };
    let (seconds, nanoseconds) = value("mtime:")?.split_once(':')?;
    Some((
        &head[tab + 1..],
        Entry {
            blob: blob.into(),
            written: (seconds.parse().ok()?, nanoseconds.parse().ok()?),
            size: value("size:")?.parse().ok()?,
        },
    ))
}

#[cfg(test)]
mod tests {
    use super::{Entry, listed_entries};

    #[test]
    fn the_time_and_the_size_of_a_file_are_read_from_the_index() {
        let list = b"100644 e69de29 0\ta b\0  ctime: 1:2\n  mtime: 1700000000:30000004\n  dev: 5\tino: 6\n  uid: 0\tgid: 0\n  size: 7\tflags: 0\n100755 abc 0\tc\0  ctime: 1:2\n  mtime: 3:0\n  dev: 5\tino: 6\n  uid: 0\tgid: 0\n  size: 8\tflags: 0\n";
        let entry = |blob: &str, written, size| Entry {
            blob: blob.into(),
            written,
            size,
        };
        let first = (
            &b"a b"[..],
            entry("e69de29", (1_700_000_000, 30_000_004), 7),
        );
        assert_eq!(
            listed_entries(list),
            [first, (&b"c"[..], entry("abc", (3, 0), 8))]
        );
    }

    #[test]
    fn a_list_in_another_form_has_no_entries() {
        for list in [
            &b""[..],
            b"x\0",
            b"x\0\n\n\n\n\n",
            b"100644 a 0\tb\0  mtime: 1:2\n",
        ] {
            assert_eq!(listed_entries(list), []);
        }
    }
}
