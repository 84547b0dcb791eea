//! The web, as the sandbox sees it: `webfetch` and `websearch`.
//!
//! curl does the requests: it is in every image that Daytona ships, and it knows the sandbox's
//! proxies and certificates. Everything else (headers, limits, what becomes of a page, the texts of
//! errors) is as in OpenCode 1.18.33, checked November 2026; a page's conversion is in [`page`].
//!
//! No key enters the sandbox, so `websearch` asks the one service that needs none.

mod page;

use crate::answer::error;
use crate::storage::Storage;
use base64::Engine;
use protocol::args::{Format, Webfetch, Websearch};
use protocol::{Attachment, Code, ToolError, ToolOutput};
use serde_json::{Value, json};
use std::fs;
use std::io::{self, Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};

const MAX_BYTES: u64 = 5 * 1024 * 1024;
const TIMEOUT_S: f64 = 30.0;
const MAX_TIMEOUT_S: f64 = 120.0;
const SEARCH_TIMEOUT_S: f64 = 25.0;
const SEARCH_URL: &str = "https://mcp.exa.ai/mcp";
const BROWSER: &str = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/143.0.0.0 Safari/537.36";

/// What came back.
struct Response {
    status: u32,
    content_type: String,
    body: Vec<u8>,
    challenged: bool,
}

/// One request.
struct Ask<'a> {
    url: &'a str,
    agent: &'a str,
    headers: &'a [&'a str],
    body: Option<String>,
    timeout_s: f64,
}

enum Problem {
    /// No curl, no disk.
    Sandbox(String),
    TimedOut,
    TooLarge,
    InvalidUrl,
    /// Nobody there, or nobody that could be understood.
    Transport,
}

/// Fetches a page.
pub(crate) fn fetch(storage: &Storage, id: &str, args: &Webfetch) -> Result<ToolOutput, ToolError> {
    let url = &args.url;
    let accept = match args.format {
        Format::Markdown => {
            "Accept: text/markdown;q=1.0, text/x-markdown;q=0.9, text/plain;q=0.8, text/html;q=0.7, */*;q=0.1"
        }
        Format::Text => "Accept: text/plain;q=1.0, text/markdown;q=0.9, text/html;q=0.8, */*;q=0.1",
        Format::Html => {
            "Accept: text/html;q=1.0, application/xhtml+xml;q=0.9, text/plain;q=0.8, text/markdown;q=0.7, */*;q=0.1"
        }
    };
    let wanted = args.timeout.unwrap_or(TIMEOUT_S);
    let ask = |agent| {
        let ask = Ask {
            url,
            agent,
            headers: &[accept, "Accept-Language: en-US,en;q=0.9"],
            body: None,
            // OpenCode takes a time of zero or less for none.
            timeout_s: if wanted > 0.0 {
                wanted.min(MAX_TIMEOUT_S)
            } else {
                MAX_TIMEOUT_S
            },
        };
        send(&ask).map_err(|problem| tool(explain(problem, "GET", url)))
    };
    let mut response = ask(BROWSER)?;
    if response.status == 403 && response.challenged {
        response = ask("opencode")?;
    }
    check_status(&response, "GET", url)?;
    let kind = &response.content_type;
    let title = format!("{url} ({kind})");
    let mime = kind
        .split(';')
        .next()
        .unwrap_or_default()
        .trim()
        .to_lowercase();
    if is_picture(&mime) {
        let data = base64::engine::general_purpose::STANDARD.encode(&response.body);
        return Ok(ToolOutput {
            title,
            output: "Image fetched successfully".into(),
            metadata: json!({ "truncated": false }),
            attachments: vec![Attachment {
                url: format!("data:{mime};base64,{data}"),
                mime,
            }],
        });
    }
    let text = String::from_utf8_lossy(&response.body);
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    let output = match args.format {
        Format::Markdown if kind.contains("text/html") => page::markdown(text),
        Format::Text if kind.contains("text/html") => page::text(text),
        _ => text.to_string(),
    };
    Ok(shown(storage, id, title, output, json!({})))
}

/// Searches the web.
pub(crate) fn search(
    storage: &Storage,
    id: &str,
    args: &Websearch,
) -> Result<ToolOutput, ToolError> {
    let mut wanted = json!({
        "query": args.query,
        "type": args.kind.as_deref().unwrap_or("auto"),
        "numResults": args.num_results.filter(|n| *n != 0.0).unwrap_or(8.0),
        "livecrawl": args.livecrawl.as_deref().unwrap_or("fallback"),
    });
    if let Some(most) = args.context_max_characters {
        wanted["contextMaxCharacters"] = json!(most);
    }
    let call = json!({
        "jsonrpc": "2.0", "id": 1, "method": "tools/call",
        "params": { "name": "web_search_exa", "arguments": wanted },
    });
    let ask = Ask {
        url: SEARCH_URL,
        agent: "opencode",
        headers: &[
            "Accept: application/json, text/event-stream",
            "Content-Type: application/json",
        ],
        body: Some(call.to_string()),
        timeout_s: SEARCH_TIMEOUT_S,
    };
    let response = send(&ask).map_err(|problem| {
        tool(match problem {
            Problem::TimedOut => "web_search_exa request timed out".to_string(),
            problem => explain(problem, "POST", SEARCH_URL),
        })
    })?;
    check_status(&response, "POST", SEARCH_URL)?;
    let output = found(&String::from_utf8_lossy(&response.body))
        .unwrap_or_else(|| "No search results found. Please try a different query.".to_string());
    let title = format!("Exa Web Search: {}", args.query);
    Ok(shown(
        storage,
        id,
        title,
        output,
        json!({ "provider": "exa" }),
    ))
}

/// The text in a search's answer: JSON, or events with JSON in them.
fn found(body: &str) -> Option<String> {
    let text = |json: &str| {
        let answer: Value = serde_json::from_str(json.trim()).ok()?;
        let content = answer.pointer("/result/content")?.as_array()?.clone();
        let texts = content.iter().filter_map(|part| part["text"].as_str());
        texts.map(str::to_string).find(|text| !text.is_empty())
    };
    text(body).or_else(|| {
        let events = body.lines().filter_map(|line| line.strip_prefix("data: "));
        events.filter_map(text).next()
    })
}

fn check_status(response: &Response, method: &str, url: &str) -> Result<(), ToolError> {
    match response.status {
        200..300 => Ok(()),
        status => Err(tool(format!(
            "StatusCode: non 2xx status code ({status} {method} {url})"
        ))),
    }
}

fn explain(problem: Problem, method: &str, url: &str) -> String {
    match problem {
        Problem::Sandbox(why) => why,
        Problem::TimedOut => "Request timed out".into(),
        Problem::TooLarge => "Response too large (exceeds 5MB limit)".into(),
        Problem::InvalidUrl => format!("InvalidUrl error ({method} {url})"),
        Problem::Transport => format!("Transport error ({method} {url})"),
    }
}

fn tool(message: String) -> ToolError {
    error(Code::Tool, message)
}

/// Pictures that go to the model as such.
fn is_picture(mime: &str) -> bool {
    matches!(
        mime,
        "image/png" | "image/jpeg" | "image/gif" | "image/webp"
    )
}

fn send(ask: &Ask) -> Result<Response, Problem> {
    let disk = |error: io::Error| {
        Problem::Sandbox(format!("the page cannot be kept in the sandbox: {error}"))
    };
    let scratch = tempfile::Builder::new().prefix("opencode-web-").tempdir();
    let scratch = scratch.map_err(disk)?;
    let (body, head) = (scratch.path().join("body"), scratch.path().join("head"));
    let mut command = Command::new("curl");
    command
        .args([
            "--silent",
            "--location",
            "--max-redirs",
            "20",
            "--globoff",
            "--compressed",
        ])
        .args(["--proto", "=http,https", "--proto-redir", "=http,https"])
        .args(["--max-time", &ask.timeout_s.to_string()])
        .args(["--max-filesize", &MAX_BYTES.to_string()])
        .args(["--user-agent", ask.agent])
        .args(ask.headers.iter().flat_map(|header| ["--header", header]))
        .arg("--output")
        .arg(&body)
        .arg("--dump-header")
        .arg(&head)
        .args(["--write-out", "%{http_code} %{content_type}"])
        .stdin(if ask.body.is_some() {
            Stdio::piped()
        } else {
            Stdio::null()
        })
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    if ask.body.is_some() {
        command.args(["--data-binary", "@-"]);
    }
    let mut child = command.arg("--").arg(ask.url).spawn().map_err(|error| {
        Problem::Sandbox(match error.kind() {
            io::ErrorKind::NotFound => "The sandbox has no curl, which this tool needs: install it there, or use a snapshot that has it.".into(),
            _ => format!("curl cannot be started in the sandbox: {error}"),
        })
    })?;
    if let (Some(mut stdin), Some(body)) = (child.stdin.take(), &ask.body) {
        // A server that does not listen is noticed below.
        let _ = stdin.write_all(body.as_bytes());
    }
    let done = child.wait_with_output().map_err(disk)?;
    match done.status.code() {
        Some(0) => {}
        Some(3) => return Err(Problem::InvalidUrl),
        Some(28) => return Err(Problem::TimedOut),
        Some(63) => return Err(Problem::TooLarge),
        _ => return Err(Problem::Transport),
    }
    let said = String::from_utf8_lossy(&done.stdout).into_owned();
    let (status, content_type) = said.split_once(' ').unwrap_or((&said, ""));
    let head = fs::read(&head).unwrap_or_default();
    let challenged = String::from_utf8_lossy(&head)
        .to_lowercase()
        .lines()
        .any(|line| {
            line.split_once(':')
                .is_some_and(|(name, value)| name == "cf-mitigated" && value.trim() == "challenge")
        });
    Ok(Response {
        status: status.parse().unwrap_or_default(),
        content_type: content_type.into(),
        body: read_limited(&body)?,
        challenged,
    })
}

/// The body; there is no file if it was empty. A server that names no length is only found out here.
fn read_limited(path: &Path) -> Result<Vec<u8>, Problem> {
    let mut body = Vec::new();
    if let Ok(file) = fs::File::open(path) {
        let read = file.take(MAX_BYTES + 1).read_to_end(&mut body);
        read.map_err(|_| Problem::Transport)?;
    }
    match body.len() as u64 > MAX_BYTES {
        true => Err(Problem::TooLarge),
        false => Ok(body),
    }
}

/// A long text is cut as OpenCode cuts it, but kept in the sandbox and not on the host.
fn shown(
    storage: &Storage,
    id: &str,
    title: String,
    text: String,
    mut metadata: Value,
) -> ToolOutput {
    metadata["truncated"] = json!(false);
    let output = match tools::cut::cut(&text) {
        None => text,
        Some(cut) => {
            metadata["truncated"] = json!(true);
            let saved = save(storage, id, &text);
            if let Some(path) = &saved {
                metadata["outputPath"] = json!(path);
            }
            cut.explain(saved.as_deref())
        }
    };
    ToolOutput {
        title,
        output,
        metadata,
        attachments: Vec::new(),
    }
}

/// Beside the output of commands, which is pruned.
fn save(storage: &Storage, id: &str, text: &str) -> Option<String> {
    let dir = storage.sub("jobs")?.join(id);
    fs::create_dir_all(&dir).ok()?;
    let path = dir.join("out");
    fs::write(&path, text).ok()?;
    Some(path.to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_search_answers_in_json_or_in_events() {
        let answer = r#"{"result":{"content":[{"type":"text","text":"first"}]}}"#;
        for (body, expected) in [
            (answer.to_string(), Some("first")),
            (format!("event: message\ndata: {answer}\n\n"), Some("first")),
            (r#"{"result":{"content":[]}}"#.into(), None),
            ("data: nonsense\n".into(), None),
            (String::new(), None),
        ] {
            assert_eq!(found(&body).as_deref(), expected, "{body}");
        }
    }
}
