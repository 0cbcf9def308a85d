//! The node's totals, as clients request them.

use serde_json::{Value, json};

use crate::support::{Client, Frame, Gateway, StubBackend, frame};

#[test]
fn status_has_the_members_it_always_had() {
    let gateway = Gateway::start(&StubBackend::open());
    let mut client = Client::connect(&gateway);
    let status = client.call(&json!({"type": "status", "requestId": 7, "room": {"room": 1}}));
    let mut names: Vec<_> = status
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect();
    names.sort_unstable();
    let wanted = [
        "num_rooms",
        "online_since",
        "open_connections",
        "rabbitmq_messages_received",
        "ws_messages_received",
        "ws_messages_send",
        "ws_messages_send_error",
        "ws_messages_send_queued",
    ];
    assert_eq!(names, wanted);
    let since = status["online_since"].as_str().unwrap();
    // 2026-11-23T13:48:01.123456
    let shape: String = since
        .chars()
        .map(|c| if c.is_ascii_digit() { '0' } else { c })
        .collect();
    assert_eq!(shape, "0000-00-00T00:00:00.000000", "{since}");
    assert_eq!(client.status()["online_since"], since);
    for name in wanted.iter().filter(|name| **name != "online_since") {
        assert!(status[name].is_u64(), "{name}: {status}");
    }
}

#[test]
fn the_totals_are_those_of_all_threads() {
    let gateway = Gateway::with(&StubBackend::open())
        .set("HT_THREADS", 4)
        .start();
    let mut clients: Vec<_> = (0..8).map(|_| Client::connect(&gateway)).collect();
    for (n, client) in clients.iter_mut().enumerate() {
        client.subscribe(&json!({"room": "all"}), "all");
        client.subscribe(&json!({"room": n}), "own");
    }
    gateway.trigger(&json!({"rooms": [{"room": "all"}, {"room": 3}], "data": 1}));
    for (n, client) in clients.iter_mut().enumerate() {
        client.expect_publish();
        if n == 3 {
            client.expect_publish();
        }
    }
    // Counts of other threads are those of their last turn, which may be a moment ago.
    gateway.wait_for_metric("high_templar_deliveries_total", 9);
    gateway.wait_for_metric("high_templar_messages_total", 16);
    for (n, client) in clients.iter_mut().enumerate() {
        gateway.wait_for_metric("high_templar_messages_total", 16 + n as u64);
        let status = client.status();
        assert_eq!(status["open_connections"], 8);
        assert_eq!(status["num_rooms"], 9);
        assert_eq!(status["ws_messages_send"], 9);
        assert_eq!(status["ws_messages_received"], 17 + n);
        assert_eq!(status["ws_messages_send_error"], 0);
        assert_eq!(status["ws_messages_send_queued"], 0);
        assert_eq!(status["rabbitmq_messages_received"], 0);
    }
}

#[test]
fn new_clients_are_assigned_to_the_shard_with_the_fewest_connections() {
    let gateway = Gateway::with(&StubBackend::open())
        .set("HT_THREADS", 4)
        .start();
    let by_shard = |count: u64| {
        for shard in 0..4 {
            let name = format!("high_templar_shard_connections{{shard=\"{shard}\"}}");
            gateway.wait_for_metric(&name, count);
        }
    };
    let mut clients: Vec<_> = (0..16).map(|_| Client::connect(&gateway)).collect();
    by_shard(4);
    // All clients of one shard disconnect, and as many connect.
    for client in clients.iter_mut().step_by(4) {
        client.send(&Frame::close(1000, ""));
        assert_eq!(client.frame().opcode, frame::CLOSE);
    }
    gateway.wait_for_metric("high_templar_connections", 12);
    clients.extend((0..4).map(|_| Client::connect(&gateway)));
    by_shard(4);
}

#[test]
fn a_closed_connection_is_not_seen_after_its_close_echo() {
    let gateway = Gateway::start(&StubBackend::open());
    // One in each thread, so that the other one handles every request.
    let mut watchers = [Client::connect(&gateway), Client::connect(&gateway)];
    for n in 0..200 {
        let mut client = Client::connect(&gateway);
        client.subscribe(&json!({"room": n}), 1);
        let watcher = &mut watchers[n % 2];
        let status = watcher.status();
        assert_eq!(status["open_connections"], 3, "{n}");
        assert_eq!(status["num_rooms"], 1, "{n}");
        // It is not closed on this side yet when the request arrives.
        client.send(&Frame::close(1000, ""));
        assert_eq!(client.frame().opcode, frame::CLOSE);
        let status = watcher.status();
        assert_eq!(status["open_connections"], 2, "{n}");
        assert_eq!(status["num_rooms"], 0, "{n}");
    }
}

#[test]
fn status_can_be_disabled() {
    let gateway = Gateway::with(&StubBackend::open())
        .set("HT_STATUS__CLIENTS", false)
        .start();
    let mut client = Client::connect(&gateway);
    let reply: Value = client.status();
    assert_eq!(reply["message"], "message-type-not-allowed");
    assert_eq!(reply["code"], "error");
    client.fence();
}

#[test]
fn a_room_is_counted_while_it_has_subscribers() {
    let gateway = Gateway::start(&StubBackend::open());
    let mut clients = [Client::connect(&gateway), Client::connect(&gateway)];
    let rooms = |client: &mut Client| client.status()["num_rooms"].clone();
    for client in &mut clients {
        client.subscribe(&json!({"room": {"a": 1, "b": 2}}), "x");
        client.subscribe(&json!({"room": {"b": 2, "a": 1}}), "y");
        assert_eq!(rooms(client), 1);
    }
    let unsubscribe = |id: &str| json!({"type": "unsubscribe", "requestId": id});
    for (n, left) in [(0, 1), (1, 0)] {
        clients[n].call(&unsubscribe("x"));
        assert_eq!(rooms(&mut clients[n]), 1);
        clients[n].call(&unsubscribe("y"));
        assert_eq!(rooms(&mut clients[n]), left);
    }
}
