//! The index against a naive model that compares everything with everything.

use std::collections::hash_map::RandomState;

use ht_proto::entry::TenantId;
use ht_proto::room::RoomLimits;
use proptest::prelude::*;

use super::*;

fn room(text: &str) -> Room {
    Room::parse(text, RoomLimits::TRUSTED).unwrap()
}

/// Rooms of few keys and values, so that they often meet.
fn rooms() -> impl Strategy<Value = String> {
    let value = prop_oneof!["\"\\*\"", "[0-2]", "\"[0-2]\"", "\\[\"\\*\"\\]"];
    proptest::collection::btree_map("[abc]", value, 0..4).prop_map(|members| {
        let members: Vec<_> = members
            .iter()
            .map(|(k, v)| format!("\"{k}\":{v}"))
            .collect();
        format!("{{{}}}", members.join(","))
    })
}

fn meets(a: &serde_json::Value, b: &serde_json::Value, star_left: bool, star_right: bool) -> bool {
    let (a, b) = (a.as_object().unwrap(), b.as_object().unwrap());
    a.len() == b.len()
        && a.iter().all(|(key, left)| {
            b.get(key).is_some_and(|right| {
                left == right || (star_left && left == "*") || (star_right && right == "*")
            })
        })
}

/// An operation on a room of a tenant.
#[derive(Clone, Debug)]
enum Operation {
    Insert(TenantId, String),
    Remove(TenantId, String),
    Match(TenantId, String),
}

/// Two tenants, whose rooms never meet.
fn tenants() -> impl Strategy<Value = TenantId> {
    (0..2u32).prop_map(TenantId::new)
}

fn operations() -> impl Strategy<Value = Vec<Operation>> {
    let room = || (tenants(), rooms());
    let operation = prop_oneof![
        3 => room().prop_map(|(tenant, room)| Operation::Insert(tenant, room)),
        2 => room().prop_map(|(tenant, room)| Operation::Remove(tenant, room)),
        2 => room().prop_map(|(tenant, room)| Operation::Match(tenant, room)),
    ];
    proptest::collection::vec(operation, 0..60)
}

fn agrees_with_model(matching: Matching, operations: &[Operation]) {
    let mut index = RoomIndex::new(matching, RandomState::new());
    let mut model: Vec<((TenantId, serde_json::Value), RoomId)> = Vec::new();
    let value = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
    let star = matching == Matching::Wildcard;
    for operation in operations {
        match operation {
            Operation::Insert(tenant, text) => {
                let (id, new) = index.insert(*tenant, room(text));
                assert_eq!(index.tenant(id), *tenant);
                let inserted = (*tenant, value(text));
                let known = model.iter().find(|(known, _)| *known == inserted);
                assert_eq!(known.is_none(), new);
                match known {
                    Some((_, known)) => assert_eq!(*known, id),
                    None => model.push((inserted, id)),
                }
            }
            Operation::Remove(tenant, text) => {
                let removed = (*tenant, value(text));
                let known = model.iter().position(|(known, _)| *known == removed);
                assert_eq!(
                    index.find(*tenant, &room(text)),
                    known.map(|at| model[at].1)
                );
                if let Some(at) = known {
                    index.remove(model.swap_remove(at).1);
                }
            }
            Operation::Match(tenant, text) => {
                let mut found = Vec::new();
                let mut cursor = Cursor::default();
                index.for_each_match((*tenant, &room(text)), &mut cursor, usize::MAX, |id| {
                    found.push(id);
                    true
                });
                assert!(cursor.is_idle());
                found.sort();
                let asked = value(text);
                let naive = |star_asked| {
                    let meeting = model.iter().filter(|((of, known), _)| {
                        of == tenant && meets(known, &asked, star, star_asked)
                    });
                    let mut ids: Vec<_> = meeting.map(|(_, id)| *id).collect();
                    ids.sort();
                    ids
                };
                assert_eq!(found, naive(star), "{text}");
                assert_eq!(
                    index.permits(*tenant, &room(text)),
                    !naive(false).is_empty(),
                    "{text}"
                );
            }
        }
        assert_eq!(index.len(), model.len());
    }
    for (_, id) in model {
        index.remove(id);
    }
    assert!(index.is_empty() && index.shapes.is_empty() && index.postings.is_empty());
    assert!(index.shape_ids.is_empty() && index.posting_ids.is_empty());
}

/// Matches `asked` in slices, with operations in between. A room that is present from the first
/// slice to the last is found.
fn slices_agree_with_model(
    rooms: &[String],
    asked: &str,
    (looks, finds): (usize, usize),
    operations: &[Operation],
) {
    let mut index = RoomIndex::new(Matching::Wildcard, RandomState::new());
    let value = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
    for text in rooms {
        index.insert(TenantId::MAIN, room(text));
    }
    let mut stayed: Vec<_> = rooms.iter().map(|text| room(text)).collect();
    let mut operations = operations.iter();
    let mut cursor = Cursor::default();
    let mut found = Vec::new();
    loop {
        let mut left = finds;
        let looked =
            index.for_each_match((TenantId::MAIN, &room(asked)), &mut cursor, looks, |id| {
                assert_eq!(index.tenant(id), TenantId::MAIN);
                found.push(index.room(id).clone());
                left = left.saturating_sub(1);
                left > 0
            });
        if room(asked).wildcards() != 0 {
            assert!(looked <= looks + 1);
        }
        if cursor.is_idle() {
            break;
        }
        match operations.next() {
            Some(Operation::Insert(tenant, text)) => {
                index.insert(*tenant, room(text));
            }
            Some(Operation::Remove(tenant, text)) => {
                if let Some(id) = index.find(*tenant, &room(text)) {
                    index.remove(id);
                }
                if *tenant == TenantId::MAIN {
                    stayed.retain(|stayed| *stayed != room(text));
                }
            }
            Some(Operation::Match(..)) | None => {}
        }
    }
    let meeting = rooms
        .iter()
        .filter(|text| meets(&value(text), &value(asked), true, true));
    let meeting: Vec<_> = meeting.map(|text| room(text)).collect();
    for room in meeting.iter().filter(|room| stayed.contains(room)) {
        assert!(found.contains(room), "{room:?} was not found");
    }
}

proptest! {
    #[test]
    fn a_match_in_slices_misses_no_room_that_stays(
        known in proptest::collection::vec(rooms(), 0..40),
        asked in rooms(),
        slice in (1..4usize, 1..4usize),
        operations in operations(),
    ) {
        slices_agree_with_model(&known, &asked, slice, &operations);
    }

    #[test]
    fn wildcard_index_agrees_with_model(operations in operations()) {
        agrees_with_model(Matching::Wildcard, &operations);
    }

    #[test]
    fn exact_index_agrees_with_model(operations in operations()) {
        agrees_with_model(Matching::Exact, &operations);
    }
}

#[test]
fn grants_permit_as_the_contract_says() {
    let permits = |grant: &str, asked: &str| {
        let mut grants = RoomIndex::new(Matching::Wildcard, RandomState::new());
        grants.insert(TenantId::MAIN, room(grant));
        assert!(!grants.permits(TenantId::new(1), &room(asked)));
        grants.permits(TenantId::MAIN, &room(asked))
    };
    for (grant, asked, permitted) in [
        (r#"{"a":"*"}"#, r#"{"a":1}"#, true),
        (r#"{"a":"*"}"#, r#"{"a":{"deep":[]}}"#, true),
        (r#"{"a":"*"}"#, r#"{"a":"*"}"#, true),
        (r#"{"a":1}"#, r#"{"a":"*"}"#, false),
        (r#"{"a":1}"#, r#"{"a":1.0}"#, false),
        (r#"{"a":1}"#, r#"{"a":"1"}"#, false),
        (r#"{"a":1}"#, r#"{"a":true}"#, false),
        (r#"{"a":"a*"}"#, r#"{"a":"ab"}"#, false),
        (r#"{"a":["*"]}"#, r#"{"a":[1]}"#, false),
        (r#"{"*":1}"#, r#"{"a":1}"#, false),
        (r#"{"*":"*"}"#, r#"{"*":1}"#, true),
        (r#"{"a":"*"}"#, r#"{"a":1,"b":1}"#, false),
        (r#"{"a":"*","b":1}"#, r#"{"a":1}"#, false),
        ("{}", "{}", true),
        (r#"{"a":"*"}"#, "{}", false),
    ] {
        assert_eq!(permits(grant, asked), permitted, "{grant} {asked}");
    }
}
