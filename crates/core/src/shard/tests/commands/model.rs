//! Random interleavings of commands, publications, requests and new connections on several shards,
//! against a naive interpretation of the order.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use proptest::prelude::*;

use super::{signed_out, who};
use crate::command::{Action, Command};
use crate::publication::Publication;
use crate::select::Selection;
use crate::shard::tests::kit::*;

const ROOMS: [&str; 3] = [r#"{"a":1}"#, r#"{"a":2}"#, r#"{"b":1}"#];
const USERS: usize = 3;
const LABELS: [&str; 2] = ["x", "y"];

#[derive(Clone, Copy, Debug)]
enum Target {
    User(usize),
    Label(usize),
    Room(usize),
    Everyone,
}

#[derive(Clone, Debug)]
enum Operation {
    /// The API is queried about a user, for a connection of this shard.
    Ask(usize, usize),
    /// The connection with the oldest API query is opened.
    Enter,
    Subscribe(usize, usize),
    Publish(usize),
    /// The user has these rooms from now on, as bits, and this label.
    Permit(usize, u8, usize),
    Unsubscribe(Target, u8),
    Disconnect(Target),
    /// A shard works, within so many units.
    Slice(usize, u64),
}

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
            shards: (0..shards).map(|_| World::new()).collect(),
            position: 0,
            last_command: 0,
            order: BTreeMap::new(),
            database: [Rights { rooms: 7, label: 0 }; USERS],
            waiting: VecDeque::new(),
            clients: Vec::new(),
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
            Operation::Slice(shard, units) => {
                let index = shard % self.shards.len();
                let world = &mut self.shards[index];
                world.begin(units);
                world.slice(4);
                world.begin(units);
                world.clean_up();
            }
        }
        for known in &mut self.clients {
            known.heard.extend(known.client.hears());
        }
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
            world.shard.publish([publication].into());
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
        for world in &mut self.shards {
            world.shard.command(Arc::clone(&command));
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
        if !world.is_open(&known.client) {
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

    /// The permissions of a client when everything before `position` is done; none: it is
    /// disconnected.
    fn rights(&self, known: &Known, position: u64) -> Option<Rights> {
        let mut rights = known.rights;
        let since = self.order.range(known.asked_at + 1..);
        for (_, done) in since.take_while(|(at, _)| **at < position) {
            match done {
                Done::Permit(user, new) if *user == known.user => rights = *new,
                Done::Disconnect(target) if is_meant(*target, known.user, rights) => return None,
                Done::Publication(_)
                | Done::Permit(..)
                | Done::Unsubscribe(..)
                | Done::Disconnect(_) => {}
            }
        }
        Some(rights)
    }

    /// Whether a command between the positions revokes the room of a client.
    fn is_taken(&self, known: &Known, of: usize, after: u64, before: u64) -> bool {
        let since = self.order.range(after + 1..);
        let mut commands = since.take_while(|(at, _)| **at < before);
        commands.any(|(&at, done)| {
            let Some(rights) = self.rights(known, at) else {
                return true;
            };
            match done {
                Done::Publication(_) => false,
                Done::Permit(user, new) => *user == known.user && !has(new.rooms, of),
                Done::Unsubscribe(target, rooms) => {
                    is_meant(*target, known.user, rights) && has(*rooms, of)
                }
                Done::Disconnect(target) => is_meant(*target, known.user, rights),
            }
        })
    }

    /// Does all queued work, then compares.
    fn finish(mut self) {
        for world in &mut self.shards {
            world.begin(0);
            world.deliver();
            world.clean_up();
        }
        for known in &mut self.clients {
            known.heard.extend(known.client.hears());
        }
        for known in &self.clients {
            self.check(known);
        }
        for world in &self.shards {
            world.check_accounts();
        }
    }

    fn check(&self, known: &Known) {
        let frames = known.heard.iter().filter(|line| line.contains("publish"));
        let heard: Vec<u64> = frames
            .map(|line| {
                let line: serde_json::Value = serde_json::from_str(line).unwrap();
                line["data"].as_u64().unwrap()
            })
            .collect();
        assert!(heard.is_sorted_by(|a, b| a < b), "once each: {heard:?}");
        for (&at, done) in &self.order {
            let &Done::Publication(of) = done else {
                continue;
            };
            if heard.binary_search(&at).is_ok() {
                let rights = self.rights(known, at).expect("not after a disconnect");
                assert!(has(rights.rooms, of), "{at} after the room was lost");
                // It subscribed since the last command that revoked the room.
                let may = |&(room, when, _): &(usize, u64, u64)| {
                    room == of && !self.is_taken(known, of, when, at)
                };
                assert!(known.subscribed.iter().any(may), "{at} was taken");
            } else {
                // Commands that the shard had not executed by then may have revoked it as well.
                let must = |&(room, when, done): &(usize, u64, u64)| {
                    room == of && when < at && !self.is_taken(known, of, done, at)
                };
                assert!(!known.subscribed.iter().any(must), "{at} is missing");
            }
        }
        let is_over = self.rights(known, u64::MAX).is_none();
        let closes = known.heard.iter().filter(|line| line.starts_with("close"));
        assert_eq!(closes.count(), usize::from(is_over), "{:?}", known.heard);
    }
}

fn operations() -> impl Strategy<Value = Vec<Operation>> {
    let target = prop_oneof![
        3 => (0..USERS).prop_map(Target::User),
        1 => (0..LABELS.len()).prop_map(Target::Label),
        1 => (0..ROOMS.len()).prop_map(Target::Room),
        1 => Just(Target::Everyone),
    ];
    let operation = prop_oneof![
        4 => (0..4usize, 0..USERS).prop_map(|(shard, user)| Operation::Ask(shard, user)),
        4 => Just(Operation::Enter),
        12 => (0..16usize, 0..ROOMS.len()).prop_map(|(c, room)| Operation::Subscribe(c, room)),
        12 => (0..ROOMS.len()).prop_map(Operation::Publish),
        4 => (0..USERS, 0..8u8, 0..LABELS.len()).prop_map(|(u, r, l)| Operation::Permit(u, r, l)),
        2 => (target.clone(), 0..8u8).prop_map(|(target, r)| Operation::Unsubscribe(target, r)),
        1 => target.prop_map(Operation::Disconnect),
        12 => (0..4usize, prop_oneof![Just(0), 1..50_000u64])
            .prop_map(|(shard, units)| Operation::Slice(shard, units)),
    ];
    proptest::collection::vec(operation, 0..150)
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
