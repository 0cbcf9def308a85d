//! Sessions by key, by identity and by tenant.

use std::sync::Arc;

use ht_proto::entry::TenantId;

use super::kit::*;
use crate::select::Selection;
use crate::shard::SessionKey;
use crate::who::{Facts, Who};

const A: &str = r#"{"a":1}"#;
const GRANTS: &str = r#"[{"a":"*"}]"#;

fn who(user: &str, labels: &[&str]) -> Option<Arc<Who>> {
    let facts = Facts {
        user: Some(user.into()),
        labels: labels.iter().map(|&label| label.into()).collect(),
        ..Facts::default()
    };
    Who::new(facts).map(Arc::new)
}

fn labelled(label: &str) -> Selection {
    Selection {
        labels: vec![label.into()],
        ..Selection::default()
    }
}

#[test]
fn a_key_never_names_the_successor_in_its_slot() {
    let mut world = World::new();
    let first = world.open(GRANTS);
    world.gone(&first);
    let mut second = world.open(GRANTS);
    assert_eq!(first.id.slot, second.id.slot);
    assert_ne!(first.id, second.id);
    assert_eq!(SessionKey::from_bits(second.id.to_bits()), second.id);
    world.subscribe(&mut second, A, "1");
    assert!(world.shard.peer(first.id).is_none() && world.shard.who(first.id).is_none());
    world.say(&first, "ping");
    world.writable(&first);
    world.gone(&first);
    world.retain(first.id, |_, _| false);
    assert!(world.is_there(&second) && second.hears().is_empty());
    world.publish(A, "0");
    world.deliver();
    assert_eq!(second.hears(), [publish("0", "1")]);
}

#[test]
fn slot_with_subscriptions_queued_to_be_dropped_has_no_session() {
    let mut world = World::new();
    let mut leaving = world.open(r#"[{"n":"*"}]"#);
    for n in 0..200 {
        world.subscribe(&mut leaving, &format!(r#"{{"n":{n}}}"#), "1");
    }
    world.begin(1);
    world.gone(&leaving);
    assert!(world.shard.has_clean_up());
    assert!(world.shard.peer(leaving.id).is_none());
    let other = world.open(GRANTS);
    assert_ne!(leaving.id.slot, other.id.slot);
    world.begin(0);
    world.clean_up();
    let successor = world.open(GRANTS);
    assert_eq!(leaving.id.slot, successor.id.slot);
    assert!(world.shard.peer(leaving.id).is_none() && world.is_there(&successor));
}

#[test]
fn search_resumes_and_skips_sessions_that_ended_meanwhile() {
    let mut world = World::new();
    world.who = who("7", &["staff"]);
    let clients: Vec<_> = (0..50).map(|_| world.open(GRANTS)).collect();
    for selection in [
        labelled("staff"),
        Selection {
            rooms: vec![room(r#"{"a":5}"#)],
            ..Selection::default()
        },
    ] {
        let mut search = world.shard.search(selection);
        let (mut found, mut slices) = (Vec::new(), 0);
        world.begin(500);
        while !world.shard.continue_search(&mut search, &mut found) {
            slices += 1;
            if slices == 1 {
                world.gone(&clients[49]);
                // It has the slot, and is found by no list that was made before.
                world.who = None;
                world.open(r#"[{"b":1}]"#);
            }
            world.begin(500);
        }
        assert!(slices > 3, "{slices}");
        let expected: Vec<_> = clients[..49].iter().map(|client| client.id).collect();
        assert_eq!(found, expected);
    }
}

#[test]
fn session_is_not_selected_after_it_ended() {
    let mut world = World::new();
    world.who = who("7", &["staff"]);
    let mut client = world.open(GRANTS);
    assert_eq!(world.shard.who(client.id).unwrap().user(), Some("7"));
    assert_eq!(world.search(labelled("staff")), [client.id]);
    world.shard.close_all(
        ht_proto::close::Close::RESTART,
        &mut Turn::new(world.now, &mut world.outside),
    );
    assert_eq!(client.hears(), ["close 1012 restart"]);
    assert!(world.is_there(&client));
    assert_eq!(world.shard.who(client.id), None);
    assert_eq!(world.search(labelled("staff")), []);
}

#[test]
fn what_was_published_before_a_subscription_is_dropped_is_delivered() {
    let mut world = World::new();
    let mut client = world.open(GRANTS);
    world.subscribe(&mut client, A, "1");
    world.subscribe(&mut client, A, "2");
    world.subscribe(&mut client, r#"{"a":2}"#, "1");
    world.publish(A, "0");
    let mut asked = Vec::new();
    world.retain(client.id, |known, name| {
        asked.push(name.to_owned());
        *known == room(A) && name == "2"
    });
    asked.sort();
    assert_eq!(asked, ["1", "1", "2"]);
    let mut heard = client.hears();
    heard.sort();
    assert_eq!(heard, [publish("0", "1"), publish("0", "2")]);
    world.publish(A, "1");
    world.publish(r#"{"a":2}"#, "2");
    world.deliver();
    assert_eq!(client.hears(), [publish("1", "2")]);
    assert_eq!((world.stats().rooms, world.stats().subscriptions), (1, 1));
    world.check_accounts();
}

#[test]
fn two_tenants_never_meet() {
    let mut world = World::new();
    let mut clients = Vec::new();
    for tenant in 0..2 {
        world.tenant = TenantId::new(tenant);
        world.who = who("7", &["staff"]);
        let mut client = world.open(GRANTS);
        world.subscribe(&mut client, A, "1");
        world.subscribe(&mut client, r#"{"a":"*"}"#, "2");
        clients.push(client);
    }
    assert_eq!(world.stats().rooms, 4);
    for (tenant, client) in (0..).zip(&mut clients) {
        let tenant = TenantId::new(tenant);
        let of_user = Selection {
            tenant,
            users: vec!["7".into()],
            ..Selection::default()
        };
        let of_room = Selection {
            tenant,
            rooms: vec![room(A)],
            ..Selection::default()
        };
        for selection in [of_user, of_room] {
            assert_eq!(world.search(selection), [client.id]);
        }
        let status = world.ask(client, r#"{"type":"status"}"#);
        assert!(status[0].contains(r#""num_rooms": 2"#), "{status:?}");
    }
    for rooms in [A, r#"{"a":"*"}"#, r#"{"a":2}"#] {
        world.tenant = TenantId::new(1);
        world.publish(rooms, "0");
        world.deliver();
        assert!(clients[0].hears().is_empty());
        assert!(!clients[1].hears().is_empty());
    }
}
