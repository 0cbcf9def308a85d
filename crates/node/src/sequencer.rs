//! The sequencer: the only path to the shards. It orders and numbers what is published.

mod behind;
mod owner;
mod placing;
mod probing;
mod retained;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use futures_util::future::{BoxFuture, join_all};
use ht_broker::order::Order;
use ht_broker::{Missed, Placed, Refusal, Sequencer, Taken};
use ht_control::interest::InterestIndex;
use ht_core::command::Command;
use ht_core::publication::Logged;
use ht_core::select::Selection;
use ht_core::window::View;
use ht_proto::cursor::{Check, Cursor};
use ht_proto::entry::{Entry, Epoch, Position, TenantId};
use ht_proto::note::Note;
use ht_proto::record::Record;
use ht_telemetry::throttle::Throttles;
use tokio::sync::Mutex;

use crate::commands::{Commands, Ticket};
use crate::counters::Counters;
use crate::delivery::Delivery;
use crate::inbox::{self, Batch, Ended, Overflow};
use crate::interner::Interner;
use crate::meters::Meters;
use crate::node::{Node, Owner};
use crate::peers::Peers;
use crate::recovery::GapReports;
use crate::sequencer::placing::{Group, What, is_command, rooms};
use crate::tenants::Tenants;
use crate::window::{NodeWindow, Snapshot};

/// Gives entries their position in the node's total order and hands them to the shards that may
/// have subscribers.
pub(crate) struct NodeSequencer {
    /// The holder of this lock is next in the order. The lock is fair: first come, first served.
    order: Mutex<Order>,
    shards: Vec<inbox::Sender>,
    interest: Arc<InterestIndex>,
    window: Arc<NodeWindow>,
    interner: Arc<Interner>,
    tenants: Arc<Tenants>,
    /// The tenant whose own log this is the order of; none: all others.
    owner: Option<Owner>,
    commands: Arc<Commands>,
    delivery: Arc<Delivery>,
    peers: Arc<Peers>,
    gaps: GapReports,
    follows_log: bool,
    log_retains: bool,
    meters: Arc<Meters>,
    counters: Arc<Counters>,
    throttles: Arc<Throttles>,
}

impl NodeSequencer {
    /// A sequencer for the shards of a node, with an order of its own. `ids_max`: how many trigger
    /// ids are remembered.
    #[cfg(test)]
    pub(crate) fn new(shards: Vec<inbox::Sender>, ids_max: usize, node: &Node) -> Self {
        Self::continuing(shards, Order::new(node.window.epoch(), ids_max), node)
    }

    /// A sequencer that goes on with an order.
    pub(crate) fn continuing(shards: Vec<inbox::Sender>, order: Order, node: &Node) -> Self {
        node.interest.advance(order.last().get());
        node.interest.sent(order.last().get());
        Self {
            order: Mutex::new(order),
            shards,
            interest: Arc::clone(&node.interest),
            window: Arc::clone(&node.window),
            interner: Arc::clone(&node.interner),
            tenants: Arc::clone(&node.tenants),
            owner: node.owner.clone(),
            commands: Arc::clone(&node.commands),
            delivery: Arc::clone(&node.delivery),
            peers: Arc::clone(&node.peers),
            gaps: GapReports::new(node),
            follows_log: node.follows_log,
            log_retains: node.log_retains,
            meters: Arc::clone(&node.meters),
            counters: Arc::clone(&node.counters),
            throttles: Arc::clone(&node.throttles),
        }
    }

    async fn place_all(&self, batch: Vec<Entry>) -> Vec<Placed> {
        self.back_pressure(&batch).await;
        let placing = |entry| self.placing(entry);
        let mut batch: Vec<_> = batch.into_iter().map(placing).collect();
        let mut order = self.order.lock().await;
        // No wait follows, so that a caller that is cancelled has either no effect or the whole
        // effect.
        if let Some(first) = batch.first() {
            self.settle(&mut order, first.given);
        }
        let places: Vec<_> = batch
            .iter_mut()
            .map(|entry| order.place(entry.given, entry.id.take()))
            .collect();
        let placed = batch.into_iter().zip(&places);
        let (mut group, mut missed) = (Group::default(), Vec::new());
        for (entry, placed) in placed {
            let position = placed.position.get();
            match entry.what {
                What::Publication(publication, keys) => {
                    self.count(placed, publication.tenant);
                    if !placed.duplicate {
                        if !group.is_of(publication.tenant) {
                            self.hand_on(std::mem::take(&mut group), &mut missed);
                        }
                        let cursor = order.cursor(placed.position, entry.check);
                        group.add(publication.at(position, cursor), keys);
                    }
                }
                What::Command(command) if !placed.duplicate => {
                    // Inputs that precede it, so that neither overtakes the other.
                    self.hand_on(std::mem::take(&mut group), &mut missed);
                    self.counters.commands.add(command.name);
                    self.hand_on_command(command.at(position), entry.check, &mut missed);
                }
                What::Command(_) | What::Nothing => {}
            }
        }
        self.hand_on(group, &mut missed);
        self.interest.sent(order.last().get());
        drop(order);
        // Possibly very many are dropped: not while others wait.
        drop(missed);
        places
    }

    /// Gives a gap its position, before the next entry; the log gives that one the position `next`,
    /// if it gives any. Clients are told.
    fn settle(&self, order: &mut Order, next: Option<Position>) {
        if self.window.settle(order, next) {
            let upto = order.last();
            // A command may be lost: calls that were sent before this know nothing of it.
            self.commands.advance(upto.get());
            self.interest.advance(upto.get());
            // First: a cursor of after it is of a client that was told.
            if !self.log_retains {
                self.gaps.tell(upto);
            }
            self.interest.sent(upto.get());
        }
    }

    /// Clients are told of a gap before what is placed from now on.
    fn tell_gap(&self) {
        let upto = Position::new(self.view().end()).unwrap_or(Position::MAX);
        self.commands.advance(upto.get());
        self.gaps.tell(upto);
    }

    /// Hands publications to the shards that they may concern.
    fn hand_on(&self, group: Group, missed: &mut Vec<Overflow>) {
        let Some(last) = group.publications.last() else {
            return;
        };
        let (last, keys) = (last.position, group.keys);
        let batch = Batch::new(group.publications);
        // First: whoever knows of a position finds it in the window.
        self.window.append(&batch, &keys);
        let rooms = keys.iter().copied();
        let concerned = self.interest.placed_for(Some(last), rooms);
        for (index, shard) in self.shards.iter().enumerate() {
            if concerned.contains(index)
                && let Some(overflow) =
                    shard.publish(batch.clone(), |missed| self.missed(index, missed))
            {
                self.report_missed(index, &overflow);
                missed.push(overflow);
            }
        }
    }

    /// Hands a command to every shard: each has connections that it may match.
    fn hand_on_command(&self, command: Arc<Command>, check: Check, missed: &mut Vec<Overflow>) {
        self.window.append_command(&command, check);
        self.commands.placed(command.position);
        self.interest.advance(command.position);
        for (index, shard) in self.shards.iter().enumerate() {
            match shard.command(Arc::clone(&command)) {
                Ok(None) => {}
                Ok(Some(overflow)) => {
                    self.commands_lost(index, &overflow);
                    missed.push(overflow);
                }
                // A shard that has ended has no connections.
                Err(Ended) => self.commands.carried_out(&command, 0),
            }
        }
    }

    /// Counts the connections that a command matches, without executing it. Returns how many there
    /// are, and the last position before it.
    pub(crate) async fn matched(&self, selection: Selection) -> (Position, Option<u64>) {
        let count = Arc::new(self.commands.count(selection));
        let ticket = Ticket::Count(count.position);
        let order = self.order.lock().await;
        let position = order.last();
        for (index, shard) in self.shards.iter().enumerate() {
            match shard.command(Arc::clone(&count)) {
                Ok(None) => {}
                Ok(Some(overflow)) => self.commands_lost(index, &overflow),
                Err(Ended) => self.commands.carried_out(&count, 0),
            }
        }
        drop(order);
        (position, self.commands.matched(ticket).await)
    }

    /// The last position in it, as its log counts.
    pub(crate) async fn last(&self) -> Position {
        let order = self.order.lock().await;
        order.number(order.last())
    }

    /// The cursor of the last entry; none if it is not known, or some after it may be missing.
    pub(crate) async fn last_entry(&self) -> Option<Cursor> {
        let order = self.order.lock().await;
        self.window.last_entry(order.last().get())
    }

    /// The window as it is now.
    pub(crate) fn view(&self) -> View<Logged> {
        self.window.reader().view()
    }

    /// The order and its window, to be saved once nothing is placed any more.
    pub(crate) async fn snapshot(&self) -> Snapshot {
        self.window
            .snapshot(&*self.order.lock().await, &self.tenants)
    }

    /// How many connections the command at a position matched, once all shards have executed it.
    pub(crate) async fn matched_at(&self, position: Position) -> Option<u64> {
        self.commands.matched(Ticket::At(position.get())).await
    }

    /// Waits for shards that are behind, only those that the batch may concern, and only if it is of
    /// a tenant that has its share of what they have to do. Every wait is bounded, and nothing was
    /// placed yet.
    async fn back_pressure(&self, batch: &[Entry]) {
        if !self.shards.iter().any(inbox::Sender::is_full) {
            return;
        }
        if self.follows_log && self.tenants.are_enabled() && self.owner.is_none() {
            // What other tenants published would wait behind it.
            return;
        }
        let rooms = batch.iter().flat_map(|entry| {
            let rooms = rooms(entry).iter();
            rooms.map(|room| self.interest.key(entry.tenant, room))
        });
        let concerned = self.interest.hearing_any(rooms);
        let concerns_all = batch.iter().any(is_command);
        let concerned = |index| concerns_all || concerned.contains(index);
        let is_loud = |shard: &inbox::Sender| shard.is_loud(batch.iter().map(|it| it.tenant));
        let shards = self.shards.iter().enumerate();
        let full = shards.filter(|(index, shard)| concerned(*index) && shard.is_full());
        let full = full.filter(|(_, shard)| is_loud(shard));
        let rooms = full.map(|(index, shard)| async move {
            self.counters.back_pressure.fetch_add(1, Ordering::Relaxed);
            let holds_others = || {
                let mut others = self.shards.iter().enumerate();
                others.any(|(other, shard)| other != index && shard.is_half_empty())
            };
            if shard.room(holds_others).await
                && let Some(suppressed) = self.throttles.allow("stalled-shard")
            {
                tracing::warn!(
                    shard = index,
                    waiting = shard.len(),
                    bytes = shard.bytes(),
                    suppressed,
                    "a thread falls behind with publications: publishing continues for the others, \
                     its clients receive theirs late. Look at high_templar_inbox_bytes; give the \
                     node more cores, or raise threads"
                );
            }
        });
        join_all(rooms).await;
    }

    /// Counts a trigger.
    fn count(&self, placed: &Placed, tenant: TenantId) {
        self.counters.triggers.fetch_add(1, Ordering::Relaxed);
        let count = match placed.duplicate {
            true => &self.counters.trigger_duplicates,
            false => &self.meters.of(tenant).publications,
        };
        count.fetch_add(1, Ordering::Relaxed);
    }
}

impl Sequencer for NodeSequencer {
    fn epoch(&self) -> Epoch {
        self.window.epoch()
    }

    fn tenant(&self, record: &Record) -> Result<TenantId, Refusal> {
        self.of_log(record)
    }

    fn place(&self, batch: Vec<Entry>) -> BoxFuture<'_, Vec<Placed>> {
        Box::pin(self.place_all(batch))
    }

    fn probe(&self) -> BoxFuture<'_, Taken> {
        Box::pin(self.hand_on_probe())
    }

    fn confirm(&self, key: &str, placed: Placed, is_own: bool) {
        self.peers.confirm(key.into(), placed, is_own);
    }

    fn note(&self, note: Note) {
        self.peers.heard(note);
    }

    fn missed(&self, missed: Missed) {
        if !self.gaps.missed(&missed) {
            return;
        }
        self.window.missed();
        if self.log_retains {
            self.tell_gap();
        } else if let Ok(mut order) = self.order.try_lock() {
            self.settle(&mut order, None);
        }
        // Otherwise with the next entry or probe.
    }

    fn begins_after(&self, before: Position, check: Option<Check>) -> BoxFuture<'_, ()> {
        Box::pin(self.begin_after(before, check))
    }

    fn read_back(&self, batch: Vec<Entry>) -> BoxFuture<'_, ()> {
        Box::pin(self.take_back(batch))
    }

    fn interrupted(&self, anew: bool) -> BoxFuture<'_, ()> {
        Box::pin(self.interrupt(anew))
    }

    fn caught_up(&self, missed: Missed) {
        if self.gaps.missed(&missed) {
            self.tell_gap();
        }
    }

    fn begin_epoch(&self, epoch: Epoch, ends_another: bool) -> BoxFuture<'_, ()> {
        Box::pin(self.take_epoch(epoch, ends_another))
    }
}

#[cfg(test)]
mod tests;
