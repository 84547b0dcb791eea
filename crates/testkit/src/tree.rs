//! A tree of files in one string: `//- path` starts a file, its content follows.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// Writes the files of `fixture` below `root`.
///
/// ```text
/// //- src/a.rs
/// fn a() {}
/// //- empty.txt
/// ```
pub fn write_tree(root: &Path, fixture: &str) {
    let mut files: Vec<(&str, String)> = Vec::new();
    for line in fixture.lines() {
        match line.trim_start().strip_prefix("//- ") {
            Some(path) => files.push((path.trim(), String::new())),
            None => {
                if let Some((_, content)) = files.last_mut() {
                    content.push_str(line);
                    content.push('\n');
                }
            }
        }
    }
    for (path, content) in files {
        let path = root.join(path);
        fs::create_dir_all(path.parent().expect("a file has a directory"))
            .expect("makes the directory");
        fs::write(path, content).expect("writes the file");
    }
}

/// All regular files below `root`, `.git` left out: path and text.
pub fn read_tree(root: &Path) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut dirs = vec![root.to_path_buf()];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(dir).expect("reads the directory") {
            let entry = entry.expect("reads the entry");
            let (path, kind) = (entry.path(), entry.file_type().expect("has a type"));
            if kind.is_dir() && entry.file_name() != ".git" {
                dirs.push(path);
            } else if kind.is_file() {
                let name = path
                    .strip_prefix(root)
                    .expect("is below")
                    .to_string_lossy()
                    .into_owned();
                found.insert(
                    name,
                    String::from_utf8_lossy(&fs::read(path).expect("reads the file")).into_owned(),
                );
            }
        }
    }
    found
}
