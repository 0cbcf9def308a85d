//! `limits.triggers_in_flight`: what requests to `/trigger/` hold together has a bound.

use std::io::Write;

use serde_json::json;

use crate::support::Answer;
use crate::support::Gateway;
use crate::support::StubBackend;
use crate::support::http;
use crate::support::stream::Stream;

/// The bound of the tests, and so how much one alone may exceed.
const BOUND: usize = 10_000;

fn gateway(bound: usize) -> Gateway {
    Gateway::with(&StubBackend::open())
        .set("HT_LIMITS__TRIGGERS_IN_FLIGHT", bound)
        .start()
}

/// A trigger of so many bytes.
fn body(length: usize) -> Vec<u8> {
    let mut body = json!({"rooms": [{"room": 1}], "data": 1}).to_string();
    body.extend(std::iter::repeat_n(' ', length - body.len()));
    body.into_bytes()
}

/// A request whose body has not come whole.
struct Slow {
    stream: Stream,
    rest: Vec<u8>,
}

impl Slow {
    #[track_caller]
    fn send(gateway: &Gateway, length: usize) -> Self {
        let mut stream = gateway.internal().connect().expect("a connection");
        let head = format!(
            "POST /trigger/ HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n"
        );
        let mut body = body(length);
        let rest = body.split_off(10);
        let bytes = [head.as_bytes(), &body].concat();
        stream.write_all(&bytes).expect("a request");
        Self { stream, rest }
    }

    #[track_caller]
    fn finish(mut self) -> Answer {
        self.stream.write_all(&self.rest).expect("the rest");
        http::read_answer(&mut self.stream).expect("an answer").0
    }
}

#[test]
fn what_is_too_much_together_is_refused_until_there_is_room() {
    let gateway = gateway(BOUND);
    let held = "high_templar_trigger_bytes_in_flight";
    // Alone, even what is longer than the bound is taken.
    assert_eq!(gateway.post(body(2 * BOUND)).status, 200);
    let slow = Slow::send(&gateway, BOUND / 2);
    gateway.wait_for_metric(held, BOUND as u64 / 2);

    let refused = gateway.post(body(BOUND));
    assert_eq!(refused.status, 503, "{refused:?}");
    assert_eq!(refused.header("retry-after"), Some("1"));
    let sentence = refused.json()["error"].to_string();
    assert!(sentence.contains("limits.triggers_in_flight"), "{sentence}");
    // What does not say how long it is may become as long as `limits.trigger_bytes`.
    let chunked = [("Transfer-Encoding", "chunked")];
    let answer = http::request(
        gateway.internal(),
        "POST",
        "/trigger/",
        &chunked,
        b"0\r\n\r\n",
    );
    assert_eq!(answer.status, 503, "{answer:?}");
    gateway.wait_for_line("limits.triggers_in_flight is reached");
    assert_eq!(gateway.metric("high_templar_trigger_overloads_total"), 2);

    assert_eq!(gateway.post(body(BOUND / 2)).status, 200);
    assert_eq!(slow.finish().status, 200);
    gateway.wait_for_metric(held, 0);
    assert_eq!(gateway.post(body(BOUND)).status, 200);
    assert_eq!(gateway.metric("high_templar_triggers_total"), 4);
}

#[test]
fn who_goes_away_in_the_middle_holds_nothing() {
    let gateway = gateway(BOUND);
    let slow = Slow::send(&gateway, BOUND);
    gateway.wait_for_metric("high_templar_trigger_bytes_in_flight", BOUND as u64);
    drop(slow);
    gateway.wait_for_metric("high_templar_trigger_bytes_in_flight", 0);
}

#[test]
fn zero_is_no_bound() {
    let gateway = gateway(0);
    let slow = Slow::send(&gateway, 1 << 20);
    gateway.wait_for_metric("high_templar_trigger_bytes_in_flight", 1 << 20);
    assert_eq!(gateway.post(body(1 << 20)).status, 200);
    assert_eq!(slow.finish().status, 200);
}
