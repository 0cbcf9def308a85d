//! TLS as a client: the trusted authorities, and explanations of failures for the operator.

mod fault;
mod name;
mod roots;
mod verify;

use std::path::Path;
use std::sync::Arc;

use rustls::ClientConfig;
#[cfg(feature = "aws-lc")]
use rustls::crypto::aws_lc_rs as crypto;
#[cfg(all(feature = "ring", not(feature = "aws-lc")))]
use rustls::crypto::ring as crypto;

use crate::tls::verify::{Explaining, TrustAnyone};

pub use crate::tls::fault::{Terms, TlsFault};
pub use crate::tls::roots::{CaFileFault, TlsSetupError};

/// Whose certificates a client accepts.
#[derive(Clone, Copy, Debug)]
pub enum Trust<'a> {
    /// Those of the system's authorities, or of `SSL_CERT_FILE` and `SSL_CERT_DIR` where they are
    /// set.
    System,
    /// Those of the authorities in this PEM file, and of no others.
    File(&'a Path),
    /// Anyone's. Development only.
    Anyone,
}

impl<'a> Trust<'a> {
    /// The authorities of a file if one is named, otherwise the system's.
    #[must_use]
    pub fn of_file(file: Option<&'a Path>) -> Self {
        file.map_or(Self::System, Self::File)
    }
}

/// The client side of TLS. Reads the authorities; [`TlsFault::of`] explains why a handshake with it
/// failed.
///
/// # Errors
/// When the authorities cannot be read, or there are none.
pub fn client(trust: Trust<'_>) -> Result<Arc<ClientConfig>, TlsSetupError> {
    let provider = Arc::new(crypto::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(TlsSetupError::Tls)?;
    let builder = match trust {
        Trust::Anyone => builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(TrustAnyone::new(provider))),
        Trust::System => {
            let verifier = Explaining::new(roots::of_system()?, provider)?;
            builder
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(verifier))
        }
        Trust::File(path) => {
            let verifier = Explaining::new(roots::of_file(path)?, provider)?;
            builder
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(verifier))
        }
    };
    let mut client = builder.with_no_client_auth();
    client.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(client))
}

/// Whether a file holds authorities that can be used.
///
/// # Errors
/// What is wrong with it.
pub fn check_ca_file(path: &Path) -> Result<(), TlsSetupError> {
    roots::of_file(path).map(drop)
}
