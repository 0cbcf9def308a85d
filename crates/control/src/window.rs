//! What a node remembers of its order: the last publications, and where some are missing.

use std::sync::Arc;

use ht_core::command::Command;
use ht_core::publication::{Logged, Publication};
use ht_core::window::{Beginning, Concerns, Item, Kept, Key, Reach, Reader, Window, WindowLimits};
use ht_proto::cursor::{Check, Cursor};
use ht_proto::entry::{Epoch, Position, TenantId};
use ht_proto::room::Room;

use crate::input::Batch;

/// The last publications and commands of a node. It is changed by whoever has the order, in its order; shards
/// read it.
///
/// A batch is freed as a whole, so all of its bytes are charged to its last publication: what the
/// window is charged with is never less than what it keeps in memory.
#[derive(Debug)]
pub struct PublicationWindow {
    window: Window<Logged>,
    /// Publications are missing after the last entry.
    is_missing: bool,
}

impl PublicationWindow {
    /// An empty one.
    #[must_use]
    pub fn new(limits: WindowLimits, beginning: Beginning) -> Self {
        Self {
            window: Window::new(limits, beginning),
            is_missing: false,
        }
    }

    /// Another epoch of the log begins, of which no entry was appended yet. Nothing of the old one
    /// is kept.
    pub fn begin_epoch(&mut self, beginning: Beginning) {
        self.is_missing = false;
        self.window.begin_epoch(beginning);
    }

    /// The epoch of its entries has this name.
    pub fn rename(&mut self, epoch: Epoch) {
        self.window.rename(epoch);
    }

    /// Appends a publication that was in the window of another process of the node, and has this
    /// check. `key` is that of a room.
    pub fn append_saved(
        &mut self,
        publication: Publication,
        check: Check,
        key: impl Fn(&Room) -> Key,
        at: u64,
    ) {
        let Beginning { epoch, base, .. } = self.window.beginning();
        let keys: Vec<_> = publication.rooms.iter().map(key).collect();
        let position = publication.position;
        let number = position.saturating_sub(base);
        let cursor = Cursor {
            epoch,
            position: Position::new(number).unwrap_or(Position::MAX),
            check,
            part: None,
        };
        let batch = Batch::new(vec![publication.at(position, cursor)]);
        self.append(&batch, &keys, at);
    }

    /// A reader, for any thread.
    #[must_use]
    pub fn reader(&self) -> Reader<Logged> {
        self.window.reader()
    }

    /// Appends publications. `keys` are those of their rooms, in their order.
    pub fn append(&mut self, batch: &Batch, mut keys: &[Key], now: u64) {
        let bytes: usize = batch.publications.iter().map(|one| one.memory()).sum();
        let mut left = batch.publications.len();
        for logged in Logged::all(&batch.publications) {
            left -= 1;
            let publication = logged.publication();
            let (own, others) = keys.split_at(publication.rooms.len());
            keys = others;
            let item = Item {
                position: publication.position,
                at: now,
                check: publication.cursor.check,
                tenant: publication.tenant,
                body: Kept::Entry(logged),
            };
            let bytes = if left == 0 { bytes } else { 0 };
            self.window.append(item, Concerns::Rooms(own), bytes);
        }
    }

    /// Appends a command.
    pub fn append_command(&mut self, command: &Arc<Command>, check: Check, now: u64) {
        let item = Item {
            position: command.position,
            at: now,
            check,
            tenant: command.selection.tenant,
            body: Kept::Command(Arc::clone(command)),
        };
        self.window.append(item, Concerns::All, command.bytes);
    }

    /// Appends what is left of an entry that was dropped because its tenant had too many bytes.
    pub fn append_trimmed(&mut self, position: u64, tenant: TenantId, check: Check, now: u64) {
        let item = Item {
            position,
            at: now,
            check,
            tenant,
            body: Kept::Trimmed,
        };
        self.window.append_trimmed(item);
    }

    /// Publications after the last entry may not have reached the node.
    pub fn missed(&mut self) {
        self.is_missing = true;
    }

    /// Whether the next entry is preceded by a hole, which needs a position of its own.
    #[must_use]
    pub fn is_missing(&self) -> bool {
        self.is_missing
    }

    /// Records the hole at this position.
    pub fn append_hole(&mut self, position: u64, now: u64) {
        self.is_missing = false;
        self.window.append_hole(position, now);
    }

    /// Drops what is too old.
    pub fn expire(&mut self, now: u64) {
        self.window.expire(now);
    }

    /// How many entries it has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.window.len()
    }

    /// Whether it has none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.window.is_empty()
    }

    /// The bytes that it is charged with.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.window.bytes()
    }

    /// Since when it has everything; none: since its epoch began.
    #[must_use]
    pub fn reach(&self) -> Option<Reach> {
        self.window.reach()
    }

    /// A tenant may have so many bytes in it; none: as many as there are. It loses its own oldest
    /// entries beyond.
    pub fn set_quota(&mut self, tenant: TenantId, bytes: Option<usize>) {
        self.window.set_quota(tenant, bytes);
    }

    /// The bytes that a tenant is charged with.
    #[must_use]
    pub fn bytes_of(&self, tenant: TenantId) -> usize {
        self.window.bytes_of(tenant)
    }

    /// How many entries were dropped because their tenants had too many bytes.
    #[must_use]
    pub fn trimmed(&self) -> u64 {
        self.window.trimmed()
    }

    /// When its oldest entry was appended.
    #[must_use]
    pub fn oldest_at(&self) -> Option<u64> {
        self.window.oldest_at()
    }
}

#[cfg(test)]
mod tests {
    use ht_core::Hasher;
    use ht_core::index::Matching;
    use ht_core::publication::Publication;
    use ht_core::window::Wanted;
    use ht_proto::room::{Room, RoomLimits};

    use super::*;

    const BEGINNING: Beginning = Beginning::of(Epoch::from_random(7));

    const LIMITS: WindowLimits = WindowLimits {
        entries: 1_000,
        bytes: 1 << 20,
        age: 1_000,
    };

    fn room(name: u64) -> Room {
        Room::parse(&format!(r#"{{"room":{name}}}"#), RoomLimits::TRUSTED).unwrap()
    }

    fn key(room: &Room) -> Key {
        Key::of(TenantId::MAIN, room, Matching::Wildcard, &Hasher::fixed())
    }

    /// Publications at these positions, each for the rooms of this list, with data of so many bytes.
    fn batch(positions: std::ops::Range<u64>, rooms: &[u64], data: usize) -> (Batch, Vec<Key>) {
        let of = |position| {
            let rooms = rooms.iter().map(|&name| room(name)).collect();
            Publication::new(position, TenantId::MAIN, rooms, vec![b'1'; data].into())
        };
        let publications: Vec<_> = positions.map(of).collect();
        let rooms = publications.iter().flat_map(|one| one.rooms.iter());
        let keys = rooms.map(key).collect();
        (Batch::new(publications), keys)
    }

    fn append(window: &mut PublicationWindow, (batch, keys): &(Batch, Vec<Key>), now: u64) {
        window.append(batch, keys, now);
    }

    fn positions(window: &PublicationWindow, after: u64, wanted: &[u64]) -> Vec<u64> {
        let wanted: Wanted = wanted.iter().map(|&name| key(&room(name))).collect();
        let view = window.reader().view();
        let found = view.after(after, Some(&wanted));
        found.map(|item| item.position).collect()
    }

    #[test]
    fn each_publication_is_found_by_its_own_rooms() {
        let mut window = PublicationWindow::new(LIMITS, BEGINNING);
        append(&mut window, &batch(1..4, &[1, 2], 10), 0);
        append(&mut window, &batch(4..6, &[], 10), 0);
        assert_eq!(positions(&window, 1, &[2]), [2, 3, 4, 5]);
        assert_eq!(
            positions(&window, 0, &[3]),
            [0; 0],
            "the filter knows no such room"
        );
        let view = window.reader().view();
        let kept = view.after(0, None).map(|item| match &item.body {
            Kept::Entry(logged) => logged.publication().rooms.len(),
            Kept::Command(_) | Kept::Trimmed | Kept::Hole => usize::MAX,
        });
        assert!(kept.eq([2, 2, 2, 0, 0]));
    }

    #[test]
    fn a_batch_counts_until_its_last_publication_is_dropped() {
        let mut window = PublicationWindow::new(LIMITS, BEGINNING);
        // Two thirds of the window each, with the messages that may be made of it.
        let large = batch(1..701, &[1], 100);
        let bytes: usize = large.0.publications.iter().map(Publication::memory).sum();
        append(&mut window, &large, 0);
        assert!(
            window.bytes() >= bytes && bytes > LIMITS.bytes / 2,
            "{bytes}"
        );
        assert_eq!(window.len(), 700);
        drop(large.1);
        let weak = std::sync::Arc::downgrade(&large.0.publications);
        drop(large.0);
        // More entries than there may be: the first ones go, and their memory stays.
        append(&mut window, &batch(701..1_301, &[1], 10), 0);
        assert!(weak.upgrade().is_some() || window.reader().view().start() >= 700);
        let is_kept = weak.upgrade().is_some();
        assert!(window.bytes() <= LIMITS.bytes);
        assert!(!is_kept || window.bytes() >= bytes);
        window.expire(1_001);
        assert!(weak.upgrade().is_none());
        assert_eq!((window.len(), window.bytes()), (0, 0));
    }

    #[test]
    fn a_batch_longer_than_the_window_leaves_nothing_of_itself() {
        let mut window = PublicationWindow::new(LIMITS, BEGINNING);
        append(&mut window, &batch(1..3, &[1], 10), 0);
        append(&mut window, &batch(3..10, &[1], 100_000), 0);
        assert_eq!((window.len(), window.bytes()), (0, 0));
        assert_eq!(window.reader().view().start(), 9);
    }

    #[test]
    fn a_hole_precedes_the_next_entry() {
        let mut window = PublicationWindow::new(LIMITS, BEGINNING);
        append(&mut window, &batch(1..2, &[1], 10), 0);
        window.missed();
        assert!(window.is_missing());
        window.append_hole(2, 0);
        assert!(!window.is_missing());
        append(&mut window, &batch(3..4, &[2], 10), 0);
        let view = window.reader().view();
        let holes = view.after(0, None);
        let bodies = holes.map(|item| (item.position, matches!(item.body, Kept::Hole)));
        assert!(bodies.eq([(1, false), (2, true), (3, false)]));
    }
}
