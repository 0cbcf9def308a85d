//! The adapter against a RabbitMQ that fails: stopped, killed, hung, or short of memory.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::io::Read;
use std::net::TcpListener;
use std::time::{Duration, Instant};

use ht_broker::AppendError;
use ht_testkit::eventually;
use ht_testkit::publisher::Publisher;

use crate::support::{EXCHANGE, Node, SOON, body, config, threads, trigger};

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
