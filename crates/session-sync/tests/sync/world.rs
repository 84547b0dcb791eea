//! A store, and processes of ours that bring sessions into it.

use serde_json::{Value, json};
use session_sync::opencode::Conversation;
use session_sync::record::{Include, Policy, Sums, message_records, session_record};
use session_sync::redact::Redactor;
use session_sync::send::{Pass, SendError, Sender};
use session_sync::spool::Spool;
use session_sync::store::Store;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use testkit::TestHost;

pub(crate) const ALL: Include = Include {
    tool_output: true,
    reasoning: true,
    files: true,
};

/// The fake, as a process of its own.
pub(crate) struct OpenSync {
    child: Child,
    pub(crate) url: String,
    pub(crate) key: String,
}

impl OpenSync {
    pub(crate) fn start() -> OpenSync {
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

    pub(crate) async fn state(&self) -> Value {
        self.control("GET", "/_test/state", json!({})).await
    }

    pub(crate) async fn requests(&self) -> Vec<String> {
        let all = self.control("GET", "/_test/requests", json!({})).await;
        serde_json::from_value(all).expect("a list")
    }

    pub(crate) async fn forget(&self) {
        self.control("DELETE", "/_test/requests", json!({})).await;
    }

    pub(crate) async fn fault(&self, fault: Value) {
        self.control("POST", "/_test/fault", fault).await;
    }

    /// Requests of a path are lost on their way, until it heals.
    pub(crate) async fn lose(&self, path: &str) {
        self.fault(json!({ "drop": "before", "times": -1, "path": path }))
            .await;
    }

    pub(crate) async fn heal(&self) {
        self.control("DELETE", "/_test/fault", json!({})).await;
    }

    pub(crate) async fn forward(&self, ms: u64) {
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

pub(crate) struct World {
    pub(crate) store: OpenSync,
    pub(crate) dir: tempfile::TempDir,
}

/// One process of ours.
pub(crate) struct Process {
    pub(crate) host: Arc<TestHost>,
    pub(crate) spool: Spool,
    pub(crate) sender: Sender,
}

impl Process {
    /// The conversation is to be in the store as it is now.
    pub(crate) async fn want(&self, conversation: &Value) {
        let conversation: Conversation =
            serde_json::from_value(conversation.clone()).expect("a conversation");
        let (include, redactor) = (ALL, Redactor::new([]));
        let policy = Policy { include, redactor };
        let mut sums = Sums::default();
        sums.add(&conversation.info, &conversation.messages);
        let session = session_record(&conversation.info, &sums, &policy);
        let messages = message_records(&conversation, &policy);
        let want = self.spool.update("ses_1", |entry| {
            entry.add(&session);
            entry.add_messages(&messages);
            let ids = messages
                .iter()
                .map(|(message, _)| message.external_id.clone());
            entry.keep("ses_1", &ids.collect());
        });
        want.await.expect("the spool takes it");
    }

    pub(crate) async fn send(&self) -> Result<Pass, SendError> {
        self.sender.session("ses_1").await
    }
}

impl World {
    pub(crate) fn new() -> World {
        World {
            store: OpenSync::start(),
            dir: tempfile::tempdir().expect("a directory"),
        }
    }

    pub(crate) fn process(&self) -> Process {
        self.process_with(&self.store.key)
    }

    pub(crate) fn process_with(&self, key: &str) -> Process {
        let host = Arc::new(TestHost::new(&[]));
        let dir = self.dir.path().join("spool");
        let spool = Spool::new(host.clone(), &dir.to_string_lossy());
        let store = Store::new(host.clone(), &self.store.url, key);
        let sender = Sender::new(host.clone(), store, spool.clone(), Vec::new());
        Process {
            host,
            spool,
            sender,
        }
    }

    /// Titles, texts and parts, in the store's order.
    pub(crate) async fn texts(&self) -> Vec<(String, String)> {
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

pub(crate) const OLD: f64 = 1_700_000_000_000.0;

pub(crate) fn message(n: u32, role: &str, text: &str) -> Value {
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

pub(crate) fn conversation(messages: &[Value]) -> Value {
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

pub(crate) fn turn() -> Vec<Value> {
    vec![
        message(1, "user", "fix it"),
        message(2, "assistant", "I look."),
        message(3, "assistant", "Done."),
    ]
}

pub(crate) fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    expected
        .iter()
        .map(|(id, text)| (id.to_string(), text.to_string()))
        .collect()
}
