//! What a subscription is, and who may have it.

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
fn one_room_under_two_request_ids_is_heard_twice() {
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
fn one_request_id_for_two_rooms_hears_both() {
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
fn request_ids_are_scalars_and_come_back_as_given() {
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
fn grants_decide_which_rooms_may_be_heard() {
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
fn subscriptions_are_bounded_and_the_bound_is_answered() {
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

#[test]
fn combinations_of_wildcards_are_bounded_but_for_those_that_are_granted() {
    const KEYS: [&str; 7] = ["a", "b", "c", "d", "e", "f", "g"];
    let room = |stars: usize| {
        let value = |at: usize| if stars & (1 << at) == 0 { "1" } else { "\"*\"" };
        let members = KEYS.iter().enumerate();
        let members: Vec<_> = members
            .map(|(at, key)| format!("\"{key}\":{}", value(at)))
            .collect();
        format!("{{{}}}", members.join(","))
    };
    let mut world = World::new();
    let mut hostile = world.open(&format!("[{}]", room(127)));
    let mut healthy = world.open(&format!("[{},{}]", room(120), room(127)));
    let (mut opened, mut refused) = (0, 0);
    for stars in 1..127 {
        let answer = world.ask(&mut hostile, &subscribe(&room(stars), &stars.to_string()));
        match answer[0].as_str() {
            SUCCESS => opened += 1,
            other => {
                assert_eq!(other, error("too-many-wildcards"));
                refused += 1;
            }
        }
    }
    assert_eq!((opened, refused), (64, 62));
    // Values, combinations that are there, and what is granted as it is.
    for stars in [0, 1, 127] {
        world.subscribe(&mut hostile, &room(stars), "\"more\"");
    }
    world.subscribe(&mut healthy, &room(120), "1");
    world.publish(&room(0), "0");
    world.deliver();
    assert_eq!(healthy.hears(), [publish("0", "1")]);
    // Those who leave make room.
    world.gone(&hostile);
    world.subscribe(&mut healthy, &room(100), "2");
}
