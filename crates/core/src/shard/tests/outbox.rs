//! Data that a socket does not accept is queued, up to a bound.

use std::sync::Arc;

use super::kit::*;
use crate::limits::Limits;
use crate::outbox::Outboxes;
use crate::peer::Eviction;
use crate::shard::Settings;

const A: &str = r#"{"a":1}"#;
const B: &str = r#"{"b":1}"#;
const GRANTS: &str = r#"[{"a":1}]"#;

fn bounded(outbox_bytes: usize) -> World {
    World::with(Settings {
        limits: Limits {
            outbox_bytes,
            ..Limits::default()
        },
        ..settings()
    })
}

#[test]
fn frames_stay_whole_however_little_is_accepted() {
    for step in [1, 2, 3, 7, 50, 51, 52, 500] {
        let mut world = World::new();
        let mut client = world.open(GRANTS);
        world.subscribe(&mut client, A, "1");
        client.takes(0);
        let large = format!("\"{}\"", "x".repeat(5_000));
        let all = ["0", &large, "1"];
        for data in all {
            world.publish(A, data);
        }
        world.deliver();
        assert_eq!(world.stats().queued, 3);
        world.say(&client, "ping");
        let mut heard = Vec::new();
        for _ in 0..10_000 {
            if world.stats().queued == 0 {
                break;
            }
            client.takes(step);
            world.writable(&client);
            heard.extend(client.hears());
        }
        let mut expected: Vec<_> = all.iter().map(|data| publish(data, "1")).collect();
        expected.push("pong".into());
        assert_eq!(heard, expected, "{step}");
        assert!(client.is_between_frames());
        assert_eq!((world.stats().deliveries, world.stats().queued), (3, 0));
    }
}

#[test]
fn write_that_is_cut_at_any_byte_resumes_there() {
    let data = format!("\"{}\"", "x".repeat(5_000));
    for data in ["0", &data] {
        let text = publish(data, "1").len();
        let len = text + if text < 126 { 2 } else { 4 };
        for cut in (0..len).step_by(if len > 100 { 97 } else { 1 }) {
            let mut world = World::new();
            let mut client = world.open(GRANTS);
            world.subscribe(&mut client, A, "1");
            client.takes(cut);
            world.publish(A, data);
            world.deliver();
            assert_eq!(world.stats().queued, 1, "{cut}");
            assert!(client.hears().is_empty());
            client.takes(usize::MAX);
            world.writable(&client);
            assert_eq!(client.hears(), [publish(data, "1")], "{cut}");
            assert_eq!(world.stats().deliveries, 1);
        }
    }
}

#[test]
fn later_data_is_queued_behind_earlier_data() {
    let mut world = World::new();
    let mut client = world.open(GRANTS);
    world.subscribe(&mut client, A, "1");
    client.takes(3);
    world.say(&client, "ping");
    client.takes(usize::MAX);
    world.publish(A, "0");
    world.deliver();
    world.say(&client, "ping");
    assert!(client.hears().is_empty());
    assert_eq!(world.stats().queued, 1);
    world.writable(&client);
    assert_eq!(client.hears(), ["pong", &publish("0", "1"), "pong"]);
}

#[test]
fn a_slow_consumer_is_evicted_and_counted() {
    let mut world = bounded(1_000);
    let mut slow = world.open(GRANTS);
    let mut healthy = world.open(GRANTS);
    world.subscribe(&mut slow, A, "1");
    world.subscribe(&mut healthy, A, "1");
    slow.takes(10);
    let data = format!("\"{}\"", "x".repeat(100));
    let frame = publish(&data, "1").len() as u64 + 4;
    let fit = (1_000 + 10) / frame;
    for _ in 0..fit {
        world.publish(A, &data);
        world.deliver();
    }
    assert_eq!((world.stats().queued, world.stats().deliveries), (fit, fit));
    world.told();
    world.publish(A, &data);
    world.deliver();
    let stats = world.stats();
    assert_eq!(evictions(stats), [Eviction::OutboxBytes]);
    assert_eq!((stats.queued, stats.undelivered), (0, fit + 1));
    assert_eq!(stats.deliveries, fit + 1);
    assert_eq!((stats.connections, stats.subscriptions), (1, 1));
    assert!(world.told().contains(&Told::Evicted(0)));
    assert!(!world.is_there(&slow));
    assert_eq!(healthy.hears().len() as u64, fit + 1);
    world.writable(&slow);
}

#[test]
fn without_a_bound_no_connection_is_evicted() {
    let mut world = bounded(0);
    let mut client = world.open(GRANTS);
    world.subscribe(&mut client, A, "1");
    client.takes(0);
    for _ in 0..100 {
        world.publish(A, &format!("\"{}\"", "x".repeat(100_000)));
        world.deliver();
    }
    assert_eq!((world.stats().queued, world.stats().evictions[0]), (100, 0));
    client.takes(usize::MAX);
    world.writable(&client);
    assert_eq!(client.hears().len(), 100);
}

#[test]
fn fast_consumer_may_get_more_than_the_bound_at_once() {
    let mut world = bounded(1_000);
    let mut client = world.open(GRANTS);
    world.subscribe(&mut client, A, "1");
    client.takes(10);
    let large = format!("\"{}\"", "x".repeat(10_000));
    world.publish(A, &large);
    world.deliver();
    assert_eq!(world.stats().queued, 1);
    client.takes(usize::MAX);
    world.writable(&client);
    assert_eq!(client.hears(), [publish(&large, "1")]);
}

#[test]
fn what_was_written_before_a_break_counts_as_delivered() {
    let mut world = bounded(1_000);
    let mut client = world.open(GRANTS);
    world.subscribe(&mut client, A, "1");
    let large = format!("\"{}\"", "x".repeat(10_000));
    let taken = publish(&large, "1").len() + 4;
    client.takes(2 * taken);
    for _ in 0..5 {
        world.publish(A, &large);
    }
    world.deliver();
    // Two were accepted, the third is queued and the fourth is too much.
    assert_eq!(client.hears().len(), 2);
    let stats = world.stats();
    assert_eq!(
        (stats.deliveries, stats.undelivered, stats.queued),
        (2, 3, 0)
    );
    assert_eq!(evictions(stats), [Eviction::OutboxBytes]);
}

#[test]
fn client_is_not_read_while_its_replies_are_queued() {
    let mut world = World::new();
    let mut client = world.open(GRANTS);
    assert!(world.shard.may_read(client.id));
    client.takes(0);
    let frame = masked(ht_frame::Opcode::Text, b"x");
    let mut rounds = 0;
    while world.shard.may_read(client.id) {
        world.receive(&client, &frame.repeat(100));
        rounds += 1;
        assert!(rounds < 100);
    }
    client.takes(usize::MAX);
    world.writable(&client);
    assert!(world.shard.may_read(client.id));
    assert_eq!(client.hears().len(), rounds * 100);
    world.gone(&client);
    assert!(!world.shard.may_read(client.id));
}

#[test]
fn broken_connection_loses_its_queued_frames() {
    let mut world = World::new();
    let mut client = world.open(GRANTS);
    world.subscribe(&mut client, A, "1");
    client.takes(0);
    world.publish(A, "0");
    world.publish(A, "1");
    world.deliver();
    assert_eq!(world.stats().queued, 2);
    client.vanish();
    world.writable(&client);
    let stats = world.stats();
    assert_eq!(
        (stats.queued, stats.undelivered, stats.deliveries),
        (0, 2, 0)
    );
    assert!(world.shard.is_empty() && world.outside.rooms.is_empty());
}

#[test]
fn idle_timeout_applies_to_slow_consumers() {
    let mut world = World::new();
    let mut client = world.open(GRANTS);
    world.subscribe(&mut client, A, "1");
    client.takes(0);
    world.publish(A, "0");
    world.deliver();
    world.pass(300_000);
    world.pass(3_000);
    assert!(world.shard.is_empty());
    assert_eq!((world.stats().undelivered, world.stats().queued), (1, 0));
}

#[test]
fn consumer_that_is_always_a_little_behind_misses_nothing() {
    for step in [40, 60, 100] {
        let mut world = World::new();
        let mut client = world.open(GRANTS);
        world.subscribe(&mut client, A, "1");
        client.takes(0);
        let mut heard = Vec::new();
        for n in 0..200 {
            world.publish(A, &(1_000 + n).to_string());
            world.deliver();
            client.takes(step);
            world.writable(&client);
            heard.extend(client.hears());
        }
        client.takes(usize::MAX);
        world.writable(&client);
        heard.extend(client.hears());
        let expected: Vec<_> = (0..200)
            .map(|n| publish(&(1_000 + n).to_string(), "1"))
            .collect();
        assert_eq!(heard, expected, "{step}");
    }
}

fn late_after(outbox_age: u64) -> World {
    World::with(Settings {
        outbox_age,
        ..settings()
    })
}

#[test]
fn stalled_consumer_is_evicted() {
    let mut world = late_after(10_000);
    let mut stalled = world.open(GRANTS);
    let mut healthy = world.open(GRANTS);
    for client in [&mut stalled, &mut healthy] {
        world.subscribe(client, A, "1");
    }
    stalled.takes(3);
    world.publish(A, "0");
    world.deliver();
    assert_eq!(world.shard.deadline(), Some(world.now + 10_000));
    // New data does not restart its age.
    world.pass(9_999);
    world.publish(A, "1");
    world.deliver();
    stalled.takes(20);
    world.writable(&stalled);
    assert!(world.is_there(&stalled));
    world.pass(1);
    assert!(!world.is_there(&stalled) && world.is_there(&healthy));
    assert_eq!(evictions(world.stats()), [Eviction::OutboxAge]);
    assert_eq!(world.stats().undelivered, 2);
    assert!(world.told().contains(&Told::Evicted(0)));
}

#[test]
fn progress_restarts_the_outbox_age() {
    let mut world = late_after(10_000);
    let mut client = world.open(GRANTS);
    world.subscribe(&mut client, A, "1");
    client.takes(0);
    let large = format!("\"{}\"", "x".repeat(100 << 10));
    world.publish(A, &large);
    world.deliver();
    for _ in 0..5 {
        world.pass(9_000);
        client.takes(16 << 10);
        world.writable(&client);
    }
    client.takes(usize::MAX);
    world.writable(&client);
    assert_eq!(client.hears(), [publish(&large, "1")]);
    world.pass(1_000);
    client.takes(0);
    world.publish(A, "0");
    world.deliver();
    world.pass(9_000);
    assert!(world.is_there(&client));
    assert_eq!(evictions(world.stats()), []);
}

#[test]
fn consumer_stalled_for_longest_is_evicted_at_the_total_limit() {
    let mut world = World::with(Settings {
        outboxes: Arc::new(Outboxes::new(1_000)),
        ..settings()
    });
    let mut clients = [world.open(GRANTS), world.open(GRANTS), world.open(GRANTS)];
    for client in &mut clients {
        world.subscribe(client, A, "1");
    }
    let [old, young, healthy] = &mut clients;
    let data = format!("\"{}\"", "x".repeat(300));
    for slow in [&*old, &*young] {
        slow.takes(0);
        world.now += 1;
        world.say(slow, "ping");
    }
    world.publish(A, &data);
    world.deliver();
    assert!(!world.is_there(old) && world.is_there(young));
    assert_eq!(evictions(world.stats()), [Eviction::OutboxTotalBytes]);
    assert_eq!(healthy.hears(), [publish(&data, "1")]);
    young.takes(usize::MAX);
    world.writable(young);
    assert_eq!(young.hears(), ["pong", &publish(&data, "1")]);
}

/// A client that holds much and accepts a little now and then always has the most recent progress.
#[test]
fn when_all_hold_too_much_one_that_trickles_does_not_outlast_those_that_hold_little() {
    let mut world = World::with(Settings {
        outboxes: Arc::new(Outboxes::new(100_000)),
        ..settings()
    });
    let mut honest: Vec<_> = (0..20).map(|_| world.open(GRANTS)).collect();
    let mut trickles = world.open(r#"[{"b":1}]"#);
    for client in &mut honest {
        world.subscribe(client, A, "1");
        client.takes(0);
    }
    world.subscribe(&mut trickles, B, "1");
    trickles.takes(0);
    world.publish(A, "0");
    world.deliver();
    let data = format!("\"{}\"", "x".repeat(30_000));
    for _ in 0..8 {
        world.now += 1;
        world.publish(B, &data);
        world.deliver();
        if world.is_there(&trickles) {
            trickles.takes(17 << 10);
            world.writable(&trickles);
            trickles.takes(0);
        }
    }
    world.publish(A, &data);
    world.deliver();
    assert!(!world.is_there(&trickles));
    assert!(honest.iter().all(|client| world.is_there(client)));
}

/// Many clients of one address, each with as much as others hold, which accept a little now and
/// then.
#[test]
fn many_of_one_address_that_trickle_do_not_outlast_those_of_others() {
    let mut world = World::with(Settings {
        outboxes: Arc::new(Outboxes::new(1_700_000)),
        ..settings()
    });
    let room = |n: usize| format!(r#"{{"b":{n}}}"#);
    let mut clients: Vec<_> = (0..60)
        .map(|n| {
            // The last forty have one address.
            world.address = n.min(20);
            let mut client = world.open(r#"[{"b":"*"}]"#);
            world.subscribe(&mut client, &room(n as usize), "1");
            client.takes(0);
            client
        })
        .collect();
    let trickle = clients.split_off(20);
    let data = format!("\"{}\"", "x".repeat(30_000));
    for n in 0..20 {
        world.publish(&room(n), &data);
    }
    world.deliver();
    for _ in 0..3 {
        world.now += 1;
        for (n, client) in trickle.iter().enumerate() {
            world.publish(&room(20 + n), &data);
            world.deliver();
            if world.is_there(client) {
                client.takes(17 << 10);
                world.writable(client);
                client.takes(0);
            }
        }
    }
    assert!(clients.iter().all(|client| world.is_there(client)));
    assert!(!trickle.iter().all(|client| world.is_there(client)));
}

#[test]
fn large_publication_counts_once_in_any_number_of_outboxes() {
    let outboxes = Arc::new(Outboxes::new(200_000));
    let mut world = World::with(Settings {
        outboxes: Arc::clone(&outboxes),
        ..settings()
    });
    for offer in [None, Some("permessage-deflate")] {
        world.offer = offer;
        let mut clients: Vec<_> = (0..100).map(|_| world.open(GRANTS)).collect();
        for client in &mut clients {
            world.subscribe(client, A, "1");
            client.takes(7);
        }
        // Deflate makes it smaller, but not small.
        let noise: String = (0..50_000u32)
            .map(|n| format!("{:02x}", n.wrapping_mul(2_654_435_761) >> 24))
            .collect();
        let data = format!("\"{noise}\"");
        world.publish(A, &data);
        world.deliver();
        assert_eq!(world.stats().queued, 100);
        for client in &mut clients {
            client.takes(usize::MAX);
            world.writable(client);
            assert_eq!(client.hears(), [publish(&data, "1")]);
            world.gone(client);
        }
        assert_eq!(outboxes.bytes(), 0);
    }
    assert_eq!(evictions(world.stats()), []);
}
