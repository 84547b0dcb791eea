//! Where a response's body goes: into memory, or to a file as it comes.

use crate::files;
use host::HttpError;
use tokio::io::AsyncWriteExt;

pub(super) enum Saving {
    Memory(Vec<u8>),
    File(tokio::fs::File, String),
}

impl Saving {
    /// From byte 0 on the file is a new one; from any other, it is there and keeps what is before.
    pub(super) async fn open(to: Option<(String, u64)>, url: &str) -> Result<Saving, HttpError> {
        let Some((path, offset)) = to else {
            return Ok(Saving::Memory(Vec::new()));
        };
        let opening = path.clone();
        let opened = tokio::task::spawn_blocking(move || {
            let mut options = files::private();
            if offset == 0 {
                options.create(true).truncate(true);
            }
            let mut file = options.open(&opening)?;
            std::io::Seek::seek(&mut file, std::io::SeekFrom::Start(offset))?;
            Ok(file)
        });
        let opened = opened
            .await
            .unwrap_or_else(|error| Err(std::io::Error::other(error)));
        let file = opened.map_err(|error| not_saved(url, &path, error))?;
        Ok(Saving::File(file.into(), path))
    }

    pub(super) async fn take(&mut self, chunk: &[u8], url: &str) -> Result<(), HttpError> {
        match self {
            Saving::Memory(body) => body.extend_from_slice(chunk),
            Saving::File(file, path) => {
                let written = file.write_all(chunk).await;
                written.map_err(|error| not_saved(url, path, error))?;
            }
        }
        Ok(())
    }

    /// The body, if it is in memory; a file is written when this comes back.
    pub(super) async fn end(self, url: &str) -> Result<Vec<u8>, HttpError> {
        match self {
            Saving::Memory(body) => Ok(body),
            Saving::File(mut file, path) => {
                let written = file.flush().await;
                written.map_err(|error| not_saved(url, &path, error))?;
                Ok(Vec::new())
            }
        }
    }
}

/// The request had its effect, and what it answered is lost.
fn not_saved(url: &str, path: &str, error: std::io::Error) -> HttpError {
    HttpError::Dropped {
        url: url.into(),
        reason: format!("{path}: {error}"),
    }
}
