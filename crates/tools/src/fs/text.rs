//! A file's bytes as text and back, without losing a byte.
//!
//! Surprise: OpenCode decodes invalid UTF-8 to U+FFFD and writes that back, which destroys bytes far
//! from an edit. Here each invalid byte becomes one private character for the time of the edit and
//! the byte again when it is written.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

const BOM: char = '\u{feff}';
/// Byte `b` of invalid UTF-8 is U+10FE00 + b: the end of the last private plane.
const RAW: u32 = 0x10_fe00;

/// A decoded file.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Text {
    pub(super) bom: bool,
    pub(super) text: String,
}

impl Text {
    pub(super) fn new(text: &str) -> Text {
        let rest = text.strip_prefix(BOM);
        Text {
            bom: rest.is_some(),
            text: rest.unwrap_or(text).to_string(),
        }
    }

    pub(super) fn decode(bytes: &[u8]) -> Text {
        let mut text = String::with_capacity(bytes.len());
        for chunk in bytes.utf8_chunks() {
            text.push_str(chunk.valid());
            text.extend(
                chunk
                    .invalid()
                    .iter()
                    .filter_map(|byte| char::from_u32(RAW + u32::from(*byte))),
            );
        }
        Text::new(&text)
    }
}

/// `text` as bytes, with one byte order mark if `bom`.
pub(super) fn encode(text: &str, bom: bool) -> Vec<u8> {
    let text = text.strip_prefix(BOM).unwrap_or(text);
    let mut bytes = Vec::with_capacity(text.len() + 3);
    if bom {
        bytes.extend_from_slice("\u{feff}".as_bytes());
    }
    let mut buffer = [0; 4];
    for c in text.chars() {
        match raw(c) {
            Some(byte) => bytes.push(byte),
            None => bytes.extend_from_slice(c.encode_utf8(&mut buffer).as_bytes()),
        }
    }
    bytes
}

/// `text` for showing: what was not UTF-8 is U+FFFD.
pub(super) fn show(text: &str) -> String {
    text.chars()
        .map(|c| {
            if raw(c).is_some() {
                char::REPLACEMENT_CHARACTER
            } else {
                c
            }
        })
        .collect()
}

/// How many bytes at the end of a file `read` leaves out: what would begin a character by its first
/// byte alone, possible or not. That is how Node's `StringDecoder` counts, whose end is not asked for.
pub(super) fn unfinished(bytes: &[u8]) -> usize {
    for back in 1..=bytes.len().min(3) {
        let need = match bytes[bytes.len() - back] {
            0x80..=0xbf => continue,
            0xc0..=0xdf => 2,
            0xe0..=0xef => 3,
            0xf0..=0xf7 => 4,
            _ => 0,
        };
        return if back < need { back } else { 0 };
    }
    0
}

/// How many bytes at the end are the beginning of a character that never came.
pub fn incomplete(bytes: &[u8]) -> usize {
    let is_start = |back: &usize| {
        std::str::from_utf8(&bytes[bytes.len() - back..])
            .is_err_and(|error| error.valid_up_to() == 0 && error.error_len().is_none())
    };
    (1..=bytes.len().min(3)).find(is_start).unwrap_or(0)
}

/// Only bytes from 0x80 can be invalid, so a private character below that stands for itself.
fn raw(c: char) -> Option<u8> {
    u8::try_from(u32::from(c).checked_sub(RAW)?)
        .ok()
        .filter(|byte| *byte >= 0x80)
}

fn check_regular(path: &Path) -> io::Result<()> {
    let meta = std::fs::metadata(path)?;
    if meta.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    if meta.is_file() {
        Ok(())
    } else {
        Err(io::Error::other("not a regular file"))
    }
}

/// True if the file starts with a byte order mark.
pub(super) fn mark(path: &Path) -> io::Result<bool> {
    check_regular(path)?;
    let mut head = Vec::new();
    File::open(path)?.take(3).read_to_end(&mut head)?;
    Ok(head == "\u{feff}".as_bytes())
}

/// A regular file's text; a FIFO or device is refused rather than waited for.
pub(super) fn read(path: &Path) -> io::Result<Text> {
    check_regular(path)?;
    let bytes = std::fs::read(path)?;
    let text = Text::decode(&bytes);
    if encode(&text.text, text.bom) == bytes {
        Ok(text)
    } else {
        Err(io::Error::other("holds text that cannot be kept as it is"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_byte_comes_back(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
            let text = Text::decode(&bytes);
            prop_assert_eq!(encode(&text.text, text.bom), bytes);
        }
    }

    #[test]
    fn a_mark_is_kept_once() {
        let text = Text::decode("\u{feff}a".as_bytes());
        assert_eq!(
            text,
            Text {
                bom: true,
                text: "a".into()
            }
        );
        assert_eq!(encode("\u{feff}b", true), "\u{feff}b".as_bytes());
        assert_eq!(encode("\u{feff}b", false), b"b");
    }

    #[test]
    fn what_may_still_become_a_character_is_incomplete() {
        for (bytes, expected) in [
            (&b"a"[..], 0),
            (b"", 0),
            ("\u{e9}".as_bytes(), 0),
            (b"a\xe2\x82", 2),
            (b"\xf0\x9f\x98", 3),
            (b"\xe2", 1),
            (b"\xe0\x80", 0),
            (b"\xff", 0),
            (b"\x82\x82\x82", 0),
        ] {
            assert_eq!(incomplete(bytes), expected, "{bytes:?}");
        }
    }

    #[test]
    fn what_begins_a_character_by_its_first_byte_is_unfinished() {
        for (bytes, expected) in [
            (&b"a"[..], 0),
            (b"", 0),
            ("\u{e9}".as_bytes(), 0),
            (b"a\xc1", 1),
            (b"a\xed\xa0", 2),
            (b"a\xf5\x80\x80", 3),
            (b"a\xf8", 0),
            (b"a\xc1\x80", 0),
            (b"\x82\x82\x82\x82", 0),
        ] {
            assert_eq!(unfinished(bytes), expected, "{bytes:?}");
        }
    }

    #[test]
    fn invalid_bytes_show_as_replacement() {
        assert_eq!(show(&Text::decode(b"a\xffb").text), "a\u{fffd}b");
    }
}
