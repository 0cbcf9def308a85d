//! The authorities that are trusted: those of a PEM file, or the system's.

#[cfg(test)]
mod tests;

use std::env;
use std::fs::File;
use std::io;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

/// The longest file that is read, in bytes: many times all public authorities together.
const FILE_BYTES_MAX: u64 = 16 << 20;

/// The first byte of everything that is DER.
const DER_SEQUENCE: u8 = 0x30;

/// Why a TLS client cannot be set up. The sentences name no setting.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsSetupError {
    /// The file with the authorities cannot be used.
    #[error("{}: {fault}", path.display())]
    CaFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        fault: CaFileFault,
    },
    /// `SSL_CERT_FILE` or `SSL_CERT_DIR` is set, and no authority can be read from there.
    #[error(
        "no certificate authority can be read from {variables}, which take the place of the \
         system's: {cause}"
    )]
    Variables {
        /// Those that are set, with their values.
        variables: String,
        /// What was wrong with the first of the files.
        cause: String,
    },
    /// The system has no authorities to trust.
    #[error(
        "this system has no certificate authorities: install the package ca-certificates, or name \
         a file with them in SSL_CERT_FILE"
    )]
    NoAuthorities,
    /// TLS itself cannot be set up.
    #[error("TLS cannot be set up: {0}")]
    Tls(rustls::Error),
}

/// What is wrong with a file that should hold certificates, and what to do about it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CaFileFault {
    /// It cannot be read.
    #[error("cannot be read: {0}")]
    Unreadable(io::Error),
    /// It is longer than any file with certificates.
    #[error("is longer than 16 MiB, so it is not a file of certificates")]
    TooLong,
    /// It is a certificate in DER.
    #[error(
        "holds a certificate in DER, not PEM: convert it with \
         `openssl x509 -inform DER -in FILE -out ca.pem`"
    )]
    Der,
    /// It is binary: a key store, most likely.
    #[error(
        "is a binary file, not PEM; if it is a PKCS#12 key store, extract the certificates with \
         `openssl pkcs12 -in FILE -nokeys -out ca.pem`"
    )]
    Binary,
    /// It is PEM and holds other things than certificates.
    #[error("holds no certificate but a {0}: name the file with the certificate of the authority")]
    OtherPem(String),
    /// It is text and no PEM.
    #[error(
        "holds no certificate in PEM format: expected a block that begins with \
         -----BEGIN CERTIFICATE-----"
    )]
    NoPem,
    /// A block cannot be decoded.
    #[error("is damaged: block {number} is not valid PEM ({cause})")]
    DamagedPem {
        /// Which certificate, counted from 1.
        number: usize,
        /// What the decoder said.
        cause: String,
    },
    /// What a block holds is not a certificate that can be used.
    #[error("certificate {number} in it cannot be used: {cause}")]
    Unusable {
        /// Which certificate, counted from 1.
        number: usize,
        /// What is wrong with it.
        cause: String,
    },
}

/// The authorities of a PEM file.
pub(super) fn of_file(path: &Path) -> Result<RootCertStore, TlsSetupError> {
    let bytes = read(path).and_then(|bytes| parse(&bytes));
    bytes.map_err(|fault| TlsSetupError::CaFile {
        path: path.to_path_buf(),
        fault,
    })
}

fn read(path: &Path) -> Result<Vec<u8>, CaFileFault> {
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes))
        .map_err(CaFileFault::Unreadable)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(CaFileFault::TooLong);
    }
    Ok(bytes)
}

fn parse(bytes: &[u8]) -> Result<RootCertStore, CaFileFault> {
    let mut roots = RootCertStore::empty();
    for (index, certificate) in CertificateDer::pem_slice_iter(bytes).enumerate() {
        let number = index + 1;
        let certificate = certificate.map_err(|error| CaFileFault::DamagedPem {
            number,
            cause: error.to_string(),
        })?;
        roots
            .add(certificate)
            .map_err(|error| CaFileFault::Unusable {
                number,
                cause: error.to_string(),
            })?;
    }
    if roots.is_empty() {
        return Err(without_certificate(bytes));
    }
    Ok(roots)
}

/// What a file is that holds no certificate in PEM format.
fn without_certificate(bytes: &[u8]) -> CaFileFault {
    if bytes.first() == Some(&DER_SEQUENCE) {
        let der = CertificateDer::from(bytes);
        return match RootCertStore::empty().add(der) {
            Ok(()) => CaFileFault::Der,
            Err(_) => CaFileFault::Binary,
        };
    }
    let Ok(text) = std::str::from_utf8(bytes) else {
        return CaFileFault::Binary;
    };
    let labels = text.lines().filter_map(|line| {
        let label = line.trim().strip_prefix("-----BEGIN ")?;
        label.strip_suffix("-----")
    });
    match labels.map(str::to_lowercase).next() {
        Some(label) => CaFileFault::OtherPem(label),
        None => CaFileFault::NoPem,
    }
}

/// The system's authorities, or those that the environment names.
pub(super) fn of_system() -> Result<RootCertStore, TlsSetupError> {
    let variables: Vec<String> = ["SSL_CERT_FILE", "SSL_CERT_DIR"]
        .into_iter()
        .filter_map(|name| {
            let value = env::var_os(name)?;
            Some(format!("{name}={}", value.to_string_lossy()))
        })
        .collect();
    let variables = variables.join(" ");
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    let (_, unusable) = roots.add_parsable_certificates(found.certs);
    let cause = found.errors.first().map(ToString::to_string);
    if !roots.is_empty() {
        if let (false, Some(cause)) = (variables.is_empty(), cause) {
            tracing::warn!(
                cause,
                "some of the certificate authorities of {variables} cannot be read"
            );
        } else if unusable > 0 {
            tracing::debug!(unusable, "some of the system's authorities cannot be used");
        }
        return Ok(roots);
    }
    if variables.is_empty() {
        return Err(TlsSetupError::NoAuthorities);
    }
    Err(TlsSetupError::Variables {
        variables,
        cause: cause.unwrap_or_else(|| "no certificate in PEM format is there".to_owned()),
    })
}
