//! Files that should hold certificates.

use std::fs;

use rcgen::{CertificateParams, KeyPair};
use tempfile::TempDir;

use super::*;

/// A certificate and its key.
fn certificate() -> (rcgen::Certificate, KeyPair) {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["api.test".to_owned()]).unwrap();
    (params.self_signed(&key).unwrap(), key)
}

/// What is wrong with a file of these bytes.
fn fault(bytes: &[u8]) -> String {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("ca.pem");
    fs::write(&path, bytes).unwrap();
    let error = of_file(&path).unwrap_err().to_string();
    let rest = error.strip_prefix(&*path.to_string_lossy());
    rest.expect("the file is named first").to_owned()
}

#[test]
fn pem_is_found_between_other_text() {
    let (certificate, key) = certificate();
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("ca.pem");
    let pem = certificate.pem();
    let text = format!("# ours\r\n{}{pem}\nsubject=x\n{pem}", key.serialize_pem());
    fs::write(&path, text).unwrap();
    assert_eq!(of_file(&path).unwrap().len(), 2);
}

#[test]
fn a_file_of_another_kind_is_identified() {
    let (certificate, key) = certificate();
    let pem = certificate.pem();
    let der = certificate.der().to_vec();
    let damaged = pem.replace("MII", "M!I");
    let cut = pem.replace("-----END CERTIFICATE-----", "");
    let nonsense = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    for (bytes, part) in [
        (&b""[..], "holds no certificate in PEM format"),
        (b"<html>", "holds no certificate in PEM format"),
        (&der, "openssl x509 -inform DER"),
        (&der[..der.len() / 2], "openssl pkcs12"),
        (&[0xfe, 0xed, 0xfe, 0xed, 0x80], "is a binary file"),
        (key.serialize_pem().as_bytes(), "but a private key"),
        (damaged.as_bytes(), "block 1 is not valid PEM"),
        (cut.as_bytes(), "block 1 is not valid PEM"),
        (nonsense.as_bytes(), "certificate 1 in it cannot be used"),
        (
            [pem.as_bytes(), nonsense.as_bytes()].concat().leak(),
            "certificate 2 in it cannot be used",
        ),
    ] {
        let text = fault(bytes);
        assert!(text.contains(part), "{part:?} in {text:?}");
    }
}

#[test]
fn an_unreadable_file_reports_why() {
    for (path, part) in [
        ("/nonexistent/ca.pem", "No such file"),
        ("/proc", "Is a directory"),
        ("/dev/zero", "longer than 16 MiB"),
    ] {
        let error = of_file(Path::new(path)).unwrap_err().to_string();
        assert!(error.contains(part) && error.contains(path), "{error}");
    }
}
