//! What the user types and OpenCode acts on by itself: `!command`, `` !`command` `` and `@file`.
//!
//! No tool hook sees these. A command is run by the shell that the configuration names, so the
//! configuration names a program of ours, `sandbox-shell`. For `!command` OpenCode tells it the
//! session (through `shell.env`), and it runs the command in that session's sandbox. For
//! `` !`command` ``, in command files, in what is typed behind a command and in prompts of MCP
//! servers, it tells nothing: then the program runs nothing and prints a marker, and
//! [`Plugin::command`], which knows the session, puts the sandbox's output in its place.
//!
//! A file is read by OpenCode before [`Plugin::message`] hears of it. In the project, the sandbox
//! has the newer text, so what was read is replaced; other files of the user's machine are the
//! user's own choice. (All of this as 1.18.33 does it, November 2026.)

use super::call::{Cancel, never};
use super::{Core, Plugin, Readiness};
use crate::links;
use crate::transfer::fork;
use crate::wire::*;
use protocol::ToolArgs;
use protocol::args::{Bash, Read};
use serde_json::{Value, json};
use std::rc::Rc;

/// Carries the plugin's [`Init`] and the session to the program that stands in for the shell.
const SESSION: &str = "OPENCODE_DAYTONA_SHELL";
/// Names the program that runs JavaScript.
const JAVASCRIPT: &str = "OPENCODE_DAYTONA_JAVASCRIPT";
/// Says why nothing runs.
const REFUSED: &str = "OPENCODE_DAYTONA_REFUSED";
/// A command that waits for its session, in hexadecimal.
const MARKER: (&str, char) = ("<opencode-daytona-shell:", '>');
/// OpenCode gives `!command` no time limit.
const DAY_MS: u64 = 24 * 60 * 60 * 1000;

const CALLED: &str = "Called the Read tool with the following input: ";
const FAILED: &str = "Read tool failed to read ";
const RESOURCE: &str = "Reading MCP resource: ";
const ONLY_THERE: &str =
    "\n\n(This file is on the user's machine only: the sandbox does not have it.)";

impl Plugin {
    /// Environment for a shell that OpenCode starts.
    pub async fn shell_env(self: &Rc<Self>, start: ShellStart) -> Environment {
        let env = match (start.session_id, self.core()) {
            (Some(_), Ok(core)) if core.config.shell_on_host => Vec::new(),
            (Some(session), Ok(core)) => match self.root(&session).await {
                Ok(session) => {
                    // The process that runs the command has no OpenCode to ask for the fork's source.
                    if fork::is_fork(&*self.opencode, &session).await {
                        let _ = core.sessions.ensure(&session).await;
                    }
                    vec![
                    (
                        SESSION,
                        json!({ "init": self.init, "session": session, "turn": self.turn_of(&session) })
                            .to_string(),
                    ),
                    (JAVASCRIPT, self.init.javascript.clone()),
                ]
                }
                Err(reason) => vec![(REFUSED, self.secrets.hide(&reason).into_owned())],
            },
            (Some(_), Err(reason)) => {
                let reason = unavailable(&reason);
                vec![(REFUSED, self.secrets.hide(&reason).into_owned())]
            }
            // A terminal, which is the user's own.
            (None, _) => Vec::new(),
        };
        Environment {
            env: env
                .into_iter()
                .map(|(name, value)| (name.to_string(), value))
                .collect(),
        }
    }

    /// Runs a typed command, in a process of its own.
    pub async fn shell(self: &Rc<Self>, shell: Shell) -> Shelled {
        let core = match self.load().await {
            Ok(core) => Rc::new(core),
            Err(reason) => {
                return Shelled {
                    rest: unavailable(&reason) + "\n",
                    exit: 1,
                };
            }
        };
        *self.readiness.borrow_mut() = Readiness::Working(Rc::clone(&core));
        if let Some(turn) = &shell.turn {
            self.turn(&shell.session_id, turn, None);
        }
        let cancel = self.cancellable(shell.call);
        let args = bash(&shell.command, DAY_MS);
        let mut printed = String::new();
        let mut print = |fresh: &str| {
            printed.push_str(fresh);
            self.opencode.progress(
                shell.call,
                &Progress {
                    title: String::new(),
                    output: Some(fresh.into()),
                },
            );
        };
        let done = self
            .unasked(&core, &shell.session_id, args, cancel, &mut print)
            .await;
        self.aborts.borrow_mut().remove(&shell.call);
        match done {
            Executed::Done(done) => Shelled {
                rest: rest(&done.output, exit_of(&done), &printed),
                exit: exit_of(&done).map_or(1, |code| code as i32),
            },
            Executed::Failed { message } => Shelled {
                rest: message + "\n",
                exit: 1,
            },
            Executed::Rejected => Shelled {
                rest: String::new(),
                exit: 1,
            },
        }
    }

    /// Runs the commands that OpenCode left as markers in the parts of a command.
    pub async fn command(self: &Rc<Self>, mut command: Parts) -> Parts {
        for part in &mut command.parts {
            for name in ["text", "prompt"] {
                let Some(text) = part.get(name).and_then(Value::as_str) else {
                    continue;
                };
                if text.contains(MARKER.0) {
                    let expanded = self.expand(&command.session_id, text).await;
                    part[name] = Value::String(expanded);
                }
            }
        }
        command
    }

    async fn expand(self: &Rc<Self>, session: &str, text: &str) -> String {
        let mut out = String::new();
        let mut text = text;
        while let Some((before, after)) = text.split_once(MARKER.0) {
            out.push_str(before);
            let marked = after.split_once(MARKER.1);
            let Some((line, after)) = marked.and_then(|(hex, after)| Some((decode(hex)?, after)))
            else {
                out.push_str(MARKER.0);
                text = after;
                continue;
            };
            // Like OpenCode, which takes what is printed and not what is complained about.
            let args = bash(&format!("exec 2>/dev/null\n{line}"), DAY_MS);
            let done = match self.core() {
                Ok(core) => {
                    self.unasked(&core, session, args, never(), &mut |_| {})
                        .await
                }
                Err(reason) => Executed::Failed {
                    message: unavailable(&reason),
                },
            };
            match done {
                Executed::Done(done) => out.push_str(&rest(&done.output, exit_of(&done), "")),
                Executed::Failed { message } => {
                    out.push_str(&format!("(`{line}` was not run: {message})"))
                }
                Executed::Rejected => {}
            }
            text = after;
        }
        out + text
    }

    /// A user's message arrived: its sandbox can be made while the model thinks. The files of the
    /// project that it names are read in the sandbox.
    pub async fn message(self: &Rc<Self>, mut message: Parts) -> Parts {
        self.active(&message.session_id);
        if let Some(id) = &message.message_id
            && let Ok(root) = self.root(&message.session_id).await
            && root == message.session_id
        {
            // It becomes the message of a commit.
            let subject = subject(&message.parts);
            self.turn(&root, id, Some(self.secrets.hide(&subject).into_owned()));
        }
        self.prewarm(&message.session_id);
        let paths = self.paths();
        let mut parts = Vec::new();
        let mut rest = std::mem::take(&mut message.parts);
        while !rest.is_empty() {
            let len = group(&rest);
            let after = rest.split_off(len);
            let here = std::mem::replace(&mut rest, after);
            let file = asked(&here);
            if let Some(file) = &file {
                links::follow(&*self.host, &paths, &file.file_path).await;
            }
            let file = file.and_then(|file| Some((paths.inside(&file.file_path)?, file)));
            match file {
                Some((path, file)) => {
                    let read = Read {
                        file_path: path,
                        ..file
                    };
                    parts.extend(self.attach(&message.session_id, here, read).await);
                }
                None => parts.extend(here),
            }
        }
        message.parts = parts;
        message
    }

    /// What OpenCode read, as the sandbox has it.
    async fn attach(self: &Rc<Self>, session: &str, group: Vec<Value>, read: Read) -> Vec<Value> {
        let path = read.file_path.clone();
        let input = json!(read).to_string();
        let done = match self.core() {
            Ok(core) => {
                self.unasked(&core, session, ToolArgs::Read(read), never(), &mut |_| {})
                    .await
            }
            Err(reason) => Executed::Failed {
                message: unavailable(&reason),
            },
        };
        let text = |part: &Value, text: String| {
            let mut part = part.clone();
            part["type"] = json!("text");
            part["synthetic"] = json!(true);
            part["text"] = Value::String(text);
            for field in ["mime", "url", "filename", "source"] {
                part.as_object_mut().map(|part| part.remove(field));
            }
            part
        };
        // A new part sorts behind the first by its id.
        let second = |group: &[Value]| match group {
            [_, second, ..] if is_text(second) => second.clone(),
            [first, ..] => {
                let mut part = first.clone();
                let id = part.get("id").and_then(Value::as_str).unwrap_or_default();
                part["id"] = json!(format!("{id}a"));
                part
            }
            [] => Value::Null,
        };
        let file = group.iter().rev().find(|part| part["type"] == "file");
        match done {
            Executed::Done(done) => {
                let called = text(&group[0], format!("{CALLED}{input}"));
                let Some(picture) = done.attachments.first() else {
                    let shown = text(&second(&group), done.output);
                    let file = file.filter(|file| {
                        file["url"]
                            .as_str()
                            .is_some_and(|url| url.starts_with("file:"))
                    });
                    return [called, shown].into_iter().chain(file.cloned()).collect();
                };
                let mut attached = file.cloned().unwrap_or_else(|| {
                    let mut part = second(&group);
                    part.as_object_mut().map(|part| part.remove("text"));
                    part["filename"] = json!(path.rsplit('/').next());
                    part
                });
                attached["type"] = json!("file");
                attached["mime"] = json!(picture.mime);
                attached["url"] = json!(picture.url);
                vec![called, attached]
            }
            // The user named it and OpenCode found it, so it is meant.
            Executed::Failed { message }
                if message.starts_with("File not found: ") && file.is_some() =>
            {
                let mut group = group;
                let shown = if group.len() > 2 { 1 } else { 0 };
                let said = group[shown]["text"]
                    .as_str()
                    .unwrap_or_default()
                    .to_string();
                group[shown]["text"] = Value::String(said + ONLY_THERE);
                group
            }
            Executed::Failed { message } => {
                let called = text(&group[0], format!("{CALLED}{input}"));
                let failed = format!("{FAILED}{path} with the following error: {message}");
                vec![called, text(&second(&group), failed)]
            }
            Executed::Rejected => Vec::new(),
        }
    }

    /// A tool call that needs no permission: the user asked for it.
    async fn unasked(
        self: &Rc<Self>,
        core: &Core,
        session: &str,
        args: ToolArgs,
        cancel: Cancel,
        print: &mut dyn FnMut(&str),
    ) -> Executed {
        links::learn(&*self.host, &core.paths, &args).await;
        let args = core.paths.arguments(args);
        self.work(core, session, args, cancel, None, print).await
    }
}

/// The first line that the user typed.
fn subject(parts: &[Value]) -> String {
    let typed = |part: &&Value| part["type"] == "text" && part["synthetic"] != true;
    let text = parts
        .iter()
        .find(typed)
        .and_then(|part| part["text"].as_str());
    let line = text.and_then(|text| text.lines().find(|line| !line.trim().is_empty()));
    line.unwrap_or_default().trim().to_string()
}

fn unavailable(reason: &str) -> String {
    format!("This runs in a Daytona sandbox, which is not available: {reason}")
}

fn bash(command: &str, timeout: u64) -> ToolArgs {
    ToolArgs::Bash(Bash {
        command: command.into(),
        timeout: Some(timeout),
        workdir: None,
        background: None,
    })
}

fn exit_of(done: &Done) -> Option<i64> {
    done.metadata.get("exit").and_then(Value::as_i64)
}

/// What a command printed beyond what was shown.
pub(super) fn rest(output: &str, exit: Option<i64>, printed: &str) -> String {
    // The caller sees the exit code itself.
    let note = exit.map_or_else(String::new, |code| protocol::exit_note(code as i32));
    let shown = output.strip_suffix(&note).unwrap_or(output);
    let shown = match exit {
        Some(_) if shown == NO_OUTPUT => "",
        _ => shown,
    };
    match shown.strip_prefix(printed) {
        Some(rest) => rest.into(),
        // A long output was cut. The rest is its end, and the name of the file that has all of it.
        None => format!("\n{shown}"),
    }
}

const NO_OUTPUT: &str = "(no output)";

fn decode(hex: &str) -> Option<String> {
    if !hex.len().is_multiple_of(2) || !hex.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    let bytes = (0..hex.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).ok());
    String::from_utf8(bytes.collect::<Option<Vec<u8>>>()?).ok()
}

fn said(part: &Value) -> Option<&str> {
    part["text"].as_str().filter(|_| is_text(part))
}

fn is_text(part: &Value) -> bool {
    part["type"] == "text" && part["synthetic"] == true
}

/// How many parts at the start belong together: what OpenCode made of one file, or one part.
fn group(parts: &[Value]) -> usize {
    if !said(&parts[0]).is_some_and(|text| text.starts_with(CALLED)) {
        return 1;
    }
    let mut len = 1;
    for part in &parts[1..] {
        let more = match said(part) {
            Some(text) => !text.starts_with(CALLED) && !text.starts_with(RESOURCE),
            None => part["type"] == "file",
        };
        if !more {
            break;
        }
        len += 1;
        if part["type"] == "file" && part["synthetic"] != true {
            break;
        }
    }
    len
}

/// The file that OpenCode read for these parts. What a client sent as data has a name only.
fn asked(group: &[Value]) -> Option<Read> {
    let text = said(&group[0])?;
    let sent = |part: &Value| {
        part["mime"] == "text/plain"
            && part["url"]
                .as_str()
                .is_some_and(|url| url.starts_with("data:"))
    };
    if group.iter().any(sent) {
        return None;
    }
    let plain = |path: &str| Read {
        file_path: path.into(),
        offset: None,
        limit: None,
    };
    if let Some(input) = text.strip_prefix(CALLED) {
        let is_data = |part: &Value| {
            let url = part["url"].as_str();
            url.is_some_and(|url| url.starts_with("data:"))
        };
        if !group.iter().any(is_data) {
            return serde_json::from_str(input).ok();
        }
        // For pictures OpenCode puts the path between quotes as it is.
        let path = input.strip_prefix("{\"filePath\":\"")?;
        return path.strip_suffix("\"}").map(plain);
    }
    let (path, _) = text
        .strip_prefix(FAILED)?
        .split_once(" with the following error: ")?;
    Some(plain(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Value {
        json!({ "type": "text", "synthetic": true, "text": text })
    }

    fn file(url: &str, mime: &str) -> Value {
        json!({ "type": "file", "url": url, "mime": mime })
    }

    #[test]
    fn what_opencode_made_of_one_file_stays_together() {
        let called = text(&format!(
            "{CALLED}{{\"filePath\":\"/w/a\",\"offset\":2,\"limit\":3}}"
        ));
        let picture = text(&format!("{CALLED}{{\"filePath\":\"/w/odd\\name.png\"}}"));
        let failed = text(&format!("{FAILED}/w/b with the following error: no"));
        let plain = file("file:///w/a", "text/plain");
        let own = json!({ "type": "text", "text": "look at this" });
        for (parts, len, path) in [
            (
                vec![called.clone(), text("1: x"), plain.clone(), own.clone()],
                3,
                Some("/w/a"),
            ),
            (
                vec![called.clone(), failed.clone(), own.clone()],
                2,
                Some("/w/a"),
            ),
            (vec![failed, own.clone()], 1, Some("/w/b")),
            (
                vec![picture, file("data:image/png;base64,AA==", "image/png")],
                2,
                Some("/w/odd\\name.png"),
            ),
            (
                vec![
                    called.clone(),
                    text("sent"),
                    file("data:text/plain,sent", "text/plain"),
                ],
                3,
                None,
            ),
            (vec![called.clone(), called, plain], 1, Some("/w/a")),
            (vec![own], 1, None),
        ] {
            assert_eq!(group(&parts), len, "{parts:?}");
            let read = asked(&parts[..len]);
            assert_eq!(
                read.as_ref().map(|read| read.file_path.as_str()),
                path,
                "{parts:?}"
            );
        }
    }

    #[test]
    fn only_whole_markers_are_commands() {
        for (hex, expected) in [
            ("6c73", Some("ls")),
            ("", Some("")),
            ("6", None),
            ("zz", None),
            ("ff", None),
        ] {
            assert_eq!(decode(hex).as_deref(), expected, "{hex}");
        }
    }

    #[test]
    fn a_typed_command_shows_every_byte_once_and_no_remark() {
        let failed = format!("a\nb\n{}", protocol::exit_note(3));
        for (output, exit, printed, expected) in [
            ("a\nb\n", 0, "", "a\nb\n"),
            ("a\nb\n", 0, "a\n", "b\n"),
            (failed.as_str(), 3, "a\nb\n", ""),
            ("(no output)", 0, "", ""),
            (
                "...output truncated...\n\nend",
                0,
                "start",
                "\n...output truncated...\n\nend",
            ),
        ] {
            assert_eq!(rest(output, Some(exit), printed), expected);
        }
    }
}
