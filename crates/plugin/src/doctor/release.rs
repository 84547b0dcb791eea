//! Which OpenCode is installed: the program that the user would start says so. What its release makes of
//! the plugin and of the configuration follows from that.

use super::finding::Verdict;
use crate::release::{FLOOR, Support, TESTED, refusal, support};
use host::Host;
use opencode_config::KEYS;
use semver::Version;

/// How long it may take to say its release. It takes about a second.
const LIMIT_MS: u64 = 20_000;
/// What it prints is a release; more than this is something else.
const MAX_BYTES: usize = 64 * 1024;
/// Programs of the name that are tried.
const MAX_PROGRAMS: usize = 3;
const PROGRAM: &str = "opencode";
/// npm puts such directories before the user's own, and no shell of the user's does.
const NPM: &str = "/node_modules/.bin/";
/// The first release that has the second engine, and the first that takes what `init` writes.
const ENGINE: (u64, u64) = (1, 18);
const SETTINGS: (u64, u64) = (1, 14);

/// The OpenCode that a user would start.
pub(super) enum Installed {
    /// It says that it is this release.
    Release { release: String, program: String },
    /// Nobody says, and why.
    Unknown(String),
}

/// Asks the first `opencode` on the PATH that runs.
pub(super) async fn installed(host: &dyn Host, directory: &str) -> Installed {
    let platform = host.platform();
    let (npm, users): (Vec<String>, Vec<String>) = platform
        .places_of(PROGRAM, |name| host.env(name))
        .into_iter()
        .partition(|place| place.contains(NPM));
    let (mut why, mut tried) = (format!("no `{PROGRAM}` is on the PATH"), 0);
    for program in users.into_iter().chain(npm) {
        if host.file_size(&program).await.is_err() {
            continue;
        }
        let said = host.output_of(&program, &["--version"], directory, LIMIT_MS, MAX_BYTES);
        let said = said.await.and_then(|said| {
            let nothing = || {
                format!(
                    "it says {:?}",
                    said.trim().chars().take(80).collect::<String>()
                )
            };
            read(&said).ok_or_else(nothing)
        });
        match said {
            Ok(release) => return Installed::Release { release, program },
            Err(reason) if tried == 0 => why = format!("`{program} --version` failed: {reason}"),
            Err(_) => {}
        }
        tried += 1;
        if tried == MAX_PROGRAMS {
            break;
        }
    }
    Installed::Unknown(why)
}

/// The release in what `--version` prints, which may be a name before it, or lines of a log.
fn read(said: &str) -> Option<String> {
    let words = said.split_whitespace().rev();
    let plain = words.map(|word| word.strip_prefix('v').unwrap_or(word));
    let mut releases = plain.filter(|word| Version::parse(word).is_ok());
    releases.next().map(str::to_string)
}

impl Installed {
    fn number(&self) -> Option<(u64, u64)> {
        let Installed::Release { release, .. } = self else {
            return None;
        };
        let version = Version::parse(release).ok()?;
        // What was built from source has no number that says anything.
        (version.major > 0).then_some((version.major, version.minor))
    }

    /// True for OpenCode 2.
    pub(super) fn is_two(&self) -> bool {
        self.number().is_some_and(|(major, _)| major > 1)
    }

    /// What it does with the plugin.
    pub(super) fn served(&self) -> (Verdict, String) {
        let (release, program) = match self {
            Installed::Release { release, program } => (release, program),
            Installed::Unknown(why) => {
                return (
                    Verdict::Note,
                    format!(
                        "It is not known which release is installed, because {why}. The plugin was tested with {FLOOR} to {TESTED}."
                    ),
                );
            }
        };
        match (support(release), refusal(release)) {
            (_, Some(refusal)) => (Verdict::Bad, format!("{refusal} ({program})")),
            (Support::Tested, None) => (Verdict::Good, format!("{release} ({program})")),
            (_, None) => (
                Verdict::Note,
                format!(
                    "{release} works, untested: the plugin was tested with {FLOOR} to {TESTED}, and refuses where this release lacks what it needs. ({program})"
                ),
            ),
        }
    }

    /// Why this release would not start with what `init` writes, if it would not.
    pub(super) fn refuses_settings(&self) -> Option<String> {
        let Installed::Release { release, .. } = self else {
            return None;
        };
        (self.number()? < SETTINGS).then(|| {
            let refusal = refusal(release).unwrap_or_default();
            format!(
                "OpenCode {release} does not start with a configuration that has `shell`. {refusal}"
            )
        })
    }

    /// The key of the configuration that this release reads, in words.
    pub(super) fn key(&self) -> String {
        let [one, two] = KEYS;
        match self.is_two() {
            true => format!("OpenCode 2 reads `{two}` and `{one}`"),
            false => format!("OpenCode 1 reads `{one}`"),
        }
    }

    /// What its second engine may do, which no plugin reaches: `open` has permissions that nothing denies.
    pub(super) fn engine(&self, open: &[&str]) -> Option<(Verdict, String)> {
        if self.is_two() || self.number().is_some_and(|number| number < ENGINE) {
            return None;
        }
        let engine = "The second engine of OpenCode 1.18 (`/api/session` of its HTTP API), which no plugin reaches,";
        Some(match open {
            [] => (
                Verdict::Good,
                format!("{engine} has no tools for this machine either."),
            ),
            open => (
                Verdict::Note,
                format!(
                    "{engine} has tools for this machine as long as these are not denied: {}.",
                    open.join(", ")
                ),
            ),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(release: &str) -> Installed {
        Installed::Release {
            release: release.into(),
            program: "/bin/opencode".into(),
        }
    }

    #[test]
    fn a_release_is_read_from_what_is_printed() {
        for (said, release) in [
            ("1.18.33\n", Some("1.18.33")),
            ("v1.18.33\r\n", Some("1.18.33")),
            ("opencode 2.3.2\n", Some("2.3.2")),
            ("INFO starting\n1.19.0-beta.2\n", Some("1.19.0-beta.2")),
            ("0.0.0-dev-202611300900", Some("0.0.0-dev-202611300900")),
            ("usage: opencode", None),
            ("", None),
        ] {
            assert_eq!(read(said).as_deref(), release, "{said:?}");
        }
    }

    #[test]
    fn every_release_is_judged_and_told_what_holds_for_it() {
        for (release, verdict, says, refuses_settings, reads, has_engine) in [
            (
                "1.0.0",
                Verdict::Bad,
                "needs OpenCode 1.15.13 or later, and this is 1.0.0",
                true,
                "`plugin`",
                false,
            ),
            (
                "1.3.2",
                Verdict::Bad,
                "opencode upgrade 1.18.33",
                true,
                "`plugin`",
                false,
            ),
            (
                "1.14.34",
                Verdict::Bad,
                "this is 1.14.34",
                false,
                "`plugin`",
                false,
            ),
            (
                "1.15.4",
                Verdict::Bad,
                "this is 1.15.4",
                false,
                "`plugin`",
                false,
            ),
            (
                "1.15.13",
                Verdict::Good,
                "1.15.13 (/bin/opencode)",
                false,
                "`plugin`",
                false,
            ),
            (
                "1.18.33",
                Verdict::Good,
                "1.18.33 (/bin/opencode)",
                false,
                "`plugin`",
                true,
            ),
            (
                "1.19.3",
                Verdict::Note,
                "1.19.3 works, untested",
                false,
                "`plugin`",
                true,
            ),
            (
                "0.0.0-dev-1",
                Verdict::Note,
                "works, untested",
                false,
                "`plugin`",
                true,
            ),
            (
                "2.3.2",
                Verdict::Bad,
                "opencode-ai@1.18.33",
                false,
                "`plugins` and `plugin`",
                false,
            ),
        ] {
            let installed = of(release);
            let (found, text) = installed.served();
            assert!(found == verdict, "{release}: {text}");
            assert!(text.contains(says), "{release}: {text}");
            let refusal = installed.refuses_settings();
            assert_eq!(refusal.is_some(), refuses_settings, "{release}");
            assert!(installed.key().contains(reads), "{release}");
            assert_eq!(installed.engine(&[]).is_some(), has_engine, "{release}");
        }
        let unknown = Installed::Unknown("of that".into());
        let (verdict, text) = unknown.served();
        assert!(
            verdict == Verdict::Note && text.contains("because of that"),
            "{text}"
        );
        assert!(unknown.refuses_settings().is_none());
        assert!(unknown.engine(&[]).is_some());
    }

    #[test]
    fn the_second_engine_has_tools_where_nothing_denies_them() {
        for (open, verdict, says) in [
            (&[][..], Verdict::Good, "has no tools"),
            (&["bash", "read"], Verdict::Note, "not denied: bash, read."),
        ] {
            let (found, text) = of("1.18.33").engine(open).expect("it has one");
            assert!(found == verdict && text.contains(says), "{text}");
        }
    }
}
