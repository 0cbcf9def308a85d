//! One run: due events are executed, one after the other, until none is left.

mod client;
mod command;
mod drain;
mod entrance;
mod event;
mod life;
mod log;
mod place;
mod recheck;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use crate::Outcome;
use crate::api::{Bootstrap, Mood};
use crate::events::Events;
use crate::node::{Message, Node};
use crate::oracle::Oracle;
use crate::orders::{Identities, Order, USERS};
use crate::plan::{Action, Pace, Plan};
use crate::sim::client::{Client, Connection};
use crate::sim::entrance::{Crowd, Visitor};
pub(crate) use crate::sim::event::Event;
use crate::wire::Touched;

/// How long everything has to settle at the end, in ms.
const SETTLES: u64 = 60_000;

/// Trace of the run, a line each.
pub(crate) type Trace = Rc<RefCell<Vec<String>>>;

/// Publications of the API.
#[derive(Clone, Debug)]
pub(crate) struct Trigger {
    pub(crate) rooms: Vec<usize>,
    pub(crate) bytes: usize,
    /// It is a command.
    pub(crate) order: Option<Order>,
}

/// The whole simulated world.
pub(crate) struct Sim {
    pub(crate) plan: Rc<Plan>,
    pub(crate) events: Events<Event>,
    pub(crate) nodes: Vec<Node>,
    pub(crate) clients: Vec<Client>,
    pub(crate) connections: Vec<Connection>,
    /// Attempts to connect so far.
    pub(crate) visitors: Vec<Visitor>,
    /// What the API grants each user.
    pub(crate) rights: [usize; USERS],
    pub(crate) identities: Identities,
    /// State of the API.
    pub(crate) manners: BTreeMap<(u8, usize), Bootstrap>,
    pub(crate) mood: Mood,
    /// Counts moods.
    pub(crate) moods: usize,
    /// Since when the API responds.
    pub(crate) up_since: Option<u64>,
    /// Calls that the API got, and clients that were rejected without one.
    pub(crate) calls: u64,
    pub(crate) sent_away: u64,
    /// Counts the credentials of clients.
    pub(crate) cookies: usize,
    pub(crate) triggers: Vec<Trigger>,
    /// Messages that the log accepted, in its order.
    pub(crate) history: Vec<Rc<Message>>,
    /// Counts attempts to publish.
    pub(crate) attempts: u64,
    pub(crate) oracle: Oracle,
    pub(crate) touched: Touched,
    /// No more faults.
    pub(crate) is_calm: bool,
    trace: Option<Trace>,
    steps: u64,
    /// Gaps that nodes found.
    pub(crate) gaps: u64,
    /// Commands that shards carried out.
    pub(crate) commands: u64,
}

impl Sim {
    pub(crate) fn new(plan: Rc<Plan>, trace: Option<Trace>) -> Self {
        let mut oracle = Oracle::new(plan.shape.exact, plan.shape.rechecks);
        let clients = 0..plan.shape.clients as u64;
        let clients = clients.map(|client| Client::new(plan.seed ^ (client + 1) << 16));
        let mut events = Events::default();
        let nodes = (0..plan.shape.nodes)
            .map(|index| Node::new(&plan, index, oracle.begins(), &events.clock))
            .collect();
        for (index, timed) in plan.actions.iter().enumerate() {
            events.at(timed.at, Event::Act(index));
        }
        let mut sim = Self {
            events,
            nodes,
            clients: clients.collect(),
            connections: Vec::new(),
            visitors: Vec::new(),
            rights: [0; USERS],
            identities: Identities::new(),
            manners: BTreeMap::new(),
            mood: Mood::Works,
            moods: 0,
            up_since: Some(0),
            calls: 0,
            sent_away: 0,
            cookies: 0,
            triggers: Vec::new(),
            history: Vec::new(),
            attempts: 0,
            oracle,
            touched: Touched::default(),
            is_calm: false,
            trace,
            steps: 0,
            gaps: 0,
            commands: 0,
            plan,
        };
        for node in 0..sim.nodes.len() {
            sim.begin(node);
        }
        sim
    }

    /// Everything, to the end.
    pub(crate) fn run(mut self) -> Outcome {
        let duration = self.plan.shape.duration;
        self.until(duration);
        self.calm();
        self.until(duration + SETTLES);
        if self.oracle.violation.is_none() {
            self.oracle.settled(self.events.now);
            for node in self.nodes.iter().filter(|node| node.is_up) {
                self.oracle.check_carried_out(node.life);
            }
        }
        for client in 0..self.clients.len() {
            if client % 2 == 0 {
                self.leave(client);
            } else {
                self.cut(client, false);
            }
        }
        self.until(duration + 2 * SETTLES);
        self.check_leftover();
        Outcome {
            violation: self.oracle.violation,
            trace: Vec::new(),
            steps: self.steps,
            ms: self.events.now,
            received: self.oracle.received,
            connections: self.connections.len() as u64,
            gaps: self.gaps,
            commands: self.commands,
            calls: self.calls,
            sent_away: self.sent_away,
        }
    }

    fn check_leftover(&mut self) {
        if self.oracle.open() > 0 {
            let open = self.oracle.open();
            self.oracle
                .violation(|| format!("{open} connections were never ended"));
        }
        for (index, node) in self.nodes.iter_mut().enumerate() {
            if let Some(left) = node.leftover().filter(|_| node.is_up) {
                self.oracle
                    .violation(|| format!("node {index} has left over: {left}"));
            }
        }
    }

    /// No more faults.
    fn calm(&mut self) {
        self.note(|| "calm".into());
        self.is_calm = true;
        self.mood(Mood::Works, 0);
        for node in &mut self.nodes {
            node.lose = 0;
            node.repeat = 0;
        }
        // Small buffers would make the delivery of the backlog take long.
        for connection in &self.connections {
            connection.wire.borrow_mut().capacity = usize::MAX;
        }
        for client in 0..self.clients.len() {
            self.pace(client, Pace::All);
        }
    }

    fn until(&mut self, end: u64) {
        while self.oracle.violation.is_none()
            && let Some(event) = self.events.next(end)
        {
            self.steps += 1;
            self.step(event);
        }
    }

    /// A line of the trace.
    pub(crate) fn note(&mut self, text: impl FnOnce() -> String) {
        if let Some(trace) = &self.trace {
            trace
                .borrow_mut()
                .push(format!("{:>8} {}", self.events.now, text()));
        }
    }

    fn lives(&self, node: usize, life: usize) -> bool {
        self.nodes[node].is_up && self.nodes[node].life == life
    }

    fn is_linked(&self, node: usize, life: usize, link: u32) -> bool {
        self.lives(node, life) && self.nodes[node].links == link
    }

    fn step(&mut self, event: Event) {
        match event {
            Event::Act(index) => self.act(self.plan.actions[index].action),
            Event::Answer {
                node,
                life,
                call,
                says,
            } if self.lives(node, life) => self.answer(node, call, says),
            Event::GuardDue { node, life } if self.lives(node, life) => self.guard_due(node),
            Event::Probe { node, life } if self.lives(node, life) => self.probe(node),
            Event::Probed {
                node,
                life,
                answered,
            } if self.lives(node, life) => self.probed(node, answered),
            Event::Leaves(visitor) => self.leaves(visitor),
            Event::Impatient(visitor) => self.check_patience(visitor),
            Event::Recovers(mood) => self.recovers(mood),
            Event::Return { client, attempt } => self.returned(client, attempt),
            Event::Authenticated {
                node,
                life,
                number,
                key,
                said,
            } if self.lives(node, life) => self.authenticated(number, key, said),
            Event::Arrived(number) => self.arrived(number),
            Event::HungUp(number) => self.hung_up(number),
            Event::Released(number) => self.check_released(number),
            Event::Reads(number) => self.reads(number),
            Event::Turn { node, life, shard } if self.lives(node, life) => self.turn(node, shard),
            Event::Post {
                trigger,
                tries,
                node,
            } => self.post(trigger, tries, node),
            Event::Logged(message) => self.logged(&message),
            Event::Taken {
                node,
                life,
                attempt,
            } if self.lives(node, life) => {
                if let Some(waiting) = self.nodes[node].waiting.get_mut(&attempt) {
                    waiting.is_taken = true;
                }
            }
            Event::Timeout {
                node,
                life,
                attempt,
            } if self.lives(node, life) => self.fail(node, attempt),
            Event::Consume { node, life, link } if self.is_linked(node, life, link) => {
                self.consume(node);
            }
            Event::Link { node, life, link } if self.is_linked(node, life, link) => self.link(node),
            Event::Check { node, life, link } if self.is_linked(node, life, link) => {
                self.check(node);
            }
            Event::Proof {
                node,
                life,
                link,
                serial,
            } if self.is_linked(node, life, link) => self.prove(node, serial),
            Event::Wave { node, life, shard } if self.lives(node, life) => self.wave(node, shard),
            Event::RecheckDue { node, life } if self.lives(node, life) => self.recheck_due(node),
            Event::Drain { node, life } if self.lives(node, life) => self.drain_due(node),
            Event::CatchesUp { node, life } if self.lives(node, life) => self.look_at_queue(node),
            Event::EndsTriggers { node, life } if self.lives(node, life) => {
                self.look_at_triggers(node);
            }
            Event::Up(node) => {
                self.nodes[node] =
                    Node::new(&self.plan, node, self.oracle.begins(), &self.events.clock);
                self.begin(node);
            }
            // Its recipient is gone.
            Event::Answer { .. }
            | Event::Authenticated { .. }
            | Event::GuardDue { .. }
            | Event::Probe { .. }
            | Event::Probed { .. }
            | Event::Turn { .. }
            | Event::Taken { .. }
            | Event::Timeout { .. }
            | Event::Consume { .. }
            | Event::Link { .. }
            | Event::Check { .. }
            | Event::Proof { .. }
            | Event::Wave { .. }
            | Event::Drain { .. }
            | Event::RecheckDue { .. }
            | Event::CatchesUp { .. }
            | Event::EndsTriggers { .. } => {}
        }
        self.look_at_touched();
    }

    fn act(&mut self, action: Action) {
        self.note(|| format!("{action:?}"));
        match action {
            Action::Connect {
                client,
                node,
                grants,
                bootstrap,
            } => self.connect_as(client, node, grants, bootstrap),
            Action::Subscribe { client, room } => self.subscribe(client, room),
            Action::Unsubscribe { client, which } => self.unsubscribe(client, which),
            Action::Ping(client) => self.ping(client),
            Action::Read(client, pace) => self.pace(client, pace),
            Action::Cut { client, silent } => self.cut(client, silent),
            Action::Leave(client) => self.leave(client),
            Action::Publish {
                node,
                rooms,
                count,
                bytes,
            } => {
                let trigger = Trigger {
                    rooms: rooms.to_vec(),
                    bytes,
                    order: None,
                };
                (0..count).for_each(|_| self.publish(node, trigger.clone()));
            }
            Action::Command {
                node,
                order,
                around,
            } => self.command(node, order, around),
            Action::Crash(node, back) => self.end(node, back),
            Action::Drain { node, delay, back } => self.begin_drain(node, delay, back),
            Action::Hurry(node) => self.hurry(node),
            Action::Stall(node, shard, ms) => {
                if let Some(shard) = self.nodes[node].shards.get_mut(shard) {
                    shard.stalled_until = self.events.now + ms;
                }
            }
            Action::Lose(node, count) => self.nodes[node].lose += count,
            Action::Repeat(node, count) => self.nodes[node].repeat += count,
            Action::Unbind(node) => self.nodes[node].is_bound = false,
            Action::CutConsumer(node, away) => self.cut_consumer(node, away),
            Action::CutPublisher(node) => self.cut_publisher(node),
            Action::Mood(mood, ms) => self.mood(mood, ms),
            Action::Crowd {
                node,
                address,
                count,
                same,
                bootstrap,
                patience,
            } => self.crowd(
                node,
                Crowd {
                    address,
                    count,
                    same,
                    bootstrap,
                    patience,
                },
            ),
        }
    }

    fn look_at_touched(&mut self) {
        let touched = std::mem::take(&mut *self.touched.borrow_mut());
        for number in touched {
            self.look(number);
        }
    }
}
