//! The judge of recovery. A page keeps one text, the last cursor that it saw, and comes back with it
//! to any node. Each publication that its rooms are owed reaches it once, in the order of the log, or
//! it is told that some are missing; and no cursor that it is given is ahead of what it has heard.

mod verdicts;

use std::collections::{BTreeMap, BTreeSet};

use ht_proto::cursor::Cursor;
use ht_proto::entry::Epoch;

use crate::oracle::{Life, Oracle};

/// A loss that a page is told of later than this is told too late, in ms.
const TOLD_WITHIN: u64 = 30_000;

/// Epochs of logs that nobody has read: the first.
const UNKNOWN: u32 = 1 << 20;

/// A node remembers what it has placed for so long, in ms, whatever has to pass before that.
const REMEMBERED: u64 = 250_000;

/// What all pages have heard, and what they could have.
#[derive(Debug, Default)]
pub(super) struct Pages {
    /// Where the log retains its records: the triggers in it, one list for each of its epochs.
    logs: Vec<Vec<Option<usize>>>,
    logged: BTreeSet<usize>,
    /// Those that are there twice. A node that did not read the first one takes the second.
    twice: BTreeSet<usize>,
    pages: BTreeMap<usize, Page>,
}

/// The log as one life of a node reads it.
#[derive(Debug, Default)]
pub(super) struct Reading {
    /// The triggers that it gave to its shards, by their numbers in the log.
    given: BTreeMap<u64, usize>,
    /// The last number that it has.
    head: u64,
    /// What was up to this number it does not know.
    pub(super) begins: u64,
    /// Numbers of commands.
    pub(super) commands: BTreeMap<u64, usize>,
    epoch: u32,
    /// Where something is missing, and since when that is known.
    pub(super) holes: Vec<(u64, u64)>,
    /// Something did not reach it, or one of its shards.
    is_incomplete: bool,
    /// It has read another log before.
    is_anew: bool,
}

/// The epoch of a node of this life that has not read its log yet: one that nobody knows.
pub(crate) fn unknown_epoch(life: usize) -> u32 {
    UNKNOWN + u32::try_from(life).unwrap_or(0)
}

impl Reading {
    /// A node of this life has not read its log yet.
    pub(super) fn new(life: usize) -> Self {
        Self {
            epoch: unknown_epoch(life),
            ..Self::default()
        }
    }

    /// Whether a trigger may be placed again that was placed before: another log knows no ids.
    pub(super) fn forgets(&self) -> bool {
        self.is_anew
    }
}

/// A page, whatever its connection is.
#[derive(Debug, Default)]
struct Page {
    cursor: Option<Cursor>,
    rooms: BTreeMap<u64, Following>,
    /// What it asked for with its cursors, by the names of the requests.
    asked: BTreeMap<u64, Asked>,
}

/// One of its rooms.
#[derive(Debug)]
struct Following {
    tenant: usize,
    room: usize,
    /// The epoch of its numbers.
    epoch: Epoch,
    /// The number of the last one that came: what has a greater one may come.
    heard: u64,
    /// It is owed what has a greater number, and a greater one than the last that came.
    owed: u64,
    /// Since when it is owed that.
    since: u64,
    /// It is sent again what follows a cursor of its own.
    is_behind: bool,
    /// Its page has left it.
    is_left: bool,
}

impl Following {
    /// Whose room it is.
    fn of(&self) -> (usize, usize) {
        (self.tenant, self.room)
    }
}

/// A request to recover.
#[derive(Clone, Copy, Debug)]
struct Asked {
    from: Cursor,
    at: u64,
    /// The epoch that its node had.
    epoch: Epoch,
    /// The head of its node.
    head: u64,
    /// The last command that its shard had carried out.
    carried: u64,
}

/// The answer to such a request.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Recovered<'a> {
    All,
    /// Nothing, and why.
    Nothing(&'a str),
}

/// The name of an epoch of the log, or of the order of a life.
pub(crate) fn epoch(number: u32) -> Epoch {
    Epoch::from_random(number + 1)
}

impl Oracle {
    /// The log accepted a record at the next number.
    pub(crate) fn appended(&mut self, trigger: Option<usize>) {
        let Pages {
            logs,
            logged,
            twice,
            ..
        } = &mut self.pages;
        twice.extend(trigger.filter(|trigger| !logged.insert(*trigger)));
        if let Some(log) = logs.last_mut() {
            log.push(trigger);
        }
    }

    /// The log lost its last records: it has a new epoch.
    pub(crate) fn rewound(&mut self, len: usize) {
        let mut log = self.pages.logs.last().cloned().unwrap_or_default();
        log.truncate(len);
        self.pages.logs.push(log);
    }

    /// A node of this life reads the log from after a number on; `anew`: another log than before.
    pub(crate) fn reads(&mut self, life: usize, epoch: u32, begins: u64, anew: bool) {
        let reading = &mut self.lives[life].reading;
        *reading = Reading {
            begins,
            head: begins,
            epoch,
            is_anew: reading.is_anew || anew,
            is_incomplete: reading.is_incomplete || anew,
            ..Reading::default()
        };
    }

    /// A node of this life has the trigger at a number of the log; `given`: its shards get it.
    pub(crate) fn has(&mut self, life: usize, number: u64, trigger: usize, given: bool) {
        let is_command = self.published[trigger].order.is_some();
        let known = &mut self.lives[life];
        let reading = &mut known.reading;
        reading.head = number;
        if is_command {
            reading.commands.insert(number, trigger);
        } else if given {
            reading.given.insert(number, trigger);
        }
        if !given {
            known.read_back.insert(trigger);
        }
    }

    /// A node of this life knows that something is missing before this number.
    pub(crate) fn has_hole(&mut self, life: usize, number: u64, now: u64) {
        self.lives[life].reading.holes.push((number, now));
    }

    /// Something did not reach a node of this life, or one of its shards.
    pub(crate) fn misses(&mut self, life: usize) {
        self.lives[life].reading.is_incomplete = true;
    }

    /// A page asks for what it missed.
    pub(crate) fn page_asks(
        &mut self,
        (page, connection): (usize, usize),
        request: u64,
        from: Cursor,
        now: u64,
    ) {
        let Some(session) = self.sessions.get(&connection) else {
            return;
        };
        let life = &self.lives[session.life];
        let asked = Asked {
            from,
            at: now,
            epoch: self.epoch_of(session.life),
            head: life.reading.head,
            carried: life.carried_at(session),
        };
        let known = self.pages.pages.entry(page).or_default();
        known.asked.insert(request, asked);
    }

    /// A page comes back with its cursor, and for some rooms with one of their own: it is sent again
    /// what it heard without a cursor.
    pub(crate) fn page_returns(&mut self, page: usize, own: &BTreeMap<u64, Cursor>) {
        let known = self.pages.pages.entry(page).or_default();
        for (name, following) in &mut known.rooms {
            let own = own.get(name).copied();
            following.is_behind = own.is_some();
            let is_part = own.is_some_and(|own| own.part.is_some());
            if let Some(cursor) = own.or(known.cursor) {
                let again = cursor.position.get() - u64::from(is_part);
                following.heard = following.heard.min(again);
            }
        }
    }

    /// A page follows a room from a cursor on.
    pub(crate) fn page_enters(
        &mut self,
        (page, connection): (usize, usize),
        (name, room): (u64, usize),
        (from, is_exact): (Option<Cursor>, bool),
        now: u64,
    ) {
        let Some(session) = self.sessions.get(&connection) else {
            return;
        };
        let head = self.lives[session.life].reading.head;
        let own = self.epoch_of(session.life);
        // Of the entry of such a cursor the room is sent its message, or not.
        let is_part = from.is_some_and(|from| from.part.is_some());
        let epoch = from.map_or(own, |from| from.epoch);
        let from = from.map_or(0, |from| from.position.get());
        let following = Following {
            tenant: session.identified.tenant,
            room,
            epoch,
            heard: from.saturating_sub(u64::from(is_part)),
            // What was placed before a subscribe was taken need not come.
            owed: if is_exact { from } else { head },
            since: now,
            is_behind: false,
            is_left: false,
        };
        let known = self.pages.pages.entry(page).or_default();
        known.rooms.insert(name, following);
    }

    /// A room of a page is sent again what follows a cursor of its own, or no longer.
    pub(crate) fn page_is_behind(&mut self, page: usize, name: u64, is_behind: bool) {
        let known = self.pages.pages.entry(page).or_default();
        if let Some(following) = known.rooms.get_mut(&name) {
            following.is_behind = is_behind;
        }
    }

    /// A page leaves a room, or lost it.
    pub(crate) fn page_leaves(&mut self, page: usize, name: u64, is_over: bool) {
        let known = self.pages.pages.entry(page).or_default();
        match known.rooms.get_mut(&name) {
            Some(following) if !is_over => following.is_left = true,
            _ => _ = known.rooms.remove(&name),
        }
    }

    /// The answer to a request to recover these rooms, `from` the least of their cursors.
    pub(crate) fn page_recovers(
        &mut self,
        (page, connection): (usize, usize),
        (request, names, from): (u64, &[u64], Cursor),
        recovered: Recovered<'_>,
        cursor: Option<Cursor>,
        now: u64,
    ) {
        let known = self.pages.pages.entry(page).or_default();
        let asked = known
            .asked
            .get(&request)
            .map(|asked| Asked { from, ..*asked });
        let (Some(asked), Some(session)) = (asked, self.sessions.get(&connection)) else {
            return;
        };
        let life = session.life;
        let wrong = match recovered {
            // It was answered before or after that.
            _ if asked.epoch != self.epoch_of(life) => None,
            Recovered::All => self.wrongly_recovered(page, connection, asked, names),
            Recovered::Nothing(reason) => self.wrongly_refused(life, asked, reason),
        };
        if let Some(wrong) = wrong {
            return self.violation(|| format!("page {page} at connection {connection}: {wrong}"));
        }
        if let Recovered::Nothing(_) = recovered {
            self.page_begins_anew(page, connection, names, cursor, now);
        }
    }

    /// A page was told that it may lack something of these rooms, and goes on.
    fn page_begins_anew(
        &mut self,
        page: usize,
        connection: usize,
        names: &[u64],
        cursor: Option<Cursor>,
        now: u64,
    ) {
        let Some(session) = self.sessions.get(&connection) else {
            return;
        };
        let head = self.lives[session.life].reading.head;
        let own = self.epoch_of(session.life);
        let known = self.pages.pages.entry(page).or_default();
        known.cursor = cursor.or(known.cursor);
        let rooms = known.rooms.iter_mut();
        for (_, following) in rooms.filter(|(name, _)| names.contains(name)) {
            following.epoch = cursor.map_or(own, |cursor| cursor.epoch);
            following.heard = cursor.map_or(0, |cursor| cursor.position.get());
            following.owed = cursor.map_or(head, |cursor| cursor.position.get());
            following.since = now;
        }
    }

    /// A page that follows nothing yet begins at this cursor.
    pub(crate) fn page_begins(&mut self, page: usize, cursor: Option<Cursor>) {
        self.pages.pages.entry(page).or_default().cursor = cursor;
    }

    /// A page was told of a gap.
    pub(crate) fn page_has_gap(
        &mut self,
        page: usize,
        connection: usize,
        cursor: Cursor,
        now: u64,
    ) {
        let Some(session) = self.sessions.get(&connection) else {
            return;
        };
        let head = self.lives[session.life].reading.head;
        let known = self.pages.pages.entry(page).or_default();
        let is_later = known.cursor.is_some_and(|last| last.epoch != cursor.epoch);
        known.cursor = Some(cursor);
        for following in known.rooms.values_mut() {
            if is_later || following.epoch != cursor.epoch {
                following.heard = cursor.position.get();
            }
            following.epoch = cursor.epoch;
            // What is on its way is not judged.
            following.owed = head;
            following.since = now;
        }
    }
}

impl Life {
    /// Whether it placed a trigger, or read it back.
    pub(super) fn has(&self, trigger: usize) -> bool {
        self.places.contains_key(&trigger) || self.read_back.contains(&trigger)
    }
}

impl Pages {
    /// The log has its first epoch.
    pub(super) fn new() -> Self {
        Self {
            logs: vec![Vec::new()],
            ..Self::default()
        }
    }
}
