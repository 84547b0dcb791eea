//! Finds the text to replace: exactly, or as the model probably meant it.
//!
//! Nine ways are tried in a fixed order, from exact to loose. Each proposes candidates, which are
//! parts of the file; the first candidate that occurs exactly once is replaced. A candidate much
//! larger than what was asked for stops everything, because a loose match of that kind has eaten
//! half a file before.
//!
//! Surprise: an empty candidate replaces nothing but an empty file, though in OpenCode a blank
//! `oldString` with `replaceAll` puts the new text between all characters.

use crate::fs::js;
use std::ops::ControlFlow;

const NOT_FOUND: &str = "Could not find oldString in the file. It must match exactly, including whitespace, indentation, and line endings.";
const AMBIGUOUS: &str = "Found multiple matches for oldString. Provide more surrounding context to make the match unique.";
const TOO_LARGE: &str = "Refusing replacement because the matched span is much larger than oldString. Re-read the file and provide the full exact oldString for the intended replacement.";
/// Least mean similarity of the lines between two anchors.
const SIMILAR: f64 = 0.65;

type Found<'a> = &'a mut dyn FnMut(&str) -> ControlFlow<()>;
/// Proposes candidates for `old` in `content` until told to stop.
type Way = fn(content: &str, old: &str, found: Found) -> ControlFlow<()>;

/// The ways in their order, with the names that tests call them by.
pub const WAYS: [(&str, Way); 9] = [
    ("exact", exact),
    ("trimmed lines", trimmed_lines),
    ("anchored block", anchored_block),
    ("collapsed space", collapsed_space),
    ("dedented", dedented),
    ("unescaped", unescaped),
    ("trimmed whole", trimmed_whole),
    ("half-equal block", half_equal_block),
    ("every occurrence", every_occurrence),
];

/// `content` with `old` replaced by `new`, once or everywhere.
pub(super) fn replace(
    content: &str,
    old: &str,
    new: &str,
    all: bool,
) -> Result<String, &'static str> {
    let mut result = Err(NOT_FOUND);
    for (_, way) in WAYS {
        let flow = way(content, old, &mut |candidate| {
            match judge(content, old, candidate, all) {
                Verdict::Absent => return ControlFlow::Continue(()),
                Verdict::Ambiguous => {
                    result = Err(AMBIGUOUS);
                    return ControlFlow::Continue(());
                }
                Verdict::TooLarge => result = Err(TOO_LARGE),
                Verdict::Everywhere => result = Ok(content.replace(candidate, new)),
                Verdict::Once(at) => {
                    let (before, rest) = content.split_at(at);
                    result = Ok([before, new, &rest[candidate.len()..]].concat());
                }
            }
            ControlFlow::Break(())
        });
        if flow.is_break() {
            break;
        }
    }
    result
}

/// The indices of the ways that propose something, and of the one that decides.
pub(super) fn ways(content: &str, old: &str, all: bool) -> (Vec<usize>, Option<usize>) {
    let mut hits = Vec::new();
    for (index, (_, way)) in WAYS.iter().enumerate() {
        let mut hit = false;
        let flow = way(
            content,
            old,
            &mut |candidate| match judge(content, old, candidate, all) {
                Verdict::Absent => ControlFlow::Continue(()),
                Verdict::Ambiguous => {
                    hit = true;
                    ControlFlow::Continue(())
                }
                Verdict::TooLarge | Verdict::Everywhere | Verdict::Once(_) => {
                    hit = true;
                    ControlFlow::Break(())
                }
            },
        );
        if hit {
            hits.push(index);
        }
        if flow.is_break() {
            return (hits, Some(index));
        }
    }
    (hits, None)
}

/// What becomes of a candidate.
enum Verdict {
    /// It is not in the file, or it is nothing.
    Absent,
    /// It is there more than once, and once was asked for.
    Ambiguous,
    TooLarge,
    /// All its copies are replaced.
    Everywhere,
    /// The one copy, at this place.
    Once(usize),
}

fn judge(content: &str, old: &str, candidate: &str, all: bool) -> Verdict {
    if candidate.is_empty() && !content.is_empty() {
        return if all {
            Verdict::Absent
        } else {
            Verdict::Ambiguous
        };
    }
    let Some(first) = content.find(candidate) else {
        return Verdict::Absent;
    };
    if is_much_larger(candidate, old) {
        return Verdict::TooLarge;
    }
    if all {
        return Verdict::Everywhere;
    }
    // Occurrences may overlap, so look from the end rather than count.
    if content.rfind(candidate) == Some(first) {
        Verdict::Once(first)
    } else {
        Verdict::Ambiguous
    }
}

fn is_much_larger(span: &str, old: &str) -> bool {
    let lines = |text: &str| text.split('\n').count();
    let (asked, got) = (lines(old), lines(span));
    if got >= (asked + 3).max(asked * 2) {
        return true;
    }
    let (asked_len, got_len) = (js::len(js::trim(old)), js::len(js::trim(span)));
    asked > 1 && got_len > (asked_len + 500).max(asked_len * 4)
}

/// Lines with their place in the text, so that a block of them is a slice.
struct Lines<'a> {
    text: &'a str,
    lines: Vec<&'a str>,
    starts: Vec<usize>,
}

impl<'a> Lines<'a> {
    fn new(text: &'a str) -> Lines<'a> {
        let lines: Vec<&str> = text.split('\n').collect();
        let mut start = 0;
        let starts = lines
            .iter()
            .map(|line| {
                let this = start;
                start += line.len() + 1;
                this
            })
            .collect();
        Lines {
            text,
            lines,
            starts,
        }
    }

    /// Lines `from..to`, without the newline after the last.
    fn block(&self, from: usize, to: usize) -> &'a str {
        if from >= to {
            return "";
        }
        &self.text[self.starts[from]..self.starts[to - 1] + self.lines[to - 1].len()]
    }

    /// All blocks of `count` lines, as the index of their first.
    fn windows(&self, count: usize) -> std::ops::Range<usize> {
        0..(self.lines.len() + 1).saturating_sub(count)
    }
}

/// The lines of `old`, without the empty one behind a final newline.
fn wanted(old: &str) -> Vec<&str> {
    let mut lines: Vec<&str> = old.split('\n').collect();
    if lines.last() == Some(&"") {
        lines.pop();
    }
    lines
}

fn exact(_: &str, old: &str, found: Found) -> ControlFlow<()> {
    found(old)
}

fn trimmed_lines(content: &str, old: &str, found: Found) -> ControlFlow<()> {
    let content = Lines::new(content);
    let old: Vec<&str> = wanted(old).into_iter().map(js::trim).collect();
    for at in content.windows(old.len()) {
        if content.lines[at..]
            .iter()
            .zip(&old)
            .all(|(line, old)| js::trim(line) == *old)
        {
            found(content.block(at, at + old.len()))?;
        }
    }
    ControlFlow::Continue(())
}

/// Three lines or more: first and last are equal but for space, the middle is similar.
fn anchored_block(content: &str, old: &str, found: Found) -> ControlFlow<()> {
    if old.split('\n').count() < 3 {
        return ControlFlow::Continue(());
    }
    let content = Lines::new(content);
    let old: Vec<&str> = wanted(old).into_iter().map(js::trim).collect();
    let (Some(first), Some(last)) = (old.first(), old.last()) else {
        return ControlFlow::Continue(());
    };
    let slack = (old.len() / 4).max(1);
    let trimmed: Vec<&str> = content.lines.iter().map(|line| js::trim(line)).collect();
    let mut blocks = Vec::new();
    for start in (0..trimmed.len()).filter(|at| trimmed[*at] == *first) {
        let Some(end) = (start + 2..trimmed.len()).find(|at| trimmed[*at] == *last) else {
            continue;
        };
        if (end - start + 1).abs_diff(old.len()) <= slack {
            blocks.push((start, end));
        }
    }
    let best = match blocks.as_slice() {
        [] => None,
        [(start, end)] => {
            (similarity(&trimmed[*start..=*end], &old, true) >= SIMILAR).then_some((*start, *end))
        }
        _ => {
            let mut best: (f64, Option<(usize, usize)>) = (-1.0, None);
            for (start, end) in &blocks {
                let score = similarity(&trimmed[*start..=*end], &old, false);
                if score > best.0 {
                    best = (score, Some((*start, *end)));
                }
            }
            best.1.filter(|_| best.0 >= SIMILAR)
        }
    };
    match best {
        Some((start, end)) => found(content.block(start, end + 1)),
        None => ControlFlow::Continue(()),
    }
}

/// Mean similarity of the lines between first and last; two empty lines add nothing. `enough` stops
/// as soon as the threshold is reached.
fn similarity(block: &[&str], old: &[&str], enough: bool) -> f64 {
    let middle = old
        .len()
        .saturating_sub(2)
        .min(block.len().saturating_sub(2));
    if middle == 0 {
        return 1.0;
    }
    let mut sum = 0.0;
    for (line, old) in block.iter().zip(old).skip(1).take(middle) {
        let longest = js::len(line).max(js::len(old));
        if longest == 0 {
            continue;
        }
        sum += (1.0 - distance(line, old) as f64 / longest as f64) / middle as f64;
        if enough && sum >= SIMILAR {
            break;
        }
    }
    sum
}

/// Levenshtein distance in UTF-16 units.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<u16>, Vec<u16>) = (a.encode_utf16().collect(), b.encode_utf16().collect());
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let change = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = change.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

/// Runs of white space count as one blank.
fn collapsed_space(content: &str, old: &str, found: Found) -> ControlFlow<()> {
    let collapse = |text: &str| words(text).collect::<Vec<_>>().join(" ");
    let wanted = collapse(old);
    let parts: Vec<&str> = words(old).collect();
    let content = Lines::new(content);
    for line in &content.lines {
        let collapsed = collapse(line);
        if collapsed == wanted {
            found(line)?;
        } else if collapsed.contains(&wanted)
            && let Some(part) = spaced(line, &parts)
        {
            found(part)?;
        }
    }
    let count = old.split('\n').count();
    if count > 1 {
        for at in content.windows(count) {
            let block = content.block(at, at + count);
            if collapse(block) == wanted {
                found(block)?;
            }
        }
    }
    ControlFlow::Continue(())
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(js::is_space).filter(|word| !word.is_empty())
}

/// The first part of `line` that is `words` with any white space between them.
fn spaced<'a>(line: &'a str, words: &[&str]) -> Option<&'a str> {
    let (first, more) = words.split_first()?;
    line.match_indices(first).find_map(|(start, _)| {
        let mut rest = &line[start + first.len()..];
        for word in more {
            let after = rest.trim_start_matches(js::is_space);
            if after.len() == rest.len() {
                return None;
            }
            rest = after.strip_prefix(word)?;
        }
        Some(&line[start..line.len() - rest.len()])
    })
}

/// Equal when both lose the indentation that all their lines share.
fn dedented(content: &str, old: &str, found: Found) -> ControlFlow<()> {
    fn dedent(text: &str) -> String {
        let indent = |line: &&str| line.chars().take_while(|c| js::is_space(*c)).count();
        let lines: Vec<&str> = text.split('\n').collect();
        let least = lines
            .iter()
            .filter(|line| !js::trim(line).is_empty())
            .map(indent)
            .min()
            .unwrap_or(0);
        let cut = |line: &&str| -> String {
            if js::trim(line).is_empty() {
                line.to_string()
            } else {
                line.chars().skip(least).collect()
            }
        };
        lines.iter().map(cut).collect::<Vec<_>>().join("\n")
    }
    let count = old.split('\n').count();
    blocks_that_become(&dedent(old), content, count, dedent, found)
}

/// Proposes every block of `count` lines that `normalize` turns into `wanted`.
fn blocks_that_become(
    wanted: &str,
    content: &str,
    count: usize,
    normalize: impl Fn(&str) -> String,
    found: Found,
) -> ControlFlow<()> {
    let content = Lines::new(content);
    for at in content.windows(count) {
        let block = content.block(at, at + count);
        if normalize(block) == wanted {
            found(block)?;
        }
    }
    ControlFlow::Continue(())
}

/// `\n`, `\t`, `\"` … were written for the characters themselves.
fn unescaped(content: &str, old: &str, found: Found) -> ControlFlow<()> {
    fn unescape(text: &str) -> String {
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(at) = rest.find('\\') {
            out += &rest[..at];
            let mut chars = rest[at + 1..].chars();
            let plain = match chars.next() {
                Some('n' | '\n') => Some('\n'),
                Some('t') => Some('\t'),
                Some('r') => Some('\r'),
                Some(c @ ('\'' | '"' | '`' | '\\' | '$')) => Some(c),
                _ => None,
            };
            match plain {
                Some(c) => {
                    out.push(c);
                    rest = chars.as_str();
                }
                None => {
                    out.push('\\');
                    rest = &rest[at + 1..];
                }
            }
        }
        out + rest
    }
    let wanted = unescape(old);
    if content.contains(&wanted) {
        found(&wanted)?;
    }
    let count = wanted.split('\n').count();
    blocks_that_become(&wanted, content, count, unescape, found)
}

/// Without the white space around the whole.
fn trimmed_whole(content: &str, old: &str, found: Found) -> ControlFlow<()> {
    let wanted = js::trim(old);
    if wanted == old {
        return ControlFlow::Continue(());
    }
    if content.contains(wanted) {
        found(wanted)?;
    }
    let count = old.split('\n').count();
    let content = Lines::new(content);
    for at in content.windows(count) {
        let block = content.block(at, at + count);
        if js::trim(block) == wanted {
            found(block)?;
        }
    }
    ControlFlow::Continue(())
}

/// Three lines or more: first and last are equal but for space, the number of lines is the same,
/// and half of the middle lines are equal.
fn half_equal_block(content: &str, old: &str, found: Found) -> ControlFlow<()> {
    if old.split('\n').count() < 3 {
        return ControlFlow::Continue(());
    }
    let content = Lines::new(content);
    let old: Vec<&str> = wanted(old).into_iter().map(js::trim).collect();
    let (Some(first), Some(last)) = (old.first(), old.last()) else {
        return ControlFlow::Continue(());
    };
    let trimmed: Vec<&str> = content.lines.iter().map(|line| js::trim(line)).collect();
    for start in (0..trimmed.len()).filter(|at| trimmed[*at] == *first) {
        let Some(end) = (start + 2..trimmed.len()).find(|at| trimmed[*at] == *last) else {
            continue;
        };
        if end - start + 1 != old.len() {
            continue;
        }
        let pairs = || {
            trimmed[start + 1..end]
                .iter()
                .zip(&old[1..])
                .filter(|(a, b)| !a.is_empty() || !b.is_empty())
        };
        let (total, equal) = (pairs().count(), pairs().filter(|(a, b)| a == b).count());
        if total == 0 || equal * 2 >= total {
            found(content.block(start, end + 1))?;
        }
    }
    ControlFlow::Continue(())
}

fn every_occurrence(content: &str, old: &str, found: Found) -> ControlFlow<()> {
    // All are the same text, so one proposal says it.
    if content.contains(old) {
        found(old)
    } else {
        ControlFlow::Continue(())
    }
}

#[cfg(test)]
mod tests;
