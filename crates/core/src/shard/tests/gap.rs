//! Publications may have been missed: which connections are closed, once, and which are not.

use ht_proto::close::Close;
use ht_proto::entry::TenantId;
use ht_proto::server::{self, GapCause};
use ht_proto::subprotocol::Subprotocol;

use super::commands::{GRANTS, listener};
use super::hold::{invalidate_all, world};
use super::kit::*;
use crate::recheck::{Recheck, RecheckOutcome, RecheckReason};
use crate::shard::{Gap, Wave};

const A: &str = r#"{"a":1}"#;

fn wave(world: &mut World, number: u32, count: usize) -> Wave {
    let gap = Gap {
        number,
        tenant: None,
        upto: 0,
        cause: GapCause::Broker,
        close: Some(Close::GAP.within(500)),
    };
    wave_of(world, &gap, count)
}

fn wave_of(world: &mut World, gap: &Gap, count: usize) -> Wave {
    let now = world.now;
    let turn = &mut Turn::new(now, &mut world.outside);
    world.shard.close_missed(gap, count, turn)
}

#[test]
fn connections_that_opened_before_a_gap_are_closed_after_their_publications() {
    let mut world = World::new();
    let mut before = [world.open(r#"[{"a":1}]"#), world.open(r#"[{"a":1}]"#)];
    for client in &mut before {
        world.subscribe(client, A, "1");
    }
    let mut refused = world.refuse(Close::NORMAL);
    world.shard.set_gap(1);
    let mut after = world.open(r#"[{"a":1}]"#);
    world.subscribe(&mut after, A, "1");
    world.publish(A, "0");
    refused.hears();
    let closed = |wave: Wave| (wave.closed, wave.finished);
    assert_eq!(closed(wave(&mut world, 1, 1)), (1, false));
    assert_eq!(closed(wave(&mut world, 1, 9)), (1, true));
    assert_eq!(closed(wave(&mut world, 1, 9)), (0, true));
    for client in &mut before {
        assert_eq!(
            client.hears(),
            [publish("0", "1"), "close 1012 gap 500".into()]
        );
    }
    world.deliver();
    assert_eq!(after.hears(), [publish("0", "1")]);
    assert!(refused.hears().is_empty());
    assert_eq!(world.stats().connections, 1);
}

#[test]
fn several_gaps_close_each_connection_once() {
    let mut world = World::new();
    let mut first: Vec<_> = (0..4).map(|_| world.open("[]")).collect();
    world.shard.set_gap(1);
    assert_eq!(wave(&mut world, 1, 2).closed, 2);
    let mut second = world.open("[]");
    // While connections are closed for the first gap, a second one is found: the remaining ones and
    // those that opened in between are closed for both.
    world.shard.set_gap(2);
    let mut third = world.open("[]");
    assert_eq!(wave(&mut world, 2, usize::MAX).closed, 3);
    assert!(wave(&mut world, 2, usize::MAX).finished);
    for client in first.iter_mut().chain([&mut second]) {
        assert_eq!(client.hears(), ["close 1012 gap 500"]);
    }
    assert!(third.hears().is_empty());
    assert_eq!(wave(&mut world, 2, usize::MAX).closed, 0);
}

#[test]
fn wave_resumes_where_the_last_one_ended() {
    // Connections with the first slots, which are reused, do not precede the others.
    let mut world = World::new();
    let mut clients: Vec<_> = (0..6).map(|_| world.open("[]")).collect();
    for number in 1..=3 {
        world.shard.set_gap(number);
        assert_eq!(wave(&mut world, number, 2).closed, 2);
    }
    for client in &mut clients {
        assert_eq!(client.hears(), ["close 1012 gap 500"]);
    }
}

#[test]
fn gap_closes_nothing_in_a_shard_without_connections() {
    let mut world = World::new();
    let nobody = Wave {
        closed: 0,
        told: 0,
        finished: true,
    };
    assert_eq!(wave(&mut world, 7, usize::MAX), nobody);
}

fn gap(upto: u64, cause: GapCause, close: Option<Close>) -> Gap {
    Gap {
        number: 1,
        tenant: None,
        upto,
        cause,
        close,
    }
}

/// Publications are lost here; the position of the hole.
fn hole(world: &mut World) -> u64 {
    world.outside.position += 1;
    let position = world.outside.position;
    world.window.append_hole(position, world.now);
    world.shard.set_gap(1);
    position
}

/// The event about a gap, without its cursor.
fn event(cause: GapCause) -> String {
    format!(r#"{{"type": "gap", "reason": "{}"}}"#, cause.as_str())
}

#[test]
fn client_with_events_is_told_of_a_gap_and_sent_nothing_before_the_api_has_answered_again() {
    let mut world = world();
    let mut client = listener(&mut world, &[A]);
    world.publish(A, "0");
    let hole = hole(&mut world);
    let gap = gap(hole, GapCause::Broker, Some(Close::GAP));
    let wave = wave_of(&mut world, &gap, 9);
    assert_eq!((wave.closed, wave.told, wave.finished), (0, 1, true));
    world.publish(A, "1");
    world.deliver();
    let cursor = world.window.reader().view().cursor(hole);
    let heard = client.hears_all();
    assert_eq!(heard.len(), 2, "{heard:?}");
    assert_eq!(heard[1], server::gap(&cursor, GapCause::Broker));
    // A command may have been lost as well.
    let recheck = Recheck {
        key: client.id,
        not_before: hole,
        is_held: true,
        reason: RecheckReason::Gap,
        token: None,
    };
    assert_eq!(world.requests(), [Request::Recheck(recheck)]);
    let early = RecheckOutcome::Permitted(world.rights(GRANTS));
    world.rechecked(&[&client], hole - 1, early);
    world.deliver();
    assert!(client.hears().is_empty(), "a call before the gap");
    world.permitted(&[&client], GRANTS);
    world.deliver();
    assert_eq!(client.hears().last(), Some(&publish("1", "1")));
    assert_eq!(wave_of(&mut world, &gap, 9).told, 0, "once");
    assert_eq!(world.stats().gaps_told, 1);
    world.check_accounts();
}

#[test]
fn what_a_shard_dropped_is_told_and_no_reason_to_ask_the_api() {
    let mut world = world();
    let mut client = listener(&mut world, &[A]);
    world.outside.position += 1;
    let dropped = world.outside.position;
    let gap = gap(dropped, GapCause::Overload, Some(Close::GAP));
    wave_of(&mut world, &gap, 9);
    world.publish(A, "1");
    world.deliver();
    let told = event(GapCause::Overload);
    assert_eq!(client.hears(), [told, publish("1", "1")]);
    assert_eq!(world.requests(), []);
}

#[test]
fn without_credentials_a_client_with_events_is_closed_unless_gaps_are_ignored() {
    for (close, expected) in [(Some(Close::GAP), 1), (None, 0)] {
        let mut world = World::new();
        world.subprotocol = Some(Subprotocol::V1);
        world.events = true;
        let mut client = world.open("[]");
        world.events = false;
        let mut other = world.open("[]");
        let hole = hole(&mut world);
        let wave = wave_of(&mut world, &gap(hole, GapCause::Broker, close), 9);
        world.deliver();
        assert_eq!((wave.closed, wave.told), (2 * expected, 1 - expected));
        if expected == 1 {
            assert_eq!(client.hears(), ["close 1012 gap"]);
            assert_eq!(other.hears(), ["close 1012 gap"]);
        } else {
            assert_eq!(client.hears(), [event(GapCause::Broker)]);
            assert!(other.hears().is_empty());
        }
        assert_eq!(world.requests(), []);
    }
}

#[test]
fn held_client_with_events_is_told_where_it_meets_the_gap() {
    let mut world = world();
    let mut client = listener(&mut world, &[A]);
    world.events = false;
    let mut silent = world.open(GRANTS);
    world.say(&silent, &subscribe(A, "1"));
    silent.hears();
    invalidate_all(&mut world);
    world.requests();
    world.publish(A, "1");
    let hole = hole(&mut world);
    world.permitted(&[&silent], GRANTS);
    world.deliver();
    assert_eq!(silent.hears(), [publish("1", "1")]);
    wave_of(
        &mut world,
        &gap(hole, GapCause::Broker, Some(Close::GAP)),
        9,
    );
    world.publish(A, "2");
    world.deliver();
    assert!(client.hears().is_empty());
    assert_eq!(world.requests().len(), 1, "for a later answer");
    world.permitted(&[&client], GRANTS);
    world.deliver();
    let told = event(GapCause::Broker);
    assert_eq!(
        client.hears()[1..],
        [publish("1", "1"), told, publish("2", "1")]
    );
    assert!(world.is_open(&client));
}

/// The reply to a JSON ping.
fn ping(world: &mut World, client: &mut Client) -> String {
    world.say(client, r#"{"type":"ping","requestId":"p"}"#);
    client.hears_all().pop().expect("a reply")
}

const NO_CURSOR: &str = r#"{"code": "success", "requestId": "p"}"#;

#[test]
fn client_gets_no_cursor_between_a_gap_and_the_moment_when_it_is_told() {
    for cause in [GapCause::Broker, GapCause::Overload] {
        let mut world = world();
        let mut client = listener(&mut world, &[A]);
        world.publish(A, "0");
        world.deliver();
        assert!(client.hears_all()[0].contains("cursor"));
        let hole = hole(&mut world);
        world.shard.note_gap(1);
        world.shard.handed(hole);
        world.publish(A, "1");
        world.deliver();
        let unmarked = r#"{"type": "publish", "data": 1, "requestId": 1}"#;
        assert_eq!(client.hears_all(), [unmarked]);
        assert_eq!(ping(&mut world, &mut client), NO_CURSOR);
        world.say(&client, &subscribe(r#"{"a":2}"#, "2"));
        let answer = r#"{"code": "success", "requestId": 2}"#;
        assert_eq!(client.hears_all(), [answer]);
        // One that opens now is after it.
        let mut later = world.open_with(GRANTS, usize::MAX);
        assert!(later.hears_all()[0].contains("cursor"));
        assert!(ping(&mut world, &mut later).contains("cursor"));
        wave_of(&mut world, &gap(hole, cause, None), 9);
        // It is told in its turn.
        world.publish(A, "2");
        assert_eq!(ping(&mut world, &mut client), NO_CURSOR);
        world.deliver();
        let heard = client.hears_all();
        let told = heard.iter().position(|line| line.contains("gap"));
        let told = told.expect("it is told");
        let is_marked = |line: &String| line.contains("cursor");
        assert!(!heard[..told].iter().any(is_marked), "{heard:?}");
        assert!(heard[told..].iter().all(is_marked), "{heard:?}");
        assert!(ping(&mut world, &mut client).contains("cursor"));
    }
}

#[test]
fn client_that_is_held_after_a_gap_is_told_all_the_same() {
    for cause in [GapCause::Broker, GapCause::Overload] {
        let mut world = world();
        let mut client = listener(&mut world, &[A]);
        world.publish(A, "0");
        let hole = hole(&mut world);
        world.shard.note_gap(1);
        let held = invalidate_all(&mut world);
        world.deliver();
        assert_eq!(client.hears(), [publish("0", "1")]);
        wave_of(&mut world, &gap(hole, cause, None), 9);
        world.deliver();
        let cursor = world.window.reader().view().cursor(held);
        assert_eq!(client.hears_all(), [server::gap(&cursor, cause)]);
        assert!(ping(&mut world, &mut client).contains("cursor"));
        assert_eq!(world.stats().gaps_told, 1);
    }
}

#[test]
fn newcomer_that_is_held_across_a_gap_missed_nothing() {
    let mut world = world();
    world.subprotocol = Some(Subprotocol::V1);
    world.asked_at = world.outside.position;
    invalidate_all(&mut world);
    let mut client = world.open_with(GRANTS, usize::MAX);
    assert!(client.hears().is_empty(), "it awaits a later answer");
    let hole = hole(&mut world);
    world.shard.note_gap(1);
    wave_of(&mut world, &gap(hole, GapCause::Overload, None), 9);
    world.deliver();
    assert!(client.hears().is_empty());
    world.permitted(&[&client], GRANTS);
    world.deliver();
    let heard = client.hears_all();
    assert!(heard.len() == 1 && heard[0].contains("cursor"), "{heard:?}");
    assert!(ping(&mut world, &mut client).contains("cursor"));
}

#[test]
fn gap_of_one_tenant_concerns_its_connections_alone() {
    let mut world = World::with(recheck_settings());
    let (loud, other) = (TenantId::new(1), TenantId::new(2));
    world.events = true;
    world.subprotocol = Some(Subprotocol::V1);
    let mut clients = [loud, other].map(|tenant| {
        world.tenant = tenant;
        let mut client = world.open(r#"[{"a":1}]"#);
        world.subscribe_v1(&mut client, A, "1");
        client
    });
    world.shard.set_gap(1);
    world.shard.note_gap_of(loud, 1);
    for tenant in [loud, other] {
        world.tenant = tenant;
        world.publish(A, "0");
    }
    let upto = world.outside.position;
    world.deliver();
    let [first, second] = clients.each_mut().map(|client| client.hears_all());
    assert!(!first[0].contains("cursor"), "before it is told: {first:?}");
    assert!(second[0].contains("cursor"), "{second:?}");
    let gap = Gap {
        tenant: Some(loud),
        ..gap(upto, GapCause::Overload, Some(Close::GAP))
    };
    let told = Wave {
        closed: 0,
        told: 1,
        finished: true,
    };
    assert_eq!(wave_of(&mut world, &gap, 9), told);
    world.deliver();
    let [first, second] = clients.each_mut().map(|client| client.hears_all());
    assert!(first[0].contains(r#""type": "gap""#), "{first:?}");
    assert_eq!(second, [""; 0]);
    // From then on it gets cursors again.
    world.tenant = loud;
    world.publish(A, "1");
    world.deliver();
    assert!(clients[0].hears_all()[0].contains("cursor"));
}
