//! Sessions of the past on their way into the store. What was accepted stays accepted, so a run that was
//! interrupted goes on where it was.

use crate::config::{is_excluded, is_private};
use crate::history::{self, Filter, History, Read};
use crate::record::{MessageRecord, Policy, SessionRecord, Sums, message_records, session_record};
use crate::send::{Pass, SendError, Sender};
use crate::spool::Spool;
use crate::store::Failure;
use host::Host;
use std::collections::BTreeSet;
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
    fn count(&mut self, session: &Pages) {
        self.sessions += 1;
        self.kept += usize::from(session.is_kept);
    }

    fn add(&mut self, pass: &Pass) {
        self.messages += pass.messages;
        self.left += pass.left;
        self.refused += pass.refused;
    }
}

/// What the pages of a session have come to so far.
#[derive(Default)]
struct Pages {
    sums: Sums,
    ids: BTreeSet<String>,
    is_kept: bool,
}

/// A session that may leave, or a page of one.
struct Leaving {
    session: SessionRecord,
    messages: Vec<MessageRecord>,
    /// When the session had changed last.
    updated: f64,
    /// With the last page: the messages of all pages.
    all: Option<BTreeSet<String>>,
    /// How many sessions the run looks at.
    of: usize,
}

/// Everything a run needs.
pub struct Push<'a> {
    /// The machine.
    pub host: &'a Rc<dyn Host>,
    /// OpenCode's past.
    pub history: &'a History<'a>,
    /// What leaves.
    pub policy: &'a Policy,
    /// Projects that stay.
    pub exclude: &'a [String],
}

impl Push<'_> {
    /// Gives every session that a filter lets through, and that may leave, to `see`, page by page.
    async fn each(
        &self,
        filter: &Filter,
        mut see: impl AsyncFnMut(Leaving, &mut Pushed) -> Result<(), String>,
    ) -> Result<Pushed, String> {
        let mut pushed = Pushed::default();
        let found = self.history.sessions(filter).await?;
        for batch in history::batches(&found) {
            if let [one] = batch
                && one.is_paged()
            {
                let mut session = Pages::default();
                let pages = self.history.pages(one).await?;
                for (n, ids) in pages.iter().enumerate() {
                    if let Some(read) = self.history.page(one, ids).await? {
                        let is_last = n + 1 == pages.len();
                        let leaving = self.leaving(read, &mut session, is_last, found.len());
                        match leaving {
                            Some(leaving) => see(leaving, &mut pushed).await?,
                            None => break,
                        }
                    }
                }
                pushed.count(&session);
                continue;
            }
            for read in self.history.read(batch).await? {
                let mut session = Pages::default();
                if let Some(leaving) = self.leaving(read, &mut session, true, found.len()) {
                    see(leaving, &mut pushed).await?;
                }
                pushed.count(&session);
            }
        }
        Ok(pushed)
    }

    /// A page as it leaves; none if the session stays on this machine.
    fn leaving(
        &self,
        read: Read,
        session: &mut Pages,
        is_last: bool,
        of: usize,
    ) -> Option<Leaving> {
        let conversation = read.conversation;
        let info = &conversation.info;
        session.is_kept = is_excluded(self.exclude, &info.directory) || is_private(&info.title);
        if session.is_kept {
            return None;
        }
        session.sums.add(info, &conversation.messages);
        let messages = message_records(&conversation, self.policy);
        let ids = messages.iter().map(|message| message.external_id.clone());
        session.ids.extend(ids.chain(read.unreadable));
        Some(Leaving {
            session: session_record(info, &session.sums, self.policy),
            messages,
            updated: info.time.updated,
            all: is_last.then(|| std::mem::take(&mut session.ids)),
            of,
        })
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
                entry.add(&leaving.session, &leaving.messages);
                if let Some(all) = &leaving.all {
                    entry.updated = leaving.updated;
                    entry.keep(session, all);
                }
            });
            want.await.map_err(|error| error.to_string())?;
            pushed.add(&send(self.host, sender, session).await?);
            if leaving.all.is_some() {
                progress(pushed.sessions + 1, leaving.of);
            }
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
