//! The shard as its peers see it.

mod closing;
mod delivery;
mod kit;
mod messages;
mod outbox;
mod subscriptions;
