//! Commands that meet clients on their way in.

use super::*;

#[test]
fn a_disconnect_meets_a_client_whose_api_call_is_under_way() {
    let gate = Gate::default();
    let held = gate.clone();
    let backend = StubBackend::new(move |seen| {
        let reply = Reply::json("200 OK", permissions(seen).to_string());
        match seen.header("authorization") {
            Some("Token slow") => Reply::Behind(held.clone(), Box::new(reply)),
            _ => reply,
        }
    });
    let gateway = Gateway::start(&backend);
    let slow = handshake(&gateway, "slow").send();
    let other = handshake(&gateway, "slow").header("X-Other", "1").send();
    backend.wait_for(1);
    let disconnect = json!({"command": "disconnect", "user": "slow", "reason": "signed-out"});
    assert_eq!(command(&gateway, &disconnect), 0, "nobody is connected yet");
    gate.open();
    for asked in [slow, other] {
        let (answer, mut client) = asked.answer();
        assert_eq!(answer.status, 101);
        assert_eq!(client.expect_json(), json!({"is_authorized": false}));
        assert_eq!(client.expect_close(4303), "signed-out");
    }
    // A client that begins after it is admitted, and has the only slot.
    let mut after = listener(&gateway, "slow");
    gateway.wait_for_open(&mut after, 1);
}

#[test]
fn commands_apply_to_a_client_with_its_token_in_the_first_frame() {
    let gate = Gate::default();
    let held = gate.clone();
    let backend = StubBackend::new(move |seen| {
        let reply = Reply::json("200 OK", permissions(seen).to_string());
        Reply::Behind(held.clone(), Box::new(reply))
    });
    let gateway = Gateway::with(&backend)
        .set("HT_AUTH__FIRST_FRAME", "true")
        .start();
    let mut clients = ["7", "8"].map(|user| {
        let handshake = Handshake::new(&gateway).header("Sec-WebSocket-Protocol", EVENTS);
        let mut client = handshake.open();
        client.send_json(&json!({"type": "authenticate", "token": user}));
        client
    });
    backend.wait_for(2);
    let permit = json!({"command": "permit", "user": "8", "allowed_rooms": [{"m": 1}]});
    let disconnect = json!({"command": "disconnect", "user": "7", "come_back": "never"});
    gateway.trigger(&json!([permit, disconnect]));
    gate.open();
    let [first, second] = &mut clients;
    assert_eq!(first.expect_json(), json!({"is_authorized": false}));
    assert_eq!(first.expect_close(4203), "ended");
    let expected = json!({"is_authorized": true, "allowed_rooms": [{"m": 1}]});
    assert_eq!(second.expect_json(), expected);
    gateway.wait_for_open(second, 1);
    // It listens for events as any other.
    let again = json!({"command": "permit", "user": "8", "allowed_rooms": []});
    assert_eq!(command(&gateway, &again), 1);
    let expected = json!({"type": "permissions", "allowed_rooms": []});
    assert_eq!(second.expect_json(), expected);
}

#[test]
fn a_permit_replaces_the_answer_that_is_under_way() {
    let gate = Gate::default();
    let held = gate.clone();
    let backend = StubBackend::new(move |seen| {
        let reply = Reply::json("200 OK", permissions(seen).to_string());
        Reply::Behind(held.clone(), Box::new(reply))
    });
    let gateway = Gateway::start(&backend);
    let slow = handshake(&gateway, "7").send();
    backend.wait_for(1);
    let permit =
        json!({"command": "permit", "user": "7", "allowed_rooms": [{"m": 1}], "labels": ["new"]});
    assert_eq!(command(&gateway, &permit), 0);
    gate.open();
    let (_, mut client) = slow.answer();
    let first = json!({"is_authorized": true, "allowed_rooms": [{"m": 1}]});
    assert_eq!(client.expect_json(), first);
    let subscribe = json!({"type": "subscribe", "room": {"n": 1}, "requestId": 1});
    assert_eq!(client.call(&subscribe)["message"], "room-not-found");
    client.subscribe(&json!({"m": 1}), 1);
    assert_eq!(
        command(&gateway, &json!({"command": "disconnect", "label": "new"})),
        1
    );
    client.expect_close(4303);
}
