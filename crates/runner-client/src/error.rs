//! Why a request to the runner has no reply.

use crate::target::TargetError;

/// Why a call has no reply.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error<E> {
    /// No sandbox.
    #[error("The sandbox of this session cannot be used: {0}")]
    Target(E),
    /// The service says no, for good.
    #[error("The sandbox cannot be reached: {0}")]
    Daytona(#[from] daytona::Error),
    /// It runs, and still answers nothing that can be used.
    #[error(
        "The sandbox cannot be reached, although Daytona says that it runs and takes the API key: {0}. Try again in a minute; if it stays so, restart the sandbox in the Daytona dashboard."
    )]
    Running(daytona::Error),
    /// Bytes arrive, but no reply.
    #[error(
        "The sandbox answered, but its reply was {0} each time. The call may have had its effect; look before you repeat it."
    )]
    Damaged(String),
    /// It does not start in this sandbox.
    #[error("The runner does not start in this sandbox: {0}")]
    Runner(String),
    /// The package has no runner for this machine.
    #[error(
        "This sandbox is a {0} machine, and the package has runners for {1} only. Use another snapshot or image."
    )]
    Arch(String, String),
    /// Nobody wants it any more.
    #[error("Tool execution aborted")]
    Cancelled,
    /// It was sent at least once, and nobody said what came of it: what it began may go on.
    #[error("{0}")]
    Open(String),
    /// The package is not whole.
    #[error("The package is not complete: {0}. Install it again.")]
    Package(String),
}

impl<E: TargetError> Error<E> {
    /// True if the way to the sandbox failed: what runs there goes on.
    pub fn is_of_the_way(&self) -> bool {
        let error = match self {
            Error::Target(error) => error.of_service(),
            Error::Daytona(error) | Error::Running(error) => Some(error),
            Error::Damaged(_) | Error::Open(_) => return true,
            _ => None,
        };
        error.is_some_and(|error| {
            !matches!(
                error,
                daytona::Error::Failed { .. } | daytona::Error::NotFound { .. }
            )
        })
    }

    /// The same, if the request may have begun something that nobody has ended.
    pub(crate) fn open_if(self, began: bool) -> Self {
        match self {
            // It has a way of its own.
            Error::Daytona(daytona::Error::Killed) => self,
            error if began && error.is_of_the_way() => Error::Open(error.to_string()),
            error => error,
        }
    }
}
