//! Commands: which connections they select, their effect, and their order among the publications.

mod model;

use std::sync::Arc;

use ht_proto::entry::TenantId;
use ht_proto::subprotocol::Subprotocol;

use super::kit::*;
use crate::command::{Action, Ending};
use crate::select::Selection;
use crate::who::{Facts, Who};

pub(super) const A: &str = r#"{"a":1}"#;
pub(super) const B: &str = r#"{"a":2}"#;
pub(super) const WILD: &str = r#"{"a":"*"}"#;
pub(super) const GRANTS: &str = r#"[{"a":"*"}]"#;

pub(super) fn who(user: &str, labels: &[&str]) -> Option<Arc<Who>> {
    let facts = Facts {
        user: Some(user.into()),
        session: Some(format!("s-{user}").into()),
        labels: labels.iter().map(|&label| label.into()).collect(),
        view: None,
    };
    Who::new(facts).map(Arc::new)
}

pub(super) fn user(user: &str) -> Selection {
    Selection {
        users: vec![user.into()],
        ..Selection::default()
    }
}

pub(super) fn everyone() -> Selection {
    Selection {
        everyone: true,
        ..Selection::default()
    }
}

pub(super) fn signed_out() -> Action {
    Action::Disconnect(Ending {
        code: 4303,
        reason: "signed-out".into(),
    })
}

/// An admitted client that accepts events, with a subscription to each room, named from 1.
pub(super) fn listener(world: &mut World, rooms: &[&str]) -> Client {
    world.events = true;
    world.subprotocol = Some(Subprotocol::V1);
    let mut client = world.open(GRANTS);
    for (index, room) in rooms.iter().enumerate() {
        let name = (index + 1).to_string();
        let success = format!(r#"{{"code": "success", "requestId": {name}}}"#);
        assert_eq!(world.ask(&mut client, &subscribe(room, &name)), [success]);
    }
    client
}

#[test]
fn disconnect_is_sent_after_earlier_publications() {
    let mut world = World::new();
    world.who = who("7", &[]);
    let mut seven = world.open(GRANTS);
    world.who = who("8", &[]);
    let mut eight = world.open(GRANTS);
    world.subscribe(&mut seven, A, "1");
    world.subscribe(&mut eight, A, "1");
    world.publish(A, "0");
    let position = world.command(user("7"), signed_out());
    world.publish(A, "1");
    world.deliver();
    assert_eq!(
        seven.hears(),
        [publish("0", "1"), "close 4303 signed-out".into()]
    );
    assert_eq!(eight.hears(), [publish("0", "1"), publish("1", "1")]);
    assert_eq!(world.outside.carried_out, [(position, 1)]);
    assert_eq!(world.stats().connections, 1);
    assert!(
        world.outside.connected.len() == 1,
        "its hooks and permits ended"
    );
}

#[test]
fn requests_are_answered_while_a_command_is_queued_and_do_not_overtake_it() {
    let mut world = World::new();
    world.who = who("7", &[]);
    let mut client = world.open(GRANTS);
    world.command(user("7"), permit("[]"));
    world.publish(A, "0");
    // Answered by the earlier grants; the command revokes it again.
    world.subscribe(&mut client, A, "1");
    world.deliver();
    assert!(client.hears().is_empty());
    assert_eq!(world.stats().subscriptions_lost, 1);
    let answer = world.ask(&mut client, &subscribe(A, "2"));
    assert_eq!(answer, [error("room-not-found")]);
}

#[test]
fn permit_drops_revoked_subscriptions_and_notifies_clients_that_accept_events() {
    let mut world = World::new();
    world.who = who("7", &[]);
    let mut new = listener(&mut world, &[A, B, WILD]);
    world.events = false;
    let mut deaf = world.open(GRANTS);
    world.ask(&mut deaf, &subscribe(A, "1"));
    world.command(user("7"), permit(r#"[{"a": 2}]"#));
    world.publish(A, "0");
    world.publish(B, "1");
    world.deliver();
    let lost = |name: &str, room: &str| {
        format!(
            r#"{{"type": "unsubscribed", "requestId": {name}, "room": {room}, "reason": "permissions"}}"#
        )
    };
    let heard = new.hears();
    // A subscription with `*` is not narrowed.
    let mut dropped = heard[..2].to_vec();
    dropped.sort();
    assert_eq!(
        dropped,
        [lost("1", r#"{"a": 1}"#), lost("3", r#"{"a": "*"}"#)]
    );
    assert_eq!(
        heard[2..],
        [
            r#"{"type": "permissions", "allowed_rooms": [{"a": 2}]}"#.to_owned(),
            publish("1", "2")
        ]
    );
    assert!(
        deaf.hears().is_empty(),
        "an older client hears nothing of it"
    );
    assert_eq!(world.stats().subscriptions_lost, 3);
    assert_eq!(world.stats().subscriptions, 1);
    world.check_accounts();
}

#[test]
fn permit_of_the_same_set_sends_no_event() {
    let mut world = World::new();
    world.who = who("7", &[]);
    let mut client = listener(&mut world, &[A]);
    let action = permit(GRANTS);
    let Action::Permit(first) = &action else {
        unreachable!()
    };
    let again = Action::Permit(crate::command::Permit {
        grants: Arc::clone(&first.grants),
        labels: [].into(),
        view: None,
        expires_in: None,
        welcome: first.welcome.clone(),
        event: first.event.clone(),
    });
    world.command(user("7"), action);
    world.deliver();
    assert_eq!(client.hears().len(), 1, "another set of grants");
    world.command(user("7"), again);
    world.deliver();
    assert!(client.hears().is_empty());
}

#[test]
fn a_permit_moves_a_client_to_its_new_labels() {
    let mut world = World::new();
    world.who = who("7", &["guest"]);
    let client = world.open(GRANTS);
    world.command(user("7"), permit_for(GRANTS, &["staff", "team"]));
    world.deliver();
    let labelled = |label: &str| Selection {
        labels: vec![label.into()],
        ..Selection::default()
    };
    assert_eq!(world.search(labelled("guest")), []);
    for label in ["staff", "team"] {
        assert_eq!(world.search(labelled(label)), [client.id]);
    }
    let known = world.shard.who(client.id).unwrap();
    assert_eq!((known.user(), known.session()), (Some("7"), Some("s-7")));
    world.gone(&client);
    assert_eq!(world.search(labelled("staff")), []);
}

#[test]
fn unsubscribe_drops_the_subscriptions_that_its_rooms_cover_and_keeps_the_grants() {
    let mut world = World::new();
    world.who = who("7", &[]);
    let rooms = [A, B, WILD];
    let mut client = listener(&mut world, &rooms);
    world.command(user("7"), unsubscribe_from(&format!("[{A}]")));
    world.deliver();
    assert_eq!(
        client.hears(),
        [r#"{"type": "unsubscribed", "requestId": 1, "room": {"a": 1}, "reason": "command"}"#],
        "one with `*` that includes the room stays"
    );
    world.publish(A, "0");
    world.deliver();
    assert_eq!(client.hears(), [publish("0", "3")]);
    assert_eq!(world.ask(&mut client, &subscribe(A, "1")).len(), 1);
    world.command(everyone(), unsubscribe_from(&format!("[{WILD}]")));
    world.deliver();
    assert_eq!(client.hears().len(), 3);
    assert_eq!((world.stats().subscriptions, world.stats().rooms), (0, 0));
}

#[test]
fn count_changes_nothing_and_reports_the_selected_connections() {
    let mut world = World::new();
    world.who = who("7", &[]);
    let mut clients: Vec<_> = (0..3).map(|_| world.open(GRANTS)).collect();
    world.who = None;
    clients.push(world.open(r#"[{"b":1}]"#));
    for (selection, count) in [
        (user("7"), 3),
        (user("8"), 0),
        (everyone(), 4),
        (
            Selection {
                rooms: vec![room(r#"{"b":"*"}"#)],
                ..Selection::default()
            },
            1,
        ),
    ] {
        world.outside.carried_out.clear();
        world.command(selection, Action::Count);
        world.deliver();
        assert_eq!(world.outside.carried_out[0].1, count);
    }
    assert!(clients.iter_mut().all(|client| client.hears().is_empty()));
}

#[test]
fn a_large_command_is_sliced_and_nothing_behind_it_overtakes() {
    let mut world = World::new();
    world.who = who("7", &[]);
    let mut clients: Vec<_> = (0..300).map(|_| world.open(GRANTS)).collect();
    for client in &mut clients {
        world.subscribe(client, A, "1");
    }
    world.publish(A, "0");
    world.deliver();
    clients
        .iter_mut()
        .for_each(|client| assert_eq!(client.hears().len(), 1));
    world.command(everyone(), permit("[]"));
    world.publish(A, "1");
    let mut slices = 0;
    loop {
        let before = world.shard.budget().total();
        world.begin(20_000);
        world.slice(256);
        let spent = world.shard.budget().total() - before;
        assert!(spent < 40_000, "{spent} units at once");
        slices += 1;
        if !world.shard.has_fan_out() {
            break;
        }
    }
    assert!(slices > 10, "{slices}");
    assert!(clients.iter_mut().all(|client| client.hears().is_empty()));
    assert_eq!(world.stats().subscriptions_lost, 300);
}

#[test]
fn the_subscriptions_of_one_connection_are_dropped_in_slices() {
    let mut world = World::new();
    world.who = who("7", &[]);
    let rooms: Vec<_> = (0..1_000).map(|n| format!(r#"{{"a":{n}}}"#)).collect();
    let names: Vec<_> = rooms.iter().map(String::as_str).collect();
    let mut client = listener(&mut world, &names);
    world.command(user("7"), permit(r#"[{"a":5},{"a":900}]"#));
    let mut slices = 0;
    while world.shard.has_fan_out() {
        let before = world.shard.budget().total();
        world.begin(1_000);
        world.slice(256);
        let spent = world.shard.budget().total() - before;
        assert!(spent < crate::budget::STEP / 4, "{spent} units at once");
        // A lost room cannot be subscribed to again meanwhile.
        world.say(&client, &subscribe(r#"{"a":7}"#, "\"again\""));
        slices += 1;
    }
    assert!(slices > 3, "{slices}");
    let heard = client.hears();
    let unsubscribed = heard.iter().filter(|line| line.contains("unsubscribed"));
    assert_eq!(unsubscribed.count(), 998);
    assert!(heard.iter().all(|line| !line.contains("success")));
    assert_eq!(world.stats().subscriptions, 2);
    world.check_accounts();
}

#[test]
fn client_that_disconnects_meanwhile_is_skipped() {
    let mut world = World::new();
    world.who = who("7", &[]);
    let clients: Vec<_> = (0..20).map(|_| world.open(GRANTS)).collect();
    world.command(user("7"), signed_out());
    world.begin(1);
    world.slice(1);
    for client in clients.iter().skip(1).step_by(2) {
        world.gone(client);
    }
    world.begin(0);
    world.deliver();
    let mut left = clients;
    for client in left.iter_mut().step_by(2) {
        assert_eq!(client.hears(), ["close 4303 signed-out"]);
    }
    assert_eq!(world.stats().connections, 0);
}

#[test]
fn commands_since_the_api_query_apply_to_new_connections() {
    let mut world = World::new();
    world.who = who("7", &[]);
    let asked_at = world.command(user("9"), signed_out());
    world.command(user("7"), permit(r#"[{"b":1}]"#));
    world.command(user("8"), signed_out());
    world.deliver();
    // Its answer is replaced.
    world.asked_at = asked_at;
    let mut client = world.open_with(GRANTS, usize::MAX);
    let first = client.hears();
    assert_eq!(
        first,
        [r#"{"is_authorized": true, "allowed_rooms": [{"b":1}]}"#]
    );
    assert_eq!(
        world.ask(&mut client, &subscribe(A, "1")),
        [error("room-not-found")]
    );
    world.subscribe(&mut client, r#"{"b":1}"#, "1");
    // A client whose API query is newer keeps its own.
    world.asked_at = world.outside.position;
    let mut later = world.open(GRANTS);
    world.subscribe(&mut later, A, "1");
    // A disconnect refuses it.
    world.asked_at = asked_at;
    world.who = who("8", &[]);
    let mut refused = world.open_with(GRANTS, usize::MAX);
    let expected = [r#"{"is_authorized": false}"#, "close 4303 signed-out"];
    assert_eq!(refused.hears(), expected);
    assert_eq!(world.stats().connections, 2);
    assert_eq!(world.stats().refused, 1);
}

#[test]
fn sliced_command_applies_to_new_connections() {
    let mut world = World::new();
    world.who = who("7", &[]);
    let _others: Vec<_> = (0..10).map(|_| world.open(GRANTS)).collect();
    world.command(user("7"), signed_out());
    world.begin(1);
    world.slice(2);
    assert!(world.shard.has_fan_out());
    let mut client = world.open_with(GRANTS, usize::MAX);
    let expected = [r#"{"is_authorized": false}"#, "close 4303 signed-out"];
    assert_eq!(client.hears(), expected);
}

#[test]
fn command_known_to_the_api_answer_skips_new_connection() {
    let mut world = World::new();
    world.who = who("7", &[]);
    let mut before = world.open(GRANTS);
    let first = world.command(user("7"), signed_out());
    world.command(user("7"), unsubscribe_from(GRANTS));
    // The shard is behind.
    world.asked_at = first;
    let mut client = listener(&mut world, &[A]);
    world.deliver();
    assert_eq!(before.hears(), ["close 4303 signed-out"]);
    let heard = client.hears();
    assert!(
        heard.len() == 1 && heard[0].contains("command"),
        "{heard:?}"
    );
    world.command(user("7"), signed_out());
    world.deliver();
    assert_eq!(client.hears(), ["close 4303 signed-out"]);
}

#[test]
fn lost_commands_close_all_connections_and_refuse_pending_ones() {
    let mut world = World::new();
    let mut clients: Vec<_> = (0..300).map(|_| world.open(GRANTS)).collect();
    for client in &mut clients {
        world.subscribe(client, A, "1");
    }
    world.publish(A, "0");
    let position = world.outside.position + 5;
    world.shard.lose_commands(TenantId::MAIN, position);
    world.outside.position = position;
    world.publish(A, "1");
    let mut slices = 0;
    while world.shard.has_fan_out() {
        world.begin(100_000);
        world.slice(256);
        slices += 1;
    }
    assert!(slices > 10, "{slices}");
    world.begin(0);
    world.clean_up();
    for client in &mut clients {
        assert_eq!(
            client.hears(),
            [publish("0", "1"), "close 4002 permissions 10000".into()]
        );
    }
    world.asked_at = position - 1;
    let mut early = world.open_with(GRANTS, usize::MAX);
    assert_eq!(early.hears(), [r#"{"is_authorized": false}"#]);
    world.pass(200);
    assert_eq!(early.hears(), ["close 1013 backend 5000"]);
    world.asked_at = position;
    world.open(GRANTS);
}
