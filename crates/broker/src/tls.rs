//! TLS to brokers: rustls, with the cryptography of this build.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
#[cfg(feature = "aws-lc")]
use rustls::crypto::aws_lc_rs as crypto;
#[cfg(all(feature = "ring", not(feature = "aws-lc")))]
use rustls::crypto::ring as crypto;
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

/// Whether the server's certificate is checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verify {
    /// The connection is encrypted, with anybody.
    Nobody,
    /// Its issuer and its name, by the system's roots or those of this file.
    Full(Option<PathBuf>),
}

/// The configuration of a client that trusts these; reads the roots that are needed. `setting` names
/// their file.
///
/// # Errors
/// When there are none.
pub(crate) fn client_config(verify: &Verify, setting: &str) -> io::Result<ClientConfig> {
    let provider = provider();
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?;
    Ok(match verify {
        Verify::Nobody => builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Anyone(provider)))
            .with_no_client_auth(),
        Verify::Full(file) => builder
            .with_root_certificates(roots(file.as_deref(), setting)?)
            .with_no_client_auth(),
    })
}

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

/// Accepts any certificate; the peer must still hold its key.
#[derive(Debug)]
struct Anyone(Arc<CryptoProvider>);

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let known = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, known)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let known = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, known)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
