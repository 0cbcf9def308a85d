//! Cursors: how far a client was sent everything, and what it is sent when it comes back.

use serde_json::{Value, json};

use crate::subprotocol::{V1, offer};
use crate::support::{Client, Gateway, Handshake, StubBackend};

/// The cursor of the next message, and the message.
fn next(client: &mut Client) -> (String, Value) {
    let message = client.expect_whole();
    let cursor = message["cursor"].as_str().expect("a cursor").to_string();
    (cursor, message)
}

fn ping(client: &mut Client) -> String {
    client.send_json(&json!({"type": "ping", "requestId": "p"}));
    let (cursor, answer) = next(client);
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
        assert_eq!(message["features"][0], "ping");
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
