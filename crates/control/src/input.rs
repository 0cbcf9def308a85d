//! Inputs of a shard.

use std::sync::Arc;

use ht_core::bucket::DeliveryBucket;
use ht_core::command::Command;
use ht_core::publication::Publication;
use ht_core::recheck::Rechecked;
use ht_core::shard::{Gap, SessionKey, Settings};
use ht_proto::close::Close;
use ht_proto::entry::TenantId;

use crate::backlog::Charge;

/// Bytes that a publication is charged with beside its own.
pub const PUBLICATION_BYTES: usize = 256;

/// An input of a shard. `A`: the receiver of a probe's reply; `W`: the receiver of a wave's result.
#[derive(Debug)]
pub enum Input<A, W> {
    /// Publications, in their order.
    Publish(Batch),
    /// Execute a command.
    Command(Arc<Command>),
    /// The API has answered about sessions again.
    Rechecked(Arc<Rechecked>),
    /// Commands of a tenant were lost, the last of them at this position: close all of its
    /// connections.
    CommandsLost(TenantId, u64),
    /// Apply these settings from now on.
    Settings(Box<Settings>),
    /// What the clients of a tenant are sent is taken from this bucket from now on; none: it has no
    /// bound.
    Bucket(TenantId, Option<Arc<DeliveryBucket>>),
    /// Confirm that it was taken.
    Probe(A),
    /// Close so many connections.
    Close {
        /// Admitted ones.
        count: usize,
        /// The close reason that their clients receive.
        close: Close,
    },
    /// Close connections that opened before a gap, or tell their clients: one wave.
    CloseMissed {
        /// The gap.
        gap: Gap,
        /// How many at most.
        count: usize,
        /// The receiver of the result.
        done: W,
    },
    /// Close connections of a tenant: one wave.
    CloseTenant(TenantWave),
    /// Close the connections whose clients are not authenticated yet, from now on.
    CloseUnauthenticated(Close),
    /// The answer that a session awaits will never arrive.
    Abandon(SessionKey),
    /// Close all connections for this reason and end.
    Drain(Close),
}

/// Connections of a tenant that are closed together.
#[derive(Clone, Copy, Debug)]
pub struct TenantWave {
    /// The tenant.
    pub tenant: TenantId,
    /// How many at most.
    pub count: usize,
    /// The close reason that their clients receive.
    pub close: Close,
}

impl<A, W> Input<A, W> {
    /// The publications in it.
    #[must_use]
    pub fn batch(&self) -> Option<&Batch> {
        match self {
            Self::Publish(batch) => Some(batch),
            Self::Command(_)
            | Self::Rechecked(_)
            | Self::CommandsLost(..)
            | Self::Settings(_)
            | Self::Bucket(..)
            | Self::Probe(_)
            | Self::Close { .. }
            | Self::CloseMissed { .. }
            | Self::CloseTenant(_)
            | Self::CloseUnauthenticated(_)
            | Self::Abandon(_)
            | Self::Drain(_) => None,
        }
    }

    /// The command in it.
    #[must_use]
    pub fn command(&self) -> Option<&Arc<Command>> {
        match self {
            Self::Command(command) => Some(command),
            Self::CommandsLost(..)
            | Self::Rechecked(_)
            | Self::Publish(_)
            | Self::Settings(_)
            | Self::Bucket(..)
            | Self::Probe(_)
            | Self::Close { .. }
            | Self::CloseMissed { .. }
            | Self::CloseTenant(_)
            | Self::CloseUnauthenticated(_)
            | Self::Abandon(_)
            | Self::Drain(_) => None,
        }
    }
}

impl<A, W> Charge for Input<A, W> {
    fn bytes(&self) -> Option<usize> {
        self.batch().map(|batch| batch.bytes)
    }

    fn command_bytes(&self) -> Option<usize> {
        self.command().map(|command| command.bytes)
    }

    fn tenant(&self) -> Option<TenantId> {
        match self {
            Self::Publish(batch) => batch.publications.first().map(|first| first.tenant),
            Self::Command(command) => Some(command.selection.tenant),
            Self::CommandsLost(tenant, _) => Some(*tenant),
            Self::CloseTenant(wave) => Some(wave.tenant),
            // Behind its commands, and before what others have published.
            Self::Rechecked(rechecked) => rechecked.tenant,
            Self::Settings(_)
            | Self::Bucket(..)
            | Self::Probe(_)
            | Self::Close { .. }
            | Self::CloseMissed { .. }
            | Self::CloseUnauthenticated(_)
            | Self::Abandon(_)
            | Self::Drain(_) => None,
        }
    }

    fn may_pass(&self) -> bool {
        matches!(
            self,
            Self::Settings(_) | Self::Bucket(..) | Self::Probe(_) | Self::Abandon(_)
        )
    }
}

/// Publications that were sequenced together. All shards share them.
#[derive(Clone, Debug)]
pub struct Batch {
    /// In their order.
    pub publications: Arc<[Publication]>,
    /// What they are charged with.
    pub bytes: usize,
}

impl Batch {
    /// Charges publications with what they keep in memory.
    #[must_use]
    pub fn new(publications: Vec<Publication>) -> Self {
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
