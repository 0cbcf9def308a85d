//! The shard as its peers see it.

mod closing;
mod compression;
mod delivery;
mod keepalive;
mod kit;
mod leaving;
mod messages;
mod model;
mod outbox;
mod reconfigure;
mod slices;
mod subprotocol;
mod subscriptions;
