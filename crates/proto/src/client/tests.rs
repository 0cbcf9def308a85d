//! Messages of clients: what is read, and what is wrong with the others.

use proptest::prelude::*;

use super::*;

const LIMITS: MessageLimits = MessageLimits {
    request_id_bytes: 40,
    room: RoomLimits {
        bytes: 100,
        depth: 4,
    },
};

fn parse(text: &str) -> Result<ClientMessage, ErrorCode> {
    ClientMessage::parse(text, &LIMITS)
}

#[test]
fn rejected_messages_have_a_code() {
    for (text, code) in [
        ("", "non-json-message"),
        ("PING", "non-json-message"),
        (" ping", "non-json-message"),
        ("{", "non-json-message"),
        ("{} x", "non-json-message"),
        ("NaN", "non-json-message"),
        ("[]", "message-not-object"),
        ("[{\"type\":\"status\"}]", "message-not-object"),
        ("1", "message-not-object"),
        ("-1", "message-not-object"),
        ("1.5", "message-not-object"),
        ("\"ping\"", "message-not-object"),
        ("\"\\u0000\"", "message-not-object"),
        ("null", "message-not-object"),
        ("true", "message-not-object"),
        ("{}", "message-type-not-allowed"),
        (r#"{"type":"publish"}"#, "message-type-not-allowed"),
        (r#"{"type":["subscribe"]}"#, "message-type-not-allowed"),
        (r#"{"type":null}"#, "message-type-not-allowed"),
        (r#"{"type":"subscribe"}"#, "invalid-room"),
        (
            r#"{"type":"subscribe","room":[],"requestId":1}"#,
            "invalid-room",
        ),
        (
            r#"{"type":"subscribe","room":"x","requestId":1}"#,
            "invalid-room",
        ),
        (
            r#"{"type":"subscribe","room":null,"requestId":1}"#,
            "invalid-room",
        ),
        (
            r#"{"type":"subscribe","room":{"a":1e400},"requestId":1}"#,
            "invalid-room",
        ),
        (
            r#"{"type":"subscribe","room":{"a":[{"b":-1e999}]},"requestId":1}"#,
            "invalid-room",
        ),
        (r#"{"type":"subscribe","room":{}}"#, "no-request-id"),
        (
            r#"{"type":"subscribe","room":{},"requestId":[]}"#,
            "invalid-request-id",
        ),
        (
            r#"{"type":"subscribe","room":{},"requestId":{"a":1}}"#,
            "invalid-request-id",
        ),
        (r#"{"type":"unsubscribe"}"#, "no-request-id"),
        (
            r#"{"type":"unsubscribe","requestId":[1]}"#,
            "invalid-request-id",
        ),
        (
            r#"{"type":"subscribe","room":{"a":[[[[1]]]]},"requestId":1}"#,
            "room-too-deep",
        ),
    ] {
        assert_eq!(parse(text).unwrap_err().as_str(), code, "{text}");
    }
    let long = "x".repeat(100);
    let room = format!(r#"{{"type":"subscribe","room":{{"a":"{long}"}},"requestId":1}}"#);
    assert_eq!(parse(&room), Err(ErrorCode::RoomTooLong));
    let id = format!(r#"{{"type":"unsubscribe","requestId":"{long}"}}"#);
    assert_eq!(parse(&id), Err(ErrorCode::RequestIdTooLong));
    let deep = format!(
        r#"{{"type":"subscribe","room":{}1{},"requestId":1}}"#,
        "[".repeat(100_000),
        "]".repeat(100_000)
    );
    assert!(parse(&deep).is_err());
}

#[test]
fn request_ids_are_scalars_and_keep_their_text() {
    for id in [
        "0",
        "\"\"",
        "null",
        "true",
        "1.5",
        "1.50",
        "\"é\"",
        "12345678901234567890123",
    ] {
        let text = format!(r#"{{"requestId":{id},"extra":[{{}}],"type":"unsubscribe"}}"#);
        let ClientMessage::Unsubscribe { request_id } = parse(&text).unwrap() else {
            panic!("{text}");
        };
        assert_eq!(request_id.as_json(), id);
    }
}

#[test]
fn escapes_in_request_ids_are_decoded() {
    let id = |text| RequestId::parse(text, 40).unwrap();
    assert_eq!(id(r#""\u0061""#), id("\"a\""));
    assert_eq!(id(r#""\ud800""#).as_json(), r#""\ud800""#);
}

#[test]
fn a_message_that_is_wrong_may_have_a_name() {
    for (text, name) in [
        (r#"{"type":"no","requestId":5}"#, Some("5")),
        (r#"{"requestId":"\u0061"}"#, Some("\"a\"")),
        (r#"{"type":"subscribe","requestId":null}"#, Some("null")),
        (r#"{"type":"subscribe","requestId":[1]}"#, None),
        (r#"{"type":"subscribe"}"#, None),
        (r#"{"requestId":5"#, None),
        ("[5]", None),
    ] {
        let found = Envelope::read(text).request_id(&LIMITS);
        assert_eq!(found.as_ref().map(RequestId::as_json), name, "{text}");
    }
    let long = format!(r#"{{"requestId":"{}"}}"#, "x".repeat(39));
    assert_eq!(Envelope::read(&long).request_id(&LIMITS), None);
}

#[test]
fn cursors_are_read_with_what_is_wrong_with_them() {
    let cursor: Cursor = "k3f9ab-1742-aB3x".parse().unwrap();
    let (no_cursor, no_since) = (ErrorCode::InvalidCursor, ErrorCode::InvalidSince);
    for (json, since, of_resume) in [
        (r#""k3f9ab-1742-aB3x""#, Ok(Some(cursor)), Ok(cursor)),
        (r#""k3f9ab\u002d1742-aB3x""#, Ok(Some(cursor)), Ok(cursor)),
        (r#""""#, Err(no_cursor), Err(no_cursor)),
        (r#""garbage""#, Err(no_cursor), Err(no_cursor)),
        (
            r#""k3f9ab-9007199254740992-aB3x""#,
            Err(no_cursor),
            Err(no_cursor),
        ),
        ("1742", Err(no_since), Err(no_cursor)),
        ("null", Err(no_since), Err(no_cursor)),
    ] {
        let text = format!(r#"{{"type":"subscribe","room":{{}},"requestId":1,"since":{json}}}"#);
        let Ok(ClientMessage::Subscribe { since: found, .. }) = parse(&text) else {
            panic!("{text}");
        };
        assert_eq!(found, since, "{text}");
        let text = format!(
            r#"{{"type":"resume","requestId":1,"cursor":{json},"subscriptions":[{{"since":{json}}}]}}"#
        );
        let Ok(ClientMessage::Resume {
            cursor,
            subscriptions,
            ..
        }) = parse(&text)
        else {
            panic!("{text}");
        };
        assert_eq!(cursor, of_resume, "{text}");
        assert_eq!(subscriptions.unwrap()[0].since, since, "{text}");
    }
}

#[test]
fn resume_has_a_list_of_subscriptions() {
    let resume = |subscriptions: &str| {
        let text = format!(r#"{{"type":"resume","subscriptions":{subscriptions}}}"#);
        match parse(&text) {
            Ok(ClientMessage::Resume {
                request_id,
                cursor,
                subscriptions,
            }) => {
                assert_eq!(request_id, Err(ErrorCode::NoRequestId));
                assert_eq!(cursor, Err(ErrorCode::InvalidCursor));
                subscriptions
            }
            other => panic!("{other:?}"),
        }
    };
    for wrong in ["{}", "1", "null", "[1]", "[[]]"] {
        assert_eq!(
            resume(wrong),
            Err(ErrorCode::InvalidSubscriptions),
            "{wrong}"
        );
    }
    assert_eq!(resume("[]"), Ok(Vec::new()));
    let found = resume(r#"[{"requestId":1,"room":{"a":1}},{"room":[]},{"requestId":[]}]"#);
    let found = found.unwrap();
    assert_eq!(found[0].request_id.as_ref().unwrap().as_json(), "1");
    assert_eq!(found[0].room.as_ref().unwrap().to_json(), r#"{"a": 1}"#);
    assert_eq!(found[0].since, Ok(None));
    assert_eq!(found[1].request_id, Err(ErrorCode::NoRequestId));
    assert_eq!(found[1].room, Err(ErrorCode::InvalidRoom));
    assert_eq!(found[2].request_id, Err(ErrorCode::InvalidRequestId));
    let without = parse(r#"{"type":"resume","requestId":1}"#);
    assert!(matches!(
        without,
        Ok(ClientMessage::Resume {
            subscriptions: Err(ErrorCode::InvalidSubscriptions),
            ..
        })
    ));
}

#[test]
fn first_message_may_carry_a_token() {
    for (text, token) in [
        (r#"{"type":"authenticate","token":"a.b"}"#, Some("a.b")),
        (
            r#" {"token": "\u00e9\n", "x": [], "type": "authenticate"} "#,
            Some("é\n"),
        ),
        (r#"{"type":"authenticate","token":""}"#, None),
        (r#"{"type":"authenticate","token":5}"#, None),
        (r#"{"type":"authenticate","token":null}"#, None),
        (r#"{"type":"authenticate","token":["a"]}"#, None),
        (r#"{"type":"authenticate"}"#, None),
        (r#"{"type":"Authenticate","token":"a"}"#, None),
        (r#"{"token":"a"}"#, None),
        (r#"{"type":"subscribe","room":{},"requestId":1}"#, None),
        (r#"[{"type":"authenticate","token":"a"}]"#, None),
        (r#"{"type":"authenticate","token":"a""#, None),
        ("\"a\"", None),
        ("ping", None),
        ("", None),
    ] {
        assert_eq!(first_token(text).as_deref(), token, "{text}");
    }
}

#[test]
fn the_last_of_equal_keys_counts() {
    assert_eq!(
        parse(r#"{"type":"subscribe","type":"st\u0061tus"}"#),
        Ok(ClientMessage::Status)
    );
}

proptest! {
    #[test]
    fn nothing_panics(text in "\\PC*") {
        let _ = (parse(&text), Envelope::read(&text).request_id(&LIMITS), first_token(&text));
    }
}
