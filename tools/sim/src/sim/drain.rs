//! Graceful shutdown and restart of nodes.

use std::time::Duration;

use ht_control::drain::{Drain, DrainSettings, Step};
use ht_control::input::Input;
use ht_control::waves::DrainWaves;
use ht_proto::close::Close;

use crate::mutant::Mutant;
use crate::node::Draining;
use crate::shard::SimInput;
use crate::sim::{Event, Sim};

/// Over how long a node closes its connections at most, in ms.
pub(crate) const PERIOD: u64 = 3_000;

/// Timeout after which the rest is dropped, in ms.
pub(crate) const TIMEOUT: u64 = 20_000;

/// Interval between two checks of a node's drain, in ms.
const LOOK: u64 = 10;

impl Sim {
    pub(super) fn begin_drain(&mut self, index: usize, delay: u64, back: u64) {
        let now = self.events.now;
        let node = &mut self.nodes[index];
        if !node.is_up || node.draining.is_some() {
            return;
        }
        let ms = Duration::from_millis;
        let settings = DrainSettings {
            delay: ms(delay),
            period: ms(PERIOD),
            timeout: ms(TIMEOUT),
        };
        node.draining = Some(Draining {
            drain: Drain::new(settings, Duration::ZERO),
            since: now,
            due: None,
            owed: Vec::new(),
            link: 0,
            back,
            is_last: false,
        });
        self.take_steps(index);
    }

    /// A node that drains does its due work.
    pub(super) fn drain_due(&mut self, index: usize) {
        let now = self.events.now;
        self.with_drain(index, |draining| {
            if draining.due == Some(now) {
                draining.due = None;
                draining
                    .drain
                    .tick(Duration::from_millis(now - draining.since));
            }
        });
    }

    /// There is a hurry.
    pub(super) fn hurry(&mut self, index: usize) {
        let now = self.events.now;
        self.with_drain(index, |draining| {
            draining
                .drain
                .hurry(Duration::from_millis(now - draining.since));
        });
    }

    fn with_drain(&mut self, index: usize, step: impl FnOnce(&mut Draining)) {
        if let Some(draining) = &mut self.nodes[index].draining {
            step(draining);
            self.take_steps(index);
        }
    }

    /// Executes the due steps of a drain.
    fn take_steps(&mut self, index: usize) {
        let life = self.nodes[index].life;
        while self.lives(index, life)
            && let Some(draining) = &mut self.nodes[index].draining
            && let Some(step) = draining.drain.poll_step()
        {
            if !matches!(step, Step::Close { .. }) {
                self.note(|| format!("node {index} drains: {step:?}"));
            }
            self.take_step(index, step);
        }
        if !self.lives(index, life) {
            return;
        }
        if let Some(draining) = &mut self.nodes[index].draining
            && let Some(due) = draining.drain.deadline()
        {
            let due = draining.since + u64::try_from(due.as_millis()).unwrap_or(u64::MAX);
            if draining.due.is_none_or(|planned| due < planned) {
                draining.due = Some(due);
                self.events.at(due, Event::Drain { node: index, life });
            }
        }
    }

    fn take_step(&mut self, index: usize, step: Step) {
        let now = self.events.now;
        let life = self.nodes[index].life;
        match step {
            Step::CloseEntrance => {
                self.close_entrance(index);
                self.tell(index, |_| Input::CloseUnauthenticated(Close::RESTART));
                let node = &self.nodes[index];
                let counts_for = self.plan.shape.counts_for;
                let open = node.connections() * counts_for;
                let newcomers = node
                    .shards
                    .iter()
                    .map(|it| it.around.newcomers.len() as u64);
                let all = node.connections() + newcomers.sum::<u64>();
                self.oracle.drains(life, all, counts_for);
                self.with_drain(index, |draining| {
                    let now = Duration::from_millis(now - draining.since);
                    draining.drain.entrance_closed(open, now);
                });
            }
            Step::CatchUp => {
                let node = &mut self.nodes[index];
                let queue = node.queue.iter();
                let owed = queue.filter_map(|delivery| delivery.message.trigger);
                let owed = owed.map(|(trigger, _)| trigger).collect();
                if let Some(draining) = &mut node.draining {
                    draining.owed = owed;
                    draining.link = node.links;
                }
                self.look_at_queue(index);
            }
            Step::Close { left, close } => self.close_wave(index, left, close),
            Step::CloseAll(close) => {
                let node = &mut self.nodes[index];
                if let Some(draining) = &mut node.draining {
                    draining.is_last = true;
                }
                node.shards
                    .iter_mut()
                    .for_each(|shard| shard.is_last = true);
                self.tell(index, |_| Input::Drain(close));
                self.check_drained(index);
            }
            Step::EndTriggers => self.look_at_triggers(index),
            Step::EndRest => self.with_drain(index, |draining| draining.drain.rest_ended()),
            Step::End { is_late } => {
                let node = &mut self.nodes[index];
                if let Some(left) = node.leftover().filter(|_| !is_late) {
                    self.oracle
                        .violation(|| format!("node {index} drained and has left over: {left}"));
                }
                let back = node.draining.as_ref().map_or(0, |draining| draining.back);
                self.end(index, back);
            }
        }
    }

    /// Closes the connections of one wave.
    fn close_wave(&mut self, index: usize, left: u64, close: Close) {
        let now = self.events.now;
        let open = self.nodes[index].shards.iter();
        let open: Vec<_> = open.map(|it| it.turns.shard.stats().connections).collect();
        self.oracle.closes_some(self.nodes[index].life, now);
        let is_steep = self.plan.mutant == Some(Mutant::SteepDrain);
        self.tell(index, |shard| Input::Close {
            count: DrainWaves::count(open[shard], if is_steep { 0 } else { left }),
            close,
        });
    }

    fn tell(&mut self, index: usize, input: impl Fn(usize) -> SimInput) {
        let now = self.events.now;
        for (number, shard) in self.nodes[index].shards.iter_mut().enumerate() {
            let missed = shard.tell(input(number), now);
            assert!(missed.is_empty(), "it is no publication");
        }
        self.wake_all(index);
    }

    /// Checks whether the messages in the queue of a node are placed.
    pub(super) fn look_at_queue(&mut self, index: usize) {
        let node = &self.nodes[index];
        let life = node.life;
        let Some(draining) = &node.draining else {
            return;
        };
        let waits = |trigger: usize| {
            let queue = node.queue.iter();
            let mut queue = queue.filter_map(|delivery| delivery.message.trigger);
            queue.any(|(other, _)| other == trigger)
        };
        let is_hasty = self.plan.mutant == Some(Mutant::HastyDrain);
        if !is_hasty && draining.owed.iter().any(|&trigger| waits(trigger)) {
            let event = Event::CatchesUp { node: index, life };
            return self.events.after(LOOK, event);
        }
        let now = self.events.now;
        // Messages in flight on a lost connection are waited for in vain.
        if !node.is_linked || node.links != draining.link {
            return;
        }
        self.oracle.caught_up(life, &draining.owed);
        self.with_drain(index, |draining| {
            let now = Duration::from_millis(now - draining.since);
            draining.drain.caught_up(now);
        });
    }

    /// Looks whether every trigger of this node is answered.
    pub(super) fn look_at_triggers(&mut self, index: usize) {
        let life = self.nodes[index].life;
        if self.nodes[index].waiting.is_empty() {
            self.with_drain(index, |draining| draining.drain.triggers_ended());
        } else {
            let event = Event::EndsTriggers { node: index, life };
            self.events.after(LOOK, event);
        }
    }

    /// A node whose last connection is closed continues its shutdown.
    pub(super) fn check_drained(&mut self, index: usize) {
        let node = &self.nodes[index];
        let is_last = node.draining.as_ref().is_some_and(|it| it.is_last);
        let mut shards = node.shards.iter();
        // The remaining work is done in further turns.
        let is_over = shards.all(|it| it.turns.is_over() && !it.turns.has_work());
        if is_last && is_over {
            self.with_drain(index, |draining| draining.drain.shards_ended());
        }
    }
}
