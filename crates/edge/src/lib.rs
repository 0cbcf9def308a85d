//! Who comes in: listening sockets, addresses, the opening handshake, and permits against the limits
//! of connections.
//!
//! Nothing here knows a shard, a session or the backend.

pub mod address;
pub mod config;
pub mod descriptors;
pub mod handshake;
pub mod host;
pub mod linger;
pub mod listener;
pub mod origin;
pub mod peers;
pub mod permits;
pub mod proxy_protocol;
pub mod quiet;
pub mod respond;
pub mod route;
pub mod subprotocol;
pub mod tcp;
pub mod write_timeout;

mod webkit;
