//! Files that Git LFS keeps, without git-lfs: no filter of the user's runs for us.
//!
//! Into the sandbox: a file that was changed since HEAD is a pointer in the commit, as a commit of the
//! user's would have it, and its bytes travel in the tree of a commit of their own. A file that is only
//! not known to be unchanged turns out to be. Home: the bytes that come along are checked and put where
//! the user's git-lfs looks for them, and what is a pointer without bytes is told.
//!
//! Never: replace an object that is there; believe a name before its bytes were read.

use crate::error::Error;
use crate::git::{self, Git, text};
use crate::layout::absolute;
use crate::names::kept;
use crate::project::Project;
use crate::secret::Clean;
use crate::secret::Secrets;
use protocol::pointer::{FILTER, MAX_POINTER, Pointer, Pointing, is_oid};
use std::collections::{BTreeMap, BTreeSet};

/// Most bytes of files that go into a sandbox although the worktree has them as pointers, and how many
/// times the limit of a pack those that come home may have.
const MAX_SENT: u64 = 128 * 1024 * 1024;
const MAX_TIMES: u64 = 4;
/// Most bytes of a list of changed files, and most of them that are told.
const MAX_LIST: u64 = 4 * 1024 * 1024;
const MAX_TOLD: usize = 20;

/// A file that differs between two trees.
pub(crate) struct Changed {
    pub(crate) mode: String,
    old: String,
    pub(crate) new: String,
    pub(crate) path: Vec<u8>,
}

/// Files by the SHA-256 of their bytes: the blobs that hold them.
pub(crate) type Kept = BTreeMap<String, String>;

impl Project {
    /// Files in the index that differ from `head` and that a filter works on, with the filter's name.
    pub(crate) async fn changed_filtered(
        &self,
        git: &Git<'_>,
        head: Option<&str>,
        dir: &str,
    ) -> Result<Vec<(Changed, String)>, Error> {
        let head = match head {
            Some(head) => head.to_string(),
            None => text(&git.checked(&["mktree"], "").await?.stdout),
        };
        let list = format!("{dir}/changed");
        let diff = ["diff-index", "--cached", "-z", "--no-renames", &head];
        git.to_file(&diff, "", &list).await?;
        let changed = changed(&self.whole(&list).await?);
        let changed: Vec<Changed> = changed.into_iter().filter(Changed::is_file).collect();
        let check = ["check-attr", "-z", "--stdin", "filter"];
        let mut filters = filters(git, &check, &changed).await?;
        let filtered = changed
            .into_iter()
            .filter_map(|file| filters.remove(&file.path).map(|filter| (file, filter)));
        Ok(filtered.collect())
    }

    /// Makes pointers of those that Git LFS keeps of the changed files in the index, and gives their
    /// bytes. With `from_worktree` the index is of the worktree as it is.
    pub(crate) async fn point(
        &self,
        git: &Git<'_>,
        changed: &[(Changed, String)],
        from_worktree: bool,
        dir: &str,
    ) -> Result<Kept, Error> {
        let changed: Vec<&Changed> = changed
            .iter()
            .filter_map(|(file, name)| (name == FILTER).then_some(file))
            .collect();
        let mut found = Kept::new();
        if changed.is_empty() {
            return Ok(found);
        }
        let pointers = pointers(git, changed.iter().copied()).await?;
        let store = self.lfs_store().await?;
        let (mut entries, mut sent) = (Vec::new(), 0);
        for file in &changed {
            if let Some(pointer) = pointers.get(&file.new) {
                let path = format!("{store}/{}", pointer.path());
                let is_there = self.host.file_size(&path).await == Ok(pointer.size);
                if is_there && sent + pointer.size <= MAX_SENT {
                    sent += pointer.size;
                    let write = ["hash-object", "-w", "--no-filters", "--", &path];
                    found.insert(pointer.oid.clone(), git.line(&write).await?);
                }
                continue;
            }
            let Some(path) = std::str::from_utf8(&file.path)
                .ok()
                .filter(|_| from_worktree)
            else {
                continue;
            };
            let path = format!("{}/{path}", self.worktree);
            let write = ["hash-object", "-w", "--no-filters", "--", &path];
            let blob = git.line(&write).await?;
            let pointer = self.pointer_of(git, &blob, &format!("{dir}/file")).await?;
            let write = ["hash-object", "-w", "--no-filters", "--stdin"];
            let new = text(&git.checked(&write, &pointer.text()).await?.stdout);
            entries.extend(format!("{} {new}\t", file.mode).into_bytes());
            entries.extend([&file.path[..], b"\0"].concat());
            if new != file.old {
                found.insert(pointer.oid, blob);
            }
        }
        if !entries.is_empty() {
            let update = ["update-index", "-z", "--index-info"];
            let updated = git.feed(&update, entries).await?;
            git.check(&update, updated)?;
        }
        Ok(found)
    }

    /// A commit with the files, without those that hold a secret; none if there are none.
    pub(crate) async fn lfs_commit(
        &self,
        git: &Git<'_>,
        session: &str,
        mut files: Kept,
        secrets: &Secrets,
        clean: &mut Clean,
    ) -> Result<Option<String>, Error> {
        let blobs: BTreeSet<String> = files.values().cloned().collect();
        let secret = self.holding(git, secrets, blobs, clean).await?;
        files.retain(|_, blob| !secret.contains(blob));
        if files.is_empty() {
            return Ok(None);
        }
        let lines = files.iter();
        let lines: String = lines
            .map(|(oid, blob)| format!("100644 blob {blob}\t{oid}\n"))
            .collect();
        let tree = text(&git.checked(&["mktree"], &lines).await?.stdout);
        let message = "Files that Git LFS keeps";
        let commit = ["commit-tree", "--no-gpg-sign", "-m", message, &tree];
        let commit = self.signed(git).line(&commit).await?;
        let name = kept("lfs", session);
        let private = self.private();
        private.checked(&["update-ref", &name, &commit], "").await?;
        Ok(Some(commit))
    }

    /// Puts the files in a commit's tree where the user's git-lfs finds them. What is not what its name
    /// says stays out.
    pub(crate) async fn deliver(&self, private: &Git<'_>, commit: &str) -> Result<(), Error> {
        let store = self.lfs_store().await?;
        let list = private.checked(&["ls-tree", "--long", commit], "").await?;
        let list = text(&list.stdout);
        // `100644 blob HASH SIZE\tNAME`
        let files = list.lines().filter_map(|line| {
            let (entry, oid) = line.split_once('\t')?;
            let mut fields = entry.split_whitespace().skip(1);
            let is_blob = fields.next() == Some("blob");
            let (blob, size) = (fields.next()?, fields.next()?.parse::<u64>().ok()?);
            (is_blob && is_oid(oid)).then_some((blob, size, oid))
        });
        let files: Vec<_> = files.collect();
        let all = files
            .iter()
            .fold(0_u64, |all, (_, size, _)| all.saturating_add(*size));
        let limit = self.limit.saturating_mul(MAX_TIMES);
        if all > limit {
            return Err(Error::Refused(format!(
                "the files that Git LFS keeps have {} MB, and at most {} MB are taken",
                all / 1_000_000,
                limit / 1_000_000
            )));
        }
        for (blob, size, oid) in files {
            let pointer = Pointer {
                oid: oid.into(),
                size,
            };
            let path = format!("{store}/{}", pointer.path());
            if self.host.file_size(&path).await.is_ok() {
                continue;
            }
            let part = format!("{path}.{:016x}", self.host.random());
            self.host.create_file(&part).await?;
            let is_whole = self.pointer_of(private, blob, &part).await;
            match is_whole {
                Ok(found) if found == pointer => self.host.rename_file(&part, &path).await?,
                other => {
                    self.host.remove_file(&part).await?;
                    other?;
                }
            }
        }
        Ok(())
    }

    /// Writes a blob to a file, and gives the pointer to what was written.
    async fn pointer_of(&self, git: &Git<'_>, blob: &str, file: &str) -> Result<Pointer, Error> {
        git.to_file(&["cat-file", "blob", blob], "", file).await?;
        let mut pointing = Pointing::default();
        self.in_parts(file, |part| {
            pointing.add(part);
            Ok(())
        })
        .await?;
        Ok(pointing.end())
    }

    /// What the user should know of the files that differ between two commits and that a filter works
    /// on, one sentence each: git-lfs has no bytes for a pointer, or no filter ran.
    pub(crate) async fn filtered(
        &self,
        private: &Git<'_>,
        from: &str,
        to: &str,
    ) -> Result<Vec<String>, Error> {
        let attributes = ":(glob)**/.gitattributes";
        let grep = ["grep", "-q", "-F", "-e", "filter=", to, "--", attributes];
        if private.run(&grep, "").await?.code != 0 {
            return Ok(Vec::new());
        }
        let dir = self.temp_dir().await?;
        let told = self.filtered_in(private, from, to, &dir).await;
        let _ = self.host.remove_dir(&dir).await;
        told
    }

    async fn filtered_in(
        &self,
        private: &Git<'_>,
        from: &str,
        to: &str,
        dir: &str,
    ) -> Result<Vec<String>, Error> {
        let list = format!("{dir}/changed");
        let diff = ["diff-tree", "-r", "-z", "--no-renames", from, to];
        private.to_file(&diff, "", &list).await?;
        let list = self.host.read_part(&list, 0, MAX_LIST).await?;
        let mut changed = changed(&list);
        changed.retain(Changed::is_file);
        // Attributes of a tree are read through an index.
        let indexed = private
            .clone()
            .with("GIT_INDEX_FILE", format!("{dir}/index"));
        indexed.checked(&["read-tree", to], "").await?;
        let check = ["check-attr", "--cached", "-z", "--stdin", "filter"];
        let filters = filters(&indexed, &check, &changed).await?;
        changed.retain(|file| filters.contains_key(&file.path));
        let pointers = pointers(private, &changed).await?;
        let store = self.lfs_store().await?;
        let mut told = Vec::new();
        let is_lfs = |file: &&Changed| filters[&file.path] == FILTER;
        if changed.iter().any(|file| is_lfs(&file)) && !self.has_lfs().await? {
            told.push("Git LFS is not set up on this machine, so a merge gives pointers for what it keeps; the bytes are in .git/lfs/objects, and `git lfs install` and `git lfs checkout` bring them out".into());
        }
        for file in &changed {
            let path = String::from_utf8_lossy(&file.path);
            let filter = &filters[&file.path];
            let pointer = pointers.get(&file.new);
            if filter != FILTER {
                told.push(format!("{path} came home as it is in the sandbox, because no filter runs there, and {filter} works on it in your repository"));
            } else if let Some(pointer) = pointer {
                let object = format!("{store}/{}", pointer.path());
                if self.host.file_size(&object).await.is_err() {
                    told.push(format!("{path} is a pointer of Git LFS, and neither the sandbox nor your repository has its bytes; `git lfs fetch` gets them if your server has them"));
                }
            } else {
                told.push(format!("{path} is in a commit as it is, where Git LFS expects a pointer; `git add --renormalize` on the branch corrects it"));
            }
            if told.len() == MAX_TOLD {
                break;
            }
        }
        Ok(told)
    }

    /// True if the user's git has a filter for Git LFS.
    async fn has_lfs(&self) -> Result<bool, Error> {
        let users = self.users().await?;
        let names = ["config", "--name-only", "--get-regexp", "^filter\\.lfs\\."];
        Ok(users.run(&names, "").await?.code == 0)
    }

    /// Where the user's git-lfs has its objects.
    async fn lfs_store(&self) -> Result<String, Error> {
        let users = self.users().await?;
        let repository = users.line(&["rev-parse", "--git-common-dir"]).await?;
        let repository = absolute(&self.worktree, &repository);
        let storage = ["config", "--type=path", "--get", "lfs.storage"];
        let storage = text(&users.run(&storage, "").await?.stdout);
        Ok(match storage.is_empty() {
            true => format!("{repository}/lfs/objects"),
            false => format!("{}/objects", absolute(&repository, &storage)),
        })
    }

    /// A whole file of git's.
    pub(crate) async fn whole(&self, path: &str) -> Result<Vec<u8>, Error> {
        let mut whole = Vec::new();
        self.in_parts(path, |part| {
            whole.extend_from_slice(part);
            Ok(())
        })
        .await?;
        Ok(whole)
    }
}

impl Changed {
    /// True for a file that there is, and that is no link.
    fn is_file(&self) -> bool {
        self.mode.starts_with("100")
    }
}

/// Reads `:OLDMODE NEWMODE OLD NEW STATUS`, each with a path behind it, as far as it is whole.
fn changed(list: &[u8]) -> Vec<Changed> {
    let whole = list.iter().rposition(|byte| *byte == 0).unwrap_or(0);
    let fields: Vec<&[u8]> = list[..whole].split(|byte| *byte == 0).collect();
    let pairs = fields.chunks_exact(2).filter_map(|pair| {
        let head = std::str::from_utf8(pair[0]).ok()?;
        let mut head = head.split(' ').skip(1);
        Some(Changed {
            mode: head.next()?.into(),
            old: head.next()?.into(),
            new: head.next()?.into(),
            path: pair[1].to_vec(),
        })
    });
    pairs.collect()
}

/// The filters that work on files, as `check` says.
async fn filters(
    git: &Git<'_>,
    check: &[&str],
    files: &[Changed],
) -> Result<BTreeMap<Vec<u8>, String>, Error> {
    if files.is_empty() {
        return Ok(BTreeMap::new());
    }
    let mut names = Vec::new();
    for file in files {
        names.extend([&file.path[..], b"\0"].concat());
    }
    let found = git.feed(check, names).await?;
    let found = git.check(check, found)?.stdout;
    let named = git::attributes(&found).into_iter();
    let owned = |filter: &[u8]| String::from_utf8_lossy(filter).into_owned();
    Ok(named
        .map(|(path, filter)| (path.to_vec(), owned(filter)))
        .collect())
}

/// The pointers among the new blobs of files.
async fn pointers<'a>(
    git: &Git<'_>,
    files: impl IntoIterator<Item = &'a Changed>,
) -> Result<BTreeMap<String, Pointer>, Error> {
    let files = files.into_iter();
    let names: BTreeSet<&str> = files.map(|file| file.new.as_str()).collect();
    let names: String = names.iter().map(|name| format!("{name}\n")).collect();
    let sizes = ["cat-file", "--batch-check=%(objectsize) %(objectname)"];
    let sizes = text(&git.checked(&sizes, &names).await?.stdout);
    let small: Vec<&str> = sizes
        .lines()
        .filter_map(|line| {
            let (size, name) = line.split_once(' ')?;
            (size.parse::<usize>().ok()? < MAX_POINTER).then_some(name)
        })
        .collect();
    if small.is_empty() {
        return Ok(BTreeMap::new());
    }
    let list: String = small.iter().map(|name| format!("{name}\n")).collect();
    let output = git.checked(&["cat-file", "--batch"], &list).await?.stdout;
    let contents = small.into_iter().zip(git::contents(&output));
    let found =
        contents.filter_map(|(name, content)| Some((name.into(), Pointer::parse(content)?)));
    Ok(found.collect())
}
