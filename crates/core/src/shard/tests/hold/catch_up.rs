//! Held sessions that have their answer: what they missed is sent before they are live again.

use super::*;

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
fn session_that_missed_more_than_the_window_has_is_told_or_closed_for_a_gap() {
    let limits = WindowLimits {
        entries: 10,
        ..WindowLimits::default()
    };
    for (missed, is_kept) in [(9, true), (12, false)] {
        let mut world = World::with_window(recheck_settings(), limits);
        world.who = who("7", &[]);
        let mut client = listener(&mut world, &[A]);
        let mut idle = listener(&mut world, &[]);
        world.events = false;
        let mut silent = world.open(GRANTS);
        world.say(&silent, &subscribe(A, "1"));
        silent.hears();
        invalidate_all(&mut world);
        for _ in 0..missed {
            world.publish(B, "0");
        }
        world.publish(A, "1");
        world.permitted(&[&client, &idle, &silent], GRANTS);
        world.deliver();
        let heard = client.hears();
        let told = (!is_kept).then(|| r#"{"type": "gap", "reason": "window"}"#.to_owned());
        let expected: Vec<_> = told.into_iter().chain([publish("1", "1")]).collect();
        assert_eq!(heard[1..], expected);
        let expected = match is_kept {
            true => publish("1", "1"),
            false => "close 1012 gap 10000".into(),
        };
        assert_eq!(silent.hears(), [expected]);
        assert_eq!(idle.hears().len(), 1, "it missed nothing");
        assert!(world.is_open(&idle));
    }
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
