//! The adapter against a RabbitMQ that fails: stopped, killed, hung, or short of memory.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::collections::HashSet;
use std::io::Read;
use std::net::TcpListener;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use ht_broker::rabbitmq::RabbitMqStream;
use ht_broker::{AppendError, Broker};
use ht_testkit::eventually;
use ht_testkit::publisher::Publisher;

use crate::support::{EXCHANGE, Node, SOON, body, config, parse, stream_config, threads, trigger};

type Server = ht_testkit::rabbitmq::RabbitMq;

/// Heartbeats that notice a dead peer after two seconds.
fn quick(url: &str) -> String {
    format!("{url}?heartbeat=1")
}

/// A trigger from the backend and one of our own arrive.
async fn works(node: &Node, url: &str, data: &str) {
    node.becomes_ready().await;
    let publisher = Publisher::connect(url, EXCHANGE).await;
    publisher.publish(body(data)).await;
    node.sees(data).await;
    let places = node.broker.publish(vec![trigger("\"own\"")]).await.unwrap();
    assert_eq!(places[0].position.get(), node.recorder.count() as u64);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_broker_comes_back() {
    let server = Server::start();
    let node = Node::ready(server.url()).await;
    works(&node, server.url(), "1").await;

    server.stop();
    node.becomes_not_ready().await;
    let outcome = node.broker.publish(vec![trigger("0")]).await;
    assert!(
        matches!(outcome, Err(AppendError::Unavailable(_))),
        "{outcome:?}"
    );
    eventually(SOON, || node.trouble().contains("connection refused")).await;

    let late = Node::rabbitmq(config(server.url()));
    eventually(SOON, || late.trouble().contains("connection refused")).await;

    server.start_again();
    works(&node, server.url(), "2").await;
    works(&late, server.url(), "3").await;
    assert!(node.broker.counts().failures >= 2);
    node.end().await;
    late.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_broker_and_a_hung_one_come_back() {
    let server = Server::start();
    let node = Node::ready(&quick(server.url())).await;
    works(&node, server.url(), "1").await;

    server.kill();
    node.becomes_not_ready().await;
    server.start_again();
    works(&node, server.url(), "2").await;

    // Nothing is closed and nothing responds: only the heartbeats detect it.
    server.pause();
    // A probe in flight when the connection is lost is not read back.
    let (outcome, probe) =
        tokio::join!(node.broker.publish(vec![trigger("0")]), node.broker.probe());
    assert!(
        matches!(outcome, Err(AppendError::Unconfirmed { .. })),
        "{outcome:?}"
    );
    assert!(probe.is_err(), "{probe:?}");
    node.becomes_not_ready().await;
    server.resume();
    works(&node, server.url(), "3").await;
    node.broker.probe().await.unwrap();

    holds_through_a_memory_alarm(&server).await;
    node.end().await;
}

/// The alarm blocks connections that publish. Queued messages must still be consumed, or the broker
/// would never free its memory.
async fn holds_through_a_memory_alarm(server: &Server) {
    let mut config = config(server.url());
    config.prefetch = 10;
    config.publish_timeout = Duration::from_secs(1);
    let node = Node::rabbitmq(config);
    node.becomes_ready().await;
    let publisher = Publisher::connect(server.url(), EXCHANGE).await;
    let held = node.recorder.hold().await;
    publisher
        .publish_all((0..1_000).map(|n: u32| body(&n.to_string())))
        .await;
    let alarm = "{{resource_limit, memory, node()}, []}";
    let _ = server.eval(&format!("rabbit_alarm:set_alarm({alarm})"));
    let blocked = node.broker.publish(vec![trigger("\"blocked\"")]).await;
    assert!(blocked.is_err());
    drop(held);
    eventually(SOON, || node.recorder.has("999")).await;
    assert!(node.is_ready());
    let _ = server.eval("rabbit_alarm:clear_alarm({resource_limit, memory, node()})");
    let mut places = node.broker.publish(vec![trigger("\"after\"")]).await;
    let deadline = Instant::now() + SOON;
    while places.is_err() && Instant::now() < deadline {
        places = node.broker.publish(vec![trigger("\"after\"")]).await;
    }
    assert!(places.is_ok(), "{places:?}");
    node.end().await;
}

/// The listener accepts the connection and sends nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_silent_peer_is_left_without_a_trace() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let node = Node::rabbitmq(config(&format!("amqp://127.0.0.1:{port}")));
    let (mut socket, _) = tokio::task::spawn_blocking(move || listener.accept())
        .await
        .unwrap()
        .unwrap();
    let mut header = [0; 8];
    socket.read_exact(&mut header).unwrap();
    assert_eq!(&header, b"AMQP\0\0\x09\x01");
    node.end().await;
    // The socket is closed, not kept by a thread that waits for ever.
    socket.set_read_timeout(Some(SOON)).unwrap();
    assert_eq!(socket.read(&mut header).unwrap(), 0);
    eventually(SOON, || threads("lapin-io-loop") == 0).await;
}

/// Something else listens there, and hangs up.
#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_is_no_broker_is_named() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for socket in listener.incoming() {
            let _ =
                std::io::Write::write_all(&mut socket.unwrap(), b"HTTP/1.1 400 Bad Request\r\n");
        }
    });
    let node = Node::rabbitmq(config(&format!("amqp://127.0.0.1:{port}")));
    eventually(SOON, || node.broker.counts().failures >= 2).await;
    assert!(!node.trouble().is_empty());
    node.end().await;
    eventually(SOON, || threads("lapin-io-loop") == 0).await;
}

/// A server needs so long to be able to restore a stream that was declared just now.
const SETTLED: Duration = Duration::from_secs(3);

/// A node that reads the stream.
async fn reads_stream(url: &str) -> Node {
    let log = RabbitMqStream::new(&config(url), stream_config()).unwrap();
    let broker = Broker::new(Arc::new(log), parse(), Duration::from_secs(5));
    let node = Node::run(broker);
    node.becomes_ready().await;
    node
}

/// The numbers that were published and accepted.
#[derive(Default)]
struct Load {
    next: AtomicU32,
    accepted: Mutex<Vec<u32>>,
    ends: AtomicBool,
}

impl Load {
    async fn publish(&self, broker: &Broker) {
        while !self.ends.load(Ordering::Relaxed) {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            let published = broker.publish(vec![trigger(&number.to_string())]).await;
            if published.is_ok() {
                self.accepted.lock().unwrap().push(number);
            } else {
                // As a publisher does that is told to come back later.
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    }

    fn count(&self) -> usize {
        self.accepted.lock().unwrap().len()
    }
}

/// Also while the server starts, when it confirms what no stream gets, and with the queue of an
/// older gateway beside the stream, which gets everything.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_kills_lose_nothing_that_was_accepted() {
    let server = Server::start();
    let url = server.url();
    let nodes = [reads_stream(url).await, reads_stream(url).await];
    let old = Node::ready(url).await;
    tokio::time::sleep(SETTLED).await;
    let load = Arc::new(Load::default());
    let publishers: Vec<_> = (0..8)
        .map(|_| {
            let (load, broker) = (Arc::clone(&load), Arc::clone(&nodes[0].broker));
            tokio::spawn(async move { load.publish(&broker).await })
        })
        .collect();
    for _ in 0..5 {
        let before = load.count();
        eventually(SOON, || load.count() > before + 100).await;
        tokio::task::block_in_place(|| {
            server.kill();
            server.start_again();
        });
    }
    let before = load.count();
    eventually(2 * SOON, || load.count() > before + 100).await;
    load.ends.store(true, Ordering::Relaxed);
    for publisher in publishers {
        publisher.await.unwrap();
    }
    for node in &nodes {
        eventually(SOON, || node.is_ready()).await;
    }
    nodes[0]
        .broker
        .publish(vec![trigger("\"last\"")])
        .await
        .unwrap();
    let [first, second] = &nodes;
    first.sees("\"last\"").await;
    second.sees("\"last\"").await;
    let seen = second.recorder.seen();
    assert_eq!(seen, first.recorder.seen(), "one order");
    let distinct: HashSet<_> = seen.iter().collect();
    assert_eq!(distinct.len(), seen.len(), "none twice");
    let accepted = load.accepted.lock().unwrap().clone();
    let lost = accepted
        .iter()
        .filter(|n| !distinct.contains(&n.to_string()));
    assert_eq!(lost.count(), 0, "of {}", accepted.len());
    for node in &nodes {
        // Neither deaf nor another log: positions are good all the time.
        assert_eq!(
            node.recorder.epochs().len(),
            1,
            "{:?}",
            node.recorder.epochs()
        );
        assert!(node.recorder.interruptions().is_empty());
    }
    for node in nodes.into_iter().chain([old]) {
        node.end().await;
    }
}

/// Nothing is closed and nothing responds, for as long as it takes until the node goes elsewhere. What
/// was under way is unknown to its publisher, and is delivered once or not at all.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hung_broker_ends_the_wait_of_publishers_to_a_stream() {
    let server = Server::start();
    let nodes = [
        reads_stream(&quick(server.url())).await,
        reads_stream(&quick(server.url())).await,
    ];
    let [node, other] = &nodes;
    node.broker.publish(vec![trigger("1")]).await.unwrap();
    server.pause();
    let outcome = node.broker.publish(vec![trigger("2")]).await;
    assert!(
        matches!(outcome, Err(AppendError::Unconfirmed { .. })),
        "{outcome:?}"
    );
    node.becomes_not_ready().await;
    let outcome = node.broker.publish(vec![trigger("0")]).await;
    assert!(
        matches!(outcome, Err(AppendError::Unavailable(_))),
        "{outcome:?}"
    );
    server.resume();
    node.becomes_ready().await;
    node.broker.publish(vec![trigger("3")]).await.unwrap();
    for node in [node, other] {
        node.sees("3").await;
        let seen = node.recorder.seen();
        assert!(seen == ["1", "2", "3"] || seen == ["1", "3"], "{seen:?}");
        assert_eq!(node.recorder.epochs().len(), 1, "the same log");
        assert!(node.recorder.interruptions().is_empty());
    }
    for node in nodes {
        node.end().await;
    }
}
