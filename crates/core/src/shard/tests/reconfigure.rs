//! Settings that change while connections are open.

use super::kit::*;
use crate::index::Matching;
use crate::limits::Limits;
use crate::shard::{Compression, Settings};

const A: &str = r#"{"a":1}"#;
const B: &str = r#"{"b":1}"#;
const BOTH: &str = r#"[{"a":1},{"b":1}]"#;
const STATUS: &str = r#"{"type": "status"}"#;

fn limited(limits: Limits) -> Settings {
    Settings {
        limits,
        ..settings()
    }
}

#[test]
fn new_bounds_apply_to_open_connections_which_keep_what_they_have() {
    let mut world = World::new();
    let mut client = world.open(BOTH);
    world.subscribe(&mut client, A, "1");
    world.subscribe(&mut client, A, "2");
    world.shard.reconfigure(
        limited(Limits {
            subscriptions: 1,
            room_bytes: 64,
            ..Limits::default()
        }),
        world.now,
    );
    let answer = world.ask(&mut client, &subscribe(B, "3"));
    assert_eq!(answer, [error("too-many-subscriptions")]);
    world.publish(A, "0");
    world.deliver();
    assert_eq!(client.hears().len(), 2, "both are still there");
    world.shard.reconfigure(settings(), world.now);
    world.subscribe(&mut client, B, "3");
}

#[test]
fn lower_bound_of_the_outbox_applies_from_the_next_message_on() {
    let mut world = World::new();
    let mut client = world.open(BOTH);
    world.subscribe(&mut client, A, "1");
    client.takes(0);
    let data = format!("\"{}\"", "x".repeat(8_000));
    world.publish(A, &data);
    world.deliver();
    world.shard.reconfigure(
        limited(Limits {
            outbox_bytes: 4_096,
            ..Limits::default()
        }),
        world.now,
    );
    world.pass(1);
    assert!(world.is_there(&client), "what waits is not thrown away");
    world.publish(A, "1");
    world.deliver();
    assert!(!world.is_there(&client));
    assert_eq!(world.stats().evictions[0], 1);
}

#[test]
fn idle_timeout_changes_for_clients_that_are_idle_already() {
    let mut world = World::new();
    let mut client = world.open(BOTH);
    world.pass(10_000);
    world.shard.reconfigure(
        Settings {
            idle_timeout: 5_000,
            ..settings()
        },
        world.now,
    );
    world.pass(0);
    assert_eq!(client.hears().len(), 1, "closed");
    assert_eq!(world.stats().idle_timeouts, 1);
}

#[test]
fn status_and_compression_change_and_matching_stays() {
    let mut world = World::with(Settings {
        matching: Matching::Exact,
        ..settings()
    });
    world.offer = Some("permessage-deflate");
    let mut client = world.open(r#"[{"a":"*"}]"#);
    world.subscribe(&mut client, r#"{"a":"*"}"#, "1");
    world.shard.reconfigure(
        Settings {
            matching: Matching::Wildcard,
            status_clients: false,
            compression: Compression {
                threshold: 64,
                level: 9,
                ..Compression::default()
            },
            ..settings()
        },
        world.now,
    );
    let answer = world.ask(&mut client, STATUS);
    assert_eq!(answer, [error_of(&client, "message-type-not-allowed")]);
    world.publish(A, "0");
    world.deliver();
    assert_eq!(client.hears(), [""; 0], "`*` is still a value");
    let data = format!("\"{}\"", "x".repeat(200));
    world.publish(r#"{"a":"*"}"#, &data);
    world.deliver();
    assert_eq!(world.stats().deflated, 1);
    assert_eq!(client.hears(), [publish(&data, "1")]);
}
