//! TLS: whom the client trusts and what it says when it does not.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering;
use std::time::Duration;

use ht_backend::Backend;
use ht_backend::Credentials;
use ht_backend::Failure;
use ht_backend::HttpBackend;
use ht_backend::Waiting;
use ht_backend::config::BackendConfig;
use rcgen::BasicConstraints;
use rcgen::CertificateParams;
use rcgen::CertifiedIssuer;
use rcgen::DnType;
use rcgen::IsCa;
use rcgen::KeyPair;
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::PrivateKeyDer;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::kit::JSON;
use crate::kit::admit;
use crate::kit::ask;
use crate::kit::backend;
use crate::kit::config;
use crate::kit::failure;
use crate::kit::rooms;
use crate::stub::Reply;
use crate::stub::Seen;
use crate::stub::Stub;

/// A certificate authority, its PEM file removed at the end.
struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    file: PathBuf,
}

impl Authority {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("authority {count}");
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        let issuer = CertifiedIssuer::self_signed(params, key).unwrap();
        let name = format!("ht-backend-ca-{}-{count}.pem", std::process::id());
        let file = std::env::temp_dir().join(name);
        std::fs::write(&file, issuer.pem()).unwrap();
        Self { issuer, file }
    }

    /// A server with a certificate for this name or address.
    fn server(&self, name: &str, edit: impl FnOnce(&mut CertificateParams)) -> TlsAcceptor {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        edit(&mut params);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let server = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![certificate.der().clone()],
                PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
            )
            .unwrap();
        Arc::new(server).into()
    }

    fn trusted(&self) -> impl FnOnce(&mut BackendConfig) + use<> {
        let file = self.file.clone();
        |config| config.tls_ca_file = Some(file)
    }
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
async fn a_wrong_certificate_is_refused_with_its_reason() {
    let authority = Authority::new();
    let stranger = Authority::new();
    let expired = |params: &mut CertificateParams| {
        params.not_after = rcgen::date_time_ymd(2001, 1, 1);
    };
    for (acceptor, word) in [
        (authority.server("other.test", |_| {}), "name"),
        (stranger.server("127.0.0.1", |_| {}), "UnknownIssuer"),
        (authority.server("127.0.0.1", expired), "expired"),
    ] {
        let stub = Stub::tls(acceptor, admit).await;
        let failure = failure(&backend(&stub, authority.trusted())).await;
        assert_eq!(failure.kind(), "tls");
        assert!(failure.to_string().contains(word), "{failure}");
        assert_eq!(stub.log().requests.len(), 0);
    }
}

#[tokio::test]
async fn the_systems_authorities_do_not_know_ours() {
    let authority = Authority::new();
    let stub = Stub::tls(authority.server("127.0.0.1", |_| {}), admit).await;
    // Where a system has no authorities at all, that is said at the start.
    match HttpBackend::new(config(&stub.url, |_| {})) {
        Ok(backend) => assert_eq!(failure(&backend).await.kind(), "tls"),
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
    assert_eq!(failure(&backend).await.kind(), "tls");
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
async fn a_handshake_that_nobody_waits_for_any_more_ends_too() {
    let authority = Authority::new();
    let acceptor = authority.server("127.0.0.1", |_| {});
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}/", listener.local_addr().unwrap());
    // The first connection answers only when the second has come, which then hangs. So the
    // second call takes the first connection, and nobody needs the second one.
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
