//! Sessions over HTTP: event streams, lines of JSON, and long polls.

use std::sync::Arc;

use ht_proto::client::MessageLimits;
use ht_proto::close::Close;
use ht_proto::grant::GrantList;
use ht_proto::hook::Hook;
use ht_proto::room::RoomLimits;
use ht_proto::server::{GapCause, NOT_AUTHORIZED, authorized};
use ht_proto::stream::{Format, Start, StreamRequest};
use ht_proto::subprotocol::Subprotocol;
use proptest::prelude::*;

use super::commands::{everyone, user, who};
use super::kit::*;
use crate::Hasher;
use crate::command::Action;
use crate::grant::GrantSet;
use crate::peer::Eviction;
use crate::recheck::RecheckReason;
use crate::shard::{Admission, Gap, StreamSettings};
use crate::stream::{Kind, Opening};
use crate::window::WindowLimits;

const GRANTS: &str = r#"[{"a":"*"}, {"b":"*"}]"#;

const EVENTS: Kind = Kind::Stream(Format::Events);
const LINES: Kind = Kind::Stream(Format::Lines);

fn world() -> World {
    with_window(WindowLimits::default())
}

fn with_window(limits: WindowLimits) -> World {
    let mut world = World::with_window(recheck_settings(), limits);
    world.subprotocol = Some(Subprotocol::V1);
    world.who = who("7", &[]);
    world
}

/// A request for rooms under the names 0, 1, …
fn opening(kind: Kind, rooms: &[&str], start: Start) -> Opening {
    let rooms = rooms.iter().enumerate();
    let rooms = rooms.map(|(name, room)| format!(r#"{{"requestId":{name},"room":{room}}}"#));
    let rooms: Vec<_> = rooms.collect();
    let body = format!(r#"{{"subscriptions":[{}]}}"#, rooms.join(","));
    let limits = MessageLimits {
        request_id_bytes: 64,
        room: RoomLimits::TRUSTED,
    };
    let request = StreamRequest::parse(body.as_bytes(), &limits).unwrap();
    Opening {
        kind,
        is_plain: false,
        request: StreamRequest { start, ..request },
        origin: None,
        bytes: body.len(),
    }
}

fn plain(rooms: &[&str], start: Start) -> Opening {
    Opening {
        is_plain: true,
        ..opening(EVENTS, rooms, start)
    }
}

fn after(cursor: &str) -> Start {
    Start::After(cursor.parse().unwrap())
}

fn connect(world: &mut World, opening: Opening) -> Client {
    connect_with(world, opening, usize::MAX)
}

fn connect_with(world: &mut World, opening: Opening, room: usize) -> Client {
    let list = GrantList::parse(GRANTS).unwrap();
    let grants = GrantSet::new(world.tenant, list.rooms, Hasher::default());
    let admission = Admission::Admitted(Arc::new(grants));
    let client = world.connect_over((authorized(&list.text), admission), Some(opening), room);
    settle(world);
    client
}

/// Does all that is due without time passing.
fn settle(world: &mut World) {
    world.resume(0);
    world.shard.handed(world.outside.position);
    world.deliver();
    world.pass(0);
}

fn publish(world: &mut World, rooms: &[&str], data: &str) {
    world.publish_all(&[(rooms, data)]);
    settle(world);
}

/// An event of a stream.
#[derive(Debug, Default, PartialEq, Eq)]
struct Event {
    name: String,
    data: Option<serde_json::Value>,
    retry: Option<u64>,
}

/// A browser's `EventSource` (HTML Living Standard §9.2.6): what it dispatches, and the id that it
/// keeps.
#[derive(Debug, Default)]
struct Source {
    head: String,
    rest: String,
    last_id: String,
}

impl Source {
    fn read(&mut self, text: &str) -> Vec<Event> {
        self.rest.push_str(text);
        if self.head.is_empty()
            && let Some((head, rest)) = self.rest.split_once("\r\n\r\n")
        {
            (self.head, self.rest) = (head.to_owned(), rest.to_owned());
        }
        let mut events = Vec::new();
        while let Some((block, rest)) = self.rest.split_once("\n\n") {
            let mut event = Event::default();
            for line in block.split('\n') {
                match line.split_once(": ").unwrap_or((line, "")) {
                    ("id", id) => self.last_id = id.to_owned(),
                    ("event", name) => event.name = name.to_owned(),
                    ("retry", ms) => event.retry = ms.parse().ok(),
                    ("data", data) => {
                        assert!(event.data.is_none(), "one line of data");
                        event.data = Some(serde_json::from_str(data).expect(data));
                    }
                    (":", "") => {}
                    other => panic!("{other:?}"),
                }
            }
            events.extend(event.data.is_some().then_some(event));
            self.rest = rest.to_owned();
        }
        events
    }

    fn hear(&mut self, client: &Client) -> Vec<Event> {
        self.read(&client.reads())
    }
}

/// Names and data of the publications among events.
fn publications(events: &[Event]) -> Vec<(u64, String)> {
    let each = events.iter().filter(|event| event.name == "publish");
    let each = each.filter_map(|event| event.data.as_ref());
    each.map(|data| {
        assert_eq!(data["type"], "publish");
        (
            data["requestId"].as_u64().unwrap(),
            data["data"].to_string(),
        )
    })
    .collect()
}

/// The JSON of an answer to a long poll, once it came.
fn answer(client: &Client) -> Option<serde_json::Value> {
    let text = client.reads();
    let (head, body) = text.split_once("\r\n\r\n")?;
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    assert!(head.contains(&format!("\r\nContent-Length: {}\r\n", body.len())));
    assert!(client.is_shut_down());
    Some(serde_json::from_str(body).expect(body))
}

#[test]
fn a_stream_begins_with_what_its_client_may_and_where_it_is() {
    let mut world = world();
    publish(&mut world, &[r#"{"a":1}"#], "1");
    let client = connect(
        &mut world,
        opening(EVENTS, &[r#"{"a":1}"#, r#"{"c":1}"#], Start::Now),
    );
    let mut source = Source::default();
    let [opened] = &source.hear(&client)[..] else {
        panic!("one event");
    };
    assert_eq!(opened.name, "open");
    let data = opened.data.as_ref().unwrap();
    assert_eq!(data["is_authorized"], true);
    assert_eq!(data["allowed_rooms"][0]["a"], "*");
    assert_eq!(data["refused"][0]["message"], "room-not-found");
    assert_eq!(data["refused"][0]["requestId"], 1);
    assert_eq!(data.get("recovered"), None);
    assert!((1_000..=5_000).contains(&opened.retry.unwrap()));
    assert!(
        source
            .head
            .starts_with("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n")
    );
    let cursor = format!("High-Templar-Cursor: {}", source.last_id);
    assert!(source.head.contains(&cursor), "{}", source.head);
    publish(&mut world, &[r#"{"a":1}"#], "{\n\"n\":\r\n2}");
    let events = source.hear(&client);
    assert_eq!(publications(&events), [(0, r#"{"n":2}"#.into())]);
    assert_eq!(world.stats().deliveries, 1);
    assert_eq!((world.stats().streams, world.stats().polls), (1, 0));
    world.check_accounts();
    world.gone(&client);
    assert_eq!((world.stats().streams, world.stats().connections), (0, 0));
}

#[test]
fn lines_have_the_cursor_as_a_member() {
    let mut world = world();
    let client = connect(&mut world, opening(LINES, &[r#"{"a":1}"#], Start::Now));
    publish(&mut world, &[r#"{"a":1}"#], "{\n}");
    world.pass(20_000);
    let text = client.reads();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    assert!(
        head.contains("Content-Type: application/x-ndjson"),
        "{head}"
    );
    let lines = body
        .lines()
        .map(|line| serde_json::from_str(line).expect(line));
    let lines: Vec<serde_json::Value> = lines.collect();
    let types: Vec<_> = lines
        .iter()
        .map(|line| line["type"].as_str().unwrap())
        .collect();
    assert_eq!(types, ["open", "publish", "ping"]);
    let cursors: Vec<_> = lines
        .iter()
        .map(|line| line["cursor"].as_str().unwrap())
        .collect();
    assert_ne!(cursors[0], cursors[1]);
    assert_eq!(cursors[1], cursors[2]);
}

#[test]
fn a_head_is_shared_with_websockets_unless_it_has_line_breaks() {
    let mut world = world();
    let mut socket = world.open(GRANTS);
    world.say(&socket, &subscribe(r#"{"a":1}"#, "0"));
    let client = connect(&mut world, opening(EVENTS, &[r#"{"a":1}"#], Start::Now));
    let mut source = Source::default();
    source.hear(&client);
    for data in ["{\"x\": 1}", "{\n\"x\": 1}"] {
        publish(&mut world, &[r#"{"a":1}"#], data);
        let heard = socket.hears().pop().unwrap();
        assert_eq!(heard, super::kit::publish(data, "0"));
        let events = source.hear(&client);
        assert_eq!(publications(&events), [(0, r#"{"x":1}"#.into())]);
    }
}

#[test]
fn a_large_publication_is_kept_by_reference_for_slow_streams() {
    let mut world = world();
    let data = format!("\"{}\"", "x".repeat(100_000));
    let clients: Vec<_> = (0..10)
        .map(|_| {
            let client = connect(&mut world, opening(EVENTS, &[r#"{"a":1}"#], Start::Now));
            client.reads();
            client.takes(10);
            client
        })
        .collect();
    publish(&mut world, &[r#"{"a":1}"#], &data);
    assert!(world.settings.outboxes.bytes() < 2 * data.len());
    for client in &clients {
        client.takes(usize::MAX);
        world.writable(client);
        let mut source = Source {
            head: "known".into(),
            ..Source::default()
        };
        let events = source.hear(client);
        assert_eq!(publications(&events), [(0, data.clone())]);
    }
}

#[test]
fn a_reader_that_stops_is_bounded_as_a_socket_is() {
    let mut settings = recheck_settings();
    settings.limits.outbox_bytes = 10_000;
    let mut world = World::with(settings);
    let client = connect(&mut world, opening(EVENTS, &[r#"{"a":1}"#], Start::Now));
    client.takes(0);
    for _ in 0..20 {
        publish(
            &mut world,
            &[r#"{"a":1}"#],
            &format!("\"{}\"", "x".repeat(1_000)),
        );
    }
    assert!(!world.is_there(&client));
    assert_eq!(evictions(world.stats()), [Eviction::OutboxBytes]);
}

#[test]
fn a_browser_that_was_cut_between_two_events_of_one_entry_hears_both_once() {
    for cut in 0..4_000 {
        let mut world = world();
        let rooms = [r#"{"a":1}"#, r#"{"a":"*"}"#, r#"{"b":1}"#];
        let client = connect(&mut world, plain(&rooms, Start::Now));
        let mut source = Source::default();
        source.hear(&client);
        publish(&mut world, &[r#"{"a":1}"#, r#"{"b":1}"#], "1");
        publish(&mut world, &[r#"{"a":2}"#], "2");
        publish(&mut world, &[r#"{"b":1}"#, r#"{"a":1}"#], "3");
        let text = client.reads();
        let is_over = cut >= text.len();
        let mut heard = publications(&source.read(&text[..cut.min(text.len())]));
        world.gone(&client);
        let client = connect(&mut world, plain(&rooms, after(&source.last_id)));
        let mut again = Source::default();
        let events = again.hear(&client);
        let data = events[0].data.as_ref().unwrap();
        assert_eq!(data["recovered"], true);
        assert_eq!(data["replayed"], events.len() - 1);
        heard.extend(publications(&events));
        assert_eq!(heard.len(), 7, "cut at {cut}: {heard:?}");
        heard.sort();
        heard.dedup();
        assert_eq!(heard.len(), 7, "cut at {cut}");
        if is_over {
            return;
        }
    }
    panic!("the text is longer");
}

#[test]
fn an_id_that_is_no_cursor_is_not_recovered_and_the_stream_goes_on() {
    let mut world = world();
    publish(&mut world, &[r#"{"a":1}"#], "1");
    let client = connect(&mut world, plain(&[r#"{"a":1}"#], Start::Unknown));
    let mut source = Source::default();
    let events = source.hear(&client);
    let data = events[0].data.as_ref().unwrap();
    assert_eq!(
        (&data["recovered"], &data["reason"]),
        (&false.into(), &"epoch".into())
    );
    publish(&mut world, &[r#"{"a":1}"#], "2");
    assert_eq!(publications(&source.hear(&client)), [(0, "2".into())]);
}

#[test]
fn heartbeats_move_the_id_and_a_plain_page_notices_nothing() {
    let mut world = world();
    let client = connect(&mut world, plain(&[r#"{"a":1}"#], Start::Now));
    let mut source = Source::default();
    source.hear(&client);
    let begin = source.last_id.clone();
    publish(&mut world, &[r#"{"b":1}"#], "1");
    assert_eq!(world.shard.deadline(), Some(world.now + 20_000));
    world.pass(20_000);
    assert_eq!(source.hear(&client), []);
    assert_ne!(source.last_id, begin);
    let ours = connect(&mut world, opening(EVENTS, &[r#"{"a":1}"#], Start::Now));
    let mut source = Source::default();
    source.hear(&ours);
    world.pass(20_000);
    let events = source.hear(&ours);
    assert_eq!(events[0].name, "ping");
    assert_eq!(events[0].data.as_ref().unwrap()["type"], "ping");
}

#[test]
fn a_stream_with_queued_data_gets_no_heartbeat() {
    let mut world = world();
    let client = connect(&mut world, plain(&[r#"{"a":1}"#], Start::Now));
    client.takes(0);
    publish(&mut world, &[r#"{"a":1}"#], "1");
    let writes = client.writes();
    world.pass(20_000);
    world.pass(20_000);
    assert_eq!(client.writes(), writes);
    assert!(world.is_open(&client));
}

#[test]
fn an_old_stream_ends_cleanly_at_a_random_moment() {
    let max_age = 3_600_000;
    let mut settings = recheck_settings();
    settings.streams = StreamSettings { max_age };
    let mut world = World::with(settings);
    world.subprotocol = Some(Subprotocol::V1);
    let clients: Vec<_> = (0..40)
        .map(|_| connect(&mut world, plain(&[r#"{"a":1}"#], Start::Now)))
        .collect();
    // The numbers of connections are small: what is random of them is zero.
    let begin = world.now;
    while world.stats().streams > 0 {
        world.pass(10_000);
        assert!(world.now - begin <= max_age + 20_000);
    }
    assert!(world.now - begin >= max_age / 10 * 9);
    let mut source = Source::default();
    let events = source.hear(&clients[0]);
    let last = events.last().unwrap();
    assert_eq!(last.name, "close");
    assert!(last.retry.unwrap() <= 2_000);
    let data = last.data.as_ref().unwrap();
    assert_eq!(
        (&data["code"], &data["reason"]),
        (&1012.into(), &"max-age".into())
    );
    assert!(clients[0].is_shut_down());
}

#[test]
fn a_drain_closes_streams_with_a_time_to_come_back() {
    let mut world = world();
    let client = connect(&mut world, plain(&[r#"{"a":1}"#], Start::Now));
    let mut source = Source::default();
    source.hear(&client);
    world.publish(r#"{"a":1}"#, "1");
    let turn = &mut Turn::new(world.now, &mut world.outside);
    world
        .shard
        .close_some(1, Close::RESTART.within(5_000), turn);
    let events = source.hear(&client);
    assert_eq!(publications(&events), [(0, "1".into())]);
    let last = events.last().unwrap();
    assert!(last.retry.unwrap() <= 5_000);
    let expected = serde_json::json!({
        "type": "close", "code": 1012, "reason": "restart", "within": 5000
    });
    assert_eq!(last.data, Some(expected));
    assert!(client.is_shut_down());
    assert_eq!(world.stats().connections, 0);
    world.pass(3_000);
    assert!(!world.is_there(&client));
}

#[test]
fn who_is_refused_gets_a_status_and_a_browser_one_that_it_understands() {
    for (close, is_plain, status, is_stream) in [
        (Close::REFUSED, true, "403 Forbidden", false),
        (Close::REFUSED, false, "403 Forbidden", false),
        (Close::BACKEND.within(7_000), true, "200 OK", true),
        (
            Close::BACKEND.within(7_000),
            false,
            "503 Service Unavailable",
            false,
        ),
        (Close::CONNECTIONS_PER_USER, true, "200 OK", true),
        (
            Close::CONNECTIONS_PER_USER,
            false,
            "429 Too Many Requests",
            false,
        ),
        (Close::AUTHENTICATE, false, "401 Unauthorized", false),
    ] {
        let mut world = world();
        let opening = Opening {
            is_plain,
            origin: Some("https://app.example".into()),
            ..opening(EVENTS, &[r#"{"a":1}"#], Start::Now)
        };
        let said = (NOT_AUTHORIZED.into(), Admission::Refused(close));
        let client = world.connect_over(said, Some(opening), usize::MAX);
        let text = client.reads();
        assert!(
            text.starts_with(&format!("HTTP/1.1 {status}\r\n")),
            "{text}"
        );
        assert!(text.contains("Access-Control-Allow-Origin: https://app.example\r\n"));
        assert_eq!(text.contains("event: close\n"), is_stream, "{text}");
        assert_eq!(text.contains("retry: "), is_stream);
        assert!(client.is_shut_down());
        assert_eq!(world.stats().connections, 0);
        assert!(
            world
                .told()
                .iter()
                .all(|told| !matches!(told, Told::Hook(..)))
        );
    }
}

#[test]
fn a_gap_moves_the_id_and_is_told_once() {
    let mut world = world();
    let client = connect(&mut world, opening(EVENTS, &[r#"{"a":1}"#], Start::Now));
    let mut source = Source::default();
    source.hear(&client);
    let begin = source.last_id.clone();
    publish(&mut world, &[r#"{"b":1}"#], "1");
    let upto = world.outside.position;
    world.shard.note_gap(1);
    let gap = Gap {
        number: 1,
        tenant: None,
        upto,
        cause: GapCause::Window,
        close: Some(Close::GAP),
    };
    let turn = &mut Turn::new(world.now, &mut world.outside);
    let wave = world.shard.close_missed(&gap, 10, turn);
    assert_eq!((wave.told, wave.closed), (1, 0));
    settle(&mut world);
    let events = source.hear(&client);
    assert_eq!(events.len(), 1, "{events:?}");
    assert_eq!(events[0].name, "gap");
    assert_ne!(source.last_id, begin);
}

#[test]
fn new_permissions_are_told_and_a_revoked_client_is_closed() {
    let mut world = world();
    let client = connect(
        &mut world,
        opening(EVENTS, &[r#"{"a":1}"#, r#"{"b":1}"#], Start::Now),
    );
    let mut source = Source::default();
    source.hear(&client);
    world.command(user("7"), permit(r#"[{"a":"*"}]"#));
    settle(&mut world);
    let events = source.hear(&client);
    let names: Vec<_> = events.iter().map(|event| &*event.name).collect();
    assert_eq!(names, ["unsubscribed", "permissions"]);
    publish(&mut world, &[r#"{"a":1}"#, r#"{"b":1}"#], "1");
    assert_eq!(publications(&source.hear(&client)), [(0, "1".into())]);
    let ending = crate::command::Ending::from(Close::PERMISSIONS.within(1_000));
    world.command(everyone(), Action::Disconnect(ending));
    settle(&mut world);
    let events = source.hear(&client);
    assert_eq!(events[0].data.as_ref().unwrap()["code"], 4002);
    assert!(client.is_shut_down());
}

#[test]
fn a_newcomer_whose_answer_is_void_begins_with_the_newer_one() {
    let mut world = world();
    publish(&mut world, &[r#"{"a":1}"#], "1");
    world.asked_at = 1;
    world.command(user("7"), invalidate());
    settle(&mut world);
    let client = connect(
        &mut world,
        opening(EVENTS, &[r#"{"a":1}"#, r#"{"b":1}"#], Start::Now),
    );
    assert_eq!(client.reads(), "");
    world.check_accounts();
    let [Request::Recheck(request)] = &world.requests()[..] else {
        panic!("one request");
    };
    assert_eq!(request.reason, RecheckReason::Newcomer);
    world.permitted(&[&client], r#"[{"b":"*"}]"#);
    settle(&mut world);
    let mut source = Source::default();
    let events = source.hear(&client);
    let data = events[0].data.as_ref().unwrap();
    assert_eq!(data["allowed_rooms"], serde_json::json!([{"b": "*"}]));
    assert_eq!(data["refused"][0]["requestId"], 0);
    publish(&mut world, &[r#"{"a":1}"#, r#"{"b":1}"#], "2");
    assert_eq!(publications(&source.hear(&client)), [(1, "2".into())]);
}

#[test]
fn what_follows_the_request_is_ignored_and_much_of_it_ends_the_connection() {
    let mut world = world();
    let client = connect(&mut world, opening(EVENTS, &[r#"{"a":1}"#], Start::Now));
    world.receive(&client, b"\r\n");
    publish(&mut world, &[r#"{"a":1}"#], "1");
    let mut source = Source::default();
    assert_eq!(source.hear(&client).len(), 2);
    world.receive(&client, &[b'x'; 2_000]);
    assert!(!world.is_there(&client));
    assert_eq!(world.stats().violations, 1);
    world.check_accounts();
}

#[test]
fn many_subscriptions_are_registered_in_slices() {
    let mut world = world();
    let rooms: Vec<_> = (0..500).map(|n| format!(r#"{{"a":{n}}}"#)).collect();
    let rooms: Vec<_> = rooms.iter().map(|room| &**room).collect();
    let list = GrantList::parse(GRANTS).unwrap();
    let grants = Arc::new(GrantSet::new(world.tenant, list.rooms, Hasher::default()));
    world.begin(1);
    let said = (authorized(&list.text), Admission::Admitted(grants));
    let opening = opening(EVENTS, &rooms, Start::Now);
    let client = world.connect_over(said, Some(opening), usize::MAX);
    assert!(world.shard.is_behind());
    assert_eq!(client.reads(), "");
    world.publish(r#"{"a":0}"#, "1");
    world.publish(r#"{"a":499}"#, "2");
    world.resume(1_000);
    world.begin(0);
    settle(&mut world);
    let mut source = Source::default();
    let events = source.hear(&client);
    let heard = publications(&events);
    assert_eq!(heard, [(0, "1".into()), (499, "2".into())]);
    assert_eq!(world.stats().subscriptions, 500);
    world.check_accounts();
}

#[test]
fn a_poll_without_a_cursor_is_answered_at_once_with_one() {
    let mut world = world();
    let client = connect(
        &mut world,
        opening(Kind::Poll { wait_ms: 25_000 }, &[r#"{"a":1}"#], Start::Now),
    );
    let first = answer(&client).unwrap();
    assert_eq!(first["messages"], serde_json::json!([]));
    assert_eq!(first["is_authorized"], true);
    assert!(first["cursor"].is_string());
    assert_eq!(first.get("recovered"), None);
    assert_eq!(world.stats().connections, 0);
    world.pass(3_000);
    assert!(!world.is_there(&client));
    world.check_accounts();
}

/// The cursor of a client that begins now.
fn now(world: &mut World) -> String {
    let poll = opening(Kind::Poll { wait_ms: 0 }, &[], Start::Now);
    let client = connect(world, poll);
    answer(&client).unwrap()["cursor"]
        .as_str()
        .unwrap()
        .to_owned()
}

fn poll(world: &mut World, rooms: &[&str], cursor: &str, wait_ms: u64) -> Client {
    connect(world, opening(Kind::Poll { wait_ms }, rooms, after(cursor)))
}

fn data(answer: &serde_json::Value) -> Vec<serde_json::Value> {
    let messages = answer["messages"].as_array().unwrap().iter();
    messages.map(|message| message["data"].clone()).collect()
}

#[test]
fn a_poll_waits_for_a_message_or_the_end_of_its_time() {
    let mut world = world();
    let cursor = now(&mut world);
    let client = poll(&mut world, &[r#"{"a":1}"#], &cursor, 25_000);
    publish(&mut world, &[r#"{"b":1}"#], "0");
    assert_eq!(client.reads(), "");
    assert_eq!((world.stats().polls, world.stats().streams), (1, 0));
    world.publish(r#"{"a":1}"#, "1");
    world.publish(r#"{"a":1}"#, "2");
    settle(&mut world);
    let heard = answer(&client).unwrap();
    assert_eq!(data(&heard), [1, 2]);
    assert_eq!(
        (&heard["recovered"], &heard["replayed"]),
        (&true.into(), &0.into())
    );
    assert_eq!(world.stats().polls, 0);
    let cursor = heard["cursor"].as_str().unwrap();
    let client = poll(&mut world, &[r#"{"a":1}"#], cursor, 25_000);
    publish(&mut world, &[r#"{"b":1}"#], "3");
    world.pass(24_999);
    assert_eq!(client.reads(), "");
    world.pass(1);
    let heard = answer(&client).unwrap();
    assert_eq!(data(&heard), [0; 0]);
    assert_ne!(heard["cursor"], cursor);
    // Those that were written and those that were sent again are delivered.
    assert_eq!(world.stats().deliveries, 2);
}

#[test]
fn a_poll_is_answered_with_what_was_missed() {
    let mut world = world();
    let cursor = now(&mut world);
    publish(&mut world, &[r#"{"a":1}"#, r#"{"b":1}"#], "1");
    let client = poll(&mut world, &[r#"{"a":1}"#, r#"{"b":"*"}"#], &cursor, 25_000);
    let heard = answer(&client).unwrap();
    assert_eq!(data(&heard), [1, 1]);
    assert_eq!(heard["replayed"], 2);
}

#[test]
fn a_poll_that_cannot_go_on_is_answered_at_once() {
    let limits = WindowLimits {
        entries: 10,
        ..WindowLimits::default()
    };
    let mut world = with_window(limits);
    let cursor = now(&mut world);
    for data in 0..600 {
        publish(&mut world, &[r#"{"a":1}"#], &data.to_string());
    }
    let client = poll(&mut world, &[r#"{"a":1}"#], &cursor, 25_000);
    let heard = answer(&client).unwrap();
    assert_eq!(
        (&heard["recovered"], &heard["reason"]),
        (&false.into(), &"age".into())
    );
    assert_eq!(data(&heard), [0; 0]);
    let cursor = heard["cursor"].as_str().unwrap();
    let client = poll(&mut world, &[r#"{"a":1}"#], cursor, 25_000);
    publish(&mut world, &[r#"{"a":1}"#], "7");
    assert_eq!(data(&answer(&client).unwrap()), [7]);
}

#[test]
fn long_answers_are_divided_and_complete() {
    let mut world = world();
    let mut cursor = now(&mut world);
    for data in 0..2_500 {
        world.publish_all(&[(&[r#"{"a":1}"#], &data.to_string())]);
    }
    settle(&mut world);
    let (mut heard, mut polls) = (Vec::new(), 0);
    while heard.len() < 5_000 {
        let client = poll(&mut world, &[r#"{"a":1}"#, r#"{"a":"*"}"#], &cursor, 25_000);
        let answer = answer(&client).unwrap();
        assert!(answer["messages"].as_array().unwrap().len() <= 1_001);
        heard.extend(data(&answer));
        cursor = answer["cursor"].as_str().unwrap().to_owned();
        polls += 1;
    }
    assert_eq!(polls, 5);
    let expected = (0..2_500).flat_map(|data| [data, data]);
    assert!(
        heard.iter().eq(expected
            .map(serde_json::Value::from)
            .collect::<Vec<_>>()
            .iter())
    );
    assert_eq!(world.settings.outboxes.bytes(), 0);
}

#[test]
fn an_event_answers_a_poll_and_a_drain_gives_a_status() {
    let mut world = world();
    let cursor = now(&mut world);
    let client = poll(&mut world, &[r#"{"a":1}"#, r#"{"b":1}"#], &cursor, 25_000);
    world.command(user("7"), permit(r#"[{"a":"*"}]"#));
    settle(&mut world);
    let heard = answer(&client).unwrap();
    let types = heard["messages"].as_array().unwrap().iter();
    let types: Vec<_> = types
        .map(|message| message["type"].as_str().unwrap())
        .collect();
    assert_eq!(types, ["unsubscribed", "permissions"]);
    let cursor = now(&mut world);
    let client = poll(&mut world, &[r#"{"a":1}"#], &cursor, 25_000);
    let turn = &mut Turn::new(world.now, &mut world.outside);
    world.shard.close_all(Close::RESTART.within(9_000), turn);
    let text = client.reads();
    assert!(text.starts_with("HTTP/1.1 503 "), "{text}");
    assert!(text.contains("\r\nRetry-After: "));
    assert!(text.ends_with(r#""code": 1012, "reason": "restart", "within": 9000}"#));
    assert!(client.is_shut_down());
}

#[test]
fn what_was_gathered_is_not_lost_at_a_drain() {
    let mut world = world();
    let cursor = now(&mut world);
    let client = poll(&mut world, &[r#"{"a":1}"#], &cursor, 25_000);
    world.publish(r#"{"a":1}"#, "1");
    world.deliver();
    assert_eq!(client.reads(), "");
    let turn = &mut Turn::new(world.now, &mut world.outside);
    world.shard.close_all(Close::RESTART, turn);
    assert_eq!(data(&answer(&client).unwrap()), [1]);
}

#[test]
fn an_invalidate_between_two_polls_is_known_to_the_next_one() {
    let mut world = world();
    let cursor = now(&mut world);
    publish(&mut world, &[r#"{"a":1}"#], "1");
    world.command(user("7"), invalidate());
    settle(&mut world);
    world.asked_at = world.outside.position;
    let client = poll(&mut world, &[r#"{"a":1}"#], &cursor, 25_000);
    let heard = answer(&client).unwrap();
    assert_eq!(
        (&heard["recovered"], &heard["reason"]),
        (&false.into(), &"permissions".into())
    );
    assert_eq!(data(&heard), [0; 0]);
}

#[test]
fn a_poll_that_is_held_is_sent_nothing_before_the_answer() {
    let mut world = world();
    let cursor = now(&mut world);
    let client = poll(&mut world, &[r#"{"a":1}"#, r#"{"b":1}"#], &cursor, 25_000);
    world.command(user("7"), invalidate());
    settle(&mut world);
    publish(&mut world, &[r#"{"a":1}"#, r#"{"b":1}"#], "1");
    assert_eq!(client.reads(), "");
    world.requests();
    world.permitted(&[&client], r#"[{"b":"*"}]"#);
    settle(&mut world);
    let heard = answer(&client).unwrap();
    let names = heard["messages"].as_array().unwrap().iter();
    let names: Vec<_> = names.map(|message| message["requestId"].clone()).collect();
    assert!(names.contains(&1.into()) || heard["messages"][0]["type"] == "unsubscribed");
    assert!(!data(&heard).is_empty());
    let leaked = heard["messages"]
        .as_array()
        .unwrap()
        .iter()
        .any(|message| message["type"] == "publish" && message["requestId"] == 0);
    assert!(!leaked, "{heard}");
}

#[test]
fn connects_and_disconnects_are_counted_once() {
    let mut world = world();
    let cursor = now(&mut world);
    world.told();
    let client = poll(&mut world, &[r#"{"a":1}"#], &cursor, 10);
    world.pass(10);
    assert!(answer(&client).is_some());
    let hooks: Vec<_> = world
        .told()
        .into_iter()
        .filter(|told| matches!(told, Told::Hook(..)))
        .collect();
    let number = client.number;
    assert_eq!(
        hooks,
        [
            Told::Hook(number, Hook::Connect),
            Told::Hook(number, Hook::Disconnect)
        ]
    );
    assert_eq!(world.search(everyone()), []);
}

proptest! {
    /// A client that keeps nothing but the last id hears everything once, wherever it is cut.
    #[test]
    fn cuts_anywhere_lose_and_repeat_nothing(
        publications_of in prop::collection::vec((0..3_usize, 0..3_usize), 1..20),
        cuts in prop::collection::vec(0..400_usize, 1..8),
        lines: bool,
    ) {
        let mut world = world();
        let rooms = [r#"{"a":1}"#, r#"{"a":"*"}"#, r#"{"b":1}"#];
        let targets = [r#"{"a":1}"#, r#"{"a":2}"#, r#"{"b":1}"#];
        let kind = if lines { LINES } else { EVENTS };
        let mut client = connect(&mut world, opening(kind, &rooms, Start::Now));
        let (mut kept, mut heard) = (String::new(), Vec::new());
        let mut hear = |client: &Client, most: usize| {
            let text = client.reads();
            let text = &text[..text.len().min(most)];
            let body = match text.split_once("\r\n\r\n") {
                Some((_, body)) => body,
                None if text.starts_with("HTTP") => "",
                None => text,
            };
            if lines {
                // Without its end a line is not read.
                let whole = body.rfind('\n').map_or("", |end| &body[..end]);
                for line in whole.lines() {
                    let message: serde_json::Value = serde_json::from_str(line).unwrap();
                    if let Some(cursor) = message["cursor"].as_str() {
                        kept = cursor.to_owned();
                    }
                    if message["type"] == "publish" {
                        heard.push((message["requestId"].as_u64().unwrap(), message["data"].to_string()));
                    }
                }
            } else {
                let mut source = Source { head: "known".into(), last_id: kept.clone(), ..Source::default() };
                heard.extend(publications(&source.read(body)));
                kept = source.last_id;
            }
            kept.clone()
        };
        hear(&client, usize::MAX);
        let mut expected = 0;
        let mut cuts = cuts.into_iter();
        for (number, (one, other)) in publications_of.iter().enumerate() {
            publish(&mut world, &[targets[*one], targets[*other]], &number.to_string());
            let meets = |target: usize| [target == 0, target < 2, target == 2];
            let met = [0, 1, 2].map(|room| meets(*one)[room] || meets(*other)[room]);
            expected += met.iter().filter(|met| **met).count();
            if number % 3 == 2 && let Some(cut) = cuts.next() {
                let kept = hear(&client, cut);
                world.gone(&client);
                client = connect(&mut world, opening(kind, &rooms, after(&kept)));
            }
        }
        hear(&client, usize::MAX);
        prop_assert_eq!(heard.len(), expected);
        heard.sort();
        heard.dedup();
        prop_assert_eq!(heard.len(), expected);
        world.check_accounts();
    }
}
