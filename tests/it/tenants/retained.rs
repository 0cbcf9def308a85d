//! Tenants in a log that retains its records.

use ht_testkit::redis::Redis;

use crate::rabbitmq::wait_for_ready;
use crate::tenants::kit::{Tenant, expect_recovered, gateway, publish_of_each};

#[test]
fn what_a_node_reads_back_is_of_the_tenant_that_published_it() {
    let redis = Redis::start();
    let tenants = [Tenant::new("acme"), Tenant::new("globex")];
    let start = || {
        let gateway = gateway(&tenants).set("HT_REDIS__URL", redis.url()).start();
        wait_for_ready(&gateway);
        gateway
    };
    let mut first = start();
    let cursor = publish_of_each(&first, &tenants);
    first.signal("KILL");
    first.wait_for_end();
    expect_recovered(&start(), &tenants, &cursor);
}
