//! `/files`: list, look, make, move, remove.
//!
//! Paths are absolute or relative to the work directory; `~` means nothing and nothing is jailed:
//! the wall around the sandbox is elsewhere.

use std::ffi::CString;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::Path;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use super::daemon::{Reply, Toolbox};
use super::execute::go_words;
use crate::clock::rfc3339;
use crate::options::Daemon;
use crate::problem::Problem;
use crate::route::{Route, delete, get, post};

pub(super) fn routes() -> Vec<Route<Arc<Toolbox>>> {
    vec![
        get("/files", list),
        delete("/files", remove),
        get("/files/info", info),
        post("/files/folder", folder),
        post("/files/move", rename),
        post("/files/permissions", permissions),
    ]
}

/// The error of looking at a path, as the API names it.
pub(super) fn failed(error: &io::Error, path: &str) -> Problem {
    match error.raw_os_error() {
        Some(libc::ENOENT) => {
            Problem::not_found(format!("file not found: {path}")).code("FILE_NOT_FOUND")
        }
        Some(libc::EACCES | libc::EPERM | libc::EROFS) => {
            let message = format!("{}: {path}", go_words(error));
            Problem::new(StatusCode::FORBIDDEN, message).code("FILE_ACCESS_DENIED")
        }
        _ => Problem::bad_request(format!("{}: {path}", go_words(error))),
    }
}

/// The error of a change, all of which are the request's fault to 0.190.
pub(super) fn unchanged(toolbox: &Toolbox, error: &io::Error, path: &str) -> Problem {
    match toolbox.daemon {
        Daemon::V0_190 => Problem::bad_request(go_words(error)),
        Daemon::V0_216 => failed(error, path),
    }
}

pub(super) fn invalid(message: impl std::fmt::Display) -> Problem {
    Problem::bad_request(format!("invalid file path: {message}")).code("INVALID_FILE_PATH")
}

pub(super) fn required(path: Option<String>) -> Result<String, Problem> {
    path.filter(|p| !p.is_empty())
        .ok_or_else(|| invalid("path is required"))
}

fn mode_text(metadata: &Metadata) -> String {
    let mode = metadata.mode();
    let kind = if metadata.is_dir() { 'd' } else { '-' };
    let bits = "rwxrwxrwx".chars().enumerate();
    let bits = bits.map(|(i, c)| if mode >> (8 - i) & 1 == 1 { c } else { '-' });
    std::iter::once(kind).chain(bits).collect()
}

fn describe(name: &str, metadata: &Metadata) -> Value {
    let modified = rfc3339(metadata.mtime() * 1000 + metadata.mtime_nsec() / 1_000_000);
    let go_time = format!(
        "{} +0000 UTC",
        modified.replace('T', " ").trim_end_matches('Z')
    );
    json!({
        "name": name,
        "size": metadata.len(),
        "isDir": metadata.is_dir(),
        "mode": mode_text(metadata),
        "permissions": format!("{:04o}", metadata.mode() & 0o7777),
        "owner": metadata.uid().to_string(),
        "group": metadata.gid().to_string(),
        "modTime": go_time,
        "modifiedAt": modified,
    })
}

#[derive(Deserialize)]
pub(super) struct At {
    pub(super) path: Option<String>,
    depth: Option<u32>,
    #[serde(default)]
    recursive: bool,
    mode: Option<String>,
    owner: Option<String>,
    group: Option<String>,
}

pub(super) async fn list(State(toolbox): State<Arc<Toolbox>>, Query(at): Query<At>) -> Reply {
    let given = at
        .path
        .filter(|p| !p.is_empty())
        .unwrap_or_else(|| ".".to_owned());
    let root = toolbox.path(&given);
    if !fs::metadata(&root)
        .map_err(|e| failed(&e, &given))?
        .is_dir()
    {
        return Err(invalid(format!("path is not a directory: {given}")));
    }
    let mut found = Vec::new();
    // Older daemons do not know it.
    let depth = at.depth.filter(|_| toolbox.daemon != Daemon::V0_190);
    let nested = depth.is_some();
    walk(
        &root,
        Path::new(""),
        depth.unwrap_or(1).max(1),
        nested,
        &mut found,
    )
    .map_err(|e| failed(&e, &given))?;
    Ok(Json(Value::Array(found)))
}

fn walk(
    dir: &Path,
    below: &Path,
    depth: u32,
    nested: bool,
    found: &mut Vec<Value>,
) -> io::Result<()> {
    let mut names: Vec<_> = fs::read_dir(dir)?
        .flatten()
        .map(|e| e.file_name())
        .collect();
    names.sort();
    for name in names {
        let path = dir.join(&name);
        // Followed, so a dangling link is not there.
        let Ok(metadata) = fs::metadata(&path) else {
            continue;
        };
        let mut info = describe(&name.to_string_lossy(), &metadata);
        if nested {
            info["path"] = json!(path);
        }
        found.push(info);
        let is_link = fs::symlink_metadata(&path).is_ok_and(|m| m.is_symlink());
        if depth > 1 && metadata.is_dir() && !is_link {
            let _ = walk(&path, &below.join(&name), depth - 1, nested, found);
        }
    }
    Ok(())
}

async fn info(State(toolbox): State<Arc<Toolbox>>, Query(at): Query<At>) -> Reply {
    let given = required(at.path)?;
    let path = toolbox.path(&given);
    let metadata = fs::metadata(&path).map_err(|e| failed(&e, &given))?;
    let name = path.file_name().map_or("/".into(), |n| n.to_string_lossy());
    Ok(Json(describe(&name, &metadata)))
}

fn octal(mode: Option<&str>) -> Result<Option<u32>, Problem> {
    let Some(text) = mode.filter(|m| !m.is_empty()) else {
        return Ok(None);
    };
    let parsed = u32::from_str_radix(text, 8).ok().filter(|m| *m <= 0o7777);
    parsed
        .map(Some)
        .ok_or_else(|| Problem::bad_request("bad request: invalid mode format"))
}

async fn folder(
    State(toolbox): State<Arc<Toolbox>>,
    Query(at): Query<At>,
) -> Result<StatusCode, Problem> {
    let given = required(at.path)?;
    let mode = octal(at.mode.as_deref())?.unwrap_or(0o755);
    let path = toolbox.path(&given);
    fs::DirBuilder::new()
        .recursive(true)
        .mode(mode)
        .create(&path)
        .map_err(|e| match e.kind() {
            io::ErrorKind::AlreadyExists => invalid(format!("not a directory: {given}")),
            _ => unchanged(&toolbox, &e, &given),
        })?;
    Ok(StatusCode::CREATED)
}

pub(super) async fn remove(
    State(toolbox): State<Arc<Toolbox>>,
    Query(at): Query<At>,
) -> Result<StatusCode, Problem> {
    let given = required(at.path)?;
    let path = toolbox.path(&given);
    // Followed, so a dangling link cannot be removed here.
    let metadata = fs::metadata(&path).map_err(|e| failed(&e, &given))?;
    let is_link = fs::symlink_metadata(&path).is_ok_and(|m| m.is_symlink());
    let removed = if !metadata.is_dir() || is_link && at.recursive {
        fs::remove_file(&path)
    } else if at.recursive {
        tokio::task::spawn_blocking(move || fs::remove_dir_all(&path))
            .await
            .map_err(Problem::internal)?
    } else {
        return Err(Problem::bad_request(
            "bad request: cannot delete directory without recursive flag",
        ));
    };
    removed.map_err(|e| unchanged(&toolbox, &e, &given))?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Deserialize)]
struct Move {
    source: Option<String>,
    destination: Option<String>,
}

async fn rename(
    State(toolbox): State<Arc<Toolbox>>,
    Query(ends): Query<Move>,
) -> Result<StatusCode, Problem> {
    let (source, destination) = (required(ends.source)?, required(ends.destination)?);
    let (from, to) = (toolbox.path(&source), toolbox.path(&destination));
    fs::symlink_metadata(&from).map_err(|e| failed(&e, &source))?;
    let parent = to.parent().unwrap_or(&to);
    fs::metadata(parent).map_err(|e| failed(&e, &destination))?;
    if fs::symlink_metadata(&to).is_ok() {
        return Err(Problem::conflict(format!(
            "conflict: destination already exists: {destination}"
        )));
    }
    match fs::rename(&from, &to) {
        // To another file system, which mv knows how to do.
        Err(error) if error.raw_os_error() == Some(libc::EXDEV) => {
            let moved = tokio::process::Command::new("mv")
                .arg("--")
                .arg(&from)
                .arg(&to)
                .output()
                .await;
            let moved = moved.map_err(Problem::internal)?;
            if !moved.status.success() {
                return Err(Problem::internal(String::from_utf8_lossy(&moved.stderr)));
            }
        }
        done => done.map_err(|e| unchanged(&toolbox, &e, &destination))?,
    }
    Ok(StatusCode::OK)
}

async fn permissions(
    State(toolbox): State<Arc<Toolbox>>,
    Query(at): Query<At>,
) -> Result<StatusCode, Problem> {
    let given = required(at.path)?;
    let path = toolbox.path(&given);
    fs::metadata(&path).map_err(|e| failed(&e, &given))?;
    if let Some(mode) = octal(at.mode.as_deref())? {
        let mode = fs::Permissions::from_mode(mode);
        fs::set_permissions(&path, mode).map_err(|e| unchanged(&toolbox, &e, &given))?;
    }
    let id = |name: Option<String>, table: &str| -> Result<u32, Problem> {
        let Some(name) = name.filter(|n| !n.is_empty()) else {
            return Ok(u32::MAX);
        };
        if let Ok(number) = name.parse() {
            return Ok(number);
        }
        let table = fs::read_to_string(table).unwrap_or_default();
        let line = table
            .lines()
            .find(|line| line.split(':').next() == Some(&name));
        let number = line.and_then(|line| line.split(':').nth(2)?.parse().ok());
        number.ok_or_else(|| {
            Problem::bad_request(format!("bad request: unknown owner or group: {name}"))
        })
    };
    let (owner, group) = (id(at.owner, "/etc/passwd")?, id(at.group, "/etc/group")?);
    if owner != u32::MAX || group != u32::MAX {
        let name = CString::new(path.as_os_str().as_bytes()).map_err(invalid)?;
        // SAFETY: `name` is a C string that outlives the call.
        if unsafe { libc::chown(name.as_ptr(), owner, group) } != 0 {
            return Err(unchanged(&toolbox, &io::Error::last_os_error(), &given));
        }
    }
    Ok(StatusCode::OK)
}
