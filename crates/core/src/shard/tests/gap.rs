//! Publications may have been missed: which connections are closed, once, and which are not.

use ht_proto::close::Close;

use super::kit::*;
use crate::shard::Wave;

const A: &str = r#"{"a":1}"#;

fn wave(world: &mut World, number: u32, count: usize) -> Wave {
    let (close, now) = (Close::GAP.within(500), world.now);
    world.shard.close_missed(
        number,
        count,
        close,
        &mut Turn::new(now, &mut world.outside),
    )
}

#[test]
fn connections_that_opened_before_a_gap_are_closed_after_their_publications() {
    let mut world = World::new();
    let mut before = [world.open(r#"[{"a":1}]"#), world.open(r#"[{"a":1}]"#)];
    for client in &mut before {
        world.subscribe(client, A, "1");
    }
    let mut refused = world.refuse(Close::NORMAL);
    world.shard.set_gap(1);
    let mut after = world.open(r#"[{"a":1}]"#);
    world.subscribe(&mut after, A, "1");
    world.publish(A, "0");
    refused.hears();
    let closed = |wave: Wave| (wave.closed, wave.finished);
    assert_eq!(closed(wave(&mut world, 1, 1)), (1, false));
    assert_eq!(closed(wave(&mut world, 1, 9)), (1, true));
    assert_eq!(closed(wave(&mut world, 1, 9)), (0, true));
    for client in &mut before {
        assert_eq!(
            client.hears(),
            [publish("0", "1"), "close 1012 gap 500".into()]
        );
    }
    world.deliver();
    assert_eq!(after.hears(), [publish("0", "1")]);
    assert!(refused.hears().is_empty());
    assert_eq!(world.stats().connections, 1);
}

#[test]
fn several_gaps_close_each_connection_once() {
    let mut world = World::new();
    let mut first: Vec<_> = (0..4).map(|_| world.open("[]")).collect();
    world.shard.set_gap(1);
    assert_eq!(wave(&mut world, 1, 2).closed, 2);
    let mut second = world.open("[]");
    // While connections are closed for the first gap, a second one is found: the remaining ones and
    // those that opened in between are closed for both.
    world.shard.set_gap(2);
    let mut third = world.open("[]");
    assert_eq!(wave(&mut world, 2, usize::MAX).closed, 3);
    assert!(wave(&mut world, 2, usize::MAX).finished);
    for client in first.iter_mut().chain([&mut second]) {
        assert_eq!(client.hears(), ["close 1012 gap 500"]);
    }
    assert!(third.hears().is_empty());
    assert_eq!(wave(&mut world, 2, usize::MAX).closed, 0);
}

#[test]
fn wave_resumes_where_the_last_one_ended() {
    // Connections with the first slots, which are reused, do not precede the others.
    let mut world = World::new();
    let mut clients: Vec<_> = (0..6).map(|_| world.open("[]")).collect();
    for number in 1..=3 {
        world.shard.set_gap(number);
        assert_eq!(wave(&mut world, number, 2).closed, 2);
    }
    for client in &mut clients {
        assert_eq!(client.hears(), ["close 1012 gap 500"]);
    }
}

#[test]
fn gap_closes_nothing_in_a_shard_without_connections() {
    let mut world = World::new();
    let nobody = Wave {
        closed: 0,
        finished: true,
    };
    assert_eq!(wave(&mut world, 7, usize::MAX), nobody);
}
