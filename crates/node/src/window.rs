//! The window of the node: its last publications in memory, which every shard can read.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use ht_broker::order::Order;
use ht_control::input::Batch;
use ht_control::window::PublicationWindow;
use ht_core::command::Command;
use ht_core::publication::{Logged, Publication};
use ht_core::window::{Beginning, Kept, Key, Reader, View, WindowLimits};
use ht_proto::cursor::{Check, Cursor};
use ht_proto::entry::{Epoch, Position, TenantId};
use ht_proto::room::Room;
use ht_proto::saved::{SavedAt, SavedBody, SavedEntry, SavedOrder, SavedWriter};
use ht_proto::tenant::{Scoped, TenantName};
use tokio::time::Instant;

use crate::commands::saved;
use crate::tenants::Tenants;

/// The window. The sequencer changes it while it has the order.
#[derive(Debug)]
pub(crate) struct NodeWindow {
    begun: Instant,
    window: Mutex<PublicationWindow>,
    reader: Reader<Logged>,
    /// The time at `begun`, in milliseconds: entries of another process are older.
    offset: u64,
    /// When the epoch began, as far as this node knows.
    since: AtomicU64,
}

/// An order and its window, to be saved.
pub(crate) struct Snapshot {
    order: SavedOrder,
    ids: Vec<(Scoped<Arc<str>>, Position)>,
    tenants: Arc<Tenants>,
    view: View<Logged>,
    now: u64,
}

/// What a window keeps at a moment.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct WindowSize {
    pub(crate) entries: u64,
    pub(crate) bytes: u64,
    /// The age of its oldest entry; zero if it has none.
    pub(crate) seconds: f64,
    /// How long a client may have been away that is sent what it missed.
    pub(crate) reach: Duration,
    /// Entries that are older were dropped.
    pub(crate) is_cut: bool,
    /// How many entries were dropped because their tenants had too many bytes.
    pub(crate) trimmed: u64,
}

impl NodeWindow {
    /// The window of a log that begins with this epoch.
    pub(crate) fn new(limits: WindowLimits, epoch: Epoch) -> Self {
        Self::of(PublicationWindow::new(limits, Beginning::of(epoch)), limits)
    }

    /// Continues the window that another process of the node saved so long ago. `key` is that of a
    /// tenant's room. `is_missing`: entries that followed may not have reached the node.
    pub(crate) fn continued(
        limits: WindowLimits,
        window: (SavedOrder, Vec<SavedEntry>),
        ago: Duration,
        key: impl Fn(TenantId, &Room) -> Key,
        tenant: impl Fn(&TenantName) -> Option<TenantId>,
        is_missing: bool,
    ) -> Self {
        let (order, entries) = window;
        let beginning = Beginning {
            epoch: order.epoch,
            base: 0,
            start: order.start.get(),
            check: Some(order.start_check).filter(|check| *check != Check::UNKNOWN),
        };
        let window = PublicationWindow::new(limits, beginning);
        let continued = Self::of(window, limits);
        let ago = u64::try_from(ago.as_millis()).unwrap_or(u64::MAX);
        let mut window = continued.lock();
        let mut last = 0;
        for entry in entries {
            let at = continued
                .offset
                .saturating_sub(entry.age.saturating_add(ago));
            last = at.max(last);
            continued.since.fetch_min(last, Ordering::Relaxed);
            let (position, check) = (entry.position.get(), entry.check);
            match (entry.body, tenant(&entry.tenant)) {
                (SavedBody::Publication { rooms, data }, Some(tenant)) => {
                    let publication = Publication::new(position, tenant, rooms, data);
                    let key = |room: &Room| key(tenant, room);
                    window.append_saved(publication, check, key, last);
                }
                (SavedBody::Command(text), Some(tenant)) => {
                    let command = Arc::new(saved::read(position, tenant, &text));
                    window.append_command(&command, check, last);
                }
                (SavedBody::Trimmed, Some(tenant)) => {
                    window.append_trimmed(position, tenant, check, last);
                }
                (SavedBody::Hole, _) | (_, None) => window.append_hole(position, last),
            }
        }
        if is_missing || order.is_missing {
            window.missed();
        }
        drop(window);
        continued.expire();
        continued
    }

    fn of(window: PublicationWindow, limits: WindowLimits) -> Self {
        Self {
            begun: Instant::now(),
            reader: window.reader(),
            window: Mutex::new(window),
            offset: limits.age.saturating_mul(2),
            since: AtomicU64::new(limits.age.saturating_mul(2)),
        }
    }

    /// What is to be saved of an order and its window, in which nothing is placed any more.
    pub(crate) fn snapshot(&self, order: &Order, tenants: &Arc<Tenants>) -> Snapshot {
        let at = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let at = at.unwrap_or_default().as_millis();
        let view = self.reader.view();
        let order_of = SavedOrder {
            epoch: order.epoch(),
            at: u64::try_from(at).unwrap_or(u64::MAX),
            last: order.last(),
            start: Position::new(view.start()).unwrap_or(Position::MAX),
            start_check: view.cursor(view.start()).check,
            is_missing: self.lock().is_missing(),
        };
        Snapshot {
            order: order_of,
            ids: order.ids(),
            tenants: Arc::clone(tenants),
            view,
            now: self.now(),
        }
    }

    /// The epoch of the log.
    pub(crate) fn epoch(&self) -> Epoch {
        self.reader.view().epoch()
    }

    /// The epoch of its entries has this name.
    pub(crate) fn rename(&self, epoch: Epoch) {
        self.lock().rename(epoch);
    }

    /// Another epoch begins; nothing of the former is kept.
    pub(crate) fn begin(&self, beginning: Beginning) {
        self.lock().begin_epoch(beginning);
        self.since.store(self.now(), Ordering::Relaxed);
    }

    /// A reader for a shard.
    pub(crate) fn reader(&self) -> Reader<Logged> {
        self.reader.clone()
    }

    /// The cursor of the last entry, which is at this position; none if it is not known, or some
    /// after it may be missing.
    pub(crate) fn last_entry(&self, position: u64) -> Option<Cursor> {
        let is_missing = self.lock().is_missing();
        let view = self.reader.view();
        let cursor = view.cursor(position);
        (!is_missing && view.find(&cursor) == Ok(position)).then_some(cursor)
    }

    /// Appends publications that have their positions. `keys` are those of their rooms.
    pub(crate) fn append(&self, batch: &Batch, keys: &[Key]) {
        let now = self.now();
        self.lock().append(batch, keys, now);
    }

    /// Appends a command that has its position.
    pub(crate) fn append_command(&self, command: &Arc<Command>, check: Check) {
        let now = self.now();
        self.lock().append_command(command, check, now);
    }

    /// Publications that follow what was placed so far may not have reached the node.
    pub(crate) fn missed(&self) {
        self.lock().missed();
    }

    /// Puts a hole where publications were missed, before the next entry; the log gives that one the
    /// position `next`, if it gives any. Returns whether there was something to put.
    pub(crate) fn settle(&self, order: &mut Order, next: Option<Position>) -> bool {
        let now = self.now();
        let mut window = self.lock();
        if !window.is_missing() {
            return false;
        }
        match order.hole(next) {
            Some(position) => {
                window.append_hole(position.get(), now);
                true
            }
            None => false,
        }
    }

    /// A tenant may have so many bytes in it; none: as many as there are.
    pub(crate) fn set_quota(&self, tenant: TenantId, bytes: Option<usize>) {
        self.lock().set_quota(tenant, bytes);
    }

    /// Drops what is too old.
    pub(crate) fn expire(&self) {
        let now = self.now();
        self.lock().expire(now);
    }

    /// Bytes of it that a tenant is charged with.
    pub(crate) fn bytes_of(&self, tenant: TenantId) -> u64 {
        self.lock().bytes_of(tenant) as u64
    }

    /// What it keeps now.
    pub(crate) fn size(&self) -> WindowSize {
        let now = self.now();
        let window = self.lock();
        let age = window.oldest_at().map_or(0, |at| now.saturating_sub(at));
        let reach = window.reach();
        let since = self.since.load(Ordering::Relaxed);
        let since = reach.map_or(since, |reach| reach.at);
        WindowSize {
            entries: window.len() as u64,
            bytes: window.bytes() as u64,
            seconds: Duration::from_millis(age).as_secs_f64(),
            reach: Duration::from_millis(now.saturating_sub(since)),
            is_cut: reach.is_some_and(|reach| reach.is_dropped),
            trimmed: window.trimmed(),
        }
    }

    fn now(&self) -> u64 {
        let elapsed = u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.offset.saturating_add(elapsed)
    }

    fn lock(&self) -> MutexGuard<'_, PublicationWindow> {
        self.window.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Snapshot {
    /// How many entries the window has.
    pub(crate) fn entries(&self) -> usize {
        self.view.after(self.view.start(), None).count()
    }

    /// Writes it.
    ///
    /// # Errors
    /// Those of `out`.
    pub(crate) fn write(&self, out: impl io::Write) -> io::Result<()> {
        let mut writer = SavedWriter::new(out, &self.order)?;
        for (Scoped { tenant, value }, position) in &self.ids {
            writer.of_tenant(&self.name(*tenant)?)?;
            writer.id(value, *position)?;
        }
        for item in self.view.after(self.view.start(), None) {
            let at = SavedAt {
                position: Position::new(item.position).unwrap_or(Position::MAX),
                age: self.now.saturating_sub(item.at),
                check: item.check,
            };
            match &item.body {
                Kept::Entry(logged) => {
                    let publication = logged.publication();
                    writer.of_tenant(&self.name(publication.tenant)?)?;
                    writer.publication(at, &publication.rooms, publication.data())?;
                }
                Kept::Command(command) => {
                    writer.of_tenant(&self.name(command.selection.tenant)?)?;
                    writer.command(at, &saved::write(&command.selection))?;
                }
                Kept::Trimmed => {
                    writer.of_tenant(&self.name(item.tenant)?)?;
                    writer.trimmed(at)?;
                }
                Kept::Hole => writer.hole(at)?,
            }
        }
        writer.end().map(drop)
    }

    fn name(&self, tenant: TenantId) -> io::Result<TenantName> {
        let name = self.tenants.name(tenant);
        name.ok_or_else(|| io::Error::other("a tenant has no name"))
    }
}
