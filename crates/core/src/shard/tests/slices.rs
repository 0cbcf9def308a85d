//! However much is published, it is delivered in slices: in between, other work is done.

use super::kit::*;
use crate::limits::Limits;
use crate::shard::Settings;

/// As much work as the shard's thread does before it polls its sockets again.
const SLICE: usize = 256;

/// Delivers slice by slice, and in between has a client send a request, which is answered at once.
/// Returns the number of slices.
#[track_caller]
fn deliver_beside(world: &mut World, other: &mut Client) -> usize {
    let mut slices = 0;
    while world.shard.has_fan_out() {
        world.slice(SLICE);
        slices += 1;
        assert_eq!(world.ask(other, "ping"), ["pong"]);
        assert!(slices < 1_000_000);
    }
    slices
}

#[test]
fn room_with_many_subscribers_is_written_to_in_slices() {
    let mut world = World::new();
    let mut clients: Vec<_> = (0..5_000).map(|_| world.open(r#"[{"a":1}]"#)).collect();
    for client in &mut clients {
        world.subscribe(client, r#"{"a":1}"#, "1");
    }
    world.publish(r#"{"a":1}"#, "0");
    let mut delivered = 0;
    let mut slices = 0;
    while world.shard.has_fan_out() {
        world.slice(SLICE);
        slices += 1;
        let now = world.stats().deliveries;
        assert!(now - delivered <= SLICE as u64, "{now} {delivered}");
        delivered = now;
    }
    assert_eq!(delivered, 5_000);
    assert!(slices >= 5_000 / SLICE);
}

#[test]
fn large_data_makes_the_slices_shorter() {
    let mut world = World::new();
    let mut clients: Vec<_> = (0..20).map(|_| world.open(r#"[{"a":1}]"#)).collect();
    for client in &mut clients {
        world.subscribe(client, r#"{"a":1}"#, "1");
    }
    world.publish(r#"{"a":1}"#, &format!("\"{}\"", "x".repeat(4 << 20)));
    let mut other = world.open("[]");
    // 4 MiB are as much work as a slice may be.
    assert!(deliver_beside(&mut world, &mut other) >= 20);
    assert_eq!(world.stats().deliveries, 20);
}

#[test]
fn connection_with_many_subscriptions_to_a_room_uses_more_of_a_slice() {
    let mut world = World::with(Settings {
        limits: Limits {
            names_per_room: 1_000,
            ..Limits::default()
        },
        ..settings()
    });
    let mut clients: Vec<_> = (0..20).map(|_| world.open(r#"[{"a":1}]"#)).collect();
    for client in &mut clients {
        for name in 0..1_000 {
            world.subscribe(client, r#"{"a":1}"#, &name.to_string());
        }
    }
    let data = format!("\"{}\"", "x".repeat(1_000));
    world.publish(r#"{"a":1}"#, &data);
    let mut other = world.open("[]");
    // A megabyte for each of them: four in a slice.
    assert!(deliver_beside(&mut world, &mut other) >= 4);
    for client in &mut clients {
        assert_eq!(client.hears().len(), 1_000);
    }
}

#[test]
fn rooms_without_subscribers_are_matched_in_slices() {
    let rooms: Vec<_> = (0..100_000).map(|n| format!(r#"{{"a":{n}}}"#)).collect();
    let rooms: Vec<_> = rooms.iter().map(String::as_str).collect();
    let one = [(&rooms[..], "0")];
    let many: Vec<_> = rooms.chunks(10).map(|rooms| (rooms, "0")).collect();
    let mut world = World::new();
    // So that the shape is known.
    let mut client = world.open(r#"[{"a":"x"}]"#);
    world.subscribe(&mut client, r#"{"a":"x"}"#, "1");
    let mut other = world.open("[]");
    for triggers in [&one[..], &many] {
        world.publish_all(triggers);
        // Each reply in between takes a round, too.
        assert!(deliver_beside(&mut world, &mut other) >= 5);
    }
    assert_eq!(world.stats().publications, 1 + 10_000);
    assert_eq!(world.stats().deliveries, 0);
}

#[test]
fn trigger_that_matches_everything_is_matched_in_slices_and_delivered_once() {
    let mut world = World::new();
    let grants = r#"[{"a":"*","b":"*"}]"#;
    let mut client = world.open(grants);
    for n in 0..1_000 {
        let room = format!(r#"{{"a":{n},"b":"*"}}"#);
        world.subscribe(&mut client, &room, &n.to_string());
    }
    let rooms: Vec<_> = (0..500)
        .map(|n| format!(r#"{{"a":"*","b":{n}}}"#))
        .collect();
    let rooms: Vec<_> = rooms.iter().map(String::as_str).collect();
    world.publish_all(&[(&rooms, "0"), (&rooms[..1], "1")]);
    let mut other = world.open(grants);
    // Subscriptions that open and close meanwhile move the rooms.
    let mut slices = 0;
    while world.shard.has_fan_out() {
        world.slice(SLICE);
        slices += 1;
        let room = format!(r#"{{"a":{},"b":"*"}}"#, 2_000 + slices);
        world.subscribe(&mut other, &room, "1");
        world.ask(&mut other, &unsubscribe("1"));
    }
    assert!(slices >= 5, "{slices}");
    let mut heard = client.hears();
    let second = heard.split_off(1_000);
    for (data, mut heard) in [("0", heard), ("1", second)] {
        let mut expected: Vec<_> = (0..1_000).map(|n| publish(data, &n.to_string())).collect();
        heard.sort();
        expected.sort();
        assert_eq!(heard, expected);
    }
}

#[test]
fn connections_that_are_idle_together_are_closed_in_slices() {
    let mut world = World::new();
    let mut clients: Vec<_> = (0..1_000).map(|_| world.open("[]")).collect();
    world.pass(300_000 - 1);
    let mut other = world.open("[]");
    world.pass(1);
    let mut closed = 0;
    while world.shard.deadline() <= Some(world.now) {
        let now = world.stats().idle_timeouts;
        assert!(now > closed && now - closed <= 256, "{now} {closed}");
        closed = now;
        assert_eq!(world.ask(&mut other, "ping"), ["pong"]);
        world.pass(0);
    }
    assert_eq!(world.stats().idle_timeouts, 1_000);
    for client in &mut clients {
        assert_eq!(client.hears(), ["close 1000 idle"]);
    }
    assert!(world.is_there(&other));
}
