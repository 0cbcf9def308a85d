//! `limits.triggers_in_flight`: the memory of all requests to `/trigger/` together is limited.

use std::io::{Read, Write};
use std::thread;

use serde_json::json;

use crate::support::stream::Stream;
use crate::support::{Answer, Gateway, StubBackend, eventually, http};

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

/// A request whose body is incomplete.
struct Slow {
    stream: Stream,
    rest: Vec<u8>,
}

impl Slow {
    /// Announces a body of this length and sends so many bytes of it.
    #[track_caller]
    fn send(gateway: &Gateway, length: usize, sent: usize) -> Self {
        let mut stream = gateway.internal().connect().expect("a connection");
        let head = format!(
            "POST /trigger/ HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n"
        );
        let mut body = body(length);
        let rest = body.split_off(sent);
        let bytes = [head.as_bytes(), &body].concat();
        stream.write_all(&bytes).expect("a request");
        Self { stream, rest }
    }

    /// The same, with a body without `Content-Length`.
    #[track_caller]
    fn send_chunked(gateway: &Gateway, length: usize, sent: usize) -> Self {
        let mut stream = gateway.internal().connect().expect("a connection");
        let head =
            "POST /trigger/ HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n";
        let body = body(length);
        let chunk =
            |bytes: &[u8]| [format!("{:x}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat();
        let bytes = [head.as_bytes(), &chunk(&body[..sent])].concat();
        stream.write_all(&bytes).expect("a request");
        let rest = [&chunk(&body[sent..])[..], b"0\r\n\r\n"].concat();
        Self { stream, rest }
    }

    #[track_caller]
    fn finish(mut self) -> Answer {
        self.stream.write_all(&self.rest).expect("the rest");
        self.answer()
    }

    #[track_caller]
    fn answer(&mut self) -> Answer {
        http::read_answer(&mut self.stream).expect("an answer").0
    }
}

const HELD: &str = "high_templar_trigger_bytes_in_flight";

#[test]
fn what_is_too_much_together_is_refused_until_there_is_room() {
    let gateway = gateway(BOUND);
    // Alone, even a request above the limit is accepted.
    assert_eq!(gateway.post(body(2 * BOUND)).status, 200);
    let overloads = || gateway.metric("high_templar_trigger_overloads_total");
    // The first body keeps its bytes until it has stalled for a second. Repeated on a machine so
    // slow that it has.
    let (slow, refused) = eventually("a refusal", || {
        let slow = Slow::send(&gateway, BOUND, BOUND / 2);
        gateway.wait_for_metric(HELD, BOUND as u64 / 2);
        let before = overloads();
        let refused = gateway.post(body(BOUND));
        (refused.status == 503).then(|| {
            assert!(overloads() > before, "the refusal is counted");
            (slow, refused)
        })
    });
    assert_eq!(refused.header("retry-after"), Some("1"));
    let sentence = refused.json()["error"].to_string();
    assert!(sentence.contains("limits.triggers_in_flight"), "{sentence}");
    gateway.wait_for_line("limits.triggers_in_flight is reached");
    // A request that fits beside the first body is accepted.
    assert_eq!(gateway.post(body(BOUND / 2)).status, 200);
    drop(slow);
    gateway.wait_for_metric(HELD, 0);
    assert_eq!(gateway.post(body(BOUND)).status, 200);
}

/// As .NET's `PostAsJsonAsync` and every streaming client sends: no length, in small pieces.
#[test]
fn bodies_without_a_length_count_as_what_came_of_them() {
    let gateway = gateway(64 << 20);
    let slow: Vec<_> = (0..20)
        .map(|_| Slow::send_chunked(&gateway, 1_000, 100))
        .collect();
    gateway.wait_for_metric(HELD, 20 * 100);
    for slow in slow {
        assert_eq!(slow.finish().status, 200);
    }
    gateway.wait_for_metric(HELD, 0);
    assert_eq!(gateway.metric("high_templar_trigger_overloads_total"), 0);
}

/// A publisher's machine that hangs in the middle of its bodies.
#[test]
fn what_is_announced_and_does_not_come_holds_nothing() {
    let gateway = gateway(BOUND);
    let _slow: Vec<_> = (0..20).map(|_| Slow::send(&gateway, 1 << 20, 10)).collect();
    gateway.wait_for_metric(HELD, 20 * 10);
    assert_eq!(gateway.post(body(BOUND / 2)).status, 200);
}

#[test]
fn stalled_bodies_give_way_to_those_that_come() {
    let gateway = gateway(BOUND);
    let mut large = Slow::send(&gateway, BOUND, BOUND * 3 / 4);
    let mut small = Slow::send_chunked(&gateway, BOUND, BOUND / 4);
    gateway.wait_for_metric(HELD, BOUND as u64);
    // As soon as the larger one has stalled for a second.
    eventually("a place", || {
        (gateway.post(body(BOUND / 2)).status == 200).then_some(())
    });
    let evicted = large.answer();
    assert_eq!(evicted.status, 503, "{evicted:?}");
    assert_eq!(evicted.header("retry-after"), Some("1"));
    gateway.wait_for_line("whose body had stopped coming");
    // A request that needs all of it evicts all of them.
    assert_eq!(gateway.post(body(BOUND)).status, 200);
    assert_eq!(small.answer().status, 503);
    gateway.wait_for_metric(HELD, 0);
}

#[test]
fn a_client_that_disconnects_midway_holds_nothing() {
    let gateway = gateway(BOUND);
    let send: [fn(&Gateway, usize, usize) -> Slow; 2] = [Slow::send, Slow::send_chunked];
    for send in send {
        let slow = send(&gateway, BOUND, BOUND / 2);
        gateway.wait_for_metric(HELD, BOUND as u64 / 2);
        drop(slow);
        gateway.wait_for_metric(HELD, 0);
    }
}

#[test]
fn zero_disables_the_limit() {
    let gateway = gateway(0);
    let slow = Slow::send(&gateway, 1 << 20, 1 << 19);
    gateway.wait_for_metric(HELD, 1 << 19);
    assert_eq!(gateway.post(body(1 << 20)).status, 200);
    assert_eq!(slow.finish().status, 200);
}

/// Sends a head with `Expect: 100-continue` before the body, and reads all that is sent back.
#[track_caller]
pub(crate) fn ask_first(gateway: &Gateway, framing: &str) -> String {
    let mut stream = gateway.internal().connect().expect("a connection");
    let head = format!(
        "POST /trigger/ HTTP/1.1\r\nHost: localhost\r\n{framing}\r\nExpect: 100-continue\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).expect("a head");
    // Like a client that does not wait for the response: all of it is read, without a reset.
    let mut rest = stream.try_clone().expect("a socket");
    let sending = thread::spawn(move || {
        for _ in 0..64 {
            rest.write_all(&[b' '; 1 << 10]).expect("it is let send");
        }
        rest.finish();
    });
    let mut answer = String::new();
    stream
        .read_to_string(&mut answer)
        .expect("an answer, and then the end");
    sending.join().expect("a sender");
    answer
}

/// Python publishers send this expectation.
#[test]
fn who_asks_before_sending_is_refused_without_being_told_to_send() {
    let gateway = gateway(BOUND);
    let length = format!("Content-Length: {}", 64 << 10);
    // Alone it may send; it is not a valid trigger.
    let answer = ask_first(&gateway, &length);
    assert!(answer.starts_with("HTTP/1.1 100 "), "{answer}");
    // Again where the machine is so slow that the other request counts as stalled.
    let (slow, answer) = eventually("a refusal", || {
        let slow = Slow::send(&gateway, 2 * BOUND, BOUND);
        gateway.wait_for_metric(HELD, BOUND as u64);
        let answer = ask_first(&gateway, &length);
        answer
            .starts_with("HTTP/1.1 503 ")
            .then_some((slow, answer))
    });
    for part in ["retry-after: 1", "connection: close", "triggers_in_flight"] {
        assert!(answer.contains(part), "{part:?} in {answer}");
    }
    assert!(gateway.metric("high_templar_trigger_overloads_total") >= 1);
    // A body that was not read holds nothing, and the first one is complete.
    gateway.wait_for_metric(HELD, BOUND as u64);
    assert_eq!(slow.finish().status, 200);
}

#[test]
fn expect_100_continue_evicts_stalled_bodies() {
    let gateway = gateway(BOUND);
    let mut slow = Slow::send(&gateway, 2 * BOUND, BOUND);
    gateway.wait_for_metric(HELD, BOUND as u64);
    let length = format!("Content-Length: {}", 64 << 10);
    eventually("the stalled body gives way", || {
        ask_first(&gateway, &length)
            .starts_with("HTTP/1.1 100 ")
            .then_some(())
    });
    assert_eq!(slow.answer().status, 503);
}
