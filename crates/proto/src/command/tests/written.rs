//! What is written is what is read, for any command.

use std::collections::BTreeSet;
use std::ops::Range;

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::*;
use crate::trigger::{Trigger, TriggerLimits};

/// A command, and the members that express it.
fn commands() -> impl Strategy<Value = (Command, Map<String, Value>)> {
    let actions = prop_oneof![
        (0..=WITHIN_MS_MAX).prop_map(|within_ms| {
            let members = json!({"command": "invalidate", "within": within_ms});
            (Action::Invalidate { within_ms }, members)
        }),
        permits(),
        prop::collection::vec(rooms(), 1..=ROOMS_MAX).prop_map(|texts| {
            let from = texts.iter().map(|text| room(&text.to_string())).collect();
            (
                Action::Unsubscribe { from },
                json!({"command": "unsubscribe", "from": texts}),
            )
        }),
        (0..4_usize, "[a-z-]{1,32}", prop::option::of(0..1_u64 << 53)).prop_map(
            |(word, reason, issued_before)| {
                let come_back = ComeBack::ALL[word];
                let mut members = json!({"command": "disconnect", "reason": reason});
                members["come_back"] = come_back.as_str().into();
                if let Some(seconds) = issued_before {
                    members["issued_before"] = seconds.into();
                }
                let reason = reason.into();
                let disconnect = Disconnect {
                    come_back,
                    reason,
                    issued_before,
                };
                (Action::Disconnect(disconnect), members)
            }
        ),
    ];
    let ids = prop::option::of("[a-z0-9]{1,8}");
    (actions, selectors(), ids, any::<bool>(), any::<bool>()).prop_map(
        |((action, mut members), (many, few), id, everywhere, dry_run)| {
            let (selector, selecting) = match action {
                Action::Permit(_) => few,
                Action::Invalidate { .. } | Action::Unsubscribe { .. } | Action::Disconnect(_) => {
                    many
                }
            };
            let members = members.as_object_mut().expect("an object");
            members.extend(selecting);
            members.insert("dry_run".to_owned(), dry_run.into());
            if let Some(id) = &id {
                members.insert("id".to_owned(), id.as_str().into());
            }
            if everywhere {
                members.insert("confirm".to_owned(), "everywhere".into());
            }
            let confirm = match everywhere {
                true => Confirm::Everywhere,
                false => Confirm::Here,
            };
            let command = Command {
                tenant: None,
                text: Bytes::new(),
                id: id.map(Into::into),
                selector,
                action,
                confirm,
                dry_run,
            };
            (command, std::mem::take(members))
        },
    )
}

fn permits() -> impl Strategy<Value = (Action, Value)> {
    let (labels, views) = (label_lists(0..4), prop::option::of("[a-z]{1,8}"));
    let terms = prop::option::of(1..10_000_u64);
    let lists = prop::collection::vec(rooms(), 0..4);
    (lists, labels, views, terms).prop_map(|(rooms, labels, view, term)| {
        let allowed_rooms = Value::from(rooms);
        let permit = Permit {
            allowed_rooms: GrantList::parse(&allowed_rooms.to_string()).unwrap(),
            labels: sorted(&labels),
            view: view.as_deref().map(Into::into),
            expires_in: term.map(Duration::from_secs),
        };
        let members = json!({
            "command": "permit",
            "allowed_rooms": allowed_rooms,
            "labels": labels,
            "view": view,
            "expires_in": term,
        });
        (Action::Permit(Box::new(permit)), members)
    })
}

type Selecting = (Selector, Map<String, Value>);

/// A selector, and one that `permit` takes.
fn selectors() -> impl Strategy<Value = (Selecting, Selecting)> {
    let users = prop_oneof![
        "[a-z0-9]{1,8}".prop_map(Value::from),
        any::<i64>().prop_map(Value::from)
    ];
    let sessions = prop::option::of("[ -~]{1,16}");
    let connections = prop::option::of(any::<u128>().prop_map(Uuid::from_u128));
    let (labels, rooms) = (label_lists(0..4), prop::option::of(rooms()));
    (users, sessions, connections, labels, rooms, any::<bool>()).prop_map(
        |(user, session, connection, labels, pattern, everyone)| {
            let mut members = json!({"user": user});
            let members = members.as_object_mut().expect("an object");
            let mut criteria = Criteria {
                user: Some(
                    user.as_str()
                        .map_or_else(|| user.to_string(), str::to_owned)
                        .into(),
                ),
                session: session.as_deref().map(Into::into),
                connection,
                ..Criteria::default()
            };
            if let Some(session) = session {
                members.insert("session".to_owned(), session.into());
            }
            if let Some(connection) = connection {
                members.insert("connection".to_owned(), connection.to_string().into());
            }
            let few = (those(criteria.clone()), members.clone());
            if everyone {
                let all = json!({"everyone": true})
                    .as_object()
                    .cloned()
                    .expect("an object");
                return ((Selector::Everyone, all), few);
            }
            criteria.labels = sorted(&labels);
            match &labels[..] {
                [] => {}
                [label] => drop(members.insert("label".to_owned(), label.as_str().into())),
                _ => drop(members.insert("label".to_owned(), labels.into())),
            }
            if let Some(pattern) = pattern {
                criteria.room = Some(room(&pattern.to_string()));
                members.insert("room".to_owned(), pattern);
            }
            ((those(criteria), std::mem::take(members)), few)
        },
    )
}

fn label_lists(count: Range<usize>) -> impl Strategy<Value = Vec<String>> {
    prop::collection::vec("[ -~]{1,128}", count)
}

fn sorted(labels: &[String]) -> Box<[Box<str>]> {
    let labels: BTreeSet<_> = labels.iter().collect();
    labels
        .into_iter()
        .map(|label| label.as_str().into())
        .collect()
}

fn rooms() -> impl Strategy<Value = Value> {
    let values = prop_oneof![
        Just(json!("*")),
        "[a-z\"\\\\ä]{0,4}".prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        Just(json!([1, {"x": null}])),
    ];
    prop::collection::btree_map("[a-c]", values, 0..3)
        .prop_map(|members| Value::Object(members.into_iter().collect()))
}

proptest! {
    #[test]
    fn what_is_written_is_what_is_read((command, members) in commands()) {
        let text = Value::Object(members).to_string();
        let mut found = read(&text).expect(&text);
        let written = std::str::from_utf8(&found.text).unwrap().to_owned();
        prop_assert_eq!(&read(&written).expect(&written), &found, "the form on a broker");
        found.text = Bytes::new();
        prop_assert_eq!(found, command, "{}", text);
        // The same text read as a trigger.
        let limits = TriggerLimits { bytes: usize::MAX, triggers: 1, rooms: 0 };
        let trigger = Trigger::parse(&written.into(), &limits).unwrap();
        prop_assert!(trigger.rooms.is_empty());
        prop_assert_eq!(trigger.data, "null");
    }

    #[test]
    fn nothing_panics(text in r#"\{("[a-z_]{0,9}":[\[\]{}"0-9a-z,:-]{0,6},?){0,4}\}"#) {
        let _ = read(&text);
    }
}
