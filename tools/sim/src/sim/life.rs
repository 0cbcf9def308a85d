//! The life of a node: it begins, its shards have their turns, it closes connections for gaps in
//! waves, and ends.

use ht_control::input::Input;
use ht_control::waves::WAVE;
use ht_core::shard::Gap;
use ht_proto::server::GapCause;

use crate::mutant::Mutant;
use crate::sim::{Event, Sim};
use crate::wire::Socket;

impl Sim {
    /// A node is there, and connects to the log.
    pub(super) fn begin(&mut self, index: usize) {
        self.equip(index);
        let node = &mut self.nodes[index];
        let after = node.rng.u64(1..300);
        let (life, link) = (node.life, node.links);
        let node = index;
        self.events.after(after, Event::Link { node, life, link });
    }

    /// A node is killed, with all its state; it restarts later.
    pub(super) fn end(&mut self, index: usize, back: u64) {
        let node = &mut self.nodes[index];
        if !node.is_up {
            return;
        }
        node.is_up = false;
        node.shards.clear();
        self.lose_visitors(index);
        let node = &mut self.nodes[index];
        for attempt in node.waiting.keys().copied().collect::<Vec<_>>() {
            self.fail(index, attempt);
        }
        self.events.after(back, Event::Up(index));
    }

    /// The next wave in which a shard closes connections for a gap.
    pub(super) fn wave(&mut self, index: usize, shard: usize) {
        let node = &mut self.nodes[index];
        let Some(waves) = &node.closing[shard] else {
            return;
        };
        let is_short = self.plan.mutant == Some(Mutant::ShortGap);
        let number = node.gaps.of_shard(shard);
        let gap = Gap {
            number,
            tenant: None,
            upto: node.missing[shard],
            cause: GapCause::Broker,
            close: Some(waves.close),
        };
        let input = Input::CloseMissed {
            gap,
            count: if is_short { 1 } else { waves.count },
            done: number,
        };
        let missed = node.shards[shard].tell(input, self.events.now);
        assert!(missed.is_empty(), "it is no publication");
        self.wake(index, shard, self.events.now);
    }

    /// A shard did a wave.
    fn on_wave(&mut self, index: usize, shard: usize) {
        let node = &mut self.nodes[index];
        let Some((number, wave)) = node.shards[shard].around.wave.take() else {
            return;
        };
        let is_short = self.plan.mutant == Some(Mutant::ShortGap) && wave.closed > 0;
        if is_short || wave.finished && node.gaps.of_shard(shard) == number {
            node.closing[shard] = None;
            return;
        }
        let (life, node) = (node.life, index);
        let after = u64::try_from(WAVE.as_millis()).unwrap_or(0);
        self.events.after(after, Event::Wave { node, life, shard });
    }

    /// A planted bug: every shard has a turn now.
    pub(super) fn turn_all(&mut self, index: usize) {
        for shard in 0..self.nodes[index].shards.len() {
            let sleeper = &mut self.nodes[index].shards[shard];
            if sleeper.stalled_until <= self.events.now {
                sleeper.awake_at = Some(self.events.now);
                self.turn(index, shard);
            }
        }
    }

    pub(super) fn wake_all(&mut self, node: usize) {
        for shard in 0..self.nodes[node].shards.len() {
            self.wake(node, shard, self.events.now + 1);
        }
    }

    /// A shard is to have a turn at this time, or before.
    pub(crate) fn wake(&mut self, index: usize, shard: usize, at: u64) {
        let node = &mut self.nodes[index];
        let life = node.life;
        let sleeper = &mut node.shards[shard];
        let at = at.max(sleeper.stalled_until);
        if sleeper.awake_at.is_none_or(|planned| at < planned) {
            sleeper.awake_at = Some(at);
            let node = index;
            self.events.at(at, Event::Turn { node, life, shard });
        }
    }

    pub(super) fn turn(&mut self, index: usize, shard: usize) {
        let now = self.events.now;
        let node = &mut self.nodes[index];
        let (gap, own_gap) = (node.gaps.last(), node.gaps.of_shard(shard));
        let own = &mut node.shards[shard];
        if own.awake_at != Some(now) {
            return;
        }
        own.awake_at = None;
        own.around.gap = gap;
        if self.plan.mutant != Some(Mutant::UnmarkedGap) {
            own.around.own_gap = own_gap;
        }
        own.turn(now);
        let due = own.due(now);
        let stats = own.turns.shard.stats();
        let (open, connected) = (stats.connections, own.around.outside.connected.len());
        let held = stats.connections_held;
        if open < connected as u64 || open > connected as u64 + held {
            self.oracle
                .violation(|| format!("{open} connections, {connected} are connected"));
        }
        let (left, is_last) = (std::mem::take(&mut own.around.outside.left), own.is_last);
        let asked = std::mem::take(&mut own.around.asked);
        for (number, id) in std::mem::take(&mut own.around.opened) {
            self.connections[number].id = Some(id);
            self.notify(number, |socket| socket.readiness.unread = true);
        }
        if let Some(due) = due {
            self.wake(index, shard, due);
        }
        for (number, key) in asked {
            self.asked(number, key);
        }
        for (number, at) in left {
            self.oracle.closes(number, at, is_last);
        }
        self.on_carried_out(index, shard);
        self.on_proofs(index, shard);
        self.on_wants(index, shard);
        self.on_wave(index, shard);
        self.check_drained(index);
    }

    /// A socket is ready for something.
    pub(crate) fn notify(&mut self, number: usize, note: impl FnOnce(&mut Socket)) {
        let connection = &self.connections[number];
        let (node, shard) = (connection.node, connection.shard);
        if !self.lives(node, connection.life) {
            return;
        }
        if let Some(id) = connection.id
            && self.nodes[node].shards[shard].notify(id, number, note)
        {
            self.wake(node, shard, self.events.now + 1);
        }
    }
}
