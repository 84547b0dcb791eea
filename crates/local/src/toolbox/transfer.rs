//! Files in and out: download, upload, and both in bulk.
//!
//! Uploads truncate and then write; they are not atomic. In a bulk upload a file's path comes
//! before its content, and what fails does not stop the rest.

use std::collections::HashMap;
use std::io::{self, SeekFrom};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;
use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::multipart::{Field, MultipartRejection};
use axum::extract::{FromRequest as _, Multipart, Query, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use futures_util::{Stream, StreamExt as _, TryStreamExt as _, stream};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::fs::File;
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _, AsyncWriteExt as _};

use super::daemon::Toolbox;
use super::errors::no_such_route;
use super::execute::go_words;
use super::files::{At, failed, invalid, required, unchanged};
use crate::options::Daemon;
use crate::problem::Problem;
use crate::route::{Route, get, post};

const BOUNDARY: &str = "DAYTONA-FILE-BOUNDARY";
const CHUNK: usize = 64 * 1024;

pub(super) fn routes() -> Vec<Route<Arc<Toolbox>>> {
    vec![
        get("/files/download", download),
        post("/files/upload", upload),
        post("/files/upload-v2", upload_v2),
        post("/files/bulk-upload", bulk_upload),
        post("/files/bulk-download", bulk_download),
    ]
}

/// A file's content, `length` bytes from where it stands.
fn content(file: File, length: u64) -> impl Stream<Item = io::Result<Bytes>> + Send {
    stream::try_unfold(file.take(length), |mut file| async move {
        let mut chunk = Vec::with_capacity(CHUNK);
        let read = file.read_buf(&mut chunk).await?;
        Ok((read > 0).then(|| (Bytes::from(chunk), file)))
    })
}

async fn open(path: &Path, given: &str) -> Result<(File, u64), Problem> {
    let metadata = tokio::fs::metadata(path)
        .await
        .map_err(|e| failed(&e, given))?;
    if metadata.is_dir() {
        return Err(invalid(format!("path points to a directory: {given}")));
    }
    let file = File::open(path).await.map_err(|e| failed(&e, given))?;
    Ok((file, metadata.len()))
}

async fn download(
    State(toolbox): State<Arc<Toolbox>>,
    Query(at): Query<At>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let given = required(at.path)?;
    let (mut file, size) = open(&toolbox.path(&given), &given).await?;
    let asked = headers.get(header::RANGE).and_then(|v| v.to_str().ok());
    let (status, start, length) = match asked.map(|range| parse_range(range, size)) {
        None | Some(Range::Ignored) => (StatusCode::OK, 0, size),
        Some(Range::Part(start, length)) => (StatusCode::PARTIAL_CONTENT, start, length),
        Some(Range::Impossible) => {
            let range = [(header::CONTENT_RANGE, format!("bytes */{size}"))];
            return Ok((StatusCode::RANGE_NOT_SATISFIABLE, range).into_response());
        }
    };
    file.seek(SeekFrom::Start(start))
        .await
        .map_err(|e| failed(&e, &given))?;
    let mut reply = Response::builder()
        .status(status)
        .header(header::CONTENT_TYPE, "application/octet-stream")
        .header(header::ACCEPT_RANGES, "bytes")
        .header(header::CONTENT_LENGTH, length);
    if status == StatusCode::PARTIAL_CONTENT {
        let last = start + length - 1;
        reply = reply.header(
            header::CONTENT_RANGE,
            format!("bytes {start}-{last}/{size}"),
        );
    }
    reply
        .body(Body::from_stream(content(file, length)))
        .map_err(Problem::internal)
}

enum Range {
    Part(u64, u64),
    Impossible,
    /// Several ranges, or something else: the whole file is a valid answer.
    Ignored,
}

fn parse_range(text: &str, size: u64) -> Range {
    let Some((first, last)) = text.strip_prefix("bytes=").and_then(|r| r.split_once('-')) else {
        return Range::Ignored;
    };
    let (start, end) = match (first.trim().parse::<u64>(), last.trim().parse::<u64>()) {
        (Ok(start), Ok(last)) => (start, last.saturating_add(1).min(size)),
        (Ok(start), Err(_)) if last.trim().is_empty() => (start, size),
        (Err(_), Ok(tail)) if first.trim().is_empty() => (size.saturating_sub(tail), size),
        _ => return Range::Ignored,
    };
    if start < end {
        Range::Part(start, end - start)
    } else {
        Range::Impossible
    }
}

async fn upload(
    State(toolbox): State<Arc<Toolbox>>,
    Query(at): Query<At>,
    request: Request,
) -> Result<StatusCode, Problem> {
    store(&toolbox, at.path, request).await?;
    Ok(StatusCode::OK)
}

async fn upload_v2(
    State(toolbox): State<Arc<Toolbox>>,
    Query(at): Query<At>,
    request: Request,
) -> Result<Response, Problem> {
    if toolbox.daemon == Daemon::V0_190 {
        return Ok(no_such_route());
    }
    let given = store(&toolbox, at.path, request).await?;
    let name = Path::new(&given)
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    let reply = json!({ "name": name, "path": given, "type": "file" });
    Ok(Json(reply).into_response())
}

/// Writes the body, or its field `file`, to `path`.
async fn store(
    toolbox: &Toolbox,
    path: Option<String>,
    request: Request,
) -> Result<String, Problem> {
    let given = required(path)?;
    let path = toolbox.path(&given);
    let kind = request
        .headers()
        .get(header::CONTENT_TYPE)
        .and_then(|v| v.to_str().ok());
    if !kind.is_some_and(|kind| kind.starts_with("multipart/form-data")) {
        let body = request
            .into_body()
            .into_data_stream()
            .map_err(io::Error::other);
        write(&path, body)
            .await
            .map_err(|e| unchanged(toolbox, &e, &given))?;
        return Ok(given);
    }
    let mut form = Multipart::from_request(request, &())
        .await
        .map_err(|e| invalid(e.body_text()))?;
    while let Some(field) = form
        .next_field()
        .await
        .map_err(|e| invalid(e.body_text()))?
    {
        if field.name() == Some("file") {
            write(&path, field_content(field))
                .await
                .map_err(|e| unchanged(toolbox, &e, &given))?;
            return Ok(given);
        }
    }
    Err(Problem::bad_request("bad request: no file"))
}

fn field_content(field: Field<'_>) -> impl Stream<Item = io::Result<Bytes>> {
    field.map_err(|error| io::Error::other(error.body_text()))
}

/// Creates or truncates `path`, its parents included, and writes what comes.
async fn write(path: &Path, content: impl Stream<Item = io::Result<Bytes>>) -> io::Result<u64> {
    if let Some(parent) = path.parent() {
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o755)
            .create(parent)
            .map_err(|error| match error.raw_os_error() {
                // As the daemon has it, a file in the place of a parent is not a directory.
                Some(libc::EEXIST) => io::Error::from_raw_os_error(libc::ENOTDIR),
                _ => error,
            })?;
    }
    let mut file = tokio::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o644)
        .open(path)
        .await?;
    let (mut written, mut content) = (0, std::pin::pin!(content));
    while let Some(chunk) = content.next().await {
        let chunk = chunk?;
        file.write_all(&chunk).await?;
        written += chunk.len() as u64;
    }
    // tokio writes behind; an error of the last write shows here.
    file.flush().await?;
    Ok(written)
}

async fn bulk_upload(
    State(toolbox): State<Arc<Toolbox>>,
    form: Result<Multipart, MultipartRejection>,
) -> Response {
    let Ok(mut form) = form else {
        let errors = json!({ "errors": ["invalid multipart form"] });
        return (StatusCode::BAD_REQUEST, Json(errors)).into_response();
    };
    let (mut files, mut errors) = (Vec::new(), Vec::new());
    let mut paths: HashMap<String, String> = HashMap::new();
    loop {
        let field = match form.next_field().await {
            Ok(Some(field)) => field,
            Ok(None) => break,
            Err(error) => {
                errors.push(error.body_text());
                break;
            }
        };
        let name = field.name().unwrap_or_default().to_owned();
        if let Some(index) = name.strip_suffix(".path") {
            match field.text().await {
                Ok(path) => drop(paths.insert(index.to_owned(), path.trim().to_owned())),
                Err(error) => errors.push(error.body_text()),
            }
        } else if let Some(index) = name.strip_suffix(".file") {
            let Some(given) = paths.get(index).filter(|path| !path.is_empty()) else {
                errors.push(format!("{name}: missing path"));
                continue;
            };
            let written = if given.ends_with('/') {
                Err(io::Error::from_raw_os_error(libc::EISDIR))
            } else {
                write(&toolbox.path(given), field_content(field)).await
            };
            match written {
                Ok(bytes) => files.push(json!({ "path": given, "bytes": bytes })),
                Err(error) => errors.push(format!("{given}: {}", go_words(&error))),
            }
        }
    }
    if errors.is_empty() {
        return Json(json!({ "files": files })).into_response();
    }
    let files = if files.is_empty() {
        Value::Null
    } else {
        Value::Array(files)
    };
    (
        StatusCode::BAD_REQUEST,
        Json(json!({ "errors": errors, "files": files })),
    )
        .into_response()
}

#[derive(Deserialize)]
struct Wanted {
    paths: Vec<String>,
}

async fn bulk_download(State(toolbox): State<Arc<Toolbox>>, body: Bytes) -> Response {
    let body: Option<Wanted> = serde_json::from_slice(&body).ok();
    let Some(Wanted { paths }) = body.filter(|body| !body.paths.is_empty()) else {
        let error = "request body must be {\"paths\": [ ... ]} and non-empty";
        return (StatusCode::BAD_REQUEST, Json(json!({ "error": error }))).into_response();
    };
    let parts = stream::iter(paths).then(move |given| {
        let toolbox = toolbox.clone();
        async move { part(&toolbox, &given).await }
    });
    let end = stream::once(async { Ok(Bytes::from(format!("\r\n--{BOUNDARY}--\r\n"))) });
    let kind = format!("multipart/form-data; boundary={BOUNDARY}");
    let body = Body::from_stream(parts.flatten().chain(end));
    ([(header::CONTENT_TYPE, kind)], body).into_response()
}

type Part = std::pin::Pin<Box<dyn Stream<Item = io::Result<Bytes>> + Send>>;

async fn part(toolbox: &Toolbox, given: &str) -> Part {
    let filename = given
        .replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace(['\r', '\n'], " ");
    let head = |name: &str, kind: &str, length: u64| {
        Bytes::from(format!(
            "\r\n--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"{name}\"; \
             filename=\"{filename}\"\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\r\n"
        ))
    };
    let opened = match required(Some(given.to_owned())) {
        Ok(given) => open(&toolbox.path(&given), &given).await,
        Err(problem) => Err(problem),
    };
    match opened {
        Ok((file, size)) => {
            let head = head("file", "application/octet-stream", size);
            Box::pin(stream::once(async { Ok(head) }).chain(content(file, size)))
        }
        Err(problem) => {
            let code = problem.code.unwrap_or("FILE_READ_FAILED");
            let error = json!({
                "statusCode": problem.status.as_u16(),
                "message": problem.message,
                "code": code,
                "source": "DAYTONA_DAEMON",
            });
            let error = Bytes::from(error.to_string());
            let head = head("error", "application/json", error.len() as u64);
            Box::pin(stream::iter([Ok(head), Ok(error)]))
        }
    }
}
