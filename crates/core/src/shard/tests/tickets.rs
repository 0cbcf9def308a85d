//! Resume tickets: when a client is given one, and when it gets no proof.

use ht_proto::subprotocol::Subprotocol;

use super::commands::{everyone, user, who};
use super::kit::*;
use crate::command::Action;

const GRANTS: &str = r#"[{"a":"*"}]"#;

/// What a message brings.
#[derive(Debug, Default, PartialEq, Eq)]
struct Brought {
    ticket: Option<String>,
    proof: Option<String>,
}

fn brought(line: &str) -> Brought {
    let message: serde_json::Value = serde_json::from_str(line).expect(line);
    let text = |name: &str| message[name].as_str().map(str::to_string);
    Brought {
        ticket: text("ticket"),
        proof: text("proof"),
    }
}

fn both(ticket: &str, proof: &str) -> Brought {
    Brought {
        ticket: (!ticket.is_empty()).then(|| ticket.to_owned()),
        proof: Some(proof.to_owned()),
    }
}

fn world() -> World {
    let mut world = World::with(recheck_settings());
    world.subprotocol = Some(Subprotocol::V1);
    world.who = who("7", &[]);
    world.outside.tickets = Some(0);
    world
}

fn ping(world: &mut World, client: &mut Client) -> Brought {
    world.say(client, r#"{"type":"ping","requestId":"p"}"#);
    let answers = client.hears_all();
    brought(answers.last().expect("an answer"))
}

#[test]
fn first_message_has_a_ticket_and_each_pong_a_proof() {
    let mut world = world();
    world.expires_in = Some(10_000);
    let mut client = world.open_with(GRANTS, usize::MAX);
    let first = client.hears_all();
    assert_eq!(brought(&first[0]), both("ticket-1", "Some(10000)"));
    world.now += 4_000;
    assert_eq!(ping(&mut world, &mut client), both("", "Some(6000)"));
    world.subprotocol = None;
    let mut old = world.open_with(GRANTS, usize::MAX);
    assert_eq!(brought(&old.hears_all()[0]), Brought::default());
}

#[test]
fn permissions_in_doubt_give_no_proof_before_they_are_confirmed() {
    for within in [0, 60_000] {
        let mut world = world();
        let mut client = world.open_with(GRANTS, usize::MAX);
        client.hears_all();
        world.command(user("8"), Action::Invalidate { within });
        world.deliver();
        assert_eq!(ping(&mut world, &mut client), both("", "None"), "another");
        world.command(user("7"), Action::Invalidate { within });
        world.deliver();
        assert_eq!(ping(&mut world, &mut client), Brought::default());
        world.command(user("7"), permit(GRANTS));
        world.deliver();
        assert_eq!(ping(&mut world, &mut client), both("ticket-2", "None"));
        assert_eq!(ping(&mut world, &mut client), both("", "None"));
    }
}

#[test]
fn other_permissions_are_another_ticket() {
    let mut world = world();
    let mut client = world.open_with(GRANTS, usize::MAX);
    client.hears_all();
    world.command(user("7"), permit(r#"[{"b":1}]"#));
    world.deliver();
    assert_eq!(ping(&mut world, &mut client), both("ticket-2", "None"));
}

/// Its cursor is behind the command, which may not have reached its session.
#[test]
fn command_that_is_being_executed_gives_no_proof() {
    let mut world = world();
    let mut clients: Vec<_> = (0..300)
        .map(|_| world.open_with(GRANTS, usize::MAX))
        .collect();
    for client in &mut clients {
        client.hears_all();
    }
    world.command(everyone(), permit(r#"[{"a":1}]"#));
    world.begin(20_000);
    world.slice(256);
    assert!(world.shard.has_fan_out(), "it takes more than one turn");
    for client in &mut clients {
        let brought = ping(&mut world, client);
        assert_eq!(brought, Brought::default());
    }
    world.begin(0);
    world.deliver();
    let last = ping(&mut world, &mut clients[299]);
    assert!(last.ticket.is_some() && last.proof.is_some(), "{last:?}");
}
