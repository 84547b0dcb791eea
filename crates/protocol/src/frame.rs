//! How a reply survives a shell: the output of `process/execute` is stdout and stderr merged, with
//! whatever a shell profile prints around it.
//!
//! A frame is one line of header, the body, one line of trailer:
//!
//! ```text
//! \n<<<opencode-runner:ID:LENGTH:SHA256/16>>>\n{…}\n<<<end:ID>>>\n
//! ```
//!
//! `LENGTH` is the body's length in bytes, and the hash is of the body, so that a cut or
//! interleaved reply is recognized as such and never half believed. Nothing before or after the
//! frame matters. The id is the request's: a frame for another id is skipped as noise.

use sha2::{Digest, Sha256};

/// Why there is no body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FrameError {
    /// No header for this id: the runner did not run, or its answer was lost whole.
    Missing,
    /// A header, but the body is short, changed, or has no trailer.
    Damaged,
    /// The header announces more than the limit.
    TooLarge(usize),
}

fn header(id: &str, body: &str) -> String {
    format!("<<<opencode-runner:{id}:{}:{}>>>", body.len(), digest(body))
}

/// First 16 hexadecimal digits of the SHA-256 of `body`.
fn digest(body: &str) -> String {
    let hash = Sha256::digest(body.as_bytes());
    hash[..8].iter().map(|b| format!("{b:02x}")).collect()
}

/// Wraps `body` for the request `id`.
pub fn encode(id: &str, body: &str) -> String {
    format!("\n{}\n{body}\n<<<end:{id}>>>\n", header(id, body))
}

/// Finds the body for the request `id` in `text`; bodies over `limit` bytes are refused.
///
/// If several frames match (a proxy repeated the request and both answers were printed), the
/// first whole one counts.
pub fn decode<'a>(id: &str, text: &'a str, limit: usize) -> Result<&'a str, FrameError> {
    let start = format!("<<<opencode-runner:{id}:");
    let mut verdict = FrameError::Missing;
    let mut rest = text;
    while let Some(at) = rest.find(&start) {
        let after = &rest[at + start.len()..];
        match body(id, after, limit) {
            Ok(body) => return Ok(body),
            Err(error) => verdict = error,
        }
        rest = after;
    }
    Err(verdict)
}

/// Parses `LENGTH:DIGEST>>>\nBODY\n<<<end:ID>>>`.
fn body<'a>(id: &str, after: &'a str, limit: usize) -> Result<&'a str, FrameError> {
    let (head, tail) = after.split_once(">>>\n").ok_or(FrameError::Damaged)?;
    let (length, hash) = head.split_once(':').ok_or(FrameError::Damaged)?;
    let length: usize = length.parse().map_err(|_| FrameError::Damaged)?;
    if length > limit {
        return Err(FrameError::TooLarge(length));
    }
    let body = tail.get(..length).ok_or(FrameError::Damaged)?;
    let end = format!("\n<<<end:{id}>>>");
    if !tail[length..].starts_with(&end) || digest(body) != hash {
        return Err(FrameError::Damaged);
    }
    Ok(body)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn noise_around_and_a_repeated_frame_do_not_matter() {
        let text = format!(
            "profile says hi{}bye{}",
            encode("a1", "{}"),
            encode("a1", "{}")
        );
        assert_eq!(decode("a1", &text, 10), Ok("{}"));
    }

    #[test]
    fn each_damage_has_its_verdict() {
        let whole = encode("a1", r#"{"x":1}"#);
        for (text, id, limit, expected) in [
            (
                "command not found".to_string(),
                "a1",
                99,
                FrameError::Missing,
            ),
            (whole.clone(), "b2", 99, FrameError::Missing),
            (
                whole[..whole.len() - 5].to_string(),
                "a1",
                99,
                FrameError::Damaged,
            ),
            (whole.replace("x", "y"), "a1", 99, FrameError::Damaged),
            (whole.clone(), "a1", 3, FrameError::TooLarge(7)),
            (
                "<<<opencode-runner:a1:-4:00>>>\n".to_string(),
                "a1",
                99,
                FrameError::Damaged,
            ),
        ] {
            assert_eq!(decode(id, &text, limit), Err(expected), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_framed_comes_back(before in ".{0,40}", body in "\\PC{0,200}", after in ".{0,40}") {
            let text = format!("{before}{}{after}", encode("id", &body));
            prop_assert_eq!(decode("id", &text, 10_000), Ok(body.as_str()));
        }

        #[test]
        fn no_prefix_of_a_frame_is_believed(body in "[a-z]{1,60}", cut in 1usize..20) {
            let text = encode("id", &body);
            let cut = cut.min(text.len() - 2) + 1;
            prop_assert!(decode("id", &text[..text.len() - cut], 10_000).is_err());
        }
    }
}
