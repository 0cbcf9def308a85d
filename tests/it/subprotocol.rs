//! Our websocket subprotocol, and tokens supplied in the form of one.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use crate::binary::{Running, command, folder, run};
use crate::support::stream::Address;
use crate::support::{Gateway, Handshake, Reply, Seen, StubBackend};

pub(crate) const V1: &str = "high-templar.v1";

/// The subprotocol's name for a token.
pub(crate) fn named(token: &str) -> String {
    format!("high-templar.token.{}", URL_SAFE_NO_PAD.encode(token))
}

/// A handshake that offers these subprotocols.
pub(crate) fn offer(gateway: &Gateway, names: &str) -> Handshake {
    Handshake::new(gateway).header("Sec-WebSocket-Protocol", names)
}

/// Admits clients with this token.
pub(crate) fn admitting(token: &'static str) -> StubBackend {
    StubBackend::new(move |seen: &Seen| {
        if seen.header("authorization") == Some(&format!("Token {token}")) {
            Reply::rooms(&json!([{"room": "*"}]))
        } else {
            Reply::forbidden()
        }
    })
}

#[test]
fn ours_is_selected_and_no_other() {
    let gateway = Gateway::start(&StubBackend::open());
    let token = named("t");
    for (offered, chosen) in [
        (V1.to_owned(), Some(V1)),
        (format!("{V1}, {token}"), Some(V1)),
        (format!("graphql-ws, {token}, {V1}"), Some(V1)),
        (format!("{V1}, high-templar.authenticate"), Some(V1)),
        (token, None),
        ("graphql-ws, high-templar.v2".into(), None),
        ("high-templar.authenticate".into(), None),
    ] {
        let (answer, mut client) = offer(&gateway, &offered).send().answer();
        assert_eq!(answer.status, 101, "{offered}: {answer:?}");
        assert_eq!(answer.header("sec-websocket-protocol"), chosen, "{offered}");
        assert_eq!(client.expect_json()["is_authorized"], true);
        client.fence();
    }
}

#[test]
fn replies_name_their_request_if_it_was_selected() {
    let gateway = Gateway::start(&StubBackend::open());
    let mut client = offer(&gateway, V1).connect();
    let mut old = Handshake::new(&gateway).connect();
    let subscribe = json!({"type": "subscribe", "room": {"room": 1}, "requestId": "a"});
    let denied = json!({"type": "subscribe", "room": {"x": 1}, "requestId": 2});
    assert_eq!(
        client.call(&subscribe),
        json!({"code": "success", "requestId": "a"})
    );
    let reason = "not granted; the closest grant differs in `x`: granted nothing, asked 1 (number); \
                  `room`: granted \"*\" (text), asked nothing";
    assert_eq!(
        client.call(&denied),
        json!({"code": "error", "message": "room-not-found", "requestId": 2, "reason": reason})
    );
    assert_eq!(old.call(&subscribe), json!({"code": "success"}));
    assert_eq!(
        old.call(&denied),
        json!({"code": "error", "message": "room-not-found"})
    );
    gateway.trigger(&json!({"rooms": [{"room": 1}], "data": 1}));
    for client in [&mut client, &mut old] {
        assert_eq!(client.expect_publish(), (json!(1), json!("a")));
    }
}

#[test]
fn a_refused_room_is_explained_by_the_clients_own_grants() {
    let backend = StubBackend::new(|seen: &Seen| {
        Reply::rooms(&match seen.header("cookie") {
            Some("user=anna") => json!([{"project": 1}, {"news": true}]),
            _ => json!([{"secret": "of-ben"}, {"project": "1"}]),
        })
    });
    let gateway = Gateway::with(&backend)
        .set("HT_LOG__LEVEL", "debug")
        .start();
    let mut ben = offer(&gateway, V1).header("Cookie", "user=ben").connect();
    let mut anna = offer(&gateway, V1).header("Cookie", "user=anna").connect();
    let mut old = Handshake::new(&gateway)
        .header("Cookie", "user=anna")
        .connect();
    let ask = |room: Value| json!({"type": "subscribe", "room": room, "requestId": 1});
    assert_eq!(ben.call(&ask(json!({"project": "1"})))["code"], "success");
    let reason = "not granted; the closest grant differs in `project`: granted 1 (number), asked \
                  \"1\" (text)";
    let refused = json!({"code": "error", "message": "room-not-found"});
    let mut explained = refused.clone();
    explained["requestId"] = json!(1);
    explained["reason"] = json!(reason);
    assert_eq!(anna.call(&ask(json!({"project": "1"}))), explained);
    assert_eq!(old.call(&ask(json!({"project": "1"}))), refused);
    // Another user's grant is closer, and is not named.
    let answer = anna.call(&ask(json!({"secret": "of-ann"})));
    let reason = answer["reason"].as_str().unwrap_or_default();
    assert!(
        reason.contains("granted nothing, asked \"of-ann\""),
        "{answer}"
    );
    assert!(!reason.contains("of-ben"), "{answer}");
    let line = gateway.wait_for_line("DEBUG ht_node::shard::outside: refused a room");
    assert!(line.contains("`project`: granted 1"), "{line}");
}

#[test]
fn a_client_that_selected_it_is_refused_with_4300() {
    let gateway = Gateway::start(&admitting("right"));
    for (offered, code, reason) in [
        (V1.to_owned(), 4300, "refused"),
        (format!("{V1}, {}", named("wrong")), 4300, "refused"),
        (named("wrong"), 1000, ""),
        ("graphql-ws".into(), 1000, ""),
    ] {
        let mut visitor = offer(&gateway, &offered).open();
        assert_eq!(visitor.expect_text(), r#"{"is_authorized": false}"#);
        assert_eq!(visitor.expect_close(code), reason, "{offered}");
    }
    let gateway = Gateway::start(&StubBackend::new(|_| Reply::Reset));
    let mut visitor = offer(&gateway, V1).open();
    assert_eq!(visitor.expect_json()["is_authorized"], false);
    assert!(visitor.expect_close(1013).starts_with("backend "));
}

#[test]
fn a_token_in_the_offer_is_the_parameter_token() {
    let backend = StubBackend::open();
    let gateway = Gateway::with(&backend)
        .file("[backend.headers]\nX-Token = { param = \"token\" }\n")
        .start();
    for token in ["secret", "a/b+c d=", "caf\u{e9}", "a%0d%0ab"] {
        offer(&gateway, &format!("{V1}, {}", named(token))).connect();
        let seen = backend.requests().pop().unwrap();
        let authorization = format!("Token {token}");
        assert_eq!(seen.header("authorization"), Some(&*authorization));
        assert_eq!(seen.header("x-token"), Some(token));
        assert_eq!(seen.header("sec-websocket-protocol"), None);
    }
    let both = offer(&gateway, &named("t")).path("/ws/?token=%74");
    both.connect();
    let seen = backend.requests().pop().unwrap();
    assert_eq!(seen.header("authorization"), Some("Token t"));
    // An empty one counts as absent, as an empty parameter does.
    offer(&gateway, "high-templar.token.").connect();
    let seen = backend.requests().pop().unwrap();
    assert_eq!(seen.header("authorization"), None);
}

#[test]
fn a_malformed_token_is_400_and_is_not_forwarded() {
    let backend = StubBackend::open();
    let gateway = Gateway::with(&backend)
        .set("HT_LIMITS__HEAD_BYTES", "128KiB")
        .start();
    let long = "a".repeat(33 << 10);
    for (offered, path) in [
        ("high-templar.token.YQ==".to_owned(), "/ws/"),
        ("high-templar.token.a+b/".into(), "/ws/"),
        ("high-templar.token.Y".into(), "/ws/"),
        ("high-templar.token._w".into(), "/ws/"),
        (named("a\r\nX-Forged: 1"), "/ws/"),
        (named("a\r\n\r\nGET /admin/ HTTP/1.1\r\n"), "/ws/"),
        (named("a\0"), "/ws/"),
        (named("a\tb"), "/ws/"),
        (named(&long), "/ws/"),
        (format!("{V1}, {}, {}", named("a"), named("b")), "/ws/"),
        (named("a"), "/ws/?token=b"),
    ] {
        let answer = offer(&gateway, &offered).path(path).refused();
        assert_eq!(answer.status, 400, "{offered} {path}");
        assert!(answer.text().contains("token"), "{answer:?}");
    }
    assert!(backend.requests().is_empty());
    gateway.wait_for_metric("high_templar_handshake_errors_total{reason=\"token\"}", 11);
}

#[test]
fn tokens_are_in_no_log() {
    let gateway = Gateway::with(&admitting("right"))
        .set("RUST_LOG", "trace")
        .start();
    let (good, bad) = (named("geheim-right"), named("geheim\n"));
    let mut visitor = offer(&gateway, &format!("{V1}, {good}")).open();
    assert_eq!(visitor.expect_json()["is_authorized"], false);
    visitor.expect_close(4300);
    let answer = offer(&gateway, &bad).refused();
    assert!(!answer.text().contains("geheim"), "{answer:?}");
    gateway.wait_for_line("refused a client");
    let log = gateway.log();
    for secret in ["geheim", &good, &bad] {
        assert!(!log.contains(secret), "{log}");
    }
}

#[test]
fn the_terminal_client_sends_its_token_this_way() {
    let backend = admitting("right");
    let gateway = Gateway::start(&backend);
    let Address::Tcp(public) = gateway.public() else {
        panic!("the gateway listens on TCP");
    };
    let url = format!("ws://{public}/ws/");
    let args = ["listen", "--url", &url, "--token", "right"];
    let args = [&args[..], &["--room", r#"{"room": 1}"#]].concat();
    let folder = folder();
    let mut listen = Running::start(command(folder.path(), &args, &[]));
    listen.line_with("connected; allowed rooms: 1");
    listen.line_with("listening to {");
    assert_eq!(backend.wait_for(1)[0].target, "/api/bootstrap/");
    let args = ["listen", "--url", &url, "--token", "right"];
    let args = [&args[..], &["--room", r#"{"rom": 1}"#]].concat();
    let found = run(folder.path(), &args, &[]);
    assert_eq!(found.code, Some(1));
    let reason =
        "(room-not-found): not granted; the closest grant differs in `rom`: granted nothing";
    assert!(found.stderr.contains(reason), "{found:?}");
}
