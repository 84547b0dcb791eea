//! What a sandbox may say: its answers reach OpenCode, which believes a plugin.
//!
//! An attachment's URL would be opened by OpenCode, so only data in the URL itself passes, of the
//! kinds that `read` gives. Text longer than OpenCode shows would be saved in a file on the host.

use protocol::{Attachment, ToolOutput};
use serde_json::{Map, Value};

/// Kinds of attachments that a sandbox may send.
const KINDS: &[&str] = &[
    "application/pdf",
    "image/gif",
    "image/jpeg",
    "image/png",
    "image/webp",
];
/// Longest text, in bytes and lines. No tool of ours says as much, and OpenCode's limits for a
/// plugin are above.
const MAX_TEXT: usize = 2 * 1024 * 1024;
const MAX_LINES: usize = 50_000;
/// Longest sentence, in characters, and most of them.
const MAX_SENTENCE: usize = 300;
const MAX_SENTENCES: usize = 20;

/// An output with nothing in it that OpenCode could take for the host's.
pub(crate) fn output(mut output: ToolOutput) -> ToolOutput {
    output.output = text(output.output);
    output.attachments.retain(is_data);
    if !output.metadata.is_object() {
        output.metadata = Value::Object(Map::new());
    }
    output
}

/// A text of bounded length.
pub(crate) fn text(mut text: String) -> String {
    let lines = text
        .match_indices('\n')
        .nth(MAX_LINES)
        .map_or(text.len(), |(at, _)| at);
    let end = (0..=lines.min(MAX_TEXT))
        .rev()
        .find(|at| text.is_char_boundary(*at))
        .unwrap_or_default();
    if end < text.len() {
        text.truncate(end);
        text.push_str("\n\n(The sandbox sent more than can be shown; the rest was left out.)");
    }
    text
}

/// A sentence of bounded length.
pub(crate) fn sentence(text: &str) -> String {
    let short: String = text.chars().take(MAX_SENTENCE).collect();
    match short.len() < text.len() {
        true => short + "…",
        false => short,
    }
}

/// A few sentences, and how many more there are.
pub(crate) fn sentences(texts: &[String]) -> Vec<String> {
    let mut few: Vec<String> = texts
        .iter()
        .take(MAX_SENTENCES)
        .map(|t| sentence(t))
        .collect();
    if texts.len() > few.len() {
        few.push(format!("and {} more", texts.len() - few.len()));
    }
    few
}

fn is_data(attachment: &Attachment) -> bool {
    let prefix = format!("data:{};base64,", attachment.mime);
    KINDS.contains(&attachment.mime.as_str())
        && attachment.url.strip_prefix(&prefix).is_some_and(|data| {
            data.bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/' | b'='))
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_data_of_known_kinds_is_attached() {
        for (mime, url, passes) in [
            ("image/png", "data:image/png;base64,aGk=", true),
            ("application/pdf", "data:application/pdf;base64,aGk=", true),
            ("image/png", "file:///etc/passwd", false),
            ("image/png", "http://169.254.169.254/latest", false),
            ("image/png", "data:text/plain;base64,aGk=", false),
            (
                "image/png",
                "data:image/png;base64,aGk=\nfile:///etc",
                false,
            ),
            ("text/plain", "data:text/plain;base64,aGk=", false),
            ("application/x-directory", "file:///", false),
        ] {
            let (mime, url) = (mime.to_string(), url.to_string());
            let sent = ToolOutput {
                title: String::new(),
                output: String::new(),
                metadata: json!(null),
                attachments: vec![Attachment {
                    mime,
                    url: url.clone(),
                }],
            };
            let got = output(sent);
            assert_eq!(got.attachments.len(), usize::from(passes), "{url}");
            assert_eq!(got.metadata, json!({}));
        }
    }

    #[test]
    fn no_text_is_long_enough_for_opencode_to_save_it() {
        for long in ["\n".repeat(10 * MAX_LINES), "é".repeat(MAX_TEXT)] {
            let cut = text(long);
            assert!(cut.len() < MAX_TEXT + 200 && cut.lines().count() < MAX_LINES + 10);
            assert!(cut.ends_with("left out.)"));
        }
        assert_eq!(text("short\n".into()), "short\n");
    }
}
