use super::*;
use proptest::prelude::*;

fn candidates(way: Way, content: &str, old: &str) -> Vec<String> {
    let mut all = Vec::new();
    let _ = way(content, old, &mut |candidate| {
        all.push(candidate.to_string());
        ControlFlow::Continue(())
    });
    all
}

#[test]
fn each_way_has_its_candidates() {
    let none: &[&str] = &[];
    let cases: &[(Way, &str, &str, &[&str])] = &[
        (exact, "", "x", &["x"]),
        (trimmed_lines, "  a\n\tb\nc", "a\nb", &["  a\n\tb"]),
        (trimmed_lines, "  a\n\tb\nc", "a\nb\n", &["  a\n\tb"]),
        (trimmed_lines, "a\n a\n", "a", &["a", " a"]),
        (
            anchored_block,
            "f {\n one\n twoo\n}\n",
            "f {\n one\n two\n}",
            &["f {\n one\n twoo\n}"],
        ),
        (
            anchored_block,
            "f {\n xyz\n qqq\n}\n",
            "f {\n one\n two\n}",
            none,
        ),
        (anchored_block, "f\n}", "f\n}", none),
        // Two candidates: the more similar one.
        (
            anchored_block,
            "f\n abcd\n}\nf\n abxx\n}\n",
            "f\n abcx\n}",
            &["f\n abcd\n}"],
        ),
        (collapsed_space, "if   x:\ny", "if x:", &["if   x:"]),
        (collapsed_space, "z; if \t x: y", "if x:", &["if \t x:"]),
        (collapsed_space, "a  b\nc", "a b\n  c", &["a  b\nc"]),
        (dedented, "    a\n      b\n", "a\n  b", &["    a\n      b"]),
        (dedented, "    a\n     b\n", "a\n  b", none),
        (unescaped, "a\"b\tc", "a\\\"b\\tc", &["a\"b\tc", "a\"b\tc"]),
        (trimmed_whole, "ab", "\n ab ", &["ab"]),
        (trimmed_whole, "ab", "ab", none),
        (
            half_equal_block,
            "s\n 1\n 2\ne",
            "s\n1\nX\ne",
            &["s\n 1\n 2\ne"],
        ),
        (half_equal_block, "s\n 1\n 2\n 3\ne", "s\n1\nX\nY\ne", none),
        (every_occurrence, "aXa", "a", &["a"]),
    ];
    for (at, (way, content, old, expected)) in cases.iter().enumerate() {
        assert_eq!(
            candidates(*way, content, old),
            *expected,
            "case {at}: {content:?} {old:?}"
        );
    }
}

#[test]
fn the_outcome_of_an_edit() {
    let large = format!("s\n{}\ne\n", "x\n".repeat(9));
    for (content, old, new, all, expected) in [
        ("a b a", "b", "c", false, Ok("a c a")),
        ("a b a", "a", "c", false, Err(AMBIGUOUS)),
        ("a b a", "a", "c", true, Ok("c b c")),
        ("aaa", "aa", "b", false, Err(AMBIGUOUS)),
        ("a", "zzz", "c", false, Err(NOT_FOUND)),
        ("x $& y", "x", "$& $1 $$", true, Ok("$& $1 $$ $& y")),
        // The new text goes in as it is, not indented again.
        ("    a\n      b\n", "a\n  b", "c", false, Ok("c\n")),
        ("a\n\nb", "   ", "X", true, Err(NOT_FOUND)),
        ("a\n\nb", "   ", "X", false, Err(AMBIGUOUS)),
        ("", "   ", "X", false, Ok("X")),
        (large.as_str(), "s\n\ne", "", false, Err(NOT_FOUND)),
        (
            "a\n b\n\n\n\n\n c",
            "a\n b\n\n\n\n\n c",
            "d",
            false,
            Ok("d"),
        ),
    ] {
        assert_eq!(
            replace(content, old, new, all),
            expected.map(str::to_string),
            "{content:?} {old:?}"
        );
    }
}

#[test]
fn the_way_that_decides_is_named() {
    for (content, old, all, expected) in [
        ("a b", "b", false, Some("exact")),
        ("  a\n\tb\nc", "a\nb", false, Some("trimmed lines")),
        (
            "f {\n one\n twoo\n}\n",
            "f {\n one\n two\n}",
            false,
            Some("anchored block"),
        ),
        ("if   x:\n", "if x:", false, Some("collapsed space")),
        ("a\tb", "a\\tb", false, Some("unescaped")),
        (
            "z\n  a\n  b\nz",
            "\n  a\n  b\n\n",
            false,
            Some("trimmed whole"),
        ),
        (
            "s\nabcd\nefgh\ne\n",
            "s\nabcd\nqqqqqqq\ne",
            false,
            Some("half-equal block"),
        ),
        ("a a", "a", false, None),
        ("a a", "a", true, Some("exact")),
        ("a", "zzz", false, None),
    ] {
        let (hits, decides) = ways(content, old, all);
        assert_eq!(
            decides.map(|way| WAYS[way].0),
            expected,
            "{content:?} {old:?}"
        );
        assert_eq!(
            replace(content, old, "NEW", all).is_ok(),
            expected.is_some()
        );
        assert!(decides.is_none_or(|way| hits.contains(&way)));
    }
    // What is there twice goes through all ways that know it.
    let (hits, _) = ways("  a\n  b\n\n  a\n  b\n", "  a\n  b", false);
    assert_eq!(hits, [0, 1, 3, 4, 5, 6, 8]);
}

#[test]
fn a_match_much_larger_than_asked_for_is_refused() {
    // `x \n y` collapses to one line, and the block that collapses to it is longer.
    assert!(is_much_larger("a\nb\nc\nd", "a"));
    assert!(!is_much_larger("a\nb\nc", "a"));
    assert!(is_much_larger(&"y".repeat(600), "a\nb"));
    assert!(!is_much_larger(&"y".repeat(600), "a"));
}

proptest! {
    #[test]
    fn what_occurs_once_is_replaced_and_nothing_else(before in "[a-c \n]{0,30}", after in "[a-c \n]{0,30}", new in "\\PC{0,9}") {
        let content = format!("{before}MARK{after}");
        prop_assert_eq!(replace(&content, "MARK", &new, false), Ok(format!("{before}{new}{after}")));
    }

    #[test]
    fn no_way_panics_or_invents_text(content in "[ab\t \\\\n\n]{0,60}", old in "[ab\t \\\\n\n]{1,20}") {
        for (_, way) in &WAYS[1..] {
            for candidate in candidates(*way, &content, &old) {
                // Only the decoded form may differ, and only if it is there.
                prop_assert!(content.contains(&candidate));
            }
        }
    }
}
