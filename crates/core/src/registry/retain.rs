//! Dropping the subscriptions that a connection is no longer permitted to have.

use ht_proto::entry::TenantId;
use ht_proto::room::Room;

use crate::registry::{NONE, Own, Registry};

/// Decision about a subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Keep,
    Drop,
    /// The slice is over: this one and all that follow are examined later.
    Stop,
}

/// Progress of a [`Registry::retain_some`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Retained {
    /// Subscriptions that were examined.
    pub(crate) looked: usize,
    pub(crate) dropped: usize,
    /// All were examined.
    pub(crate) finished: bool,
}

impl Registry {
    /// Drops those subscriptions of a connection for which `keep` returns false, given their room and
    /// the JSON text of their request id. Calls `closed` as [`Self::unsubscribe_one`] does. Returns
    /// how many subscriptions there were.
    pub(crate) fn retain(
        &mut self,
        own: &mut Own,
        mut keep: impl FnMut(&Room, &str) -> bool,
        closed: impl FnMut(TenantId, &Room),
    ) -> usize {
        let judge = |room: &Room, name: &str| match keep(room, name) {
            true => Verdict::Keep,
            false => Verdict::Drop,
        };
        self.retain_some(own, judge, closed).looked
    }

    /// The same until `judge` says to stop.
    pub(crate) fn retain_some(
        &mut self,
        own: &mut Own,
        mut judge: impl FnMut(&Room, &str) -> Verdict,
        mut closed: impl FnMut(TenantId, &Room),
    ) -> Retained {
        let mut retained = Retained {
            looked: 0,
            dropped: 0,
            finished: true,
        };
        let mut next = own.first;
        while next != NONE {
            let id = next;
            let subscription = &self.subscriptions[id as usize];
            next = subscription.next;
            retained.looked += 1;
            let name = str::from_utf8(subscription.name()).unwrap_or_default();
            match judge(self.index.room(subscription.room), name) {
                Verdict::Keep => {}
                Verdict::Drop => {
                    self.remove(id, own, &mut closed);
                    retained.dropped += 1;
                }
                Verdict::Stop => {
                    retained.finished = false;
                    break;
                }
            }
        }
        retained
    }
}
