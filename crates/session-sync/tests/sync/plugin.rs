//! The plugin: woken by events, it brings what OpenCode says of a session into the store.

use crate::world::{ALL, OLD, World, conversation, message, pairs, turn};
use async_trait::async_trait;
use futures::FutureExt;
use serde_json::{Value, json};
use session_sync::config::{Config, Source};
use session_sync::opencode::{Conversation, Session};
use session_sync::plugin::{EVENTS, OpenCode, Plugin};
use session_sync::record::Policy;
use session_sync::redact::Redactor;
use session_sync::spool::Spool;
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use testkit::{Setting, TestHost, run, until};

/// OpenCode with one session.
#[derive(Default)]
pub(crate) struct Fake {
    pub(crate) conversation: RefCell<Value>,
    pub(crate) toasts: RefCell<Vec<String>>,
}

#[async_trait(?Send)]
impl OpenCode for Fake {
    async fn conversation(&self, session: &str) -> Result<Option<Conversation>, String> {
        let conversation = self.conversation.borrow().clone();
        let is_there = conversation["info"]["id"] == session;
        Ok(is_there.then(|| serde_json::from_value(conversation).expect("a conversation")))
    }

    async fn sessions(&self) -> Result<Vec<Session>, String> {
        let info = self.conversation.borrow()["info"].clone();
        Ok(serde_json::from_value(info).into_iter().collect())
    }

    fn toast(&self, message: &str) {
        self.toasts.borrow_mut().push(message.into());
    }
}

/// One OpenCode process with the plugin.
pub(crate) struct Open {
    pub(crate) host: Arc<TestHost>,
    pub(crate) opencode: Rc<Fake>,
    pub(crate) plugin: Rc<Plugin>,
}

/// In milliseconds.
const HOUR_MS: u64 = 3_600_000;

impl Open {
    /// Its own clock is fast from now on. Counts the requests that it sends in the first hour of that: whoever
    /// looks at the clock sees some time later that the hour is over.
    fn count_for_an_hour(&self) -> Arc<Setting<usize>> {
        let count = Arc::new(Setting::new(0));
        let (counted, host) = (Arc::clone(&count), Arc::downgrade(&self.host));
        self.host.fail(move |operation, _| {
            let is_early = host.upgrade()?.skip_ms.get() <= HOUR_MS;
            counted.set(counted.get() + usize::from(is_early && operation == "http"));
            None
        });
        self.host.fast.set(true);
        count
    }

    /// As its own clock has it, which is fast.
    async fn tries_for_an_hour(&self) {
        let is_over = async || self.host.skip_ms.get() > HOUR_MS;
        until("it was tried for an hour", is_over).await;
    }
}

impl World {
    pub(crate) fn open(&self, now: Value) -> Open {
        self.open_with(now, &self.store.key, &[])
    }

    pub(crate) fn open_with(&self, now: Value, key: &str, exclude: &[&str]) -> Open {
        let host = Arc::new(TestHost::new(&[]));
        let opencode = Rc::new(Fake::default());
        *opencode.conversation.borrow_mut() = now;
        let config = Config {
            url: Some(self.store.url.clone()),
            key: Some(key.into()),
            exclude: exclude.iter().map(|pattern| pattern.to_string()).collect(),
            include: ALL,
            sources: (Source::File, Source::File),
        };
        let policy = Policy {
            include: ALL,
            redactor: Redactor::new([]),
        };
        let spool = Spool::new(
            host.clone(),
            &self.dir.path().join("spool").to_string_lossy(),
        );
        let plugin =
            Plugin::new(host.clone(), opencode.clone(), config, policy, spool).expect("a store");
        plugin.start();
        Open {
            host,
            opencode,
            plugin,
        }
    }

    pub(crate) async fn arrived(&self) -> usize {
        self.texts().await.len()
    }
}

pub(crate) fn nothing() -> Value {
    json!({})
}

#[test]
fn a_turn_arrives_when_it_has_ended_and_costs_two_requests_more_than_it_has_messages() {
    run(async {
        let world = World::new();
        let open = world.open(nothing());
        open.plugin.event("session.status", "ses_1", Some("busy"));
        *open.opencode.conversation.borrow_mut() = conversation(&turn());
        for _ in 0..50 {
            open.plugin.event("message.part.updated", "ses_1", None);
        }
        open.plugin.event("session.idle", "ses_1", None);
        until("it arrived", async || world.arrived().await == 3).await;
        let posts = |requests: Vec<String>| {
            requests
                .iter()
                .filter(|request| request.starts_with("POST"))
                .count()
        };
        until("its sums, too", async || {
            posts(world.store.requests().await) == 5
        })
        .await;
        // What comes after the end changes nothing more.
        open.plugin.event("session.updated", "ses_1", None);
        open.plugin.event("message.updated", "ses_1", None);
        open.host.skip_ms.set(10_000);
        assert_eq!(open.plugin.dispose().await, 0);
        assert_eq!(posts(world.store.requests().await), 5);
        assert!(open.opencode.toasts.borrow().is_empty());
    });
}

#[test]
fn the_last_answer_of_a_run_arrives_before_opencode_ends() {
    run(async {
        let world = World::new();
        let open = world.open(conversation(&turn()));
        open.plugin.event("session.idle", "ses_1", None);
        assert_eq!(open.plugin.dispose().await, 0);
        assert_eq!(
            world.texts().await,
            pairs(&[
                ("msg_1", "fix it"),
                ("msg_2", "I look."),
                ("msg_3", "Done.")
            ])
        );
    });
}

#[test]
fn an_interrupted_answer_arrives_as_far_as_it_came() {
    run(async {
        let world = World::new();
        let mut messages = turn();
        messages[2]["info"]["time"]
            .as_object_mut()
            .expect("times")
            .remove("completed");
        messages[2]["parts"][0]["text"] = "".into();
        let open = world.open(conversation(&messages));
        open.plugin.event("session.status", "ses_1", Some("busy"));
        // OpenCode stores it while it ends.
        let stored = async {
            tokio::time::sleep(Duration::from_millis(100)).await;
            *open.opencode.conversation.borrow_mut() = conversation(&turn());
        };
        let (left, ()) = futures::future::join(open.plugin.dispose(), stored).await;
        assert_eq!(left, 0);
        assert_eq!(world.texts().await[2].1, "Done.");
    });
}

#[test]
fn what_could_not_be_sent_waits_on_disk_and_goes_out_at_the_next_start() {
    run(async {
        let world = World::new();
        // A plugin that starts looks at once for what is not sent.
        world
            .store
            .fault(json!({ "drop": "before", "times": -1 }))
            .await;
        let open = world.open(conversation(&turn()));
        open.plugin.event("session.idle", "ses_1", None);
        assert_eq!(open.plugin.dispose().await, 1);
        assert_eq!(world.arrived().await, 0);
        world.store.heal().await;
        // The session itself is gone from OpenCode by then.
        let _next = world.open(nothing());
        until("it arrived", async || world.arrived().await == 3).await;
    });
}

#[test]
fn what_a_killed_process_has_not_read_is_found_at_the_next_start() {
    run(async {
        let world = World::new();
        let first = world.open(conversation(&turn()[..1]));
        first.plugin.event("session.idle", "ses_1", None);
        assert_eq!(first.plugin.dispose().await, 0);
        let mut later = conversation(&turn());
        later["info"]["time"]["updated"] = (crate::world::OLD + 9_000.0).into();
        let _next = world.open(later);
        until("it arrived", async || world.arrived().await == 3).await;
    });
}

#[test]
fn private_and_excluded_sessions_stay_here() {
    run(async {
        let mut private = conversation(&turn());
        private["info"]["title"] = "Taxes [private]".into();
        for (session, exclude) in [(private, vec![]), (conversation(&turn()), vec!["shop"])] {
            let world = World::new();
            let open = world.open_with(session, &world.store.key, &exclude);
            open.plugin.event("session.idle", "ses_1", None);
            assert_eq!(open.plugin.dispose().await, 0);
            assert_eq!(world.store.requests().await, Vec::<String>::new());
            let spooled =
                std::fs::read_dir(world.dir.path().join("spool")).map_or(0, Iterator::count);
            assert_eq!(spooled, 0, "{exclude:?}");
        }
    });
}

/// A case: what happens, and what is in the store then: texts by message, and things said of the session.
struct Case {
    what: &'static str,
    before: Value,
    events: &'static [&'static str],
    after: Value,
    texts: &'static [(&'static str, &'static str)],
    session: Value,
}

/// A turn in the store.
const WHOLE: [(&str, &str); 3] = [
    ("msg_1", "fix it"),
    ("msg_2", "I look."),
    ("msg_3", "Done."),
];

/// A turn that was changed.
fn changed(change: impl Fn(&mut Value)) -> Value {
    let mut changed = conversation(&turn());
    change(&mut changed);
    changed
}

/// What is taken back.
fn taken_back() -> Vec<Case> {
    vec![
        Case {
            what: "undo: what is taken back stays until OpenCode removes it, because it can be redone",
            before: conversation(&turn()),
            events: &["session.updated"],
            after: changed(|undone| undone["info"]["revert"] = json!({ "messageID": "msg_1" })),
            texts: &WHOLE,
            session: json!({ "cost": 1 }),
        },
        Case {
            what: "a new prompt after an undo",
            before: changed(|undone| undone["info"]["revert"] = json!({ "messageID": "msg_1" })),
            events: &[
                "message.removed",
                "message.removed",
                "message.removed",
                "message.updated",
                "session.idle",
            ],
            after: conversation(&[
                message(4, "user", "try this"),
                message(5, "assistant", "So."),
            ]),
            texts: &[
                ("msg_1", ""),
                ("msg_2", ""),
                ("msg_3", ""),
                ("msg_4", "try this"),
                ("msg_5", "So."),
            ],
            session: json!({ "cost": 0.5 }),
        },
        Case {
            what: "a part is removed",
            before: changed(|two| {
                let more = json!({ "type": "text", "text": "And more." });
                two["messages"][1]["parts"]
                    .as_array_mut()
                    .expect("parts")
                    .push(more);
            }),
            events: &["message.part.removed"],
            after: conversation(&turn()),
            texts: &WHOLE,
            session: json!({}),
        },
    ]
}

/// Sessions of a kind of their own.
fn kinds() -> Vec<Case> {
    vec![
        Case {
            what: "a fork: the copies are there, and counted where they come from",
            before: nothing(),
            events: &["session.created", "message.updated", "session.updated"],
            after: changed(|fork| {
                fork["info"]["time"]["created"] = (OLD + 2_500.0).into();
                fork["info"]["title"] = "The till (fork #1)".into();
            }),
            texts: &WHOLE,
            session: json!({ "title": "The till (fork #1)", "promptTokens": 12, "completionTokens": 6, "cost": 0 }),
        },
        Case {
            what: "a subagent under a title of its own",
            before: nothing(),
            events: &["session.created", "session.idle"],
            after: changed(|child| child["info"]["parentID"] = "ses_0".into()),
            texts: &WHOLE,
            session: json!({ "title": "Subagent: The till", "cost": 1 }),
        },
        Case {
            what: "compaction: what was said stays, and the summary comes",
            before: conversation(&turn()),
            events: &["session.compacted", "message.updated"],
            after: {
                let mut said = turn();
                let mut command = message(4, "user", "");
                command["parts"] = json!([{ "type": "compaction", "auto": true }]);
                let mut summary = message(5, "assistant", "We fixed the till.");
                summary["info"]["summary"] = true.into();
                said.extend([command, summary]);
                conversation(&said)
            },
            texts: &[
                WHOLE[0],
                WHOLE[1],
                WHOLE[2],
                ("msg_4", "[compaction]"),
                ("msg_5", "We fixed the till."),
            ],
            session: json!({ "cost": 1.5 }),
        },
    ]
}

/// How an answer or a session ends.
fn ended() -> Vec<Case> {
    vec![
        Case {
            what: "abort",
            before: conversation(&turn()[..2]),
            events: &["session.error", "session.idle", "message.updated"],
            after: changed(|aborted| {
                aborted["messages"][2]["info"]["error"] =
                    json!({ "name": "MessageAbortedError", "data": { "message": "Aborted" } });
            }),
            texts: &[
                WHOLE[0],
                WHOLE[1],
                ("msg_3", "Done.\n\n[MessageAbortedError: Aborted]"),
            ],
            session: json!({ "cost": 1 }),
        },
        Case {
            what: "an error without an answer",
            before: conversation(&turn()[..1]),
            events: &["session.error"],
            after: {
                let mut failed = message(2, "assistant", "");
                failed["parts"] = json!([]);
                failed["info"]["error"] =
                    json!({ "name": "ProviderAuthError", "data": { "providerID": "p" } });
                conversation(&[message(1, "user", "fix it"), failed])
            },
            texts: &[WHOLE[0], ("msg_2", "[ProviderAuthError]")],
            session: json!({}),
        },
        Case {
            what: "another title",
            before: conversation(&turn()),
            events: &["session.updated"],
            after: changed(|renamed| renamed["info"]["title"] = "The till rings".into()),
            texts: &WHOLE,
            session: json!({ "title": "The till rings", "cost": 1 }),
        },
        Case {
            what: "a deletion: the store cannot delete",
            before: conversation(&turn()),
            events: &["session.deleted"],
            after: nothing(),
            texts: &WHOLE,
            session: json!({ "title": "The till" }),
        },
        Case {
            what: "a deletion of what was never sent",
            before: nothing(),
            events: &["session.created", "session.deleted"],
            after: nothing(),
            texts: &[],
            session: json!(null),
        },
    ]
}

#[test]
fn what_happens_to_a_session_happens_to_it_in_the_store() {
    run(async {
        for case in [taken_back(), kinds(), ended()].into_iter().flatten() {
            let what = case.what;
            let world = World::new();
            let before = world.open(case.before);
            before.plugin.event("session.idle", "ses_1", None);
            assert_eq!(before.plugin.dispose().await, 0, "{what}");
            world.store.forward(60_000).await;
            let open = world.open(case.after);
            for event in case.events {
                assert!(EVENTS.contains(event), "{event}");
                open.plugin.event(event, "ses_1", None);
            }
            open.host.skip_ms.set(60_000);
            assert_eq!(open.plugin.dispose().await, 0, "{what}");
            let mut texts = world.texts().await;
            texts.sort();
            assert_eq!(texts, pairs(case.texts), "{what}");
            let found = world.store.state().await["sessions"][0].clone();
            let named = case.session.as_object().cloned().unwrap_or_default();
            for (name, expected) in named {
                assert_eq!(found[&name], expected, "{what}: {name}");
            }
            let is_deleted = case.events.contains(&"session.deleted");
            let spooled = world.dir.path().join("spool/ses_1.json").exists();
            assert_eq!(spooled, !is_deleted, "{what}");
        }
    });
}

#[test]
fn a_deleted_session_is_told_once_and_what_waits_of_it_stays_here() {
    run(async {
        let world = World::new();
        let first = world.open(conversation(&turn()[..1]));
        first.plugin.event("session.idle", "ses_1", None);
        assert_eq!(first.plugin.dispose().await, 0);
        world.store.lose("/sync/message").await;
        let away = world.open(conversation(&turn()));
        away.plugin.event("session.idle", "ses_1", None);
        assert_eq!(away.plugin.dispose().await, 1);
        // Its process ends.
        let _died = away.host.die_at(1);
        world.store.heal().await;
        let open = world.open(nothing());
        for event in ["session.deleted", "message.removed", "session.deleted"] {
            open.plugin.event(event, "ses_1", None);
        }
        let told = || {
            let log = open.host.logged();
            log.iter()
                .filter(|line| line.contains("was deleted"))
                .cloned()
                .collect::<Vec<_>>()
        };
        until("it is told", async || !told().is_empty()).await;
        open.plugin.event("session.deleted", "ses_1", None);
        assert_eq!(open.plugin.dispose().await, 0);
        let told = told();
        assert_eq!(told.len(), 1, "{told:?}");
        for part in ["3 records of it had not been sent", "in its dashboard only"] {
            assert!(told[0].contains(part), "{told:?}");
        }
        assert_eq!(world.texts().await, pairs(&[("msg_1", "fix it")]));
    });
}

#[test]
fn a_key_that_is_not_taken_is_told_once_and_everything_waits() {
    run(async {
        let world = World::new();
        let open = world.open_with(conversation(&turn()), "osk_wrong", &[]);
        for _ in 0..3 {
            open.plugin.event("session.idle", "ses_1", None);
            until("it is told", async || {
                !open.opencode.toasts.borrow().is_empty()
            })
            .await;
        }
        assert_eq!(open.plugin.dispose().await, 1);
        let toasts = open.opencode.toasts.borrow().clone();
        assert_eq!(toasts.len(), 1);
        assert!(toasts[0].contains("opencode-sync login"), "{}", toasts[0]);
        let refused = world.store.requests().await.len();
        assert!(
            refused <= 2,
            "{refused} requests with a key that was refused"
        );
    });
}

#[test]
fn a_store_that_is_away_is_told_once_and_not_asked_all_the_time() {
    run(async {
        let world = World::new();
        world
            .store
            .fault(json!({ "drop": "before", "times": -1 }))
            .await;
        let open = world.open(conversation(&turn()));
        let tries = open.count_for_an_hour();
        open.plugin.event("session.idle", "ses_1", None);
        let is_told = async || !open.opencode.toasts.borrow().is_empty();
        until("it is told", is_told).await;
        open.tries_for_an_hour().await;
        let tries = tries.get();
        assert!(tries > 0 && tries < 40, "{tries} requests in an hour");
        assert_eq!(open.opencode.toasts.borrow().len(), 1);
        world.store.heal().await;
        until("it arrived", async || world.arrived().await == 3).await;
    });
}

#[test]
fn two_processes_of_one_session_send_each_message_once_more_at_most() {
    run(async {
        let world = World::new();
        let mut later = turn();
        later.push(message(4, "user", "and now"));
        let one = world.open(conversation(&turn()));
        let two = world.open(conversation(&later));
        for open in [&one, &two] {
            open.plugin.event("session.idle", "ses_1", None);
        }
        let ends = futures::future::join(one.plugin.dispose(), two.plugin.dispose());
        ends.map(drop).await;
        world.store.forward(60_000).await;
        let third = world.open(conversation(&later));
        third.plugin.event("session.idle", "ses_1", None);
        assert_eq!(third.plugin.dispose().await, 0);
        let expected = pairs(&[
            ("msg_1", "fix it"),
            ("msg_2", "I look."),
            ("msg_3", "Done."),
            ("msg_4", "and now"),
        ]);
        assert_eq!(world.texts().await, expected);
    });
}

#[test]
fn an_answer_that_a_killed_process_left_unfinished_is_not_emptied_in_the_next_turn() {
    run(async {
        let world = World::new();
        let mut unfinished = turn();
        let times = unfinished[2]["info"]["time"].as_object_mut();
        times.expect("times").remove("completed");
        let first = world.open(conversation(&unfinished));
        first.plugin.event("session.idle", "ses_1", None);
        assert_eq!(first.plugin.dispose().await, 0);
        world.store.forward(60_000).await;
        // A long turn is looked at while it goes on.
        let mut more = unfinished;
        more.push(message(4, "user", "and now"));
        let open = world.open(conversation(&more));
        open.host.skip_ms.set(60_000);
        open.host.fast.set(true);
        open.plugin.event("session.status", "ses_1", Some("busy"));
        until("the prompt arrived", async || world.arrived().await == 4).await;
        assert_eq!(world.texts().await[2], ("msg_3".into(), "Done.".into()));
    });
}

#[test]
fn a_pause_that_the_store_asks_for_is_kept() {
    run(async {
        let world = World::new();
        let pause =
            json!({ "status": 429, "headers": { "retry-after": "900" }, "path": "/sync/message" });
        world.store.fault(pause).await;
        let open = world.open(conversation(&turn()));
        open.host.fast.set(true);
        open.plugin.event("session.idle", "ses_1", None);
        let asked = async || !world.store.requests().await.is_empty();
        until("it was asked", asked).await;
        until("it arrived", async || world.arrived().await == 3).await;
        assert!(
            open.host.skip_ms.get() >= 899_000,
            "{}",
            open.host.skip_ms.get()
        );
        assert!(open.opencode.toasts.borrow().is_empty());
        let messages = world.store.requests().await;
        let messages = messages
            .iter()
            .filter(|request| request.ends_with("/sync/message"));
        assert_eq!(messages.count(), 4);
    });
}

#[test]
fn a_store_that_says_ok_and_does_nothing_is_told_once_and_not_asked_all_the_time() {
    run(async {
        let world = World::new();
        let lie = json!({ "silent": true, "times": -1, "path": "/sync/message" });
        world.store.fault(lie).await;
        let open = world.open(conversation(&turn()));
        let tries = open.count_for_an_hour();
        open.plugin.event("session.idle", "ses_1", None);
        open.tries_for_an_hour().await;
        let tries = tries.get();
        assert!(tries > 0 && tries < 120, "{tries} requests in an hour");
        let toasts = open.opencode.toasts.borrow().clone();
        assert_eq!(toasts.len(), 1, "{toasts:?}");
        assert!(toasts[0].contains("does not have them"), "{toasts:?}");
        world.store.heal().await;
        until("it arrived", async || world.arrived().await == 3).await;
    });
}

#[test]
fn a_spool_that_cannot_be_written_is_told_once_and_nothing_is_thrown() {
    run(async {
        let world = World::new();
        let open = world.open(conversation(&turn()));
        open.host.fast.set(true);
        open.host.fail(|operation, path| {
            let writes = ["replace", "create", "temp", "rename"].contains(&operation);
            (writes && path.contains("spool")).then(|| "no space left on device".into())
        });
        for _ in 0..5 {
            open.plugin.event("session.idle", "ses_1", None);
        }
        let is_told = async || !open.opencode.toasts.borrow().is_empty();
        until("it is told", is_told).await;
        open.tries_for_an_hour().await;
        let toasts = open.opencode.toasts.borrow().clone();
        assert_eq!(toasts.len(), 1, "{toasts:?}");
        assert!(toasts[0].contains("no space left on device"), "{toasts:?}");
        assert_eq!(world.store.requests().await, Vec::<String>::new());
        open.host.heal();
        until("it arrived", async || world.arrived().await == 3).await;
        open.host
            .fail(|operation, _| (operation != "http").then(|| "gone".into()));
        open.plugin.event("session.idle", "ses_1", None);
        open.plugin.dispose().await;
    });
}
