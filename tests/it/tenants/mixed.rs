//! A node that knows no tenants beside one with tenants, on one log.

use ht_testkit::rabbitmq::RabbitMq;
use ht_testkit::redis::Redis;
use serde_json::json;

use super::client;
use crate::rabbitmq::wait_for_ready;
use crate::support::{Gateway, Handshake, StubBackend};
use crate::tenants::kit::{Tenant, answering, gateway, publish};

/// What a tenant publishes and commands reaches nobody at a node that knows no tenants, whatever log
/// the two share. `setting`, `url`: the log.
fn expect_deaf_without_tenants(setting: &str, url: &str) {
    let tenants = [Tenant::new("acme")];
    let with = gateway(&tenants).set(setting, url).start();
    let backend = StubBackend::new(answering);
    let without = Gateway::with(&backend).set(setting, url).start();
    [&with, &without].into_iter().for_each(wait_for_ready);
    let connect = || {
        let mut client = Handshake::new(&without).path("/ws/?token=7").connect();
        client.subscribe(&json!({"n": 1}), "x");
        client
    };
    let (mut theirs, mut of_main) = (client(&with, &tenants[0]), connect());
    for record in [
        publish("of acme", "1"),
        json!({"command": "disconnect", "user": 7}),
    ] {
        let answer = tenants[0].post(&with, &record);
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    assert_eq!(theirs.expect_publish().0, "of acme");
    assert_eq!(theirs.expect_close(4303), "ended");
    // With the id of the one before, and a member that means nothing here.
    let mut own = publish("of main", "1");
    own["tenant"] = "acme".into();
    without.trigger(&own);
    assert_eq!(of_main.expect_publish().0, "of main");
    of_main.fence();
    without.wait_for_metric("high_templar_broker_of_tenants_total", 2);
    without.wait_for_line("this log carries tenants, and this node has none");
    without.wait_for_metric("high_templar_broker_rejected_total", 0);
}

#[test]
fn a_node_without_tenants_delivers_nothing_of_a_tenant_over_rabbitmq() {
    let vhost = RabbitMq::shared().vhost();
    expect_deaf_without_tenants("HT_RABBITMQ__URL", vhost.url());
}

#[test]
fn a_node_without_tenants_delivers_nothing_of_a_tenant_over_redis() {
    let redis = Redis::start();
    expect_deaf_without_tenants("HT_REDIS__URL", &redis.url());
}
