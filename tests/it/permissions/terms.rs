//! Permissions with a term.

use serde_json::{Value, json};

use super::{admit, api, bootstraps, listener, permissions, publish, rooms, subscribe};
use crate::support::{Client, Gateway, Reply, eventually};

/// Admits the user to these rooms for so many seconds.
fn admit_for(seconds: u64, numbers: &[u64]) -> Reply {
    let allowed = rooms(numbers);
    let body = json!({"allowed_rooms": allowed, "user": {"id": "7"}, "expires_in": seconds});
    Reply::json("200 OK", body.to_string())
}

fn asked(gateway: &Gateway) -> u64 {
    gateway.metric(r#"high_templar_permissions_asked_total{reason="expiry"}"#)
}

#[test]
fn the_api_is_queried_once_in_the_last_fifth_of_a_term_and_its_answer_gives_the_next() {
    let (backend, answer) = api(admit_for(2, &[1]));
    let gateway = Gateway::start(&backend);
    let mut client = listener(&gateway);
    subscribe(&mut client, 1);
    let begun = std::time::Instant::now();
    answer.set(admit_for(3, &[1]));
    backend.wait_for(2);
    let first = begun.elapsed().as_secs_f64();
    assert!((1.5..3.5).contains(&first), "{first}");
    answer.set(admit("7", &rooms(&[1, 2])));
    assert_eq!(client.expect_json(), permissions(&[1, 2]));
    let second = begun.elapsed().as_secs_f64() - first;
    assert!((2.3..4.5).contains(&second), "{second}");
    assert_eq!(bootstraps(&backend.requests()), 3);
    assert!(asked(&gateway) >= 2);
    publish(&gateway, 1, &json!("x"));
    assert_eq!(client.expect_publish().0, "x");
}

#[test]
fn an_answer_without_a_term_ends_it() {
    let (backend, answer) = api(admit_for(1, &[1]));
    let gateway = Gateway::start(&backend);
    let mut forever = listener(&gateway);
    answer.set(admit("7", &rooms(&[1])));
    backend.wait_for(2);
    // Another client's longer term shows that time passes.
    answer.set(admit_for(2, &[1]));
    let mut other = listener(&gateway);
    answer.set(admit("7", &rooms(&[1, 2])));
    assert_eq!(other.expect_json(), permissions(&[1, 2]));
    assert_eq!(bootstraps(&backend.requests()), 4);
    forever.fence();
}

#[test]
fn permissions_without_a_newer_answer_end_after_the_grace_period() {
    let (backend, answer) = api(admit_for(1, &[1]));
    let gateway = Gateway::with(&backend)
        .set("HT_PERMISSIONS__GRACE", "1s")
        .start();
    let mut client = listener(&gateway);
    subscribe(&mut client, 1);
    answer.set(Reply::Reset);
    eventually("a held client", || {
        (gateway.metric("high_templar_connections_held") == 1).then_some(())
    });
    publish(&gateway, 1, &json!("never"));
    assert_eq!(client.expect_close(4002), "permissions");
}

#[test]
fn the_longest_term_applies_where_the_api_gives_none() {
    let (backend, answer) = api(admit("7", &rooms(&[1])));
    let gateway = Gateway::with(&backend)
        .set("HT_PERMISSIONS__MAX_AGE", "1s")
        .start();
    let mut client = listener(&gateway);
    answer.set(admit("7", &rooms(&[2])));
    assert_eq!(client.expect_json(), permissions(&[2]));
}

#[test]
fn a_permit_may_have_a_term() {
    let (backend, answer) = api(admit("7", &rooms(&[1])));
    let gateway = Gateway::start(&backend);
    let mut client = listener(&gateway);
    answer.set(admit("7", &rooms(&[3])));
    let permit = json!({
        "command": "permit", "user": "7", "allowed_rooms": rooms(&[2]), "expires_in": 1,
    });
    assert_eq!(gateway.trigger(&permit)["matched"], 1);
    assert_eq!(client.expect_json(), permissions(&[2]));
    assert_eq!(client.expect_json(), permissions(&[3]));
    assert!(asked(&gateway) >= 1);
}

#[test]
fn a_span_spreads_the_calls_of_an_invalidate() {
    let (backend, answer) = api(admit("7", &rooms(&[1])));
    let gateway = Gateway::start(&backend);
    let mut clients: Vec<Client> = (0..5).map(|_| listener(&gateway)).collect();
    for client in &mut clients {
        subscribe(client, 1);
    }
    answer.set(admit("7", &rooms(&[1, 2])));
    let command = json!({"command": "invalidate", "user": "7", "within": 2_000});
    assert_eq!(gateway.trigger(&command)["matched"], 5);
    // Until their own moment they receive publications as before.
    publish(&gateway, 1, &json!("x"));
    for client in &mut clients {
        let mut received: Vec<Value> = (0..2).map(|_| client.expect_json()).collect();
        received.sort_by_key(|message| message["type"] == "publish");
        assert_eq!(received[0], permissions(&[1, 2]));
        assert_eq!(received[1]["data"], "x");
    }
}
