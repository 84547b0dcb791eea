//! What a command printed: the end of it in memory, the beginning in a file, both bounded.
//!
//! 100 MB of output costs 16 MiB of disk and 2 MiB of memory. A file that cannot be written (full
//! disk) costs the saved output and nothing else.

use serde_json::json;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use tools::fs::incomplete;

const MAX_LINES: usize = 2000;
const MAX_BYTES: usize = 51_200;
const LIVE_CHARS: usize = 30_000;
const FILE_BYTES: u64 = 16 * 1024 * 1024;
const TAIL_BYTES: usize = 1024 * 1024;
/// Most that one [`protocol::JobState`] carries.
const NEWS_BYTES: usize = 64 * 1024;

/// The output of one command.
pub(super) struct Capture {
    path: Option<PathBuf>,
    file: Option<File>,
    /// The file stays also if the output is short.
    keep: bool,
    /// Bytes that went to the file.
    filed: u64,
    /// The last bytes, at least `TAIL_BYTES` of them once there were that many.
    tail: Vec<u8>,
    total: u64,
}

/// The pieces of the final result.
pub(super) struct Finished {
    pub(super) output: String,
    pub(super) metadata: serde_json::Value,
}

impl Capture {
    /// `path` is the file to fill, if there is a place for it.
    pub(super) fn new(path: Option<PathBuf>, keep: bool) -> Capture {
        let file = path.as_deref().and_then(|path| File::create(path).ok());
        Capture {
            path,
            file,
            keep,
            filed: 0,
            tail: Vec::new(),
            total: 0,
        }
    }

    pub(super) fn total(&self) -> u64 {
        self.total
    }

    pub(super) fn push(&mut self, bytes: &[u8]) {
        let room = usize::try_from(FILE_BYTES - self.filed)
            .unwrap_or(usize::MAX)
            .min(bytes.len());
        // After a gap nothing more is filed, so that the file is a true beginning.
        if self.filed == self.total {
            self.file_bytes(&bytes[..room]);
        }
        self.total += bytes.len() as u64;
        self.tail.extend_from_slice(bytes);
        if self.tail.len() > 2 * TAIL_BYTES {
            self.tail.drain(..self.tail.len() - TAIL_BYTES);
        }
    }

    fn file_bytes(&mut self, bytes: &[u8]) {
        let Some(file) = &mut self.file else { return };
        match file.write_all(bytes) {
            Ok(()) => self.filed += bytes.len() as u64,
            Err(_) => self.file = None,
        }
    }

    /// What came after `offset`, and the offset to ask with next. Unless `last`, a character that
    /// is not complete yet is held back.
    pub(super) fn since(&self, offset: u64) -> (String, u64) {
        let new = usize::try_from(self.total.saturating_sub(offset)).unwrap_or(usize::MAX);
        let bytes = &self.tail[self.tail.len().saturating_sub(new.min(NEWS_BYTES))..];
        let held = incomplete(bytes);
        let bytes = &bytes[..bytes.len() - held];
        let bytes = if new > bytes.len() + held {
            skip_continuation(bytes)
        } else {
            bytes
        };
        let text = String::from_utf8_lossy(bytes);
        (
            last_bytes(&text, NEWS_BYTES).to_string(),
            self.total - held as u64,
        )
    }

    /// The result: the output's end, and where the rest is. `note` is why the command was killed.
    pub(super) fn finish(&mut self, exit: Option<i32>, note: Option<String>) -> Finished {
        let whole = self.total == self.tail.len() as u64;
        let bytes = if whole {
            &self.tail[..]
        } else {
            skip_continuation(&self.tail)
        };
        // As in OpenCode, a mark at the start and half a character at the end are not text.
        let bytes = &bytes[..bytes.len() - incomplete(bytes)];
        let text = String::from_utf8_lossy(bytes);
        let text = text
            .strip_prefix('\u{feff}')
            .filter(|_| whole)
            .unwrap_or(&text);
        let (shown, cut) = tail(text);
        let cut = cut || !whole;
        let mut output = if shown.is_empty() {
            "(no output)".to_string()
        } else {
            shown.to_string()
        };
        let live = live(text, whole);
        let saved = if cut || self.keep {
            self.save().filter(|_| cut)
        } else {
            self.forget()
        };
        if cut {
            let place = match &saved {
                Some(path) => format!("Full output saved to: {}", path.display()),
                None => {
                    "The full output could not be saved: there is no space for it in the sandbox."
                        .to_string()
                }
            };
            output = format!("...output truncated...\n\n{place}\n\n{output}");
        }
        let ended = exit.filter(|code| *code != 0 && note.is_none());
        if let Some(note) = note {
            output += &protocol::shell_note(&note);
        }
        let live = if live.is_empty() {
            output.clone()
        } else {
            live
        };
        let mut metadata = json!({ "output": live, "exit": exit, "truncated": cut });
        if self.keep {
            metadata["bytes"] = json!(self.total);
        }
        if let Some(path) = saved {
            metadata["outputPath"] = json!(path.to_string_lossy());
        }
        // For the model alone: the terminal has it in the metadata.
        if let Some(code) = ended {
            output += &protocol::exit_note(code);
        }
        Finished { output, metadata }
    }

    /// Completes the file: behind the beginning comes the end, with a line that says what is
    /// missing between them.
    fn save(&mut self) -> Option<PathBuf> {
        let mut file = self.file.take()?;
        let path = self.path.clone()?;
        let missing = self.total - self.filed;
        if missing > 0 {
            let tail = &self.tail
                [self.tail.len() - self.tail.len().min(missing.min(TAIL_BYTES as u64) as usize)..];
            let gap = missing - tail.len() as u64;
            let marker = format!("\n\n... {gap} bytes of output were left out here ...\n\n");
            if gap > 0 {
                file.write_all(marker.as_bytes()).ok()?;
            }
            file.write_all(tail).ok()?;
        }
        Some(path)
    }

    /// A short output needs no file.
    fn forget(&mut self) -> Option<PathBuf> {
        self.file = None;
        if let Some(path) = &self.path {
            let _ = std::fs::remove_file(Path::new(path));
        }
        None
    }
}

/// The last 30,000 UTF-16 units, as OpenCode shows them while a command runs.
fn live(text: &str, whole: bool) -> String {
    let mut left = LIVE_CHARS;
    for (at, c) in text.char_indices().rev() {
        match left.checked_sub(c.len_utf16()) {
            Some(rest) => left = rest,
            None => return format!("...\n\n{}", &text[at + c.len_utf8()..]),
        }
    }
    if whole {
        text.to_string()
    } else {
        format!("...\n\n{text}")
    }
}

/// The last lines that fit both limits, and whether something was cut. If not even the last line
/// fits, its end.
fn tail(text: &str) -> (&str, bool) {
    if text.len() <= MAX_BYTES && text.split('\n').count() <= MAX_LINES {
        return (text, false);
    }
    let mut start = text.len();
    let mut lines = 0;
    while lines < MAX_LINES && start > 0 {
        // The line that ends before `start`, without the newline that joins it to the next.
        let end = if lines == 0 { start } else { start - 1 };
        let begin = text[..end].rfind('\n').map_or(0, |at| at + 1);
        if text.len() - begin > MAX_BYTES {
            break;
        }
        start = begin;
        lines += 1;
    }
    if lines == 0 {
        (last_bytes(text, MAX_BYTES), true)
    } else {
        (&text[start..], true)
    }
}

/// The last `max` bytes of `text` at most, whole characters only.
fn last_bytes(text: &str, max: usize) -> &str {
    let mut start = text.len().saturating_sub(max);
    while !text.is_char_boundary(start) {
        start += 1;
    }
    &text[start..]
}

fn skip_continuation(bytes: &[u8]) -> &[u8] {
    let skip = bytes
        .iter()
        .take(3)
        .take_while(|byte| **byte & 0xc0 == 0x80)
        .count();
    &bytes[skip..]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn captured(text: &[u8]) -> Capture {
        let mut capture = Capture::new(None, false);
        text.chunks(7).for_each(|chunk| capture.push(chunk));
        capture
    }

    #[test]
    fn the_tail_keeps_whole_lines_within_both_limits() {
        let many = "x\n".repeat(3000);
        let wide = format!("{}\n{}\nend", "a".repeat(40_000), "b".repeat(20_000));
        let line = "é".repeat(40_000);
        for (text, expected, cut) in [
            ("", "", false),
            ("a\nb\n", "a\nb\n", false),
            (many.as_str(), &"x\n".repeat(1999)[..], true),
            (wide.as_str(), &wide[40_001..], true),
            (line.as_str(), &line[80_000 - 51_200..], true),
        ] {
            assert_eq!(tail(text), (expected, cut), "{} bytes", text.len());
        }
    }

    #[test]
    fn news_holds_back_half_a_character() {
        let capture = captured("ab€".as_bytes().split_last().unwrap().1);
        assert_eq!(capture.since(0), ("ab".to_string(), 2));
        assert_eq!(capture.since(2), (String::new(), 2));
        let whole = captured("ab€".as_bytes());
        assert_eq!(whole.since(2), ("€".to_string(), 5));
    }

    #[test]
    fn news_is_bounded_and_moves_on() {
        let capture = captured(&vec![0xff; 300_000]);
        let (text, next) = capture.since(10);
        assert!(text.len() <= NEWS_BYTES);
        assert_eq!(next, 300_000);
    }

    #[test]
    fn an_empty_output_says_so_and_a_note_comes_last() {
        let done = captured(b"").finish(None, Some("why".to_string()));
        assert_eq!(
            done.output,
            "(no output)\n\n<shell_metadata>\nwhy\n</shell_metadata>"
        );
        assert_eq!(done.metadata["exit"], serde_json::Value::Null);
        assert_eq!(captured(b"").finish(Some(0), None).output, "(no output)");
    }

    #[test]
    fn a_mark_before_and_half_a_character_behind_are_not_shown() {
        let done = captured(b"\xef\xbb\xbfbom\n\xe2\x82").finish(Some(0), None);
        assert_eq!(done.output, "bom\n");
        assert_eq!(done.metadata["output"], "bom\n");
        assert_eq!(
            captured(b"\xe2\x82").finish(Some(0), None).output,
            "(no output)"
        );
    }

    #[test]
    fn the_file_says_how_much_is_missing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("out");
        let mut capture = Capture::new(Some(path.clone()), false);
        let block = vec![b'x'; 1 << 20];
        (0..40).for_each(|_| capture.push(&block));
        capture.push(b"\nthe end\n");
        let done = capture.finish(Some(0), None);
        assert!(done.output.ends_with("\nthe end\n"));
        let saved = std::fs::read_to_string(&path).unwrap();
        assert!(saved.len() < 18 << 20);
        let gap = (40u64 << 20) + 9 - (16 << 20) - (1 << 20);
        assert!(saved.contains(&format!("... {gap} bytes of output were left out here ...")));
        assert!(saved.ends_with("\nthe end\n"));
    }
}
