//! Verifiers of servers' certificates.

use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    CertificateError, DigitallySignedStruct, Error, OtherError, RootCertStore, SignatureScheme,
};
use webpki::EndEntityCert;

use crate::tls::fault::TlsFault;
use crate::tls::name;
use crate::tls::roots::TlsSetupError;

/// Verifies as rustls does. If the certificate itself shows why it is rejected, the error carries a
/// [`TlsFault`]: after the handshake the certificate is no longer available.
#[derive(Debug)]
pub(super) struct Explaining(Arc<WebPkiServerVerifier>);

impl Explaining {
    /// Trusts these authorities.
    pub(super) fn new(
        roots: RootCertStore,
        provider: Arc<CryptoProvider>,
    ) -> Result<Self, TlsSetupError> {
        WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider)
            .build()
            .map(Self)
            // Fails only with revocation lists or an empty store, and neither is used.
            .map_err(|error| TlsSetupError::Tls(Error::General(error.to_string())))
    }
}

impl ServerCertVerifier for Explaining {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verified = self
            .0
            .verify_server_cert(certificate, intermediates, server, ocsp, now);
        verified.map_err(|error| {
            match explained(&error, certificate, intermediates.is_empty(), server) {
                Some(fault) => CertificateError::Other(OtherError(Arc::new(fault))).into(),
                None => error,
            }
        })
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0
            .verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0
            .verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}

/// Why the certificate is rejected; `None` if the error is explanation enough.
fn explained(
    error: &Error,
    certificate: &CertificateDer<'_>,
    is_alone: bool,
    server: &ServerName<'_>,
) -> Option<TlsFault> {
    let Error::InvalidCertificate(error) = error else {
        return None;
    };
    let parsed = EndEntityCert::try_from(certificate).ok()?;
    let is_self_signed = parsed.subject() == parsed.issuer();
    let host = server.to_str().into_owned();
    #[allow(
        clippy::wildcard_enum_match_arm,
        reason = "all others say what is wrong by themselves"
    )]
    match error {
        CertificateError::UnknownIssuer if is_self_signed => Some(TlsFault::SelfSigned { host }),
        CertificateError::UnknownIssuer => Some(TlsFault::UnknownAuthority {
            issuer: name::of(parsed.issuer()),
            is_alone,
        }),
        CertificateError::Other(OtherError(cause))
            if matches!(cause.downcast_ref(), Some(webpki::Error::CaUsedAsEndEntity)) =>
        {
            Some(TlsFault::AuthorityAsServer {
                host,
                is_self_signed,
            })
        }
        _ => None,
    }
}

/// Accepts any certificate; the peer must still hold its key.
#[derive(Debug)]
pub(super) struct TrustAnyone(Arc<CryptoProvider>);

impl TrustAnyone {
    pub(super) fn new(provider: Arc<CryptoProvider>) -> Self {
        Self(provider)
    }
}

impl ServerCertVerifier for TrustAnyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let known = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, known)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let known = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, known)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
