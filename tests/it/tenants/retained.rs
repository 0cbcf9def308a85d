//! Tenants in a log that retains its records.

use ht_testkit::redis::Redis;
use serde_json::json;

use crate::rabbitmq::wait_for_ready;
use crate::tenants::kit::{Tenant, gateway, named, publish};

#[test]
fn what_a_node_reads_back_is_of_the_tenant_that_published_it() {
    let redis = Redis::start();
    let tenants = [Tenant::new("acme"), Tenant::new("globex")];
    let start = || {
        let gateway = gateway(&tenants).set("HT_REDIS__URL", redis.url()).start();
        wait_for_ready(&gateway);
        gateway
    };
    let events = "high-templar.v1, high-templar.events";
    let mut first = start();
    let mut client = named(tenants[0].handshake(&first), events).open();
    let cursor = client.expect_whole()["cursor"].clone();
    for tenant in &tenants {
        let answer = tenant.post(&first, &publish(tenant.name, "same"));
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    first.signal("KILL");
    first.wait_for_end();
    let second = start();
    for tenant in &tenants {
        let again = tenant.post(&second, &publish("again", "same"));
        assert_eq!(again.json()["duplicate"], true, "{}", tenant.name);
        let mut client = named(tenant.handshake(&second), events).open();
        client.expect_whole();
        client.send_json(&json!({
            "type": "subscribe", "room": {"n": 1}, "requestId": "x", "since": cursor,
        }));
        let answer = client.expect_whole();
        assert_eq!(answer["replayed"], 1, "{answer}");
        assert_eq!(client.expect_whole()["data"], tenant.name);
        client.fence();
    }
}
