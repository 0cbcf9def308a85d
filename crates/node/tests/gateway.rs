//! The lifecycle of a gateway as seen by the program that embeds it.

#![allow(clippy::unwrap_used)] // A failure here is a failed test.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use ht_backend::{Answer, Backend, Credentials, Failure, ForwardRules, Hook, Permissions};
use ht_core::limits::Limits;
use ht_node::config::{
    AuthConfig, BuildInfo, DrainConfig, HookQueueConfig, InternalConfig, KeepaliveConfig, Listen,
    Matching, MetricsConfig, NodesConfig, PermissionsConfig, PublicConfig, ReadinessConfig,
    RecoveryConfig, ResumeConfig, ServerConfig, ServerLimits, StreamsConfig, TcpOptions,
    TenantsConfig, UsageConfig,
};
use ht_node::live::{Live, LiveSettings};
use ht_node::{Gateway, InheritedSockets};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Admits every client.
struct Welcoming;

fn admitted() -> Answer {
    Answer::Admitted(Permissions::of(b"[]".as_slice().into()))
}

impl Backend for Welcoming {
    fn bootstrap<'a>(&'a self, _: &'a Credentials) -> BoxFuture<'a, Answer> {
        Box::pin(std::future::ready(admitted()))
    }

    fn probe(&self) -> BoxFuture<'_, Answer> {
        Box::pin(std::future::ready(admitted()))
    }

    fn has_hook(&self, _: Hook) -> bool {
        false
    }

    fn hook<'a>(&'a self, _: Hook, _: &'a Credentials) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(std::future::ready(Ok(())))
    }
}

fn config() -> ServerConfig {
    let listen = Listen::Tcp((Ipv4Addr::LOCALHOST, 0).into());
    ServerConfig {
        listen: listen.clone(),
        threads: 2,
        public: PublicConfig::default(),
        internal: InternalConfig {
            listen,
            api_keys: Vec::new(),
            keys: Vec::new(),
            hosts: Vec::new(),
        },
        matching: Matching::Wildcard,
        status_clients: false,
        compression: None,
        idle_timeout: Duration::ZERO,
        session: Limits::default(),
        limits: ServerLimits::default(),
        keepalive: KeepaliveConfig::default(),
        tcp: TcpOptions::default(),
        auth: AuthConfig::default(),
        hooks: HookQueueConfig::default(),
        readiness: ReadinessConfig::default(),
        build: BuildInfo::default(),
        allocated: None,
        drain: DrainConfig::default(),
        window_file: None,
        recovery: RecoveryConfig::default(),
        streams: StreamsConfig::default(),
        resume: ResumeConfig::default(),
        permissions: PermissionsConfig::default(),
        metrics: MetricsConfig::default(),
        usage: UsageConfig::default(),
        nodes: NodesConfig::default(),
        tenants: TenantsConfig::default(),
    }
}

async fn start() -> Gateway {
    let config = config();
    let live = Live::new(LiveSettings::new(&config, ForwardRules::new(Vec::new())));
    let sockets = InheritedSockets::default();
    let starting = Gateway::start(config, Some(Arc::new(Welcoming)), live, None, sockets);
    starting.await.unwrap()
}

fn tcp(listen: &Listen) -> SocketAddr {
    match listen {
        Listen::Tcp(address) => *address,
        Listen::Unix { .. } => unreachable!("listening on TCP"),
    }
}

/// Opens a websocket and reads its first message.
async fn connect(address: SocketAddr) -> TcpStream {
    let mut client = TcpStream::connect(address).await.unwrap();
    let request = format!(
        "GET /ws/ HTTP/1.1\r\nHost: {address}\r\nOrigin: http://{address}\r\nUpgrade: websocket\r\n\
         Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    client.write_all(request.as_bytes()).await.unwrap();
    let mut came = Vec::new();
    while !came.ends_with(br#"{"is_authorized": true, "allowed_rooms": []}"#) {
        assert_ne!(client.read_buf(&mut came).await.unwrap(), 0, "{came:?}");
    }
    client
}

#[tokio::test]
async fn a_gateway_that_is_dropped_ends_what_it_started() {
    let gateway = start().await;
    let (public, internal) = (tcp(gateway.public()), tcp(gateway.internal()));
    let mut client = connect(public).await;
    let mut probe = TcpStream::connect(internal).await.unwrap();
    let request = format!("GET /live HTTP/1.1\r\nHost: {internal}\r\n\r\n");
    probe.write_all(request.as_bytes()).await.unwrap();
    assert_ne!(probe.read(&mut [0]).await.unwrap(), 0);
    drop(gateway);
    let mut rest = Vec::new();
    client.read_to_end(&mut rest).await.unwrap();
    // A close frame with 1012, the code of a restart.
    let close = rest
        .windows(4)
        .any(|part| part[0] == 0x88 && part[2..] == 1012_u16.to_be_bytes());
    assert!(close, "{rest:?}");
    probe.read_to_end(&mut rest).await.unwrap();
    for address in [public, internal] {
        // Its listener may have a last connection in its queue, which is closed without a response.
        while let Ok(mut late) = TcpStream::connect(address).await {
            assert!(matches!(late.read(&mut [0]).await, Ok(0) | Err(_)));
        }
    }
}
