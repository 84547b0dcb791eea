//! `apply_patch`: adds, changes, moves and deletes several files, all or none.
//!
//! The text of the patch is read by [`parse`], the place of a hunk is found by [`seek`], and here
//! the files are read, checked and changed.
//!
//! Surprises, where OpenCode loses something: two sections about one file build on each other (there
//! the second undoes the first), a move onto itself is a change (there the file is deleted), and
//! `*** End of File` does not drop the hunks behind it.

mod parse;
mod seek;

use super::failure::{fail, io_error};
use super::replace::{self, Change};
use super::text::{Text, encode};
use super::tree::Tree;
use super::{diff, path, text};
use parse::Section;
use protocol::{ToolError, ToolOutput, args};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

pub(super) fn run(tree: &Tree, args: &args::ApplyPatch) -> Result<ToolOutput, ToolError> {
    if args.patch_text.is_empty() {
        return Err(fail("patchText is required"));
    }
    let sections =
        parse::parse(&args.patch_text).map_err(|why| refuse(&format!("Error: {why}")))?;
    if sections.is_empty() {
        let plain = args.patch_text.replace("\r\n", "\n").replace('\r', "\n");
        let is_empty = plain.trim() == "*** Begin Patch\n*** End Patch";
        return Err(if is_empty {
            fail("patch rejected: empty patch")
        } else {
            refuse("no hunks found")
        });
    }
    let paths: Vec<PathBuf> = sections
        .iter()
        .flat_map(Section::paths)
        .map(|path| path::resolve(&tree.cwd, path))
        .collect();
    let _lock = tree.lock(&paths.iter().map(PathBuf::as_path).collect::<Vec<_>>());
    let mut plan = Plan {
        tree,
        pending: BTreeMap::new(),
        changes: Vec::new(),
        files: Vec::new(),
        diff: String::new(),
    };
    let mut lines = Vec::new();
    for (index, section) in sections.iter().enumerate() {
        let line = plan.add(section).map_err(|error| ToolError {
            // What is asked before OpenCode says so depends on how far it came.
            metadata: tree.preview.then(|| json!({ "section": index })),
            ..error
        });
        lines.push(line?);
    }
    if tree.preview {
        plan.changes.clear();
    }
    replace::apply(plan.changes)
        .map_err(|failed| io_error("writeFile", &failed.path, &failed.error))?;
    let output = format!(
        "Success. Updated the following files:\n{}",
        lines.join("\n")
    );
    Ok(ToolOutput {
        title: output.clone(),
        output,
        metadata: json!({ "diff": plan.diff, "files": plan.files, "diagnostics": {} }),
        attachments: Vec::new(),
    })
}

fn refuse(why: &str) -> ToolError {
    fail(format!("apply_patch verification failed: {why}"))
}

/// What will be done, file by file, while nothing has been done yet.
struct Plan<'a> {
    tree: &'a Tree,
    /// Files as earlier sections leave them; none if deleted.
    pending: BTreeMap<PathBuf, Option<Text>>,
    changes: Vec<Change>,
    files: Vec<Value>,
    diff: String,
}

impl Plan<'_> {
    /// Checks one section; the result is its line in the output.
    fn add(&mut self, section: &Section) -> Result<String, ToolError> {
        match section {
            Section::Add { path, content } => {
                let path = path::resolve(&self.tree.cwd, path);
                let ended = if content.is_empty() || content.ends_with('\n') {
                    ""
                } else {
                    "\n"
                };
                let new = Text::new(&format!("{content}{ended}"));
                self.file(
                    &path,
                    None,
                    "add",
                    "",
                    &new.text,
                    diff::counts("", &new.text),
                );
                self.write(&path, new);
                Ok(format!("A {}", self.tree.title(&path)))
            }
            Section::Delete { path } => {
                let path = path::resolve(&self.tree.cwd, path);
                let old = self
                    .read(&path)
                    .map_err(|error| refuse(&io_error("readFile", &path, &error).message))?;
                // One too many for a file that ends with a newline, as in OpenCode.
                let deletions = old.text.split('\n').count();
                self.file(&path, None, "delete", &old.text, "", (0, deletions));
                self.remove(&path);
                Ok(format!("D {}", self.tree.title(&path)))
            }
            Section::Update {
                path,
                move_to,
                chunks,
            } => {
                let path = path::resolve(&self.tree.cwd, path);
                let old = self.read(&path).map_err(|_| {
                    refuse(&format!(
                        "Failed to read file to update: {}",
                        path.display()
                    ))
                })?;
                let name = path.display().to_string();
                let new = seek::apply(&old.text, chunks, &name)
                    .map_err(|why| refuse(&format!("Error: {why}")))?;
                let new = Text::new(&new);
                let new = Text {
                    bom: old.bom || new.bom,
                    text: new.text,
                };
                let counts = diff::counts(&old.text, &new.text);
                let target = move_to
                    .as_ref()
                    .map(|to| path::resolve(&self.tree.cwd, to))
                    .filter(|to| *to != path);
                let kind = if target.is_some() { "move" } else { "update" };
                self.file(&path, target.as_deref(), kind, &old.text, &new.text, counts);
                let title = self.tree.title(target.as_ref().unwrap_or(&path));
                match target {
                    Some(target) => {
                        self.write(&target, new);
                        self.remove(&path);
                    }
                    None => self.write(&path, new),
                }
                Ok(format!("M {title}"))
            }
        }
    }

    fn read(&self, path: &Path) -> io::Result<Text> {
        match self.pending.get(path) {
            Some(Some(text)) => Ok(Text {
                bom: text.bom,
                text: text.text.clone(),
            }),
            Some(None) => Err(io::ErrorKind::NotFound.into()),
            None => text::read(path),
        }
    }

    fn write(&mut self, path: &Path, new: Text) {
        self.changes.retain(|change| !is_about(change, path));
        self.changes.push(Change::Write(
            path.to_path_buf(),
            encode(&new.text, new.bom),
        ));
        self.pending.insert(path.to_path_buf(), Some(new));
    }

    fn remove(&mut self, path: &Path) {
        self.changes.retain(|change| !is_about(change, path));
        if std::fs::symlink_metadata(path).is_ok() {
            self.changes.push(Change::Remove(path.to_path_buf()));
        }
        self.pending.insert(path.to_path_buf(), None);
    }

    fn file(
        &mut self,
        path: &Path,
        target: Option<&Path>,
        kind: &str,
        old: &str,
        new: &str,
        (additions, deletions): (usize, usize),
    ) {
        let patch = diff::patch(&path.to_string_lossy(), &text::show(old), &text::show(new));
        self.diff += &patch;
        self.diff.push('\n');
        let mut file = json!({
            "filePath": path.to_string_lossy(),
            "relativePath": self.tree.title(target.unwrap_or(path)),
            "type": kind,
            "patch": patch,
            "additions": additions,
            "deletions": deletions,
        });
        if let Some(target) = target {
            file["movePath"] = json!(target.to_string_lossy());
        }
        self.files.push(file);
    }
}

fn is_about(change: &Change, about: &Path) -> bool {
    match change {
        Change::Write(path, _) | Change::Remove(path) => path == about,
    }
}
