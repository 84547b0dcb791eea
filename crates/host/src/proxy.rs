//! The proxy that a request goes through, as the JavaScript runtimes choose it.

/// Variables that name proxies.
pub const VARIABLES: &[&str] = &[
    "HTTPS_PROXY",
    "https_proxy",
    "HTTP_PROXY",
    "http_proxy",
    "ALL_PROXY",
    "all_proxy",
];
