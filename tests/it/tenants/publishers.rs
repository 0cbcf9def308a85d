//! The keys of publishers, and the tenant that a request acts for.

use serde_json::{Value, json};

use super::client;
use crate::support::http;
use crate::tenants::kit::{ADMIN, Tenant, gateway, post, publish};

const HEADER: &str = "High-Templar-Tenant";

#[test]
fn a_key_acts_for_its_tenant_and_the_operators_key_for_the_one_that_is_named() {
    let tenants = [Tenant::new("acme"), Tenant::new("globex")];
    let gateway = gateway(&tenants).start();
    let [acme, _] = &tenants;
    let mut clients = tenants.each_ref().map(|it| client(&gateway, it));
    let record = |tenant: Value| {
        let mut record = publish("x", "");
        if let Some(record) = record.as_object_mut() {
            record.remove("id");
        }
        if !tenant.is_null() {
            record["tenant"] = tenant;
        }
        record
    };
    let (own, none) = (acme.secret(), Value::Null);
    // By the number of the tenant whose client gets it, or the status.
    for (key, header, tenant, expected) in [
        (&*own, None, none.clone(), Ok(0)),
        (&own, Some("acme"), none.clone(), Ok(0)),
        (&own, None, json!("acme"), Ok(0)),
        (&own, Some("globex"), none.clone(), Err(403)),
        (&own, None, json!("globex"), Err(403)),
        (&own, None, json!(7), Err(400)),
        (ADMIN, Some("globex"), none.clone(), Ok(1)),
        (ADMIN, None, json!("globex"), Ok(1)),
        (ADMIN, Some("acme"), json!("acme"), Ok(0)),
        (ADMIN, Some("acme"), json!("globex"), Err(403)),
        (ADMIN, Some("nobody"), none.clone(), Err(404)),
        (ADMIN, Some("No Name"), none.clone(), Err(400)),
        (ADMIN, None, json!("nobody"), Err(400)),
        (ADMIN, None, none.clone(), Err(400)),
        ("secret-of-nobody", None, none.clone(), Err(401)),
    ] {
        let headers: Vec<_> = header.iter().map(|name| (HEADER, *name)).collect();
        let answer = post(&gateway, key, &headers, &record(tenant.clone()));
        let found = match answer.status {
            200 => Ok(()),
            status => Err(status),
        };
        assert_eq!(
            found,
            expected.map(drop),
            "{key} {header:?} {tenant}: {answer:?}"
        );
        if let Ok(index) = expected {
            assert_eq!(clients[index].expect_publish().0, "x");
        }
        clients.iter_mut().for_each(|client| client.fence());
    }
}

#[test]
fn the_record_that_may_not_be_sent_is_named_and_none_is_sent() {
    let tenants = [Tenant::new("acme"), Tenant::new("globex")];
    let gateway = gateway(&tenants).start();
    let mut clients = tenants.each_ref().map(|it| client(&gateway, it));
    let mut theirs = publish("theirs", "2");
    theirs["tenant"] = "globex".into();
    let records = json!([publish("own", "1"), theirs, {"command": "disconnect", "everyone": true}]);
    let answer = tenants[0].post(&gateway, &records);
    assert_eq!(answer.status, 403, "{answer:?}");
    assert_eq!(answer.json()["trigger"], 1);
    clients.iter_mut().for_each(|client| client.fence());
}

#[test]
fn the_key_of_a_tenant_reads_nothing_of_the_others() {
    let tenants = [Tenant::new("acme"), Tenant::new("globex")];
    let gateway = gateway(&tenants).start();
    let own = format!("Bearer {}", tenants[0].secret());
    let admin = format!("Bearer {ADMIN}");
    for (path, statuses) in [
        ("/metrics", [403, 200]),
        ("/nodes/", [403, 200]),
        ("/position", [200, 200]),
        ("/live", [200, 200]),
    ] {
        let get = |key: &String| {
            let headers = [("Authorization", &**key)];
            http::request(gateway.internal(), "GET", path, &headers, b"").status
        };
        assert_eq!([get(&own), get(&admin)], statuses, "{path}");
    }
    let answer = http::request(gateway.internal(), "GET", "/metrics", &[], b"");
    assert_eq!(
        answer.status, 401,
        "where there are tenants nobody is let in without a key"
    );
}

#[test]
fn a_trigger_that_is_too_long_with_its_tenant_is_rejected_at_once() {
    let tenants = [Tenant::new("acme")];
    let gateway = gateway(&tenants)
        .set("HT_LIMITS__TRIGGER_BYTES", 1_024)
        .start();
    let mut client = client(&gateway, &tenants[0]);
    let empty = r#"{"tenant":"acme","tenant_rooms":[{"n":1}],"rooms":[],"data":""}"#.len();
    for (longer, status) in [(0, 200), (1, 413)] {
        let data = "x".repeat(1_024 - empty + longer);
        let answer = tenants[0].post(&gateway, &json!({"rooms": [{"n": 1}], "data": data}));
        assert_eq!(answer.status, status, "{answer:?}");
        if status == 200 {
            assert_eq!(client.expect_publish().0, data);
        }
    }
    client.fence();
}
