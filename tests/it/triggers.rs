//! The HTTP endpoint for publishing: `POST /trigger/` and its checks.

use std::io::Write;

use serde_json::{Value, json};

use crate::support::{Client, Gateway, StubBackend, http, places};

pub(crate) fn gateway() -> Gateway {
    Gateway::start(&StubBackend::open())
}

/// A client subscribed to `{"room": 1}` and `{"room": "end"}`.
pub(crate) fn listener(gateway: &Gateway) -> Client {
    let mut client = Client::connect(gateway);
    client.subscribe(&json!({"room": 1}), "x");
    client.subscribe(&json!({"room": "end"}), "end");
    client
}

/// Nothing was published to the listener since the last check.
#[track_caller]
pub(crate) fn expect_nothing(gateway: &Gateway, client: &mut Client) {
    gateway.trigger(&json!({"rooms": [{"room": "end"}], "data": null}));
    assert_eq!(client.expect_publish(), (json!(null), json!("end")));
}

#[test]
fn a_trigger_is_answered_with_its_position_and_delivered() {
    let gateway = gateway();
    let mut client = listener(&gateway);
    for (n, data) in [
        json!({"a": [1, null]}),
        json!("x"),
        json!(null),
        json!(false),
    ]
    .into_iter()
    .enumerate()
    {
        let answer = gateway.post(json!({"rooms": [{"room": 1}], "data": data}).to_string());
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("content-type"), Some("application/json"));
        assert_eq!(places(answer.json()), json!({"position": n + 1}));
        assert_eq!(client.expect_publish(), (data, json!("x")));
    }
    // Rooms without subscribers, no rooms, other members: all of them valid.
    let unheard = json!({"rooms": [{"room": 2}, {"other": 1}], "data": 1});
    assert_eq!(places(gateway.trigger(&unheard)), json!({"position": 5}));
    let nowhere = json!({"rooms": [], "data": 1});
    assert_eq!(places(gateway.trigger(&nowhere)), json!({"position": 6}));
    let more = json!({"rooms": [{"room": 1}], "data": 1, "type": "x", "extra": {}});
    assert_eq!(places(gateway.trigger(&more)), json!({"position": 7}));
    assert_eq!(client.expect_publish(), (json!(1), json!("x")));
    expect_nothing(&gateway, &mut client);
}

#[test]
fn data_arrives_byte_for_byte() {
    let gateway = gateway();
    let mut client = listener(&gateway);
    for data in [
        r#"{"z": 1, "a": 1.50, "z": 2}"#,
        r#"[ 1 ,  1e2, -0.0, 1E400 ]"#,
        r#""\u00e9 \/ é \ud83d\ude00 \ud800""#,
        "12345678901234567890.123456789",
        "{ }",
        "\"\u{2028}\"",
    ] {
        let answer = gateway.post(format!(r#" {{"data": {data} , "rooms": [{{"room": 1}}]}}"#));
        assert_eq!(answer.status, 200, "{data}");
        let frame = client.expect_text();
        assert_eq!(
            frame,
            format!(r#"{{"type": "publish", "data": {data}, "requestId": "x"}}"#)
        );
    }
    let large = format!("\"{}\"", "é".repeat(1_000_000));
    gateway.post(format!(r#"{{"data": {large}, "rooms": [{{"room": 1}}]}}"#));
    let frame = client.expect_text();
    assert_eq!(
        frame,
        format!(r#"{{"type": "publish", "data": {large}, "requestId": "x"}}"#)
    );
}

#[test]
fn rooms_are_delivered_in_their_order_and_each_once() {
    let gateway = gateway();
    let mut client = Client::connect(&gateway);
    for n in 0..5 {
        client.subscribe(&json!({"room": n}), n);
    }
    gateway.trigger(&json!({
        "rooms": [{"room": 3}, {"room": 1}, {"room": 3}, {"room": 9}, {"room": 0}, {"room": 1}],
        "data": "x",
    }));
    for n in [3, 1, 0] {
        assert_eq!(client.expect_publish(), (json!("x"), json!(n)));
    }
    client.fence();
}

#[test]
fn an_array_carries_many_triggers() {
    let gateway = gateway();
    let mut client = listener(&gateway);
    let many: Vec<_> = (0..100)
        .map(|n| json!({"rooms": [{"room": 1}], "data": n}))
        .collect();
    let answer = gateway.trigger(&json!(many));
    let wanted: Vec<_> = (1..=100).map(|n| json!({"position": n})).collect();
    assert_eq!(places(answer), json!(wanted));
    for n in 0..100 {
        assert_eq!(client.expect_publish(), (json!(n), json!("x")));
    }
    assert_eq!(gateway.trigger(&json!([])), json!([]));
    assert_eq!(
        places(gateway.trigger(&json!([many[0]]))),
        json!([{"position": 101}])
    );
}

#[test]
fn a_repeated_id_is_accepted_and_not_delivered_again() {
    let gateway = gateway();
    let mut client = listener(&gateway);
    let trigger = |id: Value, data: i32| json!({"rooms": [{"room": 1}], "data": data, "id": id});
    assert_eq!(
        places(gateway.trigger(&trigger(json!("a"), 1))),
        json!({"position": 1})
    );
    assert_eq!(client.expect_publish(), (json!(1), json!("x")));
    assert_eq!(
        places(gateway.trigger(&json!([
            trigger(json!("a"), 2),
            trigger(json!(7), 3),
            trigger(json!("7"), 4),
            trigger(json!(null), 5),
            trigger(json!(null), 6),
        ]))),
        json!([
            {"position": 1, "duplicate": true},
            {"position": 2},
            {"position": 2, "duplicate": true},
            {"position": 3},
            {"position": 4},
        ])
    );
    for n in [3, 5, 6] {
        assert_eq!(client.expect_publish(), (json!(n), json!("x")));
    }
    expect_nothing(&gateway, &mut client);
    gateway.wait_for_metric("high_templar_trigger_duplicates_total", 2);
}

#[test]
fn mistakes_are_answered_with_their_place_and_nothing_of_the_request_is_delivered() {
    let backend = StubBackend::open();
    let gateway = Gateway::with(&backend)
        .set("HT_LIMITS__TRIGGER_BYTES", 2_000)
        .set("HT_LIMITS__TRIGGERS_PER_REQUEST", 3)
        .set("HT_LIMITS__ROOMS_PER_TRIGGER", 3)
        .start();
    let mut client = listener(&gateway);
    let good = r#"{"rooms": [{"room": 1}], "data": 1}"#;
    for (body, status, error, place) in [
        (
            r#"{"data": 1}"#.to_owned(),
            400,
            "rooms not specified",
            json!([null, "rooms"]),
        ),
        (
            r#"{"rooms": [{"room": 1}]}"#.into(),
            400,
            "data not specified",
            json!([null, "data"]),
        ),
        (
            r#"{"rooms": {"room": 1}, "data": 1}"#.into(),
            400,
            "list",
            json!([null, "rooms"]),
        ),
        (
            r#"{"rooms": null, "data": 1}"#.into(),
            400,
            "list",
            json!([null, "rooms"]),
        ),
        (
            r#"{"rooms": [{"room": 1}, "x"], "data": 1}"#.into(),
            400,
            "a room is a JSON object",
            json!([null, "rooms[1]"]),
        ),
        (
            r#"{"rooms": [{}, {}, {}, {}], "data": 1}"#.into(),
            400,
            "more than 3",
            json!([null, "rooms"]),
        ),
        (
            r#"{"rooms": [{"room": 1}], "data": 1, "id": {}}"#.into(),
            400,
            "id must",
            json!([null, "id"]),
        ),
        (
            r#"{"rooms": [{"room": 1}], "data": NaN}"#.into(),
            400,
            "not JSON",
            json!([null, null]),
        ),
        (
            r#"{"rooms": [{"room": 1}], "data": 1"#.into(),
            400,
            "not JSON",
            json!([null, null]),
        ),
        (String::new(), 400, "not JSON", json!([null, null])),
        (
            "rooms=1&data=1".into(),
            400,
            "not JSON",
            json!([null, null]),
        ),
        ("3".into(), 400, "object", json!([null, null])),
        (
            format!(r#"[{good}, {{"data": 1}}]"#),
            400,
            "rooms not specified",
            json!([1, "rooms"]),
        ),
        (format!("[{good}, 1]"), 400, "object", json!([1, null])),
        (
            format!("[{good}, {good}"),
            400,
            "not JSON",
            json!([null, null]),
        ),
        (
            format!("[{good}, {good}, {good}, {good}]"),
            400,
            "more than 3",
            json!([null, null]),
        ),
        (
            " ".repeat(2_001),
            413,
            "longer than 2000 bytes",
            json!([null, null]),
        ),
    ] {
        let answer = gateway.post(&body);
        assert_eq!(answer.status, status, "{body}: {answer:?}");
        let told = answer.json();
        assert!(
            told["error"].as_str().unwrap().contains(error),
            "{body}: {told}"
        );
        assert_eq!(
            json!([told["trigger"], told["member"]]),
            place,
            "{body}: {told}"
        );
    }
    let answer = gateway.post(b"{\"rooms\": [{\"room\": 1}], \"data\": \"\xff\"}");
    assert_eq!(
        (answer.status, &answer.json()["error"]),
        (400, &json!("not UTF-8"))
    );
    expect_nothing(&gateway, &mut client);
    gateway.wait_for_metric("high_templar_internal_errors_total{status=\"413\"}", 1);
    gateway.wait_for_metric("high_templar_internal_errors_total{status=\"400\"}", 17);
}

#[test]
fn the_body_may_have_the_form_of_old_publishers() {
    let gateway = gateway();
    let mut client = listener(&gateway);
    let body = r#"{"rooms": [{"room": 1}], "data": 1}"#;
    for (path, headers, status) in [
        ("/trigger/", &[][..], 200),
        ("/trigger", &[], 200),
        ("/trigger/?x=1", &[], 200),
        ("/trigger/", &[("Content-Type", "application/json")], 200),
        (
            "/trigger/",
            &[("Content-Type", "application/x-www-form-urlencoded")],
            200,
        ),
        (
            "/trigger/",
            &[("Content-Type", "text/plain"), ("Accept", "*/*")],
            200,
        ),
        (
            "/trigger/",
            &[("Content-Type", "multipart/form-data; boundary=x")],
            415,
        ),
        ("/trigger/", &[("Content-Encoding", "gzip")], 415),
    ] {
        let answer = http::request(gateway.internal(), "POST", path, headers, body.as_bytes());
        assert_eq!(answer.status, status, "{path} {headers:?}: {answer:?}");
        if status == 200 {
            assert_eq!(client.expect_publish(), (json!(1), json!("x")));
        }
    }
    // In chunks.
    let chunked = format!(
        "10\r\n{}\r\n{:x}\r\n{}\r\n0\r\n\r\n",
        &body[..16],
        body.len() - 16,
        &body[16..]
    );
    let headers = [("Transfer-Encoding", "chunked")];
    let answer = http::request(
        gateway.internal(),
        "POST",
        "/trigger/",
        &headers,
        chunked.as_bytes(),
    );
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(client.expect_publish(), (json!(1), json!("x")));
    // A body that breaks off is no trigger.
    let mut stream = gateway.internal().connect().unwrap();
    let head = format!(
        "POST /trigger/ HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n",
        body.len() + 1
    );
    stream
        .write_all(format!("{head}{body}").as_bytes())
        .unwrap();
    stream.finish();
    let _ = std::io::Read::read_to_end(&mut stream, &mut Vec::new());
    expect_nothing(&gateway, &mut client);
}

#[test]
fn a_byte_order_mark_is_skipped_and_utf_16_is_named() {
    let gateway = gateway();
    let mut client = Client::connect(&gateway);
    client.subscribe(&json!({"room": 1}), 1);
    let text = r#"{"rooms": [{"room": 1}], "data": 1}"#;
    assert_eq!(gateway.post(format!("\u{feff}{text}")).status, 200);
    assert_eq!(client.expect_publish().0, 1);
    let utf16 = ["\u{feff}", text].concat();
    let utf16: Vec<u8> = utf16.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let answer = gateway.post(utf16);
    assert_eq!(answer.status, 400);
    let error = answer.json()["error"].to_string();
    assert!(error.contains("UTF-16 or UTF-32: send UTF-8"), "{error}");
}
