//! Event streams: what `EventSource` and `fetch` are sent, and how they go on after a cut.

use std::collections::BTreeSet;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use ht_testkit::rabbitmq::RabbitMq;
use serde_json::{Value, json};

use crate::rabbitmq::wait_for_ready;
use crate::support::gateway::Builder;
use crate::support::source::{Asking, Source};
use crate::support::{Client, Gateway, NEVER, Reply, StubBackend, eventually, http};

fn api() -> StubBackend {
    StubBackend::new(answer)
}

/// The API admits the user whose cookie it is.
fn answer(seen: &crate::support::Seen) -> Reply {
    if !seen.is_bootstrap() {
        return Reply::ok();
    }
    let answer = json!({
        "allowed_rooms": [{"n": "*"}, {"m": "*"}],
        "user": {"id": seen.header("cookie").unwrap_or("nobody")},
    });
    Reply::json("200 OK", answer.to_string())
}

pub(crate) fn gateway(backend: &StubBackend) -> Builder {
    Gateway::with(backend)
        .set("HT_SSE__ENABLED", true)
        .set("HT_POLL__ENABLED", true)
}

/// `EventSource` for these rooms.
pub(crate) fn rooms(rooms: &[Value]) -> Asking {
    let query: Vec<_> = rooms
        .iter()
        .map(|room| {
            let text = room.to_string();
            let escaped: String = text.bytes().map(|byte| format!("%{byte:02x}")).collect();
            format!("room={escaped}")
        })
        .collect();
    Asking::event_source(&format!("/sse/?{}", query.join("&")))
}

fn publish(gateway: &Gateway, data: impl Into<Value>) {
    gateway.trigger(&json!({"rooms": [{"n": 1}], "data": data.into()}));
}

#[test]
fn event_source_hears_its_rooms_and_goes_on_where_it_was() {
    let backend = api();
    let gateway = gateway(&backend).start();
    let asking = rooms(&[json!({"n": 1}), json!({"n": "*"}), json!({"x": 1})]);
    let mut source = asking.open(gateway.public());
    assert_eq!(source.status, 200);
    for (name, value) in [
        ("content-type", "text/event-stream"),
        ("cache-control", "no-store, no-transform"),
        ("x-accel-buffering", "no"),
        ("vary", "Origin"),
    ] {
        assert_eq!(source.header(name), Some(value));
    }
    let open = source.expect("open");
    assert_eq!(open["is_authorized"], true);
    assert_eq!(
        open["refused"],
        json!([{"requestId": 3, "message": "room-not-found"}])
    );
    assert_eq!(source.header("high-templar-cursor"), Some(&*source.last_id));
    assert!((1_000..=5_000).contains(&source.retry.expect("a time to reconnect")));
    publish(&gateway, "first");
    // The two events of one entry are in the order of their parts.
    let first = source.publication();
    let id = source.last_id.clone();
    drop(source);
    publish(&gateway, "second");
    let asking = asking.header("Last-Event-ID", Some(&id));
    let mut source = asking.open(gateway.public());
    let open = source.expect("open");
    assert_eq!(
        (&open["recovered"], &open["replayed"]),
        (&json!(true), &json!(3))
    );
    assert_eq!(
        source.last_id, id,
        "until the first publication it is what it was"
    );
    let mut heard = vec![first];
    heard.extend((0..3).map(|_| source.publication()));
    publish(&gateway, "third");
    heard.extend((0..2).map(|_| source.publication()));
    for data in ["first", "second", "third"] {
        let names = heard.iter().filter(|(_, known)| known == data);
        let names: BTreeSet<_> = names.map(|(name, _)| name.as_u64()).collect();
        assert_eq!(
            names,
            BTreeSet::from([Some(1), Some(2)]),
            "{data}: {heard:?}"
        );
    }
    gateway.wait_for_metric("high_templar_streams", 1);
    drop(source);
    gateway.wait_for_metric("high_templar_streams", 0);
    let requests = backend.requests();
    assert_eq!(requests.len(), 2, "one call for each stream");
    assert_eq!(requests[0].header("cookie"), Some("sessionid=7"));
}

#[test]
fn fetch_sends_its_rooms_in_the_body_and_may_ask_for_lines() {
    let backend = api();
    let gateway = gateway(&backend).start();
    let body = json!({"subscriptions": [{"requestId": "a", "room": {"n": 1}}]});
    let asking = Asking::event_source("/sse/")
        .header("Accept", Some("application/x-ndjson"))
        .header("X-High-Templar-SDK", Some("1"))
        .header("Origin", Some("https://gateway.test"))
        .post(&body);
    let source = asking.open(gateway.public());
    assert_eq!(source.header("content-type"), Some("application/x-ndjson"));
    assert_eq!(
        source.header("access-control-allow-origin"),
        Some("https://gateway.test")
    );
    publish(&gateway, json!({"x": "\n"}));
    let mut client = Client::connect(&gateway);
    client.fence();
    gateway.trigger(&json!({"command": "disconnect", "everyone": true, "reason": "enough"}));
    let body = String::from_utf8(source.body()).expect("UTF-8");
    let lines = body
        .lines()
        .map(|line| serde_json::from_str(line).expect(line));
    let lines: Vec<Value> = lines.collect();
    let types: Vec<_> = lines
        .iter()
        .map(|line| line["type"].as_str().unwrap_or(""))
        .collect();
    assert_eq!(types, ["open", "publish", "close"]);
    assert_eq!(
        (&lines[1]["requestId"], &lines[1]["data"]["x"]),
        (&json!("a"), &json!("\n"))
    );
    assert_ne!(lines[0]["cursor"], lines[1]["cursor"]);
    assert_eq!(
        (&lines[2]["code"], &lines[2]["reason"]),
        (&json!(4303), &json!("enough"))
    );
}

#[test]
fn a_browser_that_is_cut_anywhere_hears_every_event_once() {
    let backend = api();
    let gateway = gateway(&backend).start();
    let all = [json!({"n": 1}), json!({"n": "*"}), json!({"m": 1})];
    let asking = rooms(&all);
    let mut id = {
        let mut source = asking.open(gateway.public());
        source.expect("open");
        source.last_id
    };
    let (mut heard, mut expected) = (Vec::new(), 0);
    for round in 0..40 {
        let both = json!({"rooms": [{"n": 1}, {"m": 1}], "data": round});
        gateway.trigger(&both);
        expected += 3;
        let asking = asking.clone().header("Last-Event-ID", Some(&id));
        let mut source = asking.open(gateway.public());
        let open = source.expect("open");
        assert_eq!(open["recovered"], true, "{open}");
        // It stops to read somewhere within what it missed.
        let most = open["replayed"].as_u64().expect("a number") as usize;
        for _ in 0..most.min(1 + round % 5) {
            heard.push(source.publication());
        }
        id.clone_from(&source.last_id);
    }
    let asking = asking.header("Last-Event-ID", Some(&id));
    let mut source = asking.open(gateway.public());
    source.expect("open");
    while heard.len() < expected {
        heard.push(source.publication());
    }
    gateway.trigger(&json!({"rooms": [{"m": 1}], "data": "last"}));
    assert_eq!(source.publication(), (json!(3), json!("last")));
    let once: BTreeSet<_> = heard.iter().map(|pair| format!("{pair:?}")).collect();
    assert_eq!(once.len(), expected, "nothing twice");
    let rounds: Vec<_> = heard.iter().filter_map(|(_, data)| data.as_u64()).collect();
    assert!(rounds.is_sorted(), "in order");
}

#[test]
fn data_with_every_kind_of_line_break_has_the_same_value() {
    let backend = api();
    let gateway = gateway(&backend).start();
    let mut source = rooms(&[json!({"n": 1})]).open(gateway.public());
    source.expect("open");
    let long = format!("\"{}\"", "ä".repeat(400_000));
    for data in [
        "{\n  \"a\": 1\n}",
        "{\r\n  \"a\": [1,\r2]\r\n}",
        "\"\\r\\n\u{2028}\u{2029}\u{85}\"",
        "[\r\r\n\n\r]",
        &long,
    ] {
        let trigger = format!("{{\"rooms\": [{{\"n\": 1}}], \"data\": {data}}}");
        assert_eq!(gateway.post(trigger).status, 200);
        let value: Value = serde_json::from_str(data).expect("JSON");
        assert_eq!(source.publication(), (json!(1), value));
    }
}

#[test]
fn curl_reads_a_stream_as_it_comes() {
    let backend = api();
    let gateway = gateway(&backend).start();
    let crate::support::stream::Address::Tcp(address) = gateway.public() else {
        panic!("a TCP address");
    };
    let url = format!("http://{address}/sse/?room=%7B%22n%22%3A1%7D&token=t");
    let curl = Command::new("curl")
        .args(["-sSN", "--max-time", "15", &url])
        .stdout(std::process::Stdio::piped())
        .spawn();
    let mut curl = curl.expect("curl is installed");
    gateway.wait_for_metric("high_templar_streams", 1);
    publish(&gateway, "for curl");
    gateway.trigger(&json!({"command": "disconnect", "everyone": true}));
    let mut out = String::new();
    std::io::Read::read_to_string(&mut curl.stdout.take().expect("its output"), &mut out)
        .expect("UTF-8");
    assert!(curl.wait().expect("a child").success(), "{out}");
    assert!(out.contains("event: open\n"), "{out}");
    assert!(
        out.contains("event: publish\ndata: {\"type\": \"publish\", \"data\": \"for curl\", \"requestId\": 1}\nid: "),
        "{out}"
    );
    let seen = &backend.requests()[0];
    assert_eq!(seen.header("authorization"), Some("Token t"));
}

#[test]
fn a_refused_browser_stops_and_one_that_is_to_come_later_comes_later() {
    for (reply, plain, other) in [
        (Reply::forbidden(), 403, 403),
        (Reply::json("503 Service Unavailable", "{}"), 200, 503),
    ] {
        let backend = StubBackend::new(move |_| reply.clone());
        let gateway = gateway(&backend).start();
        let asking = rooms(&[json!({"n": 1})]);
        let mut source = asking.open(gateway.public());
        assert_eq!(source.status, plain);
        if plain == 200 {
            let close = source.expect("close");
            assert_eq!(
                (&close["code"], &close["reason"]),
                (&json!(1013), &json!("backend"))
            );
            assert!(source.retry.is_some());
            assert_eq!(source.try_next(), None);
        } else {
            assert_eq!(source.header("connection"), Some("close"));
            let body: Value = serde_json::from_slice(&source.body()).expect("JSON");
            assert_eq!(
                (&body["code"], &body["is_authorized"]),
                (&json!(4300), &json!(false))
            );
        }
        let ours = asking.header("X-High-Templar-SDK", Some("1"));
        let source = ours.open(gateway.public());
        assert_eq!(source.status, other);
        assert_eq!(source.header("retry-after").is_some(), other == 503);
    }
}

#[test]
fn a_revoked_browser_is_closed_comes_back_and_is_refused() {
    let backend = StubBackend::new({
        let calls = std::sync::atomic::AtomicUsize::new(0);
        move |seen| match calls.fetch_add(1, std::sync::atomic::Ordering::SeqCst) {
            0 => answer(seen),
            _ => Reply::forbidden(),
        }
    });
    let gateway = gateway(&backend).start();
    let asking = rooms(&[json!({"n": 1})]);
    let mut source = asking.open(gateway.public());
    source.expect("open");
    let user = "sessionid=7";
    gateway.trigger(&json!({"command": "invalidate", "user": user}));
    publish(&gateway, "secret");
    let close = source.expect("close");
    assert_eq!(
        (&close["code"], &close["reason"]),
        (&json!(4002), &json!("permissions"))
    );
    assert_eq!(source.try_next(), None, "nothing leaks");
    let asking = asking.header("Last-Event-ID", Some(&source.last_id));
    assert_eq!(asking.open(gateway.public()).status, 403);
}

#[test]
fn a_drain_gives_every_browser_its_own_time_and_nobody_hears_anything_twice() {
    const MANY: usize = 60;
    let backend = api();
    let mut gateway = gateway(&backend)
        .set("HT_LIMITS__CONNECTIONS_PER_ADDRESS", 0)
        .start();
    let asking = rooms(&[json!({"n": 1})]);
    let mut sources: Vec<_> = (0..MANY).map(|_| asking.open(gateway.public())).collect();
    for source in &mut sources {
        source.expect("open");
    }
    publish(&gateway, "all");
    gateway.signal("TERM");
    let (mut times, mut within) = (Vec::new(), 0);
    for source in &mut sources {
        assert_eq!(source.publication().1, "all");
        let close = source.expect("close");
        assert_eq!(
            (&close["code"], &close["reason"]),
            (&json!(1012), &json!("restart"))
        );
        within = close["within"].as_u64().expect("a span");
        let retry = source.retry.expect("a time to reconnect");
        assert!(retry <= within);
        times.push(retry);
        assert_eq!(source.try_next(), None);
    }
    let distinct: BTreeSet<_> = times.iter().collect();
    assert!(distinct.len() > MANY / 2, "{times:?}");
    let early = times.iter().filter(|time| **time < within / 2).count();
    assert!((MANY / 6..MANY - MANY / 6).contains(&early), "{times:?}");
    assert_eq!(gateway.wait_for_end(), Some(0));
}

#[test]
fn who_asks_during_a_drain_is_told_to_come_back() {
    let gate = crate::support::Gate::default();
    let backend = StubBackend::behind(&gate);
    let mut gateway = gateway(&backend).start();
    let asking = rooms(&[json!({"n": 1})]);
    let address = gateway.public().clone();
    let waiting = thread::spawn(move || asking.open(&address));
    backend.wait_for(1);
    gateway.signal("TERM");
    let mut source = waiting.join().expect("a response");
    assert_eq!(source.status, 200);
    assert_eq!(source.expect("close")["reason"], "restart");
    assert!(source.retry.is_some());
    gate.open();
    assert_eq!(gateway.wait_for_end(), Some(0));
}

#[test]
fn a_reader_that_stops_is_evicted_and_others_hear_everything() {
    let backend = api();
    let gateway = gateway(&backend)
        .set("HT_LIMITS__OUTBOX_BYTES", "256KiB")
        .set("HT_TCP__SEND_BUFFER", "16KiB")
        .start();
    let asking = rooms(&[json!({"n": 1})]);
    let mut stopped = asking.open(gateway.public());
    stopped.expect("open");
    let mut reading = asking.open(gateway.public());
    reading.expect("open");
    let data = "x".repeat(100_000);
    let name = "high_templar_evictions_total{reason=\"outbox_bytes\"}";
    let mut published = 0;
    while gateway.metric(name) == 0 {
        publish(&gateway, json!([published, data]));
        assert_eq!(reading.publication().1[0], published);
        published += 1;
        assert!(published < 1_000, "it is bounded");
    }
    assert_eq!(gateway.metric(name), 1);
}

#[test]
fn requests_that_are_none_are_answered_or_ended_as_for_websockets() {
    let backend = api();
    let gateway = gateway(&backend)
        .set("HT_LIMITS__HEAD_TIMEOUT", "300ms")
        .start();
    let public = gateway.public();
    for (method, path, headers, body, status) in [
        ("PUT", "/sse/", &[][..], "", 405),
        ("DELETE", "/poll/", &[], "", 405),
        ("GET", "/poll/", &[], "", 405),
        ("GET", "/sse/", &[], "{}", 400),
        ("GET", "/sse/?s=%7B", &[], "", 400),
        ("GET", "/sse/?cursor=17", &[], "", 400),
        ("POST", "/sse/", &[], "{}", 400),
        ("POST", "/sse/", &[], "no JSON", 400),
        ("POST", "/poll/", &[], "[]", 400),
        ("GET", "/sse/", &[("Accept", "text/html")], "", 406),
        ("GET", "/sse/x", &[], "", 404),
        ("GET", "/sse/", &[("Authorization", "Bearer a\tb")], "", 400),
    ] {
        let answer = http::request(public, method, path, headers, body.as_bytes());
        assert_eq!(answer.status, status, "{method} {path}: {answer:?}");
    }
    let long = format!(
        "{{\"subscriptions\": [], \"x\": \"{}\"}}",
        "x".repeat(70_000)
    );
    let answer = http::request(public, "POST", "/sse/", &[], long.as_bytes());
    assert_eq!(answer.status, 413);
    let mut stream = public.connect().expect("a connection");
    std::io::Write::write_all(&mut stream, b"HEAD /sse/ HTTP/1.1\r\nHost: x\r\n\r\n")
        .expect("it is sent");
    let (start, ..) = http::read_head(&mut stream).expect("a head");
    assert_eq!(start, "HTTP/1.1 405 Method Not Allowed");
    // A body that never ends.
    let begun = Instant::now();
    let headers = [("Content-Length", "1000")];
    let answer = http::request(public, "POST", "/sse/", &headers, b"{");
    assert_eq!(answer.status, 408);
    assert!(begun.elapsed() < Duration::from_secs(10));
    assert!(backend.requests().is_empty(), "the API is not called");
}

#[test]
fn nothing_is_served_where_streams_are_disabled() {
    let backend = api();
    let gateway = Gateway::start(&backend);
    for path in ["/sse/", "/poll/"] {
        for method in ["GET", "POST", "OPTIONS"] {
            let answer = http::request(gateway.public(), method, path, &[], b"");
            assert_eq!(answer.status, 404, "{method} {path}");
        }
    }
    gateway.reload("[sse]\nenabled = true\n");
    rooms(&[json!({"n": 1})])
        .open(gateway.public())
        .expect("open");
}

#[test]
fn a_stream_is_bounded_in_time_and_renewed_without_a_loss() {
    let backend = api();
    let gateway = gateway(&backend)
        .set("HT_SSE__MAX_AGE", "1s")
        .set("HT_KEEPALIVE__INTERVAL", NEVER)
        .start();
    let asking = rooms(&[json!({"n": 1})]);
    let mut source = asking.open(gateway.public());
    source.expect("open");
    publish(&gateway, 1);
    assert_eq!(source.publication().1, 1);
    let close = source.expect("close");
    assert_eq!(
        (&close["code"], &close["reason"]),
        (&json!(1012), &json!("max-age"))
    );
    assert!(source.retry.expect("a time to reconnect") <= 2_000);
    assert_eq!(source.try_next(), None);
    publish(&gateway, 2);
    let asking = asking.header("Last-Event-ID", Some(&source.last_id));
    let mut source = asking.open(gateway.public());
    assert_eq!(source.expect("open")["replayed"], 1);
    assert_eq!(source.publication().1, 2);
}

#[test]
fn streams_count_as_connections_of_their_address_and_user() {
    let backend = api();
    let gateway = gateway(&backend)
        .set("HT_LIMITS__CONNECTIONS_PER_USER", 1)
        .start();
    let asking = rooms(&[json!({"n": 1})]);
    let mut source = asking.open(gateway.public());
    source.expect("open");
    let mut second = asking.open(gateway.public());
    assert_eq!(second.status, 200);
    assert_eq!(second.expect("close")["reason"], "connections-per-user");
    let ours = asking.clone().header("X-High-Templar-SDK", Some("1"));
    assert_eq!(ours.open(gateway.public()).status, 429);
    drop(source);
    gateway.wait_for_metric("high_templar_connections", 0);
    asking.open(gateway.public()).expect("open");
}

#[test]
fn hooks_report_streams_and_not_polls() {
    let backend = api();
    let gateway = gateway(&backend).hooks().start();
    let mut source = rooms(&[json!({"n": 1})]).open(gateway.public());
    source.expect("open");
    backend.wait_for_moments(&["online"]);
    drop(source);
    backend.wait_for_moments(&["online", "offline"]);
    let body = json!({"subscriptions": []});
    let poll = Asking::event_source("/poll/").post(&body);
    assert_eq!(poll.open(gateway.public()).status, 200);
    let mut source = rooms(&[json!({"n": 1})]).open(gateway.public());
    source.expect("open");
    backend.wait_for_moments(&["online", "offline", "online"]);
}

/// Opens a stream at one of the nodes that is there, as a browser reconnects.
fn reconnect(asking: &Asking, nodes: &[Option<Gateway>], first: usize) -> Source {
    eventually("a node", || {
        let in_turn = nodes.iter().cycle().skip(first).take(nodes.len()).flatten();
        let mut sources = in_turn.filter_map(|node| asking.try_open(node.public()).ok());
        sources.find(|source| source.status == 200)
    })
}

#[test]
fn a_browser_whose_nodes_are_killed_hears_everything_once() {
    const ROUNDS: usize = 4;
    let (vhost, backend) = (RabbitMq::shared().vhost(), api());
    let start = || {
        let node = gateway(&backend)
            .set("HT_RABBITMQ__URL", vhost.url())
            .set("HT_RABBITMQ__LOG", "stream")
            .start();
        wait_for_ready(&node);
        Some(node)
    };
    let mut nodes = [start(), start()];
    let asking = rooms(&[json!({"n": 1}), json!({"n": "*"})]);
    let mut source = reconnect(&asking, &nodes, 0);
    source.expect("open");
    let (mut published, mut heard) = (0, Vec::new());
    for round in 0..ROUNDS {
        let (own, other) = (round % 2, (round + 1) % 2);
        for _ in 0..5 {
            let node = nodes[other].as_ref().expect("it runs");
            node.trigger(&json!({"rooms": [{"n": 1}], "data": published}));
            published += 1;
        }
        heard.push(source.publication());
        drop(nodes[own].take());
        while let Some(event) = source.try_next() {
            assert_eq!(event.name, "publish");
            heard.push((event.data["requestId"].clone(), event.data["data"].clone()));
        }
        let id = source.last_id.clone();
        let asking = asking.clone().header("Last-Event-ID", Some(&id));
        source = reconnect(&asking, &nodes, other);
        assert_eq!(source.expect("open")["recovered"], true);
        nodes[own] = start();
    }
    while heard.len() < 2 * published {
        heard.push(source.publication());
    }
    let once: BTreeSet<_> = heard.iter().map(|pair| format!("{pair:?}")).collect();
    assert_eq!(once.len(), 2 * published);
}
