//! One run: due events are executed, one after the other, until none is left.

mod act;
mod client;
mod command;
mod drain;
mod entrance;
mod event;
mod life;
mod log;
mod page;
mod place;
mod recheck;
mod retained;
mod tickets;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use crate::Outcome;
use crate::api::{Bootstrap, Mood};
use crate::events::Events;
use crate::node::{Message, Node};
use crate::oracle::Oracle;
use crate::orders::{Identities, Order, TENANTS, USERS};
use crate::plan::{Pace, Plan};
use crate::sim::client::{Client, Connection};
use crate::sim::entrance::Visitor;
pub(crate) use crate::sim::event::Event;
use crate::tickets::Proofs;
use crate::wire::Touched;

/// The span of a client that was turned away for no reason of the API, in ms.
const AGAIN: u64 = 500;

/// How long everything has to settle at the end, in ms.
const SETTLES: u64 = 60_000;

/// Trace of the run, a line each.
pub(crate) type Trace = Rc<RefCell<Vec<String>>>;

/// Publications of the API.
#[derive(Clone, Debug)]
pub(crate) struct Trigger {
    pub(crate) tenant: usize,
    /// Its name, which another one of another tenant may have as well.
    pub(crate) id: usize,
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
    /// What the API grants each account.
    pub(crate) rights: [usize; USERS * TENANTS],
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
    /// Clients that were let in by their tickets.
    pub(crate) resumed: u64,
    pub(crate) proofs: Proofs,
    /// Counts the credentials of clients.
    pub(crate) cookies: usize,
    pub(crate) triggers: Vec<Trigger>,
    /// Messages that the log accepted, in its order.
    pub(crate) history: Vec<Rc<Message>>,
    /// How often the log lost its end.
    pub(crate) rewinds: u32,
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
        let mut oracle = Oracle::new(&plan.shape);
        let clients = 0..plan.shape.clients as u64;
        let clients = clients.map(|client| {
            let is_page = plan.shape.pages && client % 2 == 1;
            Client::new(plan.seed ^ (client + 1) << 16, is_page)
        });
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
            rights: [0; USERS * TENANTS],
            identities: Identities::new(),
            manners: BTreeMap::new(),
            mood: Mood::Works,
            moods: 0,
            up_since: Some(0),
            calls: 0,
            sent_away: 0,
            resumed: 0,
            proofs: Proofs::default(),
            cookies: 0,
            triggers: Vec::new(),
            history: Vec::new(),
            rewinds: 0,
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
            for client in 0..self.clients.len() {
                let connection = self.clients[client].connection;
                if let Some(connection) = connection.filter(|_| self.is_page(client)) {
                    let now = self.events.now;
                    self.oracle.page_settled(client, connection, now);
                }
            }
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
            resumed: self.resumed,
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
            Event::Resumes(visitor) => self.looks_at_ticket(visitor),
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

    fn look_at_touched(&mut self) {
        let touched = std::mem::take(&mut *self.touched.borrow_mut());
        for number in touched {
            self.look(number);
        }
    }
}
