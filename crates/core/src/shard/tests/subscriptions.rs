//! Subscriptions, and which connections may have them.

use std::collections::BTreeSet;

use super::kit::*;
use crate::index::Matching;
use crate::limits::Limits;
use crate::shard::Settings;

const A: &str = r#"{"a":1}"#;
const B: &str = r#"{"b":1}"#;
const BOTH: &str = r#"[{"a":1},{"b":1}]"#;

#[test]
fn the_same_room_and_request_id_is_one_subscription() {
    let mut world = World::new();
    let mut client = world.open(BOTH);
    world.subscribe(&mut client, A, "1");
    world.subscribe(&mut client, A, "1");
    world.subscribe(&mut client, r#"{ "\u0061" : 1 }"#, "1");
    assert_eq!(world.stats().subscriptions, 1);
    world.publish(A, "0");
    world.deliver();
    assert_eq!(client.hears(), [publish("0", "1")]);
}

#[test]
fn room_under_two_request_ids_is_delivered_twice() {
    let mut world = World::new();
    let mut client = world.open(BOTH);
    world.subscribe(&mut client, A, "1");
    world.subscribe(&mut client, A, "\"1\"");
    world.publish(A, "0");
    world.deliver();
    let mut heard = client.hears();
    heard.sort();
    assert_eq!(heard, [publish("0", "\"1\""), publish("0", "1")]);
    assert_eq!((world.stats().rooms, world.stats().subscriptions), (1, 2));
}

#[test]
fn request_id_for_two_rooms_receives_both() {
    let mut world = World::new();
    let mut client = world.open(BOTH);
    world.subscribe(&mut client, A, "1");
    world.subscribe(&mut client, B, "1");
    world.publish(B, "\"b\"");
    world.publish(A, "\"a\"");
    world.deliver();
    assert_eq!(
        client.hears(),
        [publish("\"b\"", "1"), publish("\"a\"", "1")]
    );
}

#[test]
fn unsubscribe_drops_all_under_a_request_id_and_forgets_it() {
    let mut world = World::new();
    let mut client = world.open(BOTH);
    world.subscribe(&mut client, A, "1");
    world.subscribe(&mut client, B, "1");
    world.subscribe(&mut client, A, "2");
    let with_room = r#"{"type": "unsubscribe", "room": {"c": 1}, "requestId": 1}"#;
    assert_eq!(world.ask(&mut client, with_room), [SUCCESS]);
    assert_eq!((world.stats().rooms, world.stats().subscriptions), (1, 1));
    let answer = world.ask(&mut client, &unsubscribe("1"));
    assert_eq!(answer, [error("not-subscribed")]);
    world.publish_all(&[(&[A, B], "0")]);
    world.deliver();
    assert_eq!(client.hears(), [publish("0", "2")]);
    world.subscribe(&mut client, B, "1");
    world.publish_all(&[(&[A, B], "1")]);
    world.deliver();
    assert_eq!(client.hears(), [publish("1", "2"), publish("1", "1")]);
}

#[test]
fn request_ids_are_scalars_and_returned_as_given() {
    let mut world = World::new();
    let mut client = world.open(BOTH);
    let names = [
        "0",
        "\"\"",
        "null",
        "true",
        "1.5",
        "\"\u{e9}\u{1f600}\"",
        "-1",
    ];
    for name in names {
        world.subscribe(&mut client, A, name);
    }
    world.publish(A, "{}");
    world.deliver();
    let mut heard = client.hears();
    let mut expected = names.map(|name| publish("{}", name));
    heard.sort();
    expected.sort();
    assert_eq!(heard, expected);
}

#[test]
fn request_ids_belong_to_their_connection() {
    let mut world = World::new();
    let mut client = world.open(BOTH);
    let mut other = world.open(BOTH);
    world.subscribe(&mut client, A, "1");
    let answer = world.ask(&mut other, &unsubscribe("1"));
    assert_eq!(answer, [error("not-subscribed")]);
    world.subscribe(&mut other, B, "1");
    assert_eq!(world.ask(&mut client, &unsubscribe("1")), [SUCCESS]);
    world.publish_all(&[(&[A, B], "0")]);
    world.deliver();
    assert!(client.hears().is_empty());
    assert_eq!(other.hears(), [publish("0", "1")]);
}

#[test]
fn grants_decide_which_rooms_may_be_subscribed() {
    let mut world = World::new();
    let mut client = world.open(r#"[{"a":"*","b":1},{"c":{"x":"*"}},{}]"#);
    for (room, permitted) in [
        (r#"{"b":1,"a":"anything"}"#, true),
        (r#"{"a":{"deep":[1]},"b":1}"#, true),
        (r#"{"a":"*","b":1}"#, true),
        (r#"{"a":1,"b":"*"}"#, false),
        (r#"{"a":1,"b":1.0}"#, false),
        (r#"{"a":1,"b":"1"}"#, false),
        (r#"{"a":1,"b":true}"#, false),
        (r#"{"a":1}"#, false),
        (r#"{"a":1,"b":1,"c":1}"#, false),
        (r#"{"c":{"x":1}}"#, false),
        (r#"{"c":{"x":"*"}}"#, true),
        ("{}", true),
    ] {
        let answer = world.ask(&mut client, &subscribe(room, "1"));
        let expected = if permitted {
            SUCCESS.into()
        } else {
            error("room-not-found")
        };
        assert_eq!(answer, [expected], "{room}");
    }
}

#[test]
fn subscriptions_are_bounded_and_excess_is_answered_with_an_error() {
    let mut world = World::with(Settings {
        limits: Limits {
            subscriptions: 2,
            ..Limits::default()
        },
        ..settings()
    });
    let mut client = world.open(BOTH);
    world.subscribe(&mut client, A, "1");
    world.subscribe(&mut client, A, "2");
    let answer = world.ask(&mut client, &subscribe(B, "1"));
    assert_eq!(answer, [error("too-many-subscriptions")]);
    world.subscribe(&mut client, A, "1");
    assert_eq!(world.ask(&mut client, &unsubscribe("2")), [SUCCESS]);
    world.subscribe(&mut client, B, "1");
    assert_eq!((world.stats().rooms, world.stats().subscriptions), (2, 2));
}

#[test]
fn a_large_room_counts_as_many() {
    let mut world = World::with(Settings {
        limits: Limits {
            subscriptions: 4,
            ..Limits::default()
        },
        ..settings()
    });
    let mut client = world.open(r#"[{"a":"*"}]"#);
    let large = format!(r#"{{"a":"{}"}}"#, "x".repeat(3 << 10));
    world.subscribe(&mut client, &large, "1");
    let answer = world.ask(&mut client, &subscribe(A, "2"));
    assert_eq!(answer, [error("too-many-subscriptions")]);
    assert_eq!(world.stats().subscriptions, 1);
    assert_eq!(world.ask(&mut client, &unsubscribe("1")), [SUCCESS]);
    for name in ["1", "2", "3", "4"] {
        world.subscribe(&mut client, A, name);
    }
    let answer = world.ask(&mut client, &subscribe(A, "5"));
    assert_eq!(answer, [error("too-many-subscriptions")]);
}

#[test]
fn wildcards_meet_in_both_directions_but_deliver_once() {
    let mut world = World::new();
    let mut client = world.open(r#"[{"a":"*"}]"#);
    world.subscribe(&mut client, r#"{"a":"*"}"#, "0");
    world.subscribe(&mut client, A, "1");
    world.subscribe(&mut client, r#"{"a":2}"#, "2");
    for (rooms, names) in [
        (&[r#"{"a":1}"#][..], &["0", "1"][..]),
        (&[r#"{"a":"*"}"#], &["0", "1", "2"]),
        (
            &[r#"{"a":1}"#, r#"{"a":2}"#, r#"{"a":"*"}"#],
            &["0", "1", "2"],
        ),
        (&[r#"{"a":3}"#], &["0"]),
        (&[r#"{"b":1}"#, "{}"], &[]),
    ] {
        world.publish_all(&[(rooms, "0")]);
        world.deliver();
        let mut heard = client.hears();
        heard.sort();
        let expected: Vec<_> = names.iter().map(|name| publish("0", name)).collect();
        assert_eq!(heard, expected, "{rooms:?}");
    }
}

#[test]
fn a_star_is_a_literal_where_matching_is_exact() {
    let mut world = World::with(Settings {
        matching: Matching::Exact,
        ..settings()
    });
    let mut client = world.open(r#"[{"a":"*"}]"#);
    world.subscribe(&mut client, r#"{"a":"*"}"#, "0");
    world.subscribe(&mut client, A, "1");
    world.publish(A, "0");
    world.publish(r#"{"a":"*"}"#, "1");
    world.deliver();
    assert_eq!(client.hears(), [publish("0", "1"), publish("1", "0")]);
}

/// Bounds the names per room.
fn names_per_room(names_per_room: usize) -> World {
    World::with(Settings {
        limits: Limits {
            names_per_room,
            ..Limits::default()
        },
        ..settings()
    })
}

#[test]
fn names_of_one_room_are_bounded_so_that_no_trigger_becomes_thousands_of_messages() {
    let limit = Limits::default().names_per_room;
    let mut world = World::new();
    let mut client = world.open(BOTH);
    let mut taken = 0;
    for name in 0..9_990 {
        let answer = world.ask(&mut client, &subscribe(A, &name.to_string()));
        match answer[0].as_str() {
            SUCCESS => taken += 1,
            other => assert_eq!(other, error("too-many-names")),
        }
    }
    assert_eq!(taken, limit);
    // An existing subscription may be requested again, and other rooms have their own names.
    world.subscribe(&mut client, A, "0");
    world.subscribe(&mut client, B, "9000");
    world.publish(A, "0");
    world.deliver();
    assert_eq!(client.hears().len(), limit);
    // One that is dropped makes room for another.
    assert_eq!(world.ask(&mut client, &unsubscribe("5")), [SUCCESS]);
    world.subscribe(&mut client, A, "9000");
    let answer = world.ask(&mut client, &subscribe(A, "5"));
    assert_eq!(answer, [error("too-many-names")]);
    // Another client has its own.
    let mut other = world.open(BOTH);
    world.subscribe(&mut other, A, "5");
}

#[test]
fn a_long_name_counts_as_many() {
    let mut world = names_per_room(4);
    let mut client = world.open(BOTH);
    let long = |length: usize, last: char| format!("\"{}{last}\"", "x".repeat(length - 3));
    // Two of 65 bytes are four.
    world.subscribe(&mut client, A, &long(65, 'a'));
    world.subscribe(&mut client, A, &long(65, 'b'));
    let answer = world.ask(&mut client, &subscribe(A, "1"));
    assert_eq!(answer, [error("too-many-names")]);
    // The first always fits, whatever its length.
    world.subscribe(&mut client, B, &long(1_000, 'a'));
    let answer = world.ask(&mut client, &subscribe(B, "1"));
    assert_eq!(answer, [error("too-many-names")]);
    assert_eq!(
        world.ask(&mut client, &unsubscribe(&long(1_000, 'a'))),
        [SUCCESS]
    );
    for name in 0..4 {
        world.subscribe(&mut client, B, &format!("\"{name}{}\"", "x".repeat(61)));
    }
    let answer = world.ask(&mut client, &subscribe(B, "1"));
    assert_eq!(answer, [error("too-many-names")]);
}

#[test]
fn a_lower_bound_of_names_drops_nothing() {
    let mut world = names_per_room(3);
    let mut client = world.open(BOTH);
    for name in ["1", "2", "3"] {
        world.subscribe(&mut client, A, name);
    }
    let lower = Settings {
        limits: Limits {
            names_per_room: 1,
            ..Limits::default()
        },
        ..settings()
    };
    world.shard.reconfigure(lower, world.now);
    world.publish(A, "0");
    world.deliver();
    assert_eq!(client.hears().len(), 3);
    for name in ["1", "2"] {
        assert_eq!(world.ask(&mut client, &unsubscribe(name)), [SUCCESS]);
        let answer = world.ask(&mut client, &subscribe(A, "4"));
        assert_eq!(answer, [error("too-many-names")]);
    }
}

/// A room of seven keys with `*` at the positions of `stars`, and 1 elsewhere.
fn stars(stars: usize) -> String {
    const KEYS: [&str; 7] = ["a", "b", "c", "d", "e", "f", "g"];
    let value = |at: usize| if stars & (1 << at) == 0 { "1" } else { "\"*\"" };
    let members = KEYS.iter().enumerate();
    let members: Vec<_> = members
        .map(|(at, key)| format!("\"{key}\":{}", value(at)))
        .collect();
    format!("{{{}}}", members.join(","))
}

/// Requests every combination of `*` in seven keys; returns those that were opened.
fn take_all(world: &mut World, client: &mut Client) -> Vec<usize> {
    let mut opened = Vec::new();
    for combination in 1..127 {
        let answer = world.ask(client, &subscribe(&stars(combination), "1"));
        match answer[0].as_str() {
            SUCCESS => opened.push(combination),
            other => assert_eq!(other, error("too-many-wildcards")),
        }
    }
    opened
}

#[test]
fn a_client_has_its_share_of_wildcards_and_no_more() {
    let mut world = World::new();
    let mut hostile = world.open(&format!("[{}]", stars(127)));
    let mut healthy = world.open(&format!("[{},{}]", stars(120), stars(127)));
    assert_eq!(take_all(&mut world, &mut hostile).len(), 8);
    // Values, combinations that it has, and what is granted as it is.
    for combination in [0, 1, 127] {
        world.subscribe(&mut hostile, &stars(combination), "\"more\"");
    }
    // One trigger for one room is delivered once for each of them.
    world.publish(&stars(0), "0");
    world.deliver();
    assert_eq!(hostile.hears().len(), 8 + 3);
    for combination in [120, 99, 100, 101] {
        world.subscribe(&mut healthy, &stars(combination), "1");
    }
    world.publish(&stars(0), "0");
    world.deliver();
    assert_eq!(healthy.hears().len(), 4);
    assert_eq!(hostile.hears().len(), 8 + 3);
    // What is dropped may be replaced.
    assert_eq!(world.ask(&mut hostile, &unsubscribe("1")), [SUCCESS]);
    assert_eq!(take_all(&mut world, &mut hostile).len(), 8 - 1);
    world.gone(&hostile);
    world.gone(&healthy);
    let mut other = world.open(&format!("[{}]", stars(127)));
    assert_eq!(take_all(&mut world, &mut other).len(), 8);
}

#[test]
fn many_connections_of_one_client_leave_wildcards_for_others() {
    let mut world = World::new();
    let grants = format!("[{}]", stars(127));
    let mut hostile: Vec<_> = (0..100).map(|_| world.open(&grants)).collect();
    for client in &hostile {
        world.outside.clients.insert(client.number, 1_000);
    }
    let mut opened = BTreeSet::new();
    for client in &mut hostile {
        opened.extend(take_all(&mut world, client));
    }
    // Others get combinations that no client has yet, whether their user is known or not.
    let mut rest = (1..127).filter(|combination| !opened.contains(combination));
    let mut alike = world.open(&grants);
    world.outside.clients.insert(alike.number, 1_000);
    assert!(opened.len() < 126, "{}", opened.len());
    let mut healthy = world.open(&grants);
    world.subscribe(&mut healthy, &stars(rest.next().unwrap()), "1");
    world.subscribe(&mut alike, &stars(rest.next().unwrap()), "1");
}
