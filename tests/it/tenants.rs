//! Several tenants behind one gateway: whose a client is, and that two with everything equal never
//! meet.

mod answers;
mod changes;
mod hooks;
mod hosts;
mod kit;
mod limits;
mod load;
mod mixed;
mod own_logs;
mod publishers;
mod retained;
mod streams;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ht_testkit::rabbitmq::RabbitMq;
use serde_json::{Value, json};

use crate::rabbitmq::wait_for_ready;
use crate::support::rabbit::Rabbit;
use crate::support::{Client, Gate, Gateway, Handshake, Reply, StubBackend};
use crate::tenants::kit::{EVENTS, Tenant, gateway, named, publish};

/// The subprotocols of a client that offers a ticket, its cursor and its proof.
fn resume_names(offered: &[String; 3]) -> String {
    let encoded = URL_SAFE_NO_PAD.encode(offered.join("."));
    format!("high-templar.v1, high-templar.resume.{encoded}")
}

/// A client of a tenant with everything that those of the other tenants have, too.
fn client(gateway: &Gateway, tenant: &Tenant) -> Client {
    let mut client = tenant.handshake(gateway).connect();
    client.subscribe(&json!({"n": 1}), "x");
    client
}

#[test]
fn host_path_and_key_name_the_tenant() {
    let tenants = [Tenant::new("acme"), Tenant::new("globex")];
    let gateway = gateway(&tenants).start();
    let to = |host: &str, path: &str| {
        let handshake = Handshake::new(&gateway).without("Host");
        handshake.header("Host", host).path(path)
    };
    let calls = || tenants.each_ref().map(|it| it.backend.requests().len());
    let mut expected = [0, 0];
    for (host, path, names, tenant) in [
        ("acme.test", "/ws/", "", 0),
        ("acme.test:8443", "/ws/", "", 0),
        ("ACME.Test", "/ws/", "", 0),
        ("acme.test.", "/ws/", "", 0),
        ("Acme.test.:80", "/ws", "", 0),
        ("xn--bcher-kva-acme.test", "/ws/", "", 0),
        ("XN--BCHER-KVA-ACME.TEST:80", "/ws/", "", 0),
        ("gateway.test", "/t/globex/ws/", "", 1),
        ("globex.test", "/t/globex/ws/", "", 1),
        ("gateway.test", "/ws/?key=pk_globex", "", 1),
        (
            "gateway.test",
            "/ws/",
            "high-templar.v1, high-templar.key.pk_globex",
            1,
        ),
        (
            "globex.test",
            "/ws/?key=pk_globex",
            "high-templar.key.pk_globex",
            1,
        ),
        ("acme.test", "/ws/?key=pk_nobody", "", 0),
    ] {
        let mut handshake = to(host, path);
        if !names.is_empty() {
            handshake = handshake.header("Sec-WebSocket-Protocol", names);
        }
        let (answer, mut client) = handshake.send().answer();
        assert_eq!(answer.status, 101, "{host} {path} {names}: {answer:?}");
        let selected = answer.header("sec-websocket-protocol");
        let is_v1 = names.contains("high-templar.v1");
        assert_eq!(
            selected,
            is_v1.then_some("high-templar.v1"),
            "the key is not echoed"
        );
        assert_eq!(client.expect_whole()["is_authorized"], true);
        expected[tenant] += 1;
        assert_eq!(calls(), expected, "{host} {path} {names}");
    }
    for (host, path, status) in [
        ("gateway.test", "/ws/", 404),
        ("acme.test.evil.test", "/ws/", 404),
        ("gateway.test", "/t/nobody/ws/", 404),
        ("gateway.test", "/ws/?key=pk_nobody", 404),
        ("acme.test", "/t/globex/ws/", 400),
        ("acme.test", "/ws/?key=pk_globex", 400),
        ("gateway.test", "/ws/?key=pk_acme&key=pk_globex", 400),
    ] {
        let answer = to(host, path).refused();
        assert_eq!(answer.status, status, "{host} {path}: {answer:?}");
        let text = answer.text();
        assert!(!text.contains("acme") && !text.contains("pk_"), "{text}");
    }
    assert_eq!(calls(), expected);
    gateway.wait_for_line("rejecting clients that belong to no tenant");
}

#[test]
fn no_tenant_takes_the_path_of_all() {
    let tenants = [
        Tenant::new("acme"),
        Tenant::new("globex").line(r#"path = "/ws""#),
    ];
    let gateway = gateway(&tenants).start();
    let to = |host: &str| {
        let handshake = Handshake::new(&gateway).without("Host");
        handshake.header("Host", host).path("/ws/")
    };
    assert_eq!(to("acme.test").send().answer().0.status, 101);
    assert_eq!(to("gateway.test").refused().status, 404);
    let calls = tenants.each_ref().map(|it| it.backend.requests().len());
    assert_eq!(calls, [1, 0]);
}

#[test]
fn who_names_nobody_belongs_to_the_default() {
    let tenants = [Tenant::new("acme")];
    let gateway = gateway(&tenants).set("HT_TENANTS__DEFAULT", "acme").start();
    Handshake::new(&gateway).connect();
    assert_eq!(tenants[0].backend.requests().len(), 1);
}

#[test]
fn each_tenant_has_its_own_origins_and_forwards_its_own_headers() {
    let tenants = [
        Tenant::new("acme").line("origins = {allow = [\"https://app.acme.test\"]}"),
        Tenant::new("globex").line("origins = {allow = [\"https://app.globex.test\"]}"),
    ];
    let gateway = gateway(&tenants).start();
    for (tenant, origin, status) in [
        (0, "https://app.acme.test", 101),
        (0, "https://app.globex.test", 403),
        (1, "https://app.globex.test", 101),
        (1, "https://app.acme.test", 403),
        (1, "https://globex.test", 101),
    ] {
        let handshake = tenants[tenant].handshake(&gateway);
        let (answer, _client) = handshake.header("Origin", origin).send().answer();
        assert_eq!(answer.status, status, "{tenant} {origin}");
    }
}

/// Has both tenants publish the same, and checks that the clients of each get only their own.
#[track_caller]
fn expect_own(clients: &mut [(&Tenant, Client)], gateway: &Gateway) {
    for (tenant, _) in &*clients {
        let answer = tenant.post(gateway, &publish(tenant.name, "same"));
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(
            answer.json()["duplicate"],
            Value::Null,
            "the id is another one"
        );
        let again = tenant.post(gateway, &publish("again", "same"));
        assert_eq!(again.json()["duplicate"], true, "its own id is known");
    }
    for (tenant, client) in clients {
        assert_eq!(client.expect_publish(), (json!(tenant.name), json!("x")));
        client.fence();
    }
}

#[test]
fn equal_rooms_users_and_ids_of_two_tenants_never_meet() {
    let tenants = [Tenant::new("acme"), Tenant::new("globex")];
    let gateway = gateway(&tenants).start();
    let mut clients = tenants.each_ref().map(|it| (it, client(&gateway, it)));
    expect_own(&mut clients, &gateway);
    for (_, client) in &mut clients {
        let status = client.status();
        assert_eq!(status["open_connections"], 1, "{status}");
        assert_eq!(status["num_rooms"], 1, "{status}");
        assert_eq!(status["ws_messages_send"], 1, "{status}");
    }
}

#[test]
fn a_command_means_the_clients_of_its_tenant_alone() {
    let tenants = [Tenant::new("acme"), Tenant::new("globex")];
    let gateway = gateway(&tenants).start();
    let [acme, other] = &tenants;
    let mut theirs = client(&gateway, other);
    for selector in [
        json!({"user": 7}),
        json!({"session": "s-7"}),
        json!({"label": "all"}),
        json!({"room": {"n": 1}}),
        json!({"room": {"n": "*"}}),
        json!({"everyone": true}),
    ] {
        let mut own = client(&gateway, acme);
        let mut command = selector.clone();
        command["command"] = "disconnect".into();
        command["dry_run"] = true.into();
        assert_eq!(
            acme.post(&gateway, &command).json()["matched"],
            1,
            "{command}"
        );
        command["dry_run"] = false.into();
        command["confirm"] = "everywhere".into();
        let answer = acme.post(&gateway, &command).json();
        assert_eq!(
            (&answer["matched"], &answer["done"]),
            (&json!(1), &json!(true)),
            "{command}"
        );
        assert_eq!(own.expect_close(4303), "ended");
        theirs.fence();
    }
    // A connection of another tenant, by its id, which an error names.
    let mut own = client(&gateway, acme);
    own.send_json(&json!({"type": "who-am-i"}));
    let id = own.expect_whole()["requestId"].clone();
    assert!(id.is_string(), "{id}");
    for (tenant, matched) in [(other, 0), (acme, 1)] {
        let command = json!({"command": "disconnect", "connection": id});
        assert_eq!(tenant.post(&gateway, &command).json()["matched"], matched);
    }
    own.expect_close(4303);
    let unsubscribe = json!({"command": "unsubscribe", "everyone": true, "from": [{"n": "*"}]});
    assert_eq!(acme.post(&gateway, &unsubscribe).status, 200);
    let permit = json!({"command": "permit", "user": 7, "allowed_rooms": []});
    assert_eq!(acme.post(&gateway, &permit).json()["matched"], 0);
    let invalidate = json!({"command": "invalidate", "everyone": true});
    let calls = other.backend.requests().len();
    assert_eq!(acme.post(&gateway, &invalidate).status, 200);
    expect_own(&mut [(other, theirs)], &gateway);
    assert_eq!(other.backend.requests().len(), calls);
}

#[test]
fn an_invalidate_asks_the_api_of_its_tenant() {
    let tenants = [Tenant::new("acme"), Tenant::new("globex")];
    let gateway = gateway(&tenants).start();
    let mut clients = tenants.each_ref().map(|it| client(&gateway, it));
    for (tenant, client) in tenants.iter().zip(&mut clients) {
        let before = tenants.each_ref().map(|it| it.backend.requests().len());
        let command = json!({"command": "invalidate", "user": 7});
        assert_eq!(tenant.post(&gateway, &command).json()["matched"], 1);
        tenant.backend.wait_for(2);
        client.fence();
        let after = tenants.each_ref().map(|it| it.backend.requests().len());
        assert_eq!(
            after.iter().sum::<usize>(),
            before.iter().sum::<usize>() + 1
        );
    }
}

#[test]
fn who_comes_back_gets_what_its_own_tenant_published() {
    let tenants = [Tenant::new("acme"), Tenant::new("globex")];
    let gateway = gateway(&tenants).start();
    let [acme, other] = &tenants;
    let mut own = named(acme.handshake(&gateway), EVENTS).open();
    let cursor = own.expect_whole()["cursor"].clone();
    drop(own);
    for (tenant, data) in [(acme, "acme"), (other, "globex"), (acme, "acme again")] {
        assert_eq!(tenant.post(&gateway, &publish(data, data)).status, 200);
    }
    for (tenant, expected) in [(acme, &["acme", "acme again"][..]), (other, &["globex"])] {
        let mut client = named(tenant.handshake(&gateway), EVENTS).open();
        client.expect_whole();
        client.send_json(&json!({
            "type": "subscribe", "room": {"n": 1}, "requestId": "x", "since": cursor,
        }));
        let answer = client.expect_whole();
        assert_eq!(answer["replayed"], expected.len(), "{answer}");
        for data in expected {
            assert_eq!(client.expect_whole()["data"], *data);
        }
        client.fence();
    }
}

#[test]
fn a_ticket_of_one_tenant_is_none_at_another() {
    let tenants = [Tenant::new("acme"), Tenant::new("globex")];
    let gateway = gateway(&tenants)
        .set("HT_RESUME__SECRET", "a-secret-of-tickets-for-the-tests")
        .start();
    let [acme, other] = &tenants;
    let mut own = named(acme.handshake(&gateway), EVENTS).open();
    let first = own.expect_whole();
    own.send_json(&json!({"type": "ping", "requestId": "p"}));
    let pong = own.expect_whole();
    drop(own);
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let names = resume_names(&[&first["ticket"], &pong["cursor"], &pong["proof"]].map(text));
    for (tenant, resumed) in [(other, false), (acme, true)] {
        let calls = tenant.backend.requests().len();
        let mut client = named(tenant.handshake(&gateway), &names).open();
        let first = client.expect_whole();
        assert_eq!(first["resumed"] == true, resumed, "{first}");
        let calls = tenant.backend.requests().len() - calls;
        assert_eq!(calls, usize::from(!resumed), "{}", tenant.name);
    }
}

#[test]
fn an_api_that_hangs_leaves_the_clients_of_others_alone() {
    let gate = Gate::default();
    let behind = gate.clone();
    let hangs = Tenant {
        backend: StubBackend::new(move |_| {
            Reply::Behind(behind.clone(), Reply::rooms(&json!([])).into())
        }),
        ..Tenant::new("acme")
    };
    let tenants = [hangs, Tenant::new("globex")];
    // More handshakes than either API may have calls at once.
    let gateway = gateway(&tenants)
        .set("HT_BACKEND__MAX_IN_FLIGHT", 2)
        .start();
    let waiting: Vec<_> = (0..8)
        .map(|user| tenants[0].handshake_of(&gateway, &user.to_string()).send())
        .collect();
    tenants[0].backend.wait_for(1);
    for _ in 0..4 {
        client(&gateway, &tenants[1]).fence();
    }
    gate.open();
    for asked in waiting {
        let mut client = asked.open();
        assert_eq!(client.expect_json()["is_authorized"], true);
    }
}

#[test]
fn tenants_are_told_apart_on_every_node_over_rabbitmq() {
    let vhost = RabbitMq::shared().vhost();
    let tenants = [Tenant::new("acme"), Tenant::new("globex")];
    let start = || {
        gateway(&tenants)
            .set("HT_RABBITMQ__URL", vhost.url())
            .start()
    };
    let nodes = [start(), start()];
    nodes.iter().for_each(wait_for_ready);
    let mut clients = tenants.each_ref().map(|it| (it, client(&nodes[1], it)));
    expect_own(&mut clients, &nodes[0]);
    // A publisher of the broker names the tenant itself; one that names none is of `main`.
    let rabbit = Rabbit::connect(vhost.url());
    rabbit.publish(json!({"rooms": [{"n": 1}], "data": 1}).to_string());
    // Nodes without tenants would deliver this one.
    let plain = json!({"tenant": "globex", "rooms": [{"n": 1}], "data": 1});
    rabbit.publish(plain.to_string());
    let globex = json!({
        "tenant": "globex", "rooms": [], "tenant_rooms": [{"n": 1}], "data": 2,
    });
    rabbit.publish(globex.to_string());
    rabbit.publish(json!({"command": "disconnect", "user": 7, "tenant": "acme"}).to_string());
    let [(_, acme), (_, other)] = &mut clients;
    assert_eq!(acme.expect_close(4303), "ended");
    assert_eq!(other.expect_publish().0, 2);
    other.fence();
    nodes[1].wait_for_line("the rooms of a tenant's trigger are in `tenant_rooms`");
}
