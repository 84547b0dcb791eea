//! Why something could not be done for a session, as whatever failed says it. It becomes text where it leaves
//! the plugin.

use crate::remote::RemoteError;

/// The reason.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum Error {
    /// Git, or what the project is like.
    #[error(transparent)]
    Project(#[from] git_bridge::Error),
    /// There is no sandbox, or the store cannot be had.
    #[error(transparent)]
    Sessions(#[from] sessions::Error),
    /// The service.
    #[error(transparent)]
    Service(#[from] daytona::Error),
    /// A file of this machine.
    #[error(transparent)]
    File(#[from] host::FileError),
    /// The runner in the sandbox did not answer.
    #[error(transparent)]
    Remote(#[from] RemoteError),
    /// The runner answered something else than it was asked.
    #[error("{}", runner_client::OTHER)]
    Answer,
    /// The plugin's own reason, or what the sandbox said, in words that are fit for the user.
    #[error("{0}")]
    Because(String),
}

impl From<String> for Error {
    fn from(reason: String) -> Error {
        Error::Because(reason)
    }
}

impl From<&str> for Error {
    fn from(reason: &str) -> Error {
        Error::Because(reason.into())
    }
}
