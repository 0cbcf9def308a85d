//! Findings of `high-templar check` about a broker.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use ht_broker::rabbitmq::probe;
use lapin::options::ExchangeDeclareOptions;
use lapin::types::FieldTable;
use lapin::{Connection, ConnectionProperties, ExchangeKind};

use crate::support::{EXCHANGE, Node, config};

type Server = ht_testkit::rabbitmq::RabbitMq;

#[tokio::test(flavor = "multi_thread")]
async fn a_fresh_virtual_host_is_fine_and_stays_fresh() {
    let vhost = Server::shared().vhost();
    let report = probe(&config(vhost.url())).await.unwrap();
    assert!(!report.exchange_existed);
    assert_eq!(report.notes, [""; 0]);
    assert_eq!(report.endpoint.vhost, vhost.name());
    assert!(!vhost.has_exchange(EXCHANGE));
    assert!(vhost.queues().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_at_work_is_not_disturbed() {
    let vhost = Server::shared().vhost();
    let node = Node::ready(vhost.url()).await;
    let report = probe(&config(vhost.url())).await.unwrap();
    assert!(report.exchange_existed);
    assert_eq!(vhost.queues().len(), 1);
    assert_eq!(node.broker.counts().received, 0);
    assert!(node.is_ready());
    node.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_kind_of_exchange_is_noted() {
    let vhost = Server::shared().vhost();
    let connection = Connection::connect(vhost.url(), ConnectionProperties::default())
        .await
        .unwrap();
    let options = ExchangeDeclareOptions {
        durable: true,
        ..ExchangeDeclareOptions::default()
    };
    let channel = connection.create_channel().await.unwrap();
    channel
        .exchange_declare(
            EXCHANGE.into(),
            ExchangeKind::Direct,
            options,
            FieldTable::default(),
        )
        .await
        .unwrap();
    let report = probe(&config(vhost.url())).await.unwrap();
    assert!(report.exchange_existed);
    assert_eq!(report.notes.len(), 1);
    assert!(report.notes[0].contains("durable"), "{:?}", report.notes);
    // Without the right to declare it, an exchange that is there will do.
    vhost.permit("^hightemplar_", "^hightemplar", "^hightemplar");
    let report = probe(&config(vhost.url())).await.unwrap();
    assert_eq!(report.notes.len(), 1);
    connection.close(200, "OK".into()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn each_failure_names_the_step_and_what_to_do() {
    let server = Server::shared();
    let vhost = server.vhost();
    let url = vhost.url().to_owned();
    let port = server.port();
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let nobody = closed.local_addr().unwrap().port();
    drop(closed);
    for (permissions, url, expected) in [
        (
            None,
            url.replace(":rabbitmq@", ":s3cret@"),
            "cannot connect: wrong user or password",
        ),
        (
            None,
            format!("amqp://rabbitmq:rabbitmq@127.0.0.1:{port}/nowhere"),
            "add_vhost",
        ),
        (
            None,
            format!("amqp://127.0.0.1:{nobody}"),
            "whether the broker runs",
        ),
        (None, "http://x".to_owned(), "must start with amqp"),
        (
            Some(("^$", ".*", ".*")),
            url.clone(),
            "cannot declare the exchange",
        ),
        (
            Some(("^hightemplar$", ".*", ".*")),
            url.clone(),
            "cannot declare a queue",
        ),
        (
            Some((".*", ".*", "^hightemplar_")),
            url.clone(),
            "cannot bind a queue",
        ),
        (
            Some((".*", "^hightemplar_", ".*")),
            url.clone(),
            "cannot publish to the exchange",
        ),
    ] {
        if let Some((configure, write, read)) = permissions {
            vhost.permit(configure, write, read);
        }
        let error = probe(&config(&url)).await.unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
        assert!(!error.contains("s3cret"), "{error}");
    }
}
