//! Commands over RabbitMQ.

use ht_testkit::rabbitmq::RabbitMq;

use super::*;
use crate::rabbitmq::wait_for_ready;
use crate::support::rabbit::Rabbit;

#[test]
fn commands_reach_every_node_over_rabbitmq() {
    let vhost = RabbitMq::shared().vhost();
    let backend = api();
    let start = || {
        Gateway::with(&backend)
            .set("HT_RABBITMQ__URL", vhost.url())
            .start()
    };
    let nodes = [start(), start()];
    nodes.iter().for_each(wait_for_ready);
    let mut clients: Vec<_> = nodes.iter().map(|node| listener(node, "7")).collect();
    let rabbit = Rabbit::connect(vhost.url());
    // Through one node, and without any.
    let mixed =
        json!([publish("before"), {"command": "disconnect", "user": "7"}, publish("after")]);
    let answer = nodes[0].trigger(&mixed);
    assert_eq!(answer[1]["matched"], 1, "on this node");
    for client in &mut clients {
        assert_eq!(client.expect_publish().0, "before");
        assert_eq!(client.expect_close(4303), "ended");
    }
    let mut clients: Vec<_> = nodes.iter().map(|node| listener(node, "8")).collect();
    rabbit.publish(
        json!({"command": "disconnect", "user": "8", "issued_before": 9, "rooms": [], "data": null})
            .to_string(),
    );
    rabbit
        .publish(json!({"command": "disconnect", "label": "all", "come_back": "soon"}).to_string());
    for client in &mut clients {
        assert_eq!(client.expect_close(4003), "ended");
    }
    for node in &nodes {
        node.wait_for_line("does not know this member");
    }
}

#[test]
fn older_consumers_on_the_exchange_see_a_trigger_without_rooms() {
    let vhost = RabbitMq::shared().vhost();
    let gateway = Gateway::with(&api())
        .set("HT_RABBITMQ__URL", vhost.url())
        .start();
    wait_for_ready(&gateway);
    let over = Arc::new(AtomicBool::new(false));
    let (door, stop) = (gateway.internal().clone(), Arc::clone(&over));
    let sender = std::thread::spawn(move || {
        let body = json!({"command": "disconnect", "user": "nobody"}).to_string();
        while !stop.load(Ordering::Relaxed) {
            let answer = http::request(&door, "POST", "/trigger/", &[], body.as_bytes());
            assert_eq!(answer.status, 200);
        }
    });
    let messages = Rabbit::connect(vhost.url()).next_messages(20);
    over.store(true, Ordering::Relaxed);
    sender.join().unwrap();
    let messages = messages
        .iter()
        .map(|body| serde_json::from_slice(body).expect("JSON"));
    let (commands, others): (Vec<Value>, Vec<_>) =
        messages.partition(|message: &Value| message.get("command").is_some());
    assert!(!commands.is_empty());
    for message in commands.iter().chain(&others) {
        assert_eq!(
            (&message["rooms"], &message["data"]),
            (&json!([]), &Value::Null)
        );
    }
}
