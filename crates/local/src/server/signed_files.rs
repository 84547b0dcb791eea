//! Links to one file of a sandbox that need no key: signed with a key of that sandbox's own, for a method, a path and a time.
//!
//! The signature is `v1_` and base64url of HMAC-SHA256 over `v1:files:METHOD:PATH:EXPIRES` (the official
//! client 0.216, November 2026). A link without end has 0 for its time.

use axum::extract::{Query, Request};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use hmac::{Hmac, Mac as _};
use serde::Deserialize;
use sha2::Sha256;

use super::app::App;

#[derive(Deserialize)]
struct Signed {
    path: String,
    expires: i64,
    signature: String,
}

/// True if the request is for a file and signed for it.
pub(super) fn is_signed(app: &App, request: &Request) -> bool {
    let below = request.uri().path().strip_prefix("/toolbox/");
    let Some((id, operation)) = below.and_then(|below| below.split_once('/')) else {
        return false;
    };
    let method = request.method().as_str();
    if ![("GET", "files/download"), ("POST", "files/upload-v2")].contains(&(method, operation)) {
        return false;
    }
    let key = app
        .sandboxes
        .by_id(id)
        .map(|sandbox| sandbox.record().signing_key);
    let signed = Query::<Signed>::try_from_uri(request.uri());
    match (key.filter(|key| !key.is_empty()), signed) {
        (Some(key), Ok(Query(signed))) => signed.holds(&key, method, app.sandboxes.now()),
        _ => false,
    }
}

impl Signed {
    fn holds(&self, key: &str, method: &str, now: i64) -> bool {
        let text = format!("v1:files:{method}:{}:{}", self.path, self.expires);
        let signature = self.signature.strip_prefix("v1_");
        let signature = signature.and_then(|text| BASE64_URL_SAFE_NO_PAD.decode(text).ok());
        let (Some(signature), Ok(mac)) =
            (signature, Hmac::<Sha256>::new_from_slice(key.as_bytes()))
        else {
            return false;
        };
        let is_in_time = self.expires == 0 || self.expires.saturating_mul(1000) > now;
        is_in_time && mac.chain_update(text).verify_slice(&signature).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_holds_for_its_method_path_and_time() {
        // Made with OpenSSL: printf v1:files:GET:a/b:100 | openssl dgst -sha256 -hmac key -binary
        let signature = "v1_JljCHO0wOSZSZc6LdVHlkDjsZ0bEVxUrSxLOrf2BJfg";
        let signed = |path: &str, expires, signature: &str| Signed {
            path: path.to_owned(),
            expires,
            signature: signature.to_owned(),
        };
        for (path, expires, signature, key, method, now, want) in [
            ("a/b", 100, signature, "key", "GET", 99_999, true),
            ("a/b", 100, signature, "key", "GET", 100_000, false),
            ("a/c", 100, signature, "key", "GET", 0, false),
            ("a/b", 101, signature, "key", "GET", 0, false),
            ("a/b", 0, signature, "key", "GET", 0, false),
            ("a/b", 100, signature, "other", "GET", 0, false),
            ("a/b", 100, signature, "key", "POST", 0, false),
            ("a/b", 100, &signature[3..], "key", "GET", 0, false),
            ("a/b", 100, "v1_", "key", "GET", 0, false),
            ("a/b", 100, "", "key", "GET", 0, false),
        ] {
            let held = signed(path, expires, signature).holds(key, method, now);
            assert_eq!(
                held, want,
                "{path} {expires} {signature} {key} {method} {now}"
            );
        }
    }
}
