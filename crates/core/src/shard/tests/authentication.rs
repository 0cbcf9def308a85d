//! First-frame authentication: tokens, clients without one, and late answers.

use ht_frame::Opcode;
use ht_proto::close::Close;
use ht_proto::hook::Hook;
use ht_proto::server::NOT_AUTHORIZED;

use super::kit::*;
use crate::shard::SessionKey;
use crate::shard::authentication::FIRST_MESSAGE_BYTES_MAX;
use crate::world::AuthenticationEnd::{self, Answered, Invalid, Leaving, Left};

const GRANTS: &str = r#"[{"a":1}]"#;
const AUTHENTICATE: &str = r#"{"type": "authenticate", "token": "right"}"#;

/// A client whose token was received.
fn asked(world: &mut World) -> Client {
    let mut client = world.await_token(usize::MAX);
    world.say(&client, AUTHENTICATE);
    expect_asked(world, client.id);
    assert!(client.hears().is_empty());
    client
}

#[track_caller]
fn expect_asked(world: &mut World, key: SessionKey) {
    let asked = world.asked();
    assert_eq!(asked.len(), 1, "{asked:?}");
    assert_eq!((asked[0].0, asked[0].1.as_bytes()), (key, &b"right"[..]));
    assert!(world.shard.awaits_answer(key));
}

#[track_caller]
fn expect_turned_away(world: &mut World, client: &mut Client) {
    assert_eq!(client.hears(), [NOT_AUTHORIZED, "close 4301 authenticate"]);
    assert_eq!(ends(world), [Invalid]);
    assert!(world.asked().is_empty() && !world.shard.awaits_answer(client.id));
}

/// Results of waits since the last call.
fn ends(world: &mut World) -> Vec<AuthenticationEnd> {
    let told = world.told().into_iter();
    let ends = told.filter_map(|told| match told {
        Told::Authentication(end) => Some(end),
        Told::Hook(..)
        | Told::RoomOpened
        | Told::RoomClosed
        | Told::Evicted(_)
        | Told::Sent(_)
        | Told::Shutdown(_) => None,
    });
    ends.collect()
}

#[test]
fn api_answer_about_the_token_opens_the_session() {
    let mut world = World::new();
    let mut client = asked(&mut world);
    assert_eq!((world.stats().admitted, world.stats().messages), (0, 0));
    assert!(world.outside.connected.is_empty());
    assert_eq!(world.outside.first_frames.len(), 1);
    let admission = world.admission(GRANTS);
    world.answer(client.id, admission);
    // Its handshake is over before it is notified.
    assert_eq!(
        world.told(),
        [
            Told::Authentication(Answered),
            Told::Hook(client.number, Hook::Connect),
            Told::Sent(client.number),
        ]
    );
    assert_eq!(client.hears().len(), 1);
    assert_eq!((world.stats().admitted, world.stats().connections), (1, 1));
    world.subscribe(&mut client, r#"{"a":1}"#, "1");
    assert_eq!(
        world.ask(&mut client, AUTHENTICATE),
        [error_of(&client, "message-type-not-allowed")]
    );
    world.check_accounts();
}

#[test]
fn token_may_arrive_in_pieces_or_compressed_and_control_frames_are_answered_meanwhile() {
    let mut world = World::new();
    let whole = masked(Opcode::Text, AUTHENTICATE.as_bytes());
    let client = world.await_token(usize::MAX);
    for byte in &whole {
        assert!(world.asked().is_empty());
        world.receive(&client, &[*byte]);
    }
    expect_asked(&mut world, client.id);
    assert_eq!(world.outside.first_frames[&client.id], whole.len());

    let mut client = world.await_token(usize::MAX);
    world.receive(&client, &whole[..20]);
    assert!(world.shard.may_read(client.id));
    world.receive(&client, &whole[20..]);
    expect_asked(&mut world, client.id);
    assert!(!world.shard.may_read(client.id));
    assert!(client.hears().is_empty());

    let mut client = world.await_token(usize::MAX);
    world.frame(&client, Opcode::Ping, b"there?");
    world.frame(&client, Opcode::Pong, b"");
    assert_eq!(client.hears(), ["control pong there?"]);
    world.frame(&client, Opcode::Binary, AUTHENTICATE.as_bytes());
    expect_asked(&mut world, client.id);

    world.offer = Some("permessage-deflate");
    let client = world.await_token(usize::MAX);
    world.receive(
        &client,
        &masked_deflated(Opcode::Text, AUTHENTICATE.as_bytes()),
    );
    expect_asked(&mut world, client.id);
    world.check_accounts();
}

#[test]
fn any_other_first_message_is_refused() {
    let mut world = World::new();
    let token = |token: &str| format!(r#"{{"type": "authenticate", "token": {token}}}"#);
    let text = |text: &str| masked(Opcode::Text, text.as_bytes());
    let long = "a".repeat(FIRST_MESSAGE_BYTES_MAX);
    for bytes in [
        text("ping"),
        text(&subscribe(r#"{"a":1}"#, "1")),
        text(&token("5")),
        text(&token("\"\"")),
        text(&token(r#""a\tb""#)),
        text(&token(&format!("\"{}\"", &long[..40_000]))),
        text(&token(&format!("\"{long}\""))),
        masked(Opcode::Binary, b"\xff"),
        // Against the protocol: not masked, and compressed without negotiation.
        b"\x81\x00".to_vec(),
        masked_deflated(Opcode::Text, AUTHENTICATE.as_bytes()),
    ] {
        let mut client = world.await_token(usize::MAX);
        world.receive(&client, &bytes);
        expect_turned_away(&mut world, &mut client);
        // Its further input is ignored.
        world.say(&client, AUTHENTICATE);
        assert!(world.asked().is_empty());
        world.gone(&client);
    }
    assert_eq!((world.stats().refused, world.stats().violations), (10, 0));
    assert!(world.outside.first_frames.is_empty());
}

#[test]
fn late_token_is_refused_and_pending_api_query_has_no_timeout() {
    let mut world = World::new();
    let mut silent = world.await_token(usize::MAX);
    let mut begun = world.await_token(usize::MAX);
    world.receive(&begun, &masked(Opcode::Text, AUTHENTICATE.as_bytes())[..20]);
    let mut asked = asked(&mut world);
    assert_eq!(
        world.shard.deadline(),
        Some(world.now + FIRST_FRAME_TIMEOUT)
    );
    world.pass(FIRST_FRAME_TIMEOUT - 1);
    assert!(silent.hears().is_empty() && begun.hears().is_empty());
    world.pass(1);
    for client in [&mut silent, &mut begun] {
        assert_eq!(client.hears(), [NOT_AUTHORIZED, "close 4301 authenticate"]);
    }
    assert_eq!(ends(&mut world), [Invalid, Invalid]);
    world.check_accounts();
    world.pass(10 * FIRST_FRAME_TIMEOUT);
    assert!(asked.hears().is_empty() && world.is_there(&asked));
    assert!(!world.is_there(&silent) && !world.is_there(&begun));
}

#[test]
fn slow_consumer_is_not_read_and_gets_no_frame_after_a_partial_one() {
    let mut world = World::new();
    let mut client = world.await_token(3);
    world.frame(&client, Opcode::Ping, b"there?");
    assert!(!world.shard.may_read(client.id));
    world.pass(FIRST_FRAME_TIMEOUT);
    assert!(!world.is_there(&client) && client.hears().is_empty());
    assert_eq!(ends(&mut world), [Left]);
    let mut client = world.await_token(3);
    world.frame(&client, Opcode::Ping, b"there?");
    client.takes(usize::MAX);
    world.writable(&client);
    assert!(world.shard.may_read(client.id));
    assert_eq!(client.hears(), ["control pong there?"]);
}

#[test]
fn input_after_the_token_is_queued_until_the_answer() {
    let mut world = World::new();
    let mut client = world.await_token(usize::MAX);
    let subscribe = masked(Opcode::Text, subscribe(r#"{"a":1}"#, "1").as_bytes());
    let (begun, ended) = subscribe.split_at(20);
    let token = masked(Opcode::Text, AUTHENTICATE.as_bytes());
    world.receive(&client, &[&token, begun].concat());
    expect_asked(&mut world, client.id);
    // Bytes that its thread had read already.
    world.receive(&client, ended);
    world.frame(&client, Opcode::Ping, b"p");
    assert!(client.hears().is_empty() && !world.shard.has_work());
    let admission = world.admission(GRANTS);
    world.answer(client.id, admission);
    let heard = client.hears();
    assert_eq!(heard[1..], [SUCCESS, "control pong p"]);
    assert_eq!(world.stats().subscriptions, 1);
    world.check_accounts();
}

#[test]
fn pings_beyond_a_slice_leave_the_token_to_a_later_turn() {
    let mut world = World::new();
    let mut client = world.await_token(usize::MAX);
    let ping = masked(Opcode::Ping, b"p");
    let token = masked(Opcode::Text, AUTHENTICATE.as_bytes());
    let rest = masked(Opcode::Text, b"ping");
    let bytes = [ping.repeat(20), token, rest].concat();
    world.begin(2_000);
    world.receive(&client, &bytes);
    assert!(world.shard.is_behind() && world.asked().is_empty());
    world.resume(2_000);
    assert_eq!(client.hears().len(), 20);
    expect_asked(&mut world, client.id);
    let admission = world.admission(GRANTS);
    world.answer(client.id, admission);
    world.resume(2_000);
    assert_eq!(client.hears()[1..], ["pong"]);
    assert_eq!(world.outside.first_frames.len(), 0);
}

#[test]
fn a_refusal_is_sent_as_at_the_handshake() {
    let mut world = World::new();
    let mut client = asked(&mut world);
    let refusal = world.refusal(Close::REFUSED);
    world.answer(client.id, refusal);
    assert_eq!(client.hears(), [NOT_AUTHORIZED]);
    world.pass(100);
    assert_eq!(client.hears(), ["close 4300 refused"]);
    assert_eq!((world.stats().refused, world.stats().admitted), (1, 0));
}

#[test]
fn an_answer_for_a_session_that_has_ended_touches_nobody() {
    let mut world = World::new();
    let first = asked(&mut world);
    world.gone(&first);
    assert_eq!(ends(&mut world), [Left]);
    // Its slot is used again, by sessions that await an answer as it did.
    let mut second = asked(&mut world);
    assert_eq!(first.id.slot, second.id.slot);
    let admission = world.admission(GRANTS);
    world.answer(first.id, admission);
    let turn = &mut Turn::new(world.now, &mut world.outside);
    world.shard.abandon(first.id, turn);
    assert!(second.hears().is_empty() && world.shard.awaits_answer(second.id));
    assert_eq!(world.stats().admitted, 0);
    // Nor is one without a pending query, or with an answer.
    let mut third = world.await_token(usize::MAX);
    let admission = world.admission(GRANTS);
    world.answer(third.id, admission.clone());
    assert!(third.hears().is_empty());
    world.answer(second.id, admission.clone());
    world.answer(second.id, admission);
    assert_eq!((second.hears().len(), world.stats().admitted), (1, 1));
    let refusal = world.refusal(Close::REFUSED);
    world.answer(second.id, refusal);
    assert!(second.hears().is_empty() && world.is_open(&second));
}

#[test]
fn client_that_disconnects_is_released() {
    let mut world = World::new();
    let mut client = world.await_token(usize::MAX);
    world.frame(&client, Opcode::Close, &1000u16.to_be_bytes());
    assert_eq!(client.hears(), ["close 1000"]);
    assert!(client.is_shut_down());
    assert_eq!(ends(&mut world), [Left]);
    let client = asked(&mut world);
    let turn = &mut Turn::new(world.now, &mut world.outside);
    world.shard.abandon(client.id, turn);
    assert!(!world.is_there(&client));
    assert_eq!(ends(&mut world), [Left]);
    assert_eq!(world.stats().refused, 0);
}

#[test]
fn client_that_exceeds_the_handshake_bound_is_dropped() {
    let mut world = World::new();
    world.outside.first_frame_bytes_max = 30;
    let mut client = world.await_token(usize::MAX);
    world.receive(
        &client,
        &masked(Opcode::Text, AUTHENTICATE.as_bytes())[..30],
    );
    assert!(world.is_there(&client));
    world.receive(&client, b"x");
    assert!(!world.is_there(&client) && client.hears().is_empty());
    assert_eq!(ends(&mut world), [Left]);
}

#[test]
fn shutdown_closes_sessions_without_an_answer() {
    let mut world = World::new();
    let mut open = world.open(GRANTS);
    let mut silent = world.await_token(usize::MAX);
    let mut asked = asked(&mut world);
    let mut slow = world.await_token(1);
    world.told();
    let turn = &mut Turn::new(world.now, &mut world.outside);
    world.shard.close_unauthenticated(Close::RESTART, turn);
    for client in [&mut silent, &mut asked] {
        assert_eq!(client.hears(), ["close 1012 restart"]);
        assert!(client.is_shut_down() && !world.is_there(client));
    }
    assert!(world.is_there(&slow));
    slow.takes(usize::MAX);
    world.writable(&slow);
    assert_eq!(slow.hears(), ["close 1012 restart"]);
    assert_eq!(ends(&mut world), [Leaving; 3]);
    assert!(open.hears().is_empty() && world.is_open(&open));
    let admission = world.admission(GRANTS);
    world.answer(asked.id, admission);
    assert_eq!(world.stats().admitted, 1);
    world.pass(3_000);
    assert_eq!(world.shard.len(), 1);
}

#[test]
fn memory_of_a_first_message_is_accounted_at_every_stage() {
    for closes_all in [true, false] {
        let mut world = World::new();
        // Only the first byte of a frame is accepted, so that it is closed later.
        let client = world.await_token(1);
        world.receive(
            &client,
            &masked(Opcode::Text, AUTHENTICATE.as_bytes())[..20],
        );
        world.check_accounts();
        let turn = &mut Turn::new(world.now, &mut world.outside);
        match closes_all {
            true => world.shard.close_all(Close::RESTART, turn),
            false => world.shard.close_unauthenticated(Close::RESTART, turn),
        }
        assert!(world.is_there(&client));
        world.check_accounts();
        world.gone(&client);
        world.check_accounts();
    }
}

#[test]
fn sessions_without_an_answer_are_closed_in_turns() {
    let mut world = World::new();
    let mut clients: Vec<_> = (0..50).map(|_| world.await_token(usize::MAX)).collect();
    let mut turns = 0;
    while world.shard.has_unauthenticated() {
        world.begin(100_000);
        let turn = &mut Turn::new(world.now, &mut world.outside);
        world.shard.close_unauthenticated(Close::RESTART, turn);
        turns += 1;
    }
    assert!((3..=50).contains(&turns), "{turns}");
    for client in &mut clients {
        assert_eq!(client.hears(), ["close 1012 restart"]);
    }
    assert_eq!(ends(&mut world), [Leaving; 50]);
}
