//! The judge: which clients must have received what. It is naive on purpose: lists of everything,
//! searched from the front, and nothing of the code under test.

mod change;
mod drain;
mod entrance;
mod gap;
mod owed;
mod pages;
mod rights;
mod session;
mod tickets;

use std::collections::{BTreeMap, BTreeSet};

use ht_broker::Placed;
use ht_broker::numbers::Serial;

use crate::oracle::change::{Commanded, LostCommands};
pub(crate) use crate::oracle::change::{Identified, Reply};
use crate::oracle::drain::Draining;
use crate::oracle::entrance::Entrance;
use crate::oracle::pages::{Pages, Reading};
pub(crate) use crate::oracle::pages::{Recovered, epoch, unknown_epoch};
use crate::oracle::session::{Session, Subscription};
use crate::orders::Order;
use crate::plan::{Shape, WINDOW};
use crate::rooms::{GRANTS, ROOMS, is_permitted};

/// A gap that is found later than this after the loss is found too late, in ms.
const REPORTED_WITHIN: u64 = 30_000;

/// A publication, or a command.
#[derive(Debug)]
struct Published {
    tenant: usize,
    rooms: Vec<usize>,
    order: Option<Order>,
    /// When the API made it.
    at: u64,
    /// When the log accepted it for the first time.
    logged: Option<u64>,
    /// The API got the confirmation that it was published.
    is_confirmed: bool,
}

impl Published {
    /// Whether it is for a room of a tenant.
    fn meets(&self, tenant: usize, room: usize, exact: bool) -> bool {
        let own = ROOMS[room];
        let mut rooms = self.rooms.iter();
        self.tenant == tenant && rooms.any(|&room| own.meets(ROOMS[room], exact))
    }
}

/// One life of a node.
#[derive(Debug, Default)]
struct Life {
    /// Entries that were placed here, in order, and when.
    placed: Vec<(usize, u64)>,
    /// Which of them has each position.
    positions: BTreeMap<u64, usize>,
    /// The position of each among them.
    places: BTreeMap<usize, usize>,
    /// Messages that the log accepted and did not deliver here.
    lost: Vec<Lost>,
    /// Messages that did not fit into the inbox of a shard: the shard, the position, and the time.
    overflowed: BTreeMap<(usize, usize), u64>,
    /// It drains: its connections when it began, and when some of them were closed.
    drain: Option<Draining>,
    /// Admitted clients.
    entrance: Entrance,
    /// Commands that were placed here, in order.
    commands: Vec<Commanded>,
    /// Those that a shard is to carry out, by shard and position.
    due: BTreeSet<(usize, u64)>,
    /// The position of the last command of each tenant that each shard carried out.
    carried: BTreeMap<(usize, usize), u64>,
    lost_commands: Vec<LostCommands>,
    /// Answers of the API for a shard about open sessions: how much was placed before, and when.
    answers: Vec<(usize, usize, u64)>,
    /// What it read back: its shards did not get that.
    read_back: BTreeSet<usize>,
    /// The log as it reads it.
    reading: Reading,
}

/// A trigger that the log accepted and a node did not receive.
#[derive(Debug)]
struct Lost {
    number: usize,
    /// The life of the node that published it, and its number there.
    from: (usize, Serial),
    at: u64,
    /// Since when the node can detect it: a later message of the same publisher arrived, or its
    /// queue was a new one.
    shown: Option<u64>,
}

/// Everything that was observed.
#[derive(Debug)]
pub(crate) struct Oracle {
    exact: bool,
    /// The API is asked again about open sessions.
    rechecks: bool,
    /// The log retains its records.
    retains: bool,
    /// Nodes remember little.
    is_forgetful: bool,
    pages: Pages,
    published: Vec<Published>,
    lives: Vec<Life>,
    sessions: BTreeMap<usize, Session>,
    /// The life of the node at which a client waits.
    visits: BTreeMap<usize, usize>,
    /// Messages that reached clients and were correct.
    pub(crate) received: u64,
    /// The first thing that was not as it should be.
    pub(crate) violation: Option<String>,
}

impl Oracle {
    pub(crate) fn new(shape: &Shape) -> Self {
        Self {
            exact: shape.exact,
            rechecks: shape.rechecks,
            retains: shape.retains,
            is_forgetful: shape.window < WINDOW,
            pages: Pages::new(),
            published: Vec::new(),
            lives: Vec::new(),
            sessions: BTreeMap::new(),
            visits: BTreeMap::new(),
            received: 0,
            violation: None,
        }
    }

    /// Whether a publication is for a room of a tenant.
    fn meets(&self, (tenant, room): (usize, usize), number: usize) -> bool {
        self.published[number].meets(tenant, room, self.exact)
    }

    /// Records an error; the first one counts.
    pub(crate) fn violation(&mut self, text: impl FnOnce() -> String) {
        self.violation.get_or_insert_with(text);
    }

    /// A trigger or a command exists. Returns its number.
    pub(crate) fn publishes(
        &mut self,
        tenant: usize,
        rooms: Vec<usize>,
        order: Option<Order>,
        now: u64,
    ) -> usize {
        self.published.push(Published {
            tenant,
            rooms,
            order,
            at: now,
            logged: None,
            is_confirmed: false,
        });
        self.published.len() - 1
    }

    pub(crate) fn logged(&mut self, number: usize, now: u64) {
        self.published[number].logged.get_or_insert(now);
    }

    pub(crate) fn confirmed(&mut self, number: usize) {
        self.published[number].is_confirmed = true;
    }

    pub(crate) fn begins(&mut self) -> usize {
        let life = self.lives.len();
        self.lives.push(Life {
            reading: Reading::new(life),
            ..Life::default()
        });
        life
    }

    /// The log accepted a trigger of the node `from` that a node of this life will not read.
    pub(crate) fn lost(&mut self, life: usize, number: usize, from: (usize, Serial), now: u64) {
        self.lives[life].lost.push(Lost {
            number,
            from,
            at: now,
            shown: None,
        });
    }

    /// A node can detect its losses: those before a message of one publisher, or all.
    pub(crate) fn shows(&mut self, life: usize, from: Option<(usize, Serial)>, now: u64) {
        let lost = self.lives[life].lost.iter_mut();
        let lost = lost.filter(|lost| {
            from.is_none_or(|(life, serial)| lost.from.0 == life && lost.from.1 < serial)
        });
        for lost in lost {
            lost.shown.get_or_insert(now);
        }
    }

    /// A shard of this life does not get the entry placed at this position.
    pub(crate) fn overflows(&mut self, life: usize, shard: usize, position: u64, now: u64) {
        let life = &mut self.lives[life];
        if let Some(place) = life.positions.get(&position) {
            life.overflowed.entry((shard, *place)).or_insert(now);
        }
    }

    /// A node placed a trigger, or rejected it as a duplicate.
    pub(crate) fn placed(&mut self, life: usize, number: usize, place: Placed, now: u64) {
        let is_repeated = place.duplicate;
        let position = place.position.get();
        let known = &mut self.lives[life];
        let last = known.positions.last_key_value();
        let is_behind = last.is_some_and(|(last, _)| position <= *last);
        let is_known = known.places.contains_key(&number) || known.read_back.contains(&number);
        if is_known != is_repeated && !known.reading.forgets() {
            self.violation(|| format!("trigger {number}: repeated is {is_repeated}"));
        } else if !is_repeated {
            known.positions.insert(position, known.placed.len());
            known.places.insert(number, known.placed.len());
            known.placed.push((number, now));
            self.commanded(life, number, position, now);
            if is_behind {
                self.violation(|| {
                    format!("trigger {number}: the position {position} is not a new one")
                });
            }
        }
    }

    pub(crate) fn asks(&mut self, session: usize, name: u64, room: usize, now: u64) {
        let Some(known) = self.sessions.get_mut(&session) else {
            return;
        };
        let life = &self.lives[known.life];
        let subscription = Subscription {
            room,
            asked: now,
            not_before: life.matched_up_to(known.shard, now),
            told: None,
            next: None,
            ending: None,
            carried: life.carried_at(known),
            ends: Vec::new(),
        };
        known.subscriptions.insert(name, subscription);
    }

    /// A subscribe got its reply.
    pub(crate) fn subscribed(&mut self, session: usize, name: u64, success: bool, now: u64) {
        let Some(known) = self.sessions.get_mut(&session) else {
            return;
        };
        let Some(subscription) = known.subscriptions.get_mut(&name) else {
            return;
        };
        subscription.told = Some((self.lives[known.life].placed.len(), now));
        let (room, carried) = (subscription.room, subscription.carried);
        let ends = known.ends(room, carried, success);
        let is_possible = !ends.is_empty() || known.is_unjudged;
        match known.subscriptions.get_mut(&name) {
            Some(subscription) if success => subscription.ends = ends,
            _ => _ = known.subscriptions.remove(&name),
        }
        if !is_possible {
            self.violation(|| format!("client {session}: room {room}, success is {success}"));
        }
    }

    pub(crate) fn ends_subscription(&mut self, session: usize, name: u64, now: u64) {
        if let Some(known) = self.sessions.get_mut(&session)
            && let Some(subscription) = known.subscriptions.get_mut(&name)
        {
            subscription.ending = Some(now);
        }
    }

    /// An unsubscribe got its reply.
    pub(crate) fn unsubscribed(&mut self, session: usize, name: u64, success: bool) {
        let Some(known) = self.sessions.get_mut(&session) else {
            return;
        };
        let was_there = known.subscriptions.remove(&name);
        if known.is_unjudged {
            return;
        }
        known.ended.insert(name);
        let may_be_dropped = was_there
            .as_ref()
            .is_some_and(|it| it.ends.iter().any(Option::is_some));
        if was_there.is_some() != success && (success || !may_be_dropped) {
            self.violation(|| format!("client {session}: unsubscribed {name} {success}"));
        }
    }

    /// A publication reached a client.
    pub(crate) fn received(&mut self, session: usize, name: u64, number: usize) {
        let verdict = self.judge(session, name, number);
        match verdict {
            Ok(()) => self.received += 1,
            Err(wrong) => self.violation(|| {
                format!("connection {session}, subscription {name}, publication {number}: {wrong}")
            }),
        }
    }

    fn judge(&mut self, session: usize, name: u64, number: usize) -> Result<(), String> {
        let known = self.sessions.get_mut(&session).ok_or("no such session")?;
        if known.is_unjudged {
            return self.judge_order(session, name, number);
        }
        if known.ended.contains(&name) {
            return Err("after its unsubscribe was answered".into());
        }
        let place = self.lives[known.life].places.get(&number).copied();
        let grants = place.map(|place| known.grants_at(place));
        let skips = known.skips;
        let subscription = known.subscriptions.get_mut(&name);
        let subscription = subscription.ok_or("to nobody's subscription")?;
        let (published, room) = (&self.published, subscription.room);
        let tenant = known.identified.tenant;
        let meets = |number: usize| published[number].meets(tenant, room, self.exact);
        if published.get(number).is_none() || !meets(number) {
            return Err("for another room".into());
        }
        let life = &self.lives[known.life];
        let (Some(place), Some(grants)) = (place, grants) else {
            return Err("not placed on this node".into());
        };
        if known.disconnected.is_some_and(|end| end.place < place) {
            return Err("placed after the command that closed it".into());
        }
        if known.held.is_some_and(|held| held.place < place) {
            return Err("placed after a command, and the API has not answered since".into());
        }
        if !is_permitted(GRANTS[grants], subscription.room) {
            return Err("without a grant".into());
        }
        if !subscription.may_receive(place) {
            return Err("placed after the command that dropped its subscription".into());
        }
        if place < subscription.not_before {
            return Err("placed before the subscription".into());
        }
        let first = subscription.next.or(subscription.told.map(|told| told.0));
        if subscription.next.is_some_and(|next| place < next) {
            return Err("a second time, or out of order".into());
        }
        let skipped = first.map_or(place..place, |first| first.max(skips)..place);
        for skipped in skipped {
            let other = life.placed[skipped].0;
            if meets(other) && !life.overflowed.contains_key(&(known.shard, skipped)) {
                return Err(format!("publication {other} was to come before it"));
            }
        }
        subscription.next = Some(place + 1);
        Ok(())
    }

    /// Nobody knows what a session may do: a publication comes for its room, in order and once.
    fn judge_order(&mut self, session: usize, name: u64, number: usize) -> Result<(), String> {
        let known = self.sessions.get_mut(&session).ok_or("no such session")?;
        let place = self.lives[known.life].places.get(&number);
        // It may have been dropped meanwhile.
        let (Some(&place), Some(subscription)) = (place, known.subscriptions.get_mut(&name)) else {
            return Ok(());
        };
        let (tenant, room) = (known.identified.tenant, subscription.room);
        if !self.published[number].meets(tenant, room, self.exact) {
            return Err("for another room".into());
        }
        if subscription.next.is_some_and(|next| place < next) {
            return Err("a second time, or out of order".into());
        }
        subscription.next = Some(place + 1);
        match known.forbids(place, room) {
            Some(wrong) => Err(wrong.into()),
            None => Ok(()),
        }
    }

    /// How many connections are open for their clients.
    pub(crate) fn open(&self) -> usize {
        self.sessions.len()
    }
}
