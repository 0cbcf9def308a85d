//! Two tenants and `main` with everything equal, under load.

use std::thread;

use serde_json::{Value, json};

use super::client;
use crate::support::{Client, Gateway, Handshake, StubBackend};
use crate::tenants::kit::{ADMIN, Tenant, answering, gateway, post};

/// Requests of each publisher, and triggers in each.
const REQUESTS: usize = 8;
const TRIGGERS: usize = 40;

/// Clients of each tenant.
const CLIENTS: usize = 3;

/// Posts the same triggers as all others, but for their data, and a command after each request that
/// changes nothing for clients of this tenant.
fn publish_all(gateway: &Gateway, key: &str, name: &str) {
    for request in 0..REQUESTS {
        let records: Vec<_> = (0..TRIGGERS)
            .map(|number| {
                json!({
                    "rooms": [{"n": 1}, {"n": "*"}],
                    "data": {"of": name, "number": request * TRIGGERS + number},
                    "id": format!("{request}-{number}"),
                })
            })
            .collect();
        let answer = post(gateway, key, &[], &Value::from(records));
        assert_eq!(answer.status, 200, "{answer:?}");
        let places = answer.json();
        let places = places.as_array().expect("a list");
        assert!(
            places.iter().all(|place| place["duplicate"].is_null()),
            "{name}: {places:?}"
        );
        for command in [
            json!({"command": "unsubscribe", "user": 8, "from": [{"n": 1}]}),
            json!({"command": "permit", "user": 7, "allowed_rooms": [{"n": "*"}], "labels": ["all"]}),
            json!({"command": "invalidate", "label": "all"}),
        ] {
            assert_eq!(post(gateway, key, &[], &command).status, 200);
        }
    }
}

/// Reads all publications of a tenant, which must be its own, in their order.
fn read_all(mut client: Client, name: &str) {
    for number in 0..REQUESTS * TRIGGERS {
        let (data, request_id) = client.expect_publish();
        assert_eq!(data, json!({"of": name, "number": number}));
        assert_eq!(request_id, "x");
    }
    client.fence();
}

#[test]
fn nothing_crosses_under_load() {
    let tenants = [Tenant::new("acme"), Tenant::new("globex")];
    let main = StubBackend::new(answering);
    let gateway = gateway(&tenants)
        .set("HT_BACKEND__URL", &main.url)
        .set("HT_TENANTS__DEFAULT", "main")
        .start();
    let of_main = || {
        let mut client = Handshake::new(&gateway).path("/ws/?token=7").connect();
        client.subscribe(&json!({"n": 1}), "x");
        client
    };
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        clients.push((of_main(), "main"));
        for tenant in &tenants {
            clients.push((client(&gateway, tenant), tenant.name));
        }
    }
    let [acme, globex] = tenants.each_ref().map(Tenant::secret);
    thread::scope(|scope| {
        for (key, name) in [(ADMIN, "main"), (&acme, "acme"), (&globex, "globex")] {
            let gateway = &gateway;
            scope.spawn(move || publish_all(gateway, key, name));
        }
        for (client, name) in clients {
            scope.spawn(move || read_all(client, name));
        }
    });
    let calls = tenants.each_ref().map(|it| it.backend.requests().len());
    assert!(calls.iter().all(|calls| *calls > CLIENTS), "{calls:?}");
    assert!(main.requests().len() > CLIENTS);
}
