//! What goes into a shard.

use std::sync::Arc;

use ht_control::backlog::Charge;
use ht_core::publication::Publication;
use ht_core::shard::{Settings, Wave, Welcome};
use ht_edge::permits::ConnectionPermit;
use ht_proto::close::Close;
use tokio::sync::oneshot;

use crate::socket::Socket;

/// Bytes that a publication is charged with beside its own.
pub(super) const PUBLICATION_BYTES: usize = 256;

/// What a shard may be told.
pub(crate) enum Input {
    /// Publications, in their order.
    Publish(Batch),
    /// Behave like this from now on.
    Settings(Box<Settings>),
    /// Say that it was taken.
    Probe(oneshot::Sender<()>),
    /// Close so many connections.
    Close {
        /// Admitted ones.
        count: usize,
        /// What they are told.
        close: Close,
    },
    /// Close connections that opened before a gap: one wave.
    CloseMissed {
        /// The gap's number.
        number: u32,
        /// How many at most.
        count: usize,
        /// What they are told.
        close: Close,
        /// What became of it.
        done: oneshot::Sender<Wave>,
    },
    /// Close everything for this reason and end.
    Drain(Close),
}

impl Input {
    /// What is published with it.
    pub(super) fn batch(&self) -> Option<&Batch> {
        match self {
            Self::Publish(batch) => Some(batch),
            Self::Settings(_)
            | Self::Probe(_)
            | Self::Close { .. }
            | Self::CloseMissed { .. }
            | Self::Drain(_) => None,
        }
    }
}

impl Charge for Input {
    fn bytes(&self) -> Option<usize> {
        self.batch().map(|batch| batch.bytes)
    }
}

/// Publications that were placed together. All shards share them.
#[derive(Clone, Debug)]
pub(crate) struct Batch {
    pub(crate) publications: Arc<[Publication]>,
    /// What they are charged with.
    pub(crate) bytes: usize,
}

impl Batch {
    pub(crate) fn new(publications: Vec<Publication>) -> Self {
        let charge = |publication: &Publication| {
            let rooms = publication.rooms.iter().map(|room| room.size());
            PUBLICATION_BYTES + publication.data_len() + rooms.sum::<usize>()
        };
        Self {
            bytes: publications.iter().map(charge).sum(),
            publications: publications.into(),
        }
    }
}

/// A connection on its way to its shard: its handshake is done.
pub(crate) struct NewConnection {
    pub(crate) socket: Socket,
    pub(crate) welcome: Welcome,
    /// What its client sent since: bytes that were read together with the handshake.
    pub(crate) early: Vec<u8>,
    /// Its permit among the connections.
    pub(crate) permit: ConnectionPermit,
}
