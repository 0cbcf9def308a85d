//! The window of the node: its last publications in memory, which every shard can read.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ht_broker::order::Order;
use ht_control::input::Batch;
use ht_control::window::PublicationWindow;
use ht_core::command::Command;
use ht_core::publication::Logged;
use ht_core::window::{Beginning, Key, Reader, WindowLimits};
use ht_proto::cursor::Check;
use ht_proto::entry::{Epoch, Position};
use tokio::time::Instant;

/// The window. The sequencer changes it while it has the order.
#[derive(Debug)]
pub(crate) struct NodeWindow {
    begun: Instant,
    window: Mutex<PublicationWindow>,
    reader: Reader<Logged>,
}

/// What a window keeps at a moment.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct WindowSize {
    pub(crate) entries: u64,
    pub(crate) bytes: u64,
    /// The age of its oldest entry; zero if it has none.
    pub(crate) seconds: f64,
}

impl NodeWindow {
    /// The window of a log that begins with this epoch.
    pub(crate) fn new(limits: WindowLimits, epoch: Epoch) -> Self {
        let window = PublicationWindow::new(limits, Beginning::of(epoch));
        Self {
            begun: Instant::now(),
            reader: window.reader(),
            window: Mutex::new(window),
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
    }

    /// A reader for a shard.
    pub(crate) fn reader(&self) -> Reader<Logged> {
        self.reader.clone()
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
    /// position `next`, if it gives any.
    pub(crate) fn settle(&self, order: &mut Order, next: Option<Position>) {
        let now = self.now();
        let mut window = self.lock();
        if window.is_missing()
            && let Some(position) = order.hole(next)
        {
            window.append_hole(position.get(), now);
        }
    }

    /// Drops what is too old.
    pub(crate) fn expire(&self) {
        let now = self.now();
        self.lock().expire(now);
    }

    /// What it keeps now.
    pub(crate) fn size(&self) -> WindowSize {
        let now = self.now();
        let window = self.lock();
        let age = window.oldest_at().map_or(0, |at| now.saturating_sub(at));
        WindowSize {
            entries: window.len() as u64,
            bytes: window.bytes() as u64,
            seconds: Duration::from_millis(age).as_secs_f64(),
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn lock(&self) -> MutexGuard<'_, PublicationWindow> {
        self.window.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
