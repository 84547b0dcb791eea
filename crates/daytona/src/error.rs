//! What can go wrong between here and a sandbox, in the kinds that callers react to differently.
//!
//! What the API says counts. What a toolbox's address says may come from the daemon in the sandbox,
//! from the service's proxy or from something between: a proxy that could not ask the API answers
//! 401 as if the key were wrong. So it has kinds of its own ([`Error::Toolbox`], [`Error::Refused`],
//! [`Error::Killed`]), and no kind is told by the words of a message.

use crate::types::OLDEST_DAEMON;
use host::HttpError;

/// A result of this client.
pub type Result<T> = std::result::Result<T, Error>;

/// A failed request. Each text says what happened, to what, and what to do next.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// 401 from the API: only the API's own answer says something about the key.
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
    /// A toolbox's address answered with an error. It says nothing certain about the sandbox or the
    /// key: ask the API about the sandbox.
    #[error("the toolbox of sandbox {id} answers {status} ({message})")]
    Toolbox {
        /// The sandbox.
        id: String,
        /// HTTP status.
        status: u16,
        /// The words that came with it.
        message: String,
        /// When it may be tried again, if that was said.
        retry_after_ms: Option<u64>,
    },
    /// The daemon in the sandbox itself refused a request: that is its answer.
    #[error("sandbox {id} refused the request ({status}): {message}")]
    Refused {
        /// The sandbox.
        id: String,
        /// HTTP status.
        status: u16,
        /// The daemon's words.
        message: String,
    },
    /// 408 from execute: the script ran, was killed, and its output is lost. What it had left to
    /// itself lives on.
    #[error("Daytona ended the request after its time-out (408), and its answer is lost")]
    Killed,
    /// The sandbox's daemon is too old.
    #[error(
        "sandbox {id} has version {version} of Daytona's daemon, and version {}.{} or newer is needed. Use a newer snapshot, or update the Daytona installation that serves it.", OLDEST_DAEMON.0, OLDEST_DAEMON.1
    )]
    OldDaemon {
        /// The sandbox.
        id: String,
        /// What the API says of it.
        version: String,
    },
    /// A link to this port would be control of the sandbox.
    #[error(
        "port {0} belongs to Daytona itself, and whoever has a link to it controls the sandbox without a key. Let the server listen on another port."
    )]
    ReservedPort(u16),
    /// 500 and above from the API.
    #[error("Daytona is unavailable ({status} from {url}): {message}. Try again later.")]
    Unavailable {
        /// HTTP status.
        status: u16,
        /// What was asked.
        url: String,
        /// The service's words.
        message: String,
    },
    /// Any other 4xx from the API.
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
    /// True if the API may answer the same request a little later although nobody does anything: it
    /// is out, or busy.
    pub fn is_transient(&self) -> bool {
        match self {
            Error::Network(error) => !matches!(error, HttpError::TooLarge { .. }),
            Error::RateLimited { .. } | Error::Unavailable { .. } => true,
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
