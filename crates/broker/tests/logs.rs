//! Log lines during an outage, and what no log line contains.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::io;
use std::sync::{Arc, Mutex};

use ht_broker::rabbitmq::NOISY_TARGETS;
use ht_testkit::eventually;
use ht_testkit::publisher::Publisher;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

use crate::support::{EXCHANGE, Node, SOON, body, config};

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }

    fn lines(&self, part: &str) -> usize {
        self.text()
            .lines()
            .filter(|line| line.contains(part))
            .count()
    }
}

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

/// Alone in its binary: the log is global to the process.
#[tokio::test(flavor = "multi_thread")]
async fn an_outage_is_logged_once_and_no_secret_ever() {
    let log = Log::default();
    let quiet = NOISY_TARGETS
        .map(|target| format!(",{target}=off"))
        .concat();
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(format!("trace{quiet}")))
        .with_ansi(false)
        .with_writer(log.clone())
        .init();

    let server = ht_testkit::rabbitmq::RabbitMq::shared();
    let vhost = server.vhost();
    let wrong = Node::rabbitmq(config(&vhost.url().replace(":rabbitmq@", ":s3cret@")));
    eventually(SOON, || wrong.broker.counts().failures == 3).await;
    wrong.end().await;
    assert_eq!(log.lines("RabbitMQ is unavailable"), 1, "{}", log.text());
    assert_eq!(log.lines("wrong user or password"), 1, "{}", log.text());

    let node = Node::ready(vhost.url()).await;
    assert_eq!(log.lines("connected to RabbitMQ"), 1, "{}", log.text());
    vhost.close_connections();
    eventually(SOON, || log.lines("reconnected to RabbitMQ") == 1).await;
    assert_eq!(log.lines("RabbitMQ is unavailable"), 2, "{}", log.text());
    assert_eq!(log.lines("outage_seconds="), 1, "{}", log.text());

    let publisher = Publisher::connect(vhost.url(), EXCHANGE).await;
    publisher.publish_all(["s3cret"; 100]).await;
    publisher.publish(body("1")).await;
    node.sees("1").await;
    assert_eq!(log.lines("it is not a trigger"), 1, "{}", log.text());
    vhost.delete_exchange(EXCHANGE);
    eventually(SOON, || log.lines("has been restored") == 1).await;
    node.end().await;

    for secret in ["s3cret", "rabbitmq:rabbitmq"] {
        assert!(!log.text().contains(secret), "{}", log.text());
    }
}
