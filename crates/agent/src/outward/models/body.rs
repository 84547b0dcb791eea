//! Which models the body of a request asks for.

use serde::de::{Deserialize, Deserializer, Error, IgnoredAny, MapAccess, Visitor};
use std::fmt;

/// The models that a body asks for.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Asked {
    /// The field `model`.
    pub(super) model: Option<String>,
    /// The field `models`: what OpenRouter takes instead if that one fails.
    pub(super) instead: Vec<String>,
}

/// Reads a body. What one reader of JSON could take for another model than the next one is an error: a field
/// that is there twice, or, as some ignore the case of letters, one in capitals.
pub(super) fn asked(body: &[u8]) -> Result<Asked, serde_json::Error> {
    serde_json::from_slice(body)
}

impl<'de> Deserialize<'de> for Asked {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Fields)
    }
}

struct Fields;

impl<'de> Visitor<'de> for Fields {
    type Value = Asked;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Asked, M::Error> {
        let mut asked = Asked::default();
        let mut seen = Vec::new();
        while let Some(key) = map.next_key::<String>()? {
            let name = key.to_ascii_lowercase();
            if !["model", "models"].contains(&name.as_str()) {
                map.next_value::<IgnoredAny>()?;
                continue;
            }
            if name != key || seen.contains(&key) {
                return Err(M::Error::custom(format_args!(
                    "`{key}` is not there once as `{name}`"
                )));
            }
            match name.as_str() {
                "model" => asked.model = Some(map.next_value()?),
                _ => asked.instead = map.next_value()?,
            }
            seen.push(key);
        }
        Ok(asked)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_models_of_a_body_are_all_that_any_reader_could_find() {
        let one = |model: &str| Asked {
            model: Some(model.into()),
            instead: Vec::new(),
        };
        for (body, expected) in [
            (r#"{"model":"a","messages":[{"model":"c"}]}"#, one("a")),
            (r#"{"\u006dodel":"a"}"#, one("a")),
            (r#"{"messages":[]}"#, Asked::default()),
            (
                r#"{"models":["a","b"]}"#,
                Asked {
                    model: None,
                    instead: vec!["a".into(), "b".into()],
                },
            ),
        ] {
            assert_eq!(asked(body.as_bytes()).unwrap(), expected, "{body}");
        }
    }

    #[test]
    fn a_body_that_two_readers_could_read_differently_is_an_error() {
        for body in [
            r#"{"model":"a","model":"b"}"#,
            r#"{"model":"a","\u006dodel":"b"}"#,
            r#"{"model":"a","Model":"b"}"#,
            r#"{"MODEL":"a"}"#,
            r#"{"models":["a"],"Models":["b"]}"#,
            r#"{"model":["a"]}"#,
            r#"{"model":"a"} {"model":"b"}"#,
            r#"{"model":"a""#,
            r#"[{"model":"a"}]"#,
            "",
        ] {
            assert!(asked(body.as_bytes()).is_err(), "{body}");
        }
    }
}
