//! Each protocol from the upgrade to `Joined`, without a server.

use super::*;

const WHO: Identity = Identity {
    number: 7,
    request_id: Uuid::from_u128(0x0102_0304_0506_0708_090a_0b0c_0d0e_0f10),
    deflate: false,
    browser: false,
};

/// The text of the one frame in `out`; empty if there is none.
fn clear(out: &[u8]) -> String {
    if out.is_empty() {
        return String::new();
    }
    assert_eq!(out[0], 0x81);
    let start = if out[1] & 0x7f < 126 { 2 } else { 4 };
    let (key, body) = out[start..].split_at(4);
    let body = body.iter().zip(key.iter().cycle()).map(|(b, k)| b ^ k);
    String::from_utf8(body.collect()).unwrap()
}

fn joining(dialect: Dialect, stage: Stage, received: &str) -> Result<(Stage, String), JoinError> {
    let frame = Frame {
        opcode: match dialect {
            Dialect::Nats => frame::BINARY,
            Dialect::Plain
            | Dialect::HighTemplar
            | Dialect::Subscribe
            | Dialect::Url
            | Dialect::SocketIo
            | Dialect::Events
            | Dialect::UrlEvents => frame::TEXT,
        },
        payload: received.as_bytes(),
        compressed: false,
        length: received.len() + 2,
    };
    let mut out = Vec::new();
    let stage = dialect.joining_frame(stage, WHO, Rooms::Unicast, &frame, &mut out)?;
    Ok((stage, clear(&out)))
}

/// Goes from the upgrade to `Joined` with the server's messages; checks those of the client.
fn joins(dialect: Dialect, first: &str, turns: &[(&str, &str)]) {
    let mut out = Vec::new();
    let mut stage = dialect.upgraded(WHO, Rooms::Unicast, &mut out);
    assert_eq!(clear(&out), first);
    for (received, expected) in turns {
        assert_ne!(stage, Stage::Joined, "before {received}");
        let (next, answer) = joining(dialect, stage, received).unwrap();
        assert_eq!(answer, *expected, "after {received}");
        stage = next;
    }
    assert_eq!(stage, Stage::Joined);
}

#[test]
fn every_language_leads_in() {
    let subscribe = format!(
        r#"{{"type":"subscribe","room":{{"target":"bench","id":"7"}},"requestId":"{}"}}"#,
        WHO.request_id
    );
    joins(
        Dialect::HighTemplar,
        "",
        &[
            (
                r#"{"is_authorized": true, "allowed_rooms": []}"#,
                &subscribe,
            ),
            (r#"{"code": "success"}"#, ""),
        ],
    );
    joins(
        Dialect::Subscribe,
        r#"{"type":"subscribe","room":"7"}"#,
        &[(r#"{"code":"success"}"#, "")],
    );
    joins(Dialect::Url, "", &[]);
    joins(Dialect::UrlEvents, "", &[]);
    joins(
        Dialect::Events,
        "",
        &[(
            r#"{"type": "open", "is_authorized": true, "refused": []}"#,
            "",
        )],
    );
    joins(
        Dialect::SocketIo,
        "",
        &[
            (r#"0{"sid":"a","pingInterval":25000}"#, "40"),
            ("2", "3"),
            (r#"40{"sid":"b"}"#, r#"420["subscribe","7"]"#),
            ("430[]", ""),
        ],
    );
    let say = format!("{}SUB bench.7 1\r\nPING\r\n", nats::CONNECT);
    joins(
        Dialect::Nats,
        "",
        &[
            ("INFO {}\r\n", &say),
            ("PING\r\n", "PONG\r\n"),
            ("PONG\r\n", ""),
        ],
    );
}

#[test]
fn who_is_refused_does_not_join() {
    for (dialect, stage, received) in [
        (
            Dialect::HighTemplar,
            Stage::Greeting,
            r#"{"is_authorized": false}"#,
        ),
        (
            Dialect::HighTemplar,
            Stage::Subscribing,
            r#"{"code": "error"}"#,
        ),
        (
            Dialect::Subscribe,
            Stage::Subscribing,
            r#"{"code":"error"}"#,
        ),
        (Dialect::Subscribe, Stage::Subscribing, "not JSON"),
        (Dialect::SocketIo, Stage::Greeting, r#"44{"message":"no"}"#),
        (Dialect::SocketIo, Stage::Subscribing, "41"),
        (Dialect::Nats, Stage::Greeting, "PONG\r\n"),
        (Dialect::Nats, Stage::Subscribing, "-ERR 'no'\r\n"),
        (Dialect::Url, Stage::Greeting, "anything"),
        (
            Dialect::Events,
            Stage::Greeting,
            r#"{"is_authorized": true, "refused": [{}]}"#,
        ),
    ] {
        let error = joining(dialect, stage, received).unwrap_err();
        assert!(error.to_string().contains(received), "{dialect:?}: {error}");
    }
}

#[test]
fn the_url_says_what_the_language_needs() {
    let server = "127.0.0.1:80".parse().unwrap();
    for (dialect, path) in [
        (Dialect::HighTemplar, "/ws/"),
        (Dialect::Subscribe, "/ws/"),
        (Dialect::Url, "/ws/?room=7"),
        (Dialect::SocketIo, "/socket.io/?EIO=4&transport=websocket"),
        (Dialect::Nats, "/"),
    ] {
        let mut out = Vec::new();
        let stage = dialect.open(WHO, Rooms::Unicast, server, &mut out);
        assert_eq!(stage, Stage::Upgrading);
        let head = String::from_utf8(out).unwrap();
        assert!(
            head.starts_with(&format!("GET {path} HTTP/1.1\r\n")),
            "{head}"
        );
        assert!(head.contains("Cookie: sessionid=7;"), "{head}");
    }
}

#[test]
fn a_ping_in_words_is_answered_and_nothing_else() {
    assert_eq!(Dialect::SocketIo.answer(b"2"), Some("3"));
    assert_eq!(Dialect::SocketIo.answer(b"42[\"publish\",1]"), None);
    assert_eq!(Dialect::Subscribe.answer(b"2"), None);
}
