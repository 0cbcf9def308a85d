//! What goes into a shard.

pub(crate) use ht_control::input::Batch;
use ht_core::shard::{Wave, Welcome};
use ht_edge::permits::ConnectionPermit;
use tokio::sync::oneshot;

use crate::socket::Socket;

/// What a shard may be told.
pub(crate) type Input = ht_control::input::Input<oneshot::Sender<()>, oneshot::Sender<Wave>>;

/// A connection on its way to its shard: its handshake is done.
pub(crate) struct NewConnection {
    pub(crate) socket: Socket,
    pub(crate) welcome: Welcome,
    /// What its client sent since: bytes that were read together with the handshake.
    pub(crate) early: Vec<u8>,
    /// Its permit among the connections.
    pub(crate) permit: ConnectionPermit,
}
