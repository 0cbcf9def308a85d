//! Clients that connect while their permissions change.

use serde_json::json;

use super::{EVENTS, admit, api, behind, bootstraps, invalidate, publish, rooms, subscribe};
use crate::support::{Gate, Gateway, Handshake, Reply};

#[test]
fn the_first_message_never_shows_permissions_from_before_a_command() {
    for coalesce in ["0", "10s"] {
        let (old, new) = (Gate::default(), Gate::default());
        let (backend, answer) = api(behind(&old, admit("7", &rooms(&[1]))));
        let gateway = Gateway::with(&backend)
            .set("HT_BACKEND__COALESCE", coalesce)
            .start();
        // With a time, the second one shares the call of the first.
        let (calls, shared) = if coalesce == "0" { (2, 0) } else { (1, 1) };
        let first = Handshake::new(&gateway).send();
        backend.wait_for(1);
        let second = Handshake::new(&gateway)
            .header("Sec-WebSocket-Protocol", EVENTS)
            .send();
        backend.wait_for(calls);
        gateway.wait_for_metric("high_templar_backend_shared_total", shared);
        assert_eq!(invalidate(&gateway), 0, "nobody is connected yet");
        answer.set(behind(&new, admit("7", &rooms(&[2]))));
        old.open();
        // The API is queried again before they are sent anything.
        backend.wait_for(calls + 1);
        let asked = r#"high_templar_permissions_asked_total{reason="newcomer"}"#;
        gateway.wait_for_metric(asked, 2);
        new.open();
        for asked in [first, second] {
            let (response, mut client) = asked.answer();
            assert_eq!(response.status, 101);
            let expected = json!({"is_authorized": true, "allowed_rooms": rooms(&[2])});
            assert_eq!(client.expect_json(), expected);
            let room = json!({"type": "subscribe", "room": {"n": 1}, "requestId": 1});
            assert_eq!(client.call(&room)["message"], "room-not-found");
            subscribe(&mut client, 2);
            publish(&gateway, 2, &json!("x"));
            assert_eq!(client.expect_publish().0, "x");
            client.leave();
        }
        assert_eq!(bootstraps(&backend.requests()), calls + 1);
    }
}

#[test]
fn a_newcomer_that_the_newer_answer_refuses_is_refused_as_at_the_handshake() {
    let gate = Gate::default();
    let (backend, answer) = api(behind(&gate, admit("7", &rooms(&[1]))));
    let gateway = Gateway::start(&backend);
    let old = Handshake::new(&gateway).send();
    backend.wait_for(1);
    let new = Handshake::new(&gateway)
        .header("Sec-WebSocket-Protocol", EVENTS)
        .send();
    backend.wait_for(2);
    assert_eq!(invalidate(&gateway), 0);
    answer.set(Reply::forbidden());
    gate.open();
    for (asked, code) in [(old, 1000), (new, 4300)] {
        let (_, mut client) = asked.answer();
        assert_eq!(client.expect_json(), json!({"is_authorized": false}));
        client.expect_close(code);
    }
}
