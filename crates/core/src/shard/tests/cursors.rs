//! Cursors on the wire: of publications, answers and first messages.

use ht_proto::cursor::{Cursor, Part};
use ht_proto::subprotocol::Subprotocol;

use super::commands::{user, who};
use super::kit::*;

const GRANTS: &str = r#"[{"a":"*"}, {"b":"*"}]"#;

fn v1() -> World {
    let mut world = World::with(recheck_settings());
    world.subprotocol = Some(Subprotocol::V1);
    world
}

/// The cursor in a message.
fn cursor_of(line: &str) -> Cursor {
    let (_, rest) = line.split_once(r#""cursor": ""#).expect(line);
    let (text, _) = rest.split_once('"').unwrap();
    text.parse().expect(line)
}

fn position_of(line: &str) -> u64 {
    cursor_of(line).position.get()
}

/// Asks for the connection's cursor.
fn ping(world: &mut World, client: &mut Client) -> u64 {
    world.say(client, r#"{"type":"ping","requestId":"p"}"#);
    let heard = client.hears_all();
    let answer = heard.last().unwrap();
    assert!(answer.starts_with(r#"{"code": "success", "requestId": "p", "cursor": "#));
    position_of(answer)
}

#[test]
fn a_client_of_our_subprotocol_is_told_where_it_is_from_the_first_message_on() {
    let mut world = v1();
    world.publish(r#"{"a":1}"#, "0");
    world.deliver();
    let mut client = world.open_with(GRANTS, usize::MAX);
    let first = client.hears_all();
    assert!(
        first[0].ends_with(r#", "features": ["since", "resume", "ping"]}"#),
        "{first:?}"
    );
    assert_eq!(position_of(&first[0]), 1);
    world.say(&client, &subscribe(r#"{"a":1}"#, "1"));
    assert_eq!(position_of(&client.hears_all()[0]), 1);
    world.publish(r#"{"a":1}"#, "1");
    world.deliver();
    let heard = client.hears_all();
    let (text, _) = heard[0].split_once(r#", "cursor""#).unwrap();
    assert_eq!(text, r#"{"type": "publish", "data": 1, "requestId": 1"#);
    let publication = cursor_of(&heard[0]);
    assert_eq!(world.window.reader().view().find(&publication), Ok(2));
    assert_eq!(ping(&mut world, &mut client), 2);
    world.say(&client, r#"{"type":"ping"}"#);
    let unnamed = format!(r#"{{"code": "success", "cursor": "{publication}"}}"#);
    assert_eq!(client.hears_all(), [unnamed]);
    world.say(&client, r#"{"type":"ping","requestId":[]}"#);
    assert!(client.hears()[0].contains("invalid-request-id"));
}

#[test]
fn client_is_told_how_long_its_messages_may_be_where_that_is_less_than_usual() {
    for (bytes, is_told) in [(1_000, true), (64 << 10, false)] {
        let mut settings = recheck_settings();
        settings.limits.message_bytes = bytes;
        let mut world = World::with(settings);
        world.subprotocol = Some(Subprotocol::V1);
        let mut client = world.open_with(GRANTS, usize::MAX);
        let end = format!(r#", "message_bytes": {bytes}}}"#);
        assert_eq!(client.hears_all()[0].ends_with(&end), is_told);
    }
}

#[test]
fn clients_without_a_subprotocol_see_no_cursor() {
    let mut world = World::new();
    let mut client = world.open_with(GRANTS, usize::MAX);
    world.say(&client, &subscribe(r#"{"a":1}"#, "1"));
    world.publish(r#"{"a":1}"#, "1");
    world.deliver();
    world.say(&client, r#"{"type":"ping","requestId":5}"#);
    let heard = client.hears_all();
    assert!(
        heard.iter().all(|line| !line.contains("cursor")),
        "{heard:?}"
    );
    assert_eq!(
        heard[0],
        format!(r#"{{"is_authorized": true, "allowed_rooms": {GRANTS}}}"#)
    );
    assert!(heard[3].contains("message-type-not-allowed"));
}

#[test]
fn messages_of_one_publication_end_with_their_parts_and_the_last_with_the_whole() {
    let mut world = v1();
    let mut client = world.open(GRANTS);
    let rooms = [r#"{"a":1}"#, r#"{"a":"*"}"#, r#"{"b":1}"#];
    for (name, room) in (1..).zip(rooms) {
        world.subscribe_v1(&mut client, room, &name.to_string());
        world.subscribe_v1(&mut client, room, &format!("\"{name}\""));
    }
    world.publish_all(&[(&[r#"{"a":1}"#, r#"{"b":1}"#], "7")]);
    world.deliver();
    let heard = client.hears_all();
    assert_eq!(heard.len(), 6);
    let parts: Vec<_> = heard.iter().map(|line| cursor_of(line).part).collect();
    assert!(parts.is_sorted_by_key(|part| part.map_or(u64::MAX, |part| part.get().into())));
    assert_eq!(parts.iter().filter(|part| part.is_none()).count(), 1);
    for (line, part) in heard.iter().zip(&parts) {
        let name = line.split(r#""requestId": "#).nth(1).unwrap();
        let name = name.split(',').next().unwrap();
        let index: usize = name.trim_matches('"').parse().unwrap();
        // As the gateway writes rooms.
        let room = rooms[index - 1].replace(':', ": ");
        let own = Part::of(name.as_bytes(), room.as_bytes());
        assert!(part.is_none_or(|part| part == own), "{line}");
    }
    assert_eq!(ping(&mut world, &mut client), 1);
}

#[test]
fn cursor_never_runs_ahead_of_what_waits_and_never_goes_back() {
    let mut world = v1();
    let mut clients: Vec<_> = (0..300).map(|_| world.open(GRANTS)).collect();
    for client in &mut clients {
        world.subscribe_v1(client, r#"{"a":"*"}"#, "1");
        world.subscribe_v1(client, r#"{"b":"*"}"#, "2");
    }
    // The rooms of each are far more than what is examined in one round.
    let rooms: Vec<_> = (0..9_000)
        .map(|number| format!(r#"{{"{}":{number}}}"#, ["a", "b"][number / 4_500]))
        .collect();
    let rooms: Vec<_> = rooms.iter().map(String::as_str).collect();
    let triggers = [(&rooms[..], "0"), (&rooms[..], "1")];
    world.publish_all(&triggers);
    let mut last = vec![0; clients.len()];
    let mut seen = vec![Vec::new(); clients.len()];
    for round in 0.. {
        world.slice(40);
        for (index, client) in clients.iter_mut().enumerate() {
            if index % 37 == round % 37 {
                world.say(client, r#"{"type":"ping","requestId":"p"}"#);
            }
            for line in client.hears_all() {
                let cursor = cursor_of(&line);
                let place = (
                    cursor.position.get(),
                    cursor.part.map_or(u64::MAX, |part| part.get().into()),
                );
                let place = place.0 << 33 | place.1.min(1 << 32);
                assert!(last[index] <= place, "{line}");
                last[index] = place;
                if line.contains("publish") {
                    seen[index].push(without_cursor(&line));
                } else {
                    // Everything up to there was heard.
                    let heard = seen[index].len() as u64;
                    assert_eq!(heard, 2 * cursor.position.get(), "{line}");
                }
            }
        }
        if !world.shard.has_fan_out() {
            break;
        }
        assert!(round < 100_000);
    }
    assert!(seen.iter().all(|seen| seen.len() == 4));
    assert!(last.iter().all(|last| *last == last_place(2)));
}

fn last_place(position: u64) -> u64 {
    position << 33 | 1 << 32
}

#[test]
fn a_quiet_shard_knows_what_others_were_handed() {
    let mut world = v1();
    let mut client = world.open(GRANTS);
    client.hears_all();
    let elsewhere = world.batch(&[(&[r#"{"c":1}"#], "0")]);
    world.log(&elsewhere);
    assert_eq!(ping(&mut world, &mut client), 0);
    world.shard.handed(1);
    assert_eq!(ping(&mut world, &mut client), 1);
    // Not beyond what waits here.
    world.subscribe_v1(&mut client, r#"{"a":1}"#, "1");
    world.command(user("nobody"), invalidate());
    world.publish(r#"{"a":1}"#, "1");
    world.shard.handed(3);
    assert_eq!(ping(&mut world, &mut client), 1);
    world.deliver();
    assert_eq!(ping(&mut world, &mut client), 3);
}

#[test]
fn held_client_is_told_how_far_it_is_and_catches_up_with_cursors() {
    let mut world = v1();
    world.who = who("7", &[]);
    let mut client = world.open(GRANTS);
    world.subscribe_v1(&mut client, r#"{"a":1}"#, "1");
    world.subscribe_v1(&mut client, r#"{"a":"*"}"#, "2");
    world.publish(r#"{"a":1}"#, "1");
    let held = world.command(user("7"), invalidate());
    world.publish(r#"{"a":1}"#, "2");
    world.deliver();
    assert_eq!(client.hears_all().len(), 2);
    assert_eq!(ping(&mut world, &mut client), held);
    world.say(&client, &subscribe(r#"{"b":1}"#, "3"));
    assert!(client.hears_all().is_empty(), "it waits");
    world.permitted(&[&client], GRANTS);
    world.deliver();
    world.resume(u64::MAX);
    let heard = client.hears_all();
    let places: Vec<_> = heard.iter().map(|line| cursor_of(line)).collect();
    assert_eq!(places.len(), 3);
    assert!(places[0].part.is_some() && places[1].part.is_none());
    assert!(places.iter().all(|cursor| cursor.position.get() == 3));
}
