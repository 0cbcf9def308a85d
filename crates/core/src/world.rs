//! The environment of a shard.

use ht_proto::entry::TenantId;
use ht_proto::hook::Hook;
use ht_proto::room::Room;
use ht_proto::server::{Resumption, Status};
use uuid::Uuid;

use crate::command::Command;
use crate::connection::SessionKey;
use crate::peer::Eviction;
use crate::stats::Stats;
use crate::ticket::Granted;

/// One call into a shard: its time, and its environment.
#[derive(Debug)]
pub struct Turn<'a, W> {
    /// The time, in ms of any clock that never goes backwards.
    pub now: u64,
    /// The interface to state outside the shard.
    pub world: &'a mut W,
}

impl<'a, W> Turn<'a, W> {
    /// A turn at the time `now`, in ms.
    pub fn new(now: u64, world: &'a mut W) -> Self {
        Self { now, world }
    }
}

/// A bound of memory is exceeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Over {
    /// The bound.
    pub reason: Eviction,
    /// What all connections of the address hold, in bytes; zero where that is not known.
    pub address: usize,
}

/// Result of waiting for a client's token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthenticationEnd {
    /// The API has answered.
    Answered,
    /// The client's first message has no valid token, or is late.
    Invalid,
    /// The client disconnected, or its connection is broken.
    Left,
    /// The node shuts down.
    Leaving,
}

/// State outside the shard that it queries and changes synchronously: permits, accounts and the
/// interest index have to agree with it before any byte is sent because of it, so these are calls
/// and not outputs that its owner takes later. They are made in the order of the events.
pub trait World<P> {
    /// An event that a hook may report.
    fn hook(&mut self, hook: Hook, peer: &mut P, now: u64);

    /// The client of a connection: a number that is equal for all connections of one user, or of
    /// one address where users are not known. Queried when a subscription has `*`, so that no
    /// client takes more than its share.
    fn client(&mut self, peer: &P) -> u64;

    /// A room of the tenant got its first subscriber in this shard. Returns the last position
    /// assigned before this was visible to others: the room receives later publications, and no
    /// older ones that are still in flight.
    fn room_opened(&mut self, tenant: TenantId, room: &Room) -> u64;

    /// A room of the tenant lost its last subscriber in this shard.
    fn room_closed(&mut self, tenant: TenantId, room: &Room);

    /// The totals of the whole node, and of its rooms those of the tenant; `own` are this shard's,
    /// newer than any published before.
    fn status(&mut self, tenant: TenantId, own: &Stats) -> Status;

    /// A connection holds `bytes` more of memory. Returns what all of its address hold then, zero
    /// where that is not known.
    ///
    /// # Errors
    /// Where its address or its user exceeds its bound. The bytes are held all the same, until
    /// they are released.
    fn hold(&mut self, _peer: &P, _bytes: usize) -> Result<usize, Over> {
        Ok(0)
    }

    /// A connection holds `bytes` less of memory than [`Self::hold`] noted. Returns what all of
    /// its address hold then, zero where that is not known.
    fn release(&mut self, _peer: &P, _bytes: usize) -> usize {
        0
    }

    /// A client that is to send its token sent so many bytes. False: too many are kept for
    /// handshakes, and its connection is to be dropped.
    fn hold_first_frame(&mut self, _key: SessionKey, _bytes: usize) -> bool {
        true
    }

    /// A client's wait that began with [`Shard::await_token`](crate::shard::Shard::await_token) is
    /// over: its handshake memory is released before the client is notified.
    fn authentication_ended(&mut self, _key: SessionKey, _end: AuthenticationEnd) {}

    /// Whether [`Self::room_refused`] logs anything now. Explanations that are not logged are not
    /// made.
    fn logs_refused_rooms(&self) -> bool {
        false
    }

    /// A connection requested a room that none of its grants permits; `reason` gives the
    /// differences.
    fn room_refused(&mut self, _connection: Uuid, _peer: &P, _reason: &str) {}

    /// The API has accepted the token of [`Recheck::token`](crate::recheck::Recheck::token): it
    /// replaces the credentials that are kept for the session.
    fn token_accepted(&mut self, _key: SessionKey, _peer: &mut P) {}

    /// The token of [`Recheck::token`](crate::recheck::Recheck::token) is not used.
    fn token_rejected(&mut self, _key: SessionKey) {}

    /// What lets the client of a session in again when it reconnects, for a client of our
    /// subprotocol. `anew`: it has no ticket for these permissions. Without a ticket then, it gets
    /// none.
    fn resumption(&mut self, _peer: &mut P, _granted: &Granted<'_>, _anew: bool) -> Resumption {
        Resumption::default()
    }

    /// A session is live again: it has caught up, which took so many milliseconds.
    fn caught_up(&mut self, _ms: u64) {}

    /// A command was executed, which selected so many connections.
    fn carried_out(&mut self, _command: &Command, _matched: usize) {}

    /// A connection was evicted.
    fn evicted(&mut self, connection: Uuid, peer: &P, reason: Eviction);
}
