//! TLS: which peers the client trusts and the errors for others.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use ht_backend::config::BackendConfig;
use ht_backend::{Backend, Credentials, Failure, HttpBackend, Waiting};
use rcgen::{
    BasicConstraints, Certificate, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair,
};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::kit::{JSON, admit, ask, backend, config, failure, rooms};
use crate::stub::{Reply, Seen, Stub};

/// A certificate authority, its PEM file removed at the end.
pub(crate) struct Authority {
    pub(crate) issuer: CertifiedIssuer<'static, KeyPair>,
    pub(crate) name: String,
    file: PathBuf,
}

impl Authority {
    pub(crate) fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("authority {count}");
        params.distinguished_name.push(DnType::CommonName, &*name);
        let key = KeyPair::generate().unwrap();
        let issuer = CertifiedIssuer::self_signed(params, key).unwrap();
        let file = format!("ht-backend-ca-{}-{count}.pem", std::process::id());
        let file = std::env::temp_dir().join(file);
        std::fs::write(&file, issuer.pem()).unwrap();
        Self { issuer, name, file }
    }

    /// A certificate for this name or address.
    pub(crate) fn certificate(
        &self,
        name: &str,
        edit: impl FnOnce(&mut CertificateParams),
    ) -> (Certificate, KeyPair) {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        edit(&mut params);
        let key = KeyPair::generate().unwrap();
        (params.signed_by(&key, &self.issuer).unwrap(), key)
    }

    /// A server with a certificate for this name or address.
    pub(crate) fn server(
        &self,
        name: &str,
        edit: impl FnOnce(&mut CertificateParams),
    ) -> TlsAcceptor {
        let (certificate, key) = self.certificate(name, edit);
        server_of(&certificate, &key)
    }

    pub(crate) fn trusted(&self) -> impl FnOnce(&mut BackendConfig) + use<> {
        let file = self.file.clone();
        |config| config.tls_ca_file = Some(file)
    }
}

/// A server with this certificate.
pub(crate) fn server_of(certificate: &Certificate, key: &KeyPair) -> TlsAcceptor {
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    server_config(certificate.der().clone(), key)
}

pub(crate) fn server_config(
    certificate: CertificateDer<'static>,
    key: PrivateKeyDer<'static>,
) -> TlsAcceptor {
    let server = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    Arc::new(server).into()
}

impl Drop for Authority {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.file);
    }
}

#[tokio::test]
async fn a_certificate_of_a_trusted_authority_is_accepted() {
    let authority = Authority::new();
    let stub = Stub::tls(authority.server("127.0.0.1", |_| {}), admit).await;
    let backend = backend(&stub, authority.trusted());
    for _ in 0..3 {
        assert_eq!(ask(&backend).await, Ok("[]".into()));
    }
    let log = stub.log();
    assert_eq!((log.requests.len(), log.opened), (3, 1));
    let host = stub
        .url
        .trim_start_matches("https://")
        .trim_end_matches('/');
    assert_eq!(log.requests[0].header("host"), Some(host.as_bytes()));
}

#[tokio::test]
async fn a_name_is_checked_as_a_name() {
    let authority = Authority::new();
    let stub = Stub::tls(authority.server("localhost", |_| {}), admit).await;
    let url = stub.url.replace("127.0.0.1", "localhost");
    let backend = HttpBackend::new(config(&url, authority.trusted())).unwrap();
    assert_eq!(ask(&backend).await, Ok("[]".into()));
}

#[tokio::test]
async fn the_system_roots_do_not_include_ours() {
    let authority = Authority::new();
    let stub = Stub::tls(authority.server("127.0.0.1", |_| {}), admit).await;
    // If a system has no authorities at all, that is reported at startup.
    match HttpBackend::new(config(&stub.url, |_| {})) {
        Ok(backend) => assert_eq!(failure(&backend).await.kind().as_str(), "tls"),
        Err(error) => assert!(error.to_string().contains("ca-certificates"), "{error}"),
    }
}

#[tokio::test]
async fn checking_can_be_switched_off() {
    let stranger = Authority::new();
    let expired = |params: &mut CertificateParams| {
        params.not_after = rcgen::date_time_ymd(2001, 1, 1);
    };
    let stub = Stub::tls(stranger.server("other.test", expired), admit).await;
    let backend = backend(&stub, |config| config.tls_verify = false);
    assert_eq!(ask(&backend).await, Ok("[]".into()));
}

#[tokio::test]
async fn a_server_without_tls_is_a_tls_failure() {
    let authority = Authority::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}/", listener.local_addr().unwrap());
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let answer = b"HTTP/1.1 400 Bad Request\r\n\r\n";
        stream.write_all(answer).await.unwrap();
        stream
    });
    let backend = HttpBackend::new(config(&url, authority.trusted())).unwrap();
    assert_eq!(failure(&backend).await.kind().as_str(), "tls");
    drop(server.await);
}

#[tokio::test]
async fn a_handshake_that_hangs_ends_and_closes() {
    let authority = Authority::new();
    // Plain HTTP that waits for the end of a request head, which a handshake never sends.
    let stub = Stub::listen("https", None, |_| Reply::Hang(Vec::new())).await;
    let within = Duration::from_millis(200);
    let trusted = authority.trusted();
    let slow = backend(&stub, |config| {
        trusted(config);
        config.timeout = within;
    });
    let waiting = Waiting::Connection;
    assert_eq!(failure(&slow).await, Failure::Timeout { within, waiting });
    stub.until(|log| log.closed == 1).await;

    let patient = backend(&stub, authority.trusted());
    let nobody = Credentials::default();
    tokio::select! {
        _ = patient.bootstrap(&nobody) => panic!("the stub hangs"),
        _ = stub.until(|log| log.opened == 2) => {}
    }
    stub.until(|log| log.closed == 2).await;
}

#[tokio::test]
async fn an_abandoned_handshake_ends_too() {
    let authority = Authority::new();
    let acceptor = authority.server("127.0.0.1", |_| {});
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}/", listener.local_addr().unwrap());
    // The first connection responds only once the second has been accepted, which then hangs. So
    // the second call uses the first connection, and the second one is not needed by any call.
    let server = async {
        let (first, _) = listener.accept().await.unwrap();
        let mut first = acceptor.accept(first).await.unwrap();
        let (mut second, _) = listener.accept().await.unwrap();
        for _ in 0..2 {
            let mut request = [0; 1000];
            assert!(first.read(&mut request).await.unwrap() > 0);
            first.write_all(&rooms("[]")).await.unwrap();
            first.flush().await.unwrap();
        }
        let mut hello = Vec::new();
        let ended = second.read_to_end(&mut hello);
        let ended = tokio::time::timeout(Duration::from_secs(10), ended).await;
        assert!(ended.is_ok(), "closed by the client");
    };
    let trusted = authority.trusted();
    let edit = |config: &mut BackendConfig| {
        trusted(config);
        config.timeout = Duration::from_secs(1);
    };
    let backend = HttpBackend::new(config(&url, edit)).unwrap();
    let (a, b, ()) = tokio::join!(ask(&backend), ask(&backend), server);
    assert_eq!((a, b), (Ok("[]".into()), Ok("[]".into())));
}

#[tokio::test]
async fn truncation_and_staleness_are_seen_through_tls() {
    let authority = Authority::new();
    let short = format!("HTTP/1.1 200 OK\r\n{JSON}Content-Length: 50\r\n\r\n{{}}");
    let stub = Stub::tls(authority.server("127.0.0.1", |_| {}), move |_| {
        Reply::Close(short.clone().into())
    })
    .await;
    let failure = failure(&backend(&stub, authority.trusted())).await;
    assert_eq!(failure, Failure::Truncated);

    let stub = Stub::tls(
        authority.server("127.0.0.1", |_| {}),
        |seen: &Seen| match seen.nth {
            0 => Reply::Send(rooms("[1]")),
            _ => Reply::Close(Vec::new()),
        },
    )
    .await;
    let backend = backend(&stub, authority.trusted());
    for _ in 0..2 {
        assert_eq!(ask(&backend).await, Ok("[1]".into()));
    }
    let log = stub.log();
    assert_eq!((log.requests.len(), log.opened), (3, 2));
}

#[tokio::test]
async fn a_close_without_notice_within_an_open_ended_body_is_a_truncation() {
    let authority = Authority::new();
    let open_ended = format!("HTTP/1.1 200 OK\r\n{JSON}\r\n{{\"allowed_rooms\": []}}");
    let acceptor = authority.server("127.0.0.1", |_| {});
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}/", listener.local_addr().unwrap());
    let server = tokio::spawn(async move {
        let (tcp, _) = listener.accept().await.unwrap();
        let mut stream = acceptor.accept(tcp).await.unwrap();
        let mut request = [0; 1000];
        let read = stream.read(&mut request).await.unwrap();
        assert!(read > 0);
        stream.write_all(open_ended.as_bytes()).await.unwrap();
        stream.flush().await.unwrap();
        // Dropped without a close_notify.
    });
    let backend = HttpBackend::new(config(&url, authority.trusted())).unwrap();
    assert_eq!(failure(&backend).await, Failure::Truncated);
    server.await.unwrap();
}
