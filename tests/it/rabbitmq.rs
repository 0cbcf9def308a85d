//! Triggers over a real RabbitMQ.

use std::io::Write;

use flate2::Compression;
use flate2::write::{GzEncoder, ZlibEncoder};
use ht_testkit::rabbitmq::{RabbitMq, Vhost};
use lapin::BasicProperties;
use serde_json::json;

use crate::support::gateway::Builder;
use crate::support::rabbit::{EXCHANGE, Rabbit};
use crate::support::{Client, Gateway, StubBackend, eventually, frame, http, places};

fn with(backend: &StubBackend, vhost: &Vhost) -> Builder {
    Gateway::with(backend).set("HT_RABBITMQ__URL", vhost.url())
}

/// Waits until triggers can be received.
#[track_caller]
pub(crate) fn wait_for_ready(gateway: &Gateway) {
    eventually("ready", || {
        (gateway.get("/ready").status == 200).then_some(())
    });
}

/// Waits until triggers cannot be received; the reason.
#[track_caller]
pub(crate) fn wait_for_not_ready(gateway: &Gateway) -> String {
    let answer = eventually("not ready", || {
        let answer = gateway.get("/ready");
        (answer.status == 503).then_some(answer)
    });
    assert_eq!(answer.json()["ready"], false, "{answer:?}");
    answer.json()["reasons"][0]
        .as_str()
        .expect("a reason")
        .to_owned()
}

fn trigger(n: usize) -> String {
    json!({"rooms": [{"room": 1}], "data": n}).to_string()
}

#[test]
fn messages_are_delivered_in_order_of_arrival() {
    let vhost = RabbitMq::shared().vhost();
    let backend = StubBackend::open();
    let gateway = with(&backend, &vhost).start();
    wait_for_ready(&gateway);
    let mut clients = [Client::connect(&gateway), Client::connect(&gateway)];
    for client in &mut clients {
        client.subscribe(&json!({"room": 1}), "x");
    }
    let rabbit = Rabbit::connect(vhost.url());
    rabbit.publish_all((0..300).map(trigger));
    for client in &mut clients {
        for n in 0..300 {
            assert_eq!(client.expect_publish(), (json!(n), json!("x")));
        }
    }
    rabbit.publish(
        r#" {"data": {"z": 1.50, "a": "\u00e9"}, "x": 1, "rooms": [{"room": 1}, {"room": 1}]} "#,
    );
    for client in &mut clients {
        let wanted = r#"{"type": "publish", "data": {"z": 1.50, "a": "\u00e9"}, "requestId": "x"}"#;
        assert_eq!(client.expect_text(), wanted);
        client.fence();
    }
    assert_eq!(clients[0].status()["rabbitmq_messages_received"], 301);
    gateway.wait_for_metric("high_templar_broker_messages_total", 301);
}

#[test]
fn properties_are_ignored() {
    let vhost = RabbitMq::shared().vhost();
    let backend = StubBackend::open();
    let gateway = with(&backend, &vhost).start();
    wait_for_ready(&gateway);
    let mut client = Client::connect(&gateway);
    client.subscribe(&json!({"room": 1}), 1);
    let rabbit = Rabbit::connect(vhost.url());
    let properties = BasicProperties::default;
    for (n, properties) in [
        properties(),
        properties().with_content_type("text/html".into()),
        properties().with_content_encoding("gzip".into()),
        properties().with_delivery_mode(2).with_priority(9),
        properties().with_message_id("same".into()),
        properties().with_message_id("same".into()),
        properties()
            .with_reply_to("x".into())
            .with_correlation_id("y".into()),
        properties()
            .with_expiration("60000".into())
            .with_type("x".into()),
    ]
    .into_iter()
    .enumerate()
    {
        rabbit.publish_with(properties, trigger(n));
        assert_eq!(client.expect_publish().0, n);
    }
    client.fence();
}

#[test]
fn exchange_queue_and_binding_are_those_of_the_contract() {
    let vhost = RabbitMq::shared().vhost();
    let backend = StubBackend::open();
    let one = with(&backend, &vhost).start();
    let two = with(&backend, &vhost).start();
    wait_for_ready(&one);
    wait_for_ready(&two);
    let queues = vhost.queues();
    assert_eq!(queues.len(), 2);
    for queue in &queues {
        let id = queue.strip_prefix("hightemplar_").expect(queue);
        assert!(id.parse::<uuid::Uuid>().is_ok(), "{queue}");
    }
    let exchange = vhost.eval(
        "{ok, X} = rabbit_exchange:lookup(rabbit_misc:r(<<\"VHOST\">>, exchange, <<\"hightemplar\">>)), \
         {element(3, X), element(4, X), element(5, X), element(7, X)}",
    );
    // type, durable, auto_delete, arguments
    assert_eq!(exchange, "{direct,false,false,[]}");
    let bindings = vhost.eval(
        "lists:sort([{element(4, element(4, B)), element(3, B)} || B <- \
         rabbit_binding:list_for_source(\
         rabbit_misc:r(<<\"VHOST\">>, exchange, <<\"hightemplar\">>))])",
    );
    // Every message for all nodes, and the messages that each node sends to itself.
    let mut wanted: Vec<_> = queues
        .iter()
        .flat_map(|queue| ["*", queue].map(|key| format!("{{<<\"{queue}\">>,<<\"{key}\">>}}")))
        .collect();
    wanted.sort();
    let bindings: String = bindings.split_whitespace().collect();
    assert_eq!(bindings, format!("[{}]", wanted.join(",")));
    // The routing key is taken literally.
    let mut client = Client::connect(&one);
    client.subscribe(&json!({"room": 1}), 1);
    let rabbit = Rabbit::connect(vhost.url());
    rabbit.publish_to("x", trigger(1));
    rabbit.publish_to("", trigger(2));
    rabbit.publish_to("#", trigger(3));
    rabbit.publish(trigger(4));
    assert_eq!(client.expect_publish().0, 4);
    client.fence();
    // A node that shuts down has its queue deleted; the exchange stays for the publishers.
    drop(two);
    eventually("one queue", || (vhost.queues().len() == 1).then_some(()));
    drop(one);
    eventually("no queue", || vhost.queues().is_empty().then_some(()));
    assert!(vhost.has_exchange(EXCHANGE));
    rabbit.publish(trigger(5));
}

#[test]
fn bad_messages_are_dropped_with_a_line_and_what_follows_is_delivered() {
    let vhost = RabbitMq::shared().vhost();
    let backend = StubBackend::open();
    let gateway = with(&backend, &vhost).start();
    wait_for_ready(&gateway);
    let mut client = Client::connect(&gateway);
    client.subscribe(&json!({"room": 1}), 1);
    let rabbit = Rabbit::connect(vhost.url());
    let bad: [&[u8]; 12] = [
        b"",
        b"rubbish",
        b"\xff\xfe",
        b"{\"rooms\": [{\"room\": 1}], \"data\": \"\xff\"}",
        b"[]",
        b"[{\"rooms\": [{\"room\": 1}], \"data\": 1}]",
        b"{\"rooms\": [{\"room\": 1}]}",
        b"{\"data\": 1}",
        b"{\"rooms\": {\"room\": 1}, \"data\": 1}",
        b"{\"rooms\": [{\"room\": 1}, 1], \"data\": 1}",
        b"{\"rooms\": [{\"room\": 1}], \"data\": NaN}",
        b"{\"rooms\": [{\"room\": 1}], \"data\": Infinity}",
    ];
    for (n, bad) in bad.into_iter().enumerate() {
        rabbit.publish(bad);
        rabbit.publish(trigger(n));
        assert_eq!(client.expect_publish().0, n);
    }
    client.fence();
    gateway.wait_for_metric("high_templar_broker_rejected_total", 12);
    gateway.wait_for_line("a message from the broker was dropped: it is not a trigger");
    assert_eq!(gateway.get("/ready").status, 200);
}

#[test]
fn byte_order_marks_and_compressed_messages_are_understood() {
    let vhost = RabbitMq::shared().vhost();
    let backend = StubBackend::open();
    let gateway = with(&backend, &vhost)
        .set("HT_LIMITS__TRIGGER_BYTES", "1MiB")
        .start();
    wait_for_ready(&gateway);
    let mut client = Client::connect(&gateway);
    client.subscribe(&json!({"room": 1}), 1);
    let rabbit = Rabbit::connect(vhost.url());
    rabbit.publish(format!("\u{feff}{}", trigger(1)));
    assert_eq!(client.expect_publish().0, 1);
    let encoded = |name: &str| BasicProperties::default().with_content_encoding(name.into());
    let gzip = |text: &str| {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(text.as_bytes()).expect("bytes");
        encoder.finish().expect("gzip")
    };
    rabbit.publish_with(encoded("gzip"), gzip(&trigger(2)));
    assert_eq!(client.expect_publish().0, 2);
    let mut zlib = ZlibEncoder::new(Vec::new(), Compression::default());
    zlib.write_all(trigger(3).as_bytes()).expect("bytes");
    rabbit.publish_with(encoded("deflate"), zlib.finish().expect("zlib"));
    assert_eq!(client.expect_publish().0, 3);
    let large = json!({"rooms": [{"room": 1}], "data": "x".repeat(500_000)}).to_string();
    rabbit.publish(gzip(&large));
    assert_eq!(client.expect_publish().0, "x".repeat(500_000));
    // kombu sets this for plain text.
    rabbit.publish_with(encoded("utf-8"), trigger(4));
    assert_eq!(client.expect_publish().0, 4);

    let bomb = format!("{}{}", trigger(5), " ".repeat(4 << 20));
    rabbit.publish_with(encoded("gzip"), gzip(&bomb));
    rabbit.publish(trigger(6));
    assert_eq!(client.expect_publish().0, 6);
    gateway.wait_for_line("longer than 1048576 bytes when inflated (limits.trigger_bytes)");
    gateway.wait_for_metric("high_templar_broker_rejected_total", 1);
}

#[test]
fn an_unsupported_encoding_is_named() {
    let vhost = RabbitMq::shared().vhost();
    let backend = StubBackend::open();
    let gateway = with(&backend, &vhost).start();
    wait_for_ready(&gateway);
    let rabbit = Rabbit::connect(vhost.url());
    let brotli = BasicProperties::default().with_content_encoding("br".into());
    rabbit.publish_with(brotli, b"\x8b\x01\x80{}\x03");
    gateway.wait_for_line("its content_encoding \\\"br\\\" is not supported");
}

#[test]
fn large_messages_keep_their_place_among_small_ones() {
    let vhost = RabbitMq::shared().vhost();
    let backend = StubBackend::open();
    let gateway = with(&backend, &vhost).start();
    wait_for_ready(&gateway);
    let mut client = Client::connect(&gateway);
    client.subscribe(&json!({"room": 1}), 1);
    let rabbit = Rabbit::connect(vhost.url());
    let text = "x".repeat(1 << 20);
    let large = json!({"rooms": [{"room": 1}], "data": text}).to_string();
    let bad = &large[..large.len() - 1];
    rabbit.publish_all(
        [&trigger(1), &large, &trigger(2), bad, &large, &trigger(3)].map(String::from),
    );
    for data in [json!(1), json!(text), json!(2), json!(text), json!(3)] {
        assert!(client.expect_publish().0 == data);
    }
    client.fence();
    gateway.wait_for_metric("high_templar_broker_rejected_total", 1);
}

#[test]
fn an_exchange_that_exists_with_other_arguments_is_used_as_it_is() {
    let vhost = RabbitMq::shared().vhost();
    let _ = vhost.eval(
        "rabbit_exchange:declare(rabbit_misc:r(<<\"VHOST\">>, exchange, <<\"hightemplar\">>), \
         direct, true, false, false, [], <<\"test\">>), ok",
    );
    let backend = StubBackend::open();
    let gateway = with(&backend, &vhost).start();
    wait_for_ready(&gateway);
    gateway.wait_for_line("the exchange cannot be declared by this user or with these arguments: using the existing one");
    let mut client = Client::connect(&gateway);
    client.subscribe(&json!({"room": 1}), 1);
    Rabbit::connect(vhost.url()).publish(trigger(1));
    assert_eq!(client.expect_publish().0, 1);
}

#[test]
fn a_trigger_over_http_reaches_every_node_once() {
    let vhost = RabbitMq::shared().vhost();
    let backend = StubBackend::open();
    let nodes = [
        with(&backend, &vhost).start(),
        with(&backend, &vhost).start(),
    ];
    let mut clients = nodes.each_ref().map(|node| {
        wait_for_ready(node);
        let mut client = Client::connect(node);
        client.subscribe(&json!({"room": 1}), 1);
        client
    });
    for n in 0..20 {
        let answer = nodes[n % 2].post(trigger(n));
        assert_eq!(
            (answer.status, places(answer.json())),
            (200, json!({"position": n + 1}))
        );
    }
    let many: Vec<_> = (20..30)
        .map(|n| json!({"rooms": [{"room": 1}], "data": n}))
        .collect();
    let wanted: Vec<_> = (21..31).map(|n| json!({"position": n})).collect();
    assert_eq!(places(nodes[0].trigger(&json!(many))), json!(wanted));
    for client in &mut clients {
        for n in 0..30 {
            assert_eq!(client.expect_publish().0, n);
        }
        client.fence();
    }
    // Both entry points, one order, and a repeated id is recognised whichever entry point it used.
    let rabbit = Rabbit::connect(vhost.url());
    let named = json!({"rooms": [{"room": 1}], "data": "named", "id": "a"});
    rabbit.publish(named.to_string());
    let answer = places(nodes[1].trigger(&named));
    assert_eq!(answer, json!({"position": 31, "duplicate": true}));
    nodes[1].trigger(&json!({"rooms": [{"room": 1}], "data": "end"}));
    for client in &mut clients {
        assert_eq!(client.expect_publish().0, "named");
        assert_eq!(client.expect_publish().0, "end");
    }
    // Nothing of a bad request is published.
    let bad = json!([{"rooms": [{"room": 1}], "data": 1}, {"data": 1}]).to_string();
    assert_eq!(nodes[0].post(bad).status, 400);
    nodes[0].trigger(&json!({"rooms": [{"room": 1}], "data": "end"}));
    for client in &mut clients {
        assert_eq!(client.expect_publish().0, "end");
    }
}

#[test]
fn http_and_amqp_triggers_have_one_order_for_all_clients() {
    let vhost = RabbitMq::shared().vhost();
    let backend = StubBackend::open();
    let gateway = with(&backend, &vhost).start();
    wait_for_ready(&gateway);
    let mut clients: Vec<_> = (0..6).map(|_| Client::connect(&gateway)).collect();
    for client in &mut clients {
        client.subscribe(&json!({"room": 1}), 1);
    }
    let door = gateway.internal().clone();
    let poster = std::thread::spawn(move || {
        for n in 0..50 {
            let body = json!({"rooms": [{"room": 1}], "data": ["http", n]}).to_string();
            let answer = http::request(&door, "POST", "/trigger/", &[], body.as_bytes());
            assert_eq!(answer.status, 200, "{answer:?}");
        }
    });
    let bodies = (0..200).map(|n| json!({"rooms": [{"room": 1}], "data": ["amqp", n]}).to_string());
    Rabbit::connect(vhost.url()).publish_all(bodies);
    let heard: Vec<Vec<_>> = clients
        .iter_mut()
        .map(|client| (0..250).map(|_| client.expect_publish().0).collect())
        .collect();
    poster.join().unwrap();
    for (door, count) in [("http", 50), ("amqp", 200)] {
        let own = heard[0].iter().filter(|data| data[0] == door);
        let wanted: Vec<_> = (0..count).map(|n| json!([door, n])).collect();
        assert!(own.eq(wanted.iter()), "{door}");
    }
    assert!(heard.iter().all(|other| *other == heard[0]));
}

#[test]
fn whatever_an_operator_deletes_is_declared_again() {
    let vhost = RabbitMq::shared().vhost();
    let backend = StubBackend::open();
    let gateway = with(&backend, &vhost).start();
    wait_for_ready(&gateway);
    let mut client = Client::connect(&gateway);
    client.subscribe(&json!({"room": 1}), 1);
    for (n, what) in ["queue", "exchange", "connections"].into_iter().enumerate() {
        let before = vhost.queues();
        match what {
            "queue" => vhost.delete_queue(&before[0]),
            "exchange" => vhost.delete_exchange(EXCHANGE),
            _ => vhost.close_connections(),
        }
        // Publishers are unaffected and keep trying, over HTTP or AMQP.
        eventually(
            &format!("an exchange with a queue after deleting the {what}"),
            || {
                let answer = gateway.post(trigger(n));
                assert!(
                    [200, 503, 504].contains(&answer.status),
                    "{what}: {answer:?}"
                );
                (answer.status == 200).then_some(())
            },
        );
        // Its clients are notified of a gap and reconnect.
        while client.frame().opcode != frame::CLOSE {}
        wait_for_ready(&gateway);
        client = Client::connect(&gateway);
        client.subscribe(&json!({"room": 1}), 1);
        let name = json!({"after": what});
        Rabbit::connect(vhost.url())
            .publish(json!({"rooms": [{"room": 1}], "data": name}).to_string());
        while client.expect_publish().0 != name {}
    }
    client.fence();
}
