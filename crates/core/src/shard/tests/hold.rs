//! Sessions that are held until the API has answered about them again, and catch up.

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

fn room_name(room: &str) -> &'static str {
    if room == A { "1" } else { "2" }
}

#[test]
fn answer_decides_how_a_held_session_ends_or_continues() {
    type Outcome = fn(&World) -> RecheckOutcome;
    let cases: [(Outcome, &[&str]); 4] = [
        (|_| RecheckOutcome::Refused, &["close 4002 permissions"]),
        (
            |_| RecheckOutcome::Unreachable { within: 700 },
            &["close 1013 backend 700"],
        ),
        (
            |_| RecheckOutcome::Keep,
            &[r#"{"type": "publish", "data": 1, "requestId": 1}"#],
        ),
        (
            |world| {
                RecheckOutcome::Permitted(Rights {
                    who: who("8", &[]),
                    ..world.rights(GRANTS)
                })
            },
            &["close 4002 permissions"],
        ),
    ];
    for (outcome, expected) in cases {
        let mut world = world();
        let mut client = listener(&mut world, &[A]);
        let position = invalidate_all(&mut world);
        world.publish(A, "1");
        let outcome = outcome(&world);
        world.rechecked(&[&client], position, outcome);
        world.deliver();
        assert_eq!(client.hears(), expected);
        assert_eq!(world.stats().connections_held, 0);
        assert_eq!(world.stats().undelivered, 0);
        world.check_accounts();
    }
}

#[test]
fn answer_to_an_earlier_call_changes_nothing() {
    let mut world = world();
    let mut client = listener(&mut world, &[A]);
    let first = invalidate_all(&mut world);
    let second = invalidate_all(&mut world);
    assert_eq!(
        world.requests(),
        [recheck(&client, first), recheck(&client, second)]
    );
    world.publish(A, "1");
    let wide = world.rights(GRANTS);
    world.rechecked(&[&client], first, RecheckOutcome::Permitted(wide));
    world.rechecked(&[&client], first, RecheckOutcome::Refused);
    world.deliver();
    assert!(client.hears().is_empty());
    let rights = world.rights(r#"[{"a": 1}]"#);
    world.rechecked(&[&client], second, RecheckOutcome::Permitted(rights));
    world.deliver();
    assert_eq!(client.hears()[1..], [publish("1", "1")]);
    // It is not held any more.
    world.rechecked(&[&client], u64::MAX, RecheckOutcome::Refused);
    world.deliver();
    assert!(world.is_open(&client));
}

#[test]
fn command_in_between_that_selects_by_the_new_permissions_voids_the_answer() {
    let project = r#"{"project": 3}"#;
    let room = Room::parse(project, RoomLimits::TRUSTED).unwrap();
    let members = || Selection {
        rooms: vec![room.clone()],
        ..Selection::default()
    };
    let mut world = world();
    let mut client = listener(&mut world, &[A]);
    let first = invalidate_all(&mut world);
    let joined = |world: &World| world.rights(r#"[{"a": 1}, {"project": 3}]"#);
    let rights = joined(&world);
    // The API removed the client from the project after it had answered.
    let second = world.command(members(), invalidate());
    world.rechecked(&[&client], first, RecheckOutcome::Permitted(rights));
    world.publish(A, "1");
    world.deliver();
    assert!(client.hears().is_empty());
    assert_eq!(
        world.requests(),
        [recheck(&client, first), recheck(&client, second)]
    );
    let rights = joined(&world);
    let third = world.command(members(), signed_out());
    world.rechecked(&[&client], second, RecheckOutcome::Permitted(rights));
    world.deliver();
    assert!(!world.is_open(&client), "disconnected at {third}");
    world.check_accounts();
}

#[test]
fn commands_have_their_turn_when_a_held_session_was_sent_everything_before_them() {
    let mut world = world();
    let mut client = listener(&mut world, &[A, B]);
    invalidate_all(&mut world);
    world.publish(A, "1");
    world.command(user("7"), unsubscribe_from(&format!("[{A}]")));
    world.publish(A, "2");
    world.publish(B, "3");
    world.deliver();
    assert!(client.hears().is_empty());
    world.permitted(&[&client], r#"[{"a": 1}, {"a": 2}]"#);
    world.deliver();
    assert_eq!(
        client.hears()[1..],
        [
            publish("1", "1"),
            lost("1", r#"{"a": 1}"#, "command"),
            publish("3", "2")
        ]
    );
    // A permit is an answer.
    let position = invalidate_all(&mut world);
    world.publish(B, "4");
    world.command(user("7"), permit(NARROW));
    world.publish(B, "5");
    world.deliver();
    assert_eq!(
        client.hears(),
        [narrowed(), publish("4", "2"), publish("5", "2")]
    );
    assert_eq!(
        world.requests()[1..],
        [recheck(&client, position), Request::Cancel(client.id)]
    );
    // A disconnect does not wait.
    invalidate_all(&mut world);
    world.publish(B, "6");
    world.command(user("7"), signed_out());
    world.deliver();
    assert_eq!(client.hears(), ["close 4303 signed-out"]);
}

/// Publishes more than several steps send, for a session that is held and has its answer.
fn long_catch_up(world: &mut World, client: &Client) -> usize {
    let data = format!("\"{}\"", "x".repeat(1_000));
    let count = 3_000;
    for _ in 0..count {
        world.publish(A, &data);
    }
    world.deliver();
    world.permitted(&[client], r#"[{"a": 1}, {"a": 2}]"#);
    count
}

#[test]
fn others_are_served_while_a_session_catches_up_and_it_misses_nothing() {
    let mut world = world();
    let mut client = listener(&mut world, &[A]);
    world.who = who("8", &[]);
    let mut other = listener(&mut world, &[B]);
    world.who = who("7", &[]);
    world.command(user("7"), invalidate());
    let count = long_catch_up(&mut world, &client);
    let mut heard = Vec::new();
    let (mut turns, mut other_heard) = (0, 0);
    while world.shard.has_fan_out() {
        if turns < 4 {
            world.publish(B, &turns.to_string());
            world.publish(A, &turns.to_string());
            assert!(world.shard.backlog() <= 4, "its own work is no backlog");
        }
        let before = world.shard.budget().total();
        world.begin(100_000);
        world.slice(256);
        let spent = world.shard.budget().total() - before;
        assert!(spent < 200_000, "{spent} units");
        // In this turn or the next one.
        other_heard += other.hears().len();
        assert!(other_heard >= turns.min(4));
        heard.extend(client.hears());
        turns += 1;
    }
    assert!(turns > 8, "{turns}");
    assert_eq!(other_heard, 4);
    assert_eq!(heard.len(), 1 + count + 4);
    for number in 0..4 {
        let at = 1 + count + number;
        assert_eq!(heard[at], publish(&number.to_string(), "1"));
    }
}

#[test]
fn commands_of_a_session_that_catches_up_have_their_turn() {
    let mut world = world();
    let mut client = listener(&mut world, &[A, B]);
    world.command(user("7"), invalidate());
    let count = long_catch_up(&mut world, &client);
    world.begin(300_000);
    world.slice(3);
    world.begin(0);
    assert_eq!(world.stats().connections_held, 1);
    world.publish(A, "1");
    world.command(user("7"), unsubscribe_from(&format!("[{A}]")));
    world.publish(A, "2");
    world.publish(B, "3");
    let position = world.command(user("7"), invalidate());
    world.publish(B, "4");
    world.requests();
    world.deliver();
    let heard = client.hears();
    assert_eq!(
        heard[1 + count..],
        [
            publish("1", "1"),
            lost("1", r#"{"a": 1}"#, "command"),
            publish("3", "2")
        ]
    );
    assert_eq!(world.requests(), [recheck(&client, position)]);
    world.permitted(&[&client], NARROW);
    world.deliver();
    assert_eq!(client.hears(), [narrowed(), publish("4", "2")]);
}

#[test]
fn slow_client_catches_up_as_it_accepts_data_and_is_not_evicted() {
    let mut settings = recheck_settings();
    settings.limits.outbox_bytes = 20_000;
    let mut world = World::with(settings);
    world.who = who("7", &[]);
    let mut client = listener(&mut world, &[A]);
    world.command(user("7"), invalidate());
    client.takes(10_000);
    let count = long_catch_up(&mut world, &client);
    world.deliver();
    let mut heard = client.hears();
    let mut rounds = 0;
    while heard.len() < 1 + count {
        assert!(world.shard.sessions[client.id.slot as usize].waiting() <= 80_000);
        client.takes(usize::MAX);
        world.writable(&client);
        client.takes(10_000);
        world.deliver();
        heard.extend(client.hears());
        rounds += 1;
    }
    assert!(rounds > 5, "{rounds}");
    assert!(world.is_open(&client));
    assert_eq!(world.stats().connections_held, 0);
}

#[test]
fn session_that_missed_more_than_the_window_has_is_closed_for_a_gap() {
    let limits = WindowLimits {
        entries: 10,
        ..WindowLimits::default()
    };
    for (missed, is_kept) in [(9, true), (12, false)] {
        let mut world = World::with_window(recheck_settings(), limits);
        world.who = who("7", &[]);
        let mut client = listener(&mut world, &[A]);
        let mut idle = listener(&mut world, &[]);
        invalidate_all(&mut world);
        for _ in 0..missed {
            world.publish(B, "0");
        }
        world.publish(A, "1");
        world.permitted(&[&client, &idle], GRANTS);
        world.deliver();
        let heard = client.hears();
        let expected = match is_kept {
            true => publish("1", "1"),
            false => "close 1012 gap 10000".into(),
        };
        assert_eq!(heard[1..], [expected]);
        assert_eq!(idle.hears().len(), 1, "it missed nothing");
        assert!(world.is_open(&idle));
    }
    // A hole in it is a gap, too.
    let mut world = world();
    let mut client = listener(&mut world, &[A]);
    let position = invalidate_all(&mut world);
    world.window.append_hole(position + 1, 0);
    world.outside.position += 1;
    world.publish(A, "1");
    world.permitted(&[&client], GRANTS);
    world.deliver();
    assert_eq!(client.hears()[1..], ["close 1012 gap 10000"]);
    assert_eq!(world.stats().window_gaps, 1);
}

#[test]
fn rooms_that_opened_later_and_publications_with_several_rooms_are_caught_up_as_fan_out_sends_them()
{
    let mut world = world();
    let mut client = listener(&mut world, &[A, B, WILD]);
    world.tenant = ht_proto::entry::TenantId::new(1);
    let other = world.open(GRANTS);
    world.tenant = ht_proto::entry::TenantId::MAIN;
    invalidate_all(&mut world);
    world.publish_all(&[
        (&[A, B], "1"),
        (&[r#"{"x":1}"#], "2"),
        (&[WILD], "3"),
        (&[B, A, B], "4"),
    ]);
    world.tenant = ht_proto::entry::TenantId::new(1);
    world.publish(A, "5");
    world.tenant = ht_proto::entry::TenantId::MAIN;
    world.permitted(&[&client], GRANTS);
    world.deliver();
    let mut heard = client.hears()[1..].to_vec();
    heard.sort();
    let mut expected = Vec::new();
    for data in ["1", "3", "4"] {
        expected.extend(["1", "2", "3"].map(|name| publish(data, name)));
    }
    assert_eq!(heard, expected);
    world.gone(&other);
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

#[test]
fn permit_replaces_the_answer_that_a_session_will_await_once_it_has_caught_up() {
    let mut world = world();
    let mut client = listener(&mut world, &[A, B]);
    world.command(user("7"), invalidate());
    let count = long_catch_up(&mut world, &client);
    world.requests();
    world.begin(300_000);
    world.slice(3);
    world.begin(0);
    world.command(user("7"), invalidate());
    world.publish(A, "1");
    world.command(user("7"), permit(NARROW));
    world.publish(B, "2");
    world.deliver();
    assert_eq!(world.requests(), []);
    let heard = client.hears();
    assert_eq!(
        heard[1 + count..],
        [
            lost("1", r#"{"a": 1}"#, "permissions"),
            narrowed(),
            publish("2", "2")
        ]
    );
    assert_eq!(world.ask(&mut client, &subscribe(B, "3")).len(), 1);
    assert_eq!(world.stats().connections_held, 0);
}
