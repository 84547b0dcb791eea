//! `verify`: can the store be used? `doctor`: what could be wrong, from the settings to the store? Nothing is
//! written to the store by either: it could not be deleted there again.

use super::init::{PACKAGE, Setup};
use super::{Cli, Done, Problem};
use crate::config::{self, Config, File};
use crate::database;
use crate::store::{ReadBack, Store};
use opencode_config::KEYS;
use serde_json::json;

/// How far the clocks may be apart.
const MAX_APART_MS: f64 = 300_000.0;
/// So long something may wait before it is strange.
const MAX_WAIT_MS: u64 = 3_600_000;
/// How long OpenCode may take to say where its database is. It takes about a second.
const LIMIT_MS: u64 = 20_000;
/// What a program says in a line or two.
const MAX_BYTES: usize = 64 * 1024;

/// What was found about one matter.
struct Check {
    what: &'static str,
    is_good: bool,
    text: String,
}

fn good(what: &'static str, text: impl Into<String>) -> Check {
    let (is_good, text) = (true, text.into());
    Check {
        what,
        is_good,
        text,
    }
}

fn bad(what: &'static str, text: impl Into<String>) -> Check {
    Check {
        is_good: false,
        ..good(what, text)
    }
}

fn done(checks: &[Check]) -> Done {
    let problems = checks.iter().filter(|check| !check.is_good).count();
    let mut text = String::new();
    for check in checks {
        let verdict = if check.is_good { "ok" } else { "BAD" };
        text += &format!("{verdict:<4} {:<9} {}\n", check.what, check.text);
    }
    text += &match problems {
        0 => "\nEverything is in place.".to_string(),
        1 => "\n1 problem.".to_string(),
        problems => format!("\n{problems} problems."),
    };
    let list: Vec<_> = checks
        .iter()
        .map(|check| json!({ "what": check.what, "ok": check.is_good, "text": check.text }))
        .collect();
    Done {
        text,
        json: json!({ "ok": problems == 0, "checks": list }),
        exit: i32::from(problems > 0),
    }
}

impl Cli {
    /// Settings, key and connection.
    pub(super) async fn verify(&self) -> Result<Done, Problem> {
        let (check, config) = self.settings_check().await;
        let mut checks = vec![check];
        checks.extend(self.store_checks(config).await);
        Ok(done(&checks))
    }

    /// All that could be wrong.
    pub(super) async fn doctor(&self) -> Result<Done, Problem> {
        let (check, config) = self.settings_check().await;
        let mut checks = vec![check];
        checks.extend(self.mode_checks().await);
        match self.setup().await {
            Ok(setup) => checks.extend(self.opencode_checks(&setup)),
            Err(why) => checks.push(bad(
                "opencode",
                format!("{why}. OpenCode does not start with it: correct the file"),
            )),
        }
        checks.push(self.spool_check().await);
        checks.push(self.history_check().await);
        checks.extend(self.store_checks(config).await);
        Ok(done(&checks))
    }

    /// The settings can be read and name a store.
    async fn settings_check(&self) -> (Check, Option<Config>) {
        let read = async {
            let path = self.config_path()?;
            let file = config::read(&*self.host, &path).await?;
            let config = config::config(&file, |name| self.host.env(name))?;
            Ok::<_, String>((path, file, config))
        };
        let (path, file, config) = match read.await {
            Ok(read) => read,
            Err(why) => return (bad("settings", why), None),
        };
        let (url, key) = config.sources;
        let from = format!("address from {}, key from {}", url.name(), key.name());
        match (&config.url, &config.key) {
            (Some(_), Some(_)) if file == File::default() => {
                (good("settings", format!("{from}; no file")), Some(config))
            }
            (Some(_), Some(_)) => (good("settings", format!("{path}: {from}")), Some(config)),
            _ => {
                let why = format!("{path} names no store: run `opencode-sync login`");
                (bad("settings", why), None)
            }
        }
    }

    /// Nobody else can read the file with the key. The letters of `ls` are the only thing about it that every
    /// system of its kind has; Windows keeps a home for its user by other means.
    async fn mode_checks(&self) -> Vec<Check> {
        let host = &self.host;
        let Some(path) = self
            .config_path()
            .ok()
            .filter(|_| !host.platform().is_windows())
        else {
            return Vec::new();
        };
        if host.file_size(&path).await.is_err() {
            return Vec::new();
        }
        let (dir, _) = path.rsplit_once('/').unwrap_or_default();
        let mut checks = Vec::new();
        for (place, mode) in [(dir, "700"), (path.as_str(), "600")] {
            let listed = host
                .output_of("ls", &["-ld", place], dir, LIMIT_MS, MAX_BYTES)
                .await;
            let Ok(letters) = listed.map(|line| line.chars().take(10).collect::<String>()) else {
                continue;
            };
            if !letters.ends_with("------") {
                let text = format!(
                    "others can read {place} ({letters}), and the key is there: `chmod {mode} '{place}'`"
                );
                checks.push(bad("mode", text));
            }
        }
        if checks.is_empty() {
            checks.push(good("mode", format!("{path} is the user's alone")));
        }
        checks
    }

    fn opencode_checks(&self, setup: &Setup) -> Vec<Check> {
        let content = self.host.env("OPENCODE_CONFIG_CONTENT").unwrap_or_default();
        let [right, wrong] = KEYS;
        let named = setup.named(right, PACKAGE);
        let check = match (named.first(), setup.named(wrong, PACKAGE).first()) {
            (Some(named), _) => good("plugin", format!("{} names {}", named.path, named.spec)),
            (None, _) if content.contains(PACKAGE) => {
                good("plugin", "OPENCODE_CONFIG_CONTENT names it")
            }
            (None, Some(named)) => bad(
                "plugin",
                format!(
                    "{} names it under `{wrong}`, which OpenCode 1 does not read: run `opencode-sync init`",
                    named.path
                ),
            ),
            (None, None) => bad(
                "plugin",
                "OpenCode's configuration does not name it, so nothing is brought by itself: run `opencode-sync init`",
            ),
        };
        let other = match setup.other() {
            Some(why) => bad("other", why),
            None => good("other", "no other plugin sends the same sessions"),
        };
        vec![check, other]
    }

    /// What waits can be read and written, and does not wait for long.
    async fn spool_check(&self) -> Check {
        let dir = &self.spool;
        let probe = format!("{dir}/doctor-{}", self.host.pid());
        let written = async {
            self.host.make_dir(dir).await?;
            self.host.replace_file(&probe, b"").await
        };
        if let Err(why) = written.await {
            let text = format!(
                "{why}. What is to be sent is written there first: give the directory back to yourself, or make room"
            );
            return bad("spool", text);
        }
        let _ = self.host.remove_file(&probe).await;
        let waiting = match self.waiting().await {
            Ok(waiting) => waiting,
            Err(why) => return bad("spool", format!("{why}: give the file back to yourself")),
        };
        let refused: usize = waiting
            .iter()
            .map(|(_, entry)| entry.refusals().count())
            .sum();
        let due: usize = waiting.iter().map(|(_, entry)| entry.due()).sum();
        let oldest = waiting.iter().filter_map(|(_, entry)| entry.since).min();
        let age = oldest.map_or(0, |since| self.host.now_ms().saturating_sub(since));
        let names = self.host.list_dir(dir).await.unwrap_or_default();
        let broken = names.iter().filter(|name| name.contains(".broken-"));
        let aside = match broken.count() {
            0 => String::new(),
            n => format!(
                "; {n} files in {dir} could not be read and were put aside: their sessions are compared anew, and the files can be deleted"
            ),
        };
        match (refused, due) {
            (0, 0) => good("spool", format!("nothing waits{aside}")),
            (0, due) if age <= MAX_WAIT_MS => good("spool", format!("{due} records wait{aside}")),
            (0, due) => bad(
                "spool",
                format!(
                    "{due} records wait, the first for {}: `opencode-sync retry` tries them now{aside}",
                    duration(age)
                ),
            ),
            (refused, _) => bad(
                "spool",
                format!(
                    "the store does not take {refused} records: `opencode-sync pending` says why{aside}"
                ),
            ),
        }
    }

    /// OpenCode says where its past is.
    async fn history_check(&self) -> Check {
        let host = &self.host;
        let program = database::program(&**host).await;
        let program = program.unwrap_or_else(|| "opencode".into());
        let asked = host.output_of(
            &program,
            &["db", "path"],
            &self.directory,
            LIMIT_MS,
            MAX_BYTES,
        );
        let path = match asked.await {
            Ok(said) => said.trim().to_string(),
            Err(why) => {
                let text = format!(
                    "`opencode db path` does not work ({why}), so `push` finds no past: put opencode on the PATH, or install a release that has it (1.18)"
                );
                return bad("history", text);
            }
        };
        match self.host.file_size(&path).await {
            Ok(_) => good("history", format!("OpenCode's database is {path}")),
            Err(why) => bad(
                "history",
                format!("{why}. OpenCode says that its database is there: start OpenCode once"),
            ),
        }
    }

    /// The store answers, at about the same time of day, takes the key, and gives back what it has.
    async fn store_checks(&self, config: Option<Config>) -> Vec<Check> {
        let Some(config) = config else {
            return Vec::new();
        };
        let url = config.url.clone().unwrap_or_default();
        let store = match self.store_of(&config) {
            Ok(store) => store,
            Err(why) => return vec![bad("store", why)],
        };
        let clock = match store.clock().await {
            Ok(clock) => clock,
            Err(why) => {
                let text = format!(
                    "{url} is no store that answers: {why}. Is the address right, and this machine online?"
                );
                return vec![bad("store", text)];
            }
        };
        let mut checks = vec![good("store", format!("{url} answers"))];
        let apart = self.host.now_ms() as f64 - clock;
        let far = duration(apart.abs() as u64);
        checks.push(match apart {
            apart if apart > MAX_APART_MS => bad(
                "clock",
                format!("this machine's clock is {far} ahead of the store's, and new sessions get the store's time: set it"),
            ),
            apart if apart < -MAX_APART_MS => bad(
                "clock",
                format!("this machine's clock is {far} behind the store's, and sessions are dated so: set it"),
            ),
            _ => good("clock", "the store's clock is this machine's"),
        });
        checks.extend(key_checks(&store).await);
        checks
    }
}

async fn key_checks(store: &Store) -> Vec<Check> {
    let last = match store.sessions(1).await {
        Ok(last) => last,
        Err(why) => return vec![bad("key", why.to_string())],
    };
    let mut checks = vec![good("key", "the store takes it")];
    let Some(last) = last.first() else {
        checks.push(good("reading", "no session is there yet"));
        return checks;
    };
    let name = last.title.as_deref().unwrap_or("a session without a title");
    let mut messages = 0;
    checks.push(match store.read(&last.id, |_| messages += 1).await {
        Ok(ReadBack::Found(_)) => good(
            "reading",
            format!("{name:?} was read back, with {messages} messages"),
        ),
        Ok(ReadBack::Unknown) => bad(
            "reading",
            format!("{name:?} is in the list and cannot be read: look at the dashboard"),
        ),
        Ok(ReadBack::TooLarge) => good(
            "reading",
            format!(
                "{name:?} is larger than the store reads at once: its messages are counted only"
            ),
        ),
        Err(why) => bad(
            "reading",
            format!(
                "a session could not be read back, so nothing can be checked that is sent: {why}"
            ),
        ),
    });
    checks
}

/// About so long.
fn duration(ms: u64) -> String {
    match ms / 1_000 {
        s @ 0..120 => format!("{s} s"),
        s @ 120..7_200 => format!("{} minutes", s / 60),
        s @ 7_200..172_800 => format!("{} hours", s / 3_600),
        s => format!("{} days", s / 86_400),
    }
}
