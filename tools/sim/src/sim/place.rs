//! Placing of publications in a node's order and their delivery to its shards; and the planted bugs
//! on that path.

use std::time::Duration;

use bytes::Bytes;
use ht_control::input::{Batch, Input};
use ht_control::interest::InterestIndex;
use ht_control::waves::GapWaves;
use ht_core::publication::Publication;
use ht_core::window::Key;
use ht_proto::cursor::{Check, Cursor};
use ht_proto::entry::{Position, TenantId};
use ht_proto::room::{Room, RoomLimits};
use ht_proto::tenant::Scoped;

use crate::mutant::Mutant;
use crate::node::Node;
use crate::orders::tenant_id;
use crate::rooms::ROOMS;
use crate::sim::{Sim, Trigger};

/// How long closing all connections for a gap may take.
const GAP_PERIOD: Duration = Duration::from_secs(30);

/// A planted bug shows in every so many batches.
const SELDOM: u64 = 5;

/// A trigger that arrived at a node.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arrived {
    pub(crate) number: usize,
    pub(crate) attempt: u64,
    /// Its position, where the log has some.
    pub(crate) position: Option<Position>,
}

impl Node {
    /// How the connections of a shard are closed for a gap now.
    pub(crate) fn gap_waves(&self, shard: usize) -> GapWaves {
        let own = self.shards[shard].turns.shard.stats().connections;
        GapWaves::new(self.connections(), own, GAP_PERIOD)
    }
}

impl Trigger {
    pub(super) fn publication(
        &self,
        number: usize,
        position: u64,
        cursor: Cursor,
        mutant: Option<Mutant>,
    ) -> Publication {
        let tenant = match mutant {
            Some(Mutant::OneTenant) => TenantId::MAIN,
            _ => tenant_id(self.tenant),
        };
        let rooms = self.rooms.iter().map(|&room| {
            Room::parse(&ROOMS[room].json(), RoomLimits::TRUSTED).expect("a room of ours")
        });
        let data = format!(r#"[{number},"{}"]"#, "x".repeat(self.bytes));
        let publication = Publication::new(0, tenant, rooms.collect(), Bytes::from(data));
        publication.at(position, cursor)
    }
}

/// The keys of the rooms of publications.
pub(super) fn keys(interest: &InterestIndex, batch: &Batch) -> Vec<Key> {
    let all = batch.publications.iter();
    let rooms = all.flat_map(|it| it.rooms.iter().map(|room| (it.tenant, room)));
    rooms
        .map(|(tenant, room)| interest.key(tenant, room))
        .collect()
}

impl Sim {
    /// Assigns triggers their positions in this order, and passes them to the shards concerned.
    pub(crate) fn place(&mut self, index: usize, triggers: &[Arrived]) {
        let now = self.events.now;
        let mutant = self.plan.mutant;
        let mut placed = Vec::new();
        self.settle_window(index, triggers);
        for &Arrived {
            number,
            attempt,
            position,
        } in triggers
        {
            let is_forgotten = mutant == Some(Mutant::Duplicate);
            let id = (!is_forgotten).then(|| self.id_of(number));
            let node = &mut self.nodes[index];
            let place = node.order.place(position, id);
            if node.waiting.remove(&attempt).is_some() {
                self.oracle.confirmed(number);
            }
            self.oracle.placed(node.life, number, place, now);
            let (life, log) = (node.life, node.order.number(place.position));
            let position = place.position.get();
            if place.duplicate {
                continue;
            }
            self.oracle.has(life, log.get(), number, true);
            if self.triggers[number].order.is_none() {
                placed.push((number, position));
            } else {
                self.hand_on(index, &std::mem::take(&mut placed));
                self.hand_on_command(index, number, position);
            }
        }
        self.hand_on(index, &placed);
        let node = &self.nodes[index];
        node.interest.sent(node.order.last().get());
    }

    /// The id of a trigger, of its tenant.
    pub(super) fn id_of(&self, number: usize) -> Scoped<Box<str>> {
        let Trigger { tenant, id, .. } = self.triggers[number];
        let tenant = match self.plan.mutant {
            Some(Mutant::SharedIds) => TenantId::MAIN,
            _ => tenant_id(tenant),
        };
        tenant.scope(id.to_string().into())
    }

    /// The check of a trigger.
    pub(super) fn check_of(number: usize) -> Check {
        Check::of(number.to_string().as_bytes())
    }

    /// Puts a hole where publications were missed.
    fn settle_window(&mut self, index: usize, triggers: &[Arrived]) {
        let node = &mut self.nodes[index];
        if let Some(first) = triggers.first()
            && node.window.is_missing()
            && let Some(position) = node.order.hole(first.position)
        {
            self.append_hole(index, position.get());
        }
    }

    pub(super) fn append_hole(&mut self, index: usize, position: u64) {
        let now = self.events.now;
        let node = &mut self.nodes[index];
        let number = Position::new(position).unwrap_or(Position::MAX);
        let number = node.order.number(number).get();
        self.oracle.has_hole(node.life, number, now);
        if self.plan.mutant != Some(Mutant::NoHole) {
            node.window.append_hole(position, now);
        }
    }

    /// Hands publications to the shards that they may concern.
    fn hand_on(&mut self, index: usize, placed: &[(usize, u64)]) {
        if placed.is_empty() {
            return;
        }
        let mutant = self.plan.mutant;
        let node = &mut self.nodes[index];
        let mut handed = Vec::new();
        let batch = |placed: &[(usize, u64)]| {
            let all = placed.iter().map(|&(number, position)| {
                let at = Position::new(position).unwrap_or(Position::MAX);
                let cursor = node.order.cursor(at, Self::check_of(number));
                self.triggers[number].publication(number, position, cursor, mutant)
            });
            Batch::new(all.collect())
        };
        let whole = batch(placed);
        node.batches += 1;
        let strikes = node.batches.is_multiple_of(SELDOM);
        let keys = keys(&node.interest, &whole);
        // First: whoever knows of a position finds it in the window.
        if mutant != Some(Mutant::ShortWindow) || !strikes {
            node.window.append(&whole, &keys, self.events.now);
        }
        let last = placed.last().map(|(_, position)| *position);
        let concerned = node.interest.placed_for(last, keys.iter().copied());
        for shard in (0..node.shards.len()).filter(|&shard| concerned.contains(shard)) {
            let batches = match mutant {
                Some(Mutant::Drop) if strikes => vec![batch(&placed[1..])],
                Some(Mutant::Repeat) if strikes => vec![whole.clone(), whole.clone()],
                Some(Mutant::Swap) if strikes && node.held[shard].is_none() => {
                    node.held[shard] = Some(whole.clone());
                    Vec::new()
                }
                _ => {
                    let held = node.held[shard].take();
                    [whole.clone()].into_iter().chain(held).collect()
                }
            };
            handed.extend(batches.into_iter().map(|batch| (shard, batch)));
        }
        for (shard, batch) in handed {
            self.hand(index, shard, batch);
        }
        self.hand_late_commands(index);
    }

    /// Puts publications into the inbox of a shard, which may miss others for it.
    fn hand(&mut self, index: usize, shard: usize, batch: Batch) {
        if self.plan.mutant == Some(Mutant::EarlyHanded) {
            let last = batch.publications.last();
            let last = last.map_or(0, |last| last.position);
            self.nodes[index].interest.sent(last);
            self.turn_all(index);
        }
        let node = &mut self.nodes[index];
        let (life, now) = (node.life, self.events.now);
        let missed = node.shards[shard].tell(Input::Publish(batch), now);
        for input in &missed {
            let publications = input.batch().map(|batch| batch.publications.iter());
            for publication in publications.into_iter().flatten() {
                self.oracle
                    .overflows(life, shard, publication.position, now);
            }
        }
        if !missed.is_empty() {
            self.oracle.misses(life);
        }
        if !missed.is_empty() && self.plan.mutant != Some(Mutant::SilentOverflow) {
            self.close_for_gap(index, |own| own == shard);
            self.note(|| format!("shard {shard} of node {index} missed publications"));
        }
        self.wake(index, shard, now + 1);
    }
}
