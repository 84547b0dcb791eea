//! Finds where a chunk belongs in a file, and makes the new text.
//!
//! Lines match exactly, else without blanks at their end, else without blanks around them, else
//! with typographic characters taken as plain ones.

use super::parse::Chunk;
use crate::fs::js;

/// `text` with all chunks applied. It ends with a newline, whatever it ended with before.
pub(super) fn apply(text: &str, chunks: &[Chunk], name: &str) -> Result<String, String> {
    let mut lines: Vec<&str> = text.split('\n').collect();
    if lines.last() == Some(&"") {
        lines.pop();
    }
    let mut edits = places(&lines, chunks, name)?;
    edits.sort_by_key(|edit| edit.at);
    let mut out: Vec<&str> = Vec::with_capacity(lines.len());
    let mut used = 0;
    for edit in &edits {
        // Chunks are found one after the other, so only an insertion at the end can lie before.
        out.extend(&lines[used.min(edit.at)..edit.at]);
        out.extend(edit.new.iter().map(String::as_str));
        used = edit.at + edit.count;
    }
    out.extend(&lines[used..]);
    if out.last() != Some(&"") {
        out.push("");
    }
    Ok(out.join("\n"))
}

struct Edit<'a> {
    at: usize,
    count: usize,
    new: &'a [String],
}

fn places<'a>(lines: &[&str], chunks: &'a [Chunk], name: &str) -> Result<Vec<Edit<'a>>, String> {
    let mut edits = Vec::new();
    let mut from = 0;
    for chunk in chunks {
        if let Some(context) = &chunk.context {
            let found = seek(lines, std::slice::from_ref(context), from, false);
            from =
                found.ok_or_else(|| format!("Failed to find context '{context}' in {name}"))? + 1;
        }
        if chunk.old.is_empty() {
            let at = if lines.last() == Some(&"") {
                lines.len() - 1
            } else {
                lines.len()
            };
            edits.push(Edit {
                at,
                count: 0,
                new: &chunk.new,
            });
            continue;
        }
        let (mut old, mut new) = (&chunk.old[..], &chunk.new[..]);
        let mut found = seek(lines, old, from, chunk.at_end);
        if let (None, Some((last, rest))) = (found, old.split_last())
            && last.is_empty()
        {
            old = rest;
            new = new.strip_suffix(&[String::new()]).unwrap_or(new);
            found = seek(lines, old, from, chunk.at_end);
        }
        let missing = || {
            format!(
                "Failed to find expected lines in {name}:\n{}",
                chunk.old.join("\n")
            )
        };
        let at = found.ok_or_else(missing)?;
        edits.push(Edit {
            at,
            count: old.len(),
            new,
        });
        from = at + old.len();
    }
    Ok(edits)
}

fn seek(lines: &[&str], wanted: &[String], from: usize, at_end: bool) -> Option<usize> {
    let ways: [fn(&str, &str) -> bool; 4] = [
        |a, b| a == b,
        |a, b| js::trim_end(a) == js::trim_end(b),
        |a, b| js::trim(a) == js::trim(b),
        |a, b| plain(js::trim(a)) == plain(js::trim(b)),
    ];
    if wanted.is_empty() || wanted.len() > lines.len() {
        return None;
    }
    let last = lines.len() - wanted.len();
    ways.iter().find_map(|same| {
        let fits = |at: &usize| {
            lines[*at..]
                .iter()
                .zip(wanted)
                .all(|(line, wanted)| same(line, wanted))
        };
        let end = Some(last).filter(|at| at_end && *at >= from && fits(at));
        end.or_else(|| (from..=last).find(fits))
    })
}

fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\u{2018}'..='\u{201b}' => out.push('\''),
            '\u{201c}'..='\u{201f}' => out.push('"'),
            '\u{2010}'..='\u{2015}' => out.push('-'),
            '\u{2026}' => out += "...",
            '\u{a0}' => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn chunk(context: &str, old: &str, new: &str) -> Chunk {
        let lines = |text: &str| -> Vec<String> {
            if text.is_empty() {
                Vec::new()
            } else {
                text.split('|').map(str::to_string).collect()
            }
        };
        Chunk {
            context: (!context.is_empty()).then(|| context.to_string()),
            old: lines(old),
            new: lines(new),
            at_end: false,
        }
    }

    #[test]
    fn chunks_find_their_place() {
        for (text, chunks, expected) in [
            ("a\nb\nc\n", vec![chunk("", "b", "B")], Ok("a\nB\nc\n")),
            // A final newline is always there afterwards.
            ("a\nb", vec![chunk("", "b", "B")], Ok("a\nB\n")),
            ("a  \n", vec![chunk("", "a", "x")], Ok("x\n")),
            ("  a\n", vec![chunk("", "a", "x")], Ok("x\n")),
            ("“a”…\n", vec![chunk("", "\"a\"...", "x")], Ok("x\n")),
            (
                "x\ny\nx\nz\n",
                vec![chunk("y", "x", "X")],
                Ok("x\ny\nX\nz\n"),
            ),
            ("x\n", vec![chunk("", "", "end")], Ok("x\nend\n")),
            ("", vec![chunk("", "", "first")], Ok("first\n")),
            ("a\nb\n", vec![chunk("", "a|", "A|")], Ok("A\nb\n")),
            (
                "a\nb\nc\n",
                vec![chunk("", "a", "1"), chunk("", "c", "")],
                Ok("1\nb\n"),
            ),
            (
                "a\nb\n",
                vec![chunk("", "", "end"), chunk("", "b", "B")],
                Ok("a\nB\nend\n"),
            ),
            ("a\r\nb\r\n", vec![chunk("", "a", "A")], Ok("A\nb\r\n")),
            (
                "a\n",
                vec![chunk("", "zzz", "")],
                Err("Failed to find expected lines in F:\nzzz"),
            ),
            (
                "a\n",
                vec![chunk("def no", "a", "")],
                Err("Failed to find context 'def no' in F"),
            ),
        ] {
            let expected = expected.map(str::to_string).map_err(str::to_string);
            assert_eq!(apply(text, &chunks, "F"), expected, "{text:?} {chunks:?}");
        }
    }

    #[test]
    fn a_chunk_for_the_end_prefers_the_end() {
        let mut last = chunk("", "x", "X");
        last.at_end = true;
        assert_eq!(apply("x\ny\nx\n", &[last], "F").unwrap(), "x\ny\nX\n");
    }

    proptest! {
        #[test]
        fn nothing_panics(
            text in "[ab\n]{0,20}",
            chunks in proptest::collection::vec(("[ab]?", "[ab|]{0,6}", "[ab|]{0,6}", any::<bool>()), 0..5),
        ) {
            let chunks: Vec<Chunk> = chunks
                .iter()
                .map(|(context, old, new, at_end)| Chunk { at_end: *at_end, ..chunk(context, old, new) })
                .collect();
            let _ = apply(&text, &chunks, "F");
        }
    }
}
