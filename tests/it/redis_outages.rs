//! A Redis that is killed under load, hangs, or is replaced by a replica that lagged. Slow.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use ht_testkit::redis::Redis as Server;
use serde_json::{Value, json};

use crate::rabbitmq::{wait_for_not_ready, wait_for_ready};
use crate::redis::{api, listener, node};
use crate::streams::{epoch, gaps, next, publication};
use crate::subprotocol::{V1, offer};
use crate::support::{Client, Gateway, eventually};

/// A publication that may be sent again.
fn with_id(number: u64) -> String {
    let trigger = json!({"rooms": [{"n": 1}], "data": number, "id": format!("id {number}")});
    trigger.to_string()
}

/// Publishes it until it is accepted.
fn insist(node: &Gateway, publication: &str) {
    eventually("it is accepted", || {
        (node.post(publication).status == 200).then_some(())
    });
}

#[test]
fn five_kills_under_load_lose_and_double_nothing() {
    let (mut server, backend) = (Server::start(), api());
    let nodes = [node(&backend, &server), node(&backend, &server)];
    let clients = [listener(&nodes[0]), listener(&nodes[1])];
    let is_over = AtomicBool::new(false);
    let (accepted, heard) = thread::scope(|scope| {
        let publishers = nodes.each_ref().map(|node| {
            let (own, is_over) = (u64::from(node.pid()) << 32, &is_over);
            scope.spawn(move || {
                let mut accepted = Vec::new();
                for number in own.. {
                    if is_over.load(Ordering::Relaxed) {
                        return accepted;
                    }
                    // Sent again until it is known to be accepted.
                    insist(node, &with_id(number));
                    accepted.push(number);
                }
                accepted
            })
        });
        let hearing = clients.map(|mut client| {
            scope.spawn(move || {
                let mut heard = Vec::new();
                loop {
                    let data = client.expect_publish().0;
                    match data.as_u64() {
                        Some(number) => heard.push(number),
                        None => return heard,
                    }
                }
            })
        });
        for _ in 0..5 {
            thread::sleep(Duration::from_millis(500));
            server.kill();
            for node in &nodes {
                wait_for_not_ready(node);
            }
            server.start_again();
            for node in &nodes {
                wait_for_ready(node);
            }
        }
        thread::sleep(Duration::from_millis(500));
        is_over.store(true, Ordering::Relaxed);
        let accepted = publishers.map(|it| it.join().unwrap());
        insist(&nodes[0], &publication("last").to_string());
        (accepted.concat(), hearing.map(|it| it.join().unwrap()))
    });
    let [first, second] = &heard;
    assert_eq!(first, second, "in one order on both");
    let unique: HashSet<_> = first.iter().collect();
    assert_eq!(unique.len(), first.len(), "nothing is doubled");
    let lost: Vec<_> = accepted.iter().filter(|it| !unique.contains(it)).collect();
    assert!(lost.is_empty() && accepted.len() > 100, "{lost:?}");
    assert_eq!(nodes.each_ref().map(gaps), [0, 0]);
}

#[test]
fn a_server_that_hangs_is_told_to_publishers_and_doubles_nothing() {
    let (server, backend) = (Server::start(), api());
    let node = node(&backend, &server);
    let mut client = listener(&node);
    server.pause();
    let paused = Instant::now();
    let (mut number, mut statuses) = (0, HashMap::new());
    while paused.elapsed() < Duration::from_secs(20) {
        let answer = node.post(with_id(number));
        *statuses.entry(answer.status).or_insert(0) += 1;
        if answer.status != 503 {
            number += 1;
        }
        thread::sleep(Duration::from_millis(50));
    }
    let found: HashSet<_> = statuses.keys().copied().collect();
    assert_eq!(found, HashSet::from([503, 504]), "{statuses:?}");
    assert_eq!(node.get("/ready").status, 503);
    server.resume();
    wait_for_ready(&node);
    // Those of which nobody knows what became of them, and the one that was refused.
    for number in 0..=number {
        insist(&node, &with_id(number));
    }
    let heard: HashSet<_> = (0..=number)
        .map(|_| client.expect_publish().0.as_u64().unwrap())
        .collect();
    assert_eq!(heard, (0..=number).collect());
    client.fence();
    assert_eq!(gaps(&node), 0);
}

/// A kill that loses what the server had confirmed and not written: clients that are connected are told,
/// and one that comes back is not believed to know what is there now.
#[test]
fn a_kill_that_loses_publications_is_told_to_every_client() {
    let (mut server, backend) = (Server::start(), api());
    let nodes = [node(&backend, &server), node(&backend, &server)];
    let mut clients = nodes.each_ref().map(cursors_of);
    let mut last = String::new();
    for number in 0..100 {
        nodes[number % 2].trigger(&publication(number));
        for client in &mut clients {
            let (cursor, message) = next(client);
            assert_eq!(message["data"], number);
            last = cursor.as_str().unwrap().to_owned();
        }
    }
    let before = epoch(&nodes[0]);
    server.kill();
    for node in &nodes {
        wait_for_not_ready(node);
    }
    assert_eq!(server.lose_end(5_000), 5_000, "some publications");
    server.start_again();
    nodes.iter().for_each(wait_for_ready);
    eventually("one new epoch", || {
        let [first, second] = nodes.each_ref().map(epoch);
        (first == second && first != before).then_some(())
    });
    for client in &mut clients {
        let gap = client.expect_whole();
        let told = (&gap["type"], &gap["reason"]);
        assert_eq!(told, (&json!("gap"), &json!("broker")));
    }
    insist(&nodes[0], &publication("after").to_string());
    for client in &mut clients {
        assert_eq!(next(client).1["data"], "after");
    }
    for node in &nodes {
        let mut client = offer(node, V1).open();
        next(&mut client);
        let rooms = json!([{"requestId": 1, "room": {"n": 1}}]);
        let resume =
            json!({"type": "resume", "requestId": 0, "cursor": last, "subscriptions": rooms});
        client.send_json(&resume);
        let answer = client.expect_whole();
        let told = (&answer["recovered"], &answer["reason"]);
        assert_eq!(told, (&json!(false), &json!("epoch")), "{answer}");
        assert_eq!(gaps(node), 1);
    }
}

/// What clients hear, by the epoch and the position in their cursors: a position is never given
/// twice within an epoch.
#[test]
fn a_failover_that_loses_publications_is_another_epoch_on_every_node() {
    let (mut primary, replica, backend) = (Server::start(), Server::start(), api());
    let nodes = [node(&backend, &primary), node(&backend, &primary)];
    let mut clients = nodes.each_ref().map(cursors_of);
    let mut old = nodes.each_ref().map(listener);
    let mut heard = HashMap::new();
    let mut hear = |client: &mut Client, expected: &Value| {
        let (cursor, message) = next(client);
        assert_eq!(message["data"], *expected);
        let text = cursor.as_str().unwrap().to_owned();
        let place = text.rsplit_once('-').unwrap().0.to_owned();
        let before = heard.insert(place, expected.clone());
        assert!(before.is_none_or(|before| before == *expected), "{text}");
        text
    };
    let follow = |port: &str| replica.command(&["REPLICAOF", "127.0.0.1", port]);
    follow(&primary.port().to_string());
    let mut last = String::new();
    for number in 0..40 {
        if number == 20 {
            let length = |server: &Server| server.command(&["XLEN", "high-templar.log"]);
            eventually("the replica has it", || {
                (length(&replica) == length(&primary)).then_some(())
            });
            // It gets nothing more, and is what it was.
            follow("1");
        }
        nodes[number % 2].trigger(&publication(number));
        for client in &mut clients {
            last = hear(client, &json!(number));
        }
        for client in &mut old {
            assert_eq!(client.expect_publish().0, number);
        }
    }
    let before = epoch(&nodes[0]);
    primary.kill();
    replica.command(&["REPLICAOF", "NO", "ONE"]);
    replica.command(&["CONFIG", "SET", "port", &primary.port().to_string()]);
    for (node, client) in nodes.iter().zip(&mut old) {
        let reason = client.expect_close(1012);
        assert!(reason.starts_with("gap "), "{reason}");
        node.wait_for_line("reason=\"rewound\"");
        wait_for_ready(node);
    }
    eventually("one new epoch", || {
        let [first, second] = nodes.each_ref().map(epoch);
        (first == second && first != before).then_some(())
    });
    for client in &mut clients {
        let gap = client.expect_whole();
        assert_eq!(
            (&gap["type"], &gap["reason"]),
            (&json!("gap"), &json!("broker"))
        );
    }
    // As many as were lost, and more: their positions are given again.
    for number in 100..140 {
        nodes[number % 2].trigger(&publication(number));
        for client in &mut clients {
            hear(client, &json!(number));
        }
    }
    for node in &nodes {
        let mut client = offer(node, V1).open();
        next(&mut client);
        let rooms = json!([{"requestId": 1, "room": {"n": 1}}]);
        let resume =
            json!({"type": "resume", "requestId": 0, "cursor": last, "subscriptions": rooms});
        client.send_json(&resume);
        let answer = client.expect_whole();
        assert_eq!(
            (&answer["recovered"], &answer["reason"]),
            (&json!(false), &json!("epoch")),
            "{answer}"
        );
    }
}

/// A client that is told its cursors, and of gaps.
fn cursors_of(node: &Gateway) -> Client {
    let mut client = offer(node, "high-templar.v1, high-templar.events").open();
    next(&mut client);
    client.send_json(&json!({"type": "subscribe", "room": {"n": 1}, "requestId": 1}));
    next(&mut client);
    client
}
