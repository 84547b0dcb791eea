use super::*;
use proptest::prelude::*;
use serde_json::Value;

/// Pairs of texts with what the package `diff` 8.0 made of them: small alphabets, so that there are
/// many diffs of equal length to choose among.
#[test]
fn the_same_diffs_as_the_original() {
    let cases: Vec<Value> =
        serde_json::from_str(include_str!("../../../tests/vectors/jsdiff.json")).unwrap();
    assert!(cases.len() > 200);
    for case in cases {
        let (old, new) = (case["old"].as_str().unwrap(), case["new"].as_str().unwrap());
        assert_eq!(
            unified("/f", old, new),
            case["patch"].as_str().unwrap(),
            "{old:?} {new:?}"
        );
        let expected = (
            case["added"].as_u64().unwrap() as usize,
            case["removed"].as_u64().unwrap() as usize,
        );
        assert_eq!(counts(old, new), expected, "{old:?} {new:?}");
    }
}

#[test]
fn shared_indentation_is_taken_away() {
    let diff = patch("/a", "    x\n\n      y\n", "    x\n\n      z\n");
    assert!(
        diff.ends_with("@@ -1,3 +1,3 @@\n x\n \n-  y\n+  z\n"),
        "{diff}"
    );
}

#[test]
fn a_hopeless_search_is_given_up_and_still_right() {
    let old: String = (0..20_000).map(|n| format!("old {n}\n")).collect();
    let new: String = (0..20_000).map(|n| format!("new {n}\n")).collect();
    assert_eq!(counts(&old, &new), (20_000, 20_000));
}

/// Applies a unified diff without looking at context: an oracle that shares no code with the maker.
fn apply(old: &str, diff: &str) -> String {
    let old: Vec<&str> = old.split_inclusive('\n').collect();
    let (mut out, mut at) = (String::new(), 0);
    for line in diff.split_inclusive('\n').skip(4) {
        if let Some(range) = line.strip_prefix("@@ -") {
            let (start, rest) = range.split_once(',').unwrap();
            let count: usize = rest.split_once(' ').unwrap().0.parse().unwrap();
            let start = start.parse::<usize>().unwrap() - usize::from(count > 0);
            out.extend(old[at..start].iter().copied());
            at = start;
        } else if line.starts_with('\\') {
            out.pop();
        } else {
            at += usize::from(!line.starts_with('+'));
            if !line.starts_with('-') {
                out += &line[1..];
            }
        }
    }
    out.extend(old[at..].iter().copied());
    out
}

proptest! {
    #[test]
    fn a_diff_applied_gives_the_new_text(old in "([ab]\n){0,30}[a]?", new in "([ab]\n){0,30}[b]?") {
        // A removed line without a newline would take one from the output it does not have.
        prop_assume!(old.is_empty() || old.ends_with('\n'));
        prop_assert_eq!(apply(&old, &unified("/f", &old, &new)), new);
    }
}
