//! Random names: sandbox ids, tokens, the API key.

use uuid::Uuid;

/// A version 4 UUID.
pub(crate) fn uuid() -> String {
    Uuid::new_v4().to_string()
}

/// 122 random bits in 32 digits of lower-case hexadecimal, so it also fits into a host name.
pub(crate) fn token() -> String {
    Uuid::new_v4().simple().to_string()
}
