//! What holds a secret stays on the host: files of the worktree, and commits.
//!
//! Every object that would be packed is looked through, and no other, by `git grep`: it reads packs as
//! fast as git can, and takes the values from its standard input, where no list of processes shows
//! them. What was looked through once, for the same secrets, is in a list beside the depot's objects. Git
//! sees blobs under the names of their hashes, so that no attribute and no path plays a part. A large
//! blob, which `git grep` would hold in memory, is written to a file and read from there. What cannot be
//! looked through is an error: nothing is packed then.

use crate::error::Error;
use crate::git::{self, Git, text};
use crate::objects::{Objects, Sizes};
use crate::project::Project;
use crate::steps::{Step, Tell};
use std::collections::{BTreeSet, HashSet};

/// Commits whose messages are looked through at a time.
const COMMITS: usize = 1_000;
/// A blob with more bytes is large.
const LARGE: u64 = 8 * 1024 * 1024;
/// Bytes that are looked through before it is said how far it is.
const AT_A_TIME: u64 = 128 * 1024 * 1024;

/// Values that must not leave the host.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secrets(Vec<String>);

impl Secrets {
    /// Values of one line each; others can stand in no header and no URL either.
    pub fn new(values: Vec<String>) -> Secrets {
        let is_line = |value: &String| !value.is_empty() && !value.contains(['\n', '\r', '\0']);
        Secrets(values.into_iter().filter(is_line).collect())
    }

    /// True if there are none.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn are_in(&self, bytes: &[u8]) -> bool {
        let holds = |value: &String| memchr::memmem::find(bytes, value.as_bytes()).is_some();
        self.0.iter().any(holds)
    }

    /// Bytes of the longest.
    fn longest(&self) -> usize {
        self.0.iter().map(String::len).max().unwrap_or(0)
    }
}

/// Blobs that hold no secret.
pub(crate) struct Clean {
    /// Which secrets that were; nobody can tell them from it.
    secrets: u64,
    /// Those of an earlier time.
    known: HashSet<String>,
    /// Those that would be packed now.
    seen: HashSet<String>,
    /// Objects that are not here, or as if they were not, and are not packed.
    pub(crate) absent: HashSet<String>,
    /// Sizes of blobs, as far as they were asked for.
    pub(crate) sizes: Sizes,
    /// Hears how far it is.
    tell: Tell,
    /// For temporary files.
    dir: String,
}

impl Clean {
    /// Which secrets that were; nobody can tell them from it.
    pub(crate) fn secrets(&self) -> u64 {
        self.secrets
    }

    fn holds(&self, blob: &str) -> bool {
        self.known.contains(blob) || self.seen.contains(blob)
    }
}

impl std::fmt::Debug for Secrets {
    /// Never shows one.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} secrets", self.0.len())
    }
}

/// A file in an index.
pub(crate) struct Staged {
    pub(crate) mode: String,
    pub(crate) blob: String,
    /// As bytes.
    pub(crate) path: Vec<u8>,
    /// Git does not look whether it has changed.
    pub(crate) is_unseen: bool,
    /// A sparse checkout leaves it out, or the user does as if.
    pub(crate) is_left_out: bool,
}

impl Project {
    /// All files in the index.
    pub(crate) async fn staged(&self, git: &Git<'_>, dir: &str) -> Result<Vec<Staged>, Error> {
        let file = format!("{dir}/staged");
        // A tag and the mode begin a line, and no path has a NUL in it.
        git.to_file(&["ls-files", "-v", "--stage", "-z"], "", &file)
            .await?;
        let mut found = Vec::new();
        self.in_records(&file, 0, |line| found.extend(staged(line)))
            .await?;
        Ok(found)
    }

    fn clean_list(&self) -> String {
        format!("{}/clean-blobs", self.depot)
    }

    /// What an earlier pack has looked through.
    pub(crate) async fn clean(&self, secrets: &Secrets, dir: &str, tell: Tell) -> Clean {
        let fingerprint = protocol::fnv1a(secrets.0.join("\n").as_bytes());
        let list = self.host.read_file(&self.clean_list()).await;
        let list = String::from_utf8(list.unwrap_or_default()).unwrap_or_default();
        let of_these = list.strip_prefix(&format!("{fingerprint:016x}\n"));
        Clean {
            secrets: fingerprint,
            known: of_these
                .unwrap_or_default()
                .lines()
                .map(str::to_string)
                .collect(),
            seen: HashSet::new(),
            absent: HashSet::new(),
            sizes: Sizes::default(),
            tell,
            dir: dir.into(),
        }
    }

    /// Writes down what need not be looked through again.
    pub(crate) async fn keep_clean(&self, clean: &Clean) -> Result<(), Error> {
        if clean.seen != clean.known {
            let mut list = format!("{:016x}", clean.secrets);
            for blob in &clean.seen {
                list.push('\n');
                list.push_str(blob);
            }
            let path = self.clean_list();
            self.host.replace_file(&path, list.as_bytes()).await?;
        }
        Ok(())
    }

    /// Takes the files that hold a secret out of the index, which has the files `staged`, and out of
    /// these. Gives their paths.
    pub(crate) async fn hold_back(
        &self,
        git: &Git<'_>,
        secrets: &Secrets,
        clean: &mut Clean,
        staged: &mut Vec<Staged>,
    ) -> Result<Vec<String>, Error> {
        if secrets.0.is_empty() {
            return Ok(Vec::new());
        }
        let files = || staged.iter().filter(|file| file.mode != "160000");
        let blobs = files().map(|file| file.blob.clone());
        let blobs = blobs.filter(|blob| !clean.absent.contains(blob)).collect();
        let found = self.holding(git, secrets, blobs, clean).await?;
        let holds = |file: &&Staged| found.contains(&file.blob) || secrets.are_in(&file.path);
        let held: BTreeSet<Vec<u8>> = files().filter(holds).map(|f| f.path.clone()).collect();
        if !held.is_empty() {
            let paths: Vec<&[u8]> = held.iter().map(|path| &path[..]).collect();
            let mut paths = paths.join(&0);
            paths.push(0);
            let update = ["update-index", "--force-remove", "-z", "--stdin"];
            let removed = git.feed(&update, paths).await?;
            git.check(&update, removed)?;
        }
        staged.retain(|file| !held.contains(&file.path));
        let shown = |path: &Vec<u8>| String::from_utf8_lossy(path).into_owned();
        Ok(held.iter().map(shown).collect())
    }

    /// Those of the blobs that hold a secret. They are put into a tree of our own: git looks through a
    /// tree with all processors, and through blobs by their names with one, hashing each again.
    pub(crate) async fn holding(
        &self,
        git: &Git<'_>,
        secrets: &Secrets,
        blobs: BTreeSet<String>,
        clean: &mut Clean,
    ) -> Result<HashSet<String>, Error> {
        if secrets.0.is_empty() {
            return Ok(HashSet::new());
        }
        let fresh = blobs.iter().filter(|blob| !clean.holds(blob));
        let fresh: Vec<&str> = fresh.map(String::as_str).collect();
        let found = match fresh.is_empty() {
            true => HashSet::new(),
            false => self.search(git, secrets, &fresh, clean).await?,
        };
        let rest = blobs.into_iter().filter(|blob| !found.contains(blob));
        clean.seen.extend(rest);
        Ok(found)
    }

    /// Those of the blobs that hold a secret.
    async fn search(
        &self,
        git: &Git<'_>,
        secrets: &Secrets,
        blobs: &[&str],
        clean: &Clean,
    ) -> Result<HashSet<String>, Error> {
        let Clean {
            tell, dir, sizes, ..
        } = clean;
        let unknown = blobs
            .iter()
            .filter(|blob| sizes.of(blob.as_bytes()).is_none());
        let unknown: String = unknown.map(|blob| format!("{blob} \n")).collect();
        let mut more = Objects::default();
        self.sized(git, unknown.into_bytes(), &mut more, dir)
            .await?;
        let mut new = Sizes::default();
        new.learn(&more);
        let size = |blob: &str| sizes.of(blob.as_bytes()).or(new.of(blob.as_bytes()));
        let all = blobs.iter().map(|blob| Some((*blob, size(blob)?.0)));
        let all: Option<Vec<(&str, u64)>> = all.collect();
        let all = all.ok_or_else(|| Error::Git {
            worktree: self.worktree.clone(),
            command: "cat-file".into(),
            reason: "objects of the project are missing".into(),
        })?;
        let of = all.iter().map(|(_, size)| size).sum();
        let (mut found, mut done, mut at_a_time) = (HashSet::new(), 0, 0);
        let mut lines = String::new();
        for (name, size) in all {
            if size > LARGE {
                if self.is_in(git, secrets, name, dir).await? {
                    found.insert(name.to_string());
                }
                done += size;
                let _ = tell.unbounded_send(Step::Searching { done, of });
                continue;
            }
            lines.push_str(&format!("100644 blob {name}\t{name}\n"));
            at_a_time += size;
            if at_a_time > AT_A_TIME {
                found.extend(self.grep(git, secrets, &lines).await?);
                lines.clear();
                done += std::mem::take(&mut at_a_time);
                let _ = tell.unbounded_send(Step::Searching { done, of });
            }
        }
        if !lines.is_empty() {
            found.extend(self.grep(git, secrets, &lines).await?);
        }
        Ok(found)
    }

    /// True if a blob holds a secret. Little of it is in memory at a time.
    async fn is_in(
        &self,
        git: &Git<'_>,
        secrets: &Secrets,
        blob: &str,
        dir: &str,
    ) -> Result<bool, Error> {
        let file = format!("{dir}/searched");
        git.to_file(&["cat-file", "blob", blob], "", &file).await?;
        let overlap = secrets.longest().saturating_sub(1);
        let (mut seen, mut found) = (Vec::new(), false);
        self.in_parts(&file, |part| {
            seen.extend_from_slice(part);
            found |= secrets.are_in(&seen);
            let keep = seen.len().saturating_sub(overlap);
            seen.drain(..keep);
            Ok(())
        })
        .await?;
        self.host.remove_file(&file).await?;
        Ok(found)
    }

    /// Names in a tree of these lines that hold a secret.
    async fn grep(
        &self,
        git: &Git<'_>,
        secrets: &Secrets,
        lines: &str,
    ) -> Result<HashSet<String>, Error> {
        let tree = text(&git.checked(&["mktree"], lines).await?.stdout);
        let grep = [
            "grep",
            "--no-color",
            "--no-recurse-submodules",
            "--text",
            "--files-with-matches",
            "--fixed-strings",
            "-f",
            "-",
            &tree,
        ];
        let output = git.run(&grep, &secrets.0.join("\n")).await?;
        if output.code == 1 {
            // It is in none of them.
            return Ok(HashSet::new());
        }
        let names = text(&git.check(&grep, output)?.stdout);
        let names = names.lines().filter_map(|line| line.rsplit(':').next());
        Ok(names.map(str::to_string).collect())
    }

    /// The first of the commits that holds a secret, in its message or in a file, and where.
    pub(crate) async fn tainted(
        &self,
        git: &Git<'_>,
        secrets: &Secrets,
        (commits, objects): (&BTreeSet<String>, &Objects),
        clean: &mut Clean,
    ) -> Result<Option<String>, Error> {
        if secrets.0.is_empty() || commits.is_empty() {
            return Ok(None);
        }
        let all: Vec<&str> = commits.iter().map(String::as_str).collect();
        for some in all.chunks(COMMITS) {
            if let Some(commit) = self.said_in(git, secrets, some).await? {
                return Ok(Some(format!("commit {} (its message)", short(&commit))));
            }
        }
        let mut blobs = BTreeSet::new();
        for object in objects.iter() {
            if secrets.are_in(object.path) {
                return Ok(Some("a commit (the name of a file)".into()));
            }
            if object.is_blob {
                blobs.insert(object.name.to_string());
            }
        }
        let found = self.holding(git, secrets, blobs, clean).await?;
        let Some(blob) = found.iter().next() else {
            return Ok(None);
        };
        let mut paths = objects.iter().filter(|object| object.name == blob);
        let path = paths
            .next()
            .map(|object| String::from_utf8_lossy(object.path).into_owned());
        let path = path.unwrap_or_default();
        let list = all.join("\n") + "\n";
        let object = format!("--find-object={blob}");
        let log = [
            "log",
            "--no-walk=unsorted",
            "--stdin",
            "--format=%h",
            "-m",
            &object,
        ];
        let log = git.run(&log, &list).await?;
        let log = String::from_utf8_lossy(&log.stdout).into_owned();
        Ok(Some(match log.lines().find(|line| !line.is_empty()) {
            Some(commit) => format!("commit {commit} ({path})"),
            None => format!("a commit ({path})"),
        }))
    }

    /// The first of the commits whose own text holds a secret.
    pub(crate) async fn said_in(
        &self,
        git: &Git<'_>,
        secrets: &Secrets,
        commits: &[&str],
    ) -> Result<Option<String>, Error> {
        let list = commits.join("\n") + "\n";
        let output = git.checked(&["cat-file", "--batch"], &list).await?;
        let texts = git::contents(&output.stdout);
        for (n, commit) in commits.iter().enumerate() {
            let text = texts.get(n).ok_or_else(|| Error::Git {
                worktree: self.worktree.clone(),
                command: "cat-file".into(),
                reason: format!("commit {commit} cannot be read"),
            })?;
            if secrets.are_in(text) {
                return Ok(Some(commit.to_string()));
            }
        }
        Ok(None)
    }

    /// True if the commit's own text holds a secret.
    pub(crate) async fn says(
        &self,
        git: &Git<'_>,
        secrets: &Secrets,
        commit: &str,
    ) -> Result<bool, Error> {
        if secrets.0.is_empty() {
            return Ok(false);
        }
        Ok(self.said_in(git, secrets, &[commit]).await?.is_some())
    }
}

/// A line of `ls-files -v --stage`, whose tag is a small letter for a file that counts as unchanged.
fn staged(line: &[u8]) -> Option<Staged> {
    let tab = line.iter().position(|byte| *byte == b'\t')?;
    let head = String::from_utf8_lossy(&line[..tab]).into_owned();
    let mut fields = head.split(' ');
    let tag = fields.next()?;
    Some(Staged {
        is_unseen: tag.starts_with(|tag: char| tag == 'S' || tag.is_ascii_lowercase()),
        is_left_out: tag.eq_ignore_ascii_case("S"),
        mode: fields.next()?.into(),
        blob: fields.next()?.into(),
        path: line[tab + 1..].to_vec(),
    })
}

fn short(commit: &str) -> &str {
    commit.get(..10).unwrap_or(commit)
}
