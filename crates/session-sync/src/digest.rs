//! A short hash of texts, for comparing.

use sha2::{Digest, Sha256};

/// 128 bits of SHA-256, in hexadecimal.
pub(crate) fn short_hash(texts: &[&str]) -> String {
    let mut hasher = Sha256::new();
    for text in texts {
        hasher.update((text.len() as u64).to_le_bytes());
        hasher.update(text);
    }
    let digest = hasher.finalize();
    digest[..16]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}
