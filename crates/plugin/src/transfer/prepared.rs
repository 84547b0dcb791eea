//! The project's prepared snapshot, from a session's side: whether it is still worth starting from.

use super::Transfer;
use crate::wire::Toast;
use git_bridge::Packed;
use host::Level;
use sessions::{PreparedSnapshot, Sessions};

/// It is too far behind from so many commits on: what was installed in it is of another time.
const FAR_COMMITS: u64 = 100;
/// It is too far behind, too, if what it lacks is at least half of what was carried into it, and so many
/// bytes.
const FAR_BYTES: u64 = 1_000_000;

/// How far a snapshot is behind the project.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Distance {
    /// Commits of HEAD that it does not have, as far as that can be counted.
    commits: Option<u64>,
    /// Bytes that a sandbox made of it is sent.
    bytes: u64,
    /// Bytes that were carried into it when it was made.
    whole: u64,
}

impl Distance {
    fn is_far(self) -> bool {
        let is_most = self.whole > 0 && self.bytes >= self.whole.div_ceil(2);
        let is_old = self.commits.is_some_and(|commits| commits >= FAR_COMMITS);
        is_old || (is_most && self.bytes >= FAR_BYTES)
    }

    /// The reasons, as the end of a sentence that begins with the snapshot.
    fn text(self) -> String {
        let behind = match self.commits {
            Some(1) => "is 1 commit behind".to_string(),
            Some(commits) if commits > FAR_COMMITS => {
                format!("is more than {FAR_COMMITS} commits behind")
            }
            Some(commits) => format!("is {commits} commits behind"),
            None => "is of another history".to_string(),
        };
        format!(
            "{behind}, and each sandbox is still sent {} (all of the project was {} when it was made)",
            size(self.bytes),
            size(self.whole)
        )
    }
}

impl Transfer {
    /// Notes how much was packed for a session, and tells the user, once, if the prepared snapshot that
    /// its sandbox is made of is too far behind.
    pub(crate) async fn measure(&self, sessions: &Sessions, session: &str, packed: &Packed) {
        let bytes = packed.size();
        self.known.of(session).packed_bytes.set(bytes);
        let Ok(Some(prepared)) = sessions.prepared().await else {
            return;
        };
        if self.is_behind_told.get() {
            return;
        }
        let distance = Distance {
            commits: self.commits_behind(&prepared, packed).await,
            bytes,
            whole: prepared.bytes,
        };
        if distance.is_far() && !self.is_behind_told.replace(true) {
            let message = format!(
                "The snapshot {} {}. Make it anew: {}",
                prepared.name,
                distance.text(),
                command(&next(&prepared.name), prepared.run.as_deref(), true)
            );
            self.host.log(Level::Warn, &message);
            self.opencode.toast(Toast {
                title: "Prepared snapshot too far behind".into(),
                message,
                variant: "warning".into(),
            });
        }
    }

    async fn commits_behind(&self, prepared: &PreparedSnapshot, packed: &Packed) -> Option<u64> {
        let (before, head) = (prepared.host_head.as_ref()?, packed.host_head.as_ref()?);
        // One more than is told apart.
        let counted = self.project.commits_since(before, head, FAR_COMMITS + 1);
        counted.await.unwrap_or_default()
    }
}

/// Why sandboxes are not made of the prepared snapshot, and what to do.
pub(crate) fn unusable(prepared: &PreparedSnapshot, state: Option<&str>) -> String {
    let (name, run) = (&prepared.name, prepared.run.as_deref());
    let (what, help) = match state {
        None => (
            format!("Daytona has no snapshot {name} any more"),
            format!("make it anew: {}", command(name, run, false)),
        ),
        Some(state) => (
            format!("No sandbox can be made of the snapshot {name}, which is {state} at Daytona"),
            format!(
                "activate it in the Daytona dashboard, or make another: {}",
                command(&next(name), run, true)
            ),
        ),
    };
    format!("{what}, so this project's sandboxes are made of the default. To change that, {help}")
}

/// The command that makes a snapshot.
pub(crate) fn command(name: &str, run: Option<&str>, replace: bool) -> String {
    let run = run.map_or_else(String::new, |run| {
        format!(" --run '{}'", run.replace('\'', r"'\''"))
    });
    let replace = if replace { " --replace" } else { "" };
    format!("npx opencode-daytona-sandbox snapshot create {name}{run}{replace}")
}

/// The name after this one.
pub(crate) fn next(name: &str) -> String {
    let (stem, number) = match name.rsplit_once('-') {
        Some((stem, number)) if !stem.is_empty() => (stem, number.parse::<u32>().ok()),
        _ => (name, None),
    };
    match number.and_then(|number| number.checked_add(1)) {
        Some(number) => format!("{stem}-{number}"),
        None => format!("{name}-2"),
    }
}

/// Bytes, for people.
pub(crate) fn size(bytes: u64) -> String {
    let of = |unit: u64, name| format!("{}.{} {name}", bytes / unit, bytes / (unit / 10) % 10);
    match bytes {
        0..10_000 => format!("{bytes} bytes"),
        10_000..1_000_000 => of(1_000, "kB"),
        1_000_000..1_000_000_000 => of(1_000_000, "MB"),
        _ => of(1_000_000_000, "GB"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_is_far_behind_by_commits_or_by_most_of_the_bytes() {
        let million = 1_000_000;
        for (commits, bytes, whole, is_far) in [
            (Some(99), 0, 0, false),
            (Some(100), 0, 0, true),
            (None, 0, 0, false),
            (Some(1), million, 2 * million, true),
            (Some(1), million - 1, 2 * million - 2, false),
            (None, 5 * million, 10 * million, true),
            (None, 5 * million - 1, 10 * million, false),
            // Of one whose size is not known nothing is said.
            (Some(1), 9 * million, 0, false),
            // A small project is sent at once.
            (Some(1), 5_000, 4_000, false),
        ] {
            let distance = Distance {
                commits,
                bytes,
                whole,
            };
            assert_eq!(distance.is_far(), is_far, "{distance:?}");
        }
    }

    #[test]
    fn the_next_name_is_free_of_the_last_one() {
        for (name, expected) in [
            ("web", "web-2"),
            ("web-2", "web-3"),
            ("web-app", "web-app-2"),
            ("-9", "-9-2"),
            ("w-4294967295", "w-4294967295-2"),
        ] {
            assert_eq!(next(name), expected);
        }
    }

    #[test]
    fn the_command_is_one_that_a_shell_takes() {
        assert_eq!(
            command("web", Some("echo 'a b'"), true),
            r"npx opencode-daytona-sandbox snapshot create web --run 'echo '\''a b'\''' --replace"
        );
    }

    #[test]
    fn sizes_are_in_the_unit_that_people_read() {
        for (bytes, expected) in [
            (9_999, "9999 bytes"),
            (10_999, "10.9 kB"),
            (999_999, "999.9 kB"),
            (1_250_000, "1.2 MB"),
            (3_040_000_000, "3.0 GB"),
        ] {
            assert_eq!(size(bytes), expected);
        }
    }
}
