//! The log between the nodes: as RabbitMQ, with a queue for each connected node, whose losses are
//! detected by numbers; or as one that retains its records, with positions. It delays, drops,
//! duplicates and forgets; it does not reorder.

use std::rc::Rc;
use std::time::Duration;

use ht_broker::MissedReason;
use ht_broker::log::{From, TailError, Trouble};
use ht_broker::numbers::Serial;
use ht_proto::entry::Position;

use crate::mutant::Mutant;
use crate::node::{Delivery, Heard, Message, Waiting};
use crate::sim::place::Arrived;
use crate::sim::retained::digest;
use crate::sim::{Event, Sim};

/// Messages that are placed together at most.
const BATCH: usize = 256;

/// How often a node proves that its queue is bound, in ms.
const CHECK: u64 = 5_000;

/// Time limit for a heartbeat to be read back before the binding is checked, in ms.
const HEARTBEAT_BACK: u64 = 500;

/// How long a publisher waits for its position, in ms.
const PUBLISH_TIMEOUT: u64 = 5_000;

/// Attempts of the API to publish a trigger.
const TRIES: usize = 30;

/// Time between them, in ms.
const RETRY: u64 = 300;

impl Sim {
    /// The API publishes a trigger at this node, and at another one if that fails.
    pub(crate) fn post(&mut self, trigger: usize, tries: usize, index: usize) {
        let node = &mut self.nodes[index];
        let deserted = node.draining.as_ref().is_some_and(|drain| drain.is_last);
        if !node.is_up || !node.is_linked || deserted {
            return self.retry(trigger, tries, index);
        }
        let attempt = self.attempts;
        self.attempts += 1;
        let waiting = Waiting {
            trigger,
            tries,
            is_taken: false,
        };
        node.waiting.insert(attempt, waiting);
        let life = node.life;
        self.send(index, Some((trigger, attempt)));
        let event = Event::Timeout {
            node: index,
            life,
            attempt,
        };
        self.events.after(PUBLISH_TIMEOUT, event);
    }

    fn retry(&mut self, trigger: usize, tries: usize, node: usize) {
        if tries < TRIES {
            let node = (node + 1) % self.nodes.len();
            let event = Event::Post {
                trigger,
                tries: tries + 1,
                node,
            };
            self.events.after(RETRY, event);
        }
    }

    /// An attempt ended without a position.
    pub(crate) fn fail(&mut self, node: usize, attempt: u64) {
        if let Some(waiting) = self.nodes[node].waiting.remove(&attempt) {
            self.retry(waiting.trigger, waiting.tries, node);
        }
    }

    fn fail_all(&mut self, node: usize, concerned: impl Fn(&Waiting) -> bool) {
        let waiting = self.nodes[node].waiting.iter();
        let concerned = waiting.filter(|(_, waiting)| concerned(waiting));
        for attempt in concerned.map(|(attempt, _)| *attempt).collect::<Vec<_>>() {
            self.fail(node, attempt);
        }
    }

    /// A node puts a message in line. Returns its number.
    fn send(&mut self, index: usize, trigger: Option<(usize, u64)>) -> Serial {
        let node = &mut self.nodes[index];
        let sequence = node.detector.next(&node.line);
        node.detector.used(&mut node.line, &sequence);
        let message = Message {
            node: index,
            life: node.life,
            line: node.lines,
            sequence,
            trigger,
        };
        let at = self.events.now + node.rng.u64(1..5);
        node.sent_until = node.sent_until.max(at);
        let event = Event::Logged(Rc::new(message));
        self.events.at(node.sent_until, event);
        sequence.serial
    }

    /// The log accepts a message, and puts it into the queue of every node.
    pub(crate) fn logged(&mut self, message: &Rc<Message>) {
        let now = self.events.now;
        let sender = &mut self.nodes[message.node];
        let is_open = sender.life == message.life && sender.lines == message.line;
        if !is_open && sender.rng.bool() {
            // It was still on its way when its connection broke.
            return;
        }
        if let Some((trigger, attempt)) = message.trigger {
            self.oracle.logged(trigger, now);
            let late = [1, 10, 2_000][sender.rng.usize(0..3)];
            if is_open {
                let node = message.node;
                let life = message.life;
                let event = Event::Taken {
                    node,
                    life,
                    attempt,
                };
                self.events.after(late, event);
            }
        }
        self.history.push(Rc::clone(message));
        self.oracle
            .appended(message.trigger.map(|(number, _)| number));
        for index in 0..self.nodes.len() {
            if self.nodes[index].is_up {
                self.route(index, message);
            }
        }
    }

    /// Puts a message that the log accepted into the queue of a node, or not.
    fn route(&mut self, index: usize, message: &Rc<Message>) {
        let node = &mut self.nodes[index];
        let life = node.life;
        if self.plan.shape.retains {
            if node.is_linked {
                self.deliver(index, self.history.len());
            } else if node.progress.from() == From::Head {
                self.lose(life, message);
            }
            return;
        }
        let is_dropped = node.is_linked && node.is_bound && node.lose > 0;
        if is_dropped {
            node.lose -= 1;
        }
        if !is_dropped && node.is_linked && node.is_bound {
            return self.deliver(index, self.history.len());
        }
        // Otherwise no number can miss.
        if !node.is_linked || node.heard.notices(message.life, life) {
            self.lose(life, message);
        }
    }

    /// The message with this number is on its way to a node.
    pub(super) fn deliver(&mut self, index: usize, number: usize) {
        let shape = &self.plan.shape;
        let position = Position::new(number as u64).filter(|_| shape.retains);
        let message = &self.history[number - 1];
        let node = &mut self.nodes[index];
        let after = self.events.now + node.rng.u64(1..=shape.lag);
        node.arrived_until = node.arrived_until.max(after);
        let ready = node.arrived_until;
        for _ in 0..=std::mem::take(&mut node.repeat) {
            node.queue.push_back(Delivery {
                ready,
                position,
                message: Rc::clone(message),
            });
        }
        let (life, link) = (node.life, node.links);
        let event = Event::Consume {
            node: index,
            life,
            link,
        };
        self.events.at(ready, event);
    }

    pub(super) fn lose(&mut self, life: usize, message: &Message) {
        if let Some((trigger, _)) = message.trigger {
            self.note(|| format!("trigger {trigger} is lost for life {life}"));
            let now = self.events.now;
            let from = (message.life, message.sequence.serial);
            self.oracle.lost(life, trigger, from, now);
        }
    }

    /// A node reads the messages that arrived in its queue.
    pub(crate) fn consume(&mut self, index: usize) {
        let now = self.events.now;
        let mut triggers = Vec::new();
        while triggers.len() < BATCH {
            let node = &mut self.nodes[index];
            let is_ready = |delivery: &mut Delivery| delivery.ready <= now;
            let Some(delivery) = node.queue.pop_front_if(is_ready) else {
                break;
            };
            let message = delivery.message;
            if !node.progress.is_new(delivery.position) {
                continue;
            }
            node.progress.remember(delivery.position, digest(&message));
            if !self.plan.shape.retains {
                self.note_number(index, &message);
            }
            triggers.extend(message.trigger.map(|(number, attempt)| Arrived {
                number,
                attempt,
                position: delivery.position,
            }));
        }
        self.place(index, &triggers);
    }

    /// Checks the number of a message, which shows missing ones before it.
    fn note_number(&mut self, index: usize, message: &Message) {
        let now = self.events.now;
        let node = &mut self.nodes[index];
        node.heard.arrived(message);
        let from = (message.life, message.sequence.serial);
        self.oracle.shows(node.life, Some(from), now);
        let now = Duration::from_millis(now);
        if let Some(missed) = node.detector.arrived(&message.sequence, now) {
            self.missed(index, missed.reason);
        }
    }

    /// This node may have missed publications until now.
    pub(super) fn missed(&mut self, index: usize, reason: MissedReason) {
        let node = &mut self.nodes[index];
        if reason == MissedReason::Start && node.connections() == 0 {
            return;
        }
        let node = &mut self.nodes[index];
        self.oracle.misses(node.life);
        node.window.missed();
        let hole = match self.plan.shape.retains {
            // It is read back.
            true => None,
            false => node.order.hole(None),
        };
        if let Some(position) = hole {
            self.append_hole(index, position.get());
            self.nodes[index].interest.advance(position.get());
        }
        self.close_for_gap(index, |_| true);
        if let Some(position) = hole {
            self.nodes[index].interest.sent(position.get());
        }
        self.note(|| format!("node {index} found a gap: {}", reason.as_str()));
    }

    /// Has the connections of these shards closed that are open now.
    pub(crate) fn close_for_gap(&mut self, index: usize, concerned: impl Fn(usize) -> bool) {
        if self.plan.mutant == Some(Mutant::SilentGap) {
            return;
        }
        let now = self.events.now;
        let node = &mut self.nodes[index];
        let life = node.life;
        node.gaps.note(&concerned);
        self.gaps += 1;
        let upto = node.order.last().get();
        // A command may be lost: calls that were sent before this know nothing of it.
        node.last_command = node.last_command.max(upto);
        for shard in (0..node.shards.len()).filter(|&shard| concerned(shard)) {
            node.missing[shard] = upto;
            if node.closing[shard].is_none() {
                node.closing[shard] = Some(node.gap_waves(shard));
                // The first wave may be late.
                let late = [0, 0, 2_000][node.rng.usize(0..3)];
                let at = now + node.rng.u64(0..=late);
                let node = index;
                self.events.at(at, Event::Wave { node, life, shard });
            }
        }
    }

    /// A node connects to the log: it gets a queue of its own, or resumes where it was.
    pub(crate) fn link(&mut self, index: usize) {
        let now = self.events.now;
        let node = &mut self.nodes[index];
        node.is_linked = true;
        node.is_bound = true;
        node.arrived_until = now;
        if self.plan.shape.retains {
            self.reads_on(index);
        } else {
            let (life, link) = (node.life, node.links);
            node.detector.queue_bound(Duration::from_millis(now));
            // Earlier messages prove nothing about the new queue.
            node.heard = Heard::default();
            let node = index;
            self.events.after(CHECK, Event::Check { node, life, link });
        }
        let node = &mut self.nodes[index];
        if let Some(missed) = node.progress.begun() {
            self.oracle.shows(node.life, None, now);
            self.missed(index, missed.reason);
        }
    }

    /// A node loses its consuming connection, and with it its queue.
    pub(crate) fn cut_consumer(&mut self, index: usize, away: u64) {
        let node = &mut self.nodes[index];
        if !node.is_up || !node.is_linked {
            return;
        }
        node.is_linked = false;
        node.links += 1;
        let (life, link) = (node.life, node.links);
        node.progress.lost(&TailError::Lost(Trouble {
            cause: "the connection was cut".into(),
            advice: "",
            reason: MissedReason::Reconnect,
        }));
        for delivery in std::mem::take(&mut node.queue) {
            if !self.plan.shape.retains {
                self.lose(life, &delivery.message);
            }
        }
        self.fail_all(index, |_| true);
        let node = index;
        self.events.after(away, Event::Link { node, life, link });
    }

    /// A node loses its publishing connection, and opens another one.
    pub(crate) fn cut_publisher(&mut self, index: usize) {
        let node = &mut self.nodes[index];
        if !node.is_up {
            return;
        }
        node.line = node.detector.open_line();
        node.lines += 1;
        self.fail_all(index, |waiting| !waiting.is_taken);
    }

    /// Proves that the queue is bound: a heartbeat is read back.
    pub(crate) fn check(&mut self, index: usize) {
        let serial = self.send(index, None);
        let node = &self.nodes[index];
        let (life, link) = (node.life, node.links);
        let node = index;
        let event = Event::Proof {
            node,
            life,
            link,
            serial,
        };
        self.events.after(HEARTBEAT_BACK, event);
        self.events.after(CHECK, Event::Check { node, life, link });
    }

    /// Was the heartbeat read back?
    pub(crate) fn prove(&mut self, index: usize, serial: Serial) {
        if self.nodes[index].detector.last_back() >= serial {
            return;
        }
        let mut nodes = self.nodes.iter();
        let is_any_bound = nodes.any(|node| node.is_up && node.is_linked && node.is_bound);
        let node = &mut self.nodes[index];
        node.is_bound = true;
        if is_any_bound {
            // The number of another heartbeat shows whether this one was lost.
            self.send(index, None);
        } else {
            node.detector.reported();
            self.missed(index, MissedReason::BindingLost);
        }
    }
}
