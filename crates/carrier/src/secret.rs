//! What the program proves itself with.

use std::path::{Path, PathBuf};
use subtle::ConstantTimeEq;

/// The header of the upgrade request that has the secret.
pub const SECRET_HEADER: &str = "x-opencode-carrier-secret";

/// Shorter could be guessed; longer is no secret of ours.
const LENGTHS: std::ops::RangeInclusive<usize> = 32..=128;

/// The secret of one conversation: 32 to 128 visible ASCII letters.
#[derive(Clone)]
pub struct Secret(String);

/// Why there is no secret.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The file cannot be read.
    #[error("The file {} with the secret cannot be read: {source}. Write it before this end is started.", path.display())]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It has another form.
    #[error(
        "A secret has 32 to 128 visible ASCII letters, and this one does not. Make another one."
    )]
    Malformed,
}

impl Secret {
    /// A secret of these letters.
    pub fn new(letters: impl Into<String>) -> Result<Secret, SecretError> {
        let letters = letters.into();
        let is_one =
            LENGTHS.contains(&letters.len()) && letters.bytes().all(|b| b.is_ascii_graphic());
        is_one
            .then_some(Secret(letters))
            .ok_or(SecretError::Malformed)
    }

    /// The secret in a file, which may end with a line's end.
    pub fn read(path: &Path) -> Result<Secret, SecretError> {
        let letters = std::fs::read_to_string(path).map_err(|source| SecretError::Unreadable {
            path: path.to_owned(),
            source,
        })?;
        Secret::new(letters.trim_end_matches(['\r', '\n']))
    }

    /// The letters, for the header of the request and for the file in the sandbox.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// True for the same letters; how long it takes says nothing about them.
    pub(crate) fn is(&self, given: &[u8]) -> bool {
        self.0.as_bytes().ct_eq(given).into()
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_long_enough_and_visible() {
        let good = "x".repeat(32);
        for (letters, is_one) in [
            (good.clone(), true),
            ("x".repeat(128), true),
            ("x".repeat(31), false),
            ("x".repeat(129), false),
            (format!("{good} "), false),
            (format!("{good}é"), false),
            (String::new(), false),
        ] {
            assert_eq!(Secret::new(letters.clone()).is_ok(), is_one, "{letters:?}");
        }
        let secret = Secret::new(good.clone()).expect("a secret");
        assert!(!format!("{secret:?}").contains(&good));
    }

    #[test]
    fn only_the_same_letters_are_the_secret() {
        let secret = Secret::new("abcdefghijklmnopqrstuvwxyz012345").expect("a secret");
        for (given, is_it) in [
            ("abcdefghijklmnopqrstuvwxyz012345", true),
            ("abcdefghijklmnopqrstuvwxyz012346", false),
            ("abcdefghijklmnopqrstuvwxyz0123455", false),
            ("abcdefghijklmnopqrstuvwxyz01234", false),
            ("", false),
        ] {
            assert_eq!(secret.is(given.as_bytes()), is_it, "{given:?}");
        }
    }
}
