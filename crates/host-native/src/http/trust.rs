//! Whose certificates are accepted: those of the system, the bundled ones of Mozilla, and what the
//! environment adds.

use crate::environment::{Environment, variable};
use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, RootCertStore};
use rustls_native_certs::{CertificateResult, load_certs_from_paths, load_native_certs};
use std::path::Path;
use std::sync::{Arc, OnceLock};

/// What every environment has: read once.
static EVERYWHERE: OnceLock<Arc<RootCertStore>> = OnceLock::new();

pub(super) fn config(env: &Environment) -> Result<ClientConfig, rustls::Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config =
        ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(config
        .with_root_certificates(roots(env))
        .with_no_client_auth())
}

fn roots(env: &Environment) -> Arc<RootCertStore> {
    let everywhere = EVERYWHERE.get_or_init(|| {
        let bundled = webpki_roots::TLS_SERVER_ROOTS.iter().cloned();
        let mut roots: RootCertStore = bundled.collect();
        roots.add_parsable_certificates(found("the system", load_native_certs()));
        Arc::new(roots)
    });
    let of_file = |name: &str| {
        variable(env, name)
            .map(|path| found(name, load_certs_from_paths(Some(Path::new(&path)), None)))
    };
    let of_dir = |name: &str| {
        variable(env, name)
            .map(|path| found(name, load_certs_from_paths(None, Some(Path::new(&path)))))
    };
    let added = [
        of_file("SSL_CERT_FILE"),
        of_dir("SSL_CERT_DIR"),
        of_file("NODE_EXTRA_CA_CERTS"),
    ];
    let added: Vec<_> = added.into_iter().flatten().flatten().collect();
    if added.is_empty() {
        return Arc::clone(everywhere);
    }
    let mut roots = RootCertStore::clone(everywhere);
    roots.add_parsable_certificates(added);
    Arc::new(roots)
}

/// The certificates that could be read. The others are told, and are no reason to trust nobody.
fn found(source: &str, read: CertificateResult) -> Vec<CertificateDer<'static>> {
    for error in read.errors {
        tracing::warn!("certificates of {source} were left out: {error}");
    }
    read.certs
}
