//! Sessions on their way into the store, against a fake OpenSync that drops, refuses and limits as the real one.

use serde_json::{Value, json};
use session_sync::opencode::Conversation;
use session_sync::record::{Include, Policy, records};
use session_sync::redact::Redactor;
use session_sync::send::{Pass, SendError, Sender};
use session_sync::spool::Spool;
use session_sync::store::{Failure, Store};
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::rc::Rc;
use testkit::{TestHost, run};

const ALL: Include = Include {
    tool_output: true,
    reasoning: true,
    files: true,
};

/// The fake, as a process of its own.
struct OpenSync {
    child: Child,
    url: String,
    key: String,
}

impl OpenSync {
    fn start() -> OpenSync {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/sync/opensync.mjs");
        let mut child = Command::new("node")
            .arg(script)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("node starts");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("piped"))
            .read_line(&mut line)
            .expect("it prints where it is");
        let told: Value = serde_json::from_str(&line).expect("JSON");
        let text = |name: &str| told[name].as_str().expect("text").to_string();
        OpenSync {
            child,
            url: text("url"),
            key: text("key"),
        }
    }

    async fn control(&self, method: &'static str, path: &str, body: Value) -> Value {
        let host = TestHost::new(&[]);
        let request = host::HttpRequest {
            method,
            url: format!("{}{path}", self.url),
            headers: Vec::new(),
            body: if method == "GET" {
                host::Body::Empty
            } else {
                host::Body::Json(body.to_string())
            },
            timeout_ms: 10_000,
            max_bytes: 1 << 28,
            save_to: None,
        };
        let answer = host::Host::http(&host, request).await.expect("an answer");
        serde_json::from_slice(&answer.body).expect("JSON")
    }

    async fn state(&self) -> Value {
        self.control("GET", "/_test/state", json!({})).await
    }

    async fn requests(&self) -> Vec<String> {
        let all = self.control("GET", "/_test/requests", json!({})).await;
        serde_json::from_value(all).expect("a list")
    }

    async fn forget(&self) {
        self.control("DELETE", "/_test/requests", json!({})).await;
    }

    async fn fault(&self, fault: Value) {
        self.control("POST", "/_test/fault", fault).await;
    }

    async fn heal(&self) {
        self.control("DELETE", "/_test/fault", json!({})).await;
    }

    async fn forward(&self, ms: u64) {
        self.control("POST", "/_test/clock", json!({ "ms": ms }))
            .await;
    }
}

impl Drop for OpenSync {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

struct World {
    store: OpenSync,
    dir: tempfile::TempDir,
}

/// One process of ours.
struct Process {
    host: Rc<TestHost>,
    spool: Spool,
    sender: Sender,
}

impl Process {
    /// The conversation is to be in the store as it is now.
    async fn want(&self, conversation: &Value) {
        let conversation: Conversation =
            serde_json::from_value(conversation.clone()).expect("a conversation");
        let (include, redactor) = (ALL, Redactor::new([]));
        let policy = Policy { include, redactor };
        let (session, messages) = records(&conversation, &policy);
        let want = self
            .spool
            .update("ses_1", |entry| entry.want(&session, &messages));
        want.await.expect("the spool takes it");
    }

    async fn send(&self) -> Result<Pass, SendError> {
        self.sender.session("ses_1").await
    }
}

impl World {
    fn new() -> World {
        World {
            store: OpenSync::start(),
            dir: tempfile::tempdir().expect("a directory"),
        }
    }

    fn process(&self) -> Process {
        self.process_with(&self.store.key)
    }

    fn process_with(&self, key: &str) -> Process {
        let host = Rc::new(TestHost::new(&[]));
        let dir = self.dir.path().join("spool");
        let spool = Spool::new(host.clone(), &dir.to_string_lossy());
        let store = Store::new(host.clone(), &self.store.url, key);
        let sender = Sender::new(host.clone(), store, spool.clone());
        Process {
            host,
            spool,
            sender,
        }
    }

    /// Titles, texts and parts, in the store's order.
    async fn texts(&self) -> Vec<(String, String)> {
        let state = self.store.state().await;
        let messages = state["sessions"][0]["messages"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        let text =
            |message: &Value, name: &str| message[name].as_str().unwrap_or_default().to_string();
        messages
            .iter()
            .map(|message| (text(message, "externalId"), text(message, "textContent")))
            .collect()
    }
}

const OLD: f64 = 1_700_000_000_000.0;

fn message(n: u32, role: &str, text: &str) -> Value {
    let at = OLD + f64::from(n) * 1_000.0;
    let mut info = json!({ "id": format!("msg_{n}"), "role": role, "time": { "created": at } });
    if role == "assistant" {
        info["modelID"] = "m".into();
        info["time"]["completed"] = (at + 500.0).into();
        info["tokens"] =
            json!({ "input": 10, "output": 5, "reasoning": 1, "cache": { "read": 2, "write": 0 } });
    }
    json!({ "info": info, "parts": [{ "type": "text", "text": text }] })
}

fn conversation(messages: &[Value]) -> Value {
    let answers = messages
        .iter()
        .filter(|message| message["info"]["role"] == "assistant")
        .count();
    json!({
        "info": {
            "id": "ses_1", "directory": "/home/me/shop", "title": "The till", "cost": 0.5 * answers as f64, "model": { "id": "m", "providerID": "fake" },
            "tokens": { "input": 10 * answers, "output": 5 * answers, "reasoning": answers, "cache": { "read": 2 * answers, "write": 0 } },
            "time": { "created": OLD, "updated": OLD },
        },
        "messages": messages,
    })
}

fn turn() -> Vec<Value> {
    vec![
        message(1, "user", "fix it"),
        message(2, "assistant", "I look."),
        message(3, "assistant", "Done."),
    ]
}

fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    expected
        .iter()
        .map(|(id, text)| (id.to_string(), text.to_string()))
        .collect()
}

#[test]
fn a_session_arrives_whole_with_its_dates_and_sums_in_few_requests() {
    run(async {
        let world = World::new();
        let process = world.process();
        process.want(&conversation(&turn())).await;
        let pass = process.send().await.expect("it is sent");
        assert_eq!(
            pass,
            Pass {
                messages: 3,
                ..Pass::default()
            }
        );
        let session = world.store.state().await["sessions"][0].clone();
        for (name, expected) in [
            ("title", json!("The till")),
            ("projectName", json!("shop")),
            ("promptTokens", json!(24)),
            ("completionTokens", json!(12)),
            ("cost", json!(1)),
            ("createdAt", json!(OLD as u64)),
        ] {
            assert_eq!(session[name], expected, "{name}");
        }
        assert_eq!(
            session["messages"][1]["createdAt"],
            json!(OLD as u64 + 2_000)
        );
        assert_eq!(
            world.texts().await,
            pairs(&[
                ("msg_1", "fix it"),
                ("msg_2", "I look."),
                ("msg_3", "Done.")
            ])
        );
        // Its text can be searched, by words and by meaning.
        assert_eq!(
            session["searchableText"],
            json!("The till fix it I look. Done.")
        );
        assert_eq!(session["embeddings"], json!(2));
        // Beside the clock and reading back: a request for each message, and two for the session.
        let requests = world.store.requests().await;
        let counted = requests
            .iter()
            .filter(|request| request.starts_with("POST"))
            .count();
        assert_eq!((counted, requests.len()), (5, 7), "{requests:?}");

        // What has arrived is not sent again, by this process or by another.
        world.store.forget().await;
        process.want(&conversation(&turn())).await;
        world.process().want(&conversation(&turn())).await;
        assert_eq!(
            process.send().await.expect("nothing to do"),
            Pass::default()
        );
        assert_eq!(world.store.requests().await, Vec::<String>::new());
    });
}

#[test]
fn a_process_that_is_killed_anywhere_loses_nothing_and_sends_nothing_twice() {
    run(async {
        for step in 1.. {
            let world = World::new();
            let dying = world.process();
            let died = dying.host.die_at(step);
            let work = async {
                dying.want(&conversation(&turn())).await;
                let _ = dying.send().await;
            };
            let died = tokio::select! {
                biased;
                _ = died => true,
                () = work => false,
            };
            let living = world.process();
            living.host.skip_ms.set(60_000);
            living.want(&conversation(&turn())).await;
            world.store.forward(60_000).await;
            let pass = living.send().await.expect("it is sent");
            assert_eq!((pass.left, pass.refused), (0, 0), "step {step}");
            let expected = pairs(&[
                ("msg_1", "fix it"),
                ("msg_2", "I look."),
                ("msg_3", "Done."),
            ]);
            assert_eq!(world.texts().await, expected, "step {step}");
            let session = world.store.state().await["sessions"][0].clone();
            let found = (&session["title"], &session["cost"], &session["createdAt"]);
            assert_eq!(
                found,
                (&json!("The till"), &json!(1), &json!(OLD as u64)),
                "step {step}"
            );
            if !died {
                assert!(step > 8, "it ended after {step} steps");
                break;
            }
        }
    });
}

#[test]
fn whatever_the_store_answers_what_it_did_not_take_is_sent_again() {
    run(async {
        for (what, fault, reason) in [
            (
                "dropped before",
                json!({ "drop": "before", "path": "/sync/message" }),
                "cannot be reached",
            ),
            (
                "dropped after",
                json!({ "drop": "after", "path": "/sync/message" }),
                "cannot be reached",
            ),
            (
                "500",
                json!({ "status": 500, "path": "/sync/message" }),
                "answers 500",
            ),
            (
                "502 in HTML",
                json!({ "status": 502, "body": "<html>", "path": "/sync/session" }),
                "answers 502",
            ),
            (
                "429",
                json!({ "status": 429, "headers": { "retry-after": "7" }, "path": "/sync/message" }),
                "pause of 7 s",
            ),
            (
                "404",
                json!({ "status": 404, "body": "No matching routes found" }),
                "answers 404",
            ),
            (
                "a page",
                json!({ "status": 200, "body": "<html>welcome", "path": "/sync/message" }),
                "welcome",
            ),
        ] {
            let world = World::new();
            let process = world.process();
            process.want(&conversation(&turn())).await;
            world.store.fault(fault).await;
            let error = process.send().await.expect_err(what).to_string();
            assert!(error.contains(reason), "{what}: {error}");
            world.store.heal().await;
            world.store.forward(60_000).await;
            let pass = world.process().send().await.expect(what);
            assert_eq!((pass.left, pass.refused), (0, 0), "{what}");
            assert_eq!(world.texts().await.len(), 3, "{what}");
        }
    });
}

#[test]
fn an_ok_that_did_nothing_is_seen() {
    run(async {
        let world = World::new();
        let process = world.process();
        process.want(&conversation(&turn())).await;
        world
            .store
            .fault(json!({ "silent": true, "path": "/sync/message" }))
            .await;
        let pass = process.send().await.expect("it is said to be taken");
        assert_eq!((pass.messages, pass.left), (2, 1));
        assert!(pass.later_ms > 0);
        world.store.heal().await;
        assert_eq!(process.send().await.expect("it is sent").messages, 1);
        assert_eq!(world.texts().await.len(), 3);
    });
}

#[test]
fn an_update_waits_until_the_store_takes_it() {
    run(async {
        let world = World::new();
        let process = world.process();
        let now = host::Host::now_ms(&*process.host) as f64;
        let mut messages = turn();
        messages[2]["info"]["time"]["created"] = now.into();
        process.want(&conversation(&messages)).await;
        process.send().await.expect("it is sent");
        messages[2]["parts"][0]["text"] = "Done, really.".into();
        process.want(&conversation(&messages)).await;
        let pass = process.send().await.expect("nothing is taken now");
        assert_eq!((pass.messages, pass.left), (0, 1));
        assert!(
            (1_000..=5_001).contains(&pass.later_ms),
            "{}",
            pass.later_ms
        );
        world.store.forward(6_000).await;
        let pass = world.process().send().await.expect("it is sent");
        assert_eq!((pass.messages, pass.left), (1, 0));
        assert_eq!(world.texts().await[2].1, "Done, really.");
    });
}

#[test]
fn a_date_in_the_future_is_the_stores_now() {
    run(async {
        let world = World::new();
        let process = world.process();
        let now = host::Host::now_ms(&*process.host) as f64;
        let mut messages = turn();
        messages[2]["info"]["time"]["created"] = (now + 86_400_000.0).into();
        process.want(&conversation(&messages)).await;
        let pass = process.send().await.expect("it is sent");
        assert_eq!((pass.messages, pass.left), (3, 0));
        let date = world.store.state().await["sessions"][0]["messages"][2]["createdAt"].clone();
        assert!(date.as_f64().expect("a date") < now + 60_000.0, "{date}");
    });
}

#[test]
fn a_refused_message_is_kept_and_the_others_go_on() {
    run(async {
        let world = World::new();
        let process = world.process();
        process.want(&conversation(&turn())).await;
        let refusal = json!({ "error": "ArgumentValidationError: Value is too large" });
        world
            .store
            .fault(json!({ "status": 500, "body": refusal, "path": "/sync/message" }))
            .await;
        let pass = process.send().await.expect("the others are sent");
        assert_eq!((pass.messages, pass.left, pass.refused), (2, 0, 1));
        world.store.heal().await;
        assert_eq!(
            process.send().await.expect("it is not tried again").refused,
            1
        );
        assert_eq!(world.texts().await.len(), 2);
        process
            .spool
            .update("ses_1", |entry| entry.retry())
            .await
            .expect("the spool");
        assert_eq!(process.send().await.expect("it is sent").messages, 1);
        assert_eq!(world.texts().await.len(), 3);
    });
}

#[test]
fn a_wrong_key_is_told_and_everything_is_kept() {
    run(async {
        let world = World::new();
        let process = world.process_with("osk_wrong");
        process.want(&conversation(&turn())).await;
        let error = process.send().await.expect_err("no key");
        assert!(
            matches!(error, SendError::Store(Failure::Key(_))),
            "{error}"
        );
        assert_eq!(
            world.process().send().await.expect("it is sent").messages,
            3
        );
    });
}

#[test]
fn a_message_that_is_gone_is_emptied_and_one_that_never_arrived_is_forgotten() {
    run(async {
        let world = World::new();
        let process = world.process();
        process.want(&conversation(&turn())).await;
        process.send().await.expect("it is sent");
        let mut more = turn();
        more.push(message(4, "user", "and this"));
        process.want(&conversation(&more)).await;
        process.want(&conversation(&turn()[..2])).await;
        let pass = process.send().await.expect("it is sent");
        assert_eq!(pass.left, 0);
        assert_eq!(
            world.texts().await,
            pairs(&[("msg_1", "fix it"), ("msg_2", "I look."), ("msg_3", "")])
        );
        assert_eq!(
            world.store.state().await["sessions"][0]["messages"][2]["parts"],
            json!([])
        );
    });
}

#[test]
fn a_new_title_comes_before_new_messages_so_that_their_text_can_be_searched() {
    run(async {
        let world = World::new();
        let process = world.process();
        process.want(&conversation(&turn()[..1])).await;
        process.send().await.expect("it is sent");
        let mut renamed = conversation(&turn());
        renamed["info"]["title"] = "The till rings".into();
        process.want(&renamed).await;
        let pass = process.send().await.expect("it is sent");
        assert_eq!((pass.messages, pass.left), (2, 0));
        let session = world.store.state().await["sessions"][0].clone();
        assert_eq!(
            session["searchableText"],
            json!("The till rings I look. Done.")
        );
    });
}

#[test]
fn a_spool_that_cannot_be_read_is_put_aside_and_the_session_is_sent_again() {
    run(async {
        let world = World::new();
        let process = world.process();
        process.want(&conversation(&turn())).await;
        process.send().await.expect("it is sent");
        let path = world.dir.path().join("spool/ses_1.json");
        for broken in ["{", "{\"version\":99}"] {
            std::fs::write(&path, broken).expect("written");
            process.want(&conversation(&turn())).await;
            world.store.forward(60_000).await;
            let process = world.process();
            assert_eq!(
                process.send().await.expect("it is sent").left,
                0,
                "{broken}"
            );
            assert_eq!(world.texts().await.len(), 3, "{broken}");
        }
        let aside = std::fs::read_dir(world.dir.path().join("spool")).expect("a directory");
        let aside = aside.filter(|entry| {
            entry
                .as_ref()
                .expect("an entry")
                .file_name()
                .to_string_lossy()
                .contains(".broken-")
        });
        assert_eq!(aside.count(), 2);
    });
}
