//! TLS against a real server behind a TLS proxy, as many brokers are set up.

use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::config::{BINDING_CHECK, RabbitMqConfig};
use crate::rabbitmq::{ConfigError, ProbeError, probe};

use super::*;

/// A TLS listener with a certificate for 127.0.0.1 only, in front of this port. Its port, and
/// the root to trust.
async fn proxy(behind: u16) -> (u16, RootCertStore) {
    let certified = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(certified.cert.der().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let key = PrivateKeyDer::try_from(certified.signing_key.serialize_der()).unwrap();
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certified.cert.der().clone()], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        loop {
            let (socket, _) = listener.accept().await.unwrap();
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                // A client that does not trust us ends here.
                let mut outer = acceptor.accept(socket).await?;
                let mut inner = TcpStream::connect(("127.0.0.1", behind)).await?;
                tokio::io::copy_bidirectional(&mut outer, &mut inner).await
            });
        }
    });
    (port, roots)
}

async fn outcome(url: String) -> Result<(), String> {
    let config = RabbitMqConfig {
        url,
        exchange: "hightemplar".into(),
        durable: false,
        stream: None,
        prefetch: 10,
        publish_timeout: Duration::from_secs(5),
        binding_check: BINDING_CHECK,
    };
    match probe(&config).await {
        Ok(report) => {
            assert!(report.endpoint.tls);
            Ok(())
        }
        Err(error @ (ProbeError::Step { .. } | ProbeError::Config(ConfigError::Url(_)))) => {
            Err(error.to_string())
        }
        Err(other) => panic!("{other}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_works_and_a_wrong_name_does_not() {
    let server = ht_testkit::rabbitmq::RabbitMq::shared();
    let vhost = server.vhost();
    let (port, roots) = proxy(server.port()).await;
    CONFIG.set(tls_with(roots).unwrap()).unwrap();
    let at = |host: &str| {
        let name = vhost.name();
        format!("amqps://rabbitmq:rabbitmq@{host}:{port}/{name}")
    };
    assert_eq!(outcome(at("127.0.0.1")).await, Ok(()));
    let error = outcome(at("localhost")).await.unwrap_err();
    assert!(error.contains("the TLS handshake failed"), "{error}");
    assert!(error.contains("SSL_CERT_FILE"), "{error}");
    // A port without TLS.
    let plain = server.port();
    let url = at("127.0.0.1").replace(&format!(":{port}/"), &format!(":{plain}/"));
    let error = outcome(url).await.unwrap_err();
    assert!(error.contains("TLS"), "{error}");
}
