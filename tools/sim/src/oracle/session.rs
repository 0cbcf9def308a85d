//! What is known of a session and its subscriptions, and what commands do to them.

use std::collections::{BTreeMap, BTreeSet};

use crate::orders::{Deed, Known, Order};
use crate::rooms::{GRANTS, covers, is_permitted};

/// A subscription.
#[derive(Debug)]
pub(super) struct Subscription {
    pub(super) room: usize,
    pub(super) asked: u64,
    /// How much was placed when its client requested it, up to a command that its shard had not
    /// carried out: nothing of that may arrive.
    pub(super) not_before: usize,
    /// How much was placed when its client got the confirmation, and when: all after that must
    /// arrive.
    pub(super) told: Option<(usize, u64)>,
    /// The position after the last one that arrived.
    pub(super) next: Option<usize>,
    /// When its client requested its end.
    pub(super) ending: Option<u64>,
    /// The position of the last command that its shard had carried out when it was requested.
    pub(super) carried: u64,
    /// Where it was dropped, once it is confirmed: one of these.
    pub(super) ends: Vec<End>,
}

impl Subscription {
    /// Whether it may still have been there at this place.
    pub(super) fn may_receive(&self, place: usize) -> bool {
        let is_after = |end: &End| end.is_none_or(|end| end.0 > place);
        self.ends.is_empty() || self.ends.iter().any(is_after)
    }

    /// Whether it was still there at this place, for certain.
    pub(super) fn is_owed(&self, place: usize) -> bool {
        let mut ends = self.ends.iter();
        ends.all(|end| end.is_none_or(|end| end.0 > place))
    }

    /// Whether it was neither ended nor dropped at this time.
    pub(super) fn is_there(&self, at: u64) -> bool {
        let mut ends = self.ends.iter();
        self.ending.is_none_or(|ending| ending > at)
            && ends.all(|end| end.is_none_or(|end| end.1 > at))
    }
}

/// A connection.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) life: usize,
    pub(super) shard: usize,
    pub(super) identified: Identified,
    /// Commands that changed its permissions or dropped subscriptions, in order.
    pub(super) applied: Vec<Applied>,
    /// A command closes it.
    pub(super) disconnected: Option<Disconnected>,
    /// How many of the commands its client knows of.
    pub(super) told_rights: usize,
    pub(super) subscriptions: BTreeMap<u64, Subscription>,
    /// Names of those that ended.
    pub(super) ended: BTreeSet<u64>,
    pub(super) is_over: bool,
    /// When its node closed it to shut down.
    pub(super) closed: Option<u64>,
}

impl Session {
    pub(super) fn new((life, shard): (usize, usize), identified: Identified) -> Self {
        Self {
            life,
            shard,
            identified,
            applied: Vec::new(),
            disconnected: None,
            told_rights: 0,
            subscriptions: BTreeMap::new(),
            ended: BTreeSet::new(),
            is_over: false,
            closed: None,
        }
    }
}

/// The API's answer about a client, as its session got it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Identified {
    pub(crate) client: usize,
    pub(crate) grants: usize,
    /// The position of the last command of the node when the call was sent.
    pub(crate) asked_at: u64,
    /// When the call was sent.
    pub(crate) asked: u64,
    /// The client accepts events.
    pub(crate) events: bool,
}

/// A command placed on a node.
#[derive(Clone, Copy, Debug)]
pub(super) struct Commanded {
    pub(super) place: usize,
    pub(super) position: u64,
    pub(super) at: u64,
    pub(super) number: usize,
    pub(super) order: Order,
}

/// A command that changed a session's permissions or dropped some of its subscriptions.
#[derive(Clone, Copy, Debug)]
pub(super) struct Applied {
    pub(super) place: usize,
    pub(super) position: u64,
    pub(super) at: u64,
    /// The grants from then on.
    pub(super) grants: usize,
    pub(super) deed: Deed,
}

impl Applied {
    fn drops(&self, room: usize) -> bool {
        match self.deed {
            Deed::Permit(grants) => !is_permitted(GRANTS[grants], room),
            Deed::Unsubscribe(from) => covers(from, room),
            Deed::Disconnect => false,
        }
    }
}

/// A session that a command closes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Disconnected {
    pub(super) place: usize,
    /// The command; none if it is one of several that were lost.
    pub(super) number: Option<usize>,
}

/// Commands that a shard was too far behind for.
#[derive(Clone, Copy, Debug)]
pub(super) struct LostCommands {
    pub(super) shard: usize,
    /// The place of the first of them.
    pub(super) place: usize,
    /// The position of the last of them.
    pub(super) position: u64,
}

/// Where a subscription was dropped, and when that was placed; none: it was not.
pub(super) type End = Option<(usize, u64)>;

impl Session {
    fn known(&self, connection: usize) -> Known {
        Known {
            connection,
            client: self.identified.client,
            grants: self.grants(),
        }
    }

    /// The current grants.
    pub(super) fn grants(&self) -> usize {
        let last = self.applied.last();
        last.map_or(self.identified.grants, |applied| applied.grants)
    }

    /// The grants by which a publication at a place is delivered.
    pub(super) fn grants_at(&self, place: usize) -> usize {
        let before = self.applied.iter().rev();
        let last = before.into_iter().find(|applied| applied.place < place);
        last.map_or(self.identified.grants, |applied| applied.grants)
    }

    /// Applies a command, if it means the session and its permissions are older.
    pub(super) fn apply(&mut self, connection: usize, commanded: &Commanded) {
        let &Commanded {
            place,
            position,
            at,
            number,
            order,
        } = commanded;
        let is_new = position > self.identified.asked_at && self.disconnected.is_none();
        if !is_new || !order.whom.means(self.known(connection)) {
            return;
        }
        let grants = match order.deed {
            Deed::Permit(grants) => grants,
            Deed::Unsubscribe(_) => self.grants(),
            Deed::Disconnect => {
                let number = Some(number);
                self.disconnected = Some(Disconnected { place, number });
                return;
            }
        };
        let applied = Applied {
            place,
            position,
            at,
            grants,
            deed: order.deed,
        };
        for subscription in self.subscriptions.values_mut() {
            if applied.drops(subscription.room) {
                for end in &mut subscription.ends {
                    end.get_or_insert((place, at));
                }
            }
        }
        self.applied.push(applied);
    }

    /// All possible ends of a subscription to a room, after a subscribe that was sent when the
    /// shard had carried out the commands up to `carried`. Empty: the reply was impossible.
    pub(super) fn ends(&self, room: usize, carried: u64, success: bool) -> Vec<End> {
        let known = self.applied.iter().take_while(|it| it.position <= carried);
        let (before, since) = self.applied.split_at(known.count());
        let first = before.last().map_or(self.identified.grants, |it| it.grants);
        let grants = [first].into_iter().chain(since.iter().map(|it| it.grants));
        let possible = grants.enumerate().filter(|(_, grants)| {
            let is_permitted = is_permitted(GRANTS[*grants], room);
            is_permitted == success
        });
        let ends = possible.map(|(taken, _)| {
            let mut later = since[taken..].iter();
            let drop = later.find(|it| it.drops(room));
            drop.map(|it| (it.place, it.at))
        });
        ends.collect()
    }

    /// Closes it, if its permissions are older than commands that were lost.
    pub(super) fn lose_commands(&mut self, lost: &LostCommands) {
        let is_concerned = self.identified.asked_at < lost.position;
        let place = self.disconnected.map_or(usize::MAX, |it| it.place);
        if is_concerned && lost.place <= place {
            self.disconnected = Some(Disconnected {
                place: lost.place,
                number: None,
            });
        }
    }

    /// The grants after so many commands.
    pub(super) fn grants_after(&self, commands: usize) -> usize {
        let last = commands
            .checked_sub(1)
            .map(|last| self.applied[last].grants);
        last.unwrap_or(self.identified.grants)
    }

    /// Whether a command that it missed meant it, and is newer than the API's answer.
    pub(super) fn is_meant(&self, connection: usize, order: Order, ordered: u64) -> bool {
        self.identified.asked < ordered
            && self.disconnected.is_none()
            && order.whom.means(self.known(connection))
            && !matches!(order.deed, Deed::Unsubscribe(_))
    }
}
