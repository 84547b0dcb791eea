//! Walks a tree as `rg` does (ignore files, hidden files, no `.git`), in parallel, and keeps the
//! first results in the order of their paths.
//!
//! OpenCode takes the first hundred results in whatever order ripgrep's threads find them. Here the
//! order is that of the paths, so the same question has the same answer. That needs no full walk:
//! once there are enough results, whatever sorts behind the last of them is skipped, whole
//! directories at a time.

use ignore::overrides::{Override, OverrideBuilder};
use ignore::{DirEntry, ParallelVisitor, ParallelVisitorBuilder, WalkBuilder, WalkState};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// How many results a search returns.
pub(super) const CAP: usize = 100;

/// The glob of the request, if it has one, and never `.git`. Invalid globs are an error.
pub(super) fn globs(dir: &Path, glob: Option<&str>) -> Result<Override, ignore::Error> {
    let mut globs = OverrideBuilder::new(dir);
    if let Some(glob) = glob {
        globs.add(glob)?;
    }
    globs.add("!**/.git/**")?;
    globs.build()
}

/// Calls a visitor for every file; there is one visitor per thread.
pub(super) fn files<V: FnMut(&Path) + Send>(
    dir: &Path,
    globs: Override,
    hidden: bool,
    best: &Best,
    visitor: impl Fn() -> V + Sync,
) {
    let threads = std::thread::available_parallelism()
        .map_or(2, usize::from)
        .min(12);
    let mut builder = Builder { best, visitor };
    WalkBuilder::new(dir)
        .hidden(!hidden)
        .overrides(globs)
        .add_custom_ignore_filename(".rgignore")
        .threads(threads)
        .build_parallel()
        .visit(&mut builder);
}

struct Builder<'s, F> {
    best: &'s Best,
    visitor: F,
}

impl<'s, V: FnMut(&Path) + Send + 's, F: Fn() -> V + Sync> ParallelVisitorBuilder<'s>
    for Builder<'s, F>
{
    fn build(&mut self) -> Box<dyn ParallelVisitor + 's> {
        Box::new(Visitor {
            best: self.best,
            visit: (self.visitor)(),
        })
    }
}

struct Visitor<'s, V> {
    best: &'s Best,
    visit: V,
}

impl<V: FnMut(&Path) + Send> ParallelVisitor for Visitor<'_, V> {
    fn visit(&mut self, entry: Result<DirEntry, ignore::Error>) -> WalkState {
        // What cannot be read is left out, as with `rg --no-messages`.
        let Ok(entry) = entry else {
            return WalkState::Continue;
        };
        if !self.best.may_hold(entry.path()) {
            return WalkState::Skip;
        }
        if entry.file_type().is_some_and(|kind| kind.is_file()) {
            (self.visit)(entry.path());
        }
        WalkState::Continue
    }
}

/// One result: a file, or a line of it.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Hit {
    pub(super) path: PathBuf,
    pub(super) line: u64,
    pub(super) text: String,
}

/// The first [`CAP`] results so far.
#[derive(Default)]
pub(super) struct Best {
    hits: Mutex<std::collections::BTreeSet<Hit>>,
}

impl Best {
    fn lock(&self) -> MutexGuard<'_, std::collections::BTreeSet<Hit>> {
        self.hits.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the results of one file.
    pub(super) fn add(&self, new: impl IntoIterator<Item = Hit>) {
        let mut hits = self.lock();
        for hit in new {
            if hits.len() >= CAP && hits.last().is_some_and(|last| hit > *last) {
                continue;
            }
            hits.insert(hit);
            if hits.len() > CAP {
                hits.pop_last();
            }
        }
    }

    /// False if `path`, or whatever lies below it, sorts behind all that will be returned. Paths
    /// compare name by name, so a directory comes before what is in it.
    fn may_hold(&self, path: &Path) -> bool {
        let hits = self.lock();
        hits.len() < CAP || hits.last().is_none_or(|last| path <= last.path.as_path())
    }

    pub(super) fn into_hits(self) -> Vec<Hit> {
        self.hits
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner)
            .into_iter()
            .collect()
    }
}
