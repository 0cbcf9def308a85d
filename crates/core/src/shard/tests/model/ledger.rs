//! What was published and commanded, in order, and what that means for a client.

use std::rc::Rc;

use super::known::Subscription;
use super::operations::{TENANTS, Whom};
use crate::index::Matching;

/// A publication.
#[derive(Debug)]
pub(super) struct Published {
    pub(super) position: u64,
    pub(super) tenant: usize,
    pub(super) rooms: Vec<usize>,
    pub(super) data: String,
}

/// Everything so far.
pub(super) struct Ledger {
    pub(super) matching: Matching,
    /// The last position.
    pub(super) position: u64,
    pub(super) published: Vec<Rc<Published>>,
    pub(super) commands: Vec<(u64, Whom)>,
}

/// What a client is sent later than others, or what happens to it then.
#[derive(Debug)]
pub(super) enum Missed {
    Publication(Rc<Published>),
    /// What it missed while it was not connected.
    Again(Again),
    /// It has these rights from a position on.
    Rights(u64, usize),
    /// The API is asked about it again, because of the command at a position.
    Hold(u64),
}

/// A publication that a client is sent again, in part perhaps.
#[derive(Debug)]
pub(super) struct Again {
    pub(super) published: Rc<Published>,
    /// The names for which it is, each with its subscription.
    pub(super) names: Vec<(usize, Subscription)>,
}

impl Missed {
    pub(super) fn position(&self) -> u64 {
        match self {
            Self::Publication(published) => published.position,
            Self::Again(again) => again.published.position,
            Self::Rights(position, _) | Self::Hold(position) => *position,
        }
    }
}

impl Whom {
    /// Whether it means the client at an index.
    pub(super) fn means(self, place: usize) -> bool {
        match self {
            Self::Client(client) => client == place,
            Self::Tenant(tenant) => place % TENANTS == tenant,
        }
    }
}

/// Whether a subscription to the room `a` matches a trigger for `b`, spelled out by hand.
pub(super) fn hears(matching: Matching, a: usize, b: usize) -> bool {
    if matching == Matching::Exact || a == b {
        return a == b;
    }
    matches!((a.min(b), a.max(b)), (1 | 2, 3) | (4, 5))
}

impl Ledger {
    /// The subscriptions that a publication for these rooms matches, room by room.
    pub(super) fn groups(&self, own: &[Subscription], rooms: &[usize]) -> Vec<Vec<usize>> {
        let mut left = own.to_vec();
        let groups = rooms.iter().map(|&room| {
            let hit = |&(of, _): &Subscription| hears(self.matching, of, room);
            let group = left.iter().copied().filter(hit);
            let group = group.map(|(_, name)| name).collect();
            left.retain(|subscription| !hit(subscription));
            group
        });
        groups.collect()
    }

    /// The same, together.
    pub(super) fn names(&self, own: &[Subscription], rooms: &[usize]) -> Vec<usize> {
        self.groups(own, rooms).concat()
    }

    /// Whether a subscription matches a publication.
    pub(super) fn meets(&self, (room, _): Subscription, published: &Published) -> bool {
        let mut rooms = published.rooms.iter();
        rooms.any(|&of| hears(self.matching, room, of))
    }

    /// Whether a command after a position means the client at an index.
    pub(super) fn is_meant(&self, place: usize, after: u64) -> bool {
        let mut commands = self.commands.iter();
        commands.any(|(position, whom)| *position > after && whom.means(place))
    }
}
