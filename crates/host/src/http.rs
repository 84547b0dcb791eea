//! Why there is no response: what a runtime threw, by its code, and what that says about the request.
//!
//! Two questions matter to every caller. Was anything sent? If not, nothing has happened, and nothing
//! needs to be cleaned up. Does it pass by itself? If not, nobody waits for it. A code that is not
//! known answers both with "maybe".

use crate::proxy::Proxy;

/// Why there is no response.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HttpError {
    /// The server was not reached.
    #[error("cannot connect to {url}: {reason}")]
    Connect {
        /// Where to.
        url: String,
        /// The system's words.
        reason: String,
    },
    /// The proxy that the environment names was not reached.
    #[error("cannot connect to the proxy {address} that {variable} names: {reason}")]
    Proxy {
        /// Host and port of the proxy.
        address: String,
        /// The variable that names it.
        variable: &'static str,
        /// The system's words.
        reason: String,
    },
    /// The host's name was not found.
    #[error("the name {name} in {within} is not known here ({code})")]
    Name {
        /// The name.
        name: String,
        /// What names it: a URL, or a variable.
        within: String,
        /// The resolver's code.
        code: String,
    },
    /// The server's certificate was not accepted.
    #[error("the certificate of {url} {fault} ({code}), so nothing was sent")]
    Certificate {
        /// Where to.
        url: String,
        /// What is wrong with it.
        fault: CertificateFault,
        /// The runtime's code.
        code: String,
    },
    /// There was no agreement on TLS.
    #[error("no TLS connection to {url} came about ({code}), so nothing was sent")]
    Tls {
        /// Where to.
        url: String,
        /// The runtime's code.
        code: String,
    },
    /// The request cannot be made at all.
    #[error("no request to {url} can be made: {reason}")]
    Request {
        /// Where to.
        url: String,
        /// The runtime's words.
        reason: String,
    },
    /// The connection ended before the response did: the request may have had its effect.
    #[error("connection to {url} was lost: {reason}")]
    Dropped {
        /// Where to.
        url: String,
        /// The system's words.
        reason: String,
    },
    /// No response in time: the request may have had its effect.
    #[error("no answer from {url} within {timeout_ms} ms")]
    Timeout {
        /// Where to.
        url: String,
        /// The limit.
        timeout_ms: u64,
    },
    /// The response is longer than the request allows.
    #[error("the answer from {url} is larger than {max_bytes} bytes")]
    TooLarge {
        /// Where to.
        url: String,
        /// The limit.
        max_bytes: usize,
    },
}

/// What is wrong with a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CertificateFault {
    /// Nobody that this machine trusts has signed it.
    Unverified,
    /// Its time is over, or has not begun.
    Expired,
    /// It is somebody else's.
    OtherName,
}

impl std::fmt::Display for CertificateFault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            CertificateFault::Unverified => "cannot be verified",
            CertificateFault::Expired => "is out of its time",
            CertificateFault::OtherName => "is for another name",
        })
    }
}

/// What a runtime threw instead of a response.
#[derive(Clone, Debug, Default)]
pub struct Thrown {
    /// The error's code, or its name if it has none.
    pub code: String,
    /// The error's message.
    pub message: String,
    /// The code with which the host's name was not found, if that was looked at.
    pub name: Option<String>,
}

/// A connection that never came about: Bun's names and Node's.
const UNREACHED: &[&str] = &[
    "ConnectionRefused",
    "ECONNREFUSED",
    "FailedToOpenSocket",
    "EHOSTUNREACH",
    "ENETUNREACH",
    "EHOSTDOWN",
    "ENETDOWN",
    "EADDRNOTAVAIL",
    "ConnectTimeout",
    "UND_ERR_CONNECT_TIMEOUT",
];
/// A name that was not found: for good, it seems, or for now.
const UNNAMED: &[&str] = &[
    "ENOTFOUND",
    "EAI_AGAIN",
    "EAI_NONAME",
    "EAI_NODATA",
    "EAI_FAIL",
];
const EXPIRED: &[&str] = &["CERT_HAS_EXPIRED", "CERT_NOT_YET_VALID"];
const OTHER_NAME: &[&str] = &["ERR_TLS_CERT_ALTNAME_INVALID", "HOSTNAME_MISMATCH"];
const UNVERIFIED: &[&str] = &[
    "CERT_CHAIN_TOO_LONG",
    "CERT_REJECTED",
    "CERT_REVOKED",
    "CERT_SIGNATURE_FAILURE",
    "CERT_UNTRUSTED",
    "DEPTH_ZERO_SELF_SIGNED_CERT",
    "INVALID_CA",
    "INVALID_PURPOSE",
    "PATH_LENGTH_EXCEEDED",
    "SELF_SIGNED_CERT_IN_CHAIN",
    "UNABLE_TO_DECODE_ISSUER_PUBLIC_KEY",
    "UNABLE_TO_DECRYPT_CERT_SIGNATURE",
    "UNABLE_TO_GET_CRL",
    "UNABLE_TO_GET_ISSUER_CERT",
    "UNABLE_TO_GET_ISSUER_CERT_LOCALLY",
    "UNABLE_TO_VERIFY_LEAF_SIGNATURE",
];
/// What only a handshake can come to. Bun has the first for one that the other end breaks off.
const HANDSHAKE: &[&str] = &[
    "UNKNOWN_CERTIFICATE_VERIFICATION_ERROR",
    "ERR_SSL_NO_PROTOCOLS_AVAILABLE",
    "ERR_SSL_SSLV3_ALERT_HANDSHAKE_FAILURE",
    "ERR_SSL_TLSV1_ALERT_PROTOCOL_VERSION",
    "ERR_SSL_TLSV1_UNRECOGNIZED_NAME",
    "ERR_SSL_UNSUPPORTED_PROTOCOL",
    "ERR_SSL_WRONG_VERSION_NUMBER",
];
/// The shim's code for a request that could not be made.
const NOT_MADE: &str = "NotMade";

impl Thrown {
    /// True if only the resolver can tell whether a name was not found: Bun has one code for both.
    pub fn is_of_name_or_port(&self) -> bool {
        matches!(
            self.code.as_str(),
            "ConnectionRefused" | "FailedToOpenSocket"
        )
    }
}

impl HttpError {
    /// What was thrown for a request to `url`, which goes through `proxy`.
    pub fn of(
        thrown: Thrown,
        url: &str,
        timeout_ms: u64,
        max_bytes: usize,
        proxy: Option<Proxy>,
    ) -> HttpError {
        let Thrown {
            code,
            message,
            name,
        } = thrown;
        let (url, is) = (url.to_string(), |codes: &[&str]| {
            codes.contains(&code.as_str())
        });
        let certificate = |fault| HttpError::Certificate {
            url: url.clone(),
            fault,
            code: code.clone(),
        };
        let reason = match code.is_empty() {
            true => message,
            false => format!("{code}: {message}"),
        };
        let unnamed = name.or_else(|| is(UNNAMED).then(|| code.clone()));
        match (unnamed, proxy) {
            (Some(code), Some(proxy)) => HttpError::Name {
                name: proxy.host().into(),
                within: proxy.variable.into(),
                code,
            },
            (Some(code), None) => HttpError::Name {
                name: crate::proxy::authority(&url)
                    .map_or(&*url, |(host, _)| host)
                    .into(),
                within: url,
                code,
            },
            (None, Some(proxy)) if is(UNREACHED) => HttpError::Proxy {
                address: proxy.address,
                variable: proxy.variable,
                reason,
            },
            _ if is(UNREACHED) => HttpError::Connect { url, reason },
            _ if is(EXPIRED) => certificate(CertificateFault::Expired),
            _ if is(OTHER_NAME) => certificate(CertificateFault::OtherName),
            _ if is(UNVERIFIED) => certificate(CertificateFault::Unverified),
            _ if is(HANDSHAKE) => HttpError::Tls { url, code },
            _ if code == NOT_MADE => HttpError::Request { url, reason },
            _ if is(&["TimeoutError", "AbortError"]) => HttpError::Timeout { url, timeout_ms },
            _ if code == "TooLarge" => HttpError::TooLarge { url, max_bytes },
            _ => HttpError::Dropped { url, reason },
        }
    }

    /// True if nothing of the request reached anybody: it certainly had no effect.
    pub fn had_no_effect(&self) -> bool {
        match self {
            HttpError::Connect { .. }
            | HttpError::Proxy { .. }
            | HttpError::Name { .. }
            | HttpError::Certificate { .. }
            | HttpError::Tls { .. }
            | HttpError::Request { .. } => true,
            HttpError::Dropped { .. } | HttpError::Timeout { .. } | HttpError::TooLarge { .. } => {
                false
            }
        }
    }

    /// True if the same request may succeed a little later although nobody does anything. A name
    /// may: a machine without a network knows none.
    pub fn is_passing(&self) -> bool {
        !matches!(
            self,
            HttpError::Certificate { .. } | HttpError::Request { .. } | HttpError::TooLarge { .. }
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn thrown(code: &str, name: Option<&str>, proxy: bool) -> HttpError {
        let thrown = Thrown {
            code: code.into(),
            message: "words".into(),
            name: name.map(str::to_string),
        };
        let env =
            |name: &str| (name == "HTTPS_PROXY").then(|| "http://u:w@proxy.example:3128".into());
        let proxy = crate::proxy::of("https://a", env).filter(|_| proxy);
        HttpError::of(thrown, "https://api.example/x", 5, 6, proxy)
    }

    #[test]
    fn every_code_has_its_kind_its_effect_and_its_time() {
        for (code, name, proxy, expected, no_effect, passes) in [
            (
                "ConnectionRefused",
                None,
                false,
                "cannot connect to https://api.example/x: C",
                true,
                true,
            ),
            (
                "ECONNREFUSED",
                None,
                false,
                "cannot connect to https://api.example/x: E",
                true,
                true,
            ),
            (
                "FailedToOpenSocket",
                None,
                false,
                "cannot connect to https",
                true,
                true,
            ),
            (
                "UND_ERR_CONNECT_TIMEOUT",
                None,
                false,
                "cannot connect to https",
                true,
                true,
            ),
            (
                "ConnectionRefused",
                None,
                true,
                "cannot connect to the proxy proxy.example:3128 that HTTPS_PROXY names: C",
                true,
                true,
            ),
            (
                "ConnectionRefused",
                Some("ENOTFOUND"),
                false,
                "the name api.example in https://api.example/x is not known here (ENOTFOUND)",
                true,
                true,
            ),
            (
                "ConnectionRefused",
                Some("EAI_AGAIN"),
                true,
                "the name proxy.example in HTTPS_PROXY is not known here (EAI_AGAIN)",
                true,
                true,
            ),
            (
                "ENOTFOUND",
                None,
                false,
                "the name api.example in https",
                true,
                true,
            ),
            (
                "EAI_AGAIN",
                None,
                false,
                "the name api.example in https",
                true,
                true,
            ),
            (
                "UNABLE_TO_VERIFY_LEAF_SIGNATURE",
                None,
                false,
                "the certificate of https://api.example/x cannot be verified (UNABLE",
                true,
                false,
            ),
            (
                "DEPTH_ZERO_SELF_SIGNED_CERT",
                None,
                true,
                "the certificate of https://api.example/x cannot be verified (DEPTH",
                true,
                false,
            ),
            (
                "SELF_SIGNED_CERT_IN_CHAIN",
                None,
                false,
                "the certificate of https://api.example/x cannot be",
                true,
                false,
            ),
            (
                "UNABLE_TO_GET_ISSUER_CERT_LOCALLY",
                None,
                false,
                "the certificate of https://api.example/x cannot",
                true,
                false,
            ),
            (
                "CERT_HAS_EXPIRED",
                None,
                false,
                "the certificate of https://api.example/x is out of its time (CERT",
                true,
                false,
            ),
            (
                "CERT_NOT_YET_VALID",
                None,
                false,
                "the certificate of https://api.example/x is out of its time (CERT",
                true,
                false,
            ),
            (
                "ERR_TLS_CERT_ALTNAME_INVALID",
                None,
                false,
                "the certificate of https://api.example/x is for another name (ERR",
                true,
                false,
            ),
            (
                "UNKNOWN_CERTIFICATE_VERIFICATION_ERROR",
                None,
                false,
                "no TLS connection to https://api.example/x came about (UNK",
                true,
                true,
            ),
            (
                "ERR_SSL_WRONG_VERSION_NUMBER",
                None,
                false,
                "no TLS connection to https",
                true,
                true,
            ),
            (
                "NotMade",
                None,
                false,
                "no request to https://api.example/x can be made: NotMade: words",
                true,
                false,
            ),
            (
                "ECONNRESET",
                None,
                false,
                "connection to https://api.example/x was lost: ECONNRESET: words",
                false,
                true,
            ),
            (
                "ConnectionClosed",
                None,
                false,
                "connection to https://api.example/x was lost",
                false,
                true,
            ),
            (
                "ECONNRESET",
                None,
                true,
                "connection to https://api.example/x was lost",
                false,
                true,
            ),
            (
                "UND_ERR_SOCKET",
                None,
                false,
                "connection to https://api.example/x was lost",
                false,
                true,
            ),
            (
                "CutShort",
                None,
                false,
                "connection to https://api.example/x was lost",
                false,
                true,
            ),
            (
                "TimeoutError",
                None,
                false,
                "no answer from https://api.example/x within 5 ms",
                false,
                true,
            ),
            (
                "AbortError",
                None,
                true,
                "no answer from https://api.example/x within 5 ms",
                false,
                true,
            ),
            (
                "TooLarge",
                None,
                false,
                "the answer from https://api.example/x is larger than 6 bytes",
                false,
                false,
            ),
            // Nobody knows them.
            (
                "TypeError",
                None,
                false,
                "connection to https://api.example/x was lost: TypeError: words",
                false,
                true,
            ),
            (
                "ERR_SSL_BAD_RECORD_MAC",
                None,
                false,
                "connection to https://api.example/x was lost",
                false,
                true,
            ),
            (
                "",
                None,
                false,
                "connection to https://api.example/x was lost: words",
                false,
                true,
            ),
        ] {
            let error = thrown(code, name, proxy);
            assert!(error.to_string().starts_with(expected), "{code}: {error}");
            assert_eq!(error.had_no_effect(), no_effect, "{code}");
            assert_eq!(error.is_passing(), passes, "{code}");
        }
    }
}
