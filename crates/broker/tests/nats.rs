//! A stream of NATS that is deleted, trimmed, made by others and restricted, and what publishers of
//! other languages send. Servers that are killed or paused are in `nats_outages.rs`.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

use async_nats::{ConnectOptions, HeaderMap};
use ht_broker::config::{NatsConfig, Reading};
use ht_broker::log::{From, Kind, Log, NewEntry, Record, Tail, TailError};
use ht_broker::nats::{Nats, ProbeError, probe};
use ht_broker::{AppendError, Broker, MissedReason};
use ht_proto::entry::{Epoch, Position};
use ht_testkit::eventually;
use ht_testkit::nats::Nats as Server;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;

#[path = "support/mod.rs"]
mod support;

use support::{Node, SOON, body, parse, trigger};

/// How long a publish may take.
const PUBLISH: Duration = Duration::from_secs(5);

/// The stream of the default subject.
const STREAM: &str = "hightemplar-triggers";

fn log(config: &NatsConfig) -> Arc<dyn Log> {
    Arc::new(Nats::new(config).unwrap())
}

/// A node that has not connected yet.
fn start(config: &NatsConfig) -> Node {
    let reading = Reading {
        positions: 10_000,
        silence: Some(Duration::from_secs(10)),
        ..Reading::default()
    };
    Node::run(Broker::new(log(config), parse(), PUBLISH).reading(reading))
}

async fn ready(config: &NatsConfig) -> Node {
    let node = start(config);
    node.becomes_ready().await;
    node
}

fn epoch(node: &Node) -> Option<Epoch> {
    node.broker.epoch().map(|name| name.epoch)
}

fn at(number: u64) -> Position {
    Position::new(number).unwrap()
}

fn entries(count: usize, bytes: usize) -> Vec<NewEntry> {
    let entry = |_| NewEntry {
        tenant: None,
        kind: Kind::Trigger,
        key: "a key".into(),
        body: vec![b'x'; bytes].into(),
    };
    (0..count).map(entry).collect()
}

async fn read(tail: &mut dyn Tail, count: usize) -> Vec<Record> {
    let mut records = Vec::new();
    while records.len() < count {
        let batch = tokio::time::timeout(SOON, tail.next()).await.unwrap();
        records.extend(batch.unwrap().records);
    }
    assert_eq!(records.len(), count);
    records
}

fn positions(records: &[Record]) -> Vec<u64> {
    let position = |record: &Record| record.position.unwrap().get();
    records.iter().map(position).collect()
}

#[tokio::test]
async fn a_deleted_stream_is_made_anew_with_another_epoch_on_every_node() {
    let server = Server::start();
    let nodes = [ready(&server.config()).await, ready(&server.config()).await];
    for published in [50, 0] {
        let triggers = (0..published).map(|n: u32| trigger(&n.to_string()));
        nodes[0].broker.publish(triggers.collect()).await.unwrap();
        let before = epoch(&nodes[0]).unwrap();
        server.delete_stream(STREAM).await;
        for node in &nodes {
            let has_another = || node.is_ready() && epoch(node).is_some_and(|it| it != before);
            eventually(SOON, has_another).await;
        }
        eventually(SOON, || epoch(&nodes[0]) == epoch(&nodes[1])).await;
        let name = format!("\"after {published}\"");
        nodes[1].broker.publish(vec![trigger(&name)]).await.unwrap();
        for node in &nodes {
            node.sees(&name).await;
            assert!(node.recorder.gaps().contains(&MissedReason::Rewound));
        }
    }
    for node in nodes {
        assert_eq!(node.recorder.interruptions(), [true, true]);
        node.end().await;
    }
}

/// Longer than it was, with another record where the node was: only the time of its creation shows it
/// before a record is read.
#[tokio::test]
async fn a_stream_made_anew_is_another_log_whatever_is_in_it() {
    let server = Server::start();
    let log = log(&server.config());
    let mut tail = Arc::clone(&log).tail(From::Head).await.unwrap();
    log.append(entries(10, 10), PUBLISH).await.unwrap();
    read(&mut *tail, 10).await;
    tail.close(PUBLISH).await;
    server.delete_stream(STREAM).await;
    // Another node makes it, and appends the same.
    let other = self::log(&server.config());
    let tail = Arc::clone(&other).tail(From::Head).await.unwrap();
    other.append(entries(20, 10), PUBLISH).await.unwrap();
    tail.close(PUBLISH).await;
    let resumed = Arc::clone(&log).tail(From::At(at(10))).await;
    assert_eq!(resumed.err(), Some(TailError::Rewound(at(10))));
    let mut again = log
        .tail(From::Back {
            age: SOON,
            positions: 0,
        })
        .await
        .unwrap();
    assert_eq!(read(&mut *again, 20).await.len(), 20);
    let mut resumed = other.tail(From::At(at(10))).await.unwrap();
    assert_eq!(read(&mut *resumed, 11).await.len(), 11);
}

#[tokio::test]
async fn a_node_that_starts_reads_back_what_was_there() {
    let server = Server::start();
    let first = ready(&server.config()).await;
    let triggers = (0..100).map(|n: u32| trigger(&n.to_string()));
    first.broker.publish(triggers.collect()).await.unwrap();
    let second = ready(&server.config()).await;
    assert_eq!(epoch(&second), epoch(&first));
    assert_eq!(second.recorder.back(), first.recorder.seen());
    assert_eq!(second.recorder.seen(), [""; 0]);
    first.end().await;
    second.end().await;
}

#[tokio::test]
async fn dropped_records_are_a_gap() {
    let server = Server::start();
    let config = NatsConfig {
        retention_bytes: 300_000,
        ..server.config()
    };
    let log = log(&config);
    let mut tail = Arc::clone(&log).tail(From::Head).await.unwrap();
    log.append(entries(50, 2_000), PUBLISH).await.unwrap();
    assert_eq!(positions(&read(&mut *tail, 50).await)[0], 1);
    log.append(entries(300, 2_000), PUBLISH).await.unwrap();
    let first = log.bounds().await.unwrap().first.unwrap();
    assert!(first > at(100), "{first}");
    let refused = Arc::clone(&log).tail(From::At(at(50))).await;
    assert_eq!(refused.err(), Some(TailError::Trimmed(at(50))));
    let read = log.read(at(50)..=Position::MAX, usize::MAX).await;
    assert_eq!(read.err(), Some(TailError::Trimmed(at(50))));
    let back = From::Back {
        age: SOON,
        positions: 1_000,
    };
    let mut late = log.tail(back).await.unwrap();
    assert_eq!(
        positions(&self::read(&mut *late, 350 - first.get() as usize + 1).await)[0],
        first.get()
    );
    // Deliveries of what was there when it was sent are read all the same, or are a gap.
    loop {
        match tail.next().await {
            Ok(batch) if positions(&batch.records).contains(&350) => break,
            Ok(_) => {}
            Err(error) => {
                assert!(matches!(error, TailError::Trimmed(_)), "{error}");
                break;
            }
        }
    }
}

/// A tail passes over them, and does not resume at one.
#[tokio::test]
async fn records_that_were_deleted_by_hand_are_left_out() {
    let server = Server::start();
    let config = json!({
        "name": STREAM, "subjects": ["hightemplar.>"], "retention": "limits",
        "storage": "file", "max_age": 0, "num_replicas": 1,
    });
    let made = server
        .request(&format!("STREAM.CREATE.{STREAM}"), &config)
        .await;
    assert!(made["error"].is_null(), "{made}");
    let log = log(&server.config());
    log.append(entries(10, 10), PUBLISH).await.unwrap();
    for sequence in [3, 4, 8] {
        let verb = format!("STREAM.MSG.DELETE.{STREAM}");
        let deleted = server.request(&verb, &json!({"seq": sequence})).await;
        assert_eq!(deleted["success"], true, "{deleted}");
    }
    let left = [1, 2, 5, 6, 7, 9, 10];
    let back = From::Back {
        age: SOON,
        positions: 0,
    };
    let mut tail = Arc::clone(&log).tail(back).await.unwrap();
    let mut found = Vec::new();
    while found.len() < left.len() {
        found.extend(positions(&tail.next().await.unwrap().records));
    }
    assert_eq!(found, left);
    let records = log.read(at(2)..=at(9), usize::MAX).await.unwrap();
    assert_eq!(positions(&records), left[1..6]);
    let mut resumed = Arc::clone(&log).tail(From::At(at(4))).await.unwrap();
    let refused = resumed.next().await.unwrap_err();
    assert_eq!(refused, TailError::Trimmed(at(4)));
    let mut resumed = log.tail(From::At(at(7))).await.unwrap();
    let mut found = Vec::new();
    while found.len() < 3 {
        found.extend(positions(&resumed.next().await.unwrap().records));
    }
    assert_eq!(found, [7, 9, 10]);
}

#[tokio::test]
async fn long_messages_are_read_and_too_long_ones_refused() {
    let server = Server::start();
    let log = log(&server.config());
    let mut tail = Arc::clone(&log).tail(From::Head).await.unwrap();
    let long = 1_000_000;
    log.append(entries(40, long), SOON).await.unwrap();
    let records = read_all(&mut *tail, 40).await;
    assert!(
        records
            .iter()
            .all(|record| record.message.body.len() == long)
    );
    let refused = log.append(entries(1, 2 << 20), PUBLISH).await.unwrap_err();
    let AppendError::TooLong { bytes, max } = refused else {
        panic!("{refused}");
    };
    assert!(bytes == 2 << 20 && max > long, "{refused}");
    assert_eq!(log.append(entries(1, 10), PUBLISH).await.unwrap().len(), 1);
    assert_eq!(positions(&read_all(&mut *tail, 1).await), [41]);
}

async fn read_all(tail: &mut dyn Tail, count: usize) -> Vec<Record> {
    let mut records = Vec::new();
    while records.len() < count {
        let batch = tokio::time::timeout(SOON, tail.next()).await.unwrap();
        records.extend(batch.unwrap().records);
    }
    records
}

/// Any client of NATS can publish, and the server drops what it was sent twice.
#[tokio::test]
async fn publishers_of_other_languages_use_the_subject() {
    let server = Server::start();
    let node = ready(&server.config()).await;
    let client = server.connect().await;
    let subject = server.config().subject;
    let publish = async |headers: &[(&str, &str)], payload: Vec<u8>| {
        let mut all = HeaderMap::new();
        for (name, value) in headers {
            all.insert(*name, *value);
        }
        let stored = client.request_with_headers(subject.clone(), all, payload.into());
        let answer: Value = serde_json::from_slice(&stored.await.unwrap().payload).unwrap();
        answer["duplicate"] == true
    };
    assert!(!publish(&[], body("1").into()).await);
    let id = [("Nats-Msg-Id", "order 7")];
    assert!(!publish(&id, body("2").into()).await);
    assert!(publish(&id, body("2").into()).await);
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gzip.write_all(body("3").as_bytes()).unwrap();
    let packed = gzip.finish().unwrap();
    // The parser of these tests reads no compressed messages: it rejects them by their name.
    publish(&[("Content-Encoding", "gzip")], packed).await;
    assert!(!publish(&[], body("4").into()).await);
    node.sees("4").await;
    assert_eq!(node.recorder.seen(), ["1", "2", "4"]);
    let counts = node.broker.counts();
    assert_eq!((counts.received, counts.rejected), (4, 1));
    // What is not for this log is passed over.
    client
        .publish("hightemplar.triggers.others", "x".into())
        .await
        .unwrap();
    node.broker.publish(vec![trigger("5")]).await.unwrap();
    node.sees("5").await;
    node.end().await;
}

/// The server stores whatever headers a publisher sends. None of them stops a node, or passes for a
/// word of the server.
#[tokio::test]
async fn headers_that_cannot_be_read_stop_nobody() {
    let server = Server::start();
    let first = ready(&server.config()).await;
    let bad: [&[u8]; 6] = [
        b"NATS/1.0 503\r\n\r\n",
        b"NATS/1.0 100 Idle Heartbeat\r\n\r\n",
        b"NATS/1.0 x\r\n\r\n",
        b"NATS/1.0\r\nName: M\xfcller\r\n\r\n",
        b"NATS/1.0\r\nno colon\r\n\r\n",
        b"something else\r\n\r\n",
    ];
    let raw = |headers: &[u8], data: &str| {
        let body = body(data);
        let (of, all) = (headers.len(), headers.len() + body.len());
        let head = format!("HPUB hightemplar.triggers {of} {all}\r\n");
        [head.as_bytes(), headers, body.as_bytes(), b"\r\n"].concat()
    };
    let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", server.port()))
        .await
        .unwrap();
    let connect = b"CONNECT {\"headers\":true,\"verbose\":false,\"pedantic\":false}\r\n";
    stream.write_all(connect).await.unwrap();
    let mut expected = Vec::new();
    for (number, headers) in bad.iter().enumerate() {
        let data = format!("\"bad {number}\"");
        stream.write_all(&raw(headers, &data)).await.unwrap();
        expected.push(data);
        let data = format!("\"good {number}\"");
        stream
            .write_all(&raw(b"NATS/1.0\r\n\r\n", &data))
            .await
            .unwrap();
        expected.push(data);
    }
    first.sees("\"good 5\"").await;
    assert_eq!(first.recorder.seen(), expected);
    assert_eq!(first.recorder.gaps(), [MissedReason::Start]);
    let second = ready(&server.config()).await;
    assert_eq!(second.recorder.back(), expected);
    assert_eq!(epoch(&first), epoch(&second));
    for node in [first, second] {
        eventually(SOON, || node.is_ready()).await;
        node.end().await;
    }
}

/// Users with the rights that docs/nats.md names.
const RIGHTS: &str = r#"
jetstream { store_dir: "STORE" }
authorization {
  users: [
    { user: admin, password: admin }
    { user: gateway, password: gateway, permissions: {
        publish: [
          "hightemplar.triggers", "hightemplar.triggers.notes", "hightemplar.triggers.probes",
          "$JS.API.STREAM.INFO.hightemplar-triggers",
          "$JS.API.STREAM.MSG.GET.hightemplar-triggers",
          "$JS.API.CONSUMER.CREATE.hightemplar-triggers",
          "$JS.API.CONSUMER.DELETE.hightemplar-triggers.*",
          "$JS.API.CONSUMER.MSG.NEXT.hightemplar-triggers.*"
        ]
        subscribe: ["_INBOX.>"]
    } }
    { user: publisher, password: publisher, permissions: {
        publish: ["hightemplar.triggers"], subscribe: ["_INBOX.>"]
    } }
    { user: reader, password: reader, permissions: {
        publish: ["$JS.API.>"], subscribe: ["_INBOX.>"]
    } }
    { nkey: NKEY }
  ]
}
"#;

fn of(server: &Server, user: &str) -> NatsConfig {
    NatsConfig {
        username: Some(user.into()),
        password: Some(user.into()),
        ..server.config()
    }
}

#[tokio::test]
async fn users_need_no_more_rights_than_are_stated() {
    let pair = nkeys::KeyPair::new_user();
    let server = Server::start_with(&RIGHTS.replace("NKEY", &pair.public_key()));
    let lacks = start(&of(&server, "gateway"));
    eventually(SOON, || lacks.trouble().contains("lacks a right")).await;
    assert!(
        lacks.trouble().contains("STREAM.CREATE"),
        "{}",
        lacks.trouble()
    );
    ready(&of(&server, "admin")).await.end().await;
    lacks.becomes_ready().await;

    let config = of(&server, "gateway");
    assert_eq!(probe(&config).await.unwrap().notes, [""; 0]);
    lacks.broker.publish(vec![trigger("1")]).await.unwrap();
    let by_key = NatsConfig {
        nkey: Some(pair.seed().unwrap()),
        ..server.config()
    };
    let by_key = ready(&by_key).await;
    let options = ConnectOptions::with_user_and_password("publisher".into(), "publisher".into());
    let publisher = server.connect_with(options).await;
    for forbidden in ["hightemplar.triggers.notes", "hightemplar.triggers.probes"] {
        publisher.publish(forbidden, "{}".into()).await.unwrap();
    }
    let stored = publisher.request("hightemplar.triggers", body("2").into());
    stored.await.unwrap();
    for node in [&lacks, &by_key] {
        node.sees("2").await;
    }
    let last = log(&config).bounds().await.unwrap().last.unwrap();
    let all = log(&config).read(at(1)..=last, usize::MAX).await.unwrap();
    assert!(all.iter().all(|record| record.message.body != "{}"));

    // A user who may only read is refused at once, with the right that is missing.
    let reader = log(&of(&server, "reader"));
    let refused = reader.append(entries(1, 10), SOON).await.unwrap_err();
    let AppendError::Unavailable(why) = refused else {
        panic!("{refused}");
    };
    assert!(why.contains("lacks a right"), "{why}");
    for node in [lacks, by_key] {
        node.end().await;
    }
}

#[tokio::test]
async fn a_stream_that_cannot_carry_the_log_is_named_with_the_remedy() {
    for (name, subjects, retention, cause) in [
        (
            STREAM,
            "other",
            "limits",
            "does not have the subject hightemplar.triggers",
        ),
        (
            STREAM,
            "hightemplar.triggers",
            "limits",
            "hightemplar.triggers.notes",
        ),
        (
            STREAM,
            "hightemplar.>",
            "interest",
            "deletes what was consumed",
        ),
        ("another", "hightemplar.>", "limits", "subjects overlap"),
    ] {
        let server = Server::start();
        let config = json!({
            "name": name, "subjects": [subjects], "retention": retention,
            "storage": "file", "num_replicas": 1,
        });
        let made = server
            .request(&format!("STREAM.CREATE.{name}"), &config)
            .await;
        assert!(made["error"].is_null(), "{made}");
        let node = start(&server.config());
        eventually(SOON, || node.broker.counts().failures >= 1).await;
        assert!(node.trouble().contains(cause), "{}", node.trouble());
        node.end().await;
        if name == STREAM {
            let text = probe(&server.config()).await.unwrap_err().to_string();
            assert!(
                text.contains(cause) && text.contains("nats stream edit"),
                "{text}"
            );
        }
    }
}

#[tokio::test]
async fn jetstream_that_is_not_enabled_is_waited_for() {
    let server = Server::start_with("");
    let refused = log(&server.config()).tail(From::Head).await.err().unwrap();
    assert!(matches!(refused, TailError::NotYet(_)), "{refused}");
    let text = probe(&server.config()).await.unwrap_err().to_string();
    assert!(
        text.contains("JetStream does not answer") && text.contains("jetstream {}"),
        "{text}"
    );
    let node = start(&server.config());
    eventually(SOON, || node.broker.counts().failures >= 1).await;
    let refused = node.broker.publish(vec![trigger("1")]).await;
    assert!(matches!(refused, Err(AppendError::Unavailable(_))));
    server.stop();
    server.configure("jetstream { store_dir: \"STORE\" }");
    server.start_again();
    node.becomes_ready().await;
    node.broker.publish(vec![trigger("2")]).await.unwrap();
    assert_eq!(node.recorder.seen(), ["2"]);
    node.end().await;
}

#[tokio::test]
async fn trouble_names_its_cause_and_no_secret() {
    let server = Server::start_with(
        "jetstream { store_dir: \"STORE\" }\nauthorization { user: u, password: richtig }",
    );
    let at = |url: String| NatsConfig {
        url,
        ..NatsConfig::default()
    };
    let host = format!("127.0.0.1:{}", server.port());
    for (config, cause, advice) in [
        (
            at(format!("nats://u:geheim@{host}")),
            "login was refused",
            "nats.credentials",
        ),
        (
            at(format!("nats://geheim@{host}")),
            "login was refused",
            "nats.token",
        ),
        (server.config(), "login was refused", "check the login"),
        (
            NatsConfig {
                nkey: Some("geheim".into()),
                ..server.config()
            },
            "login was refused",
            "nats.nkey",
        ),
        (
            NatsConfig {
                credentials: Some("geheim".into()),
                ..server.config()
            },
            "login was refused",
            "nats.credentials",
        ),
        (
            at("nats://u:geheim@127.0.0.1:1".into()),
            "Connection refused",
            "whether the server runs",
        ),
        (
            at(format!("tls://u:geheim@{host}")),
            "TLS cannot be used",
            "tls_ca_file",
        ),
        (
            NatsConfig {
                tls_ca_file: Some("/nowhere".into()),
                ..server.config()
            },
            "nats.tls_ca_file /nowhere",
            "tls_ca_file",
        ),
    ] {
        let found = probe(&config).await.unwrap_err();
        assert!(matches!(found, ProbeError::Unusable { .. }));
        let text = found.to_string();
        assert!(text.contains(cause) && text.contains(advice), "{text}");
        assert!(!text.contains("geheim") && !text.contains('\n'), "{text}");
        let node = start(&config);
        eventually(SOON, || node.broker.counts().failures >= 1).await;
        assert!(node.trouble().contains(cause), "{}", node.trouble());
        assert!(!node.trouble().contains("geheim"));
        node.end().await;
    }
    let debug = format!(
        "{:?}",
        Nats::new(&at(format!("nats://u:geheim@{host}"))).unwrap()
    );
    assert!(!debug.contains("geheim"), "{debug}");
    let right = at(format!("nats://u:richtig@{host}"));
    assert_eq!(
        probe(&right).await.unwrap().position,
        None,
        "and nothing was made"
    );
    assert_eq!(
        probe(&right).await.unwrap().position,
        None,
        "and nothing was made"
    );
    ready(&right).await.end().await;
    assert!(
        probe(&right)
            .await
            .unwrap()
            .position
            .is_some_and(|it| it > 0)
    );
}
