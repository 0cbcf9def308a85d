//! What is known of a session and its subscriptions, and what commands do to them.

use std::collections::{BTreeMap, BTreeSet};

use crate::oracle::change::{
    Applied, Cause, Change, Commanded, Disconnected, End, Held, Identified, LostCommands, Reply,
};
use crate::orders::{Deed, Known, Order, Whom};
use crate::rooms::{GRANTS, is_permitted};

/// However slow its client is, a session that was held has caught up after so many ms.
const CAUGHT_UP_WITHIN: u64 = 20_000;

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
    /// Its client got the first message.
    pub(super) is_welcome: bool,
    /// How much was placed then.
    pub(super) welcomed: usize,
    /// Nobody knows which of its subscriptions are there: a command may be lost.
    pub(super) is_unjudged: bool,
    /// What it may do is known of what has this place, or a later one; none: of nothing.
    pub(super) rights_from: Option<usize>,
    /// It may be closed for its permissions, or the API be asked about it.
    pub(super) is_excused: bool,
    /// When its client was told of a gap last.
    pub(super) told_gap: Option<u64>,
    /// What has a place before this one may not be sent to it any more.
    pub(super) skips: usize,
    /// Where it was held last, and when it had its answer.
    pub(super) released: Option<(usize, u64)>,
    /// It is sent nothing at the moment.
    pub(super) held: Option<Held>,
    /// The position of the last command that its shard had carried out when it opened.
    pub(super) carried: u64,
    /// A command closes it, or the API.
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
            is_welcome: false,
            welcomed: 0,
            is_excused: false,
            told_gap: None,
            skips: 0,
            is_unjudged: false,
            rights_from: Some(0),
            released: None,
            held: None,
            carried: 0,
            disconnected: None,
            told_rights: 0,
            subscriptions: BTreeMap::new(),
            ended: BTreeSet::new(),
            is_over: false,
            closed: None,
        }
    }
}

impl Session {
    pub(super) fn known(&self, connection: usize) -> Known {
        Known {
            tenant: self.identified.tenant,
            connection,
            client: self.identified.client,
            grants: self.grants(),
        }
    }

    /// The current grants.
    pub(super) fn grants(&self) -> usize {
        self.grants_after(self.applied.len())
    }

    /// The grants after so many changes.
    pub(super) fn grants_after(&self, changes: usize) -> usize {
        let last = self.applied[..changes].iter().rev();
        let mut last = last.filter_map(|applied| match applied.change {
            Change::Grants(grants) => Some(grants),
            Change::Drops(_) => None,
        });
        last.next().unwrap_or(self.identified.grants)
    }

    /// The grants by which a publication at a place is delivered.
    pub(super) fn grants_at(&self, place: usize) -> usize {
        let before = self.applied.iter().take_while(|it| it.place < place);
        self.grants_after(before.count())
    }

    /// Whether its client was told of a gap that was known at this time.
    pub(super) fn knows_of_gap(&self, at: u64) -> bool {
        self.told_gap.is_some_and(|told| at <= told)
    }

    /// How many of the changes are due to commands up to this position.
    pub(super) fn changes_up_to(&self, position: u64) -> usize {
        let known = self.applied.iter().take_while(|it| it.position <= position);
        known.count()
    }

    /// Applies a command, if it means the session and its permissions are older.
    pub(super) fn apply(&mut self, connection: usize, commanded: &Commanded, rechecks: bool) {
        let &Commanded {
            place,
            position,
            at,
            number,
            order,
        } = commanded;
        let is_new = position > self.identified.asked_at && self.disconnected.is_none();
        let former = self.identified.resumed.map(Whom::Connection);
        if is_new && former == Some(order.whom) {
            // Only while it was on its way in.
            self.forget_rights();
        }
        if !is_new || !order.means(self.known(connection)) {
            return;
        }
        // It came in before the command, or has a later answer.
        if self.is_excused && self.held.is_some() {
            self.forget_rights();
        }
        match order.deed {
            Deed::Permit(grants) => {
                let held = self.held.take();
                // It catches up from when its shard has carried this out.
                self.released = held.map(|held| (held.place, at)).or(self.released);
                let (place, since, at) = match held {
                    Some(held) => (held.place, held.position, held.at),
                    None => (place, position, at),
                };
                self.change(Applied {
                    place,
                    position: since,
                    at,
                    change: Change::Grants(grants),
                });
            }
            Deed::Unsubscribe(from) => self.change(Applied {
                place,
                position,
                at,
                change: Change::Drops(from),
            }),
            Deed::Disconnect => self.end(place, Cause::Command(number)),
            Deed::Invalidate(_) if !rechecks => self.end(place, Cause::Permissions),
            Deed::Invalidate(_) => {
                let held = self.held.get_or_insert(Held {
                    place,
                    position,
                    at,
                    not_before: position,
                    is_gap: false,
                });
                held.not_before = position;
                held.is_gap = false;
            }
        }
    }

    fn end(&mut self, place: usize, cause: Cause) {
        self.disconnected = Some(Disconnected { place, cause });
    }

    /// The API has answered about it, to a call after the command at `asked_at`; `since` are the
    /// commands since then.
    pub(super) fn answer(
        &mut self,
        connection: usize,
        asked_at: u64,
        reply: Reply,
        since: &[Commanded],
        now: u64,
    ) {
        let Some(held) = self.held.filter(|held| held.not_before <= asked_at) else {
            return;
        };
        if self.disconnected.is_some() {
            return;
        }
        let grants = match reply {
            Reply::Grants(grants) => grants,
            Reply::Keep => {
                self.released = Some((held.place, now));
                return self.held = None;
            }
            Reply::Refused => return self.end(held.place, Cause::Permissions),
            Reply::Unreachable => return self.end(held.place, Cause::Backend),
        };
        let known = Known {
            grants,
            ..self.known(connection)
        };
        // Commands since that mean whoever has these grants, and did not mean it before.
        let missed = since.iter().filter(|it| {
            let order = it.order;
            let is_new = order.means(known) && !order.means(self.known(connection));
            is_new && !matches!(order.deed, Deed::Unsubscribe(_))
        });
        let missed: Vec<_> = missed.collect();
        let mut disconnects = missed.iter().filter(|it| it.order.deed == Deed::Disconnect);
        if let Some(missed) = disconnects.next() {
            return self.end(missed.place, Cause::Command(missed.number));
        }
        if let Some(missed) = missed.last() {
            self.held = Some(Held {
                not_before: missed.position,
                ..held
            });
            return;
        }
        self.held = None;
        self.released = Some((held.place, now));
        self.change(Applied {
            place: held.place,
            position: held.position,
            at: held.at,
            change: Change::Grants(grants),
        });
    }

    /// Nobody knows what it may do.
    pub(super) fn forget_rights(&mut self) {
        self.is_unjudged = true;
        self.rights_from = None;
    }

    /// Inserts a change at its place.
    pub(super) fn change(&mut self, applied: Applied) {
        for subscription in self.subscriptions.values_mut() {
            if applied.drops(subscription.room) {
                for end in &mut subscription.ends {
                    let place = end.map_or(usize::MAX, |end| end.0);
                    if applied.place < place {
                        *end = Some((applied.place, applied.at));
                    }
                }
            }
        }
        let before = self.applied.iter();
        let before = before.take_while(|it| it.place < applied.place).count();
        self.applied.insert(before, applied);
    }

    /// All possible ends of a subscription to a room, after a subscribe that was sent when the
    /// shard had carried out the commands up to `carried`. Empty: the reply was impossible.
    pub(super) fn ends(&self, room: usize, carried: u64, success: bool) -> Vec<End> {
        let known = self.changes_up_to(carried);
        let since = &self.applied[known..];
        let grants = (known..=self.applied.len()).map(|changes| self.grants_after(changes));
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

    /// Whether it has been sent what it missed while it was held, up to this place.
    pub(super) fn is_level(&self, place: usize, now: u64) -> bool {
        let released = self.released;
        released.is_none_or(|(from, at)| place < from || at + CAUGHT_UP_WITHIN < now)
    }

    /// Closes it, if its permissions are older than commands that were lost. One that was not
    /// welcomed may have come in later: then the API is asked about it again.
    pub(super) fn lose_commands(&mut self, lost: &LostCommands, rechecks: bool) {
        let is_concerned = self.identified.asked_at < lost.position;
        let place = self.disconnected.map_or(usize::MAX, |it| it.place);
        // Its shard may have forgotten the command that closes it, and ask the API.
        if is_concerned && rechecks && !self.is_welcome && place < usize::MAX {
            self.forget_rights();
        }
        if !is_concerned || lost.place > place {
            return;
        }
        if self.is_welcome || !rechecks {
            return self.end(lost.place, Cause::Permissions);
        }
        self.is_excused = true;
        self.rights_from = None;
        self.disconnected = None;
        self.applied.retain(|it| it.place < lost.place);
        let held = self.held.filter(|held| held.place < lost.place);
        let held = held.unwrap_or(Held {
            place: lost.place,
            position: lost.position,
            at: 0,
            not_before: 0,
            is_gap: false,
        });
        self.held = Some(Held {
            not_before: lost.position,
            ..held
        });
    }

    /// Whether a command that it missed meant it, and is newer than the API's answer.
    pub(super) fn is_meant(&self, connection: usize, order: Order, ordered: u64) -> bool {
        self.identified.asked < ordered
            && self.disconnected.is_none()
            && order.means(self.known(connection))
            && !matches!(order.deed, Deed::Unsubscribe(_))
    }
}
