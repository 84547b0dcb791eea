//! What was packed once is not packed again. A *base* is a pack, with its index, of all that a session
//! would get if the user had nothing uncommitted: the commits that go along, with their files. It is kept
//! beside the store, for all worktrees of the repository; a later session sends it as it is, and packs
//! only what it lacks.
//!
//! Bases are bounded in size, and the one that was not used for the longest time goes first.
//!
//! Never: a base with something that must not go. It was looked through for the same secrets, what it
//! starts from is behind what the session sends, and without history no file in it is gone since.

use crate::error::Error;
use crate::git::Git;
use crate::names::kept;
use crate::objects::{Objects, Sizes, bytes};
use crate::project::Project;
use crate::snapshot::Snapshot;
use host::Listener;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Less than this is packed anew each time: it takes no time that anybody sees.
const WORTH: u64 = 4_000_000;
/// A base that lacks more than one part in so many of what goes is replaced by a new one.
const PARTS: u64 = 4;
/// How many bases are looked into.
const LOOKS: usize = 3;
/// All bases together have at most so many times the limit.
const TIMES: u64 = 2;
/// A base that was used so recently may be on its way into a sandbox.
const RECENT_MS: u64 = 60 * 60 * 1000;
/// How long what another process has not finished may be under way.
const UNFINISHED_MS: u64 = 24 * 60 * 60 * 1000;
/// What the name of the file begins with that describes a base of this layout.
const LAYOUT: &str = "base 1";

/// A pack on the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PackFile {
    /// The file.
    pub path: String,
    /// Bytes.
    pub size: u64,
    /// Its index, if nothing that the pack's objects need is missing in it.
    pub index: Option<String>,
}

/// What is to be packed.
pub(crate) struct Goes<'a> {
    pub(crate) snapshot: &'a Snapshot,
    pub(crate) objects: &'a Objects,
    pub(crate) sizes: &'a Sizes,
    /// Commits whose history goes along; none of it does without any.
    pub(crate) tips: Vec<&'a String>,
    /// The commits that go along and are the user's own.
    pub(crate) commits: Vec<&'a String>,
    /// Which secrets it was looked through for.
    pub(crate) secrets: u64,
}

/// A base, described by a file of lines.
struct Base {
    key: String,
    /// What it was looked through for, and what of the project it has.
    kind: u64,
    /// The commit that it was made for.
    head: String,
}

/// The names of a base's objects, in their order.
struct Names(Vec<[u8; 32]>);

impl Names {
    fn new(mut names: Vec<[u8; 32]>) -> Names {
        names.sort_unstable();
        Names(names)
    }

    fn has(&self, name: &str) -> bool {
        bytes(name.as_bytes()).is_some_and(|name| self.0.binary_search(&name).is_ok())
    }
}

impl Project {
    /// Where the bases are: beside the store, whose depots share them.
    fn bases(&self) -> String {
        let depot = self.depot.strip_suffix(".git").unwrap_or(&self.depot);
        let depot = depot.strip_suffix("-plain").unwrap_or(depot);
        let store = match depot.rsplit_once('-') {
            Some((store, hash)) if hash.len() == 16 => store,
            _ => depot,
        };
        format!("{store}-packs")
    }

    /// Packs what goes into `dir`: one pack, or a base and what it lacks.
    pub(crate) async fn packs(
        &self,
        git: &Git<'_>,
        goes: &Goes<'_>,
        dir: &str,
        listener: &Listener,
    ) -> Result<Vec<PackFile>, Error> {
        if goes.objects.disk() < WORTH {
            let lines = goes.objects.lines(|_| true);
            return Ok(vec![self.one(git, lines, dir, listener).await?]);
        }
        let (base, names) = match self.fitting(git, goes, dir).await? {
            Some(found) => found,
            None => self.make(git, goes, dir, listener).await?,
        };
        let rest = goes.objects.lines(|object| !names.has(object.name));
        let mut packs = vec![self.file(&base).await?];
        if !rest.is_empty() {
            packs.push(self.one(git, rest, dir, listener).await?);
        }
        Ok(packs)
    }

    /// A pack of the objects in `lines`.
    async fn one(
        &self,
        git: &Git<'_>,
        lines: Vec<u8>,
        dir: &str,
        listener: &Listener,
    ) -> Result<PackFile, Error> {
        let path = format!("{dir}/base.pack");
        let args = [
            "pack-objects",
            "--stdout",
            "--delta-base-offset",
            "--all-progress",
        ];
        let git = git.clone().told_to(listener.clone());
        git.feed_to_file(&args, lines, &path).await?;
        let size = self.host.file_size(&path).await?;
        let index = None;
        Ok(PackFile { path, size, index })
    }

    fn path(&self, key: &str, kind: &str) -> String {
        format!("{}/{key}.{kind}", self.bases())
    }

    async fn file(&self, key: &str) -> Result<PackFile, Error> {
        let (path, index) = (self.path(key, "pack"), self.path(key, "idx"));
        let size = self.host.file_size(&path).await?;
        let index = Some(index);
        Ok(PackFile { path, size, index })
    }

    /// What decides, beside the commit, whether a base may be used.
    fn kind(&self, goes: &Goes<'_>) -> u64 {
        let below = goes.snapshot.below.as_ref();
        let below = below.map(|below| below.paths().join("\n"));
        let has_history = !goes.tips.is_empty();
        let hash = goes.snapshot.commit.len();
        let kind = format!("{:016x} {has_history} {hash} {below:?}", goes.secrets);
        protocol::fnv1a(kind.as_bytes())
    }

    /// A base that has nearly all of what goes and nothing that must not, with its objects.
    async fn fitting(
        &self,
        git: &Git<'_>,
        goes: &Goes<'_>,
        dir: &str,
    ) -> Result<Option<(String, Names)>, Error> {
        let kind = self.kind(goes);
        let mut looks = 0;
        for base in self.described().await? {
            let is_behind = base.kind == kind && self.is_behind(git, goes, &base).await?;
            if !is_behind {
                continue;
            }
            // Its files may be going away, in another process.
            let Ok(names) = self.names(git, &base.key, dir).await else {
                continue;
            };
            let lacks = goes.objects.iter();
            let lacks = lacks.filter(|object| !names.has(object.name));
            let lacks: u64 = lacks.map(|object| object.disk).sum();
            if lacks <= goes.objects.disk() / PARTS {
                self.describe(&base).await?;
                return Ok(Some((base.key, names)));
            }
            looks += 1;
            if looks == LOOKS {
                break;
            }
        }
        Ok(None)
    }

    /// True if all that a base has may go.
    async fn is_behind(&self, git: &Git<'_>, goes: &Goes<'_>, base: &Base) -> Result<bool, Error> {
        if !git.has(&base.head).await? {
            return Ok(false);
        }
        for tip in &goes.tips {
            if **tip == base.head || git.is_ancestor(&base.head, tip).await? {
                return Ok(true);
            }
        }
        if !goes.tips.is_empty() {
            return Ok(false);
        }
        // No commit of the user's vouches for it: a file that is gone from the project must not go.
        let gone = [
            "diff-tree",
            "-r",
            "--name-only",
            "--no-renames",
            "--diff-filter=D",
            &base.head,
            &goes.snapshot.commit,
        ];
        let gone = git.run(&gone, "").await?;
        Ok(gone.code == 0 && gone.stdout.is_empty())
    }

    /// The descriptions that there are, the one that was used last first.
    async fn described(&self) -> Result<Vec<Base>, Error> {
        let mut all = Vec::new();
        for name in self.host.list_dir(&self.bases()).await? {
            let Some(key) = name.strip_suffix(".base") else {
                continue;
            };
            let path = self.path(key, "base");
            let text = self.host.read_file(&path).await.unwrap_or_default();
            let text = String::from_utf8_lossy(&text).into_owned();
            let mut lines = text.lines();
            if lines.next() != Some(LAYOUT) {
                continue;
            }
            let kind = lines
                .next()
                .and_then(|kind| u64::from_str_radix(kind, 16).ok());
            let head = lines.next().filter(|head| crate::names::is_hash(head));
            if let (Some(kind), Some(head)) = (kind, head) {
                let used = self.host.modified_ms(&path).await.unwrap_or_default();
                let (key, head) = (key.into(), head.into());
                all.push((used, Base { key, kind, head }));
            }
        }
        all.sort_by_key(|(used, _)| std::cmp::Reverse(*used));
        Ok(all.into_iter().map(|(_, base)| base).collect())
    }

    /// Writes down what a base is; the file's time is that of its last use.
    async fn describe(&self, base: &Base) -> Result<(), Error> {
        let text = format!("{LAYOUT}\n{:016x}\n{}\n", base.kind, base.head);
        let path = self.path(&base.key, "base");
        Ok(self.host.replace_file(&path, text.as_bytes()).await?)
    }

    /// The objects of a base.
    async fn names(&self, git: &Git<'_>, key: &str, dir: &str) -> Result<Names, Error> {
        let list = format!("{dir}/names");
        self.host.file_size(&self.path(key, "pack")).await?;
        let index = self.path(key, "idx");
        git.file_to_file(&["show-index"], &index, &list).await?;
        let mut names = Vec::new();
        self.in_records(&list, b'\n', |line| {
            let line = std::str::from_utf8(line).unwrap_or_default();
            let name = line
                .split(' ')
                .nth(1)
                .filter(|name| crate::names::is_hash(name));
            names.extend(name.and_then(|name| bytes(name.as_bytes())));
        })
        .await?;
        self.host.remove_file(&list).await?;
        Ok(Names::new(names))
    }

    /// Makes a base of what goes.
    async fn make(
        &self,
        git: &Git<'_>,
        goes: &Goes<'_>,
        dir: &str,
        listener: &Listener,
    ) -> Result<(String, Names), Error> {
        let head = match (goes.tips.first(), &goes.snapshot.head) {
            (Some(_), Some(head)) => head.clone(),
            _ => goes.snapshot.commit.clone(),
        };
        let own;
        let objects = match head == goes.snapshot.commit {
            true => goes.objects,
            false => {
                let commits = goes.commits.iter().copied();
                let mut found = self.objects(git, commits, (goes.sizes, true), dir).await?;
                if let Some(below) = &goes.snapshot.below {
                    found.retain(|object| below.takes(object));
                }
                own = found;
                &own
            }
        };
        let pack = format!("{dir}/base");
        let args = [
            "pack-objects",
            "--delta-base-offset",
            "--all-progress",
            &pack,
        ];
        // Git writes to its object directory first, which may be left behind by a kill.
        let depot = crate::git::quoted(&format!("{}/objects", self.depot));
        let made = format!("{dir}/made");
        self.host.make_dir(&made).await?;
        let packing = git
            .clone()
            .told_to(listener.clone())
            .with("GIT_OBJECT_DIRECTORY", made)
            .with("GIT_ALTERNATE_OBJECT_DIRECTORIES", depot);
        let made = packing.feed(&args, objects.lines(|_| true)).await?;
        let hash = crate::git::text(&packing.check(&args, made)?.stdout);
        let key = format!("{:016x}", self.host.random());
        let (pack, index) = (format!("{pack}-{hash}.pack"), format!("{pack}-{hash}.idx"));
        let size = self.host.file_size(&pack).await? + self.host.file_size(&index).await?;
        self.evict(size).await?;
        let base = Base {
            key: key.clone(),
            kind: self.kind(goes),
            head,
        };
        // The directory comes to be with a file that no pack is meant by.
        let claim = self.path(&key, "new");
        self.host.replace_file(&claim, b"").await?;
        let renamed = async {
            let own = self.path(&key, "pack");
            self.host.rename_file(&pack, &own).await?;
            self.host.rename_file(&index, &self.path(&key, "idx")).await
        };
        renamed.await?;
        if goes.tips.is_empty() {
            // Its files must be there for a look at what is gone.
            let private = self.private();
            let name = kept("packed", &key);
            let update = ["update-ref", &name, &base.head];
            private.checked(&update, "").await?;
        }
        self.describe(&base).await?;
        self.host.remove_file(&claim).await?;
        let names = objects.iter().map(|object| object.name.as_bytes());
        Ok((key, Names::new(names.filter_map(bytes).collect())))
    }

    /// Makes room for `size` bytes, and removes what was never finished.
    async fn evict(&self, size: u64) -> Result<(), Error> {
        let mut all: BTreeMap<String, (u64, u64, bool)> = BTreeMap::new();
        for name in self.host.list_dir(&self.bases()).await? {
            let Some((key, kind)) = name.split_once('.') else {
                continue;
            };
            let path = self.path(key, kind);
            let bytes = self.host.file_size(&path).await.unwrap_or_default();
            let used = self.host.modified_ms(&path).await.unwrap_or_default();
            let found = all.entry(key.into()).or_default();
            found.0 += bytes;
            found.1 = match kind == "base" {
                true => used,
                false if found.2 => found.1,
                false => found.1.max(used),
            };
            found.2 |= kind == "base";
        }
        let now = self.host.now_ms();
        let mut total: u64 = size + all.values().map(|(bytes, ..)| bytes).sum::<u64>();
        let room = self.limit.saturating_mul(TIMES);
        let mut oldest: Vec<_> = all.into_iter().collect();
        oldest.sort_by_key(|(_, (_, used, _))| *used);
        for (key, (bytes, used, is_whole)) in oldest {
            let age = now.saturating_sub(used);
            let goes = match is_whole {
                true => total > room && age > RECENT_MS,
                false => age > UNFINISHED_MS,
            };
            if goes {
                for kind in ["base", "pack", "idx", "new"] {
                    self.host.remove_file(&self.path(&key, kind)).await?;
                }
                let name = kept("packed", &key);
                let _ = self.private().run(&["update-ref", "-d", &name], "").await;
                total -= bytes;
            }
        }
        Ok(())
    }
}

/// Somebody who hears what git says of its progress, as numbers.
pub(crate) fn heard(tell: crate::steps::Tell) -> Listener {
    Listener(Arc::new(move |text: &str| {
        if let Some((done, of)) = progress(text) {
            let _ = tell.unbounded_send(crate::steps::Step::Packing { done, of });
        }
    }))
}

/// The numbers in the last of git's lines like `Writing objects:  40% (12000/30000), 1.2 MiB`. It writes
/// every object, and before that looks for differences between those that may have some.
fn progress(text: &str) -> Option<(u64, u64)> {
    let line = text.rsplit(['\r', '\n']).find(|line| {
        let is_of_these = |phase| line.starts_with(phase);
        ["Compressing objects", "Writing objects"]
            .iter()
            .any(is_of_these)
    })?;
    let (_, numbers) = line.split_once('(')?;
    let (numbers, _) = numbers.split_once(')')?;
    let (done, of) = numbers.split_once('/')?;
    Some((done.parse().ok()?, of.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::progress;

    #[test]
    fn progress_is_read_from_what_git_says() {
        for (text, expected) in [
            ("Writing objects:  40% (12/30), 1.2 MiB\r", Some((12, 30))),
            ("Enumerating objects: 12, done.\n", None),
            (
                "Compressing objects:  10% (1/10)\rCompressing objects:  20% (2/10)\r",
                Some((2, 10)),
            ),
            ("Compressing objects:  20% (2/", None),
            ("Writing objects: (x/y)\r", None),
            ("", None),
        ] {
            assert_eq!(progress(text), expected, "{text:?}");
        }
    }
}
