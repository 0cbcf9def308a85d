//! Sessions that are held until the API has answered about them again, and catch up.

mod answers;
mod catch_up;

use std::sync::Arc;

use ht_proto::close::Close;
use ht_proto::room::{Room, RoomLimits};

use super::commands::{A, B, GRANTS, WILD, everyone, listener, signed_out, user, who};
use super::kit::*;
use crate::recheck::{Recheck, RecheckOutcome, RecheckReason, Rights};
use crate::select::Selection;
use crate::shard::Settings;
use crate::window::WindowLimits;

/// A world whose clients are user 7, and can be queried about again.
pub(super) fn world() -> World {
    let mut world = World::with(recheck_settings());
    world.who = who("7", &[]);
    world
}

fn recheck(client: &Client, not_before: u64) -> Request {
    Request::Recheck(Recheck {
        key: client.id,
        not_before,
        is_held: true,
        reason: RecheckReason::Command,
        token: None,
    })
}

pub(super) fn invalidate_all(world: &mut World) -> u64 {
    let position = world.command(everyone(), invalidate());
    world.deliver();
    position
}

fn lost(name: &str, room: &str, reason: &str) -> String {
    format!(
        r#"{{"type": "unsubscribed", "requestId": {name}, "room": {room}, "reason": "{reason}"}}"#
    )
}

fn room_name(room: &str) -> &'static str {
    if room == A { "1" } else { "2" }
}

pub(super) const NARROW: &str = r#"[{"a": 2}]"#;

pub(super) fn narrowed() -> String {
    format!(r#"{{"type": "permissions", "allowed_rooms": {NARROW}}}"#)
}

#[test]
fn held_session_gets_earlier_publications_before_and_later_ones_after_the_answer() {
    let mut world = world();
    let mut client = listener(&mut world, &[A, B]);
    world.publish(A, "0");
    let position = world.command(user("7"), invalidate());
    world.publish(A, "1");
    world.publish(B, "2");
    world.deliver();
    assert_eq!(client.hears(), [publish("0", "1")]);
    assert_eq!(world.requests(), [recheck(&client, position)]);
    assert_eq!(world.stats().connections_held, 1);
    world.permitted(&[&client], NARROW);
    world.publish(A, "3");
    world.publish(B, "4");
    world.deliver();
    assert_eq!(
        client.hears(),
        [
            lost("1", r#"{"a": 1}"#, "permissions"),
            narrowed(),
            publish("2", "2"),
            publish("4", "2")
        ]
    );
    assert_eq!(world.requests(), []);
    let stats = world.stats();
    assert_eq!((stats.connections_held, stats.permissions_changed), (0, 1));
    assert_eq!((stats.undelivered, stats.window_catch_ups), (0, 1));
    world.check_accounts();
}

#[test]
fn kept_rooms_lose_and_repeat_nothing_and_equal_grants_are_not_reported() {
    let mut world = world();
    let rights = world.rights(GRANTS);
    let mut client = listener(&mut world, &[A, WILD]);
    let take = |world: &mut World, client: &Client| {
        let asked_at = world.outside.position;
        let rights = Rights {
            grants: Arc::clone(&rights.grants),
            who: rights.who.clone(),
            welcome: rights.welcome.clone(),
            event: rights.event.clone(),
            expires_in: None,
        };
        world.rechecked(&[client], asked_at, RecheckOutcome::Permitted(rights));
    };
    invalidate_all(&mut world);
    take(&mut world, &client);
    world.deliver();
    assert_eq!(client.hears().len(), 1, "another set");
    let mut expected = Vec::new();
    invalidate_all(&mut world);
    for number in 0..10_000 {
        let data = number.to_string();
        world.publish(A, &data);
        expected.extend([publish(&data, "1"), publish(&data, "2")]);
        if number % 1_000 == 0 {
            world.slice(100);
        }
        if number == 9_000 {
            take(&mut world, &client);
        }
    }
    world.deliver();
    let mut heard = client.hears();
    // Of one publication in the order of the index.
    heard.chunks_mut(2).for_each(<[String]>::sort);
    assert_eq!(heard, expected);
    assert_eq!(world.stats().permissions_changed, 1);
}

#[test]
fn message_of_a_held_client_waits_and_ping_and_close_do_not() {
    let mut world = world();
    let mut client = listener(&mut world, &[A]);
    world.now += 1;
    invalidate_all(&mut world);
    let gained = r#"{"c": 1}"#;
    world.say(&client, &subscribe(gained, "5"));
    world.say(&client, &unsubscribe("1"));
    world.frame(&client, ht_frame::Opcode::Ping, b"x");
    assert_eq!(world.ask(&mut client, "ping"), ["control pong x", "pong"]);
    assert!(world.account(crate::account::Kind::Messages) > 0);
    world.check_accounts();
    world.publish(A, "1");
    world.permitted(&[&client], r#"[{"a": 1}, {"c": 1}]"#);
    world.deliver();
    assert!(world.shard.is_behind());
    world.resume(0);
    let success = |name: &str| format!(r#"{{"code": "success", "requestId": {name}}}"#);
    assert_eq!(
        client.hears(),
        [
            r#"{"type": "permissions", "allowed_rooms": [{"a": 1}, {"c": 1}]}"#.to_owned(),
            publish("1", "1"),
            success("5"),
            success("1"),
        ]
    );
    world.check_accounts();
    assert_eq!(world.account(crate::account::Kind::Messages), 0);
    let messages = world.stats().messages;
    // A close frame ends it at once.
    invalidate_all(&mut world);
    world.say(&client, &subscribe(gained, "6"));
    world.frame(&client, ht_frame::Opcode::Close, &4000u16.to_be_bytes());
    assert_eq!(client.hears(), ["close 4000"]);
    assert_eq!(world.stats().messages, messages + 1, "counted once");
    assert_eq!(
        world.requests().last(),
        Some(&Request::Cancel(client.id)),
        "its answer is not needed any more"
    );
    world.check_accounts();
}

#[test]
fn a_held_client_of_whom_nothing_is_read_is_not_closed_for_a_missing_pong() {
    let mut world = world();
    world.settings.keepalive = crate::shard::KeepaliveSettings {
        interval: 1_000,
        timeout: 1_000,
    };
    let settings = world.settings.clone();
    world.shard.reconfigure(settings, world.now);
    let client = listener(&mut world, &[A]);
    invalidate_all(&mut world);
    while world.shard.may_read(client.id) {
        world.say(&client, &unsubscribe("1"));
    }
    for _ in 0..10 {
        world.pass(1_000);
    }
    assert!(world.is_open(&client));
    world.permitted(&[&client], GRANTS);
    world.deliver();
    world.resume(0);
    world.begin(0);
    for _ in 0..3 {
        world.pass(1_000);
    }
    assert!(!world.is_open(&client), "it has its chance now");
}

#[test]
fn nothing_more_is_read_from_a_held_client_that_sent_much() {
    for (message, most) in [(unsubscribe("1"), 256), ("x".repeat(10_000), 7)] {
        let mut world = world();
        let mut client = listener(&mut world, &[A]);
        invalidate_all(&mut world);
        let mut sent = 0;
        while world.shard.may_read(client.id) {
            world.say(&client, &message);
            sent += 1;
            assert!(sent <= most, "{sent}");
        }
        assert_eq!(sent, most);
        // What one read brought is kept.
        let more: Vec<u8> = std::iter::repeat_n(masked(ht_frame::Opcode::Text, b"ping"), 3)
            .flatten()
            .collect();
        world.receive(&client, &more[..5]);
        world.receive(&client, &more[5..]);
        assert!(client.hears().is_empty() && !world.shard.is_behind());
        world.check_accounts();
        world.permitted(&[&client], GRANTS);
        world.deliver();
        world.resume(1);
        assert!(world.shard.may_read(client.id));
        let heard = client.hears();
        assert_eq!(heard.len(), 1 + sent + 3, "an event, answers, three pongs");
        assert!(heard[1 + sent..].iter().all(|line| line == "pong"));
        world.check_accounts();
    }
}

#[test]
fn session_that_is_held_again_keeps_its_messages_in_order() {
    let mut world = world();
    let mut client = listener(&mut world, &[]);
    invalidate_all(&mut world);
    for room in [A, B] {
        world.say(&client, &subscribe(room, room_name(room)));
    }
    world.permitted(&[&client], GRANTS);
    world.deliver();
    // Before it has its turn.
    invalidate_all(&mut world);
    world.receive(
        &client,
        &masked(ht_frame::Opcode::Text, unsubscribe("1").as_bytes()),
    );
    world.resume(0);
    assert_eq!(client.hears().len(), 1, "the event");
    world.permitted(&[&client], NARROW);
    world.deliver();
    world.resume(0);
    let answers = client.hears();
    assert_eq!(answers.len(), 4, "{answers:?}");
    assert!(answers[1].contains("room-not-found"));
    assert!(answers[2].contains("success"));
    assert!(answers[3].contains("not-subscribed"));
    world.check_accounts();
}

#[test]
fn held_session_that_ends_is_forgotten_with_all_that_is_kept_for_it() {
    type End = fn(&mut World, &Client);
    let ends: [End; 4] = [
        |world, client| world.gone(client),
        |world, _| {
            let turn = &mut Turn::new(world.now, &mut world.outside);
            world.shard.close_all(Close::RESTART, turn);
        },
        |world, _| world.pass(400_000),
        |world, client| world.receive(client, b"\x81\x00"),
    ];
    for end in ends {
        let mut world = world();
        let client = listener(&mut world, &[A]);
        let position = invalidate_all(&mut world);
        world.say(&client, &subscribe(B, "2"));
        end(&mut world, &client);
        assert_eq!(
            world.requests(),
            [recheck(&client, position), Request::Cancel(client.id)]
        );
        assert_eq!(world.stats().connections_held, 0);
        world.check_accounts();
        // A late answer changes nothing.
        world.permitted(&[&client], GRANTS);
        world.deliver();
        world.gone(&client);
        assert!(world.shard.is_empty());
        assert_eq!(world.settings.accounts.total(), 0);
    }
}

#[test]
fn count_finds_held_sessions_and_invalidate_closes_them_where_the_api_cannot_be_asked() {
    let mut world = world();
    let client = listener(&mut world, &[A]);
    invalidate_all(&mut world);
    world.outside.carried_out.clear();
    world.command(user("7"), crate::command::Action::Count);
    world.command(user("7"), invalidate());
    world.deliver();
    assert_eq!(
        world
            .outside
            .carried_out
            .iter()
            .map(|done| done.1)
            .collect::<Vec<_>>(),
        [1, 1]
    );
    let settings = Settings {
        permissions: crate::shard::PermissionSettings::default(),
        ..world.settings.clone()
    };
    world.shard.reconfigure(settings, world.now);
    world.command(user("7"), invalidate());
    world.deliver();
    assert!(!world.is_open(&client));
}
