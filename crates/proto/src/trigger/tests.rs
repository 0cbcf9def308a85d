//! Tables of requests: how they are read, and the errors for mistakes.

use proptest::prelude::*;

use super::*;

const LIMITS: TriggerLimits = TriggerLimits {
    bytes: 1_000,
    triggers: 3,
    rooms: 3,
};

fn one(text: &str) -> Result<Trigger, TriggerError> {
    Trigger::parse(&Bytes::copy_from_slice(text.as_bytes()), &LIMITS)
}

fn request(text: &str) -> Result<Request, TriggerError> {
    Request::parse(&Bytes::copy_from_slice(text.as_bytes()), &LIMITS)
}

#[test]
fn data_keeps_no_longer_text_in_memory() {
    let shares = |data: &str, rest: usize| {
        let body = Bytes::from(format!(
            r#"{{"rooms":[],"data":{data}{}}}"#,
            " ".repeat(rest)
        ));
        let trigger = Trigger::parse(
            &body,
            &TriggerLimits {
                bytes: 1 << 22,
                ..LIMITS
            },
        )
        .unwrap();
        assert_eq!(trigger.data, data);
        body.as_ptr_range().contains(&trigger.data.as_ptr())
    };
    let long = format!("\"{}\"", "x".repeat(SHARED_MIN));
    assert!(!shares("1", 0) && !shares("1", 1 << 20));
    assert!(shares(&long, 0) && !shares(&long, SHARED_MIN + 100));
}

#[test]
fn data_keeps_its_very_bytes() {
    for data in [
        r#"{"b": 1.50, "a": "\u00e9\ud800"}"#,
        "null",
        "1e400",
        "[ 1 , 2 ]",
        "\"\"",
    ] {
        let text = format!(r#" {{"x":1,"rooms":[{{"a":1}}],"data": {data} }} "#);
        let trigger = one(&text).unwrap();
        assert_eq!(trigger.data, data.as_bytes());
        assert_eq!(trigger.rooms.len(), 1);
        assert_eq!(trigger.id, None);
    }
}

#[test]
fn a_byte_order_mark_is_passed_over() {
    let text = r#"{"rooms": [{"a": 1}], "data": 1}"#;
    let marked = format!("\u{feff}{text}");
    assert_eq!(one(&marked).unwrap().text, text, "nor is it published");
    let Request::Many(many) = request(&format!("\u{feff}[{text}, {text}]")).unwrap() else {
        panic!("an array");
    };
    assert_eq!(many.len(), 2);
    let utf16: Vec<u8> = [0xfeff_u16]
        .into_iter()
        .chain(text.encode_utf16())
        .flat_map(u16::to_le_bytes)
        .collect();
    let error = Request::parse(&utf16.into(), &LIMITS).unwrap_err();
    assert_eq!(error.problem, Problem::OtherUnicode);
    assert_eq!(error.to_string(), "it is UTF-16 or UTF-32: send UTF-8");
}

#[test]
fn mistakes_are_named() {
    for (text, message) in [
        (
            "[]",
            "a trigger is a JSON object with the members rooms and data",
        ),
        (
            "1",
            "a trigger is a JSON object with the members rooms and data",
        ),
        (r#"{"data":1}"#, "rooms: rooms not specified"),
        (r#"{"rooms":[]}"#, "data: data not specified"),
        (
            r#"{"rooms":{},"data":1}"#,
            "rooms: rooms must be a list of JSON objects",
        ),
        (
            r#"{"rooms":null,"data":1}"#,
            "rooms: rooms must be a list of JSON objects",
        ),
        (
            r#"{"rooms":[{},"x"],"data":1}"#,
            "rooms[1]: a room is a JSON object",
        ),
        (
            r#"{"rooms":[{},{"a":1e400}],"data":1}"#,
            "rooms[1]: a number in the room is too large or too small for a double: send it as a string",
        ),
        (
            r#"{"rooms":[{},{},{},{}],"data":1}"#,
            "rooms: more than 3 rooms in one trigger (limits.rooms_per_trigger)",
        ),
        (
            r#"{"rooms":[],"data":1,"id":[]}"#,
            "id: id must be a string or a number of at most 256 bytes",
        ),
        (
            r#"{"rooms":[],"data":1,"id":""}"#,
            "id: id must be a string or a number of at most 256 bytes",
        ),
    ] {
        assert_eq!(one(text).unwrap_err().to_string(), message, "{text}");
    }
    for text in [
        "",
        "{",
        r#"{"rooms":[],"data":NaN}"#,
        r#"{"rooms":[],"data":1}x"#,
    ] {
        assert!(
            matches!(one(text).unwrap_err().problem, Problem::NotJson(_)),
            "{text}"
        );
    }
    let bytes = Bytes::from_static(b"{\"rooms\":[],\"data\":\"\xff\"}");
    assert_eq!(
        Trigger::parse(&bytes, &LIMITS).unwrap_err().problem,
        Problem::NotUtf8
    );
    assert_eq!(
        one(&" ".repeat(1_001)).unwrap_err().problem,
        Problem::TooLong(1_000)
    );
}

#[test]
fn an_array_carries_many() {
    let good = r#"{"rooms":[],"data":1}"#;
    let Request::Many(many) = request(&format!("[{good}, {good}]")).unwrap() else {
        panic!()
    };
    assert_eq!(many[1].text, good);
    assert!(matches!(request(good), Ok(Request::One(_))));
    assert!(matches!(request("[]"), Ok(Request::Many(many)) if many.is_empty()));
    let error = request(&format!(r#"[{good},{{"rooms":[1],"data":1}}]"#)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "trigger 1: rooms[0]: a room is a JSON object"
    );
    let error = request(&format!("[{good},{good},{good},{good}]")).unwrap_err();
    assert_eq!(error.problem, Problem::TooManyTriggers(3));
}

#[test]
fn a_room_named_twice_is_one_room() {
    let rooms = one(r#"{"rooms":[{"a":1},{"b":1},{"a":1}],"data":0}"#)
        .unwrap()
        .rooms;
    assert_eq!(rooms.len(), 2);
}

#[test]
fn ids_are_strings_or_numbers() {
    let id = |text: &str| {
        one(&format!(r#"{{"rooms":[],"data":0,"id":{text}}}"#))
            .unwrap()
            .id
    };
    assert_eq!(id("\"a\\u0062\"").as_deref(), Some("ab"));
    assert_eq!(id("17").as_deref(), Some("17"));
    assert_eq!(id("null"), None);
}

proptest! {
    #[test]
    fn nothing_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = Request::parse(&bytes.into(), &LIMITS);
    }
}
