//! TLS to brokers: rustls, with the cryptography of this build.

use std::io;
use std::path::Path;
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::crypto::CryptoProvider;
#[cfg(feature = "aws-lc")]
use rustls::crypto::aws_lc_rs as crypto;
#[cfg(all(feature = "ring", not(feature = "aws-lc")))]
use rustls::crypto::ring as crypto;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

/// The cryptography.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(crypto::default_provider())
}

/// The certificate authorities in this file, or those of the system. `setting` names the file.
///
/// # Errors
/// When there are none.
pub(crate) fn roots(file: Option<&Path>, setting: &str) -> io::Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    let certificates = match file {
        None => rustls_native_certs::load_native_certs().certs,
        Some(file) => certificates(file, setting)?,
    };
    roots.add_parsable_certificates(certificates);
    if roots.is_empty() {
        return Err(io::Error::other(format!(
            "no root certificates: install ca-certificates, set SSL_CERT_FILE, or name a file of \
             them ({setting})"
        )));
    }
    Ok(roots)
}

/// The certificates in this file.
///
/// # Errors
/// When it cannot be read.
pub(crate) fn certificates(file: &Path, setting: &str) -> io::Result<Vec<CertificateDer<'static>>> {
    let read = CertificateDer::pem_file_iter(file).and_then(Iterator::collect);
    read.map_err(|cause| io::Error::other(format!("{setting} {}: {cause}", file.display())))
}
