//! What `publish` takes.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use crate::publish::Plan;
use crate::server::{GatewayServer, Launch};

/// How to publish.
#[derive(Debug, Args)]
pub struct PublishArgs {
    /// The gateway's program
    #[arg(long, default_value = "target/release/high-templar")]
    pub gateway: PathBuf,
    /// The script that runs a RabbitMQ
    #[arg(long, default_value = "tests/support/rabbitmq")]
    pub rabbitmq: PathBuf,
    /// The core that the gateway runs on; without it, any
    #[arg(long)]
    pub server_core: Option<usize>,
    /// Where the gateway's log goes
    #[arg(long, default_value = "target/bench-server.log")]
    pub log: PathBuf,
    /// How long each publisher publishes one at a time, as long again with a window, and the ingest
    /// takes, in seconds
    #[arg(long, default_value_t = 4.0)]
    pub seconds: f64,
    /// Triggers a second that nobody subscribed to
    #[arg(long, default_value_t = 12_000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub rate: u32,
    /// Number of this repetition in the results
    #[arg(long, default_value_t = 1)]
    pub round: u32,
}

impl PublishArgs {
    /// What is measured.
    ///
    /// # Errors
    /// When the duration is none.
    pub fn plan(&self) -> anyhow::Result<Plan> {
        Ok(Plan {
            during: Duration::try_from_secs_f64(self.seconds)?,
            rate: self.rate,
            round: self.round,
        })
    }

    /// The gateway, and how it is started.
    #[must_use]
    pub fn server(&self, backend: SocketAddr) -> (GatewayServer, Launch) {
        let stream = ("HT_RABBITMQ__LOG".to_owned(), "stream".to_owned());
        let server = GatewayServer {
            program: self.gateway.clone(),
            threads: 1,
            sse: false,
            rabbitmq: true,
            settings: vec![stream],
        };
        let launch = Launch {
            backend,
            core: self.server_core,
            prefix: Vec::new(),
            log: self.log.clone(),
            connections: 0,
            peers: PathBuf::new(),
            rabbitmq: self.rabbitmq.clone(),
        };
        (server, launch)
    }
}
