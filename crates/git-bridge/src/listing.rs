//! How long a list of all files of some trees would be, without writing it: a tree that is named
//! often is read once.

use std::collections::HashMap;

/// Most paths, and most bytes of them.
const MAX_PATHS: u64 = 4_000_000;
const MAX_BYTES: u64 = 1024 * 1024 * 1024;
/// Largest tree, in bytes.
const MAX_TREE: usize = 64 * 1024 * 1024;

type Hash = Box<[u8]>;

/// Paths below a tree, and their bytes.
#[derive(Clone, Copy, Default)]
struct Extent {
    paths: u64,
    bytes: u64,
}

#[derive(Default)]
struct Tree {
    /// Of what is in it itself.
    own: Extent,
    /// Directories, with the length of their names.
    below: Vec<(u64, Hash)>,
}

/// What `git cat-file --batch` says of trees.
pub(crate) struct Listing {
    hash: usize,
    rest: Vec<u8>,
    trees: HashMap<Hash, Tree>,
}

impl Listing {
    /// `hash` is the length of a hash in bytes.
    pub(crate) fn new(hash: usize) -> Listing {
        Listing {
            hash,
            rest: Vec::new(),
            trees: HashMap::new(),
        }
    }

    /// Reads a further part of it. The error says what is wrong.
    pub(crate) fn read(&mut self, part: &[u8]) -> Result<(), String> {
        self.rest.extend_from_slice(part);
        let mut at = 0;
        while let Some((hash, content, end)) = next(&self.rest[at..])? {
            let tree = parse(&self.rest[at..][content], self.hash)?;
            self.trees.insert(hash, tree);
            at += end;
        }
        self.rest.drain(..at);
        Ok(())
    }

    /// True if all trees together can be listed.
    pub(crate) fn is_bounded(&self) -> bool {
        let mut known: HashMap<&Hash, Extent> = HashMap::new();
        // Deep trees must not need a deep stack.
        let mut open: Vec<(&Hash, bool)> = self.trees.keys().map(|hash| (hash, false)).collect();
        while let Some((hash, is_read)) = open.pop() {
            let Some(tree) = self.trees.get(hash).filter(|_| !known.contains_key(hash)) else {
                continue;
            };
            if !is_read {
                open.push((hash, true));
                open.extend(tree.below.iter().map(|(_, below)| (below, false)));
                continue;
            }
            let mut all = tree.own;
            for (name, below) in &tree.below {
                let below = known.get(below).copied().unwrap_or_default();
                all.paths = all.paths.saturating_add(below.paths);
                let names = below.paths.saturating_mul(name + 1);
                all.bytes = all.bytes.saturating_add(below.bytes.saturating_add(names));
            }
            if all.paths > MAX_PATHS || all.bytes > MAX_BYTES {
                return false;
            }
            known.insert(hash, all);
        }
        true
    }
}

type Found = (Hash, std::ops::Range<usize>, usize);

/// The first whole tree: its hash, where its content is, and where the next one begins.
fn next(bytes: &[u8]) -> Result<Option<Found>, String> {
    let wrong = || "its trees cannot be read".to_string();
    let Some(end) = bytes.iter().position(|byte| *byte == b'\n') else {
        return Ok(None);
    };
    let line = std::str::from_utf8(&bytes[..end]).map_err(|_| wrong())?;
    let mut fields = line.split(' ');
    let (hash, kind, size) = (fields.next(), fields.next(), fields.next());
    let size: usize = size.and_then(|s| s.parse().ok()).ok_or_else(wrong)?;
    if kind != Some("tree") || size > MAX_TREE {
        return Err(wrong());
    }
    let content = end + 1..end + 1 + size;
    let hash = hash.unwrap_or_default().as_bytes();
    let hash: Option<Vec<u8>> = hash.chunks(2).map(byte).collect();
    let after = content.end + 1;
    Ok((bytes.len() >= after).then_some((hash.ok_or_else(wrong)?.into(), content, after)))
}

fn byte(hex: &[u8]) -> Option<u8> {
    u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok()
}

/// As git reads a mode, in whatever way it is written.
fn is_directory(mode: &[u8]) -> bool {
    let digits = mode.iter().map(|digit| u64::from(digit.wrapping_sub(b'0')));
    let mode = digits.fold(0u64, |mode, digit| mode.wrapping_shl(3).wrapping_add(digit));
    mode & 0o170_000 == 0o040_000
}

fn parse(mut content: &[u8], hash: usize) -> Result<Tree, String> {
    let mut tree = Tree::default();
    while !content.is_empty() {
        let wrong = || "one of its trees is cut short".to_string();
        let name = content.iter().position(|b| *b == 0).ok_or_else(wrong)?;
        let (entry, rest) = (&content[..name], &content[name + 1..]);
        if rest.len() < hash {
            return Err(wrong());
        }
        let mode = entry.iter().position(|b| *b == b' ').ok_or_else(wrong)?;
        let length = (entry.len() - mode - 1) as u64;
        match is_directory(&entry[..mode]) {
            true => tree.below.push((length, rest[..hash].into())),
            false => {
                tree.own.paths += 1;
                tree.own.bytes += length + 1;
            }
        }
        content = &rest[hash..];
    }
    Ok(tree)
}
