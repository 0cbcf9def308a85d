//! The two listening sockets of a node.

use ht_backend::PostSetupError;
use ht_control::tenants::claims::Conflict;
use ht_edge::listener::{Inherited, InheritedSockets, Listener};

use crate::config::{InternalConfig, Listen, ServerConfig};

/// Why a node could not be started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// An address could not be listened on.
    #[error("cannot listen on {listen} ({setting}): {cause}{}", help(cause))]
    Listen {
        /// The setting that names the address.
        setting: &'static str,
        /// The address as configured.
        listen: Listen,
        /// The system's error.
        cause: std::io::Error,
    },
    /// The internal listener would be exposed to the network.
    #[error(
        "internal.listen is {0}, which others can reach, and internal.api_key is not set: anybody \
         there could publish to every user. Set a key, or listen on 127.0.0.1 or a unix socket"
    )]
    InternalIsOpen(Listen),
    /// Two tenants claim the same.
    #[error("{}", all(.0))]
    Tenants(Vec<Conflict>),
    /// A shard could not be started.
    #[error("cannot start a shard: {0}")]
    Shard(std::io::Error),
    /// The usage of tenants could not be posted.
    #[error("usage.url {0}")]
    Usage(PostSetupError),
}

/// All of them.
fn all(conflicts: &[Conflict]) -> String {
    let all: Vec<_> = conflicts.iter().map(ToString::to_string).collect();
    all.join("; ")
}

/// Advice if an address is in use.
fn help(cause: &std::io::Error) -> &'static str {
    if cause.kind() == std::io::ErrorKind::AddrInUse {
        "; `high-templar check` finds out who uses it"
    } else {
        ""
    }
}

/// The listening sockets, and their actual addresses.
pub(crate) struct Listeners {
    pub(crate) public: (Listener, Listen),
    pub(crate) internal: (Listener, Listen),
}

impl Listeners {
    /// Listens on the configured addresses, or on `sockets` if they are given.
    ///
    /// # Errors
    /// If an address cannot be listened on, or the internal one is exposed to the network without
    /// an API key.
    pub(crate) fn open(
        config: &ServerConfig,
        sockets: InheritedSockets,
    ) -> Result<Self, StartError> {
        let public = listen("listen", &config.listen, sockets.public)?;
        let own = &config.internal;
        if sockets.internal.is_none() {
            refuse_open(&own.listen, own)?;
        }
        let internal = listen("internal.listen", &own.listen, sockets.internal)?;
        refuse_open(&internal.1, own)?;
        Ok(Self { public, internal })
    }
}

fn listen(
    setting: &'static str,
    listen: &Listen,
    inherited: Option<Inherited>,
) -> Result<(Listener, Listen), StartError> {
    let listener = match inherited {
        Some(inherited) => Listener::take(inherited),
        None => Listener::bind(listen),
    };
    let listener = listener.map_err(|cause| StartError::Listen {
        setting,
        listen: listen.clone(),
        cause,
    })?;
    let address = listener.address(listen);
    Ok((listener, address))
}

/// Rejects an internal address that is reachable from the network, if no API key is configured.
pub(crate) fn refuse_open(listen: &Listen, config: &InternalConfig) -> Result<(), StartError> {
    if let Listen::Tcp(address) = listen
        && !address.ip().is_loopback()
        && !config.has_key()
    {
        return Err(StartError::InternalIsOpen(listen.clone()));
    }
    Ok(())
}
