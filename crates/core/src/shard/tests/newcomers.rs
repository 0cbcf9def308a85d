//! Clients that are admitted by an answer which an `invalidate` made void.

use ht_proto::entry::TenantId;

use super::commands::{A, B, GRANTS, signed_out, user, who};
use super::hold::{NARROW, invalidate_all, world};
use super::kit::*;
use crate::recheck::{Recheck, RecheckOutcome, RecheckReason};

/// A client that was admitted by an answer from before an `invalidate`.
fn newcomer(world: &mut World) -> (Client, u64) {
    let asked_at = world.outside.position;
    let position = invalidate_all(world);
    world.asked_at = asked_at;
    let client = world.open_with(GRANTS, usize::MAX);
    (client, position)
}

#[test]
fn client_whose_answer_is_void_is_sent_the_newer_one_first() {
    let mut world = world();
    let (mut client, position) = newcomer(&mut world);
    let key = client.id;
    let request = |not_before| {
        Request::Recheck(Recheck {
            key,
            not_before,
            is_held: true,
            reason: RecheckReason::Newcomer,
            token: None,
        })
    };
    assert_eq!(world.requests(), [request(position)]);
    assert!(client.hears().is_empty() && world.told().is_empty());
    assert_eq!((world.stats().connections, world.stats().admitted), (1, 0));
    // What it sends meanwhile waits, `ping` included.
    world.say(&client, "ping");
    world.say(&client, &subscribe(A, "1"));
    world.say(&client, &subscribe(B, "2"));
    // A later command selects it.
    let later = invalidate_all(&mut world);
    assert!(matches!(
        world.requests()[..],
        [Request::Recheck(Recheck { not_before, .. })] if not_before == later
    ));
    world.publish(B, "0");
    let wide = world.rights(GRANTS);
    world.rechecked(&[&client], position, RecheckOutcome::Permitted(wide));
    world.deliver();
    assert!(client.hears().is_empty(), "a shared call from before");
    world.permitted(&[&client], NARROW);
    world.deliver();
    world.resume(0);
    let first = format!(r#"{{"is_authorized": true, "allowed_rooms": {NARROW}}}"#);
    assert_eq!(
        client.hears(),
        [
            first,
            "pong".into(),
            error("room-not-found"),
            SUCCESS.into()
        ]
    );
    assert_eq!((world.stats().connections, world.stats().admitted), (1, 1));
    assert!(
        world
            .told()
            .contains(&Told::Hook(client.number, ht_proto::hook::Hook::Connect))
    );
    world.publish(B, "1");
    world.deliver();
    assert_eq!(client.hears(), [publish("1", "2")]);
    world.check_accounts();
}

#[test]
fn client_whose_answer_is_void_is_refused_as_at_the_handshake() {
    type End = fn(&mut World, &Client, u64);
    let cases: [(End, &str); 6] = [
        (
            |world, client, at| world.rechecked(&[client], at, RecheckOutcome::Refused),
            "close 1000",
        ),
        (
            |world, client, at| {
                let outcome = RecheckOutcome::Unreachable { within: 700 };
                world.rechecked(&[client], at, outcome);
            },
            "close 1013 backend 700",
        ),
        (
            |world, client, at| world.rechecked(&[client], at, RecheckOutcome::Keep),
            "close 1013 backend 5000",
        ),
        (
            |world, client, at| {
                world.who = who("8", &[]);
                let rights = world.rights(GRANTS);
                world.rechecked(&[client], at, RecheckOutcome::Permitted(rights));
            },
            "close 4002 permissions",
        ),
        (
            |world, client, at| {
                for _ in 0..3 {
                    world.rechecked(&[client], at - 1, RecheckOutcome::Refused);
                }
            },
            "close 1013 backend 5000",
        ),
        (
            |world, _, _| {
                world.command(user("7"), signed_out());
            },
            "close 4303 signed-out",
        ),
    ];
    for (end, close) in cases {
        let mut world = world();
        let (mut client, position) = newcomer(&mut world);
        world.say(&client, &subscribe(A, "1"));
        end(&mut world, &client, position);
        world.deliver();
        world.pass(200);
        assert_eq!(
            client.hears(),
            [ht_proto::server::NOT_AUTHORIZED, close],
            "a refused client"
        );
        let stats = world.stats();
        assert_eq!(
            (stats.refused, stats.admitted, stats.connections),
            (1, 0, 0)
        );
        assert!(
            !world
                .told()
                .iter()
                .any(|told| matches!(told, Told::Hook(..))),
            "no hook reports it"
        );
        world.check_accounts();
        world.pass(4_000);
        assert!(world.shard.is_empty());
        assert_eq!(world.settings.accounts.total(), 0);
    }
}

#[test]
fn permit_replaces_a_void_answer_and_one_that_is_too_old_is_asked_for_again() {
    let mut world = world();
    // Before it enters, and after.
    let asked_at = world.outside.position;
    invalidate_all(&mut world);
    world.command(user("7"), permit(NARROW));
    world.deliver();
    world.asked_at = asked_at;
    let mut early = world.open(GRANTS);
    assert!(world.requests().is_empty());
    world.subscribe(&mut early, B, "1");
    let (mut late, _) = newcomer(&mut world);
    world.command(user("7"), permit(NARROW));
    world.deliver();
    let first = format!(r#"{{"is_authorized": true, "allowed_rooms": {NARROW}}}"#);
    assert_eq!(late.hears(), [first]);
    // The last commands are not known.
    let position = world.outside.position + 5;
    world.shard.lose_commands(TenantId::MAIN, position);
    world.outside.position = position;
    world.deliver();
    world.requests();
    world.asked_at = position - 1;
    let mut unknown = world.open_with(GRANTS, usize::MAX);
    assert!(matches!(
        world.requests()[..],
        [Request::Recheck(Recheck { not_before, .. })] if not_before == position
    ));
    world.permitted(&[&unknown], GRANTS);
    world.deliver();
    assert_eq!(unknown.hears().len(), 1);
    world.check_accounts();
}

#[test]
fn an_answer_from_before_a_gap_is_void() {
    let mut world = world();
    world.shard.set_gap(1);
    // A command may have been lost since.
    world.answer_gap = 0;
    let mut client = world.open_with(GRANTS, usize::MAX);
    assert!(matches!(
        world.requests()[..],
        [Request::Recheck(Recheck { is_held: true, .. })]
    ));
    assert!(client.hears().is_empty());
    world.permitted(&[&client], NARROW);
    world.deliver();
    let first = format!(r#"{{"is_authorized": true, "allowed_rooms": {NARROW}}}"#);
    assert_eq!(client.hears(), [first]);
    // Commands that are known apply all the same.
    world.asked_at = world.outside.position;
    world.command(user("7"), signed_out());
    world.deliver();
    let mut ended = world.open_with(GRANTS, usize::MAX);
    assert_eq!(ended.hears().last().unwrap(), "close 4303 signed-out");
    world.asked_at = world.outside.position;
    world.answer_gap = 1;
    let mut later = world.open_with(GRANTS, usize::MAX);
    assert_eq!(later.hears().len(), 1);
    assert!(world.requests().is_empty());
}
