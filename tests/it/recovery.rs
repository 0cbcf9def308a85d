//! Cursors: how far a client was sent everything, and what it is sent when it comes back.

use std::time::Instant;

use serde_json::{Value, json};

use crate::subprotocol::{V1, offer};
use crate::support::{Client, Gateway, Handshake, Reply, Seen, StubBackend};

/// The cursor of the next message, and the message.
fn next(client: &mut Client) -> (String, Value) {
    let message = client.expect_whole();
    let cursor = message["cursor"].as_str().expect("a cursor").to_string();
    (cursor, message)
}

fn ping(client: &mut Client) -> String {
    client.send_json(&json!({"type": "ping", "requestId": "p"}));
    let (cursor, mut answer) = next(client);
    if let Some(members) = answer.as_object_mut() {
        members.remove("proof");
    }
    assert_eq!(
        answer,
        json!({"code": "success", "requestId": "p", "cursor": cursor})
    );
    cursor
}

#[test]
fn cursor_moves_with_what_is_published_also_where_it_is_for_others() {
    for threads in [1, 4] {
        let gateway = Gateway::with(&StubBackend::open())
            .set("HT_THREADS", threads)
            .start();
        let mut client = offer(&gateway, V1).open();
        let (first, message) = next(&mut client);
        assert_eq!(message["features"], json!(["since", "resume", "ping"]));
        let subscribe = json!({"type": "subscribe", "room": {"room": 1}, "requestId": 1});
        client.send_json(&subscribe);
        assert_eq!(next(&mut client).0, first);
        gateway.trigger(&json!({"rooms": [{"room": 1}], "data": 1}));
        let (heard, message) = next(&mut client);
        assert_eq!(message["data"], 1);
        assert_eq!(ping(&mut client), heard);
        // Its thread need not be woken for that.
        gateway.trigger(&json!({"rooms": [{"room": 2}], "data": 2}));
        let later = ping(&mut client);
        assert_ne!(later, heard);
        assert_eq!(ping(&mut client), later);
        gateway.trigger(&json!({"command": "disconnect", "user": "nobody"}));
        assert_ne!(ping(&mut client), later);
        let epoch = |cursor: &str| cursor.split('-').next().map(str::to_string);
        assert_eq!(epoch(&first), epoch(&later));
    }
}

#[test]
fn other_clients_see_none_of_it() {
    let gateway = Gateway::start(&StubBackend::open());
    let mut client = Handshake::new(&gateway).open();
    assert_eq!(
        client.expect_whole().as_object().map(|first| first.len()),
        Some(2)
    );
    client.send_json(&json!({"type": "ping", "requestId": 1}));
    assert_eq!(client.expect_whole()["message"], "message-type-not-allowed");
    client.subscribe(&json!({"room": 1}), 1);
    gateway.trigger(&json!({"rooms": [{"room": 1}], "data": 1}));
    assert_eq!(client.expect_publish(), (json!(1), json!(1)));
}

/// What a page keeps, and what it heard.
struct Page {
    client: Client,
    cursor: String,
    heard: Vec<(u64, u64)>,
}

const ROOMS: [(u64, &str); 3] = [
    (0, r#"{"room": "a"}"#),
    (1, r#"{"room": "*"}"#),
    (2, r#"{"room": "b"}"#),
];

impl Page {
    /// Reads so many messages, or up to the reply to a ping that is sent now.
    fn hear(&mut self, most: usize) {
        if most == usize::MAX {
            self.client
                .send_json(&json!({"type": "ping", "requestId": "last"}));
        }
        for _ in 0..most {
            let (cursor, message) = next(&mut self.client);
            self.cursor = cursor;
            if message["type"] == "publish" {
                let data = message["data"][0].as_u64().expect("a number");
                let name = message["requestId"].as_u64().expect("a number");
                self.heard.push((data, name));
            } else if message["requestId"] == "last" {
                return;
            }
        }
    }

    /// Comes back with nothing but the cursor.
    fn resume(&mut self, client: Client) {
        self.client = client;
        assert_eq!(self.client.expect_json()["is_authorized"], true);
        let subscriptions = ROOMS.map(|(name, room)| {
            let room: Value = serde_json::from_str(room).expect("a room");
            json!({"requestId": name, "room": room})
        });
        self.client.send_json(&json!({
            "type": "resume", "requestId": "r", "cursor": self.cursor, "subscriptions": subscriptions,
        }));
    }
}

/// Triggers that each meet several subscriptions, numbered from `first`.
fn burst(gateway: &Gateway, first: u64) {
    let triggers = (first..first + 4).map(|number| {
        let data = json!([number, "x".repeat(200)]);
        json!({"rooms": [{"room": "a"}, {"room": if number % 2 == 0 { "b" } else { "c" }}], "data": data})
    });
    gateway.trigger(&triggers.collect());
}

#[test]
fn a_page_that_is_cut_after_any_message_hears_everything_once() {
    for (threads, deflates) in [(1, false), (3, true)] {
        let gateway = Gateway::with(&StubBackend::open())
            .set("HT_THREADS", threads)
            .set("HT_COMPRESSION__THRESHOLD", 64)
            .start();
        let connect = || {
            let handshake = offer(&gateway, V1);
            if deflates {
                handshake.deflate().open()
            } else {
                handshake.open()
            }
        };
        let mut first = 0;
        // The reply to the resume, and ten publications.
        for cut in 0..=11 {
            let mut client = connect();
            let (cursor, _) = next(&mut client);
            let mut page = Page {
                client,
                cursor,
                heard: Vec::new(),
            };
            page.resume(connect());
            let begin = first;
            burst(&gateway, first);
            page.hear(cut);
            // While it is away, while it comes back, and after that.
            burst(&gateway, first + 4);
            page.resume(connect());
            burst(&gateway, first + 8);
            page.hear(5);
            page.resume(connect());
            page.hear(usize::MAX);
            first += 12;
            burst(&gateway, first);
            page.hear(usize::MAX);
            first += 4;
            assert!(
                page.heard.is_sorted_by_key(|(data, _)| *data),
                "{:?}",
                page.heard
            );
            page.heard.sort_unstable();
            let expected = (begin..first).flat_map(|number| {
                let names = if number % 2 == 0 { 0..3 } else { 0..2 };
                names.map(move |name| (number, name))
            });
            let expected: Vec<_> = expected.collect();
            assert_eq!(page.heard, expected, "{threads} {cut}");
            assert_eq!(page.client.inflated > 0, deflates);
        }
    }
}

#[test]
fn cursor_of_another_life_is_refused_and_the_client_is_told_to_fetch() {
    let backend = StubBackend::open();
    let cursor = next(&mut offer(&Gateway::start(&backend), V1).open()).0;
    let gateway = Gateway::start(&backend);
    let mut client = offer(&gateway, V1).open();
    let (head, _) = next(&mut client);
    client.send_json(&json!({
        "type": "subscribe", "room": {"room": 1}, "requestId": 1, "since": cursor,
    }));
    let expected = json!({
        "code": "success", "requestId": 1, "recovered": false, "reason": "epoch", "cursor": head,
    });
    assert_eq!(next(&mut client).1, expected);
    gateway.trigger(&json!({"rooms": [{"room": 1}], "data": 1}));
    assert_eq!(client.expect_publish(), (json!(1), json!(1)));
    gateway.wait_for_metric("high_templar_recoveries_total{outcome=\"epoch\"}", 1);
    assert_eq!(gateway.metric("high_templar_catch_up_seconds_count"), 1);
}

#[test]
fn metrics_say_what_became_of_clients_that_came_back_and_how_far_the_window_reaches() {
    let gateway = Gateway::with(&StubBackend::open())
        .set("HT_WINDOW__ENTRIES", 4)
        .start();
    let mut client = offer(&gateway, V1).open();
    let (cursor, _) = next(&mut client);
    drop(client);
    let publish = |count: u64| {
        (0..count).for_each(|number| {
            gateway.trigger(&json!({"rooms": [{"room": 1}], "data": number}));
        });
    };
    let resume = || {
        let mut client = offer(&gateway, V1).open();
        next(&mut client);
        client.send_json(&json!({
            "type": "resume", "requestId": 1, "cursor": cursor,
            "subscriptions": [{"requestId": 2, "room": {"room": 1}}],
        }));
        let (_, answer) = next(&mut client);
        answer["reason"].as_str().map(str::to_string)
    };
    let age = || {
        let answer = gateway.get("/metrics");
        let mut lines = answer.text().lines();
        let line = lines.find_map(|line| line.strip_prefix("high_templar_window_age_seconds "));
        line.and_then(|age| age.parse::<f64>().ok())
            .expect("an age")
    };
    let first = Instant::now();
    publish(3);
    assert_eq!(resume(), None);
    let since_first = first.elapsed().as_secs_f64();
    assert!(age() >= since_first, "since the start of the node");
    publish(2);
    assert!(
        age() <= first.elapsed().as_secs_f64(),
        "the first one was dropped"
    );
    assert_eq!(resume().as_deref(), Some("age"));
    for (name, value) in [
        ("recoveries_total{outcome=\"recovered\"}", 1),
        ("recoveries_total{outcome=\"age\"}", 1),
        ("replayed_total", 3),
        ("catch_up_seconds_count", 2),
        ("window_entries", 4),
    ] {
        gateway.wait_for_metric(&format!("high_templar_{name}"), value);
    }
}

#[test]
fn invalidate_between_cut_and_resume_is_no_way_around_permissions() {
    let gateway = Gateway::start(&StubBackend::new(|_: &Seen| {
        Reply::json(
            "200 OK",
            json!({"allowed_rooms": [{"room": "*"}], "user": {"id": 7}}).to_string(),
        )
    }));
    for (user, is_recovered) in [(7, false), (8, true)] {
        let mut client = offer(&gateway, V1).open();
        let (cursor, _) = next(&mut client);
        drop(client);
        gateway.trigger(&json!([
            {"rooms": [{"room": 1}], "data": 1},
            {"command": "invalidate", "user": user},
        ]));
        let mut client = offer(&gateway, V1).open();
        next(&mut client);
        client.send_json(&json!({
            "type": "resume", "requestId": 1, "cursor": cursor,
            "subscriptions": [{"requestId": 2, "room": {"room": 1}}],
        }));
        let answer = next(&mut client).1;
        assert_eq!(answer["recovered"], is_recovered, "{answer}");
        if is_recovered {
            assert_eq!(client.expect_publish(), (json!(1), json!(2)));
        } else {
            assert_eq!(answer["reason"], "permissions");
        }
    }
}

/// A node may be behind the one that gave a cursor: it waits for its log, and holds up nothing else.
#[test]
fn a_cursor_that_is_ahead_of_the_node_waits_a_moment_and_is_refused() {
    let gateway = Gateway::start(&StubBackend::open());
    gateway.trigger(&json!({"rooms": [{"room": 1}], "data": 1}));
    let mut client = offer(&gateway, V1).open();
    let (head, _) = next(&mut client);
    let parts: Vec<_> = head.split('-').collect();
    let ahead = format!("{}-9-{}", parts[0], parts[2..].join("-"));
    client.send_json(&json!({
        "type": "resume", "requestId": 0, "cursor": ahead,
        "subscriptions": [{"requestId": 1, "room": {"room": 1}}],
    }));
    // It is alive meanwhile, and so is the shard.
    assert_eq!(ping(&mut client), head);
    let mut other = offer(&gateway, V1).open();
    let (cursor, _) = next(&mut other);
    assert_eq!(cursor, head);
    other.send_json(&json!({
        "type": "subscribe", "requestId": 1, "room": {"room": 1}, "since": head,
    }));
    assert_eq!(next(&mut other).1["recovered"], true);
    let answer = next(&mut client).1;
    assert_eq!(
        (&answer["recovered"], &answer["reason"]),
        (&json!(false), &json!("ahead"))
    );
    gateway.trigger(&json!({"rooms": [{"room": 1}], "data": 2}));
    assert_eq!(client.expect_publish(), (json!(2), json!(1)));
    assert_eq!(other.expect_publish(), (json!(2), json!(1)));
}
