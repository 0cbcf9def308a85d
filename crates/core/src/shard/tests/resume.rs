//! `since` and `resume`: what a client that was away is sent.

use ht_proto::cursor::Cursor;
use ht_proto::room::{Room, RoomLimits};
use ht_proto::subprotocol::Subprotocol;
use proptest::prelude::*;

use super::commands::{everyone, user, who};
use super::kit::*;
use crate::budget::cost;
use crate::command::Action;
use crate::recovery::RecoveryOutcome;
use crate::select::Selection;
use crate::shard::RecoverySettings;
use crate::window::WindowLimits;

const GRANTS: &str = r#"[{"a":"*"}, {"b":"*"}]"#;

fn v1() -> World {
    with_window(WindowLimits::default())
}

fn with_window(limits: WindowLimits) -> World {
    let mut world = World::with_window(recheck_settings(), limits);
    world.subprotocol = Some(Subprotocol::V1);
    world.who = who("7", &[]);
    world
}

/// What a client keeps: the last cursor that it saw, and its subscriptions.
#[derive(Debug)]
struct Page {
    client: Client,
    cursor: String,
    rooms: Vec<(&'static str, usize)>,
    /// Names and data of all publications.
    heard: Vec<(usize, usize)>,
}

/// The value of a member at the top of a message.
fn member(line: &str, name: &str) -> Option<String> {
    let message: serde_json::Value = serde_json::from_str(line).expect(line);
    let value = message.get(name)?;
    Some(
        value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_string),
    )
}

impl Page {
    fn open(world: &mut World) -> Self {
        let client = world.open_with(GRANTS, usize::MAX);
        let mut page = Self {
            client,
            cursor: String::new(),
            rooms: Vec::new(),
            heard: Vec::new(),
        };
        page.hear(usize::MAX);
        page
    }

    /// Reads up to `most` messages, and loses the others. Returns those that are no publications.
    fn hear(&mut self, most: usize) -> Vec<String> {
        let lines = self.client.hears_all().into_iter().take(most);
        let mut others = Vec::new();
        for line in lines {
            if let Some(cursor) = member(&line, "cursor") {
                self.cursor = cursor;
            }
            if member(&line, "type").as_deref() == Some("publish") {
                let number = |name| member(&line, name).unwrap().parse().unwrap();
                self.heard.push((number("requestId"), number("data")));
            } else {
                others.push(line);
            }
        }
        others
    }

    fn subscribe(&mut self, world: &mut World, room: &'static str) {
        let name = self.rooms.len();
        self.rooms.push((room, name));
        world.say(&self.client, &subscribe(room, &name.to_string()));
    }

    /// The line is cut after so many messages, and the client comes back with its cursor alone.
    fn come_back(&mut self, world: &mut World, most: usize) {
        self.hear(most);
        world.gone(&self.client);
        self.client = world.open_with(GRANTS, usize::MAX);
        assert_eq!(self.client.hears().len(), 1);
        world.say(&self.client, &self.resume());
    }

    fn resume(&self) -> String {
        let rooms = self.rooms.iter();
        let rooms = rooms.map(|(room, name)| format!(r#"{{"requestId":{name},"room":{room}}}"#));
        let rooms: Vec<_> = rooms.collect();
        format!(
            r#"{{"type":"resume","requestId":"r","cursor":"{}","subscriptions":[{}]}}"#,
            self.cursor,
            rooms.join(",")
        )
    }
}

/// Publishes, as the sequencer does.
fn publish(world: &mut World, rooms: &[&str], data: usize) {
    world.publish_all(&[(rooms, &data.to_string())]);
    world.shard.handed(world.outside.position);
}

/// Segments of the window that concern nobody are work, too: many clients that come back at once are
/// not answered in one turn.
#[test]
fn entries_for_others_are_passed_over_in_turns() {
    let mut world = v1();
    let mut page = Page::open(&mut world);
    page.subscribe(&mut world, r#"{"a":1}"#);
    page.subscribe(&mut world, r#"{"a":2}"#);
    page.hear(usize::MAX);
    let segments = 40;
    for number in 0..segments * 256 {
        publish(&mut world, &[r#"{"c":1}"#], number);
    }
    publish(&mut world, &[r#"{"a":2}"#], 7);
    world.deliver();
    world.gone(&page.client);
    page.client = world.open_with(GRANTS, usize::MAX);
    page.client.hears();
    world.say(&page.client, &page.resume());
    let (mut turns, budget, one) = (0, 1_000, cost::test_segment(2) + cost::want(2));
    let (asked, mut spent) = (page.client.writes(), 0);
    while page.client.writes() == asked {
        // This turn was not the last one.
        assert!(spent <= budget + one, "{spent} units");
        let before = world.shard.budget().total();
        world.begin(budget);
        world.slice(256);
        spent = world.shard.budget().total() - before;
        turns += 1;
    }
    let least = segments as u64 * cost::test_segment(2) / (budget + one);
    assert!(turns >= least, "{turns} turns of {least}");
    world.begin(u64::MAX);
    world.deliver();
    assert_eq!(page.hear(usize::MAX).len(), 1);
    assert_eq!(page.heard, [(1, 7)]);
}

fn recovered(replayed: usize, cursor: &str) -> String {
    format!(
        r#"{{"code": "success", "requestId": "r", "recovered": true, "replayed": {replayed}, "cursor": "{cursor}"}}"#
    )
}

fn not_recovered(reason: &str, cursor: &str) -> String {
    format!(
        r#"{{"code": "success", "requestId": "r", "recovered": false, "reason": "{reason}", "cursor": "{cursor}"}}"#
    )
}

const A: &str = r#"{"a":1}"#;
const B: &str = r#"{"b":1}"#;

#[test]
fn resume_sends_what_was_missed_once_and_then_nothing_again() {
    let mut world = v1();
    let mut page = Page::open(&mut world);
    page.rooms = vec![(A, 0), (r#"{"a":"*"}"#, 1), (B, 2)];
    let begin = page.cursor.clone();
    // Nothing was heard yet: the cursor is that of the first message.
    for data in 0..5 {
        publish(&mut world, &[A, B], data);
        publish(&mut world, &[r#"{"c":1}"#], data);
    }
    page.come_back(&mut world, usize::MAX);
    publish(&mut world, &[B], 5);
    world.deliver();
    let others = page.hear(usize::MAX);
    assert_eq!(others, [recovered(15, &begin)]);
    assert_eq!(page.heard.len(), 16);
    assert_eq!(page.heard.last(), Some(&(2, 5)));
    assert!(page.heard.is_sorted_by_key(|(_, data)| *data), "{page:?}");
    for _ in 0..2 {
        let head = page.cursor.clone();
        page.come_back(&mut world, usize::MAX);
        world.deliver();
        assert_eq!(page.hear(usize::MAX), [recovered(0, &head)]);
    }
    assert_eq!(page.heard.len(), 16);
    assert_eq!(world.stats().connections_held, 0);
}

#[test]
fn cut_after_any_message_everything_is_heard_once() {
    for cut in 0..40 {
        let mut world = v1();
        let mut page = Page::open(&mut world);
        page.subscribe(&mut world, A);
        page.subscribe(&mut world, r#"{"a":"*"}"#);
        page.subscribe(&mut world, B);
        page.hear(usize::MAX);
        for data in 0..5 {
            publish(&mut world, &[A, B, r#"{"b":2}"#], data);
            publish(&mut world, &[B], data + 100);
        }
        world.deliver();
        let mut most = cut;
        for _ in 0..30 {
            page.come_back(&mut world, most);
            world.deliver();
            most = 2;
        }
        page.hear(usize::MAX);
        let mut heard = page.heard.clone();
        heard.sort_unstable();
        heard.dedup();
        assert_eq!((heard.len(), page.heard.len()), (20, 20), "{cut}");
    }
}

#[test]
fn subscription_that_is_recovered_alone_leaves_the_cursor_of_the_connection() {
    let mut world = v1();
    let mut page = Page::open(&mut world);
    let begin = page.cursor.clone();
    page.subscribe(&mut world, B);
    for data in 0..3 {
        publish(&mut world, &[A], data);
    }
    publish(&mut world, &[B], 3);
    world.deliver();
    page.hear(usize::MAX);
    let since = |room: &str, name: usize| {
        format!(r#"{{"type":"subscribe","room":{room},"requestId":{name},"since":"{begin}"}}"#)
    };
    world.say(&page.client, &since(A, 7));
    publish(&mut world, &[A, B], 4);
    world.deliver();
    let lines = page.client.hears_all();
    assert_eq!(
        lines[0],
        r#"{"code": "success", "requestId": 7, "recovered": true, "replayed": 3}"#
    );
    let cursors = lines[1..]
        .iter()
        .map(|line| member(line, "cursor").is_some());
    assert_eq!(
        cursors.collect::<Vec<_>>(),
        [false, false, false, true, true]
    );
    // Nothing else is subscribed: its cursor is that of the connection.
    let mut alone = Page::open(&mut world);
    world.say(&alone.client, &since(A, 7));
    world.deliver();
    let lines = alone.client.hears_all();
    assert_eq!(member(&lines[0], "cursor"), Some(begin.clone()));
    assert!(
        lines[1..]
            .iter()
            .all(|line| member(line, "cursor").is_some())
    );
    assert_eq!(lines.len(), 5);
    alone.hear(0);
    // With nothing to send it is the head.
    let head = world
        .window
        .reader()
        .view()
        .cursor(u64::MAX >> 1)
        .to_string();
    let text = format!(r#"{{"type":"subscribe","room":{B},"requestId":8,"since":"{head}"}}"#);
    world.say(&alone.client, &text);
    world.deliver();
    let answer = format!(
        r#"{{"code": "success", "requestId": 8, "recovered": true, "replayed": 0, "cursor": "{head}"}}"#
    );
    assert_eq!(alone.client.hears_all(), [answer]);
}

#[test]
fn a_resume_may_have_bounds_of_its_own_and_rooms_that_are_refused() {
    let mut world = v1();
    let mut page = Page::open(&mut world);
    let begin = page.cursor.clone();
    page.subscribe(&mut world, B);
    for data in 0..3 {
        publish(&mut world, &[A, B], data);
    }
    world.deliver();
    page.hear(3);
    let text = format!(
        r#"{{"type":"resume","requestId":"r","cursor":"{}","subscriptions":[
            {{"requestId":0,"room":{B}}},{{"requestId":1,"room":{A},"since":"{begin}"}},
            {{"requestId":2,"room":{{"c":1}}}},{{"room":{A}}},{{"requestId":3,"room":{A},"since":"no"}}]}}"#,
        page.cursor
    );
    world.gone(&page.client);
    page.client = world.open(GRANTS);
    world.say(&page.client, &text);
    world.deliver();
    let lines = page.client.hears_all();
    let expected = recovered(4, &page.cursor).replace(
        '}',
        concat!(
            r#", "refused": [{"requestId": 2, "message": "room-not-found"}, "#,
            r#"{"message": "no-request-id"}, {"requestId": 3, "message": "invalid-cursor"}]}"#
        ),
    );
    assert_eq!(lines[0], expected);
    let names: Vec<_> = lines[1..]
        .iter()
        .map(|line| {
            (
                member(line, "requestId").unwrap(),
                member(line, "cursor").is_some(),
            )
        })
        .collect();
    let told: Vec<_> = names
        .iter()
        .map(|(name, told)| (name.as_str(), *told))
        .collect();
    // What is before the cursor of the whole has none.
    assert_eq!(told[..2], [("1", false), ("1", false)]);
    assert!(told[2].1 && told[3].1 && told.len() == 4);
}

#[test]
fn what_cannot_be_recovered_is_refused_with_a_reason_and_subscribed_all_the_same() {
    let few = WindowLimits {
        entries: 3,
        ..WindowLimits::default()
    };
    let with = |cursor: Cursor, position: u64| Cursor {
        position: ht_proto::entry::Position::new(position).unwrap(),
        ..cursor
    };
    let other = ht_proto::entry::Epoch::from_random(9);
    type Change<'a> = &'a dyn Fn(Cursor) -> Cursor;
    let changes: [(&str, Change<'_>); 3] = [
        ("age", &|cursor| cursor),
        ("epoch", &|cursor| Cursor {
            epoch: other,
            ..cursor
        }),
        ("epoch", &|cursor| with(cursor, 3)),
    ];
    for (reason, change) in changes {
        let mut world = with_window(few);
        let mut page = Page::open(&mut world);
        page.rooms = vec![(A, 0)];
        for data in 0..4 {
            publish(&mut world, &[A], data);
        }
        world.deliver();
        let head = world.window.reader().view().cursor(4).to_string();
        page.cursor = change(page.cursor.parse().unwrap()).to_string();
        page.come_back(&mut world, usize::MAX);
        publish(&mut world, &[A], 9);
        world.deliver();
        assert_eq!(page.hear(usize::MAX), [not_recovered(reason, &head)]);
        assert_eq!(page.heard, [(0, 9)]);
    }
}

#[test]
fn reply_to_a_ping_before_the_answer_leaves_the_client_where_it_was() {
    let few = WindowLimits {
        entries: 3,
        ..WindowLimits::default()
    };
    for (limits, reason) in [(few, Some("age")), (WindowLimits::default(), None)] {
        let mut world = with_window(limits);
        let mut page = Page::open(&mut world);
        page.rooms = vec![(A, 0)];
        let begin = page.cursor.clone();
        for data in 0..4 {
            publish(&mut world, &[A], data);
        }
        page.come_back(&mut world, usize::MAX);
        world.say(&page.client, r#"{"type":"ping","requestId":"p"}"#);
        let pong = format!(r#"{{"code": "success", "requestId": "p", "cursor": "{begin}"}}"#);
        assert_eq!(page.hear(usize::MAX), [pong]);
        world.deliver();
        let answer = page.hear(usize::MAX).swap_remove(0);
        assert_eq!(member(&answer, "reason").as_deref(), reason);
    }
}

#[test]
fn bounds_holes_and_settings_forbid_a_replay_of_a_part() {
    for (messages, bytes, hole, enabled, reason) in [
        (3, 1 << 20, false, true, None),
        (2, 1 << 20, false, true, Some("too-much")),
        (10, 60, false, true, Some("too-much")),
        (10, 1 << 20, true, true, Some("age")),
        (10, 1 << 20, false, false, Some("off")),
    ] {
        let mut settings = recheck_settings();
        settings.recovery = RecoverySettings {
            enabled,
            messages,
            bytes,
        };
        let mut world = World::with(settings);
        world.subprotocol = Some(Subprotocol::V1);
        let mut page = Page::open(&mut world);
        page.rooms = vec![(A, 0)];
        publish(&mut world, &[A], 0);
        if hole {
            world.outside.position += 1;
            world.window.append_hole(2, 0);
        }
        publish(&mut world, &[A], 1);
        publish(&mut world, &[A], 2);
        page.come_back(&mut world, usize::MAX);
        world.deliver();
        let others = page.hear(usize::MAX);
        let outcome =
            RecoveryOutcome::ALL.map(|outcome| outcome.as_str() == reason.unwrap_or("recovered"));
        let stats = world.shard.stats();
        assert_eq!(stats.recoveries, outcome.map(u64::from), "{reason:?}");
        assert_eq!(stats.replayed, if reason.is_none() { 3 } else { 0 });
        match reason {
            None => assert_eq!(page.heard.len(), 3),
            Some(reason) => {
                assert_eq!(member(&others[0], "reason").as_deref(), Some(reason));
                assert!(page.heard.is_empty(), "{page:?}");
            }
        }
    }
}

#[test]
fn commands_that_select_the_client_refuse_the_replay_and_others_do_not() {
    for (selected, is_refused) in [(user("7"), true), (user("8"), false), (everyone(), true)] {
        let mut world = v1();
        let mut page = Page::open(&mut world);
        page.rooms = vec![(A, 0)];
        page.hear(usize::MAX);
        world.gone(&page.client);
        publish(&mut world, &[A], 0);
        world.command(selected, Action::Invalidate { within: 0 });
        publish(&mut world, &[A], 1);
        world.deliver();
        world.asked_at = world.outside.position;
        page.client = world.open(GRANTS);
        world.say(&page.client, &page.resume());
        world.deliver();
        let others = page.hear(usize::MAX);
        let reason = member(&others[0], "reason");
        assert_eq!(reason.as_deref(), is_refused.then_some("permissions"));
        assert_eq!(page.heard.len(), if is_refused { 0 } else { 2 });
    }
}

#[test]
fn each_of_several_commands_by_room_is_tested() {
    let by_room = |text: &str| Selection {
        rooms: vec![Room::parse(text, RoomLimits::TRUSTED).unwrap()],
        ..Selection::default()
    };
    let mut world = v1();
    let mut page = Page::open(&mut world);
    page.rooms = vec![(A, 0)];
    world.gone(&page.client);
    for room in [r#"{"c":1}"#, r#"{"a":1}"#] {
        world.command(by_room(room), Action::Invalidate { within: 0 });
    }
    world.deliver();
    world.asked_at = world.outside.position;
    page.client = world.open(GRANTS);
    world.say(&page.client, &page.resume());
    world.deliver();
    let others = page.hear(usize::MAX);
    assert_eq!(
        member(&others[0], "reason").as_deref(),
        Some("permissions"),
        "{others:?}"
    );
}

#[test]
fn a_client_that_is_invalidated_while_it_recovers_is_sent_the_rest_after_the_answer() {
    let mut world = v1();
    let mut page = Page::open(&mut world);
    page.rooms = vec![(A, 0)];
    for data in 0..3 {
        publish(&mut world, &[A], data);
    }
    page.come_back(&mut world, usize::MAX);
    world.command(user("7"), Action::Invalidate { within: 0 });
    publish(&mut world, &[A], 3);
    world.deliver();
    page.hear(usize::MAX);
    assert_eq!(page.heard.len(), 3, "what is before the command");
    world.say(&page.client, r#"{"type":"ping","requestId":1}"#);
    assert_eq!(page.hear(usize::MAX).len(), 1, "it is alive");
    world.permitted(&[&page.client], GRANTS);
    world.deliver();
    page.hear(usize::MAX);
    assert_eq!(page.heard.len(), 4);
}

#[test]
fn invalid_requests_are_errors_and_old_clients_know_none_of_it() {
    let mut world = v1();
    let mut client = world.open(GRANTS);
    for (text, code) in [
        (
            r#"{"type":"resume","cursor":"x","subscriptions":[]}"#,
            "no-request-id",
        ),
        (
            r#"{"type":"resume","requestId":1,"cursor":"x","subscriptions":[]}"#,
            "invalid-cursor",
        ),
        (
            r#"{"type":"resume","requestId":1,"cursor":"aaaaaa-0-AAAA","subscriptions":{}}"#,
            "invalid-subscriptions",
        ),
        (
            r#"{"type":"subscribe","requestId":1,"room":{"a":1},"since":""}"#,
            "invalid-cursor",
        ),
        (
            r#"{"type":"subscribe","requestId":1,"room":{"a":1},"since":5}"#,
            "invalid-since",
        ),
    ] {
        world.say(&client, text);
        let heard = client.hears();
        assert!(
            heard[0].contains(&format!(r#""message": "{code}""#)),
            "{heard:?}"
        );
    }
    assert_eq!(world.stats().subscriptions, 0);
    world.subprotocol = None;
    let mut old = world.open(GRANTS);
    world.say(
        &old,
        r#"{"type":"subscribe","requestId":1,"room":{"a":1},"since":5}"#,
    );
    world.say(
        &old,
        r#"{"type":"resume","requestId":1,"cursor":"x","subscriptions":[]}"#,
    );
    let heard = old.hears_all();
    assert_eq!(heard[0], SUCCESS);
    assert!(heard[1].contains("message-type-not-allowed"));
}

#[test]
fn many_rooms_are_registered_in_slices_and_nothing_is_sent_in_between() {
    let mut world = v1();
    let mut page = Page::open(&mut world);
    let rooms: Vec<String> = (0..1_000)
        .map(|number| format!(r#"{{"a":{number}}}"#))
        .collect();
    page.rooms = (0..1_000).map(|name| (r#"{"a":"*"}"#, name)).collect();
    for (number, room) in rooms.iter().enumerate().take(20) {
        publish(&mut world, &[room], number);
    }
    page.rooms.truncate(30);
    let text = page.resume();
    world.gone(&page.client);
    page.client = world.open(GRANTS);
    world.begin(1);
    world.say(&page.client, &text);
    assert!(world.shard.is_behind());
    publish(&mut world, &[A], 20);
    world.begin(u64::MAX);
    world.deliver();
    assert!(page.hear(usize::MAX).is_empty());
    world.resume(1);
    world.begin(u64::MAX);
    world.deliver();
    let others = page.hear(usize::MAX);
    assert_eq!(member(&others[0], "replayed").as_deref(), Some("600"));
    assert_eq!(page.heard.len(), 630);
}

#[test]
fn slow_client_is_sent_a_long_replay_as_it_reads() {
    let mut settings = recheck_settings();
    settings.limits.outbox_bytes = 20_000;
    let mut world = World::with(settings);
    world.subprotocol = Some(Subprotocol::V1);
    let mut page = Page::open(&mut world);
    page.rooms = vec![(A, 0)];
    for data in 0..8_000 {
        publish(&mut world, &[A], data);
    }
    world.deliver();
    page.hear(usize::MAX);
    world.gone(&page.client);
    page.client = world.open(GRANTS);
    page.client.takes(5_000);
    world.say(&page.client, &page.resume());
    let mut rounds = 0;
    while page.heard.len() < 8_000 {
        world.deliver();
        page.client.takes(usize::MAX);
        world.writable(&page.client);
        page.client.takes(5_000);
        page.hear(usize::MAX);
        rounds += 1;
        assert!(rounds < 1_000 && world.is_open(&page.client));
    }
    assert!(rounds > 5);
}

/// What happens in the life of a page.
#[derive(Clone, Debug)]
enum Step {
    Publish(Vec<usize>),
    Slice(usize),
    Cut(usize),
    Subscribe(usize),
    Ping,
    Hear,
}

const ROOMS: [&str; 4] = [r#"{"a":1}"#, r#"{"a":2}"#, r#"{"b":1}"#, r#"{"b":2}"#];

const WISHES: [&str; 6] = [
    ROOMS[0],
    ROOMS[1],
    ROOMS[2],
    ROOMS[3],
    r#"{"a":"*"}"#,
    r#"{"b":"*"}"#,
];

fn meets(wish: &str, room: &str) -> bool {
    wish == room || wish.contains('*') && wish.as_bytes()[2] == room.as_bytes()[2]
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        5 => prop::collection::vec(0..4_usize, 1..4).prop_map(Step::Publish),
        2 => (1..6_usize).prop_map(Step::Slice),
        2 => (0..8_usize).prop_map(Step::Cut),
        1 => (0..6_usize).prop_map(Step::Subscribe),
        1 => Just(Step::Ping),
        2 => Just(Step::Hear),
    ];
    prop::collection::vec(step, 1..80)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn whatever_happens_every_publication_is_heard_once(steps in steps()) {
        let mut world = v1();
        let mut page = Page::open(&mut world);
        // A wish, and how many were published when it was answered.
        let mut wishes: Vec<(usize, usize)> = Vec::new();
        let mut published: Vec<Vec<usize>> = Vec::new();
        for step in steps {
            match step {
                Step::Publish(mut rooms) => {
                    rooms.dedup();
                    let texts: Vec<_> = rooms.iter().map(|&room| ROOMS[room]).collect();
                    publish(&mut world, &texts, published.len());
                    published.push(rooms);
                }
                Step::Slice(count) => world.slice(count),
                Step::Cut(most) => page.come_back(&mut world, most),
                Step::Subscribe(wish) => {
                    world.deliver();
                    page.hear(usize::MAX);
                    page.subscribe(&mut world, WISHES[wish]);
                    page.hear(usize::MAX);
                    wishes.push((wish, published.len()));
                }
                Step::Ping => world.say(&page.client, r#"{"type":"ping","requestId":"p"}"#),
                Step::Hear => drop(page.hear(usize::MAX)),
            }
        }
        world.deliver();
        page.hear(usize::MAX);
        page.come_back(&mut world, usize::MAX);
        world.deliver();
        page.hear(usize::MAX);
        let mut expected = Vec::new();
        for (data, rooms) in published.iter().enumerate() {
            for (name, &(wish, from)) in wishes.iter().enumerate() {
                let is_met = rooms.iter().any(|&room| meets(WISHES[wish], ROOMS[room]));
                if data >= from && is_met {
                    expected.push((name, data));
                }
            }
        }
        let mut heard = page.heard.clone();
        prop_assert!(heard.is_sorted_by_key(|(_, data)| *data), "in their order: {heard:?}");
        heard.sort_unstable();
        expected.sort_unstable();
        prop_assert_eq!(heard, expected);
    }
}

/// A node that lags: the window gets entries that the page has seen at another node.
fn ahead(world: &mut World, page: &mut Page) {
    let view = world.window.reader().view();
    page.cursor = Cursor {
        position: ht_proto::entry::Position::new(view.end() + 2).unwrap(),
        ..view.cursor(view.end())
    }
    .to_string();
}

#[test]
fn node_that_has_read_less_than_its_client_waits_for_the_log() {
    let mut world = v1();
    let mut page = Page::open(&mut world);
    page.rooms = vec![(A, 0)];
    publish(&mut world, &[A], 0);
    // As it is at another node, which has read two more.
    let mut other = v1();
    (0..3).for_each(|data| publish(&mut other, &[A], data));
    page.hear(0);
    page.cursor = other.window.reader().view().cursor(3).to_string();
    page.come_back(&mut world, usize::MAX);
    world.say(&page.client, &subscribe(B, "9"));
    world.deliver();
    world.pass(1_000);
    assert!(page.hear(usize::MAX).is_empty(), "it waits");
    world.say(&page.client, r#"{"type":"ping","requestId":"p"}"#);
    assert_eq!(page.hear(usize::MAX).len(), 1, "it is alive");
    page.cursor = other.window.reader().view().cursor(3).to_string();
    (1..4).for_each(|data| publish(&mut world, &[A], data));
    world.pass(20);
    world.deliver();
    world.resume(u64::MAX);
    world.deliver();
    world.resume(u64::MAX);
    let others = page.hear(usize::MAX);
    assert!(
        others[0].contains(r#""recovered": true, "replayed": 1"#),
        "{others:?}"
    );
    assert_eq!(others.len(), 2, "in their order: {others:?}");
    assert_eq!(page.heard, [(0, 3)]);
    assert_eq!(world.stats().connections_held, 0);
    world.check_accounts();
}

#[test]
fn connection_waits_for_the_log_once_and_not_long() {
    let mut world = v1();
    let mut page = Page::open(&mut world);
    page.subscribe(&mut world, A);
    page.hear(usize::MAX);
    let begin = page.cursor.clone();
    for wait in [2_000, 0] {
        publish(&mut world, &[A], 0);
        world.deliver();
        page.hear(usize::MAX);
        ahead(&mut world, &mut page);
        let text = format!(
            r#"{{"type":"subscribe","room":{B},"requestId":9,"since":"{}"}}"#,
            page.cursor
        );
        world.say(&page.client, &text);
        publish(&mut world, &[B], 1);
        world.deliver();
        if wait > 0 {
            world.pass(wait - 20);
            world.deliver();
            assert!(page.hear(usize::MAX).is_empty());
        }
        world.pass(20);
        world.deliver();
        world.resume(u64::MAX);
        world.deliver();
        let others = page.hear(usize::MAX);
        assert_eq!(member(&others[0], "reason").as_deref(), Some("ahead"));
    }
    assert_ne!(page.cursor, begin);
    assert_eq!(world.stats().connections_held, 0);
    world.check_accounts();
}

#[test]
fn a_permit_while_rooms_are_registered_refuses_what_was_before_it() {
    let mut world = v1();
    world.who = who("7", &[]);
    let mut page = Page::open(&mut world);
    for data in 0..3 {
        publish(&mut world, &[A], data);
    }
    page.hear(usize::MAX);
    world.gone(&page.client);
    page.client = world.open(r#"[{"b":"*"}]"#);
    let text = format!(
        r#"{{"type":"resume","requestId":"r","cursor":"{}","subscriptions":[
            {{"requestId":1,"room":{B}}},{{"requestId":2,"room":{A}}}]}}"#,
        page.cursor
    );
    world.begin(1);
    world.say(&page.client, &text);
    assert!(world.shard.is_behind());
    world.command(user("7"), permit_for(GRANTS, &[]));
    publish(&mut world, &[A], 3);
    world.begin(0);
    world.deliver();
    world.resume(1);
    world.begin(0);
    world.deliver();
    let lines = page.client.hears_all();
    assert!(
        lines[0].contains(r#""reason": "permissions""#),
        "{}",
        lines[0]
    );
    let heard = lines.iter().filter(|line| line.contains("publish"));
    assert!(
        heard
            .map(|line| member(line, "data"))
            .eq([Some("3".to_string())])
    );
}

/// A room in which little happens, on a node where much does.
#[test]
fn pings_keep_the_cursor_of_a_quiet_page_within_the_window() {
    let few = WindowLimits {
        entries: 10,
        ..WindowLimits::default()
    };
    for pings in [true, false] {
        let mut world = with_window(few);
        let mut page = Page::open(&mut world);
        page.subscribe(&mut world, A);
        page.hear(usize::MAX);
        for data in 0..40 {
            publish(&mut world, &[B], data);
            world.deliver();
            if pings && data % 8 == 0 {
                world.say(&page.client, r#"{"type":"ping","requestId":"p"}"#);
                page.hear(usize::MAX);
            }
        }
        page.come_back(&mut world, usize::MAX);
        world.deliver();
        let answer = page.hear(usize::MAX).swap_remove(0);
        let reason = member(&answer, "reason");
        assert_eq!(reason.as_deref(), (!pings).then_some("age"), "{answer}");
    }
}

#[test]
fn a_room_may_be_recovered_under_another_name() {
    let mut world = v1();
    let mut page = Page::open(&mut world);
    page.subscribe(&mut world, A);
    publish(&mut world, &[A], 0);
    world.deliver();
    page.hear(usize::MAX);
    publish(&mut world, &[A], 1);
    publish(&mut world, &[B], 2);
    page.rooms = vec![(A, 7)];
    page.come_back(&mut world, 0);
    world.deliver();
    page.hear(usize::MAX);
    assert_eq!(page.heard, [(0, 0), (7, 1)]);
}
