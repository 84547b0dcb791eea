//! What would go into a sandbox, object by object: known, with its size, before anything is packed.
//!
//! Git lists the objects of commits (`rev-list --objects`) and says of each what it is and what it takes
//! (`cat-file --batch-check`). Both come as files, and one line of text for each object is all that is
//! kept of them.

use crate::error::Error;
use crate::git::Git;
use crate::project::Project;
use std::collections::{HashMap, HashSet};

/// How many of the largest files an error names.
pub(crate) const MAX_NAMED: usize = 3;
/// Kind, size and size on disk of an object, its name, and whatever stood behind the name.
const CHECK: &str =
    "--batch-check=%(objecttype) %(objectsize) %(objectsize:disk) %(objectname) %(rest)";

/// Objects, each once.
#[derive(Default)]
pub(crate) struct Objects {
    /// `NAME PATH` for each, as `pack-objects` reads them; the path may be empty.
    text: Vec<u8>,
    entries: Vec<Entry>,
}

struct Entry {
    start: usize,
    end: usize,
    is_blob: bool,
    size: u64,
    disk: u64,
}

/// One of them.
pub(crate) struct Object<'a> {
    /// Full hash.
    pub(crate) name: &'a str,
    /// One of the paths that it has, or none.
    pub(crate) path: &'a [u8],
    pub(crate) is_blob: bool,
    /// Bytes of its content.
    pub(crate) size: u64,
    /// Bytes that git keeps it in.
    pub(crate) disk: u64,
}

impl Objects {
    pub(crate) fn iter(&self) -> impl Iterator<Item = Object<'_>> {
        self.entries.iter().map(|entry| self.object(entry))
    }

    fn object(&self, entry: &Entry) -> Object<'_> {
        let line = &self.text[entry.start..entry.end];
        let space = line.iter().position(|byte| *byte == b' ');
        let space = space.unwrap_or(line.len());
        Object {
            name: std::str::from_utf8(&line[..space]).unwrap_or_default(),
            path: line.get(space + 1..).unwrap_or_default(),
            is_blob: entry.is_blob,
            size: entry.size,
            disk: entry.disk,
        }
    }

    /// Bytes that git keeps them in, which is about what a pack of them has.
    pub(crate) fn disk(&self) -> u64 {
        self.entries.iter().map(|entry| entry.disk).sum()
    }

    /// Takes those of others that are not among these.
    pub(crate) fn add_all(&mut self, others: Objects) {
        let known: HashSet<String> = self.iter().map(|object| object.name.into()).collect();
        for entry in &others.entries {
            if !known.contains(others.object(entry).name) {
                let line = &others.text[entry.start..entry.end];
                self.push(line, entry.is_blob, (entry.size, entry.disk));
            }
        }
    }

    /// Adds one: its line, and its size and that on disk.
    fn push(&mut self, line: &[u8], is_blob: bool, (size, disk): (u64, u64)) {
        let start = self.text.len();
        self.text.extend_from_slice(line);
        self.entries.push(Entry {
            start,
            end: self.text.len(),
            is_blob,
            size,
            disk,
        });
    }

    /// Leaves those that `keep` says.
    pub(crate) fn retain(&mut self, keep: impl Fn(&Object<'_>) -> bool) {
        let mut entries = std::mem::take(&mut self.entries);
        entries.retain(|entry| keep(&self.object(entry)));
        self.entries = entries;
    }

    /// A line for each that `goes` says, as `pack-objects` reads them.
    pub(crate) fn lines(&self, goes: impl Fn(&Object<'_>) -> bool) -> Vec<u8> {
        let mut lines = Vec::new();
        for entry in self
            .entries
            .iter()
            .filter(|entry| goes(&self.object(entry)))
        {
            lines.extend_from_slice(&self.text[entry.start..entry.end]);
            lines.push(b'\n');
        }
        lines
    }

    /// The largest files, with their sizes on disk.
    fn largest(&self) -> Vec<(String, u64)> {
        let mut blobs: Vec<&Entry> = self.entries.iter().filter(|entry| entry.is_blob).collect();
        blobs.sort_by_key(|entry| std::cmp::Reverse(entry.disk));
        let blobs = blobs.into_iter().map(|entry| {
            let path = self.object(entry).path;
            (String::from_utf8_lossy(path).into_owned(), entry.disk)
        });
        blobs.take(MAX_NAMED).collect()
    }

    /// A line of `cat-file` with [`CHECK`]; one of an object that is not there is left out.
    fn add(&mut self, line: &[u8]) {
        let mut fields = line.splitn(4, |byte| *byte == b' ');
        let mut field = || std::str::from_utf8(fields.next()?).ok();
        let (Some(kind), Some(size), Some(disk)) = (field(), field(), field()) else {
            return;
        };
        let (Ok(size), Ok(disk), Some(rest)) = (size.parse(), disk.parse(), fields.next()) else {
            return;
        };
        let is_blob = kind == "blob";
        self.push(rest, is_blob, (size, disk));
    }
}

/// Sizes of blobs that are known: of the content, and on disk.
#[derive(Default)]
pub(crate) struct Sizes(HashMap<[u8; 32], (u64, u64)>);

impl Sizes {
    pub(crate) fn of(&self, name: &[u8]) -> Option<(u64, u64)> {
        self.0.get(&bytes(name)?).copied()
    }

    /// Learns those of blobs.
    pub(crate) fn learn(&mut self, objects: &Objects) {
        let blobs = objects.iter().filter(|object| object.is_blob);
        self.0.extend(blobs.filter_map(|blob| {
            let name = bytes(blob.name.as_bytes())?;
            Some((name, (blob.size, blob.disk)))
        }));
    }
}

/// A hash as bytes, with zeros behind a short one.
pub(crate) fn bytes(hash: &[u8]) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    let digit = |at: usize| char::from(*hash.get(at)?).to_digit(16);
    for (n, byte) in bytes.iter_mut().take(hash.len() / 2).enumerate() {
        *byte = (digit(2 * n)? << 4 | digit(2 * n + 1)?) as u8;
    }
    Some(bytes)
}

impl Project {
    /// The objects of commits, trees and tags. Of a commit no parents. What is not here is left out, unless
    /// `is_whole` says that all must be. Git is not asked again for sizes that are known.
    pub(crate) async fn objects(
        &self,
        git: &Git<'_>,
        tips: impl IntoIterator<Item = &String>,
        (known, is_whole): (&Sizes, bool),
        dir: &str,
    ) -> Result<Objects, Error> {
        let names = format!("{dir}/objects");
        let mut list = String::new();
        for tip in tips {
            list.push_str(tip);
            list.push('\n');
        }
        let mut args = vec!["rev-list", "--objects", "--no-walk=unsorted", "--stdin"];
        if !is_whole {
            args.push("--missing=allow-any");
        }
        git.to_file(&args, &list, &names).await?;
        let (mut objects, mut lines) = (Objects::default(), Vec::new());
        self.in_records(&names, b'\n', |line| {
            let name = line.split(|byte| *byte == b' ').next().unwrap_or_default();
            match known.of(name) {
                Some(size) => objects.push(line, true, size),
                None => lines.extend([line, b"\n"].concat()),
            }
        })
        .await?;
        self.host.remove_file(&names).await?;
        self.sized(git, lines, &mut objects, dir).await?;
        Ok(objects)
    }

    /// Adds the objects of `lines`, each `NAME PATH`.
    pub(crate) async fn sized(
        &self,
        git: &Git<'_>,
        lines: Vec<u8>,
        objects: &mut Objects,
        dir: &str,
    ) -> Result<(), Error> {
        if lines.is_empty() {
            return Ok(());
        }
        let sizes = format!("{dir}/sizes");
        git.feed_to_file(&["cat-file", "--buffer", CHECK], lines, &sizes)
            .await?;
        self.in_records(&sizes, b'\n', |line| objects.add(line))
            .await?;
        Ok(self.host.remove_file(&sizes).await?)
    }

    /// Refuses what is more than is carried.
    pub(crate) fn fits(&self, objects: &Objects) -> Result<(), Error> {
        let size = objects.disk();
        match size > self.limit {
            false => Ok(()),
            true => Err(Error::TooLarge {
                worktree: self.worktree.clone(),
                size,
                files: objects.iter().filter(|object| object.is_blob).count(),
                largest: objects.largest(),
                limit: self.limit,
            }),
        }
    }
}
