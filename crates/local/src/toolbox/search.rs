//! `/files/find`, `/files/search`, `/files/replace`: simpler than they sound, like the daemon's.
//!
//! `find` is a fixed string over the whole tree, `.git` included, and gives up on a file at its first
//! line over 64 KiB. `search` matches base names only. `replace` rewrites a file even if nothing
//! matched.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::Json;
use axum::extract::{Query, State};
use bytes::Bytes;
use globset::GlobBuilder;
use serde::Deserialize;
use serde_json::{Value, json};

use super::daemon::{Reply, Toolbox, parse};
use super::execute::go_words;
use super::files::required;
use crate::problem::{Fields, Problem};
use crate::route::{Route, get, post};

const LONGEST_LINE: u64 = 64 * 1024;

pub(super) fn routes() -> Vec<Route<Arc<Toolbox>>> {
    vec![
        get("/files/find", find),
        get("/files/search", search),
        post("/files/replace", replace),
    ]
}

#[derive(Deserialize)]
struct What {
    path: Option<String>,
    pattern: Option<String>,
}

/// Everything below `root`, itself first, in name order; links are not followed. What is not there is
/// nothing. A relative path is relative to the work directory, which is this process's, and so are
/// those that come of it.
fn tree(root: &Path) -> Vec<PathBuf> {
    let Ok(metadata) = fs::symlink_metadata(root) else {
        return Vec::new();
    };
    let mut all = vec![root.to_owned()];
    if metadata.is_dir() {
        let mut inner: Vec<_> = fs::read_dir(root)
            .into_iter()
            .flatten()
            .flatten()
            .map(|e| e.path())
            .map(|path| path.strip_prefix(".").map(Path::to_owned).unwrap_or(path))
            .collect();
        inner.sort();
        all.extend(inner.iter().flat_map(|path| tree(path)));
    }
    all
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Problem> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(Problem::internal)
}

async fn find(Query(what): Query<What>) -> Reply {
    let (given, pattern) = (required(what.path)?, required(what.pattern)?);
    let root = PathBuf::from(given);
    blocking(move || {
        let mut found = Vec::new();
        for path in tree(&root) {
            find_in(&path, pattern.as_bytes(), &mut found);
        }
        Json(Value::Array(found))
    })
    .await
}

fn find_in(path: &Path, pattern: &[u8], found: &mut Vec<Value>) {
    if !fs::symlink_metadata(path).is_ok_and(|m| m.is_file()) {
        return;
    }
    let Ok(file) = fs::File::open(path) else {
        return;
    };
    let mut reader = BufReader::new(file);
    let head = reader.fill_buf().unwrap_or_default();
    if head[..head.len().min(512)].contains(&0) {
        return;
    }
    let mut line = Vec::new();
    for number in 1.. {
        line.clear();
        match reader
            .by_ref()
            .take(LONGEST_LINE)
            .read_until(b'\n', &mut line)
        {
            Ok(0) | Err(_) => return,
            Ok(_) if line.last() != Some(&b'\n') && line.len() as u64 == LONGEST_LINE => return,
            Ok(_) => {}
        }
        while line.last().is_some_and(|b| *b == b'\n' || *b == b'\r') {
            line.pop();
        }
        if line.windows(pattern.len()).any(|part| part == pattern) {
            let content = String::from_utf8_lossy(&line);
            found.push(json!({ "file": path, "line": number, "content": content }));
        }
    }
}

async fn search(Query(what): Query<What>) -> Reply {
    let (given, pattern) = (required(what.path)?, required(what.pattern)?);
    let root = PathBuf::from(given);
    // Braces mean themselves here, unlike in a glob.
    let literal = pattern.replace('{', "[{]").replace('}', "[}]");
    let glob = GlobBuilder::new(&literal)
        .literal_separator(true)
        .backslash_escape(true)
        .build();
    let Ok(glob) = glob.map(|g| g.compile_matcher()) else {
        return Ok(Json(json!({ "files": [] })));
    };
    blocking(move || {
        let names = |p: &PathBuf| p.file_name().is_some_and(|name| glob.is_match(name));
        let files: Vec<PathBuf> = tree(&root).into_iter().filter(names).collect();
        Json(json!({ "files": files }))
    })
    .await
}

async fn replace(State(toolbox): State<Arc<Toolbox>>, body: Bytes) -> Reply {
    let body = parse(&body)?;
    let mut fields = Fields::of(&body)?;
    let files: Vec<String> = fields.get("files", "a list of strings").unwrap_or_default();
    let pattern: String = fields.get("pattern", "a string").unwrap_or_default();
    let value: String = fields.get("newValue", "a string").unwrap_or_default();
    fields.finish()?;
    if pattern.is_empty() {
        return Err(Problem::bad_request("bad request: pattern is required"));
    }
    let results = files.iter().map(|file| {
        let path = toolbox.path(file);
        let done =
            fs::read(&path).and_then(|old| fs::write(&path, substitute(&old, &pattern, &value)));
        match done {
            Ok(()) => json!({ "file": file, "success": true }),
            Err(error) => json!({ "file": file, "success": false, "error": go_words(&error) }),
        }
    });
    Ok(Json(results.collect()))
}

fn substitute(text: &[u8], pattern: &str, value: &str) -> Vec<u8> {
    let (pattern, mut rest, mut out) = (pattern.as_bytes(), text, Vec::with_capacity(text.len()));
    while let Some(at) = rest.windows(pattern.len()).position(|part| part == pattern) {
        out.extend_from_slice(&rest[..at]);
        out.extend_from_slice(value.as_bytes());
        rest = &rest[at + pattern.len()..];
    }
    out.extend_from_slice(rest);
    out
}
