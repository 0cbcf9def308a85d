//! Causes of TLS handshake failures, each produced with a real server: the sentence about it and
//! the advice, as the log and `high-templar check` show them.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use ht_backend::config::BackendConfig;
use ht_backend::{Backend as _, Failure, HttpBackend};
use rcgen::{BasicConstraints, Certificate, CertificateParams, IsCa, KeyPair};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::kit::{admit, answer, ask, backend, config, failure};
use crate::stub::{Reply, Stub};
use crate::tls::{Authority, server_config, server_of};

/// The failure's cause and the advice to the operator.
fn told(failure: &Failure) -> (String, String) {
    let advice = failure.advice().unwrap_or_default().into_owned();
    (failure.to_string(), advice)
}

#[track_caller]
fn expect(failure: &Failure, cause: &[&str], advice: &str) {
    assert_eq!(failure.kind().as_str(), "tls");
    assert!(failure.is_unreachable(), "{failure:?}");
    let told = told(failure);
    for part in cause {
        assert!(told.0.contains(part), "{part:?} in {told:?}");
    }
    assert!(told.1.contains(advice), "{advice:?} in {told:?}");
}

#[tokio::test]
async fn a_certificate_of_a_trusted_authority_that_does_not_fit() {
    type Edit = fn(&mut CertificateParams);
    let authority = Authority::new();
    let expired: Edit = |params| params.not_after = rcgen::date_time_ymd(2001, 1, 2);
    let early: Edit = |params| params.not_before = rcgen::date_time_ymd(3000, 1, 2);
    let nameless: Edit = |params| params.subject_alt_names.clear();
    let ca: Edit = |params| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    for (name, edit, cause, advice) in [
        (
            "127.0.0.1",
            expired,
            &["expired on 2001-01-02 00:00:00 UTC, ", " days ago"][..],
            "renew it",
        ),
        (
            "127.0.0.1",
            early,
            &["not valid before 3000-01-02 00:00:00 UTC", "clock says 20"],
            "clocks",
        ),
        (
            "other.test",
            |_| {},
            &["not for 127.0.0.1, but for other.test"],
            "issue one with IP:127.0.0.1",
        ),
        (
            "other.test",
            nameless,
            &["names no host at all", "common name does not count"],
            "subjectAltName",
        ),
        (
            "127.0.0.1",
            ca,
            &["marked as a certificate authority", "CaUsedAsEndEntity"],
            "basicConstraints=critical,CA:FALSE",
        ),
    ] {
        let stub = Stub::tls(authority.server(name, edit), admit).await;
        let failure = failure(&backend(&stub, authority.trusted())).await;
        expect(&failure, cause, advice);
        assert!(stub.log().requests.is_empty(), "no request was sent");
    }
}

#[tokio::test]
async fn an_authority_that_is_not_trusted_is_named() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let stub = Stub::tls(stranger.server("127.0.0.1", |_| {}), admit).await;
    let failure = failure(&backend(&stub, authority.trusted())).await;
    let issuer = format!("issued by {:?}", stranger.name);
    expect(
        &failure,
        &[&issuer, "not trusted"],
        "set backend.tls_ca_file",
    );
    assert!(told(&failure).1.contains("fullchain.pem"), "{failure:?}");
}

/// A certificate that is its own issuer.
fn self_signed(is_ca: IsCa) -> (Certificate, KeyPair) {
    let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    params.is_ca = is_ca;
    let key = KeyPair::generate().unwrap();
    (params.self_signed(&key).unwrap(), key)
}

fn trusting(file: &Path) -> impl FnOnce(&mut BackendConfig) + use<> {
    let file = file.to_path_buf();
    |config| config.tls_ca_file = Some(file)
}

#[tokio::test]
async fn a_self_signed_certificate_works_once_it_is_trusted() {
    let (certificate, key) = self_signed(IsCa::ExplicitNoCa);
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("cert.pem");
    std::fs::write(&file, certificate.pem()).unwrap();
    let stub = Stub::tls(server_of(&certificate, &key), admit).await;
    let elsewhere = Authority::new();
    let refused = failure(&backend(&stub, elsewhere.trusted())).await;
    expect(
        &refused,
        &["self-signed and not trusted"],
        "set backend.tls_ca_file",
    );
    assert_eq!(ask(&backend(&stub, trusting(&file))).await, Ok("[]".into()));
}

/// The default output of `openssl req -x509` never works, and the advised command does.
#[tokio::test]
async fn the_advised_openssl_command_makes_a_certificate_that_works() {
    let (certificate, key) = self_signed(IsCa::Ca(BasicConstraints::Unconstrained));
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("cert.pem");
    std::fs::write(&file, certificate.pem()).unwrap();
    let stub = Stub::tls(server_of(&certificate, &key), admit).await;
    let refused = failure(&backend(&stub, trusting(&file))).await;
    let cause = ["self-signed and marked as a certificate authority"];
    expect(
        &refused,
        &cause,
        "as backend.tls_ca_file: `openssl req -x509",
    );

    let (_, advice) = told(&refused);
    let command = advice.split('`').nth(1).expect("a command");
    let made = Command::new("sh")
        .args(["-c", command])
        .current_dir(folder.path())
        .output()
        .expect("a shell");
    assert!(made.status.success(), "{command}: {made:?}");
    let certificate = CertificateDer::from_pem_file(&file).unwrap();
    let key = PrivateKeyDer::from_pem_file(folder.path().join("key.pem")).unwrap();
    let stub = Stub::tls(server_config(certificate, key), admit).await;
    assert_eq!(ask(&backend(&stub, trusting(&file))).await, Ok("[]".into()));
}

/// Sends these bytes on each connection, whatever is received, and closes it. Called with https.
async fn plain_server(reply: Vec<u8>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}/", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut hello = [0; 4_096];
            assert!(stream.read(&mut hello).await.unwrap() > 0);
            stream.write_all(&reply).await.unwrap();
        }
    });
    url
}

#[tokio::test]
async fn https_to_a_port_without_tls() {
    let authority = Authority::new();
    for (reply, cause, advice) in [
        (
            answer(400, "", b"no"),
            "the port does not speak TLS",
            "use http:// in backend.url",
        ),
        (
            Vec::new(),
            "closed the connection during the TLS handshake",
            "http:// in backend.url",
        ),
    ] {
        let url = plain_server(reply).await;
        let backend = HttpBackend::new(config(&url, authority.trusted())).unwrap();
        expect(&failure(&backend).await, &[cause], advice);
    }
}

#[tokio::test]
async fn http_to_a_port_with_tls() {
    let authority = Authority::new();
    let stub = Stub::tls(authority.server("127.0.0.1", |_| {}), admit).await;
    let url = stub.url.replace("https:", "http:");
    let real = failure(&HttpBackend::new(config(&url, |_| {})).unwrap()).await;
    expect(
        &real,
        &["the port speaks TLS"],
        "use https:// in backend.url",
    );
    // The responses of nginx, Go and Apache.
    for body in [
        "<center>The plain HTTP request was sent to HTTPS port</center>",
        "Client sent an HTTP request to an HTTPS server.\n",
        "<p>Reason: You're speaking plain HTTP to an SSL-enabled server port.<br />",
    ] {
        let stub = Stub::tcp(move |_| Reply::Send(answer(400, "", body.as_bytes()))).await;
        let failure = failure(&backend(&stub, |_| {})).await;
        expect(
            &failure,
            &["the port speaks TLS"],
            "use https:// in backend.url",
        );
    }
}

#[tokio::test]
async fn a_server_that_demands_a_client_certificate() {
    let authority = Authority::new();
    let mut roots = RootCertStore::empty();
    roots.add(authority.issuer.der().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone());
    let verifier = verifier.build().unwrap();
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let (certificate, key) = authority.certificate("127.0.0.1", |_| {});
        let server = ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&[version])
            .unwrap()
            .with_client_cert_verifier(verifier.clone())
            .with_single_cert(
                vec![certificate.der().clone()],
                PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
            )
            .unwrap();
        let stub = Stub::tls(TlsAcceptor::from(Arc::new(server)), admit).await;
        let failure = failure(&backend(&stub, authority.trusted())).await;
        expect(&failure, &["demands a client certificate"], "proxy between");
    }
}

/// Without a request: the gateway's check at startup.
#[tokio::test]
async fn a_connection_alone_shows_the_same_faults() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let stub = Stub::tls(stranger.server("127.0.0.1", |_| {}), admit).await;
    let failure = backend(&stub, authority.trusted())
        .reach()
        .await
        .unwrap_err();
    expect(&failure, &["not trusted"], "set backend.tls_ca_file");
    backend(&stub, stranger.trusted()).reach().await.unwrap();
    let log = stub.until(|log| log.closed == 2).await;
    assert!(log.requests.is_empty());

    let plain = Stub::tcp(admit).await;
    backend(&plain, |_| {}).reach().await.unwrap();
    let log = plain.until(|log| log.closed == 1).await;
    assert!(log.requests.is_empty());
}

#[tokio::test]
async fn an_unresolvable_name_and_an_unreachable_address() {
    for (url, advice) in [
        (
            "http://there-is-no-such-host.invalid/",
            "host name in backend.url",
        ),
        ("http://127.0.0.1:9/", "check that the API runs"),
        ("https://127.0.0.1:9/", "check that the API runs"),
    ] {
        let authority = Authority::new();
        let backend = HttpBackend::new(config(url, authority.trusted())).unwrap();
        for failure in [failure(&backend).await, backend.reach().await.unwrap_err()] {
            assert_eq!(failure.kind().as_str(), "connect", "{failure:?}");
            assert!(failure.is_unreachable());
            let told = told(&failure);
            assert!(told.1.contains(advice), "{told:?}");
        }
    }
}
