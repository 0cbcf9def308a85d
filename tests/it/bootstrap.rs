//! Admission: the request to the backend, and the effect of its responses on the client.

use std::io::Write;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{
    Client, Frame, Gateway, Handshake, NEVER, Reply, StubBackend, eventually, frame,
};

const NO: &str = r#"{"is_authorized": false}"#;

#[test]
fn the_rooms_are_sent_as_granted_without_repetitions() {
    let rooms =
        r#"[ {"b": 1.50, "a": "\u00e9"}, {"a": "é", "b": 1.50}, {"a": 2},{"a":1e2}, {"a": 2} ]"#;
    let answer = format!(r#"{{"user": 1, "allowed_rooms": {rooms}}}"#);
    let backend = StubBackend::new(move |_| Reply::json("200 OK", &answer));
    let gateway = Gateway::start(&backend);
    let mut client = Handshake::new(&gateway).open();
    let first = client.expect_text();
    let found: Value = serde_json::from_str(&first).unwrap();
    let wanted = json!({
        "is_authorized": true,
        "allowed_rooms": [{"a": "é", "b": 1.5}, {"a": 2}, {"a": 100.0}],
    });
    assert_eq!(found, wanted);
    assert!(first.contains("1.50") && first.contains("1e2"), "{first}");
}

#[test]
fn thousands_of_rooms_are_sent_in_one_frame() {
    let rooms: Vec<_> = (0..2_000)
        .map(|n| json!({"target": "x", "id": n}))
        .collect();
    let backend = StubBackend::admitting(rooms.clone().into());
    let gateway = Gateway::start(&backend);
    let mut client = Handshake::new(&gateway).open();
    assert_eq!(client.expect_json()["allowed_rooms"], Value::from(rooms));
    client.subscribe(&json!({"id": 1_999, "target": "x"}), 1);
}

#[test]
fn answers_that_admit() {
    for (kind, body) in [
        ("application/json", r#"{"allowed_rooms": []}"#),
        ("application/json", "{}"),
        ("APPLICATION/JSON; charset=utf-8", r#"{"user": {"id": 3}}"#),
        ("application/vnd.api+json", " {\"allowed_rooms\" : [ ] } "),
        (
            "application/json;odata=full",
            r#"{"allowed_rooms": [], "x": [1, {}]}"#,
        ),
    ] {
        let backend =
            StubBackend::new(move |_| Reply::http("200 OK", &[("Content-Type", kind)], body));
        let gateway = Gateway::start(&backend);
        let first = Handshake::new(&gateway).open().expect_json();
        assert_eq!(
            first,
            json!({"is_authorized": true, "allowed_rooms": []}),
            "{kind} {body}"
        );
    }
}

#[test]
fn compressed_answers_are_understood() {
    use flate2::Compression;
    use flate2::write::GzEncoder;
    use flate2::write::ZlibEncoder;
    let body = br#"{"allowed_rooms": [{"room": "*"}]}"#;
    let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
    gzip.write_all(body).unwrap();
    let mut deflate = ZlibEncoder::new(Vec::new(), Compression::default());
    deflate.write_all(body).unwrap();
    for (encoding, bytes) in [
        ("gzip", gzip.finish().unwrap()),
        ("deflate", deflate.finish().unwrap()),
    ] {
        let backend = StubBackend::new(move |_| {
            let headers = [
                ("Content-Type", "application/json"),
                ("Content-Encoding", encoding),
            ];
            Reply::http("200 OK", &headers, &bytes)
        });
        let gateway = Gateway::start(&backend);
        Client::connect(&gateway).subscribe(&json!({"room": 1}), 1);
    }
}

/// A backend that refuses clients with the cookie `no` in some way and admits the others.
pub(crate) fn picky(refusal: Reply) -> StubBackend {
    StubBackend::new(move |seen| match seen.header("cookie") {
        Some("no") => refusal.clone(),
        _ => Reply::rooms(&json!([{"room": "*"}])),
    })
}

/// A client that the backend does not admit is notified and closed with `code` a moment later.
#[track_caller]
pub(crate) fn expect_refusal(gateway: &Gateway, code: u16) {
    let mut refused = Handshake::new(gateway).header("Cookie", "no").open();
    assert_eq!(refused.expect_text(), NO);
    expect_reason(&refused.expect_close(code), code);
}

/// The same for a client that selected `high-templar.v1`; its reconnect span, in ms.
#[track_caller]
pub(crate) fn expect_refusal_of_v1(gateway: &Gateway, code: u16) -> Option<u64> {
    let handshake = Handshake::new(gateway).header("Cookie", "no");
    let handshake = handshake.header("Sec-WebSocket-Protocol", "high-templar.v1");
    let mut refused = handshake.open();
    assert_eq!(refused.expect_text(), NO);
    expect_reason(&refused.expect_close(code), code)
}

#[track_caller]
fn expect_reason(reason: &str, code: u16) -> Option<u64> {
    match code {
        1013 => {
            let span = reason.strip_prefix("backend ").expect(reason);
            let span = span.parse().expect(reason);
            assert!(span >= 1_000, "{reason}");
            Some(span)
        }
        4300 => {
            assert_eq!(reason, "refused");
            None
        }
        _ => {
            assert_eq!(reason, "");
            None
        }
    }
}

/// Failures that are not about this client, as at every deployment of an API: clients that support
/// the close codes reconnect later, and those of Python 3.1 are refused as they always were.
#[test]
fn a_server_error_is_closed_with_1013_if_v1_was_selected() {
    let html = [("Content-Type", "text/html")];
    for status in [
        "500 Internal Server Error",
        "502 Bad Gateway",
        "503 Service Unavailable",
        "504 Gateway Timeout",
        "429 Too Many Requests",
    ] {
        let gateway =
            Gateway::with(&picky(Reply::http(status, &html, "<h1>Deploying</h1>"))).start();
        expect_refusal_of_v1(&gateway, 1013);
        let line = gateway.wait_for_line("no usable answer from the backend");
        assert!(line.contains(&status[..3]), "{line}");
        expect_refusal(&gateway, 1000);
        let outcome = r#"high_templar_bootstraps_total{outcome="server-error"}"#;
        gateway.wait_for_metric(outcome, 2);
        let lines = gateway.log().matches("no usable answer").count();
        assert_eq!(lines, 1, "{}", gateway.log());
        Client::connect(&gateway).fence();
    }
    for status in [
        "401 X", "403 X", "404 X", "400 X", "410 X", "204 X", "302 X",
    ] {
        let gateway = Gateway::with(&picky(Reply::http(status, &[], ""))).start();
        expect_refusal_of_v1(&gateway, 4300);
        expect_refusal(&gateway, 1000);
    }
}

#[test]
fn retry_after_of_the_backend_lengthens_the_span_within_bounds() {
    for (value, least, most) in [("20", 20_000, 30_000), ("86400", 300_000, 600_000)] {
        let reply = Reply::http("503 Service Unavailable", &[("Retry-After", value)], "");
        let gateway = Gateway::with(&picky(reply)).start();
        let span = expect_refusal_of_v1(&gateway, 1013).expect("a span");
        assert!((least..=most).contains(&span), "{span}");
    }
}

#[test]
fn answers_that_refuse_are_closed_with_1000() {
    let list = |rooms: &str| Reply::json("200 OK", format!(r#"{{"allowed_rooms": {rooms}}}"#));
    let status = |status: &str| Reply::json(status, r#"{"allowed_rooms": [{"room": "*"}]}"#);
    let refusals = [
        status("201 Created"),
        Reply::Send(b"HTTP/1.1 204 No Content\r\n\r\n".into()),
        Reply::Send(b"HTTP/1.1 304 Not Modified\r\n\r\n".into()),
        status("400 Bad Request"),
        status("401 Unauthorized"),
        status("403 Forbidden"),
        status("404 Not Found"),
        status("429 Too Many Requests"),
        status("500 Internal Server Error"),
        status("502 Bad Gateway"),
        status("503 Service Unavailable"),
        Reply::http(
            "403 Forbidden",
            &[("Content-Type", "text/html")],
            "<h1>no</h1>",
        ),
        list(r#"[{"room": 1}, "x"]"#),
        list(r#"{"room": 1}"#),
        list(r#""room""#),
        list("[[]]"),
        list("[null]"),
        list("null"),
        list("3"),
        list("true"),
    ];
    let replies = refusals.clone();
    let backend = StubBackend::new(move |seen| {
        let number = seen.header("cookie").and_then(|cookie| cookie.parse().ok());
        number.map_or_else(
            || Reply::rooms(&json!([])),
            |number: usize| replies[number].clone(),
        )
    });
    let gateway = Gateway::start(&backend);
    let visitors: Vec<_> = (0..refusals.len())
        .map(|number| {
            let handshake = Handshake::new(&gateway).header("Cookie", number.to_string());
            let mut visitor = handshake.open();
            assert_eq!(visitor.expect_text(), NO, "{:?}", refusals[number]);
            visitor
        })
        .collect();
    assert_eq!(Client::connect(&gateway).status()["open_connections"], 1);
    for mut visitor in visitors {
        visitor.expect_close(1000);
    }
}

#[test]
fn a_refused_client_is_closed_after_a_moment_and_not_read() {
    let backend = picky(Reply::forbidden());
    let gateway = Gateway::start(&backend);
    let mut client = Client::connect(&gateway);
    let began = Instant::now();
    let mut refused = Handshake::new(&gateway).header("Cookie", "no").open();
    assert_eq!(refused.expect_text(), NO);
    refused.send_text("ping");
    refused.send_json(&json!({"type": "status"}));
    refused.send_json(&json!({"type": "subscribe", "room": {"room": 1}, "requestId": 1}));
    refused.send_text("rubbish");
    gateway.trigger(&json!({"rooms": [{"room": 1}], "data": 1}));
    let status = client.status();
    assert_eq!(status["open_connections"], 1);
    assert_eq!(status["num_rooms"], 0);
    refused.expect_close(1000);
    assert!(
        began.elapsed() > Duration::from_millis(50),
        "{:?}",
        began.elapsed()
    );
    gateway.wait_for_metric("high_templar_refused_total", 1);
    gateway.wait_for_metric("high_templar_messages_total", 1);
}

#[test]
fn a_refused_client_gets_replies_as_the_protocol_requires() {
    let gateway = Gateway::start(&picky(Reply::forbidden()));
    let refused = || {
        let mut refused = Handshake::new(&gateway).header("Cookie", "no").open();
        assert_eq!(refused.expect_text(), NO);
        refused
    };
    let from_server = |frame| Frame {
        masked: false,
        ..frame
    };
    // It is closed after 100 ms, whatever it sends: on a busy machine possibly before it sent
    // anything.
    let first_of_server = |said: &Frame, expected: &Frame| {
        let found = (0..50).find_map(|_| {
            let mut client = refused();
            client.send(said);
            let frame = client.frame();
            (frame != from_server(Frame::close(1000, ""))).then_some((client, frame))
        });
        let (client, frame) = found.expect("an answer before it is closed");
        assert_eq!(frame, *expected);
        client
    };
    let pong = from_server(Frame::new(frame::PONG, "x"));
    first_of_server(&Frame::new(frame::PING, "x"), &pong).expect_close(1000);
    refused().leave();
    let violation = from_server(Frame::close(1002, "reserved-opcode"));
    first_of_server(&Frame::new(3, ""), &violation);
    // One that disconnects in between leaves nothing behind.
    drop(refused());
    assert_eq!(Client::connect(&gateway).status()["open_connections"], 1);
}

#[test]
fn failures_of_the_backend_are_closed_with_1013_and_explained_in_the_log() {
    let json = |body: &[u8]| Reply::json("200 OK", body);
    let truncated =
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n{";
    let html = [("Content-Type", "text/html")];
    let mut large = b"{\"allowed_rooms\": [], \"x\": \"".to_vec();
    large.resize(3_000, b'x');
    large.extend(b"\"}");
    for (failure, line) in [
        (Reply::Reset, "closed the connection before it answered"),
        (
            Reply::Close(Vec::new()),
            "closed the connection before it answered",
        ),
        (
            Reply::Close(b"SSH-2.0-OpenSSH\r\n".into()),
            "is not valid HTTP",
        ),
        (Reply::Close(truncated.into()), "ends before it is complete"),
        (json(b"{"), "is not JSON"),
        (json(b""), "is not JSON"),
        (json(br#"{"allowed_rooms": [NaN]}"#), "is not JSON"),
        (json(b"[]"), "is JSON but not an object"),
        (json(b"null"), "is JSON but not an object"),
        (json(b"{\"a\": \"\xff\"}"), "is not UTF-8"),
        (json(&large), "longer than 2048 bytes"),
        (
            Reply::http("200 OK", &html, "<form>"),
            "content type \"text/html\"",
        ),
        (Reply::http("200 OK", &[], "{}"), "no content type"),
    ] {
        let backend = picky(failure.clone());
        let gateway = Gateway::with(&backend)
            .set("HT_BACKEND__TIMEOUT", NEVER)
            .set("HT_BACKEND__ANSWER_BYTES_MAX", 2_048)
            .start();
        expect_refusal(&gateway, 1013);
        let told = gateway.wait_for_line("no usable answer from the backend");
        assert!(told.contains(line), "{line:?} not in {told}");
        // The others do not suffer.
        Client::connect(&gateway).fence();
    }
}

#[test]
fn a_backend_that_hangs_is_closed_with_1013_and_explained_in_the_log() {
    let begun = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n{";
    for (bytes, line) in [
        (&b""[..], "did not answer within 2s"),
        (begun, "did not finish its answer within 2s"),
    ] {
        let gateway = Gateway::with(&picky(Reply::Hang(bytes.into())))
            .set("HT_BACKEND__TIMEOUT", "2s")
            .start();
        expect_refusal(&gateway, 1013);
        let told = gateway.wait_for_line("no usable answer from the backend");
        assert!(told.contains(line), "{line:?} not in {told}");
        // The others do not suffer.
        Client::connect(&gateway).fence();
    }
}

#[test]
fn an_unreachable_backend_is_a_failure_until_it_is_back() {
    let backend = StubBackend::open();
    let gateway = Gateway::with(&backend)
        .set("HT_BACKEND__URL", "http://127.0.0.1:9/api/")
        .start();
    expect_refusal(&gateway, 1013);
    gateway.wait_for_line("no connection to the backend");
    assert_eq!(gateway.get("/live").status, 200);
}

#[test]
fn the_log_does_not_repeat_itself_for_every_visitor() {
    let gateway = Gateway::with(&picky(Reply::Reset))
        .set("HT_BACKEND__CIRCUIT_FAILURES", 0)
        .start();
    let visitors: Vec<_> = (0..20)
        .map(|_| Handshake::new(&gateway).header("Cookie", "no").open())
        .collect();
    for mut visitor in visitors {
        assert_eq!(visitor.expect_text(), NO);
        visitor.expect_close(1013);
    }
    let told = gateway
        .log()
        .matches("no usable answer from the backend")
        .count();
    assert!((1..=3).contains(&told), "{told} lines:\n{}", gateway.log());
    gateway.wait_for_metric("high_templar_bootstraps_total{outcome=\"closed\"}", 20);
}

#[test]
fn secrets_are_never_logged() {
    let backend = picky(Reply::Reset);
    let gateway = Gateway::with(&backend)
        .hooks()
        .set("HT_LOG__LEVEL", "trace")
        .start();
    Handshake::new(&gateway)
        .path("/ws/?token=geheim1")
        .header("Cookie", "sessionid=geheim2; csrftoken=geheim3")
        .connect()
        .leave();
    Handshake::new(&gateway)
        .path("/ws/?token=geheim4%0a")
        .header("Cookie", "no")
        .refused();
    expect_refusal(&gateway, 1013);
    backend.wait_for(4);
    assert!(!gateway.log().contains("geheim"), "{}", gateway.log());
}

#[test]
fn permissions_are_read_once() {
    let backend = StubBackend::open();
    let gateway = Gateway::start(&backend);
    let mut client = Client::connect(&gateway);
    for n in 0..10 {
        client.subscribe(&json!({"room": n}), n);
        client.fence();
    }
    eventually("a settled backend", || {
        (backend.requests().len() == 1).then_some(())
    });
    client.leave();
    Client::connect(&gateway).leave();
    assert_eq!(backend.requests().len(), 2);
}

#[test]
fn a_granted_number_that_no_page_can_send_is_named_in_the_log() {
    let backend = StubBackend::admitting(json!([{"id": 7}, {"id": 7.5, "name": "7.0"}]));
    let plain = Gateway::start(&backend);
    Client::connect(&plain).fence();
    assert!(
        !plain.log().contains("no web page can ask"),
        "{}",
        plain.log()
    );

    for (room, sent) in [
        (r#"{"id": 7.0}"#, "7.0 as 7,"),
        (
            r#"{"id": 9007199254740993}"#,
            "9007199254740993 as 9007199254740992,",
        ),
    ] {
        let answer = format!(r#"{{"allowed_rooms": [{{"id": 1}}, {room}]}}"#);
        let backend = StubBackend::new(move |_| Reply::json("200 OK", &answer));
        let gateway = Gateway::start(&backend);
        Client::connect(&gateway).fence();
        let line = gateway.wait_for_line("no web page can ask for a room");
        assert!(line.contains(sent), "{line}");
        // Once for however many clients.
        Client::connect(&gateway).fence();
        let lines = gateway.log().matches("no web page can ask").count();
        assert_eq!(lines, 1);
    }
}

#[test]
fn a_wrong_session_is_named_in_the_log_and_a_wrong_view_refuses() {
    let backend = StubBackend::new(|seen| {
        let member = seen.header("cookie").unwrap_or_default();
        Reply::json("200 OK", format!(r#"{{"allowed_rooms": [], {member}}}"#))
    });
    let gateway = Gateway::start(&backend);
    let visitor = |member: &str| Handshake::new(&gateway).header("Cookie", member).open();
    for member in [r#""session": 7"#, r#""session": {}"#, r#""view": "staff""#] {
        visitor(member).expect_text();
    }
    let line = gateway.wait_for_line("ignoring a member of the backend's answer");
    assert!(
        line.contains("session must be a text of 1 to 256 bytes"),
        "{line}"
    );
    for member in [r#""view": 7"#, r#""expires_in": "900""#] {
        assert_eq!(visitor(member).expect_text(), NO, "{member}");
    }
    let line = gateway.wait_for_line("the backend refused a client");
    assert!(
        line.contains("view must be a text of 1 to 128 bytes"),
        "{line}"
    );
    let refused = gateway.metric("high_templar_bootstraps_total{outcome=\"invalid-member\"}");
    assert_eq!(refused, 2);
    // Once for however many clients.
    assert_eq!(gateway.log().matches("ignoring a member").count(), 1);
}

#[test]
fn a_grant_that_permits_nothing_is_named_in_the_log() {
    for (room, problem) in [
        (
            r#"{"id": 1e400}"#,
            "too large or too small for a double: send it as a string",
        ),
        (
            r#"{"id": {"x": -1e-400}}"#,
            "too large or too small for a double: send it as a string",
        ),
    ] {
        let answer = format!(r#"{{"allowed_rooms": [{{"id": 1}}, {room}]}}"#);
        let backend = StubBackend::new(move |_| Reply::json("200 OK", &answer));
        let gateway = Gateway::start(&backend);
        // Not every client can read such a number; the others get it as it was granted.
        let admitted = || Handshake::new(&gateway).open().expect_text();
        assert!(admitted().contains(room));
        let line = gateway.wait_for_line("a grant of the backend permits nothing: ");
        assert!(line.contains(problem), "{line}");
        assert!(line.contains(&format!("room={room:?}")), "{line}");
        // Once for however many clients, and nothing else about it.
        admitted();
        let log = gateway.log();
        assert_eq!(log.matches("permits nothing").count(), 1, "{log}");
        assert!(!log.contains("no web page can ask"), "{log}");
    }
}
