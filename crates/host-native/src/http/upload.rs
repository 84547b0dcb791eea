//! Multipart bodies, whose files are read while they are sent.

use host::{Part, PartContent};
use reqwest::multipart;
use std::io::{self, SeekFrom};
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio_util::io::ReaderStream;

/// How much of a file is in memory at a time.
const PIECE: usize = 256 * 1024;

pub(super) async fn form(parts: Vec<Part>) -> io::Result<multipart::Form> {
    // Names are sent as they are, but for what would end them.
    let mut form = multipart::Form::new().percent_encode_attr_chars();
    form = form.percent_encode_noop();
    for Part { name, content } in parts {
        form = match content {
            PartContent::Text(text) => form.text(name, text),
            PartContent::Bytes(bytes) => form.part(name, as_file(multipart::Part::bytes(bytes))?),
            PartContent::File(path) => form.part(name, slice(&path, 0, u64::MAX).await?),
            PartContent::Slice {
                path,
                offset,
                length,
            } => form.part(name, slice(&path, offset, length).await?),
        };
    }
    Ok(form)
}

fn as_file(part: multipart::Part) -> io::Result<multipart::Part> {
    let part = part.file_name("file");
    part.mime_str("application/octet-stream")
        .map_err(io::Error::other)
}

/// At most `length` bytes of a file from `offset` on.
async fn slice(path: &str, offset: u64, length: u64) -> io::Result<multipart::Part> {
    let named = |error: io::Error| io::Error::new(error.kind(), format!("{path}: {error}"));
    let mut file = tokio::fs::File::open(path).await.map_err(named)?;
    let whole = file.metadata().await.map_err(named)?;
    if whole.is_dir() {
        return Err(named(io::ErrorKind::IsADirectory.into()));
    }
    let length = length.min(whole.len().saturating_sub(offset));
    file.seek(SeekFrom::Start(offset)).await.map_err(named)?;
    // A file that becomes shorter meanwhile is an error of the request.
    let stream = ReaderStream::with_capacity(file.take(length), PIECE);
    let body = reqwest::Body::wrap_stream(stream);
    as_file(multipart::Part::stream_with_length(body, length))
}
