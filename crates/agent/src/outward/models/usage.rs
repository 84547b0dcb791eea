//! Tokens, read from an answer while it passes.

use crate::outward::grant::Tokens;
use serde::Deserialize;

/// The longest line of a stream, or the longest answer that is none, which is looked at. Longer ones pass unread.
const LONGEST: usize = 4 << 20;

/// Reads what passes, and holds at most one line of it.
pub(super) struct Meter {
    is_stream: bool,
    line: Vec<u8>,
    is_too_long: bool,
    tokens: Option<Tokens>,
}

impl Meter {
    /// A meter for server-sent events, or for one JSON text.
    pub(super) fn new(is_stream: bool) -> Self {
        Meter {
            is_stream,
            line: Vec::new(),
            is_too_long: false,
            tokens: None,
        }
    }

    /// Takes the next bytes.
    pub(super) fn take(&mut self, mut bytes: &[u8]) {
        while self.is_stream
            && let Some(end) = bytes.iter().position(|byte| *byte == b'\n')
        {
            self.keep(&bytes[..end]);
            self.look();
            bytes = &bytes[end + 1..];
        }
        self.keep(bytes);
    }

    /// What the answer has said, which has ended.
    pub(super) fn end(&mut self) -> Option<Tokens> {
        self.look();
        self.tokens
    }

    fn keep(&mut self, bytes: &[u8]) {
        self.is_too_long |= self.line.len() + bytes.len() > LONGEST;
        match self.is_too_long {
            true => self.line = Vec::new(),
            false => self.line.extend_from_slice(bytes),
        }
    }

    fn look(&mut self) {
        let line = std::mem::take(&mut self.line);
        if std::mem::take(&mut self.is_too_long) {
            return;
        }
        let text = match self.is_stream {
            true => line.strip_prefix(b"data:").unwrap_or_default(),
            false => &line[..],
        };
        // Most lines of a stream have no usage, and are not parsed.
        if !text.windows(5).any(|part| part == b"usage") {
            return;
        }
        // Without server-sent events Google streams one list.
        let said: Vec<Answer> = match serde_json::from_slice(text) {
            Ok(one) => vec![one],
            Err(_) => serde_json::from_slice(text).unwrap_or_default(),
        };
        let counts = said.into_iter().filter_map(Answer::usage);
        for tokens in counts.map(Counts::tokens) {
            // Each says what it has been so far; Anthropic says some of it first and the rest last.
            let so_far = self.tokens.get_or_insert_default();
            so_far.input = so_far.input.max(tokens.input);
            so_far.output = so_far.output.max(tokens.output);
        }
    }
}

/// Where answers and events have their usage.
#[derive(Deserialize)]
struct Answer {
    #[serde(alias = "usageMetadata")]
    usage: Option<Counts>,
    /// In events of OpenAI's Responses.
    response: Option<Inner>,
    /// In Anthropic's first event.
    message: Option<Inner>,
}

#[derive(Deserialize)]
struct Inner {
    usage: Option<Counts>,
}

impl Answer {
    fn usage(self) -> Option<Counts> {
        let inner = self.response.or(self.message);
        self.usage.or(inner.and_then(|inner| inner.usage))
    }
}

#[derive(Deserialize)]
#[serde(default)]
#[derive(Default)]
struct Counts {
    #[serde(alias = "prompt_tokens", alias = "promptTokenCount")]
    input_tokens: Option<u64>,
    /// Anthropic counts what is from and for its cache beside the input.
    cache_read_input_tokens: Option<u64>,
    cache_creation_input_tokens: Option<u64>,
    #[serde(alias = "completion_tokens", alias = "candidatesTokenCount")]
    output_tokens: Option<u64>,
    /// Google counts thoughts beside the output.
    #[serde(rename = "thoughtsTokenCount")]
    thoughts: Option<u64>,
}

impl Counts {
    fn tokens(self) -> Tokens {
        let sum = |counts: &[Option<u64>]| {
            let counts = counts.iter().flatten();
            counts.fold(0_u64, |sum, count| sum.saturating_add(*count))
        };
        Tokens {
            input: sum(&[
                self.input_tokens,
                self.cache_read_input_tokens,
                self.cache_creation_input_tokens,
            ]),
            output: sum(&[self.output_tokens, self.thoughts]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a meter finds, whatever the pieces are that the answer comes in.
    #[track_caller]
    fn finds(is_stream: bool, text: &str, expected: Option<(u64, u64)>) {
        for size in [1, 7, text.len().max(1)] {
            let mut meter = Meter::new(is_stream);
            text.as_bytes()
                .chunks(size)
                .for_each(|piece| meter.take(piece));
            let found = meter.end().map(|tokens| (tokens.input, tokens.output));
            assert_eq!(found, expected, "pieces of {size} bytes of {text}");
        }
    }

    #[test]
    fn tokens_are_found_in_every_form_of_answer() {
        finds(
            false,
            r#"{"usage":{"prompt_tokens":5,"completion_tokens":7}}"#,
            Some((5, 7)),
        );
        finds(
            false,
            r#"{"usage":{"input_tokens":5,"cache_read_input_tokens":2,"output_tokens":7}}"#,
            Some((7, 7)),
        );
        finds(
            false,
            r#"{"usageMetadata":{"promptTokenCount":5,"candidatesTokenCount":7,"thoughtsTokenCount":1}}"#,
            Some((5, 8)),
        );
        finds(
            false,
            "[{\"usageMetadata\":{\"promptTokenCount\":5}},\n{\"usageMetadata\":{\"promptTokenCount\":5,\"candidatesTokenCount\":3}}]",
            Some((5, 3)),
        );
        finds(false, r#"{"choices":[]}"#, None);
        finds(false, "usage", None);
        finds(false, "", None);
    }

    #[test]
    fn tokens_are_found_in_every_form_of_stream() {
        let chat = "data: {\"choices\":[{}],\"usage\":null}\n\ndata: {\"choices\":[],\"usage\":{\"prompt_tokens\":5,\"completion_tokens\":7}}\n\ndata: [DONE]\n\n";
        finds(true, chat, Some((5, 7)));
        let responses = "event: response.completed\r\ndata: {\"type\":\"response.completed\",\"response\":{\"usage\":{\"input_tokens\":5,\"output_tokens\":7}}}\r\n\r\n";
        finds(true, responses, Some((5, 7)));
        let messages = "data: {\"type\":\"message_start\",\"message\":{\"usage\":{\"input_tokens\":3,\"cache_creation_input_tokens\":2,\"output_tokens\":1}}}\n\ndata: {\"type\":\"message_delta\",\"delta\":{},\"usage\":{\"output_tokens\":7}}\n";
        finds(true, messages, Some((5, 7)));
        let google = "data: {\"usageMetadata\":{\"promptTokenCount\":5,\"candidatesTokenCount\":2}}\n\ndata: {\"usageMetadata\":{\"promptTokenCount\":5,\"candidatesTokenCount\":7}}";
        finds(true, google, Some((5, 7)));
        finds(
            true,
            "data: {\"choices\":[{\"delta\":{\"content\":\"usage\"}}]}\n",
            None,
        );
    }

    #[test]
    fn a_line_that_is_too_long_is_passed_over_and_the_next_one_read() {
        let mut meter = Meter::new(true);
        meter.take(b"data: ");
        (0..5).for_each(|_| meter.take(&[b'a'; 1 << 20]));
        assert!(meter.line.capacity() <= LONGEST);
        meter.take(b"\ndata: {\"usage\":{\"input_tokens\":1}}\n");
        assert_eq!(
            meter.end(),
            Some(Tokens {
                input: 1,
                output: 0
            })
        );
    }
}
