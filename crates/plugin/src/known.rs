//! What this process knows of each session of OpenCode. It is one value per session, made when the process
//! first hears of the session, and forgotten in one place when the session is over ([`Known::forget`]).

use crate::transfer::size::Size;
use futures::channel::oneshot;
use futures::lock::Mutex;
use git_bridge::{Packed, Start};
use sessions::Undo;
use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::rc::Rc;

/// A session tree deeper than this is a loop.
pub(crate) const MAX_DEPTH: usize = 16;

/// The sessions, by their ids.
#[derive(Default)]
pub(crate) struct Known {
    sessions: RefCell<HashMap<String, Rc<Session>>>,
}

/// One session. What concerns the sandbox is with the root of the session's tree, whose sandbox it is.
#[derive(Default)]
pub(crate) struct Session {
    /// Its parent, as OpenCode said; a root session has none.
    pub(crate) parent: RefCell<Option<Option<String>>>,
    /// Counts up when the session does anything, so that an idle timer knows it is out of date.
    pub(crate) activity: Cell<u64>,
    /// Instruction files that it has seen: OpenCode shows each once.
    pub(crate) loaded: RefCell<Vec<String>>,
    /// What the user wants; commits are named by it.
    pub(crate) turn: RefCell<Option<Turn>>,
    /// How far the user went back in it.
    pub(crate) undo: Following,
    /// Its undone messages are being removed: the user goes on from there.
    pub(crate) is_removing: Cell<bool>,
    /// Its sandbox is kept awake.
    pub(crate) is_kept_awake: Cell<bool>,
    /// It has commands in the background.
    pub(crate) has_background: Cell<bool>,
    /// Its work is more than may come home: the state of it that the user and the model know of.
    pub(crate) too_much: RefCell<Option<String>>,
    /// Its work could not come home because nothing could be reached.
    pub(crate) waits_for_service: Cell<bool>,
    /// What the model must know of its sandbox and has not been told.
    pub(crate) remark: RefCell<String>,
    /// Bytes that were packed for it.
    pub(crate) packed_bytes: Cell<u64>,
    /// What was packed while its sandbox was created.
    pub(crate) ready: RefCell<Option<Ready>>,
    /// How far the preparation of its sandbox is.
    pub(crate) preparation: Preparation,
}

/// What the user wanted last: it names the commit.
#[derive(Clone, Debug, Default)]
pub(crate) struct Turn {
    /// The user's message.
    pub(crate) id: String,
    /// Its first line.
    pub(crate) subject: String,
}

/// How far the user went back in a session, as the store has it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Undone(pub(crate) Option<Undo>);

/// What a session's sandbox must follow.
#[derive(Default)]
pub(crate) struct Following {
    /// Held while it follows; what is known of the store.
    pub(crate) known: Mutex<Option<Undone>>,
    /// What OpenCode has told since, in its order: the first undone message, and whether the user
    /// went on from there.
    pub(crate) news: RefCell<VecDeque<(Option<String>, bool)>>,
}

/// What a session's sandbox starts from. There is no pack if the directory is no project: the sandbox is empty then.
pub(crate) struct Ready {
    pub(crate) start: Start,
    pub(crate) packed: Option<Packed>,
}

/// The preparation of a session's sandbox.
#[derive(Default)]
pub(crate) struct Preparation {
    /// While it goes on: when it began, when something was said last, and what that began with.
    pub(crate) times: RefCell<Option<(u64, u64, String)>>,
    /// Ends what goes on for it.
    pub(crate) stops: RefCell<Vec<oneshot::Sender<()>>>,
    /// Why it must not go on, if it must not.
    pub(crate) stopped: RefCell<Option<String>>,
    /// How large the project is that is packed for it, and the disk in GiB that it is packed for, as far as
    /// they are known.
    pub(crate) size: Cell<(Option<Size>, Option<f64>)>,
}

impl Known {
    /// A session, which is known from now on.
    pub(crate) fn of(&self, session: &str) -> Rc<Session> {
        let mut sessions = self.sessions.borrow_mut();
        Rc::clone(sessions.entry(session.into()).or_default())
    }

    /// A session, if it is known.
    pub(crate) fn find(&self, session: &str) -> Option<Rc<Session>> {
        self.sessions.borrow().get(session).cloned()
    }

    /// All that are known.
    pub(crate) fn all(&self) -> Vec<(String, Rc<Session>)> {
        let sessions = self.sessions.borrow();
        let pairs = sessions.iter();
        pairs
            .map(|(id, session)| (id.clone(), Rc::clone(session)))
            .collect()
    }

    /// The parent of a session as far as OpenCode has said it: a root session has none.
    pub(crate) fn parent(&self, session: &str) -> Option<Option<String>> {
        self.find(session)?.parent.borrow().clone()
    }

    /// The root of a session's tree, as far as it is known.
    pub(crate) fn root(&self, session: &str) -> String {
        let mut current = session.to_string();
        for _ in 0..MAX_DEPTH {
            match self.parent(&current).flatten() {
                Some(parent) => current = parent,
                None => break,
            }
        }
        current
    }

    /// A session is over, and with it those of its subagents.
    pub(crate) fn forget(&self, session: &str) {
        let all = self.all();
        let below: Vec<&String> = all
            .iter()
            .map(|(id, _)| id)
            .filter(|id| self.is_below(id, session))
            .collect();
        let mut sessions = self.sessions.borrow_mut();
        for id in below {
            sessions.remove(id);
        }
    }

    fn is_below(&self, session: &str, ancestor: &str) -> bool {
        let mut current = Some(session.to_string());
        for _ in 0..=MAX_DEPTH {
            match current {
                Some(id) if id == ancestor => return true,
                Some(id) => current = self.parent(&id).flatten(),
                None => return false,
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::Known;

    #[test]
    fn a_session_that_is_over_is_forgotten_with_its_subagents_and_no_other_is() {
        let known = Known::default();
        for (id, parent) in [
            ("root", None),
            ("child", Some("root")),
            ("grandchild", Some("child")),
            ("other", None),
            ("loop", Some("loop")),
        ] {
            let parent = parent.map(str::to_string);
            known.of(id).parent.replace(Some(parent));
        }
        known.of("unknown parent");
        assert_eq!(known.root("grandchild"), "root");
        known.forget("root");
        let mut left: Vec<String> = known.all().into_iter().map(|(id, _)| id).collect();
        left.sort();
        assert_eq!(left, ["loop", "other", "unknown parent"]);
    }
}
