//! A log in which nothing is published for longer than a node that starts reads back.

use ht_testkit::redis::Redis;
use serde_json::json;

use crate::rabbitmq::wait_for_ready;
use crate::support::Gateway;
use crate::tickets::{EVENTS, Page, api, connect, gateway, named, ping};

#[test]
fn a_cursor_stays_good_at_a_node_that_starts_in_a_quiet_log() {
    let (server, backend) = (Redis::start(), api());
    let node = || -> Gateway {
        let node = gateway(&backend)
            .set("HT_REDIS__URL", server.url())
            .set("HT_NODES__BEACON", "200ms")
            .set("HT_NODES__LEASE", "10s")
            .set("HT_LIMITS__TRIGGER_IDS", 0)
            .set("HT_WINDOW__AGE", "2s")
            .start();
        wait_for_ready(&node);
        node
    };
    let before = node();
    let publish =
        |node: &Gateway, data: &str| node.trigger(&json!({"rooms": [{"n": 1}], "data": data}));
    publish(&before, "the last");
    let (mut client, mut page, _) = connect(&before, "7", EVENTS);
    ping(&mut client, &mut page);
    before.wait_for_metric("high_templar_window_entries", 0);
    // It reads no publication, and what the other one notes.
    let late = node();
    let calls = backend.requests().len();
    let (mut client, _, first) = connect(&late, "7", &named(&page.offered()));
    assert_eq!(first["resumed"], true, "{first}");
    assert_eq!(backend.requests().len(), calls, "no call");
    assert_eq!(first["cursor"], page.cursor, "it gives the same");
    publish(&late, "missed");
    let resume = |page: &Page| {
        json!({
            "type": "resume", "requestId": 0, "cursor": page.cursor,
            "subscriptions": [{"requestId": 1, "room": {"n": 1}}],
        })
    };
    client.send_json(&resume(&page));
    let answer = client.expect_whole();
    assert_eq!(answer["recovered"], true, "{answer}");
    assert_eq!(client.expect_publish(), (json!("missed"), json!(1)));
}
