//! Memory that clients hold: accounting, refusal and eviction.

use std::sync::Arc;

use ht_frame::Opcode;

use crate::account::{Accounts, Kind};
use crate::limits::Limits;
use crate::peer::Eviction;
use crate::shard::Settings;
use crate::shard::tests::kit::*;

const ANY: &str = r#"[{"a":"*"}]"#;

fn world(client_total_bytes: usize) -> World {
    World::with(Settings {
        accounts: Arc::new(Accounts::new(client_total_bytes)),
        ..settings()
    })
}

/// A room of about so many bytes.
fn large(number: usize, bytes: usize) -> String {
    format!(r#"{{"a":"{number}{}"}}"#, "x".repeat(bytes))
}

/// All but the last byte of a message of this length.
fn cut(length: usize) -> Vec<u8> {
    let mut bytes = masked(Opcode::Text, &vec![b' '; length]);
    bytes.pop();
    bytes
}

#[test]
fn unfinished_messages_are_accounted_until_they_are_finished() {
    let mut world = world(0);
    let mut client = world.open(ANY);
    let bytes = cut(10_000);
    for part in bytes.chunks(999) {
        world.receive(&client, part);
        assert!(world.account(Kind::Messages) >= 1);
        world.check_accounts();
    }
    assert!(world.account(Kind::Messages) >= 9_999);
    world.receive(&client, &[b' ' ^ 0x4c]);
    assert_eq!(client.hears(), [error_of(&client, "non-json-message")]);
    assert_eq!(world.account(Kind::Messages), 0);
    // A header that was cut, a control frame, fragments: whatever is kept counts.
    for begun in [&b"\x81"[..], b"\x89\xfd\0\0\0\0abc", b"\x01\x82\0\0\0\0  "] {
        let client = world.open(ANY);
        world.receive(&client, begun);
        assert!(world.account(Kind::Messages) >= begun.len());
        world.check_accounts();
        world.gone(&client);
        assert_eq!(world.account(Kind::Messages), 0);
    }
}

#[test]
fn subscriptions_are_accounted_with_their_rooms_until_they_are_dropped() {
    let mut world = world(0);
    let mut clients = [(); 2].map(|()| world.open(ANY));
    world.subscribe(&mut clients[0], &large(1, 10_000), "1");
    let one = world.account(Kind::Subscriptions);
    assert!((10_000..11_000).contains(&one), "{one}");
    // A room is stored once, however many connections subscribe to it.
    world.subscribe(&mut clients[1], &large(1, 10_000), "1");
    let two = world.account(Kind::Subscriptions);
    assert!((50..200).contains(&(two - one)), "{two}");
    world.subscribe(&mut clients[1], &large(1, 10_000), "1");
    assert_eq!(world.account(Kind::Subscriptions), two);
    world.check_accounts();
    world.gone(&clients[0]);
    assert_eq!(world.account(Kind::Subscriptions), one);
    assert_eq!(world.ask(&mut clients[1], &unsubscribe("1")), [SUCCESS]);
    assert_eq!(world.account(Kind::Subscriptions), 0);
    world.check_accounts();
    world.gone(&clients[1]);
    assert!(world.outside.held.is_empty());
}

#[test]
fn a_message_that_is_not_finished_in_time_ends_its_connection() {
    let mut world = World::with(Settings {
        limits: Limits {
            message_timeout: 1_000,
            ..Limits::default()
        },
        ..settings()
    });
    let [mut whole, mut dripped, mut busy] = [(); 3].map(|()| world.open(ANY));
    world.receive(&whole, &cut(100));
    // Fragments, with control frames between them: the time is that of the whole message.
    world.receive(
        &dripped,
        &[&b"\x01\x81\0\0\0\0 "[..], b"\x01"].concat()[..7],
    );
    for _ in 0..9 {
        world.pass(100);
        world.receive(&dripped, b"\x00\x81\0\0\0\0 ");
        world.frame(&dripped, Opcode::Ping, b"");
        // One message after the other, and each read ends within one.
        world.receive(&busy, &masked(Opcode::Text, b"ping")[..3]);
        world.receive(&busy, &masked(Opcode::Text, b"ping")[3..]);
        world.receive(&busy, &masked(Opcode::Text, b"ping")[..5]);
        world.receive(&busy, &masked(Opcode::Text, b"ping")[5..]);
        world.receive(
            &busy,
            &[&masked(Opcode::Text, b"ping"), &b"\x81"[..]].concat(),
        );
        world.receive(&busy, &masked(Opcode::Text, b"ping")[1..]);
    }
    assert_eq!(evictions(world.stats()), []);
    world.receive(&busy, b"\x81");
    world.pass(100);
    let timeouts = [Eviction::MessageTimeout; 2];
    assert_eq!(evictions(world.stats()), timeouts);
    for client in [&mut whole, &mut dripped] {
        let heard = client.hears();
        assert_eq!(heard.last().unwrap(), "close 4002 message-timeout");
        assert!(client.is_shut_down());
    }
    assert_eq!(busy.hears().len(), 36);
    assert!(world.is_there(&busy));
    world.check_accounts();
    world.pass(3_000);
    assert!(!world.is_there(&whole));
    assert_eq!(world.account(Kind::Messages), 0);
}

#[test]
fn largest_holder_is_evicted_at_the_total_bound_and_others_stay_open() {
    let mut world = world(1 << 20);
    let mut small = world.open(ANY);
    world.subscribe(&mut small, r#"{"a":1}"#, "1");
    let mut honest = world.open(ANY);
    world.receive(&honest, &cut(20_000));
    let mut attackers: Vec<_> = (0..100).map(|_| world.open(ANY)).collect();
    for attacker in &attackers {
        world.receive(attacker, &cut(60_000));
        world.check_accounts();
        let account = &world.settings.accounts;
        assert!(account.total() <= account.limit());
    }
    let evicted = evictions(world.stats());
    assert!((80..100).contains(&evicted.len()), "{evicted:?}");
    assert!(evicted.iter().all(|&it| it == Eviction::ClientTotalBytes));
    let told = |client: &mut Client| client.hears() == ["close 1013 overloaded"];
    let told = attackers
        .iter_mut()
        .filter_map(|it| told(it).then_some(()))
        .count();
    assert_eq!(told, evicted.len());
    world.receive(&honest, &[b' ' ^ 0x4c]);
    assert_eq!(honest.hears(), [error_of(&honest, "non-json-message")]);
    assert_eq!(
        world.ask(&mut small, &subscribe(r#"{"a":2}"#, "2")),
        [SUCCESS]
    );
}

#[test]
fn subscriptions_beyond_the_total_bound_evict_the_largest_holder() {
    let mut world = world(1 << 20);
    let mut small = world.open(ANY);
    world.subscribe(&mut small, r#"{"a":1}"#, "1");
    let mut attacker = world.open(ANY);
    for number in 0..500 {
        if !world.is_open(&attacker) {
            break;
        }
        world.say(&attacker, &subscribe(&large(number, 8_000), "1"));
        world.check_accounts();
        assert!(world.settings.accounts.total() <= 1 << 20);
    }
    // Many subscriptions are dropped in slices.
    world.clean_up();
    assert_eq!(evictions(world.stats()), [Eviction::ClientTotalBytes]);
    assert_eq!(attacker.hears().last().unwrap(), "close 1013 overloaded");
    assert!(world.account(Kind::Subscriptions) < 1_000);
    assert_eq!(
        world.ask(&mut small, &subscribe(r#"{"a":2}"#, "2")),
        [SUCCESS]
    );
}

#[test]
fn without_large_holders_the_connection_that_exceeds_the_bound_is_evicted() {
    let mut world = world(10_000);
    for number in 0..30 {
        let mut client = world.open(ANY);
        world.say(&client, &subscribe(&large(number, 900), "1"));
        let heard = client.hears();
        let wanted = [&[SUCCESS][..], &[SUCCESS, "close 1013 overloaded"]];
        assert!(wanted.contains(&&heard.iter().map(|line| &**line).collect::<Vec<_>>()[..]));
        assert!(world.settings.accounts.total() <= 10_000);
        world.check_accounts();
    }
    assert!(evictions(world.stats()).len() >= 20);
}

#[test]
fn largest_connection_is_evicted_at_the_bound_of_its_address() {
    let mut world = world(0);
    world.outside.hold_max = 100_000;
    let mut honest = world.open(ANY);
    world.subscribe(&mut honest, r#"{"a":1}"#, "1");
    let attackers: Vec<_> = (0..3).map(|_| world.open(ANY)).collect();
    for attacker in &attackers {
        world.receive(attacker, &cut(40_000));
        world.check_accounts();
    }
    // None of the others was larger: the third one itself was evicted.
    let reasons = evictions(world.stats());
    assert_eq!(reasons, [Eviction::ClientBytesPerAddress]);
    assert!(!world.is_open(&attackers[2]));
    assert!(world.outside.held.values().sum::<usize>() <= 100_000);
    // A larger one is evicted for a page, until the page is the largest: its excess is refused, and
    // it is not closed.
    let mut page = world.open(ANY);
    let answers: Vec<_> = (0..200)
        .flat_map(|n| world.ask(&mut page, &subscribe(&large(n, 10), "1")))
        .collect();
    let granted = answers
        .iter()
        .take_while(|answer| *answer == SUCCESS)
        .count();
    assert!((40..60).contains(&granted), "{granted}");
    assert_eq!(evictions(world.stats()).len(), 2);
    let refused = error("too-many-subscriptions");
    assert!(answers[granted..].iter().all(|answer| *answer == refused));
    // A connection that holds little still gets more.
    assert_eq!(
        world.ask(&mut honest, &subscribe(r#"{"a":2}"#, "2")),
        [SUCCESS]
    );
    world.check_accounts();
}

#[test]
fn at_the_bound_of_an_address_a_subscribe_in_several_reads_is_refused_without_eviction() {
    let mut world = world(0);
    world.outside.hold_max = 100_000;
    let mut page = world.open(ANY);
    let mut answers = Vec::new();
    for number in 0..40 {
        let bytes = masked(
            Opcode::Text,
            subscribe(&large(number, 8_000), "1").as_bytes(),
        );
        for part in bytes.chunks(3_000) {
            world.receive(&page, part);
            world.check_accounts();
        }
        answers.extend(page.hears());
    }
    let granted = answers.iter().take_while(|answer| *answer == SUCCESS);
    let granted = granted.count();
    assert!((8..13).contains(&granted), "{granted}");
    let refused = error("too-many-subscriptions");
    assert!(answers[granted..].iter().all(|answer| *answer == refused));
    assert_eq!(answers.len(), 40);
    assert_eq!(evictions(world.stats()), []);
    assert!(world.outside.held.values().sum::<usize>() <= 100_000);
    // What is beyond the room for a message is not kept.
    world.receive(&page, &cut(50_000)[..40_000]);
    let reasons = evictions(world.stats());
    assert_eq!(reasons, [Eviction::ClientBytesPerAddress]);
    world.clean_up();
    world.check_accounts();
}
