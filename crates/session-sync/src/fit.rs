//! The limits of the store (Convex, November 2026): what is over one is cut or written in another way,
//! and says so in its place. A record that breaks one would be refused as a whole, for ever.

use crate::records::PartRecord;
use serde_json::Value;

/// Bytes of one text. A document may have 1 MiB, its other fields and the JSON around it included.
const MAX_TEXT: usize = 600_000;
/// Bytes of all parts of a message: the arguments of one function may have 8 MiB.
const MAX_PARTS: usize = 6_000_000;
/// Nesting of objects and lists, of 16, below the part's own.
const MAX_DEPTH: usize = 12;
/// Fields of an object, and entries of a list.
const MAX_FIELDS: usize = 1_024;
const MAX_ENTRIES: usize = 8_192;
/// Characters of a field's name.
const MAX_NAME: usize = 1_024;

/// A text that fits, cut at its end.
pub fn text(given: &str) -> String {
    cut(given, MAX_TEXT)
}

fn cut(given: &str, max: usize) -> String {
    if given.len() <= max {
        return given.into();
    }
    let end = (0..=max).rev().find(|at| given.is_char_boundary(*at));
    let kept = &given[..end.unwrap_or_default()];
    format!(
        "{kept}\n[cut here: {} of {} bytes are left out]",
        given.len() - kept.len(),
        given.len()
    )
}

/// A value that fits: as it is, or as JSON text if it has names or a nesting that the store refuses.
pub fn value(given: &Value) -> Value {
    let text = given.to_string();
    match is_taken(given, 0) && text.len() <= MAX_TEXT {
        true => given.clone(),
        false => cut(&text, MAX_TEXT).into(),
    }
}

fn is_taken(value: &Value, depth: usize) -> bool {
    if depth > MAX_DEPTH {
        return false;
    }
    match value {
        Value::Object(fields) => {
            let is_named = |name: &str| {
                !name.is_empty()
                    && name.len() <= MAX_NAME
                    && !name.starts_with('$')
                    && name.bytes().all(|byte| (b' '..=b'~').contains(&byte))
            };
            fields.len() <= MAX_FIELDS
                && fields
                    .iter()
                    .all(|(name, value)| is_named(name) && is_taken(value, depth + 1))
        }
        Value::Array(entries) => {
            entries.len() <= MAX_ENTRIES && entries.iter().all(|entry| is_taken(entry, depth + 1))
        }
        _ => true,
    }
}

/// Cuts the longest contents until all parts of a message fit together. The number of parts is bounded, too:
/// those in the middle go, and one says how many.
pub fn parts(parts: &mut Vec<PartRecord>) {
    if parts.len() > MAX_ENTRIES {
        let gone = parts.len() - MAX_ENTRIES + 1;
        let at = MAX_ENTRIES / 2;
        let content = format!("[{gone} parts are left out here]").into();
        parts.splice(
            at..at + gone,
            [PartRecord {
                kind: "text",
                content,
            }],
        );
    }
    let size = |part: &PartRecord| part.content.to_string().len() + 40;
    let mut max = MAX_TEXT;
    while parts.iter().map(size).sum::<usize>() > MAX_PARTS {
        max /= 2;
        for part in parts.iter_mut().filter(|part| size(part) > max) {
            shorten(&mut part.content, max);
        }
    }
}

/// Cuts the texts in a content, and writes the rest as text if that is what is long.
fn shorten(content: &mut Value, max: usize) {
    match content {
        Value::String(text) => *text = cut(text, max),
        Value::Object(fields) => {
            for value in fields.values_mut() {
                let text = match &*value {
                    Value::String(text) => text.clone(),
                    other => other.to_string(),
                };
                if text.len() > max {
                    *value = cut(&text, max).into();
                }
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn a_long_text_is_cut_between_characters_and_says_so() {
        assert_eq!(text("short"), "short");
        let long = "ü".repeat(500_000);
        let fitted = text(&long);
        assert!(fitted.len() < 650_000, "{}", fitted.len());
        assert!(
            fitted.ends_with("bytes are left out]"),
            "{}",
            &fitted[fitted.len() - 60..]
        );
    }

    #[test]
    fn arguments_with_names_that_the_store_refuses_become_text() {
        let mut deep = json!("leaf");
        for _ in 0..20 {
            deep = json!({ "in": deep });
        }
        for (given, is_kept) in [
            (json!({ "command": "ls", "timeout": 3 }), true),
            (json!({ "$schema": "x" }), false),
            (json!({ "größe": 1 }), false),
            (json!({ "": 1 }), false),
            (json!({ "a": [{ "b$": 1 }] }), true),
            (json!({ "a": [{ "$b": 1 }] }), false),
            (json!({ "n".repeat(1_025): 1 }), false),
            (deep, false),
            (json!(vec![0; 8_193]), false),
            (json!("plain"), true),
            (Value::Null, true),
        ] {
            let fitted = value(&given);
            assert_eq!(fitted == given, is_kept, "{given}");
            if !is_kept {
                let text = fitted.as_str().expect("text");
                assert_eq!(serde_json::from_str::<Value>(text).expect("JSON"), given);
            }
        }
    }

    #[test]
    fn many_large_parts_fit_into_one_request_and_none_is_lost() {
        let part = |n: usize| PartRecord {
            kind: "tool-result",
            content: json!({ "result": n.to_string().repeat(100_000) }),
        };
        let mut all: Vec<PartRecord> = (0..40).map(part).collect();
        parts(&mut all);
        assert_eq!(all.len(), 40);
        let sent = serde_json::to_string(&all).expect("it serializes");
        assert!(sent.len() < 7_000_000, "{}", sent.len());
        let mut many: Vec<PartRecord> = (0..9_000)
            .map(|n| PartRecord {
                kind: "text",
                content: json!(n),
            })
            .collect();
        parts(&mut many);
        assert_eq!(many.len(), MAX_ENTRIES);
        let gone: Vec<&str> = many
            .iter()
            .filter_map(|part| part.content.as_str())
            .collect();
        assert_eq!(gone, ["[809 parts are left out here]"]);
        assert_eq!(many.last().expect("one").content, json!(8_999));
    }

    proptest! {
        #[test]
        fn whatever_the_arguments_are_they_are_taken(keys in prop::collection::vec(".*", 0..6), leaf in ".*") {
            let given = keys.iter().fold(json!(leaf), |inner, key| json!({ key.as_str(): inner }));
            prop_assert!(is_taken(&value(&given), 0));
        }
    }
}
