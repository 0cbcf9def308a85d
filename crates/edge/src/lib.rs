//! Admission of clients: listening sockets, addresses, the opening handshake, and permits against
//! the limits of connections.
//!
//! This crate has no knowledge of shards, sessions or the backend.

pub mod address;
pub mod config;
pub mod descriptors;
pub mod host;
pub mod linger;
pub mod listener;
pub mod origin;
pub mod page;
pub mod peers;
pub mod permits;
pub mod quiet;
pub mod quotas;
pub mod rejection;
pub mod request;
pub mod respond;
pub mod route;
pub mod screening;
pub mod stream;
pub mod tcp;
pub mod tenant;
pub mod write_timeout;

mod handshake;
mod proxy_protocol;
mod subprotocol;
mod webkit;
