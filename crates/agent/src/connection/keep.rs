//! Keeps a connection: dials, drives, and dials again.

use super::dial::{DialError, Locate, dial};
use super::state::{State, Trouble};
use carrier::{CLOSED, Lost, Opener, Role, Secret, Settings, Stream, link};
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher as _, Hasher as _};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, timeout};

/// How much longer than the first pause the last one is.
const LONGEST: u32 = 60;
/// How long the other end may take to hear of a close.
const FAREWELL: Duration = Duration::from_secs(2);
/// How long an address may take to be had, with all that has to be asked for it.
const MAX_LOCATE: Duration = Duration::from_secs(60);

pub(super) struct Keeper {
    pub(super) client: reqwest::Client,
    pub(super) locate: Arc<dyn Locate>,
    pub(super) secret: Secret,
    pub(super) settings: Settings,
    pub(super) first_pause: Duration,
    pub(super) states: watch::Sender<State>,
    pub(super) live: watch::Sender<Option<Opener>>,
    pub(super) arrivals: mpsc::Sender<Stream>,
    pub(super) is_closing: watch::Receiver<bool>,
}

impl Keeper {
    /// Ends when the connection is over.
    pub(super) async fn run(self) {
        let mut is_closing = self.is_closing.clone();
        let longest = self.first_pause * LONGEST;
        let mut pause = self.first_pause;
        loop {
            let began = Instant::now();
            let Some(trouble) = self.live_once().await else {
                self.states.send_replace(State::Closed);
                return;
            };
            if matches!(trouble, Trouble::Lost(Lost::Replaced)) {
                self.states.send_replace(State::Replaced);
                return;
            }
            // One that held for a while was a good one.
            if began.elapsed() > longest {
                pause = self.first_pause;
            }
            self.states.send_replace(State::Down(Arc::new(trouble)));
            // A close ends the pause, and the next round.
            let _ = timeout(part(pause), closed(&mut is_closing)).await;
            pause = (pause * 2).min(longest);
        }
    }

    /// One connection from its dialing to its end. None if it was closed by us.
    async fn live_once(&self) -> Option<Trouble> {
        let mut is_closing = self.is_closing.clone();
        let dialed = tokio::select! {
            dialed = self.dial() => dialed,
            () = closed(&mut is_closing) => return None,
        };
        let io = match dialed {
            Ok(io) => io,
            Err(error) => return Some(error.into()),
        };
        let link = link(
            io,
            Role::Program,
            self.settings.clone(),
            self.arrivals.clone(),
        )
        .await;
        let mut driver = std::pin::pin!(link.driver);
        self.live.send_replace(Some(link.opener.clone()));
        self.states.send_replace(State::Live);
        let lost = tokio::select! {
            lost = &mut driver => Some(lost.into()),
            () = closed(&mut is_closing) => {
                link.opener.close(CLOSED);
                let _ = timeout(FAREWELL, driver).await;
                None
            }
        };
        self.live.send_replace(None);
        lost
    }

    async fn dial(&self) -> Result<reqwest::Upgraded, DialError> {
        let located = timeout(MAX_LOCATE, self.locate.locate()).await;
        let located = located.unwrap_or_else(|_| {
            Err(format!("it took more than {} seconds", MAX_LOCATE.as_secs()).into())
        });
        let address = located.map_err(DialError::Unlocated)?;
        dial(&self.client, address, &self.secret).await
    }
}

/// Waits until somebody closes the connection.
async fn closed(is_closing: &mut watch::Receiver<bool>) {
    // One that was dropped is closed, too.
    let _ = is_closing.wait_for(|is| *is).await;
}

/// Half of a pause to all of it, so that connections that were lost together do not all come back together.
fn part(pause: Duration) -> Duration {
    let chance = RandomState::new().build_hasher().finish() as u32;
    pause / 2 + (pause / 2).mul_f64(f64::from(chance) / f64::from(u32::MAX))
}
