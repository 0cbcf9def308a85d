//! What the control side of a node decides, without a runtime, socket, clock or thread: which shards
//! a publication concerns, what a shard that is behind misses, which connections a gap concerns, how
//! connections are closed without stampeding the API, and the steps of a graceful shutdown. The server runs it under load, the
//! simulator in virtual time.

pub mod backlog;
pub mod drain;
pub mod gaps;
pub mod interest;
pub mod waves;
