//! A RabbitMQ that starts late, fails and restarts. Slow: it starts one of its own.

use ht_testkit::rabbitmq::RabbitMq;
use serde_json::json;

use crate::rabbitmq::{wait_for_not_ready, wait_for_ready};
use crate::support::rabbit::Rabbit;
use crate::support::{Client, Gateway, StubBackend};

#[test]
fn clients_outlive_every_outage_and_hear_what_comes_after_it() {
    let server = RabbitMq::start();
    let backend = StubBackend::open();
    let start = |is_ready| {
        let builder = Gateway::with(&backend).set("HT_RABBITMQ__URL", server.url());
        let gateway = builder.start();
        if is_ready {
            wait_for_ready(&gateway);
        }
        let mut client = Client::connect(&gateway);
        client.subscribe(&json!({"room": 1}), 1);
        (gateway, client)
    };
    let early = start(true);
    server.stop();
    // Started before its broker: it serves, but is not ready.
    let late = start(false);
    let mut nodes = [early, late];
    expect_outage(&mut nodes);

    server.start_again();
    expect_gaps(&mut nodes);
    let rabbit = nodes.each_ref().map(|_| {
        // A publisher that declares nothing.
        Rabbit::connect(server.url())
    });
    rabbit[0].publish(json!({"rooms": [{"room": 1}], "data": "amqp"}).to_string());
    nodes[1]
        .0
        .trigger(&json!({"rooms": [{"room": 1}], "data": "http"}));
    for (_, client) in &mut nodes {
        assert_eq!(client.expect_publish().0, "amqp");
        assert_eq!(client.expect_publish().0, "http");
    }

    server.kill();
    expect_outage(&mut nodes);
    for (gateway, _) in &nodes {
        assert!(gateway.metric("high_templar_broker_failures_total") >= 2);
        // The password in the url stays out of the log.
        assert!(
            !gateway.log().contains("rabbitmq:rabbitmq"),
            "{}",
            gateway.log()
        );
    }
    server.start_again();
    expect_gaps(&mut nodes);
    let [(early, _), (late, _)] = &nodes;
    let gaps = |gateway: &Gateway, reason| {
        gateway.metric(&format!("high_templar_gaps_total{{reason=\"{reason}\"}}"))
    };
    assert_eq!((gaps(early, "start"), gaps(early, "reconnect")), (0, 2));
    assert_eq!((gaps(late, "start"), gaps(late, "reconnect")), (1, 1));
}

/// The broker is back: clients that were connected are notified of a gap, also at the node that was
/// never connected before, and receive new publications once they have subscribed again.
#[track_caller]
fn expect_gaps(nodes: &mut [(Gateway, Client)]) {
    for (gateway, client) in nodes {
        wait_for_ready(gateway);
        let reason = client.expect_close(1012);
        assert!(reason.starts_with("gap "), "{reason}");
        *client = Client::connect(gateway);
        client.subscribe(&json!({"room": 1}), 1);
    }
}

/// The nodes serve their clients, but accept no triggers and report why.
#[track_caller]
fn expect_outage(nodes: &mut [(Gateway, Client)]) {
    for (gateway, client) in nodes {
        let reason = wait_for_not_ready(gateway);
        assert!(reason.contains("rabbitmq"), "{reason}");
        assert_eq!(gateway.get("/live").status, 200);
        let answer = gateway.post(json!({"rooms": [{"room": 1}], "data": "lost"}).to_string());
        assert_eq!(answer.status, 503, "{answer:?}");
        assert!(answer.header("retry-after").is_some(), "{answer:?}");
        client.fence();
    }
}
