//! What can go wrong between here and a sandbox, in the kinds that callers react to differently.

use host::HttpError;

/// A result of this client.
pub type Result<T> = std::result::Result<T, Error>;

/// A failed request. Each text says what happened, to what, and what to do next.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// 401.
    #[error(
        "Daytona refused the API key (401 from {url}). Check DAYTONA_API_KEY and that it belongs to this API URL."
    )]
    Unauthorized {
        /// What was asked.
        url: String,
    },
    /// 403.
    #[error(
        "Daytona forbids this (403 from {url}): {message}. Check the key's scopes, the organization and the region."
    )]
    Forbidden {
        /// What was asked.
        url: String,
        /// The service's words.
        message: String,
    },
    /// 404.
    #[error("Daytona does not know {what} (404): {message}")]
    NotFound {
        /// What was asked for.
        what: String,
        /// The service's words.
        message: String,
    },
    /// 409.
    #[error("Daytona reports a conflict on {what} (409): {message}")]
    Conflict {
        /// What was asked for.
        what: String,
        /// The service's words.
        message: String,
    },
    /// 429.
    #[error("Daytona's rate limit is reached (429). It may be tried again in {} s.", retry_after_ms.div_ceil(1000))]
    RateLimited {
        /// When it may be tried again.
        retry_after_ms: u64,
    },
    /// The sandbox is there but does not run: stopped, archived, or its daemon is not up.
    #[error("the sandbox is not running ({status}): {message}")]
    NotRunning {
        /// HTTP status.
        status: u16,
        /// The service's words.
        message: String,
    },
    /// 408 from execute: it ran, was killed, and its output is lost.
    #[error("Daytona killed the command after its time-out (408)")]
    Killed,
    /// 500 and above.
    #[error("Daytona is unavailable ({status} from {url}): {message}. Try again later.")]
    Unavailable {
        /// HTTP status.
        status: u16,
        /// What was asked.
        url: String,
        /// The service's words.
        message: String,
    },
    /// Any other 4xx.
    #[error("Daytona rejected {what} ({status}): {message}")]
    Rejected {
        /// HTTP status.
        status: u16,
        /// What was asked for.
        what: String,
        /// The service's words.
        message: String,
    },
    /// No response.
    #[error("{0}. Check the network and DAYTONA_API_URL.")]
    Network(#[from] HttpError),
    /// A response that is not what the API promises.
    #[error("Daytona answered {what} with something unexpected: {reason}")]
    Malformed {
        /// What was asked for.
        what: String,
        /// Why it cannot be used.
        reason: String,
    },
    /// The sandbox ended in an error state.
    #[error(
        "sandbox {id} failed: {reason}. Delete it in the Daytona dashboard if it stays, and check the snapshot."
    )]
    Failed {
        /// The sandbox.
        id: String,
        /// The service's words.
        reason: String,
    },
    /// The sandbox did not reach the state in time.
    #[error(
        "sandbox {id} did not become {wanted} within {seconds} s. It may still do so: try again."
    )]
    TooSlow {
        /// The sandbox.
        id: String,
        /// The state waited for.
        wanted: &'static str,
        /// How long was waited.
        seconds: u64,
    },
}

impl Error {
    /// True if the same request may succeed a little later although nobody does anything.
    pub fn is_transient(&self) -> bool {
        match self {
            Error::Network(error) => !matches!(error, HttpError::TooLarge { .. }),
            Error::RateLimited { .. } | Error::Unavailable { .. } => true,
            Error::Conflict { message, .. } => {
                message.contains("state change in progress")
                    || message.contains("modified by another operation")
            }
            Error::Rejected { message, .. } => message.contains("No available runners"),
            _ => false,
        }
    }

    /// True if nobody said what became of the request: it may still have its effect.
    pub fn is_unanswered(&self) -> bool {
        match self {
            Error::Network(error) => !matches!(error, HttpError::Connect { .. }),
            Error::Unavailable { .. } | Error::Malformed { .. } => true,
            _ => false,
        }
    }

    /// True if the request certainly had no effect.
    pub fn had_no_effect(&self) -> bool {
        matches!(
            self,
            Error::Network(HttpError::Connect { .. })
                | Error::RateLimited { .. }
                | Error::Unauthorized { .. }
                | Error::Forbidden { .. }
        )
    }
}
