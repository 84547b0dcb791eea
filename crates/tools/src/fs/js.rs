//! The few string rules of JavaScript that OpenCode's results depend on: lengths count UTF-16
//! units, and white space is not quite what Rust takes it for.

use std::cmp::Ordering;

/// `\s` and `trim()`: Unicode white space without NEL, with the byte order mark.
pub(super) fn is_space(c: char) -> bool {
    (c.is_whitespace() && c != '\u{85}') || c == '\u{feff}'
}

/// `text.trim()`.
pub(super) fn trim(text: &str) -> &str {
    text.trim_matches(is_space)
}

/// `text.trimEnd()`.
pub(super) fn trim_end(text: &str) -> &str {
    text.trim_end_matches(is_space)
}

/// `text.length`.
pub(super) fn len(text: &str) -> usize {
    text.chars().map(char::len_utf16).sum()
}

/// The longest start of `text` that has at most `units` UTF-16 units, whole characters only.
pub(super) fn head(text: &str, units: usize) -> &str {
    let mut left = units;
    for (at, c) in text.char_indices() {
        match left.checked_sub(c.len_utf16()) {
            Some(rest) => left = rest,
            None => return &text[..at],
        }
    }
    text
}

/// The order of `localeCompare` for file names: punctuation, digits, letters regardless of case,
/// then lower case first. Exact for ASCII; other characters come after, by code point.
pub(super) fn locale_cmp(a: &str, b: &str) -> Ordering {
    let primary = |text: &str| text.chars().map(weight).collect::<Vec<u32>>();
    let case = |text: &str| {
        text.chars()
            .map(|c| c.is_uppercase())
            .collect::<Vec<bool>>()
    };
    primary(a)
        .cmp(&primary(b))
        .then_with(|| case(a).cmp(&case(b)))
        .then_with(|| a.cmp(b))
}

/// CLDR's root order of ASCII punctuation, then digits, then letters.
fn weight(c: char) -> u32 {
    const PUNCTUATION: &str = "\t\n\u{b}\u{c}\r _-,;:!?.'\"()[]{}@*/\\&#%`^+<=>|~$";
    if let Some(at) = PUNCTUATION.find(c) {
        return at as u32;
    }
    c.to_lowercase().next().unwrap_or(c) as u32 + 100
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_sort_as_localecompare_sorts_them() {
        // Printed by node 22: names.sort((a, b) => a.localeCompare(b)).
        let sorted = [
            "_a", "-a", ".a", ".git/", "(x)", "@b", "#c", "~d", "$e", "1", "10", "2", "a", "A",
            "a.txt", "a/", "ab", "B", "b2", "Makefile", "z",
        ];
        let mut names = sorted;
        names.reverse();
        names.sort_by(|a, b| locale_cmp(a, b));
        assert_eq!(names, sorted);
    }

    #[test]
    fn lengths_and_heads_count_utf16_units() {
        assert_eq!(len("a😀"), 3);
        assert_eq!(head("a😀b", 2), "a");
        assert_eq!(head("a😀b", 3), "a😀");
        assert_eq!(head("ab", 9), "ab");
    }

    #[test]
    fn trim_takes_the_byte_order_mark_and_leaves_next_line() {
        assert_eq!(trim("\u{feff} a\u{85}\u{a0}"), "a\u{85}");
    }
}
