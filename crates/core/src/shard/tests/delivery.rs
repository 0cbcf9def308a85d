//! From a batch of publications to one write per connection.

use std::sync::Arc;

use ht_frame::Opcode;
use ht_proto::close::Close;

use super::kit::*;
use crate::publication::Publication;

const A: &str = r#"{"a":1}"#;
const B: &str = r#"{"b":1}"#;
const BOTH: &str = r#"[{"a":1},{"b":1}]"#;

#[test]
fn data_is_delivered_unchanged() {
    let mut world = World::new();
    let mut client = world.open(BOTH);
    world.subscribe(&mut client, A, "1");
    let all = [
        r#"{"z": 1.0,"a":1e2, "z":"\u00e9"}"#,
        "null",
        "12345678901234567890",
        "\"\u{e9}\"",
    ];
    for data in all {
        world.publish(A, data);
    }
    world.deliver();
    assert_eq!(client.hears(), all.map(|data| publish(data, "1")));
}

#[test]
fn rooms_are_delivered_in_the_order_of_the_trigger_and_once() {
    let mut world = World::new();
    let mut client = world.open(BOTH);
    world.subscribe(&mut client, A, "\"a\"");
    world.subscribe(&mut client, B, "\"b\"");
    world.publish_all(&[(&[B, A, B, A], "0"), (&[A, B], "1"), (&[], "2")]);
    world.deliver();
    assert_eq!(
        client.hears(),
        [
            publish("0", "\"b\""),
            publish("0", "\"a\""),
            publish("1", "\"a\""),
            publish("1", "\"b\"")
        ]
    );
    assert_eq!(
        (world.stats().publications, world.stats().deliveries),
        (3, 4)
    );
}

#[test]
fn only_subscribers_receive_and_unknown_rooms_are_ignored() {
    let mut world = World::new();
    let mut client = world.open(BOTH);
    let mut other = world.open(BOTH);
    world.subscribe(&mut client, A, "1");
    world.publish_all(&[(&[r#"{"a":2}"#, "{}", B], "0")]);
    world.deliver();
    assert!(client.hears().is_empty() && other.hears().is_empty());
    assert_eq!(world.stats().deliveries, 0);
}

#[test]
fn a_publication_is_encoded_when_it_has_a_subscriber_and_not_before() {
    let mut world = World::new();
    let mut client = world.open(BOTH);
    world.subscribe(&mut client, A, "1");
    let batch = world.batch(&[(&[B], "1"), (&[A], "2")]);
    world.shard.publish(Arc::clone(&batch));
    world.deliver();
    assert_eq!(client.hears(), [publish("2", "1")]);
    let encoded = batch.iter().map(Publication::is_encoded);
    assert_eq!(encoded.collect::<Vec<_>>(), [false, true]);
}

#[test]
fn queued_publications_take_one_write_per_connection() {
    let mut world = World::new();
    let mut clients = [world.open(BOTH), world.open(BOTH)];
    for client in &mut clients {
        world.subscribe(client, A, "1");
    }
    let before = clients.each_ref().map(Client::writes);
    for data in 0..50 {
        world.publish(A, &data.to_string());
    }
    world.deliver();
    for (client, before) in clients.iter_mut().zip(before) {
        assert_eq!(client.writes(), before + 1);
        let expected: Vec<_> = (0..50).map(|n| publish(&n.to_string(), "1")).collect();
        assert_eq!(client.hears(), expected);
    }
}

#[test]
fn a_long_burst_is_written_in_parts() {
    let mut world = World::new();
    let mut client = world.open(BOTH);
    world.subscribe(&mut client, A, "1");
    let before = client.writes();
    let data = format!("\"{}\"", "x".repeat(1_000));
    for _ in 0..200 {
        world.publish(A, &data);
    }
    world.deliver();
    assert_eq!(client.hears().len(), 200);
    assert_eq!(client.writes(), before + 4);
}

#[test]
fn large_publications_are_written_without_a_copy() {
    let mut world = World::new();
    let mut client = world.open(BOTH);
    world.subscribe(&mut client, A, "1");
    let large = format!("\"{}\"", "x".repeat(100_000));
    for data in ["1", &large, "2", &large] {
        world.publish(A, data);
    }
    world.deliver();
    assert_eq!(client.wire.borrow().vectored, 2);
    let heard = client.hears();
    assert_eq!(
        heard,
        ["1", &large, "2", &large].map(|data| publish(data, "1"))
    );
    assert_eq!(world.stats().deliveries, 4);
}

#[test]
fn a_publication_that_was_queued_before_a_request_arrives_before_its_reply() {
    for slices in [0, 1, 2] {
        let mut world = World::new();
        let mut first = world.open(BOTH);
        let mut second = world.open(BOTH);
        world.subscribe(&mut first, A, "1");
        world.subscribe(&mut second, A, "1");
        world.publish(A, "0");
        for _ in 0..slices {
            world.slice(1);
        }
        for client in [&mut second, &mut first] {
            let heard = world.ask(client, &unsubscribe("1"));
            assert_eq!(heard, [publish("0", "1"), SUCCESS.into()], "{slices}");
        }
        world.publish(A, "1");
        world.subscribe(&mut first, A, "1");
        world.deliver();
        assert!(first.hears().is_empty(), "{slices}");
        assert_eq!(world.stats().deliveries, 2);
    }
}

#[test]
fn publication_is_sent_before_the_echo_of_a_close_frame() {
    let mut world = World::new();
    let mut client = world.open(BOTH);
    world.subscribe(&mut client, A, "1");
    world.publish(A, "0");
    world.frame(&client, Opcode::Close, &1000u16.to_be_bytes());
    assert_eq!(client.hears(), [publish("0", "1"), "close 1000".into()]);
    world.publish(A, "1");
    world.deliver();
    assert!(client.hears().is_empty());
}

#[test]
fn work_is_done_in_slices() {
    let mut world = World::new();
    let mut clients: Vec<_> = (0..10).map(|_| world.open(BOTH)).collect();
    for client in &mut clients {
        world.subscribe(client, A, "1");
    }
    let before: usize = clients.iter().map(Client::writes).sum();
    world.publish(A, "0");
    world.publish(A, "1");
    let mut slices = 0;
    while world.shard.has_fan_out() {
        world.slice(3);
        slices += 1;
        let written: usize = clients.iter().map(Client::writes).sum();
        assert!(written - before <= slices * 3);
    }
    assert_eq!(slices, 4);
    for client in &mut clients {
        assert_eq!(client.hears(), [publish("0", "1"), publish("1", "1")]);
    }
}

#[test]
fn burst_of_publications_without_subscribers_is_sliced_too() {
    let mut world = World::new();
    for _ in 0..10_000 {
        world.publish(A, "0");
    }
    world.slice(1);
    assert!(world.shard.has_fan_out());
    assert!(world.stats().publications < 5_000);
    world.deliver();
    assert_eq!(world.stats().publications, 10_000);
}

#[test]
fn slot_reused_between_slices_gets_nothing_of_its_old_connection() {
    let mut world = World::new();
    let mut clients: Vec<_> = (0..4).map(|_| world.open(BOTH)).collect();
    for client in &mut clients {
        world.subscribe(client, A, "\"old\"");
    }
    world.publish(A, "0");
    world.slice(1);
    assert!(clients.iter_mut().all(|client| client.hears().is_empty()));
    world.gone(&clients[1]);
    world.gone(&clients[2]);
    let mut new = world.open(BOTH);
    assert!([clients[1].id.slot, clients[2].id.slot].contains(&new.id.slot));
    world.subscribe(&mut new, A, "\"new\"");
    world.publish(A, "1");
    world.deliver();
    assert_eq!(new.hears(), [publish("1", "\"new\"")]);
    for at in [0, 3] {
        let heard = clients[at].hears();
        assert_eq!(heard, [publish("0", "\"old\""), publish("1", "\"old\"")]);
    }
    assert_eq!(
        (world.stats().deliveries, world.stats().undelivered),
        (5, 2)
    );
}

#[test]
fn subscriptions_that_change_between_slices_receive_their_own_publications() {
    let mut world = World::new();
    let mut clients: Vec<_> = (0..3).map(|_| world.open(BOTH)).collect();
    for client in &mut clients {
        world.subscribe(client, A, "1");
        world.subscribe(client, B, "2");
    }
    world.publish_all(&[(&[A, B], "0")]);
    world.slice(2);
    let last = clients.last_mut().unwrap();
    world.say(last, &unsubscribe("1"));
    world.say(last, &subscribe(B, "3"));
    assert_eq!(
        last.hears(),
        [
            publish("0", "1"),
            publish("0", "2"),
            SUCCESS.into(),
            SUCCESS.into()
        ]
    );
    world.deliver();
    assert!(clients[2].hears().is_empty());
    assert_eq!(clients[0].hears(), [publish("0", "1"), publish("0", "2")]);
    assert_eq!(clients[1].hears(), [publish("0", "1"), publish("0", "2")]);
    assert_eq!(world.stats().deliveries, 6);
}

#[test]
fn connection_that_breaks_during_a_write_is_removed() {
    let mut world = World::new();
    let mut clients = [world.open(BOTH), world.open(BOTH), world.open(BOTH)];
    for client in &mut clients {
        world.subscribe(client, A, "1");
        world.subscribe(client, A, "2");
    }
    clients[1].vanish();
    world.publish(A, "0");
    world.deliver();
    assert!(!world.is_there(&clients[1]));
    assert_eq!(clients[0].hears().len() + clients[2].hears().len(), 4);
    let stats = world.stats();
    assert_eq!(
        (stats.deliveries, stats.undelivered, stats.queued),
        (4, 2, 0)
    );
    assert_eq!((stats.connections, stats.subscriptions), (2, 4));
    assert_eq!(evictions(stats), []);
}

#[test]
fn nothing_is_delivered_to_a_closing_connection() {
    let mut world = World::new();
    let mut client = world.open(BOTH);
    world.subscribe(&mut client, A, "1");
    let mut visitor = world.refuse(Close::NORMAL);
    visitor.hears();
    world.pass(300_000);
    world.publish(A, "0");
    world.deliver();
    assert_eq!(client.hears(), ["close 1000 idle"]);
    assert_eq!(visitor.hears(), ["close 1000"]);
    assert_eq!(world.stats().deliveries, 0);
}

#[test]
fn a_batch_of_any_size_is_delivered_in_rounds() {
    for (clients, triggers) in [(1, 3_000), (40, 1_000), (80, 1_000)] {
        let mut world = World::new();
        let mut clients: Vec<_> = (0..clients).map(|_| world.open(BOTH)).collect();
        for client in &mut clients {
            world.subscribe(client, A, "1");
        }
        let data: Vec<_> = (0..triggers).map(|n| n.to_string()).collect();
        let batch: Vec<(&[&str], &str)> = data.iter().map(|data| (&[A][..], &**data)).collect();
        world.publish_all(&batch);
        world.publish(B, "\"nobody\"");
        world.publish(A, "\"last\"");
        world.deliver();
        let mut expected: Vec<_> = data.iter().map(|data| publish(data, "1")).collect();
        expected.push(publish("\"last\"", "1"));
        for client in &mut clients {
            assert_eq!(client.hears(), expected);
        }
        assert_eq!(world.stats().publications, triggers + 2);
        assert_eq!(world.stats().queued, 0);
    }
}

#[test]
fn room_receives_publications_sequenced_after_it_opened() {
    let mut world = World::new();
    let mut client = world.open(BOTH);
    // Positions assigned elsewhere before it was known that this shard has a subscriber.
    world.outside.position = 2;
    world.subscribe(&mut client, A, "1");
    // Publications in flight at that time arrive later, and the position starts over for the test.
    world.outside.position = 0;
    world.publish_all(&[(&[A], "1"), (&[A], "2"), (&[A], "3")]);
    world.deliver();
    assert_eq!(client.hears(), [publish("3", "1")]);

    // A new subscriber of an open room receives what its other subscribers receive.
    let mut other = world.open(BOTH);
    world.subscribe(&mut other, A, "2");
    world.publish(A, "4");
    world.deliver();
    assert_eq!(client.hears(), [publish("4", "1")]);
    assert_eq!(other.hears(), [publish("4", "2")]);

    // A room that is opened again does not receive what it missed.
    assert_eq!(world.ask(&mut client, &unsubscribe("1")), [SUCCESS]);
    assert_eq!(world.ask(&mut other, &unsubscribe("2")), [SUCCESS]);
    world.outside.position = 5;
    world.subscribe(&mut client, A, "1");
    world.outside.position = 4;
    world.publish_all(&[(&[A], "5"), (&[A], "6")]);
    world.deliver();
    assert_eq!(client.hears(), [publish("6", "1")]);
}
