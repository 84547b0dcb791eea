//! Sessions of the past on their way into the store. What was accepted stays accepted, so a run that was
//! interrupted goes on where it was.

use crate::config::{is_excluded, is_private};
use crate::history::{self, Database, Filter};
use crate::opencode::Conversation;
use crate::record::{MessageRecord, Policy, SessionRecord, records};
use crate::send::{Pass, SendError, Sender};
use crate::spool::Spool;
use crate::store::Failure;
use host::Host;
use std::rc::Rc;

/// How often one session is tried in a run.
const MAX_TRIES: u32 = 5;
/// The first pause after a failure.
const PAUSE_MS: u64 = 1_000;

/// What a run came to.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Pushed {
    /// Sessions that were looked at.
    pub sessions: usize,
    /// Sessions that stay on this machine, because they are private or excluded.
    pub kept: usize,
    /// Messages that the store has now, and had not before.
    pub messages: usize,
    /// Records that could not be sent.
    pub left: usize,
    /// Records that the store does not take.
    pub refused: usize,
}

impl Pushed {
    fn add(&mut self, pass: &Pass) {
        self.messages += pass.messages;
        self.left += pass.left;
        self.refused += pass.refused;
    }
}

/// A session that may leave.
struct Leaving {
    session: SessionRecord,
    messages: Vec<MessageRecord>,
    /// When it had changed last.
    updated: f64,
    /// How many sessions the run looks at.
    of: usize,
}

/// Everything a run needs.
pub struct Push<'a> {
    /// The machine.
    pub host: &'a Rc<dyn Host>,
    /// OpenCode's database.
    pub database: &'a dyn Database,
    /// What leaves.
    pub policy: &'a Policy,
    /// Projects that stay.
    pub exclude: &'a [String],
}

impl Push<'_> {
    /// True if a session stays on this machine.
    fn is_kept(&self, conversation: &Conversation) -> bool {
        let info = &conversation.info;
        is_excluded(self.exclude, &info.directory) || is_private(&info.title)
    }

    /// Gives every session that a filter lets through, and that may leave, to `see`.
    async fn each(
        &self,
        filter: &Filter,
        mut see: impl AsyncFnMut(Leaving, &mut Pushed) -> Result<(), String>,
    ) -> Result<Pushed, String> {
        let mut pushed = Pushed::default();
        let found = history::sessions(self.database, filter).await?;
        for batch in history::batches(&found) {
            for conversation in history::read(self.database, batch).await? {
                pushed.sessions += 1;
                if self.is_kept(&conversation) {
                    pushed.kept += 1;
                    continue;
                }
                let (session, messages) = records(&conversation, self.policy);
                let leaving = Leaving {
                    session,
                    messages,
                    updated: conversation.info.time.updated,
                    of: found.len(),
                };
                see(leaving, &mut pushed).await?;
            }
        }
        Ok(pushed)
    }

    /// Shows what would leave, and sends nothing.
    pub async fn rehearse(
        &self,
        filter: &Filter,
        mut see: impl FnMut(&SessionRecord, &[MessageRecord]),
    ) -> Result<Pushed, String> {
        self.each(filter, async |leaving: Leaving, pushed: &mut Pushed| {
            pushed.messages += leaving.messages.len();
            see(&leaving.session, &leaving.messages);
            Ok(())
        })
        .await
    }

    /// Sends what the store does not have. `progress` hears of each session: how many are done, of how many.
    pub async fn run(
        &self,
        filter: &Filter,
        spool: &Spool,
        sender: &Sender,
        mut progress: impl FnMut(usize, usize),
    ) -> Result<Pushed, String> {
        self.each(filter, async |leaving: Leaving, pushed: &mut Pushed| {
            let session = &leaving.session.external_id;
            let want = spool.update(session, |entry| {
                entry.updated = leaving.updated;
                entry.want(&leaving.session, &leaving.messages);
            });
            want.await.map_err(|error| error.to_string())?;
            pushed.add(&send(self.host, sender, session).await?);
            progress(pushed.sessions, leaving.of);
            Ok(())
        })
        .await
    }
}

/// Sends what waits of one session, with patience. An error is one that ends the whole run.
pub async fn send(host: &Rc<dyn Host>, sender: &Sender, session: &str) -> Result<Pass, String> {
    let mut whole = Pass::default();
    for tries in 0.. {
        let pause = match sender.session(session).await {
            Ok(pass) => {
                let messages = whole.messages + pass.messages;
                whole = Pass { messages, ..pass };
                if whole.left == 0 || tries >= MAX_TRIES {
                    break;
                }
                whole.later_ms.max(PAUSE_MS)
            }
            Err(SendError::Store(Failure::Pause { ms, .. })) if tries < MAX_TRIES => {
                ms.max(PAUSE_MS << tries)
            }
            Err(error @ SendError::Store(Failure::Away(_) | Failure::Other { .. })) => {
                if tries >= MAX_TRIES {
                    return Err(error.to_string());
                }
                PAUSE_MS << tries
            }
            Err(error) => return Err(error.to_string()),
        };
        host.sleep(pause).await;
    }
    Ok(whole)
}
