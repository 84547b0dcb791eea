//! How far the preparation of a sandbox is, for whoever waits for it; and its end, if nobody does any
//! more.

use futures::channel::oneshot;
use futures::future::{Either, select};
use host::Host;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
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

/// How large a project is, and a disk in GiB, as far as it is known.
type Known = (Option<Size>, Option<f64>);
/// Shows a text to a session, or takes it away.
type Show = Box<dyn Fn(&str, Option<&str>)>;

/// The preparations of all sessions.
pub(crate) struct Steps {
    host: Arc<dyn Host>,
    show: Show,
    /// By session: when its preparation began, when something was said last, and what that began with.
    times: RefCell<HashMap<String, (u64, u64, String)>>,
    /// Ends what goes on for a session.
    stops: RefCell<HashMap<String, Vec<oneshot::Sender<()>>>>,
    /// Sessions whose preparation must not go on, and why.
    stopped: RefCell<HashMap<String, String>>,
    /// How large the project is that is packed for a session, and the disk that it is packed for.
    sizes: RefCell<HashMap<String, Known>>,
}

impl Steps {
    pub(crate) fn new(host: Arc<dyn Host>, show: Show) -> Rc<Steps> {
        Rc::new(Steps {
            host,
            show,
            times: RefCell::default(),
            stops: RefCell::default(),
            stopped: RefCell::default(),
            sizes: RefCell::default(),
        })
    }

    /// A preparation begins, or goes on.
    pub(crate) fn begin(&self, session: &str) {
        let now = self.host.now_ms();
        let mut times = self.times.borrow_mut();
        times
            .entry(session.into())
            .or_insert((now, 0, String::new()));
    }

    /// It has ended.
    pub(crate) fn end(&self, session: &str) {
        let times = self.times.borrow_mut().remove(session);
        if times.is_some_and(|(_, said, _)| said > 0) {
            (self.show)(session, None);
        }
        if let Some((size, _)) = self.sizes.borrow_mut().get_mut(session) {
            *size = None;
        }
    }

    /// It is known how large the project is, or how large the sandbox's disk is in GiB. What does not fit
    /// ends here.
    pub(crate) fn measured(&self, session: &str, size: Option<Size>, disk: Option<f64>) {
        let mut sizes = self.sizes.borrow_mut();
        let known = sizes.entry(session.into()).or_default();
        *known = (size.or(known.0), disk.or(known.1));
        let (size, disk) = *known;
        drop(sizes);
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
        let mut times = self.times.borrow_mut();
        let Some((began, said, before)) = times.get_mut(session) else {
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
        self.stopped.borrow_mut().remove(session);
    }

    /// The preparation of a session's sandbox must not go on.
    pub(crate) fn stop(&self, session: &str, why: &str) {
        let mut stopped = self.stopped.borrow_mut();
        stopped.insert(session.into(), why.into());
        drop(stopped);
        let stops = self.stops.borrow_mut().remove(session);
        for stop in stops.into_iter().flatten() {
            let _ = stop.send(());
        }
    }

    /// An error if the preparation must not go on.
    pub(crate) fn go_on(&self, session: &str) -> Result<(), String> {
        match self.stopped.borrow().get(session) {
            Some(why) => Err(why.clone()),
            None => Ok(()),
        }
    }

    /// Does `work` until it ends or is stopped; then it is dropped where it is.
    pub(crate) async fn until_stopped<T>(
        &self,
        session: &str,
        work: impl Future<Output = Result<T, String>>,
    ) -> Result<T, String> {
        self.go_on(session)?;
        let (stop, stopped) = oneshot::channel();
        let stops = |all: &mut HashMap<String, Vec<_>>| {
            all.entry(session.into()).or_default().push(stop);
        };
        stops(&mut self.stops.borrow_mut());
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

/// What a project takes in a sandbox.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Size {
    /// Files, and their bytes when they are checked out.
    pub(crate) files: (usize, u64),
    /// Bytes that are uploaded.
    pub(crate) packed: u64,
}

impl Size {
    /// Bytes that it takes on a disk: each file takes whole blocks.
    pub(crate) fn room(&self) -> u64 {
        self.files.1 + self.packed + self.files.0 as u64 * 2_048
    }

    /// Why it does not fit on a disk of so many GiB; none if it does, or nobody knows.
    pub(crate) fn lacks_room(&self, disk: Option<f64>) -> Option<String> {
        let disk = disk.filter(|disk| *disk > 0.0)? * f64::from(1 << 30);
        let megabytes = |bytes: u64| grouped(bytes.div_ceil(1_000_000));
        (self.room() > disk as u64).then(|| {
            format!(
                "The project needs {} MB in the sandbox ({} files with {} MB, and {} MB of git's), and its disk has {} MB. Use a snapshot or an image with more room (option `resources`), or carry less with the options `carry.paths` and `history`.",
                megabytes(self.room()),
                grouped(self.files.0 as u64),
                megabytes(self.files.1),
                megabytes(self.packed),
                grouped(disk as u64 / 1_000_000)
            )
        })
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

/// A number with commas between thousands.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (n, digit) in digits.chars().enumerate() {
        if n > 0 && (digits.len() - n).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::{Size, grouped};

    #[test]
    fn a_project_is_refused_only_if_it_is_known_not_to_fit() {
        let gib = 1 << 30;
        for (files, packed, disk, fits) in [
            ((10, 2 * gib), gib, Some(3.0), false),
            ((10, 2 * gib), gib / 2, Some(3.0), true),
            ((2_000_000, 0), 0, Some(3.0), false),
            ((10, 2 * gib), gib, Some(0.0), true),
            ((10, 2 * gib), gib, None, true),
        ] {
            let why = Size { files, packed }.lacks_room(disk);
            assert_eq!(why.is_none(), fits, "{files:?} {packed} {disk:?}");
            if let Some(why) = why {
                assert!(why.contains("its disk has 3,221 MB"), "{why}");
            }
        }
    }

    #[test]
    fn thousands_are_told_apart() {
        for (number, expected) in [
            (0, "0"),
            (999, "999"),
            (1_000, "1,000"),
            (12_345_678, "12,345,678"),
        ] {
            assert_eq!(grouped(number), expected);
        }
    }
}
