//! Decisions of the control side of a node, without a runtime, socket, clock or thread: which
//! shards a publication concerns, what a shard that is behind misses, which connections a gap
//! concerns, how connections are closed without stampeding the API, the steps of a graceful
//! shutdown, and the work of a shard in its turn. The server runs it under load, the simulator in
//! virtual time.

pub mod backlog;
pub mod drain;
pub mod gaps;
pub mod input;
pub mod interest;
pub mod nodes;
pub mod tenants;
pub mod turn;
pub mod waves;
pub mod window;
