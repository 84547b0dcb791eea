//! How far the preparation of a sandbox is, for whoever waits for it; and its end, if nobody does any
//! more.

use super::size::{Size, grouped};
use crate::error::Error;
use crate::known::Known;
use futures::channel::oneshot;
use futures::future::{Either, select};
use host::Host;
use std::cell::Cell;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;

/// A preparation that takes less is not spoken of.
const LONG_MS: u64 = 1_000;
/// Numbers are shown so often at most.
const OFTEN_MS: u64 = 250;
/// What a preparation that was stopped ends with.
pub(crate) const STOPPED: &str =
    "the user interrupted the preparation of the sandbox; the next call begins it again";

/// Shows a text to a session, or takes it away.
type Show = Box<dyn Fn(&str, Option<&str>)>;

/// Says how far the preparations are, and ends them.
pub(crate) struct Steps {
    host: Arc<dyn Host>,
    known: Rc<Known>,
    show: Show,
}

impl Steps {
    pub(crate) fn new(host: Arc<dyn Host>, known: Rc<Known>, show: Show) -> Rc<Steps> {
        Rc::new(Steps { host, known, show })
    }

    /// A preparation begins, or goes on.
    pub(crate) fn begin(&self, session: &str) {
        let now = self.host.now_ms();
        let known = self.known.of(session);
        let mut times = known.preparation.times.borrow_mut();
        times.get_or_insert((now, 0, String::new()));
    }

    /// It has ended.
    pub(crate) fn end(&self, session: &str) {
        let Some(known) = self.known.find(session) else {
            return;
        };
        let (_, disk) = known.preparation.size.get();
        known.preparation.size.set((None, disk));
        let times = known.preparation.times.take();
        if times.is_some_and(|(_, said, _)| said > 0) {
            (self.show)(session, None);
        }
    }

    /// It is known how large the project is, or how large the sandbox's disk is in GiB. What does not fit
    /// ends here.
    pub(crate) fn measured(&self, session: &str, size: Option<Size>, disk: Option<f64>) {
        let known = self.known.of(session);
        let before = known.preparation.size.get();
        let (size, disk) = (size.or(before.0), disk.or(before.1));
        known.preparation.size.set((size, disk));
        if let Some(why) = size.and_then(|size| size.lacks_room(disk)) {
            self.stop(session, &why);
        }
    }

    /// Says what is done, and how far it is.
    pub(crate) fn say(&self, session: &str, what: &str, how_far: &str) {
        self.say_unless_soon(session, what, how_far, false);
    }

    /// The same; what is the end of something is said even right after what was said before.
    fn say_unless_soon(&self, session: &str, what: &str, how_far: &str, is_end: bool) {
        let now = self.host.now_ms();
        let Some(known) = self.known.find(session) else {
            return;
        };
        let mut times = known.preparation.times.borrow_mut();
        let Some((began, said, before)) = times.as_mut() else {
            return;
        };
        let is_soon = !is_end && what == *before && now.saturating_sub(*said) < OFTEN_MS;
        if now.saturating_sub(*began) < LONG_MS || is_soon {
            return;
        }
        *said = now;
        *before = what.into();
        drop(times);
        (self.show)(session, Some(&format!("{what}{how_far}.")));
    }

    /// A session wants its sandbox.
    pub(crate) fn wanted(&self, session: &str) {
        if let Some(known) = self.known.find(session) {
            known.preparation.stopped.take();
        }
    }

    /// The preparation of a session's sandbox must not go on.
    pub(crate) fn stop(&self, session: &str, why: &str) {
        let known = self.known.of(session);
        known.preparation.stopped.replace(Some(why.into()));
        for stop in known.preparation.stops.take() {
            let _ = stop.send(());
        }
    }

    /// An error if the preparation must not go on.
    pub(crate) fn go_on(&self, session: &str) -> Result<(), Error> {
        let known = self.known.find(session);
        let stopped = known.and_then(|known| known.preparation.stopped.borrow().clone());
        stopped.map_or(Ok(()), |why| Err(why.into()))
    }

    /// Does `work` until it ends or is stopped; then it is dropped where it is.
    pub(crate) async fn until_stopped<T>(
        &self,
        session: &str,
        work: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        self.go_on(session)?;
        let (stop, stopped) = oneshot::channel();
        let known = self.known.of(session);
        known.preparation.stops.borrow_mut().push(stop);
        match select(pin!(work), stopped).await {
            Either::Left((done, _)) => done,
            Either::Right((Ok(()), _)) => {
                self.go_on(session)?;
                Err(STOPPED.into())
            }
            Either::Right((Err(_), work)) => work.await,
        }
    }
}

/// How many bytes have arrived.
pub(crate) struct Arrived<'a> {
    pub(crate) steps: &'a Steps,
    pub(crate) session: &'a str,
    pub(crate) done: Cell<u64>,
    pub(crate) of: u64,
}

impl Arrived<'_> {
    pub(crate) fn more(&self, bytes: u64) {
        self.done.set((self.done.get() + bytes).min(self.of));
        let megabytes = |bytes: u64| grouped(bytes.div_ceil(1_000_000));
        let (done, of) = (megabytes(self.done.get()), megabytes(self.of));
        let how_far = format!(": {done} of {of} MB");
        let is_end = self.done.get() == self.of;
        self.steps
            .say_unless_soon(self.session, "Uploading the project", &how_far, is_end);
    }
}
