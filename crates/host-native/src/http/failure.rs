//! Why there is no response, in the codes that [`HttpError::of`] knows of the JavaScript runtimes: so both
//! hosts have one table of what an error means.

use host::{HttpError, Thrown, proxy::Proxy};
use rustls::CertificateError;
use std::error::Error;
use std::io::ErrorKind;

/// The resolver found no address for a name.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct NoAddress(pub(super) String);

/// A request that was not made, so that nothing was sent.
pub(super) fn not_made(url: &str, reason: impl std::fmt::Display) -> HttpError {
    HttpError::Request {
        url: url.into(),
        reason: reason.to_string(),
    }
}

/// What an error says, with all that caused it.
pub(super) fn words(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    for cause in causes(error).skip(1) {
        let cause = cause.to_string();
        if !text.ends_with(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}

/// An error and what caused it, the outermost first.
fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |error| cause(*error))
}

/// An error of the system that wraps another one gives that one's cause as its own.
fn cause<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a (dyn Error + 'static)> {
    match error.downcast_ref::<std::io::Error>() {
        Some(error) => error.get_ref().map(|inner| inner as &(dyn Error + 'static)),
        None => error.source(),
    }
}

fn find<'a, E: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a E> {
    causes(error).find_map(|error| error.downcast_ref())
}

pub(super) fn failed(error: reqwest::Error, url: &str, proxy: Option<Proxy>) -> HttpError {
    let error = error.without_url();
    if error.is_builder() {
        return not_made(url, words(&error));
    }
    let name = find::<NoAddress>(&error).map(|error| error.0.clone());
    let code = match error.is_connect() {
        true => unconnected(&error),
        // The connection was there: any of the request may have been heard.
        false => "ECONNRESET",
    };
    let thrown = Thrown {
        code: code.into(),
        message: words(&error),
        name,
    };
    HttpError::of(thrown, url, 0, 0, proxy)
}

/// Why there was no connection that a request could go through.
fn unconnected(error: &reqwest::Error) -> &'static str {
    if let Some(error) = find::<rustls::Error>(error) {
        return match error {
            rustls::Error::InvalidCertificate(fault) => certificate(fault),
            _ => "ERR_SSL_WRONG_VERSION_NUMBER",
        };
    }
    // Each layer wraps the error of the one below; the system's own is the last.
    let system = causes(error).filter_map(|error| error.downcast_ref::<std::io::Error>());
    match system.last().map(std::io::Error::kind) {
        // The other end was there, and broke off: that is in the middle of a handshake.
        Some(ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset | ErrorKind::BrokenPipe) => {
            "UNKNOWN_CERTIFICATE_VERIFICATION_ERROR"
        }
        Some(ErrorKind::ConnectionRefused) => "ECONNREFUSED",
        _ if error.is_timeout() => "ConnectTimeout",
        _ => "FailedToOpenSocket",
    }
}

fn certificate(fault: &CertificateError) -> &'static str {
    match fault {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => "CERT_HAS_EXPIRED",
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "CERT_NOT_YET_VALID"
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "ERR_TLS_CERT_ALTNAME_INVALID"
        }
        CertificateError::Revoked => "CERT_REVOKED",
        CertificateError::UnknownIssuer => "UNABLE_TO_GET_ISSUER_CERT_LOCALLY",
        _ => "CERT_REJECTED",
    }
}
