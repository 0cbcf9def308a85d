//! Grants and rooms: which clients may enter, and which receive what.

use serde_json::{Value, json};

use crate::support::{Client, Gateway, StubBackend};

/// Requests a room; whether it was permitted.
#[track_caller]
fn may_enter(client: &mut Client, room: &Value) -> bool {
    let reply =
        client.call(&json!({"type": "subscribe", "room": room, "requestId": room.to_string()}));
    match reply["code"].as_str() {
        Some("success") => true,
        _ => {
            assert_eq!(
                reply,
                json!({"code": "error", "message": "room-not-found"}),
                "{room}"
            );
            false
        }
    }
}

#[test]
fn grants_permit_equal_keys_with_equal_values_or_a_star() {
    // Grants, then rooms that they permit, then rooms that they do not.
    let table = [
        (
            json!([{"target": "post", "author": "*"}]),
            json!([
                {"target": "post", "author": 1},
                {"author": "x", "target": "post"},
                {"target": "post", "author": {"nested": [1]}},
                {"target": "post", "author": null},
                {"target": "post", "author": "*"},
            ]),
            json!([
                {"target": "post"},
                {"author": 1},
                {},
                {"target": "comment", "author": 1},
                {"target": "post", "author": 1, "extra": 1},
                {"target": "*", "author": 1},
            ]),
        ),
        (
            json!([{"a": 1}, {"b": "1"}, {"c": true}, {"d": null}, {"e": 1.0}]),
            json!([{"a": 1}, {"b": "1"}, {"c": true}, {"d": null}, {"e": 1.0}]),
            json!([
                {"a": "1"}, {"a": true}, {"a": 1.0}, {"b": 1}, {"c": 1}, {"c": "true"},
                {"d": "null"}, {"d": 0}, {"e": 1}, {"a": "*"}, {"a": 1, "b": "1"},
            ]),
        ),
        (
            json!([{"a": {"x": 1, "y": [1, 2]}}, {"b": {"x": "*"}}, {"c": "a*"}, {"d": ["*"]}]),
            json!([
                {"a": {"y": [1, 2], "x": 1}}, {"b": {"x": "*"}}, {"c": "a*"}, {"d": ["*"]},
            ]),
            json!([
                {"a": {"x": 1, "y": [2, 1]}}, {"a": {"x": 1}}, {"b": {"x": 1}}, {"c": "ab"},
                {"d": [1]}, {"d": 1},
            ]),
        ),
        (
            json!([{"*": 1}, {"a": "*", "b": 1}, {"a": 2, "b": "*"}]),
            json!([{"*": 1}, {"a": 9, "b": 1}, {"a": 2, "b": 9}, {"a": "*", "b": 1}]),
            json!([{"x": 1}, {"a": 9, "b": 9}, {"a": "*", "b": "*"}, {"a": 9, "b": "*"}]),
        ),
        // Without Unicode normalisation.
        (
            json!([{"a": "\u{e9}"}]),
            json!([{"a": "\u{e9}"}]),
            json!([{"a": "e\u{301}"}]),
        ),
        (json!([{}]), json!([{}]), json!([{"a": 1}])),
        (json!([]), json!([]), json!([{}, {"a": 1}])),
    ];
    for matching in ["wildcard", "exact"] {
        for (grants, permitted, others) in table.clone() {
            let backend = StubBackend::admitting(grants.clone());
            let gateway = Gateway::with(&backend)
                .set("HT_ROOMS__MATCHING", matching)
                .start();
            let mut client = Client::connect(&gateway);
            for room in permitted.as_array().unwrap() {
                assert!(
                    may_enter(&mut client, room),
                    "{matching}: {grants} and {room}"
                );
            }
            for room in others.as_array().unwrap() {
                assert!(
                    !may_enter(&mut client, room),
                    "{matching}: {grants} and {room}"
                );
            }
        }
    }
}

/// Everything that the tables below subscribe to.
fn grants() -> Value {
    json!([{}, {"a": "*"}, {"a": "*", "b": "*"}, {"*": "*"}, {"end": 1}])
}

/// Each trigger, and which of the subscriptions, named by their index, receive it.
#[track_caller]
fn check(matching: &str, subscriptions: &[Value], triggers: &[(Value, &[usize])]) {
    let backend = StubBackend::admitting(grants());
    let gateway = Gateway::with(&backend)
        .set("HT_ROOMS__MATCHING", matching)
        .start();
    // A connection each, so that messages of one cannot hide those of another.
    let mut clients: Vec<_> = subscriptions
        .iter()
        .map(|room| {
            let mut client = Client::connect(&gateway);
            client.subscribe(room, "x");
            client.subscribe(&json!({"end": 1}), "end");
            client
        })
        .collect();
    for (n, (rooms, hearers)) in triggers.iter().enumerate() {
        let rooms = rooms
            .as_array()
            .cloned()
            .unwrap_or_else(|| vec![rooms.clone()]);
        gateway.trigger(&json!({"rooms": rooms, "data": n}));
        gateway.trigger(&json!({"rooms": [{"end": 1}], "data": n}));
        for (index, client) in clients.iter_mut().enumerate() {
            let mut heard = 0;
            loop {
                let (data, id) = client.expect_publish();
                assert_eq!(data, n);
                if id == "end" {
                    break;
                }
                heard += 1;
            }
            let wanted = usize::from(hearers.contains(&index));
            let subscription = &subscriptions[index];
            assert_eq!(heard, wanted, "{matching}: {subscription} hears {rooms:?}");
        }
    }
}

fn subscriptions() -> [Value; 12] {
    [
        json!({"a": 1}),
        json!({"a": "1"}),
        json!({"a": true}),
        json!({"a": 1.0}),
        json!({"a": {"x": 1, "y": null}}),
        json!({"a": "*"}),
        json!({"a": 1, "b": 2}),
        json!({"a": 1, "b": "*"}),
        json!({"a": "*", "b": 2}),
        json!({"a": "*", "b": "*"}),
        json!({}),
        json!({"*": 1}),
    ]
}

#[test]
fn in_exact_mode_a_star_is_a_value_like_any_other() {
    check(
        "exact",
        &subscriptions(),
        &[
            (json!({"a": 1}), &[0]),
            (json!({"a": "1"}), &[1]),
            (json!({"a": true}), &[2]),
            (json!({"a": 1.0}), &[3]),
            (json!({"a": {"y": null, "x": 1}}), &[4]),
            (json!({"a": "*"}), &[5]),
            (json!({"a": 7}), &[]),
            (json!({"b": 2, "a": 1}), &[6]),
            (json!({"a": 1, "b": "*"}), &[7]),
            (json!({"a": "*", "b": 2}), &[8]),
            (json!({"a": "*", "b": "*"}), &[9]),
            (json!({"a": 1, "b": 3}), &[]),
            (json!({}), &[10]),
            (json!({"*": 1}), &[11]),
            (json!({"c": 1}), &[]),
            (json!([{"a": 1}, {"a": 1}, {"a": "*"}, {"c": 1}]), &[0, 5]),
        ],
    );
}

#[test]
fn in_wildcard_mode_a_star_matches_every_value_once() {
    check(
        "wildcard",
        &subscriptions(),
        &[
            (json!({"a": 1}), &[0, 5]),
            (json!({"a": "1"}), &[1, 5]),
            (json!({"a": true}), &[2, 5]),
            (json!({"a": 1.0}), &[3, 5]),
            (json!({"a": {"y": null, "x": 1}}), &[4, 5]),
            (json!({"a": {"x": "*", "y": null}}), &[5]),
            (json!({"a": "*"}), &[0, 1, 2, 3, 4, 5]),
            (json!({"a": 7}), &[5]),
            (json!({"b": 2, "a": 1}), &[6, 7, 8, 9]),
            (json!({"a": 1, "b": "*"}), &[6, 7, 8, 9]),
            (json!({"a": "*", "b": 2}), &[6, 7, 8, 9]),
            (json!({"a": 3, "b": "*"}), &[8, 9]),
            (json!({"a": "*", "b": 3}), &[7, 9]),
            (json!({"a": "*", "b": "*"}), &[6, 7, 8, 9]),
            (json!({"a": 1, "b": 3}), &[7, 9]),
            (json!({"a": 3, "b": 3}), &[9]),
            (json!({}), &[10]),
            (json!({"*": 1}), &[11]),
            (json!({"*": "*"}), &[11]),
            (json!({"c": "*"}), &[]),
            // However many of its rooms match, a subscription receives a trigger once.
            (
                json!([{"a": 1}, {"a": 1}, {"a": "*"}, {"a": 2}]),
                &[0, 1, 2, 3, 4, 5],
            ),
        ],
    );
}

#[test]
fn grants_of_many_users_stay_apart() {
    let backend = StubBackend::new(|seen| {
        let user = seen.header("cookie").unwrap_or_default();
        crate::support::Reply::rooms(&json!([{"user": user}, {"user": "all"}]))
    });
    let gateway = Gateway::start(&backend);
    let mut clients: Vec<_> = (0..20)
        .map(|n| {
            let user = format!("u{n}");
            let handshake = crate::support::Handshake::new(&gateway).header("Cookie", &user);
            let mut client = handshake.connect();
            let other = json!({"user": format!("u{}", n + 1)});
            assert!(!may_enter(&mut client, &other));
            client.subscribe(&json!({"user": user}), "own");
            client.subscribe(&json!({"user": "all"}), "all");
            client
        })
        .collect();
    for n in 0..20 {
        gateway.trigger(&json!({"rooms": [{"user": format!("u{n}")}], "data": n}));
    }
    gateway.trigger(&json!({"rooms": [{"user": "all"}], "data": "all"}));
    for (n, client) in clients.iter_mut().enumerate() {
        assert_eq!(client.expect_publish(), (json!(n), json!("own")));
        assert_eq!(client.expect_publish(), (json!("all"), json!("all")));
    }
}
