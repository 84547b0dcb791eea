//! The program's end of the one connection to a sandbox. The wire is described in the crate `carrier`.
//!
//! [`Connection::start`] gives a connection that lives until it is closed or replaced: it dials, and dials again
//! when it was lost or could not be had, each time after a longer pause and with an address that it has asked
//! for anew, because Daytona's token for a preview changes with each start of a sandbox. Whether that is worth
//! while is the caller's to judge, by [`State`]: a 401, for one, may be an old token or a sandbox that is gone, and
//! only the API can tell.
//!
//! What is open when the connection is lost is reset, at both ends. What is opened meanwhile waits, for at most a minute.
//!
//! Never: keep a sandbox asleep or awake on purpose (an open connection counts as activity, so close it when the
//! conversation sleeps), or trust what arrives; see `carrier` for the bounds.

mod dial;
mod keep;
mod state;

pub use carrier::{Breach, Lost, Secret, SecretError, Stream};
pub use dial::{Address, DialError, Locate};
pub use state::{State, Trouble};

use keep::Keeper;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Mutex, mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// How long a stream waits for a connection that is coming back.
const MAX_WAIT: Duration = Duration::from_secs(60);

/// Why no stream could be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The connection was closed.
    #[error("The connection to the sandbox was closed. Start another one.")]
    Closed,
    /// The connection was replaced.
    #[error(
        "Another connection to this sandbox has replaced this one. End the other one, or leave the sandbox to it."
    )]
    Replaced,
    /// All places were taken.
    #[error("All streams to the sandbox were in use for {} seconds. End one, or try again.", waited.as_secs())]
    Full {
        /// How long it was waited for.
        waited: Duration,
    },
    /// It did not come back in time, for this reason if one is known.
    #[error("The sandbox could not be reached for {} seconds{}", waited.as_secs(), reason.as_ref().map_or_else(|| ".".to_owned(), |reason| format!(": {reason}")))]
    TimedOut {
        /// How long it was waited for.
        waited: Duration,
        /// What the last try came to.
        reason: Option<Arc<Trouble>>,
    },
}

/// When things happen. For tests; nobody else has a reason to change them.
#[derive(Debug, Clone)]
pub struct Times {
    /// Time between two pings.
    pub ping_every: Duration,
    /// How long the answer to a ping may take.
    pub answer_within: Duration,
    /// The pause before the second try; later ones are up to sixty times as long.
    pub first_pause: Duration,
    /// How long a stream waits for a connection that is coming back.
    pub max_wait: Duration,
}

impl Default for Times {
    fn default() -> Self {
        let settings = carrier::Settings::of(carrier::Role::Program);
        Times {
            ping_every: settings.ping_every,
            answer_within: settings.answer_within,
            first_pause: Duration::from_millis(250),
            max_wait: MAX_WAIT,
        }
    }
}

/// A connection to a sandbox. Dropping it ends it.
pub struct Connection {
    states: watch::Receiver<State>,
    live: watch::Receiver<Option<carrier::Opener>>,
    inbound: Mutex<mpsc::Receiver<Stream>>,
    closing: watch::Sender<bool>,
    keeper: JoinHandle<()>,
    max_wait: Duration,
}

impl Connection {
    /// Begins to dial. `client` brings certificates and proxies; it must follow no redirect.
    pub fn start(client: reqwest::Client, locate: Arc<dyn Locate>, secret: Secret) -> Connection {
        Connection::start_with(client, locate, secret, Times::default())
    }

    /// The same with other times.
    pub fn start_with(
        client: reqwest::Client,
        locate: Arc<dyn Locate>,
        secret: Secret,
        times: Times,
    ) -> Connection {
        let (states_of, states) = watch::channel(State::Dialing);
        let (live_of, live) = watch::channel(None);
        let (closing, is_closing) = watch::channel(false);
        let max_wait = times.max_wait;
        let mut settings = carrier::Settings::of(carrier::Role::Program);
        settings.ping_every = times.ping_every;
        settings.answer_within = times.answer_within;
        let (arrivals, inbound) = mpsc::channel(settings.inbound);
        let keeper = Keeper {
            client,
            locate,
            secret,
            settings,
            first_pause: times.first_pause,
            states: states_of,
            live: live_of,
            arrivals,
            is_closing,
        };
        Connection {
            states,
            live,
            inbound: Mutex::new(inbound),
            closing,
            keeper: tokio::spawn(keeper.run()),
            max_wait,
        }
    }

    /// How it is, and what becomes of it.
    pub fn state(&self) -> watch::Receiver<State> {
        self.states.clone()
    }

    /// Opens a stream to OpenCode's port. While the connection is coming back it waits, for at most a minute.
    ///
    /// There is a stream before anybody has answered at that port: if nobody listens, it is reset.
    pub async fn open(&self) -> Result<Stream, OpenError> {
        match timeout(self.max_wait, self.open_when_live()).await {
            Ok(opened) => opened,
            Err(_) => Err(self.why_none()),
        }
    }

    /// Why there was no stream in all that time.
    fn why_none(&self) -> OpenError {
        let waited = self.max_wait;
        let reason = match &*self.states.borrow() {
            State::Live => return OpenError::Full { waited },
            State::Down(trouble) => Some(trouble.clone()),
            _ => None,
        };
        OpenError::TimedOut { waited, reason }
    }

    async fn open_when_live(&self) -> Result<Stream, OpenError> {
        let mut live = self.live.clone();
        loop {
            let is_live = |opener: &Option<carrier::Opener>| {
                opener.as_ref().is_some_and(|opener| !opener.is_lost())
            };
            // The keeper is gone when the connection is over.
            let opener = match live.wait_for(is_live).await {
                Ok(opener) => opener.clone(),
                Err(_) => {
                    return Err(match &*self.states.borrow() {
                        State::Replaced => OpenError::Replaced,
                        _ => OpenError::Closed,
                    });
                }
            };
            if let Some(opener) = opener
                && let Some(stream) = opener.open().await
            {
                return Ok(stream);
            }
        }
    }

    /// The next stream that the sandbox has opened; None when the connection is over. What is not accepted
    /// takes one of the sandbox's 64 places.
    pub async fn accept(&self) -> Option<Stream> {
        self.inbound.lock().await.recv().await
    }

    /// Ends the connection, and returns when it has ended.
    pub async fn close(&self) {
        let _ = self.closing.send(true);
        // The error is that the keeper has ended already.
        let _ = self.states.clone().wait_for(State::is_over).await;
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.keeper.abort();
    }
}
