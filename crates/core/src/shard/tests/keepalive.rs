//! Heartbeat: inactive clients are pinged.

use ht_frame::Opcode;

use super::kit::*;
use crate::shard::{KeepaliveSettings, Settings};

const A: &str = r#"{"a":1}"#;
const GRANTS: &str = r#"[{"a":1}]"#;
const ASKED: &str = "control ping";

fn asking() -> Settings {
    Settings {
        keepalive: KeepaliveSettings {
            interval: 45_000,
            timeout: 30_000,
        },
        ..settings()
    }
}

fn hears(client: &mut Client) -> Vec<String> {
    let lines = client.hears().into_iter();
    lines.map(|line| line.trim_end().to_owned()).collect()
}

#[test]
fn inactive_client_is_pinged_and_any_input_is_an_answer() {
    for answer in [Opcode::Pong, Opcode::Ping, Opcode::Text] {
        let mut world = World::with(asking());
        let mut client = world.open(GRANTS);
        assert_eq!(world.shard.deadline(), Some(world.now + 45_000));
        for _ in 0..3 {
            world.pass(44_999);
            assert!(client.hears().is_empty());
            world.pass(1);
            assert_eq!(hears(&mut client), [ASKED]);
            world.pass(29_999);
            world.frame(&client, answer, b"");
            client.hears();
            assert!(world.is_there(&client));
        }
        assert_eq!(world.stats().no_pongs, 0);
    }
}

#[test]
fn unanswered_ping_closes_the_connection() {
    let mut world = World::with(asking());
    let mut client = world.open(GRANTS);
    world.subscribe(&mut client, A, "1");
    world.pass(45_000);
    assert_eq!(hears(&mut client), [ASKED]);
    world.publish(A, "0");
    world.deliver();
    world.pass(30_000);
    assert_eq!(
        client.hears(),
        [publish("0", "1"), "close 4001 no-pong".into()]
    );
    assert_eq!((world.stats().no_pongs, world.stats().connections), (1, 0));
    world.pass(3_000);
    assert!(!world.is_there(&client));
    assert_eq!(world.shard.deadline(), None);
}

#[test]
fn active_client_is_not_pinged_and_answers_do_not_count_as_messages() {
    let mut world = World::with(asking());
    let mut talking = world.open(GRANTS);
    let mut silent = world.open(GRANTS);
    for _ in 0..7 {
        world.pass(40_000);
        assert_eq!(world.ask(&mut talking, "ping"), ["pong"]);
        world.frame(&silent, Opcode::Pong, b"");
        assert!(silent.hears().is_empty());
    }
    world.pass(20_000);
    assert_eq!(silent.hears(), ["close 1000 idle"]);
}

#[test]
fn connection_with_queued_data_is_not_pinged() {
    let mut world = World::with(asking());
    let mut client = world.open(GRANTS);
    world.subscribe(&mut client, A, "1");
    client.takes(0);
    world.publish(A, "0");
    world.deliver();
    world.pass(45_000);
    client.takes(usize::MAX);
    world.writable(&client);
    assert_eq!(client.hears(), [publish("0", "1")]);
    world.pass(45_000);
    assert_eq!(hears(&mut client), [ASKED]);
    client.takes(0);
    world.publish(A, "1");
    world.deliver();
    world.pass(30_000);
    assert!(world.is_there(&client));
    assert_eq!(world.stats().no_pongs, 0);
}

#[test]
fn heartbeat_may_be_switched_on_and_off_at_any_time() {
    let mut world = World::new();
    let mut client = world.open(GRANTS);
    let visitor = world.refuse(ht_proto::close::Close::NORMAL);
    world.pass(100_000);
    world.gone(&visitor);
    world.shard.reconfigure(asking(), world.now);
    world.pass(44_999);
    assert!(client.hears().is_empty());
    world.pass(1);
    assert_eq!(hears(&mut client), [ASKED]);
    world.shard.reconfigure(settings(), world.now);
    world.pass(60_000);
    assert!(client.hears().is_empty() && world.is_there(&client));
    world.gone(&client);
    assert!(world.shard.is_empty());
}
