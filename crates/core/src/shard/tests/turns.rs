//! Turns have a budget of work: the worst input that the default limits admit, for each way in,
//! counted in units and not in time.

use std::collections::VecDeque;
use std::sync::Arc;

use ht_frame::Deflater;
use ht_proto::close::Close;
use ht_proto::entry::TenantId;
use ht_proto::server::authorized;

use super::kit::*;
use crate::Hasher;
use crate::budget::{Phase, STEP, TURN};
use crate::grant::GrantSet;
use crate::shard::Admission;

/// What the shard's thread reads at once.
const READ: usize = 8 << 10;

/// Writes of a fan-out in one turn.
const WRITES: usize = 256;

/// The shard's thread, with clients that send more than is read at once.
struct Thread {
    world: World,
    clients: Vec<(Client, VecDeque<u8>)>,
    ready: VecDeque<usize>,
    /// Units of the turns so far.
    turns: Vec<u64>,
}

impl Thread {
    fn new(world: World) -> Self {
        Self {
            world,
            clients: Vec::new(),
            ready: VecDeque::new(),
            turns: Vec::new(),
        }
    }

    /// The client sends this from now on. Returns its number.
    fn says(&mut self, client: Client, bytes: impl IntoIterator<Item = u8>) -> usize {
        self.clients.push((client, bytes.into_iter().collect()));
        self.ready.push_back(self.clients.len() - 1);
        self.clients.len() - 1
    }

    /// One turn; the phases are those of the shard's thread.
    fn turn(&mut self) {
        let before = self.world.shard.budget().total();
        self.world.shard.begin(Phase::Sockets);
        for _ in 0..self.ready.len() {
            if self.world.shard.budget().is_spent() {
                break;
            }
            let at = self.ready.pop_front().unwrap();
            let (client, bytes) = &mut self.clients[at];
            if !self.world.shard.may_read(client.id) {
                // Queued again once all its input is processed.
                continue;
            }
            let len = bytes.len().min(READ);
            let mut read: Vec<_> = bytes.drain(..len).collect();
            if !bytes.is_empty() {
                self.ready.push_back(at);
            }
            let (now, outside) = (self.world.now, &mut self.world.outside);
            self.world
                .shard
                .receive(client.id, &mut read, &mut Turn::new(now, outside));
        }
        self.world.shard.begin(Phase::Resume);
        while self.world.shard.is_behind() && !self.world.shard.budget().is_spent() {
            let (now, outside) = (self.world.now, &mut self.world.outside);
            if let Some(id) = self.world.shard.resume(&mut Turn::new(now, outside)) {
                let known = self.clients.iter();
                let more = known
                    .enumerate()
                    .find(|(_, (client, bytes))| client.id == id && !bytes.is_empty());
                if let Some((at, _)) = more.filter(|(at, _)| !self.ready.contains(at)) {
                    self.ready.push_back(at);
                }
            }
        }
        self.world.shard.begin(Phase::Deliveries);
        self.world.slice(WRITES);
        self.world.shard.begin(Phase::CleanUp);
        self.world.clean_up();
        self.world.shard.begin(Phase::Tick);
        self.world.pass(0);
        let spent = self.world.shard.budget().total() - before;
        assert!(spent <= TURN + STEP, "a turn of {spent} units");
        self.turns.push(spent);
    }

    /// Runs turns until nothing is left to do. Returns how many units they took together.
    fn run(&mut self) -> u64 {
        self.turns.clear();
        while !self.ready.is_empty() || self.world.shard.has_work() {
            self.turn();
            assert!(self.turns.len() < 1_000_000);
        }
        // Unused memory is released.
        self.world.begin(0);
        self.turns.iter().sum()
    }
}

/// A message of the maximum size, in as few bytes as deflate makes of it.
fn bomb(content: u8, len: usize) -> Vec<u8> {
    let head = Deflater::new(9).deflate(&vec![content; len]).unwrap();
    let mut frame = masked(ht_frame::Opcode::Text, &[&head[..], &[0]].concat());
    frame[0] |= RSV1;
    frame
}

fn compressing() -> World {
    let mut world = World::new();
    world.offer = Some("permessage-deflate");
    world
}

#[test]
fn messages_take_turns() {
    let mut thread = Thread::new(World::new());
    let kinds: [(Vec<u8>, usize); 3] = [
        (masked(ht_frame::Opcode::Text, b"ping"), 9_000),
        (masked(ht_frame::Opcode::Text, &[b'['; 64 << 10]), 100),
        (masked(ht_frame::Opcode::Ping, b""), 9_000),
    ];
    for (frame, count) in &kinds {
        for _ in 0..3 {
            let client = thread.world.open("[]");
            thread.says(client, frame.repeat(*count));
        }
    }
    assert!(thread.run() > 3 * TURN);
    for (n, (client, _)) in thread.clients.iter_mut().enumerate() {
        assert_eq!(client.hears().len(), kinds[n / 3].1);
    }
}

#[test]
fn compressed_messages_are_charged_by_what_they_inflate_to() {
    for subprotocol in [None, Some(ht_proto::subprotocol::Subprotocol::V1)] {
        let mut thread = Thread::new(compressing());
        let mut other = thread.world.open(r#"[{"a":1}]"#);
        thread.world.subscribe(&mut other, r#"{"a":1}"#, "1");
        thread.world.subprotocol = subprotocol;
        for _ in 0..3 {
            let client = thread.world.open("[]");
            thread.says(client, bomb(b'[', 64 << 10).repeat(200));
        }
        // Every other client is served in every turn.
        for n in 0..20 {
            thread.world.publish(r#"{"a":1}"#, &n.to_string());
            thread.turn();
            assert_eq!(other.hears(), [publish(&n.to_string(), "1")]);
        }
        thread.run();
        // Ten seconds of the rate are inflated, of each of them.
        let evictions = thread.world.stats().evictions;
        let reason = crate::peer::Eviction::InflatedBytesPerSecond;
        assert_eq!(evictions[reason as usize], 3);
        for (client, _) in &mut thread.clients {
            let heard = client.hears();
            assert!((155..=165).contains(&heard.len()), "{}", heard.len());
            assert_eq!(heard.last().unwrap(), "close 4200 too-many-messages");
        }
    }
}

#[test]
fn refused_clients_have_nothing_inflated_or_parsed() {
    let mut thread = Thread::new(compressing());
    for _ in 0..12 {
        let client = thread.world.refuse(Close::NORMAL);
        let bytes = bomb(b'[', 64 << 10).repeat(1_000);
        let len = bytes.len() as u64;
        thread.says(client, bytes);
        // Less than a fiftieth of what one byte of each message would cost to inflate.
        assert!(thread.run() < 10 * len);
    }
    assert_eq!(thread.world.shard.inflater.take_inflated(), 0);
    thread.world.pass(100);
    for (client, _) in &mut thread.clients {
        assert_eq!(client.hears()[1..], ["close 1000"]);
    }
}

#[test]
fn reply_is_not_delayed_by_compression_of_large_publications() {
    let mut settings = settings();
    settings.compression.max_bytes = 1 << 20;
    let mut thread = Thread::new(World::with(settings));
    thread.world.offer = Some("permessage-deflate");
    let mut client = thread.world.open(r#"[{"a":1}]"#);
    thread.world.subscribe(&mut client, r#"{"a":1}"#, "1");
    let data = format!("\"{}\"", "x".repeat(900_000));
    for _ in 0..15 {
        thread.world.publish(r#"{"a":1}"#, &data);
    }
    let at = thread.says(client, masked(ht_frame::Opcode::Text, b"ping"));
    thread.world.shard.begin(Phase::Sockets);
    let mut bytes: Vec<_> = thread.clients[at].1.drain(..).collect();
    let (now, outside) = (thread.world.now, &mut thread.world.outside);
    let id = thread.clients[at].0.id;
    thread
        .world
        .shard
        .receive(id, &mut bytes, &mut Turn::new(now, outside));
    assert!((1..=2).contains(&thread.world.stats().deflated));
    thread.run();
    let heard = thread.clients[at].0.hears();
    assert_eq!(heard.len(), 16);
    assert!(heard.contains(&"pong".into()));
}

#[test]
fn subscribes_take_turns() {
    let mut thread = Thread::new(World::new());
    for n in 0..5 {
        let client = thread.world.open(r#"[{"a":"*"}]"#);
        let says = (0..4_000).map(|m| subscribe(&format!(r#"{{"a":"{n} {m}"}}"#), "1"));
        let says: Vec<_> = says
            .flat_map(|text| masked(ht_frame::Opcode::Text, text.as_bytes()))
            .collect();
        thread.says(client, says);
    }
    assert!(thread.run() > 3 * TURN);
    assert_eq!(thread.world.stats().subscriptions, 20_000);
}

/// A client with so many subscriptions under one request id.
fn subscriber(world: &mut World, count: usize) -> Client {
    let client = world.open(r#"[{"a":"*"}]"#);
    for n in 0..count {
        world.say(&client, &subscribe(&format!(r#"{{"a":{n}}}"#), "1"));
    }
    client
}

#[test]
fn an_unsubscribe_of_many_rooms_is_answered_when_it_is_done() {
    let mut settings = settings();
    settings.limits.subscriptions = 9_000;
    let mut thread = Thread::new(World::with(settings));
    let mut client = subscriber(&mut thread.world, 9_000);
    assert_eq!(client.hears().len(), 9_000);
    let says = [unsubscribe("1"), "ping".into(), unsubscribe("1")];
    let says = says.map(|text| masked(ht_frame::Opcode::Text, text.as_bytes()));
    let at = thread.says(client, says.concat());
    thread.turn();
    // In part: what is published is still delivered, and no reply has overtaken it.
    let left = thread.world.stats().subscriptions;
    assert!((1..9_000).contains(&left), "{left}");
    let rooms: Vec<_> = (0..9_000).map(|n| format!(r#"{{"a":{n}}}"#)).collect();
    let rooms: Vec<_> = rooms.iter().map(String::as_str).collect();
    thread.world.publish_all(&[(&rooms, "7")]);
    thread.run();
    let heard = thread.clients[at].0.hears();
    assert!(heard.len() > 3, "{heard:?} {:?}", thread.turns);
    let (publications, replies) = heard.split_at(heard.len() - 3);
    assert!(!publications.is_empty() && publications.len() as u64 <= left);
    assert!(publications.iter().all(|line| *line == publish("7", "1")));
    assert_eq!(replies, [SUCCESS, "pong", &error("not-subscribed")]);
    assert_eq!(thread.world.stats().subscriptions, 0);
}

#[test]
fn leaving_is_done_in_turns_and_leaves_no_trace_before_the_close_frame() {
    let mut thread = Thread::new(World::new());
    let clients: Vec<_> = (0..20)
        .map(|_| subscriber(&mut thread.world, 2_000))
        .collect();
    thread.world.told();
    let close = masked(ht_frame::Opcode::Close, &1000u16.to_be_bytes());
    for (n, client) in clients.into_iter().enumerate() {
        let at = thread.says(client, close.clone());
        if n % 2 == 1 {
            thread.clients[at].1.clear();
            thread.world.gone(&thread.clients[at].0);
        }
    }
    thread.turn();
    // None of them is counted any more, but their rooms are still open.
    assert_eq!(thread.world.stats().connections, 0);
    assert!(thread.world.stats().rooms > 1_900);
    for (client, _) in &mut thread.clients {
        assert!(!client.hears().iter().any(|line| line.contains("close")));
    }
    // The ids of ended connections are not reused, and nothing is delivered to them.
    let mut newcomers: Vec<_> = (0..20).map(|_| thread.world.open("[]")).collect();
    thread.world.publish(r#"{"a":1}"#, "7");
    assert!(thread.run() > TURN);
    for newcomer in &mut newcomers {
        assert!(newcomer.hears().is_empty());
    }
    let stats = thread.world.stats();
    assert_eq!(
        (stats.rooms, stats.subscriptions, stats.deliveries),
        (0, 0, 0)
    );
    for (n, (client, _)) in thread.clients.iter_mut().enumerate() {
        if n % 2 == 0 {
            assert_eq!(client.hears(), ["close 1000"]);
            assert!(client.is_shut_down());
            thread.world.gone(client);
        }
    }
    // Every id is free again.
    let next = thread.world.shard.next_key();
    assert!(next.slot < 20);
}

#[test]
fn a_trigger_with_a_wildcard_is_matched_in_turns() {
    let mut world = World::new();
    let mut clients: Vec<_> = (0..10).map(|_| world.open(r#"[{"a":"*"}]"#)).collect();
    for n in 0..30_000 {
        let client = &clients[n % 10];
        world.say(client, &subscribe(&format!(r#"{{"a":{n}}}"#), "1"));
    }
    for client in &mut clients {
        client.hears();
    }
    let mut thread = Thread::new(world);
    thread.world.publish_all(&[
        (&[r#"{"a":"*"}"#], "7"),
        (&[r#"{"a":5}"#, r#"{"a":"*"}"#], "8"),
    ]);
    assert!(thread.run() > TURN / 10);
    assert!(thread.turns.len() > 3, "{}", thread.turns.len());
    for client in &mut clients {
        let heard = client.hears();
        let (first, second) = heard.split_at(3_000);
        assert!(first.iter().all(|line| *line == publish("7", "1")));
        assert!(second.iter().all(|line| *line == publish("8", "1")));
        assert_eq!(second.len(), 3_000);
    }
}

#[test]
fn triggers_are_delivered_in_turns() {
    let mut world = compressing();
    // A publication of its own for each, larger than is compressed in one go, and a flood.
    let mut clients: Vec<_> = (0..4).map(|_| world.open(r#"[{"a":"*"}]"#)).collect();
    for client in &mut clients {
        for n in 0..3 {
            world.subscribe(client, &format!(r#"{{"a":{n}}}"#), &n.to_string());
        }
    }
    let mut thread = Thread::new(world);
    let sizes = [16 << 20, 1 << 20, 512 << 10, 100 << 10, 10];
    let data = sizes.map(|size| format!("\"{}\"", "x".repeat(size)));
    let triggers: Vec<_> = data
        .iter()
        .map(|data| (&[r#"{"a":"*"}"#][..], &data[..]))
        .collect();
    thread.world.publish_all(&triggers);
    assert!(thread.run() > 3 * TURN);
    assert_eq!(thread.world.stats().deliveries, 4 * 3 * 5);
    // Those beyond `compression.max_bytes` are sent as they are.
    assert_eq!(thread.world.stats().deflated, 2);
}

#[test]
fn new_connections_take_turns() {
    let mut world = World::new();
    let rooms: Vec<_> = (0..2_000)
        .map(|n| {
            format!(
                r#"{{"target":"room","id":{n},"name":"{}"}}"#,
                "x".repeat(200)
            )
        })
        .collect();
    let message = authorized(&format!("[{}]", rooms.join(",")));
    let grants = Arc::new(GrantSet::new(TenantId::MAIN, Vec::new(), Hasher::default()));
    let mut turns = 0;
    let mut opened = 0;
    while opened < 40 {
        let before = world.shard.budget().total();
        world.shard.begin(Phase::Newcomers);
        while opened < 40 && !world.shard.budget().is_spent() {
            let admission = Admission::Admitted(Arc::clone(&grants));
            world.connect(message.clone(), admission, usize::MAX);
            opened += 1;
        }
        let spent = world.shard.budget().total() - before;
        assert!(spent <= Phase::Newcomers.units() + STEP);
        turns += 1;
    }
    assert!(turns >= 3, "{turns}");
}

#[test]
fn evictions_of_many_outboxes_take_turns() {
    let outboxes = Arc::new(crate::outbox::Outboxes::new(0));
    let mut world = World::with(crate::shard::Settings {
        outboxes: Arc::clone(&outboxes),
        ..settings()
    });
    let clients: Vec<_> = (0..500)
        .map(|_| {
            let client = subscriber(&mut world, 50);
            client.takes(0);
            client
        })
        .collect();
    world.publish(r#"{"a":1}"#, "7");
    world.deliver();
    outboxes.set_limit(1);
    let mut thread = Thread::new(world);
    assert!(thread.world.shard.has_work());
    thread.run();
    assert!(thread.turns.len() > 5, "{}", thread.turns.len());
    assert_eq!(outboxes.bytes(), 0);
    assert!(clients.iter().all(|client| !thread.world.is_there(client)));
}
