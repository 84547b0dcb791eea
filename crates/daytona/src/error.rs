//! What can go wrong between here and a sandbox, in the kinds that callers react to differently.
//!
//! What the API says counts. What a toolbox's address says may come from the daemon in the sandbox,
//! from the service's proxy or from something between: a proxy that could not ask the API answers
//! 401 as if the key were wrong. So it has kinds of its own ([`Error::Toolbox`], [`Error::Refused`],
//! [`Error::Killed`]), and no kind is told by the words of a message.

use crate::daemon::OLDEST_DAEMON;
use host::{CertificateFault, HttpError};

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
    #[error("Daytona forbids this (403 from {url}): {message}. {out}", out = refusal_way_out(message).unwrap_or("Check the key's scopes, the organization and the region."))]
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
    #[error("Daytona rejected {what} ({status}): {message}{out}", out = refusal_way_out(message).map(|out| format!(". {out}")).unwrap_or_default())]
    Rejected {
        /// HTTP status.
        status: u16,
        /// What was asked for.
        what: String,
        /// The service's words.
        message: String,
    },
    /// No response.
    #[error("{0}. {out}", out = way_out(.0))]
    Network(#[from] HttpError),
    /// A proxy answered, and not the service.
    #[error(
        "the proxy {address} that {variable} names answers {status} and passes no request on to {host}, so nothing was sent. {out}", out = proxy_way_out(*status, variable)
    )]
    Proxy {
        /// HTTP status.
        status: u16,
        /// The variable that names it.
        variable: &'static str,
        /// Host and port of the proxy.
        address: String,
        /// Where the request should have gone.
        host: String,
    },
    /// Something else than the API answers there.
    #[error(
        "{url} is not Daytona's API: it answers {status} and {answer}. Set DAYTONA_API_URL (or the option `apiUrl`) to the API's base URL, which ends with /api, such as https://app.daytona.io/api."
    )]
    NotTheApi {
        /// The base URL that was asked.
        url: String,
        /// HTTP status.
        status: u16,
        /// With what.
        answer: &'static str,
    },
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
        "sandbox {id} failed: {reason}. Look at it in the Daytona dashboard: what has not come home from it is there as long as it is not deleted. If new ones fail too, check the snapshot."
    )]
    Failed {
        /// The sandbox.
        id: String,
        /// The service's words.
        reason: String,
    },
    /// Another snapshot has the name.
    #[error(
        "there is a snapshot {name} at Daytona already, and names are unique. Choose another name."
    )]
    SnapshotTaken {
        /// The name.
        name: String,
    },
    /// No snapshot came of it.
    #[error(
        "the snapshot {name} was not made: {reason}. Try again, with another name if this one stays taken."
    )]
    SnapshotFailed {
        /// The name.
        name: String,
        /// Why.
        reason: String,
    },
    /// A snapshot did not get there in time.
    #[error(
        "the snapshot {name} is still {state} after {seconds} s. Try again later; the Daytona dashboard shows what is left of it."
    )]
    SnapshotTooSlow {
        /// The name.
        name: String,
        /// What it is.
        state: String,
        /// How long was waited.
        seconds: u64,
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
            Error::Network(error) => error.is_passing(),
            Error::Proxy { status, .. } => *status >= 500 || *status == 429,
            Error::RateLimited { .. } | Error::Unavailable { .. } => true,
            _ => false,
        }
    }

    /// True if nobody said what became of the request: it may still have its effect.
    pub fn is_unanswered(&self) -> bool {
        match self {
            Error::Network(error) => !error.had_no_effect(),
            Error::Unavailable { .. } | Error::Malformed { .. } => true,
            _ => false,
        }
    }

    /// True if the request certainly had no effect.
    pub fn had_no_effect(&self) -> bool {
        match self {
            Error::Network(error) => error.had_no_effect(),
            Error::Proxy { .. }
            | Error::NotTheApi { .. }
            | Error::RateLimited { .. }
            | Error::Unauthorized { .. }
            | Error::Forbidden { .. } => true,
            _ => false,
        }
    }
}

/// What to do about a refusal, as far as its words tell; they decide nothing else.
fn refusal_way_out(message: &str) -> Option<&'static str> {
    let message = message.to_lowercase();
    let has = |words: &[&str]| words.iter().any(|word| message.contains(word));
    if has(&["suspended", "payment", "credit", "billing"]) {
        Some("Look at the organization and its billing in the Daytona dashboard.")
    } else if has(&["limit", "quota", "exceeded", "capacity"]) {
        Some(
            "Stop or delete sandboxes that are not needed any more, ask for fewer `resources`, or raise the organization's limits in the Daytona dashboard.",
        )
    } else {
        None
    }
}

/// What to do about a request without a response.
fn way_out(error: &HttpError) -> &'static str {
    match error {
        HttpError::Certificate { fault, .. } => match fault {
            CertificateFault::Unverified => {
                "If a proxy of yours or your own Daytona has signed it, name the file with the certificate of its authority in NODE_EXTRA_CA_CERTS and start OpenCode again."
            }
            CertificateFault::Expired => {
                "Check the clock of this machine, and have the server's certificate renewed."
            }
            CertificateFault::OtherName => {
                "Check how DAYTONA_API_URL is spelled, and whether a proxy answers in the server's place."
            }
        },
        HttpError::Tls { .. } => {
            "Check DAYTONA_API_URL (https or http, and the port), and whether something between here and there breaks the connection off."
        }
        HttpError::Proxy { .. } => {
            "Check that variable and the proxy, or name Daytona's host in NO_PROXY."
        }
        HttpError::Name { within, .. } if !within.contains("://") => {
            "Check how the proxy is spelled there, and the network (DNS)."
        }
        HttpError::Name { .. } => "Check how DAYTONA_API_URL is spelled, and the network (DNS).",
        HttpError::Request { .. } => "Check the API key and DAYTONA_API_URL for stray characters.",
        _ => "Check the network and DAYTONA_API_URL.",
    }
}

/// What to do about a proxy that passes nothing on.
fn proxy_way_out(status: u16, variable: &str) -> String {
    match status {
        407 => format!(
            "It wants to know who asks: put user and password into {variable} (http://user:password@host:port), or name the host in NO_PROXY."
        ),
        500.. => "It may be out of order, or not reach the host: try again later, or name the host in NO_PROXY.".into(),
        _ => "It does not allow this: ask whoever runs it, or name the host in NO_PROXY.".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::Error;

    #[test]
    fn a_refusal_says_what_helps_against_it() {
        let forbidden = |message: &str| Error::Forbidden {
            url: "u".into(),
            message: message.into(),
        };
        let rejected = |message: &str| Error::Rejected {
            status: 400,
            what: "a sandbox".into(),
            message: message.into(),
        };
        for (error, helps, not) in [
            (forbidden("Forbidden resource"), "scopes", "limits"),
            (
                forbidden("Total disk limit exceeded. Maximum allowed: 30"),
                "limits",
                "scopes",
            ),
            (forbidden("Organization quota exceeded"), "limits", "scopes"),
            (
                forbidden("Organization is suspended: Please verify"),
                "billing",
                "scopes",
            ),
            (rejected("Total CPU limit exceeded"), "limits", "scopes"),
            (
                rejected("name must be a string"),
                "must be a string",
                "limits",
            ),
        ] {
            let text = error.to_string();
            assert!(text.contains(helps) && !text.contains(not), "{text}");
        }
    }
}
