//! Random interleavings of commands, publications, requests and new connections on several shards,
//! against a naive interpretation of the order.

mod judge;
mod operations;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use proptest::prelude::*;

use self::operations::{Operation, Target, operations};
use super::{signed_out, who};
use crate::command::{Action, Command};
use crate::publication::Publication;
use crate::recheck::{Recheck, RecheckOutcome, Rechecked};
use crate::select::Selection;
use crate::shard::SessionKey;
use crate::shard::hold::State;
use crate::shard::tests::kit::*;

const ROOMS: [&str; 3] = [r#"{"a":1}"#, r#"{"a":2}"#, r#"{"b":1}"#];
const USERS: usize = 3;
const LABELS: [&str; 2] = ["x", "y"];

/// The API's answer about a user.
#[derive(Clone, Copy, Debug)]
struct Rights {
    rooms: u8,
    label: usize,
}

#[derive(Clone, Debug)]
enum Done {
    Publication(usize),
    Permit(usize, Rights),
    Unsubscribe(Target, u8),
    Disconnect(Target),
    Invalidate(usize),
}

/// What is in the queue of a shard, but for publications.
#[derive(Clone, Copy, Debug)]
enum Queued {
    /// The command at a position.
    Command(u64),
    /// The API's answer about a session, to a query at a position.
    Answer(SessionKey, u64, Rights),
}

/// A session for which a query is requested.
#[derive(Clone, Copy, Debug)]
struct Requested {
    shard: usize,
    key: SessionKey,
    not_before: u64,
}

/// A query that is not answered yet.
#[derive(Clone, Copy, Debug)]
struct Query {
    requested: Requested,
    user: usize,
    asked_at: u64,
    rights: Rights,
}

/// What a client may be sent.
#[derive(Debug, Default)]
struct Timeline {
    /// Its rights from a position on, the latest last; none: nothing is sent.
    rights: Vec<(u64, Option<Rights>)>,
    /// Rooms whose subscriptions are dropped at a position, as bits.
    taken: Vec<(u64, u8)>,
    /// It is disconnected at this position.
    end: Option<u64>,
    /// It may be disconnected at this position.
    may_end: Option<u64>,
    /// It was held at this position first: what was published after it may be missing where it is
    /// disconnected, because it may not have caught up.
    held_since: Option<u64>,
}

struct Waiting {
    shard: usize,
    user: usize,
    asked_at: u64,
    rights: Rights,
}

struct Known {
    client: Client,
    shard: usize,
    user: usize,
    /// The last command that the API knew of.
    asked_at: u64,
    /// The API's answer.
    rights: Rights,
    /// The rooms that it subscribed to, each with the last position then, and with that of the last
    /// command that its shard had executed.
    subscribed: Vec<(usize, u64, u64)>,
    heard: Vec<String>,
}

struct Model {
    shards: Vec<World>,
    position: u64,
    last_command: u64,
    order: BTreeMap<u64, Done>,
    database: [Rights; USERS],
    waiting: VecDeque<Waiting>,
    clients: Vec<Known>,
    queued: Vec<Vec<Queued>>,
    requested: Vec<Requested>,
    queries: VecDeque<Query>,
}

fn has(rooms: u8, room: usize) -> bool {
    rooms & (1 << room) != 0
}

fn grants(rooms: u8) -> String {
    let granted = (0..ROOMS.len()).filter(|room| has(rooms, *room));
    let granted: Vec<_> = granted.map(|room| ROOMS[room]).collect();
    format!("[{}]", granted.join(","))
}

fn is_meant(target: Target, user: usize, rights: Rights) -> bool {
    match target {
        Target::User(meant) => meant == user,
        Target::Label(label) => rights.label == label,
        Target::Room(room) => has(rights.rooms, room),
        Target::Everyone => true,
    }
}

fn selection(target: Target) -> Selection {
    let mut selection = Selection::default();
    match target {
        Target::User(user) => selection.users.push(user.to_string().into()),
        Target::Label(label) => selection.labels.push(LABELS[label].into()),
        Target::Room(of) => selection.rooms.push(room(ROOMS[of])),
        Target::Everyone => selection.everyone = true,
    }
    selection
}

impl Model {
    fn new(shards: usize) -> Self {
        Self {
            shards: (0..shards)
                .map(|_| World::with(recheck_settings()))
                .collect(),
            position: 0,
            last_command: 0,
            order: BTreeMap::new(),
            database: [Rights { rooms: 7, label: 0 }; USERS],
            waiting: VecDeque::new(),
            clients: Vec::new(),
            queued: vec![Vec::new(); shards],
            requested: Vec::new(),
            queries: VecDeque::new(),
        }
    }

    fn apply(&mut self, operation: &Operation) {
        match *operation {
            Operation::Ask(shard, user) => self.waiting.push_back(Waiting {
                shard: shard % self.shards.len(),
                user,
                asked_at: self.last_command,
                rights: self.database[user],
            }),
            Operation::Enter => self.enter(),
            Operation::Subscribe(client, of) => self.subscribe(client, of),
            Operation::Publish(of) => self.publish(of),
            Operation::Permit(user, rooms, label) => {
                // The API changes its state before it publishes the command.
                self.database[user] = Rights { rooms, label };
                let done = Done::Permit(user, self.database[user]);
                let action = permit_for(&grants(rooms), &[LABELS[label]]);
                self.command(done, Target::User(user), action);
            }
            Operation::Unsubscribe(target, rooms) => {
                let action = unsubscribe_from(&grants(rooms));
                self.command(Done::Unsubscribe(target, rooms), target, action);
            }
            Operation::Disconnect(target) => {
                self.command(Done::Disconnect(target), target, signed_out());
            }
            Operation::Invalidate(user, rooms, label) => {
                self.database[user] = Rights { rooms, label };
                self.command(Done::Invalidate(user), Target::User(user), invalidate());
            }
            Operation::Query(which) => self.query(which),
            Operation::Respond => self.respond(false),
            Operation::Slice(shard, units) => {
                let index = shard % self.shards.len();
                let world = &mut self.shards[index];
                world.begin(units);
                world.slice(4);
                world.begin(units);
                world.clean_up();
            }
        }
        self.listen();
    }

    /// Takes what clients were sent, and what the shards request.
    fn listen(&mut self) {
        for known in &mut self.clients {
            known.heard.extend(known.client.hears());
        }
        for (shard, world) in self.shards.iter_mut().enumerate() {
            for request in world.requests() {
                let (Request::Recheck(Recheck { key, .. }) | Request::Cancel(key)) = request;
                self.requested
                    .retain(|known| (known.shard, known.key) != (shard, key));
                if let Request::Recheck(Recheck { not_before, .. }) = request {
                    self.requested.push(Requested {
                        shard,
                        key,
                        not_before,
                    });
                }
            }
        }
    }

    fn query(&mut self, which: usize) {
        if self.requested.is_empty() {
            return;
        }
        let requested = self.requested.swap_remove(which % self.requested.len());
        let Requested {
            shard,
            key,
            not_before,
        } = requested;
        assert!(not_before <= self.last_command);
        let mut clients = self.clients.iter();
        let known = clients.find(|known| known.shard == shard && known.client.id == key);
        let user = known.expect("an admitted client").user;
        self.queries.push_back(Query {
            requested,
            user,
            asked_at: self.last_command,
            rights: self.database[user],
        });
    }

    fn respond(&mut self, is_idle: bool) {
        let Some(query) = self.queries.pop_front() else {
            return;
        };
        let Query {
            requested,
            user,
            asked_at,
            rights,
        } = query;
        let Requested {
            shard,
            key,
            not_before,
        } = requested;
        let mut since = self.order.range(not_before + 1..);
        let is_permit =
            |(_, done): (&u64, &Done)| matches!(done, Done::Permit(of, _) if *of == user);
        if !is_idle && since.any(is_permit) {
            // It makes the answer needless, and whether it does before the answer has its turn
            // depends on how far the shard is.
            let is_same = |other: &Requested| (other.shard, other.key) == (shard, key);
            if !self.requested.iter().any(is_same) {
                self.requested.push(requested);
            }
            return;
        }
        let world = &mut self.shards[shard];
        world.who = who(&user.to_string(), &[LABELS[rights.label]]);
        let outcome = RecheckOutcome::Permitted(world.rights(&grants(rights.rooms)));
        world.shard.rechecked(Arc::new(Rechecked {
            tenant: None,
            keys: vec![key],
            asked_at,
            has_token: false,
            outcome,
        }));
        self.queued[shard].push(Queued::Answer(key, asked_at, rights));
    }

    fn place(&mut self, done: Done) -> u64 {
        self.position += 1;
        self.order.insert(self.position, done);
        for world in &mut self.shards {
            world.outside.position = self.position;
        }
        self.position
    }

    fn publish(&mut self, of: usize) {
        let position = self.place(Done::Publication(of));
        for world in &mut self.shards {
            let data = Bytes::from(position.to_string());
            let rooms = vec![room(ROOMS[of])];
            let publication = Publication::new(position, world.tenant, rooms, data);
            let batch = [publication].into();
            world.log(&batch);
            world.shard.publish(batch);
        }
    }

    fn command(&mut self, done: Done, target: Target, action: Action) {
        let position = self.place(done);
        self.last_command = position;
        let command = Arc::new(Command {
            position,
            selection: selection(target),
            action,
            bytes: 1,
        });
        for (world, queued) in self.shards.iter_mut().zip(&mut self.queued) {
            world.shard.command(Arc::clone(&command));
            queued.push(Queued::Command(position));
        }
    }

    fn enter(&mut self) {
        let Some(waiting) = self.waiting.pop_front() else {
            return;
        };
        let Waiting {
            shard,
            user,
            asked_at,
            rights,
        } = waiting;
        let world = &mut self.shards[shard];
        world.begin(0);
        world.who = who(&user.to_string(), &[LABELS[rights.label]]);
        world.asked_at = asked_at;
        self.clients.push(Known {
            client: world.open_with(&grants(rights.rooms), usize::MAX),
            shard,
            user,
            asked_at,
            rights,
            subscribed: Vec::new(),
            heard: Vec::new(),
        });
    }

    fn subscribe(&mut self, client: usize, of: usize) {
        if self.clients.is_empty() {
            return;
        }
        let index = client % self.clients.len();
        let known = &mut self.clients[index];
        let world = &mut self.shards[known.shard];
        // What a held client sends is processed later.
        let is_live = world.shard.holds.state(known.client.id) == State::Live;
        if !world.is_open(&known.client) || !is_live {
            return;
        }
        world.begin(0);
        world.say(&known.client, &subscribe(ROOMS[of], &of.to_string()));
        let heard = known.client.hears();
        if heard.last().is_some_and(|answer| answer == SUCCESS) {
            let done = world.outside.carried_out.last().map_or(0, |done| done.0);
            known.subscribed.push((of, self.position, done));
        }
        known.heard.extend(heard);
    }
}

proptest! {
    #[test]
    fn rights_travel_the_order(
        shards in prop_oneof![Just(1), Just(2), Just(4)],
        operations in operations(),
    ) {
        let mut model = Model::new(shards);
        for operation in &operations {
            model.apply(operation);
        }
        model.finish();
    }
}

/// Three holds of a session that catches up, and the `permit` behind them: what is published then is
/// for its permissions, although the next command takes them.
#[test]
fn a_permit_replaces_all_holds_before_it() {
    let mut model = Model::new(1);
    for operation in [
        Operation::Ask(0, 0),
        Operation::Invalidate(0, 0, 0),
        Operation::Permit(0, 5, 0),
        Operation::Invalidate(0, 0, 0),
        Operation::Enter,
        Operation::Invalidate(0, 0, 0),
        Operation::Subscribe(0, 0),
        Operation::Invalidate(0, 0, 0),
        Operation::Slice(0, 0),
        Operation::Slice(0, 0),
        Operation::Permit(0, 5, 0),
        Operation::Publish(0),
        Operation::Permit(0, 0, 0),
    ] {
        model.apply(&operation);
    }
    model.finish();
}

/// A `disconnect` of a label that a client has only by an answer from before a later `invalidate`.
#[test]
fn an_answer_that_is_void_names_nobody() {
    let mut model = Model::new(2);
    for operation in [
        Operation::Ask(0, 0),
        Operation::Enter,
        Operation::Ask(0, 0),
        Operation::Enter,
        Operation::Enter,
        Operation::Ask(1, 0),
        Operation::Invalidate(0, 0, 0),
        Operation::Slice(0, 0),
        Operation::Ask(0, 0),
        Operation::Ask(0, 0),
        Operation::Ask(0, 0),
        Operation::Permit(0, 0, 0),
        Operation::Invalidate(0, 0, 1),
        Operation::Ask(0, 0),
        Operation::Query(0),
        Operation::Disconnect(Target::Label(1)),
        Operation::Invalidate(0, 0, 0),
    ] {
        model.apply(&operation);
    }
    model.finish();
}
