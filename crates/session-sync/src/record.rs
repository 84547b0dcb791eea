//! Records in the shapes of the store's interface (OpenSync's `/sync/session` and `/sync/message`, February
//! 2026), made of what OpenCode has of a session.
//!
//! The store shows a message's parts if it can show any, and searches parts and text in different
//! places: so a text is in both.

use crate::digest::short_hash;
use crate::fit;
use crate::opencode::{Conversation, Message, MessageInfo, Part, Session, ToolState};
use crate::records::{MessageRecord, PartRecord, SessionRecord};
use crate::redact::Redactor;
use host::Host;
use serde_json::{Value, json};

/// What the store calls sessions of OpenCode.
pub(crate) const SOURCE: &str = "opencode";
/// Stands where OpenCode has put a summary in the place of what was said, for the model.
const COMPACTION: &str = "[compaction]";
/// Stands in each message that a fork has taken along. Parts of its kind are kept and not shown.
const COPY: &str = "A copy of a message in the session that this one was forked from; its tokens are counted there.";

/// What of a message leaves the machine, beside what was typed and written, and the names of tools with their
/// arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Include {
    /// What tools gave: files that were read, output of commands.
    pub tool_output: bool,
    /// What the model thought.
    pub reasoning: bool,
    /// Names and types of attached files. Their content never leaves.
    pub files: bool,
}

/// What leaves the machine, and how.
pub struct Policy {
    /// What of a message.
    pub include: Include,
    /// Takes secrets out of it.
    pub redactor: Redactor,
}

impl Policy {
    /// What leaves by the settings, without the values of variables that are secrets.
    pub fn new<'a>(
        include: Include,
        variables: impl IntoIterator<Item = (&'a String, &'a String)>,
    ) -> Policy {
        let variables = variables.into_iter();
        let texts = variables.map(|(name, value)| (name.as_str(), value.as_str()));
        let redactor = Redactor::new(texts);
        Policy { include, redactor }
    }

    /// What leaves of a session that works in a directory: without what the project's own files keep secret.
    pub async fn in_project(&self, host: &dyn Host, directory: &str) -> Policy {
        let values = crate::project::values(host, directory).await;
        Policy {
            include: self.include,
            redactor: self.redactor.in_project(&values),
        }
    }

    /// A text as it leaves. A secret at the place of a cut would be found by nobody, so it is cut last.
    fn text(&self, given: &str) -> String {
        fit::text(&self.redactor.text(given))
    }

    /// Names what leaves by these rules: others may make other records of the same message.
    pub fn name(&self) -> String {
        let include = format!("{:?}", self.include);
        short_hash(&[env!("CARGO_PKG_VERSION"), &include, &self.redactor.name()])
    }

    /// Gives what names all that a message's record is made of. That is much cheaper than the record.
    pub fn fingerprints<'a>(&self, session: &'a Session) -> impl Fn(&Message) -> String + use<'a> {
        let policy = self.name();
        move |message| {
            let is_copy = is_copy(session, &message.info).to_string();
            short_hash(&[&policy, &is_copy, &format!("{message:?}")])
        }
    }

    fn value(&self, given: &Value) -> Value {
        fit::value(&self.redactor.value(given))
    }
}

/// What a session's messages come to together. A session that is read in pieces adds each.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sums {
    prompt: f64,
    completion: f64,
    /// None if no message has a cost.
    cost: Option<f64>,
    start: Option<f64>,
    end: Option<f64>,
    model: Option<String>,
    provider: Option<String>,
    /// Some messages were copied from another session.
    has_copies: bool,
}

impl Sums {
    /// Adds messages of a session. Copies are counted where they come from.
    pub fn add(&mut self, session: &Session, messages: &[Message]) {
        for Message { info, .. } in messages {
            if info.model.is_some() {
                self.model.clone_from(&info.model);
                self.provider.clone_from(&info.provider);
            }
            if is_copy(session, info) {
                self.has_copies = true;
                continue;
            }
            if let Some(tokens) = info.tokens {
                self.prompt += tokens.prompt();
                self.completion += tokens.completion();
            }
            if let Some(cost) = info.cost {
                self.cost = Some(self.cost.unwrap_or_default() + cost);
            }
            self.start.get_or_insert(info.time.created);
            let end = info.time.completed.into_iter().chain(self.end);
            self.end = end.reduce(f64::max);
        }
    }
}

/// True for a message that a fork has taken along: only such a one is older than its session.
fn is_copy(session: &Session, message: &MessageInfo) -> bool {
    message.time.created < session.time.created
}

/// What the messages of a conversation, or of a piece of one, are in the store, each with its fingerprint.
pub fn message_records(
    conversation: &Conversation,
    policy: &Policy,
) -> Vec<(MessageRecord, String)> {
    let Conversation { info, messages } = conversation;
    let fingerprint = policy.fingerprints(info);
    let record = |message| {
        let record = message_record(info, message, policy)?;
        Some((record, fingerprint(message)))
    };
    messages.iter().filter_map(record).collect()
}

/// What a session is in the store, whose messages come to these sums.
pub fn session_record(info: &Session, sums: &Sums, policy: &Policy) -> SessionRecord {
    let model = info.model.as_ref().map(|model| model.id.clone());
    let provider = info.model.as_ref().map(|model| model.provider.clone());
    // Releases that do not keep sums have them in the messages. Those of a fork count the copies once more.
    let kept = info.tokens.filter(|_| !sums.has_copies);
    let (prompt, completion) = kept.map_or((sums.prompt, sums.completion), |tokens| {
        (tokens.prompt(), tokens.completion())
    });
    let cost = info.cost.filter(|_| !sums.has_copies).or(sums.cost);
    let span = sums.start.zip(sums.end);
    SessionRecord {
        external_id: info.id.clone(),
        title: policy.text(&title(info)),
        project_path: policy.text(&info.directory),
        project_name: policy.text(&name(&info.directory)),
        model: model.or_else(|| sums.model.clone()),
        provider: provider.or_else(|| sums.provider.clone()),
        source: SOURCE,
        prompt_tokens: prompt,
        completion_tokens: completion,
        cost: cost.filter(|cost| *cost > 0.0),
        duration_ms: span.map_or(0.0, |(start, end)| (end - start).max(0.0)),
        created_at: info.time.created,
    }
}

/// The store has no field for the session that a subagent's belongs to. OpenCode's own titles say that it is one
/// at their end; another title says it in front.
fn title(info: &Session) -> String {
    match info.parent.is_some() && !info.title.ends_with("subagent)") {
        true => format!("Subagent: {}", info.title),
        false => info.title.clone(),
    }
}

/// The last name in a path of any platform.
fn name(path: &str) -> String {
    let mut names = path.split(['/', '\\']).filter(|name| !name.is_empty());
    names.next_back().unwrap_or(path).into()
}

/// None for a message of which nothing would be in the store.
pub fn message_record(
    session: &Session,
    message: &Message,
    policy: &Policy,
) -> Option<MessageRecord> {
    let Message { info, parts } = message;
    let role = match info.role.as_str() {
        "user" => "user",
        "assistant" => "assistant",
        _ => "unknown",
    };
    let mut records: Vec<PartRecord> = parts
        .iter()
        .flat_map(|part| part_records(part, policy))
        .collect();
    if let Some(error) = &info.error {
        let why = error.data.get("message").and_then(Value::as_str);
        let why = why.map_or_else(String::new, |why| format!(": {why}"));
        let text = format!("[{}{why}]", error.name);
        records.push(part("text", policy.text(&text).into()));
    }
    if records.is_empty() {
        return None;
    }
    let texts = records.iter().filter(|part| part.kind == "text");
    let texts: Vec<&str> = texts.filter_map(|part| part.content.as_str()).collect();
    let text_content = fit::text(&texts.join("\n\n"));
    fit::parts(&mut records);
    let is_copy = is_copy(session, info);
    if is_copy {
        records.push(part("copy", COPY.into()));
    }
    let is_counted = role == "assistant" && !is_copy;
    let tokens = info.tokens.filter(|_| is_counted);
    Some(MessageRecord {
        session_external_id: session.id.clone(),
        external_id: info.id.clone(),
        role,
        text_content,
        model: info.model.clone(),
        prompt_tokens: tokens.map(|tokens| tokens.prompt()),
        completion_tokens: tokens.map(|tokens| tokens.completion()),
        duration_ms: info
            .time
            .completed
            .map(|completed| (completed - info.time.created).max(0.0)),
        source: SOURCE,
        parts: records,
        created_at: info.time.created,
    })
}

fn part(kind: &'static str, content: Value) -> PartRecord {
    PartRecord { kind, content }
}

fn part_records(given: &Part, policy: &Policy) -> Vec<PartRecord> {
    match given {
        // What OpenCode adds to a prompt is the content of attached files.
        Part::Text {
            synthetic: true, ..
        }
        | Part::Text { ignored: true, .. }
        | Part::Other => Vec::new(),
        Part::Text { text, .. } if text.is_empty() => Vec::new(),
        Part::Text { text, .. } => vec![part("text", policy.text(text).into())],
        Part::Reasoning { text } if policy.include.reasoning && !text.is_empty() => {
            vec![part("reasoning", policy.text(text).into())]
        }
        Part::Reasoning { .. } => Vec::new(),
        Part::File { mime, filename } if policy.include.files => {
            let name = filename.as_deref().unwrap_or_default();
            vec![part(
                "file",
                json!({ "name": policy.text(name), "mime": mime }),
            )]
        }
        Part::File { .. } => Vec::new(),
        Part::Subtask { prompt, agent } => {
            let text = format!("[@{agent}] {prompt}");
            vec![part("text", policy.text(&text).into())]
        }
        Part::Compaction => vec![part("text", COMPACTION.into())],
        Part::Tool { tool, state } => tool_records(tool, state, policy),
    }
}

fn tool_records(tool: &str, state: &ToolState, policy: &Policy) -> Vec<PartRecord> {
    let args = policy.value(&state.input);
    let call = json!({ "name": tool, "args": args });
    let mut records = vec![part("tool-call", call)];
    // An error is told in any case; it is OpenCode's or the tool's sentence, not its output.
    let result = match (&state.output, &state.error) {
        (Some(output), _) if policy.include.tool_output => {
            Some(json!({ "result": policy.text(output) }))
        }
        (_, Some(error)) => Some(json!({ "result": policy.text(error) })),
        _ => None,
    };
    records.extend(result.map(|result| part("tool-result", result)));
    records
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: Include = Include {
        tool_output: true,
        reasoning: true,
        files: true,
    };
    const CAREFUL: Include = Include {
        tool_output: false,
        reasoning: false,
        files: false,
    };

    fn conversation(messages: Value) -> Conversation {
        let info = json!({
            "id": "ses_1", "projectID": "p", "directory": "/home/me/shop", "title": "Fix the till", "version": "1.18.33",
            "model": { "id": "m", "providerID": "fake", "variant": "default" }, "cost": 0.25,
            "tokens": { "input": 700, "output": 150, "reasoning": 50, "cache": { "read": 300, "write": 0 }, "total": 1200 },
            "time": { "created": 1000, "updated": 9000 },
        });
        serde_json::from_value(json!({ "info": info, "messages": messages })).expect("it parses")
    }

    fn user(parts: Value) -> Value {
        json!({ "info": { "id": "msg_1", "sessionID": "ses_1", "role": "user", "time": { "created": 1100 }, "agent": "build" }, "parts": parts })
    }

    fn assistant(parts: Value, more: Value) -> Value {
        let mut info = json!({
            "id": "msg_2", "sessionID": "ses_1", "role": "assistant", "parentID": "msg_1", "modelID": "m", "providerID": "fake",
            "cost": 0.25, "tokens": { "input": 700, "output": 150, "reasoning": 50, "cache": { "read": 300, "write": 0 } },
            "time": { "created": 1200, "completed": 5200 },
        });
        for (key, value) in more.as_object().expect("an object") {
            info[key] = value.clone();
        }
        json!({ "info": info, "parts": parts })
    }

    fn policy(include: Include) -> Policy {
        let redactor = Redactor::new([]);
        Policy { include, redactor }
    }

    fn records(
        conversation: &Conversation,
        policy: &Policy,
    ) -> (SessionRecord, Vec<MessageRecord>) {
        let mut sums = Sums::default();
        sums.add(&conversation.info, &conversation.messages);
        let messages = message_records(conversation, policy).into_iter();
        let session = session_record(&conversation.info, &sums, policy);
        (session, messages.map(|(message, _)| message).collect())
    }

    fn of(messages: Value, include: Include) -> (SessionRecord, Vec<MessageRecord>) {
        records(&conversation(messages), &policy(include))
    }

    #[test]
    fn a_session_has_its_title_project_model_sums_and_dates() {
        let messages = json!([
            user(json!([{ "type": "text", "text": "hi" }])),
            assistant(json!([{ "type": "text", "text": "hello" }]), json!({}))
        ]);
        let (session, _) = of(messages, CAREFUL);
        let sent = serde_json::to_value(session).expect("it serializes");
        let expected = json!({
            "externalId": "ses_1", "title": "Fix the till", "projectPath": "/home/me/shop", "projectName": "shop", "model": "m",
            "provider": "fake", "source": "opencode", "promptTokens": 1000.0, "completionTokens": 200.0, "cost": 0.25,
            "durationMs": 4100.0, "createdAt": 1000.0,
        });
        assert_eq!(sent, expected);
    }

    #[test]
    fn sums_of_releases_that_keep_none_come_from_the_messages_and_no_price_is_not_zero() {
        let messages = json!([
            assistant(
                json!([{ "type": "text", "text": "one" }]),
                json!({ "cost": 0 })
            ),
            assistant(
                json!([{ "type": "text", "text": "two" }]),
                json!({ "cost": 0 })
            )
        ]);
        let mut conversation = conversation(messages);
        conversation.info.tokens = None;
        conversation.info.cost = None;
        conversation.info.model = None;
        let (session, _) = records(&conversation, &policy(CAREFUL));
        assert_eq!(
            (session.prompt_tokens, session.completion_tokens),
            (2000.0, 400.0)
        );
        assert_eq!(session.cost, None);
        assert_eq!(session.model.as_deref(), Some("m"));
        assert_eq!(session.provider.as_deref(), Some("fake"));
    }

    #[test]
    fn a_message_has_text_and_parts_and_counts_the_cache_and_reasoning() {
        let parts = json!([
            { "type": "step-start" }, { "type": "reasoning", "text": "hm" }, { "type": "text", "text": "I look." },
            { "type": "tool", "tool": "bash", "callID": "c", "state": { "status": "completed", "input": { "command": "ls" }, "output": "a.txt\n", "title": "ls", "metadata": {} } },
            { "type": "tool", "tool": "read", "callID": "d", "state": { "status": "error", "input": { "filePath": "/b" }, "error": "File not found: /b" } },
            { "type": "text", "text": "Done." }, { "type": "step-finish", "reason": "stop" }, { "type": "something-new" },
        ]);
        let (_, messages) = of(json!([assistant(parts, json!({}))]), ALL);
        let message = &messages[0];
        assert_eq!(message.text_content, "I look.\n\nDone.");
        assert_eq!(
            (message.prompt_tokens, message.completion_tokens),
            (Some(1000.0), Some(200.0))
        );
        assert_eq!(
            (message.created_at, message.duration_ms),
            (1200.0, Some(4000.0))
        );
        let parts = serde_json::to_value(&message.parts).expect("it serializes");
        let expected = json!([
            { "type": "reasoning", "content": "hm" }, { "type": "text", "content": "I look." },
            { "type": "tool-call", "content": { "name": "bash", "args": { "command": "ls" } } },
            { "type": "tool-result", "content": { "result": "a.txt\n" } },
            { "type": "tool-call", "content": { "name": "read", "args": { "filePath": "/b" } } },
            { "type": "tool-result", "content": { "result": "File not found: /b" } },
            { "type": "text", "content": "Done." },
        ]);
        assert_eq!(parts, expected);
    }

    #[test]
    fn what_the_user_did_not_include_stays() {
        let parts = json!([
            { "type": "reasoning", "text": "secret thought" },
            { "type": "tool", "tool": "read", "callID": "c", "state": { "status": "completed", "input": { "filePath": "/a" }, "output": "secret file" } },
        ]);
        let files = json!([{ "type": "text", "text": "look" }, { "type": "file", "mime": "text/plain", "filename": "a.txt", "url": "data:text/plain,secret" }]);
        let (_, messages) = of(json!([user(files), assistant(parts, json!({}))]), CAREFUL);
        let sent = serde_json::to_string(&messages).expect("it serializes");
        assert!(!sent.contains("secret"), "{sent}");
        assert!(sent.contains("filePath"), "{sent}");
    }

    #[test]
    fn an_attached_file_is_not_taken_for_the_prompt() {
        let parts = json!([
            { "type": "text", "text": "What is in it?" }, { "type": "text", "text": "Called the Read tool with …", "synthetic": true },
            { "type": "text", "text": "the file's content", "synthetic": true }, { "type": "file", "mime": "text/plain", "filename": "a.txt", "url": "file:///a.txt" },
        ]);
        let (_, messages) = of(json!([user(parts)]), ALL);
        assert_eq!(messages[0].text_content, "What is in it?");
        assert_eq!(messages[0].parts.len(), 2);
    }

    #[test]
    fn an_error_is_a_text_and_an_empty_message_is_no_record() {
        let error =
            json!({ "error": { "name": "MessageAbortedError", "data": { "message": "Aborted" } } });
        let (_, messages) = of(
            json!([
                assistant(json!([]), error),
                assistant(json!([{ "type": "text", "text": "" }]), json!({}))
            ]),
            ALL,
        );
        assert_eq!(messages.len(), 1);
        assert_eq!(messages[0].text_content, "[MessageAbortedError: Aborted]");
    }

    #[test]
    fn no_secret_is_in_any_field_of_a_record() {
        let secret = "ghp_16C7e42F292c6912E7710c838347Ae178B4a";
        let parts = json!([
            { "type": "text", "text": format!("use {secret}") }, { "type": "reasoning", "text": format!("use {secret}") },
            { "type": "file", "mime": "text/plain", "filename": secret },
            { "type": "tool", "tool": "bash", "callID": "c", "state": { "status": "completed", "input": { "command": format!("login {secret}"), secret: 1 }, "output": format!("{}{secret}", "x ".repeat(299_990)) } },
            { "type": "tool", "tool": "bash", "callID": "d", "state": { "status": "error", "input": {}, "error": format!("bad {secret}") } },
        ]);
        let error = json!({ "error": { "name": "APIError", "data": { "message": format!("key {secret}") } } });
        let mut conversation = conversation(json!([assistant(parts, error)]));
        conversation.info.title = format!("Use {secret}");
        let sent =
            serde_json::to_string(&records(&conversation, &policy(ALL))).expect("it serializes");
        assert!(!sent.contains("ghp_"), "{}", &sent[..2_000]);
        assert!(
            sent.matches("[redacted]").count() >= 8,
            "{}",
            sent.matches("[redacted]").count()
        );
    }

    #[test]
    fn what_a_fork_has_taken_along_is_marked_and_not_counted_again() {
        let copy = json!({ "id": "msg_0", "time": { "created": 500, "completed": 700 } });
        let messages = json!([
            assistant(json!([{ "type": "text", "text": "before" }]), copy),
            assistant(json!([{ "type": "text", "text": "after" }]), json!({}))
        ]);
        let mut fork = conversation(messages);
        fork.info.cost = Some(0.5);
        let (session, messages) = records(&fork, &policy(CAREFUL));
        assert_eq!(
            (session.prompt_tokens, session.completion_tokens),
            (1000.0, 200.0)
        );
        assert_eq!((session.cost, session.duration_ms), (Some(0.25), 4000.0));
        let marks = |n: usize| messages[n].parts.iter().filter(|part| part.kind == "copy");
        assert_eq!((marks(0).count(), marks(1).count()), (1, 0));
        assert_eq!(messages[0].text_content, "before");
        assert_eq!(
            (messages[0].prompt_tokens, messages[1].prompt_tokens),
            (None, Some(1000.0))
        );
    }

    #[test]
    fn a_fingerprint_changes_with_whatever_the_record_is_made_of() {
        let of = |text: &str, created: f64, policy: &Policy| {
            let mut conversation =
                conversation(json!([user(json!([{ "type": "text", "text": text }]))]));
            conversation.info.time.created = created;
            policy.fingerprints(&conversation.info)(&conversation.messages[0])
        };
        let plain = of("hi", 1000.0, &policy(ALL));
        assert_eq!(plain, of("hi", 1000.0, &policy(ALL)));
        let knowing = Policy {
            include: ALL,
            redactor: Redactor::new([("A_TOKEN", "a-value-that-is-secret")]),
        };
        for (what, other) in [
            ("the text", of("ho", 1000.0, &policy(ALL))),
            ("a copy", of("hi", 2000.0, &policy(ALL))),
            ("what is included", of("hi", 1000.0, &policy(CAREFUL))),
            ("the secrets that are known", of("hi", 1000.0, &knowing)),
        ] {
            assert_ne!(plain, other, "{what}");
        }
    }

    #[test]
    fn a_session_read_in_pieces_is_the_one_read_whole() {
        let mut whole = conversation(json!([
            user(json!([{ "type": "text", "text": "hi" }])),
            assistant(json!([{ "type": "text", "text": "one" }]), json!({})),
            assistant(
                json!([]),
                json!({ "modelID": "n", "time": { "created": 6000, "completed": 7000 } })
            ),
        ]));
        (whole.info.tokens, whole.info.cost, whole.info.model) = (None, None, None);
        let mut sums = Sums::default();
        for message in &whole.messages {
            sums.add(&whole.info, std::slice::from_ref(message));
        }
        let (expected, _) = records(&whole, &policy(CAREFUL));
        let found = session_record(&whole.info, &sums, &policy(CAREFUL));
        assert_eq!(found, expected);
        assert_eq!(found.model.as_deref(), Some("n"));
        assert_eq!((found.cost, found.duration_ms), (Some(0.5), 5900.0));
    }

    #[test]
    fn the_title_of_a_subagents_session_says_that_it_is_one() {
        for (parent, given, expected) in [
            (None, "Fix it", "Fix it"),
            (
                Some("ses_0"),
                "Look (@explore subagent)",
                "Look (@explore subagent)",
            ),
            (Some("ses_0"), "Look", "Subagent: Look"),
        ] {
            let mut session = conversation(json!([])).info;
            session.parent = parent.map(str::to_string);
            session.title = given.into();
            assert_eq!(title(&session), expected);
        }
    }

    #[test]
    fn a_command_for_a_subagent_is_what_the_user_said_and_a_compaction_is_told() {
        let parts = json!([
            { "type": "subtask", "prompt": "review it", "description": "Review", "agent": "plan" },
            { "type": "compaction", "auto": true },
        ]);
        let (_, messages) = of(json!([user(parts)]), CAREFUL);
        assert_eq!(
            messages[0].text_content,
            "[@plan] review it\n\n[compaction]"
        );
    }

    #[test]
    fn the_name_of_a_project_is_the_last_of_its_path() {
        for (path, expected) in [
            ("/home/me/shop", "shop"),
            ("/home/me/shop/", "shop"),
            (r"C:\Users\me\shop", "shop"),
            ("/", "/"),
            ("", ""),
        ] {
            assert_eq!(name(path), expected, "{path}");
        }
    }
}
