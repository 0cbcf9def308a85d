//! The registry against a naive list of subscriptions.

use std::collections::{BTreeMap, HashSet};

use ht_proto::client::{ClientMessage, MessageLimits};
use ht_proto::room::RoomLimits;
use proptest::prelude::*;

use super::*;

const ROOMS: &[&str] = &[
    "{}",
    r#"{"a":1}"#,
    r#"{"a":2}"#,
    r#"{"a":"*"}"#,
    r#"{"a":1,"b":1}"#,
    r#"{"a":1,"b":"*"}"#,
];
const NAMES: &[&str] = &["1", "\"1\"", "null"];

fn name(text: &str) -> RequestId {
    let limits = MessageLimits {
        request_id_bytes: 100,
        room: RoomLimits::TRUSTED,
    };
    let message = format!(r#"{{"type":"unsubscribe","requestId":{text}}}"#);
    let Ok(ClientMessage::Unsubscribe { request_id }) = ClientMessage::parse(&message, &limits)
    else {
        panic!("{text}")
    };
    request_id
}

fn room(text: &str) -> Room {
    Room::parse(text, RoomLimits::TRUSTED).unwrap()
}

#[derive(Clone, Debug)]
enum Operation {
    Subscribe(u32, usize, usize),
    Unsubscribe(u32, usize),
    /// Keeps the subscriptions to these rooms, as bits, but for those with this name.
    Retain(u32, u8, usize),
    Disconnect(u32),
    Publish(u32, Vec<usize>),
}

/// The tenant of a connection: two of them have two connections each.
fn tenant(connection: u32) -> TenantId {
    TenantId::new(connection / 2)
}

fn operations() -> impl Strategy<Value = Vec<Operation>> {
    let operation = prop_oneof![
        5 => (0..4u32, 0..ROOMS.len(), 0..NAMES.len())
            .prop_map(|(c, r, n)| Operation::Subscribe(c, r, n)),
        3 => (0..4u32, 0..NAMES.len()).prop_map(|(c, n)| Operation::Unsubscribe(c, n)),
        2 => (0..4u32, any::<u8>(), 0..NAMES.len())
            .prop_map(|(c, rooms, n)| Operation::Retain(c, rooms, n)),
        1 => (0..4u32).prop_map(Operation::Disconnect),
        3 => (0..2u32, proptest::collection::vec(0..ROOMS.len(), 0..4))
            .prop_map(|(tenant, rooms)| Operation::Publish(tenant, rooms)),
    ];
    proptest::collection::vec(operation, 0..80)
}

/// Whether a subscription to `a` matches a trigger for `b`, spelled out by hand.
fn hears(matching: Matching, a: usize, b: usize) -> bool {
    if matching == Matching::Exact || a == b {
        return a == b;
    }
    matches!((a.min(b), a.max(b)), (1 | 2, 3) | (4, 5))
}

#[derive(Default)]
struct Model(Vec<(u32, usize, usize)>);

impl Model {
    fn rooms(&self) -> BTreeMap<(TenantId, usize), usize> {
        let mut rooms = BTreeMap::new();
        self.0
            .iter()
            .for_each(|&(c, room, _)| *rooms.entry((tenant(c), room)).or_default() += 1);
        rooms
    }
}

fn check(matching: Matching, operations: &[Operation]) {
    let mut registry = Registry::new(matching, Hasher::default());
    let mut owners: Vec<Own> = (0..4).map(|_| Own::default()).collect();
    let mut model = Model::default();
    for operation in operations {
        let before = model.rooms();
        let mut closed = Vec::new();
        match operation {
            &Operation::Subscribe(c, r, n) => {
                let own = &mut owners[c as usize];
                let held = registry.names(
                    ConnectionId(c),
                    (tenant(c), &room(ROOMS[r])),
                    &name(NAMES[n]),
                );
                let known = model.0.contains(&(c, r, n));
                let of_room = |&&(owner, known, _): &&(u32, usize, usize)| (owner, known) == (c, r);
                match held {
                    Names::Subscribed(id) => {
                        let (owner, tail) = registry.receiver(id);
                        assert!(known && owner == ConnectionId(c));
                        assert_eq!(server::request_id_of(tail), NAMES[n].as_bytes());
                    }
                    Names::Weight(weight) => {
                        assert!(!known);
                        assert_eq!(weight, model.0.iter().filter(of_room).count());
                    }
                }
                let (room, name) = (room(ROOMS[r]), name(NAMES[n]));
                let done = registry.subscribe(subscriber(c), own, room, &name);
                assert_eq!(known, done == Subscribed::Already);
                assert_eq!(
                    !before.contains_key(&(tenant(c), r)),
                    matches!(done, Subscribed::Opened(_))
                );
                if !known {
                    model.0.push((c, r, n));
                }
            }
            &Operation::Unsubscribe(c, n) => {
                let own = &mut owners[c as usize];
                let mut dropped = 0;
                while registry.unsubscribe_one(ConnectionId(c), own, &name(NAMES[n]), |of, room| {
                    closed.push((of, room.clone()));
                }) {
                    dropped += 1;
                }
                assert!(!registry.has_name(ConnectionId(c), &name(NAMES[n])));
                let count = model.0.len();
                model
                    .0
                    .retain(|&(owner, _, known)| (owner, known) != (c, n));
                assert_eq!(dropped, count - model.0.len());
            }
            &Operation::Retain(c, rooms, n) => {
                let kept = |r: usize, known: &str| rooms & (1 << r) != 0 && known != NAMES[n];
                let mut dropped = Vec::new();
                let keep = |known: &Room, name: &str| {
                    let r = ROOMS.iter().position(|text| room(text) == *known).unwrap();
                    let keeps = kept(r, name);
                    if !keeps {
                        dropped.push((r, name.to_owned()));
                    }
                    keeps
                };
                let held = model.0.iter().filter(|&&(owner, ..)| owner == c).count();
                let close = |of, room: &Room| closed.push((of, room.clone()));
                assert_eq!(registry.retain(&mut owners[c as usize], keep, close), held);
                let (gone, left): (Vec<_>, _) = std::mem::take(&mut model.0)
                    .into_iter()
                    .partition(|&(owner, r, known)| owner == c && !kept(r, NAMES[known]));
                model.0 = left;
                let gone = gone
                    .iter()
                    .map(|&(_, r, known)| (r, NAMES[known].to_owned()));
                let mut gone: Vec<_> = gone.collect();
                gone.sort();
                dropped.sort();
                assert_eq!(dropped, gone);
            }
            &Operation::Disconnect(c) => {
                let own = &mut owners[c as usize];
                while registry.drop_one(own, |of, room| closed.push((of, room.clone()))) {}
                assert!(own.is_empty());
                model.0.retain(|&(owner, ..)| owner != c);
            }
            Operation::Publish(number, rooms) => {
                let named: Vec<_> = rooms.iter().map(|&r| ROOMS[r]).collect();
                let of = TenantId::new(*number);
                let mut heard: Vec<_> = receivers(&mut registry, of, &named)
                    .iter()
                    .map(|&id| registry.receiver(id))
                    .map(|(c, tail)| (c.0, String::from_utf8(tail.to_vec()).unwrap()))
                    .collect();
                let mut expected: Vec<_> = model
                    .0
                    .iter()
                    .filter(|(c, ..)| tenant(*c) == of)
                    .filter(|(_, own, _)| rooms.iter().any(|&r| hears(matching, *own, r)))
                    .map(|(c, _, n)| (*c, server::publish_tail(NAMES[*n])))
                    .collect();
                heard.sort();
                expected.sort();
                assert_eq!(heard, expected);
            }
        }
        let after = model.rooms();
        let gone = before.keys().filter(|room| !after.contains_key(room));
        let gone: HashSet<_> = gone.map(|&(of, r)| (of, room(ROOMS[r]))).collect();
        assert_eq!(closed.len(), gone.len());
        assert_eq!(closed.into_iter().collect::<HashSet<_>>(), gone);
        assert_eq!(registry.rooms(), after.len());
        assert_eq!(registry.subscriptions(), model.0.len());
        assert_eq!(owners.iter().map(Own::weight).sum::<usize>(), model.0.len());
    }
    for own in &mut owners {
        while registry.drop_one(own, |_, _| {}) {}
    }
    assert!(registry.pairs.is_empty() && registry.groups.is_empty());
    assert!(registry.wildcards.is_empty());
}

/// A connection of the model: each client has two.
fn subscriber(connection: u32) -> Subscriber {
    Subscriber {
        connection: ConnectionId(connection),
        tenant: tenant(connection),
        client: u64::from(connection / 2),
    }
}

/// The subscriptions that receive a publication of a tenant for these rooms.
fn receivers(registry: &mut Registry, tenant: TenantId, rooms: &[&str]) -> Vec<SubscriptionId> {
    let mut heard = Vec::new();
    registry.next_publication(1, tenant);
    for text in rooms {
        let (mut cursor, max) = (Cursor::default(), (usize::MAX, usize::MAX));
        registry.for_each_receiver(&room(text), &mut cursor, max, |id, _| heard.push(id));
        assert!(cursor.is_idle());
    }
    heard
}

proptest! {
    #[test]
    fn wildcard_registry_agrees_with_model(operations in operations()) {
        check(Matching::Wildcard, &operations);
    }

    #[test]
    fn exact_registry_agrees_with_model(operations in operations()) {
        check(Matching::Exact, &operations);
    }
}

#[test]
fn rooms_are_delivered_in_the_order_of_the_trigger() {
    let mut registry = Registry::new(Matching::Wildcard, Hasher::default());
    let mut own = Own::default();
    for (index, text) in ROOMS.iter().enumerate() {
        let name = name(&index.to_string());
        registry.subscribe(subscriber(0), &mut own, room(text), &name);
    }
    let heard = receivers(
        &mut registry,
        TenantId::MAIN,
        &[ROOMS[4], ROOMS[0], ROOMS[5]],
    );
    let names: Vec<_> = heard
        .iter()
        .map(|&id| registry.subscriptions[id.0 as usize].name())
        .collect();
    assert_eq!(names[2], b"0");
    assert_eq!(names.len(), 3);
}

#[test]
fn tables_release_memory_whichever_entries_remain() {
    let mut registry = Registry::new(Matching::Wildcard, Hasher::default());
    let mut owners: Vec<Own> = (0..1_000).map(|_| Own::default()).collect();
    for (connection, own) in (0..).zip(&mut owners) {
        for number in 0..20 {
            let text = format!(r#"{{"a":{},"b":{connection}}}"#, connection * 20 + number);
            let name = name(&number.to_string());
            registry.subscribe(subscriber(connection), own, room(&text), &name);
        }
    }
    let (full, _) = registry.slots();
    assert!(full > 100_000, "{full}");
    // Two in the middle stay: of each table little more than they need is left.
    for (connection, own) in owners.iter_mut().enumerate() {
        if connection != 300 && connection != 700 {
            while registry.drop_one(own, |_, _| {}) {}
        }
    }
    let (capacity, entries) = registry.slots();
    assert!(entries >= 120, "{entries}");
    assert!(capacity < 2_000, "{capacity}");
    assert_eq!(registry.bytes(), registry.recount());
    for own in &mut owners {
        while registry.drop_one(own, |_, _| {}) {}
    }
    let (capacity, entries) = registry.slots();
    assert!(entries == 0 && capacity < 500, "{capacity}");
    assert_eq!(registry.bytes(), 0);
}
