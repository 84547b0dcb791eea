//! What holds a secret stays on the host: files of the worktree, and commits.
//!
//! Every object that would be packed is looked through, and no other, by `git grep`: it reads packs as
//! fast as git can, and takes the values from its standard input, where no list of processes shows
//! them. What was looked through once, for the same secrets, is in a list beside the depot's objects. Git
//! sees blobs under the names of their hashes, so that no attribute and no path plays a part. What
//! cannot be looked through is an error: nothing is packed then.

use crate::git::{self, Git, text};
use crate::{Error, Project, fnv};
use std::collections::{BTreeMap, BTreeSet, HashSet};

/// Commits whose messages are looked through at a time.
const COMMITS: usize = 1_000;

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
        let holds = |value: &String| {
            bytes
                .windows(value.len())
                .any(|part| part == value.as_bytes())
        };
        self.0.iter().any(holds)
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
    /// Objects that are not here, and are not packed.
    pub(crate) absent: HashSet<String>,
}

impl Clean {
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
    pub(crate) async fn clean(&self, secrets: &Secrets) -> Clean {
        let fingerprint = fnv(secrets.0.join("\n").as_bytes());
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
        }
    }

    /// Writes down what need not be looked through again.
    pub(crate) async fn keep_clean(&self, clean: Clean) -> Result<(), Error> {
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
        let lines: String = fresh
            .map(|blob| format!("100644 blob {blob}\t{blob}\n"))
            .collect();
        let found = match lines.is_empty() {
            true => HashSet::new(),
            false => self.grep(git, secrets, &lines).await?,
        };
        let rest = blobs.into_iter().filter(|blob| !found.contains(blob));
        clean.seen.extend(rest);
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
        commits: &BTreeSet<String>,
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
        let list = all.join("\n") + "\n";
        let objects = ["rev-list", "--objects", "--no-walk=unsorted", "--stdin"];
        let objects = git.checked(&objects, &list).await?;
        let mut paths = BTreeMap::new();
        for line in objects.stdout.split(|byte| *byte == b'\n') {
            let Some(space) = line.iter().position(|byte| *byte == b' ') else {
                continue;
            };
            let name = String::from_utf8_lossy(&line[..space]).into_owned();
            if secrets.are_in(&line[space..]) {
                return Ok(Some("a commit (the name of a file)".into()));
            }
            let path = String::from_utf8_lossy(&line[space + 1..]).into_owned();
            paths.insert(name, path);
        }
        let mut blobs: BTreeSet<String> = paths
            .keys()
            .filter(|name| clean.holds(name))
            .cloned()
            .collect();
        let others: Vec<&str> = (paths.keys().map(String::as_str))
            .filter(|name| !clean.holds(name))
            .collect();
        let kinds = ["cat-file", "--batch-check=%(objecttype) %(objectname)"];
        let kinds = git.checked(&kinds, &(others.join("\n") + "\n")).await?;
        let kinds = String::from_utf8_lossy(&kinds.stdout).into_owned();
        let fresh = kinds.lines().filter_map(|line| line.strip_prefix("blob "));
        blobs.extend(fresh.map(str::to_string));
        let found = self.holding(git, secrets, blobs, clean).await?;
        let Some(blob) = found.iter().next() else {
            return Ok(None);
        };
        let path = paths.get(blob).cloned().unwrap_or_default();
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
