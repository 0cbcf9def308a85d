//! How connections end.

use ht_frame::Opcode;
use ht_proto::close::Close;
use ht_proto::hook::Hook;

use super::kit::*;
use crate::limits::Limits;
use crate::peer::Eviction;
use crate::shard::Settings;

const A: &str = r#"{"a":1}"#;

#[test]
fn longest_idle_connections_are_closed_first() {
    let mut world = World::new();
    let mut clients: Vec<_> = (0..3).map(|_| world.open(r#"[{"a":1}]"#)).collect();
    for client in &mut clients {
        world.subscribe(client, r#"{"a":1}"#, "1");
    }
    world.say(&clients[0], "ping");
    assert_eq!(clients[0].hears(), ["pong"]);
    world.publish(r#"{"a":1}"#, "0");
    let close = Close::RESTART.within(500);
    world
        .shard
        .close_some(2, close, &mut Turn::new(world.now, &mut world.outside));
    for client in &mut clients[1..] {
        assert_eq!(
            client.hears(),
            [publish("0", "1"), "close 1012 restart 500".into()]
        );
    }
    world.deliver();
    assert_eq!(clients[0].hears(), [publish("0", "1")]);
    world
        .shard
        .close_some(9, close, &mut Turn::new(world.now, &mut world.outside));
    assert_eq!(clients[0].hears(), ["close 1012 restart 500"]);
    assert_eq!(world.stats().connections, 0);
}

#[test]
fn a_wave_ends_with_the_budget_after_one_connection_at_least() {
    let mut world = World::new();
    let mut clients: Vec<_> = (0..3).map(|_| world.open("[]")).collect();
    for left in [2, 1] {
        world.begin(1);
        let (now, close) = (world.now, Close::RESTART);
        world
            .shard
            .close_some(9, close, &mut Turn::new(now, &mut world.outside));
        assert_eq!(world.stats().connections, left);
    }
    assert_eq!(clients[0].hears(), ["close 1012 restart"]);
}

#[test]
fn refused_client_is_notified_and_closed_after_a_delay() {
    for (close, line) in [
        (Close::NORMAL, "close 1000"),
        (Close::REFUSED, "close 4300 refused"),
        (Close::BACKEND.within(5_000), "close 1013 backend 5000"),
    ] {
        let mut world = World::new();
        let mut visitor = world.refuse(close);
        assert_eq!(visitor.hears(), [r#"{"is_authorized": false}"#]);
        assert_eq!(world.shard.deadline(), Some(world.now + 100));
        world.say(&visitor, "ping");
        world.say(&visitor, r#"{"type": "status"}"#);
        world.pass(99);
        assert!(visitor.hears().is_empty());
        world.pass(1);
        assert_eq!(visitor.hears(), [line]);
        world.say(&visitor, "ping");
        assert!(visitor.hears().is_empty());
        let stats = world.stats();
        assert_eq!(
            (stats.connections, stats.admitted, stats.refused),
            (0, 0, 1)
        );
        assert_eq!(stats.messages, 0);
        world.frame(&visitor, Opcode::Close, &1000u16.to_be_bytes());
        assert!(visitor.is_shut_down());
        world.gone(&visitor);
        assert!(world.shard.is_empty());
        let moments = world.told();
        assert!(!moments.iter().any(|told| matches!(told, Told::Hook(..))));
    }
}

#[test]
fn refused_session_is_closed_at_once_whatever_its_further_input() {
    let mut world = World::new();
    let mut visitor = world.turn_away(Close::AUTHENTICATE, usize::MAX);
    let refused = r#"{"is_authorized": false}"#;
    assert_eq!(visitor.hears(), [refused, "close 4301 authenticate"]);
    world.receive(&visitor, b"the rest of a frame that was too long");
    assert!(visitor.hears().is_empty());
    assert!(visitor.is_shut_down());
    world.gone(&visitor);
    assert_eq!((world.stats().refused, world.stats().admitted), (1, 0));
    // It may not read, or have disconnected already.
    let slow = world.turn_away(Close::AUTHENTICATE, 0);
    assert!(world.is_there(&slow));
    slow.vanish();
    world.writable(&slow);
    assert!(world.shard.is_empty() && world.shard.deadline().is_none());
}

#[test]
fn refused_client_may_send_valid_frames() {
    let mut world = World::new();
    let mut visitor = world.refuse(Close::NORMAL);
    visitor.hears();
    world.frame(&visitor, Opcode::Ping, b"there?");
    assert_eq!(visitor.hears(), ["control pong there?"]);
    world.frame(&visitor, Opcode::Close, &1001u16.to_be_bytes());
    assert_eq!(visitor.hears(), ["close 1001"]);
    assert!(visitor.is_shut_down());
    world.pass(100);
    assert!(visitor.hears().is_empty());
    world.pass(3_000);
    assert!(world.shard.is_empty());
}

#[test]
fn frame_that_a_refused_client_sends_around_our_close_is_still_decoded() {
    let mut world = World::new();
    let mut visitor = world.refuse(Close::NORMAL);
    visitor.hears();
    let bytes = masked(Opcode::Text, &subscribe(A, "1").into_bytes());
    let (first, second) = bytes.split_at(9);
    world.receive(&visitor, first);
    world.pass(100);
    assert_eq!(visitor.hears(), ["close 1000"]);
    world.receive(&visitor, second);
    world.frame(&visitor, Opcode::Close, &1000u16.to_be_bytes());
    assert!(visitor.hears().is_empty());
    assert!(visitor.is_shut_down());
    assert_eq!(world.stats().violations, 0);
}

#[test]
fn close_frame_is_echoed_after_the_connection_is_removed() {
    let mut world = World::new();
    let mut client = world.open(r#"[{"a":1}]"#);
    world.subscribe(&mut client, A, "1");
    world.told();
    let close = [&4001u16.to_be_bytes()[..], b"bye"].concat();
    world.frame(&client, Opcode::Close, &close);
    assert_eq!(client.hears(), ["close 4001 bye"]);
    assert_eq!(
        world.told(),
        [
            Told::RoomClosed,
            Told::Hook(0, Hook::Disconnect),
            Told::Sent(0),
            Told::Shutdown(0)
        ]
    );
    let stats = world.stats();
    assert_eq!(
        (stats.connections, stats.rooms, stats.subscriptions),
        (0, 0, 0)
    );
    world.say(&client, "ping");
    world.frame(&client, Opcode::Close, &close);
    assert!(client.hears().is_empty());
    world.gone(&client);
    assert!(world.shard.is_empty() && world.told().is_empty());
}

#[test]
fn a_close_frame_without_code_is_echoed_without_code() {
    let mut world = World::new();
    let mut client = world.open("[]");
    world.frame(&client, Opcode::Close, b"");
    assert_eq!(client.hears(), ["close"]);
}

#[test]
fn requests_before_a_close_frame_are_answered_before_its_echo() {
    let mut world = World::new();
    let mut client = world.open("[]");
    let mut bytes = masked(Opcode::Text, b"ping");
    bytes.extend(masked(Opcode::Close, &1000u16.to_be_bytes()));
    bytes.extend(masked(Opcode::Text, b"ping"));
    world.receive(&client, &bytes);
    assert_eq!(client.hears(), ["pong", "close 1000"]);
}

#[test]
fn violations_close_with_their_code_and_end_delivery() {
    let limits = Limits {
        message_bytes: 100,
        ..Limits::default()
    };
    let mut reserved = masked(Opcode::Text, b"ping");
    reserved[0] |= 0x40;
    let mut opcode = masked(Opcode::Text, b"ping");
    opcode[0] = 0x83;
    let mut control = masked(Opcode::Ping, b"");
    control[0] &= 0x7f;
    let long = [&[0x89, 0xfe, 0, 126][..], &[0; 130]].concat();
    for (bytes, close) in [
        (b"\x81\x04ping".to_vec(), "close 1002 frame-not-masked"),
        (reserved, "close 1002 reserved-bits"),
        (opcode, "close 1002 reserved-opcode"),
        (control, "close 1002 control-fragmented"),
        (long, "close 1002 control-too-long"),
        (
            masked(Opcode::Continuation, b"x"),
            "close 1002 unexpected-continuation",
        ),
        (masked(Opcode::Text, b"\xff"), "close 1007 text-not-utf8"),
        (
            masked(Opcode::Close, b"\x03"),
            "close 1002 close-payload-too-short",
        ),
        (
            masked(Opcode::Close, &1005u16.to_be_bytes()),
            "close 1002 close-code-not-allowed",
        ),
        (
            masked(Opcode::Text, &[b' '; 101]),
            "close 1009 message-too-big",
        ),
    ] {
        let mut world = World::with(Settings {
            limits: limits.clone(),
            ..settings()
        });
        let mut client = world.open("[]");
        let before = masked(Opcode::Text, b"ping");
        world.receive(&client, &[before, bytes].concat());
        assert_eq!(client.hears(), ["pong", close]);
        assert!(client.is_shut_down());
        world.say(&client, "ping");
        assert!(client.hears().is_empty());
        let stats = world.stats();
        assert_eq!((stats.violations, stats.connections), (1, 0));
        world.pass(3_000);
        assert!(world.shard.is_empty());
    }
}

#[test]
fn a_message_at_the_limit_is_fine() {
    let mut world = World::with(Settings {
        limits: Limits {
            message_bytes: 100,
            ..Limits::default()
        },
        ..settings()
    });
    let mut client = world.open("[]");
    let text = " ".repeat(100);
    let answer = world.ask(&mut client, &text);
    assert_eq!(answer, [error_of(&client, "non-json-message")]);
}

#[test]
fn a_violation_after_our_close_frame_is_not_answered_with_another() {
    let mut world = World::new();
    let mut client = world.open("[]");
    world.pass(300_000);
    assert_eq!(client.hears(), ["close 1000 idle"]);
    world.receive(&client, b"\x81\x04ping");
    assert!(client.hears().is_empty());
    assert!(client.is_shut_down());
    assert_eq!(world.stats().violations, 1);
    world.gone(&client);
    assert!(world.shard.is_empty());
}

#[test]
fn idle_client_is_closed() {
    let mut world = World::new();
    let mut client = world.open(r#"[{"a":1}]"#);
    world.pass(200_000);
    assert_eq!(world.ask(&mut client, "rubbish").len(), 1);
    world.pass(200_000);
    world.frame(&client, Opcode::Ping, b"");
    world.frame(&client, Opcode::Pong, b"");
    world.publish(A, "0");
    world.deliver();
    client.hears();
    world.pass(99_999);
    assert!(client.hears().is_empty());
    assert_eq!(world.shard.deadline(), Some(world.now + 1));
    world.pass(1);
    assert_eq!(client.hears(), ["close 1000 idle"]);
    assert_eq!(
        (world.stats().idle_timeouts, world.stats().connections),
        (1, 0)
    );
    world.pass(2_999);
    assert!(world.is_there(&client));
    world.pass(1);
    assert!(!world.is_there(&client));
    assert_eq!(world.shard.deadline(), None);
}

#[test]
fn without_an_idle_timeout_no_client_is_closed() {
    let mut world = World::with(Settings {
        idle_timeout: 0,
        ..settings()
    });
    let mut client = world.open("[]");
    assert_eq!(world.shard.deadline(), None);
    world.pass(u64::MAX / 2);
    assert!(client.hears().is_empty());
}

#[test]
fn connection_is_shut_down_after_the_close_frame_is_answered() {
    let mut world = World::new();
    let mut client = world.open(r#"[{"a":1}]"#);
    world.subscribe(&mut client, A, "1");
    world.told();
    world.shard.close_all(
        Close::RESTART,
        &mut Turn::new(world.now, &mut world.outside),
    );
    assert_eq!(
        world.told(),
        [
            Told::RoomClosed,
            Told::Hook(0, Hook::Disconnect),
            Told::Sent(0)
        ]
    );
    world.say(&client, "ping");
    world.frame(&client, Opcode::Ping, b"");
    assert_eq!(client.hears(), ["close 1012 restart"]);
    world.frame(&client, Opcode::Close, &1012u16.to_be_bytes());
    assert!(client.hears().is_empty());
    assert_eq!(world.told(), [Told::Shutdown(0)]);
    world.gone(&client);
    assert!(world.shard.is_empty());
}

#[test]
fn close_all_sends_one_close_frame_to_each_connection_after_its_publications() {
    let mut world = World::new();
    let mut clients = [world.open(r#"[{"a":1}]"#), world.open(r#"[{"a":1}]"#)];
    for client in &mut clients {
        world.subscribe(client, A, "1");
    }
    let mut visitor = world.refuse(Close::NORMAL);
    visitor.hears();
    world.publish(A, "0");
    world.slice(1);
    for _ in 0..2 {
        let close = Close::RESTART.within(20);
        world
            .shard
            .close_all(close, &mut Turn::new(world.now, &mut world.outside));
    }
    for client in &mut clients {
        assert_eq!(
            client.hears(),
            [publish("0", "1"), "close 1012 restart 20".into()]
        );
    }
    assert_eq!(visitor.hears(), ["close 1012 restart 20"]);
    world.pass(3_000);
    assert!(world.shard.is_empty() && world.outside.connected.is_empty());
    world.deliver();
}

#[test]
fn connection_may_end_at_any_time() {
    let mut world = World::new();
    let mut client = world.open(r#"[{"a":1}]"#);
    world.subscribe(&mut client, A, "1");
    world.receive(&client, &masked(Opcode::Text, b"half of it")[..7]);
    world.publish(A, "0");
    world.slice(1);
    world.told();
    world.gone(&client);
    assert_eq!(
        world.told(),
        [Told::RoomClosed, Told::Hook(0, Hook::Disconnect)]
    );
    world.deliver();
    assert_eq!(
        (world.stats().undelivered, world.stats().deliveries),
        (1, 0)
    );
    for client in [world.refuse(Close::NORMAL), world.open("[]")] {
        world.gone(&client);
        world.gone(&client);
        world.receive(&client, b"late");
        world.writable(&client);
    }
    assert!(world.shard.is_empty() && world.shard.deadline().is_none());
}

#[test]
fn connection_broken_before_the_first_frame_is_removed() {
    let mut world = World::new();
    let client = world.open_with("[]", 0);
    assert!(world.is_there(&client));
    client.vanish();
    world.writable(&client);
    assert!(!world.is_there(&client));
    assert_eq!((world.stats().admitted, world.stats().connections), (1, 0));
    assert!(world.outside.connected.is_empty());
}

#[test]
fn write_side_is_shut_down_only_after_all_bytes() {
    let mut world = World::new();
    let mut client = world.open("[]");
    client.takes(1);
    world.frame(&client, Opcode::Close, &1000u16.to_be_bytes());
    assert!(!client.is_shut_down());
    client.takes(1);
    world.writable(&client);
    assert!(!client.is_shut_down());
    client.takes(usize::MAX);
    world.writable(&client);
    assert!(client.is_shut_down());
    world.writable(&client);
    assert_eq!(client.hears(), ["close 1000"]);
}

#[test]
fn rate_limited_client_is_evicted() {
    let mut world = World::with(Settings {
        limits: Limits {
            messages_per_second: 10,
            ..Limits::default()
        },
        ..settings()
    });
    let mut client = world.open(r#"[{"a":1}]"#);
    world.subscribe(&mut client, A, "1");
    // A whole burst, pings of both kinds included.
    for n in 1..100 {
        match n % 3 {
            0 => world.say(&client, "ping"),
            1 => world.say(&client, "rubbish"),
            _ => world.frame(&client, Opcode::Ping, b""),
        }
    }
    assert_eq!(client.hears().len(), 99);
    world.pass(200);
    world.told();
    let ping = masked(Opcode::Text, b"ping");
    world.receive(&client, &ping.repeat(5));
    let answers = ["pong", "pong", "close 4200 too-many-messages"];
    assert_eq!(client.hears(), answers);
    let told = world.told();
    assert!(told.contains(&Told::Evicted(0)), "{told:?}");
    assert!(told.contains(&Told::Hook(0, Hook::Disconnect)));
    let evictions = world.stats().evictions;
    assert_eq!(evictions[Eviction::MessagesPerSecond as usize], 1);
    assert_eq!(world.stats().connections, 0);
    world.receive(&client, &ping);
    assert!(client.hears().is_empty() && client.is_shut_down());
}

#[test]
fn client_within_the_rate_limit_is_not_evicted() {
    let mut world = World::new();
    let mut client = world.open("[]");
    for _ in 0..20_000 {
        world.pass(1);
        assert_eq!(world.ask(&mut client, "ping"), ["pong"]);
    }
    assert!(world.is_there(&client));
}
