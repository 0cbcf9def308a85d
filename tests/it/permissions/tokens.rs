//! New tokens of clients that are connected.

use serde_json::{Value, json};

use super::{EVENTS, admit, permissions, rooms};
use crate::support::{Client, Gateway, Handshake, Reply, Seen, StubBackend};

/// The user is the first letter of a token, and the room its length.
fn answer(seen: &Seen) -> Reply {
    match seen.header("authorization") {
        None => Reply::forbidden(),
        Some("Token down") => Reply::Reset,
        Some("Token expired") => Reply::forbidden(),
        Some(token) => {
            let token = token.trim_start_matches("Token ");
            let room = token.len() as u64;
            let body = json!({
                "allowed_rooms": rooms(&[room]), "user": {"id": &token[..1]}, "expires_in": 900,
            });
            Reply::json("200 OK", body.to_string())
        }
    }
}

fn client(gateway: &Gateway, token: &str) -> Client {
    let mut client = Handshake::new(gateway)
        .path(&format!("/ws/?token={token}"))
        .header("Sec-WebSocket-Protocol", EVENTS)
        .open();
    assert_eq!(client.expect_json()["is_authorized"], true);
    client
}

fn authenticate(token: &str) -> Value {
    json!({"type": "authenticate", "token": token, "requestId": 12})
}

#[test]
fn a_new_token_replaces_the_old_one_if_the_api_accepts_it_for_the_same_user() {
    let backend = StubBackend::new(answer);
    let gateway = Gateway::start(&backend);
    let mut client = client(&gateway, "a");
    for (token, message) in [
        ("b", "other-user"),
        ("expired", "token-refused"),
        ("down", "backend-unavailable"),
    ] {
        let reply = client.call(&authenticate(token));
        assert_eq!(
            (&reply["requestId"], &reply["message"]),
            (&json!(12), &json!(message)),
            "{reply}"
        );
        client.fence();
    }
    super::subscribe(&mut client, 1);
    let accepted = json!({"code": "success", "requestId": 12, "expires_in": 900});
    assert_eq!(client.call(&authenticate("aaa")), accepted);
    assert_eq!(client.expect_json(), super::unsubscribed(1));
    assert_eq!(client.expect_json(), permissions(&[3]));
    // Later queries are made with the new one.
    let before = backend.requests().len();
    let command = json!({"command": "invalidate", "user": "a"});
    assert_eq!(gateway.trigger(&command)["matched"], 1);
    let asked = backend.wait_for(before + 1);
    let last = asked.last().and_then(|seen| seen.header("authorization"));
    assert_eq!(last, Some("Token aaa"));
    let asked = r#"high_templar_permissions_asked_total{reason="token"}"#;
    assert_eq!(gateway.metric(asked), 4);
}

#[test]
fn a_client_is_asked_for_a_new_token_before_the_term_ends_and_closed_without_one() {
    let backend = StubBackend::new(|seen| {
        let is_new = seen.header("authorization") == Some("Token aa");
        let term = if is_new { 1 } else { 6 };
        let body = json!({"allowed_rooms": [], "user": {"id": "a"}, "expires_in": term});
        Reply::json("200 OK", body.to_string())
    });
    let gateway = Gateway::start(&backend);
    let mut client = client(&gateway, "a");
    let asked = client.expect_json();
    assert_eq!(asked["type"], "authenticate", "{asked}");
    let within = asked["within"].as_u64().expect("milliseconds");
    assert!((1..=1_200).contains(&within), "{within}");
    let reply = client.call(&authenticate("aa"));
    assert_eq!(
        reply,
        json!({"code": "success", "requestId": 12, "expires_in": 1})
    );
    assert_eq!(client.expect_json()["type"], "authenticate");
    assert_eq!(client.expect_close(4301), "authenticate");
}

#[test]
fn a_client_without_a_token_cannot_send_one() {
    let backend = StubBackend::new(|_| admit("7", &rooms(&[1])));
    let gateway = Gateway::start(&backend);
    let mut client = super::listener(&gateway);
    let reply = client.call(&authenticate("a"));
    assert_eq!(reply["message"], "message-type-not-allowed", "{reply}");
}
