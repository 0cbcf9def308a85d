//! How much traffic one trigger causes, and whose wildcards make it.

use serde_json::{Value, json};

use crate::support::{Client, Gateway, Handshake, StubBackend};

fn subscribe(room: &Value, name: impl Into<Value>) -> Value {
    json!({"type": "subscribe", "room": room, "requestId": name.into()})
}

fn refused(code: &str) -> Value {
    json!({"code": "error", "message": code})
}

/// A room of seven keys with `*` at the positions of `stars`, and 1 elsewhere.
fn stars(stars: usize) -> Value {
    let member = |at: usize| {
        let star = stars & (1 << at) != 0;
        (format!("k{at}"), if star { json!("*") } else { json!(1) })
    };
    Value::Object((0..7).map(member).collect())
}

#[test]
fn one_room_under_thousands_of_names_is_refused_beyond_a_bound() {
    let gateway = Gateway::start(&StubBackend::open());
    let mut client = Client::connect(&gateway);
    let room = json!({"room": 1});
    let mut taken = 0u64;
    for name in 0..2_000 {
        match client.call(&subscribe(&room, name)) {
            answer if answer == json!({"code": "success"}) => taken += 1,
            answer => assert_eq!(answer, refused("too-many-names")),
        }
    }
    assert_eq!(taken, 32);
    gateway.trigger(&json!({"rooms": [room], "data": 0}));
    for _ in 0..taken {
        client.expect_publish();
    }
    client.fence();
    let counted = "high_templar_client_errors_total{code=\"too-many-names\"}";
    gateway.wait_for_metric(counted, 2_000 - taken);
}

#[test]
fn the_subprotocol_names_the_request_that_had_too_many_names() {
    let gateway = Gateway::with(&StubBackend::open())
        .set("HT_LIMITS__NAMES_PER_ROOM", 1)
        .start();
    let mut client = Handshake::new(&gateway)
        .header("Sec-WebSocket-Protocol", "high-templar.v1")
        .connect();
    let room = json!({"room": 1});
    client.call(&subscribe(&room, "a"));
    let answer = client.call(&subscribe(&room, "b"));
    let mut expected = refused("too-many-names");
    expected["requestId"] = json!("b");
    assert_eq!(answer, expected);
}

#[test]
fn a_grant_of_seven_wildcards_does_not_use_up_what_others_need() {
    let backend = StubBackend::admitting(json!([stars(127)]));
    let gateway = Gateway::with(&backend).set("HT_THREADS", 1).start();
    // All of one address, and some that connect for everything.
    for _ in 0..6 {
        let mut hostile = Client::connect(&gateway);
        let mut taken = 0;
        for combination in 1..127 {
            match hostile.call(&subscribe(&stars(combination), combination)) {
                answer if answer == json!({"code": "success"}) => taken += 1,
                answer => assert_eq!(answer, refused("too-many-wildcards")),
            }
        }
        assert_eq!(taken, 8);
        std::mem::forget(hostile);
    }
    let mut healthy = Client::connect(&gateway);
    for combination in [126, 125] {
        healthy.subscribe(&stars(combination), combination);
    }
    // The content of `allowed_rooms` as it is.
    healthy.subscribe(&stars(127), 127);
    gateway.trigger(&json!({"rooms": [stars(0)], "data": 0}));
    for _ in 0..3 {
        healthy.expect_publish();
    }
    healthy.fence();
}
