//! The real gateway, started in this process with the settings of an ordinary deployment.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use ht_backend::config::{BackendConfig, GuardConfig, HookCall, HookCalls};
use ht_backend::{ForwardRules, Guard};
use ht_core::limits::Limits;
use ht_node::config::{
    AuthConfig, BuildInfo, Compression, DrainConfig, HookQueueConfig, InternalConfig,
    KeepaliveConfig, Listen, Matching, MetricsConfig, NodesConfig, PermissionsConfig, PublicConfig,
    ReadinessConfig, RecoveryConfig, ResumeConfig, ServerConfig, ServerLimits, StreamsConfig,
    TcpOptions, TenantsConfig, UsageConfig,
};
use ht_node::live::{Live, LiveSettings};
use ht_node::{Gateway, InheritedSockets};
use http::Method;
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use crate::options::DemoOptions;

/// Timeout of a backend call.
const BACKEND_TIMEOUT: Duration = Duration::from_secs(10);

/// Timeout of the gateway's shutdown.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(3);

/// Timeout for its ports to become free after that, and the interval of trying.
const PORTS_TIMEOUT: Duration = Duration::from_secs(5);
const PORTS_PAUSE: Duration = Duration::from_millis(20);

/// Runs the gateway, and restarts it on request of the page.
pub(crate) struct Supervisor {
    /// With the actual ports.
    config: ServerConfig,
    backend: BackendConfig,
    running: Mutex<Running>,
}

enum Running {
    Yes(Box<Gateway>),
    /// A restart failed; the next one may succeed.
    No,
    /// The demo is shutting down: no more restarts.
    Stopped,
}

impl Supervisor {
    /// Starts the gateway in front of the backend at `backend`.
    pub(crate) async fn start(
        options: &DemoOptions,
        backend: SocketAddr,
        build: BuildInfo,
    ) -> anyhow::Result<Self> {
        let mut config = server(options, build);
        let backend = calls(backend);
        let gateway = start(&config, &backend).await?;
        config.listen = gateway.public().clone();
        config.internal.listen = gateway.internal().clone();
        Ok(Self {
            config,
            backend,
            running: Mutex::new(Running::Yes(Box::new(gateway))),
        })
    }

    /// Where browsers connect.
    pub(crate) fn public(&self) -> anyhow::Result<SocketAddr> {
        tcp(&self.config.listen)
    }

    /// Where triggers are sent.
    pub(crate) fn internal(&self) -> anyhow::Result<SocketAddr> {
        tcp(&self.config.internal.listen)
    }

    /// Shuts the gateway down and starts it on the same ports.
    pub(crate) async fn restart(&self) -> anyhow::Result<()> {
        let mut running = self.running.lock().await;
        match std::mem::replace(&mut *running, Running::No) {
            Running::Yes(gateway) => gateway.drain(CancellationToken::new()).await,
            Running::No => {}
            Running::Stopped => {
                *running = Running::Stopped;
                anyhow::bail!("the demo is shutting down");
            }
        }
        *running = Running::Yes(Box::new(self.start_again().await?));
        Ok(())
    }

    /// Starts the gateway. The previous one may still hold its ports for a moment.
    async fn start_again(&self) -> anyhow::Result<Gateway> {
        let since = Instant::now();
        loop {
            match start(&self.config, &self.backend).await {
                Err(_) if since.elapsed() < PORTS_TIMEOUT => tokio::time::sleep(PORTS_PAUSE).await,
                done => return done,
            }
        }
    }

    /// Shuts the gateway down for good.
    pub(crate) async fn stop(&self) {
        let mut running = self.running.lock().await;
        if let Running::Yes(gateway) = std::mem::replace(&mut *running, Running::Stopped) {
            gateway.drain(CancellationToken::new()).await;
        }
    }
}

async fn start(config: &ServerConfig, backend: &BackendConfig) -> anyhow::Result<Gateway> {
    let rules = ForwardRules::of(backend);
    let backend = Guard::http(backend.clone())?;
    let live = Live::new(LiveSettings::new(config, rules));
    let sockets = InheritedSockets::default();
    Gateway::start(config.clone(), Some(Arc::new(backend)), live, None, sockets)
        .await
        .context("the gateway does not start")
}

fn tcp(listen: &Listen) -> anyhow::Result<SocketAddr> {
    match listen {
        Listen::Tcp(address) => Ok(*address),
        Listen::Unix { .. } => anyhow::bail!("the demo listens on TCP only"),
    }
}

fn server(options: &DemoOptions, build: BuildInfo) -> ServerConfig {
    ServerConfig {
        listen: Listen::Tcp(options.gateway),
        threads: 2,
        public: PublicConfig::default(),
        internal: InternalConfig {
            listen: Listen::Tcp(options.internal),
            api_keys: Vec::new(),
            keys: Vec::new(),
            hosts: Vec::new(),
        },
        matching: Matching::Wildcard,
        status_clients: true,
        compression: Some(Compression::default()),
        idle_timeout: Duration::from_secs(300),
        session: Limits::default(),
        limits: ServerLimits::default(),
        keepalive: KeepaliveConfig::default(),
        tcp: TcpOptions::default(),
        auth: AuthConfig::default(),
        hooks: HookQueueConfig::default(),
        readiness: ReadinessConfig::default(),
        build,
        allocated: None,
        drain: DrainConfig {
            delay: Duration::ZERO,
            period: Duration::ZERO,
            timeout: DRAIN_TIMEOUT,
        },
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

fn calls(backend: SocketAddr) -> BackendConfig {
    let post = |path: &str| {
        Some(HookCall {
            method: Method::POST,
            path: path.to_owned(),
        })
    };
    BackendConfig {
        url: format!("http://{backend}/api/"),
        socket: None,
        bootstrap: "bootstrap/".to_owned(),
        timeout: BACKEND_TIMEOUT,
        user_id_path: BackendConfig::default_user_id_path().into(),
        headers: BackendConfig::default_headers().into(),
        forward_bytes_max: ht_backend::FORWARD_BYTES_MAX,
        guard: GuardConfig::default(),
        answer_bytes_max: 1 << 20,
        tls_verify: true,
        tls_ca_file: None,
        hooks: HookCalls {
            connect: post("user/notify_online/"),
            ping: post("user/notify_ping/"),
            disconnect: post("user/notify_offline/"),
            timeout: BACKEND_TIMEOUT,
        },
    }
}
