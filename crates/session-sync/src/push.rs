//! Sessions of the past on their way into the store. What was accepted stays accepted, so a run that was
//! interrupted goes on where it was.

use crate::config::{is_excluded, is_private};
use crate::found::{Found, Read};
use crate::history::{self, Filter, History};
use crate::record::{Policy, Sums, message_records, session_record};
use crate::records::{MessageRecord, SessionRecord};
use crate::send::{Pass, SendError, Sender, requests};
use crate::spool::{Entry, Spool};
use crate::store::Failure;
use crate::store::MESSAGE;
use host::Host;
use serde_json::Value;
use std::collections::BTreeSet;
use std::sync::Arc;

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
    /// How many sessions the run looks at.
    #[serde(skip)]
    pub of: usize,
}

impl Pushed {
    fn count(&mut self, session: &Pages) {
        self.sessions += 1;
        self.kept += usize::from(session.is_kept);
    }

    /// What waits and is refused is counted once for a session, when its last page was sent.
    fn add(&mut self, pass: &Pass, is_last: bool) {
        self.messages += pass.messages;
        if is_last {
            self.left += pass.left;
            self.refused += pass.refused;
        }
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
    messages: Vec<(MessageRecord, String)>,
    /// When the session had changed last.
    updated: f64,
    /// Names the rules by which it leaves.
    policy: String,
    /// Where it works.
    directory: String,
    /// With the last page: the messages of all pages.
    all: Option<BTreeSet<String>>,
}

/// What a run meets.
enum Seen {
    /// It may leave.
    Leaving(Box<Leaving>),
    /// A session that stays on this machine.
    Kept(String),
}

/// What leaves of the project that was met last: sessions of one project are mostly near each other.
#[derive(Default)]
struct Projects {
    last: Option<(String, Policy)>,
}

impl Projects {
    async fn policy(&mut self, push: &Push<'_>, directory: &str) -> &Policy {
        let is_last = |(known, _): &(String, Policy)| known == directory;
        let policy = match self.last.take().filter(is_last) {
            Some((_, policy)) => policy,
            None => push.policy.in_project(&**push.host, directory).await,
        };
        &self.last.insert((directory.to_string(), policy)).1
    }
}

/// Everything a run needs.
pub struct Push<'a> {
    /// The machine.
    pub host: &'a Arc<dyn Host>,
    /// OpenCode's past.
    pub history: &'a History<'a>,
    /// What leaves.
    pub policy: &'a Policy,
    /// Projects that stay.
    pub exclude: &'a [String],
    /// What is known of the store.
    pub spool: &'a Spool,
    /// The store's URL.
    pub store: &'a str,
}

impl Push<'_> {
    /// Gives every session that a filter lets through to `see`, page by page.
    async fn each(
        &self,
        filter: &Filter,
        mut see: impl AsyncFnMut(Seen, &mut Pushed) -> Result<(), String>,
    ) -> Result<Pushed, String> {
        let mut projects = Projects::default();
        let all = self.history.sessions(filter).await?;
        let of = all.len();
        let mut found = Vec::new();
        for session in all {
            if !self.is_current(&session, &mut projects).await {
                found.push(session);
            }
        }
        let mut pushed = Pushed {
            of,
            sessions: of - found.len(),
            ..Pushed::default()
        };
        for batch in history::batches(&found) {
            let paged = matches!(batch, [one] if one.is_paged());
            if !paged {
                for read in self.history.read(batch).await? {
                    let mut session = Pages::default();
                    let seen = self.seen(read, &mut session, &mut projects, true).await;
                    see(seen, &mut pushed).await?;
                    pushed.count(&session);
                }
                continue;
            }
            let mut session = Pages::default();
            let pages = self.history.pages(&batch[0]).await?;
            for (n, ids) in pages.iter().enumerate() {
                if session.is_kept {
                    break;
                }
                if let Some(read) = self.history.page(&batch[0], ids).await? {
                    let is_last = n + 1 == pages.len();
                    let seen = self.seen(read, &mut session, &mut projects, is_last).await;
                    see(seen, &mut pushed).await?;
                }
            }
            pushed.count(&session);
        }
        Ok(pushed)
    }

    /// True if the store has all of a session as it is now: it need not be read.
    async fn is_current(&self, found: &Found, projects: &mut Projects) -> bool {
        let Ok(entry) = self.spool.look(&found.id).await else {
            return false;
        };
        let policy = projects.policy(self, found.directory()).await.name();
        entry.is_current(found.updated, &policy, self.store)
    }

    /// A page as it leaves, if the session does not stay on this machine.
    async fn seen(
        &self,
        read: Read,
        session: &mut Pages,
        projects: &mut Projects,
        is_last: bool,
    ) -> Seen {
        let conversation = read.conversation;
        let info = &conversation.info;
        session.is_kept = is_excluded(self.exclude, &info.directory) || is_private(&info.title);
        if session.is_kept {
            return Seen::Kept(info.id.clone());
        }
        let policy = projects.policy(self, &info.directory).await;
        session.sums.add(info, &conversation.messages);
        let messages = message_records(&conversation, policy);
        let ids = messages
            .iter()
            .map(|(message, _)| message.external_id.clone());
        session.ids.extend(ids.chain(read.unreadable));
        Seen::Leaving(Box::new(Leaving {
            session: session_record(info, &session.sums, policy),
            messages,
            updated: info.time.updated,
            policy: policy.name(),
            directory: info.directory.clone(),
            all: is_last.then(|| std::mem::take(&mut session.ids)),
        }))
    }

    /// Shows the requests that would be sent, and sends none: each with its path and its body.
    pub async fn rehearse(
        &self,
        filter: &Filter,
        mut see: impl FnMut(&'static str, &Value),
    ) -> Result<Pushed, String> {
        let mut last: Option<(String, Entry)> = None;
        self.each(filter, async |seen: Seen, pushed: &mut Pushed| {
            let Seen::Leaving(leaving) = seen else {
                return Ok(());
            };
            let session = &leaving.session.external_id;
            let mut entry = match last.take() {
                Some((id, entry)) if id == *session => entry,
                _ => self
                    .spool
                    .look(session)
                    .await
                    .map_err(|error| error.to_string())?,
            };
            leaving.to(&mut entry);
            for (path, body) in requests(session, &entry) {
                pushed.messages += usize::from(path == MESSAGE);
                see(path, &body);
            }
            entry.sent();
            last = Some((session.clone(), entry));
            Ok(())
        })
        .await
    }

    /// Sends what the store does not have. `progress` hears of each session: how many are done, of how many.
    pub async fn run(
        &self,
        filter: &Filter,
        sender: &Sender,
        mut progress: impl FnMut(usize, usize),
    ) -> Result<Pushed, String> {
        self.each(filter, async |seen: Seen, pushed: &mut Pushed| {
            let leaving = match seen {
                Seen::Leaving(leaving) => leaving,
                Seen::Kept(session) => {
                    let stays = self.spool.stay(&session).await;
                    return stays.map(drop).map_err(|error| error.to_string());
                }
            };
            let session = &leaving.session.external_id;
            let want = self.spool.update(session, |entry| leaving.to(entry));
            want.await.map_err(|error| error.to_string())?;
            let is_last = leaving.all.is_some();
            pushed.add(&send(self.host, sender, session).await?, is_last);
            if is_last {
                progress(pushed.sessions + 1, pushed.of);
            }
            Ok(())
        })
        .await
    }
}

impl Leaving {
    /// All of it is to be in the store.
    fn to(&self, entry: &mut Entry) {
        entry.directory.clone_from(&self.directory);
        // The sums of a session are known with its last page. Its title has to be there before its messages.
        let is_titled = entry.title.as_ref() == Some(&self.session.title);
        if self.all.is_some() || entry.store_id.is_none() || !is_titled {
            entry.add(&self.session);
        }
        entry.add_messages(&self.messages);
        if let Some(all) = &self.all {
            entry.updated = self.updated;
            entry.policy = Some(self.policy.clone());
            entry.keep(&self.session.external_id, all);
        }
    }
}

/// Sends what waits of one session, with patience. An error is one that ends the whole run.
pub async fn send(host: &Arc<dyn Host>, sender: &Sender, session: &str) -> Result<Pass, String> {
    let mut whole = Pass::default();
    let mut tries = 0;
    loop {
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
        // Another sender ends, or is taken for dead.
        tries += u32::from(!whole.is_elsewhere);
        host.sleep(pause).await;
    }
    Ok(whole)
}
