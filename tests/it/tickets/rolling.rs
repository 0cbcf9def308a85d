//! A rolling restart of three nodes with one log: no client of ours costs a call to the API, loses
//! a publication or gets one twice.
//!
//! `HT_ROLLING_CLIENTS` is the number of clients (120).

use std::io::{self, ErrorKind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use ht_testkit::postgres::{Database, Postgres as Server};
use serde_json::{Value, json};

use crate::rabbitmq::wait_for_ready;
use crate::support::stream::{Address, Stream};
use crate::support::{Client, Gateway, Handshake, StubBackend, eventually, frame};
use crate::tickets::{EVENTS, Page, SECRET, named};

/// Clients that one thread serves.
const OF_A_THREAD: usize = 100;

/// How often a client sends `ping`.
const PING: Duration = Duration::from_secs(10);

/// Pause between two rounds of a thread over its clients, for each thread that there is.
const PAUSE: Duration = Duration::from_millis(1);

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.expect("a runtime").block_on(future)
}

/// What all have in common.
struct World {
    /// Between two rounds of a thread over its clients.
    pause: Duration,
    /// The nodes that accept clients.
    nodes: Mutex<Vec<Address>>,
    /// Clients that are subscribed.
    there: AtomicUsize,
    /// How often one came back.
    came_back: AtomicUsize,
    /// The last number that was published.
    published: AtomicU64,
    over: AtomicBool,
    /// A client found something wrong.
    failed: AtomicBool,
}

/// A client that comes back whenever its connection ends.
struct Visitor {
    number: usize,
    page: Page,
    connection: Option<Client>,
    /// It may connect from this moment on.
    from: Instant,
    pinged: Instant,
    is_there: bool,
    /// The last number that it heard: each follows the one before.
    heard: u64,
}

impl Visitor {
    fn new(number: usize) -> Self {
        let now = Instant::now();
        Self {
            number,
            page: Page::default(),
            connection: None,
            from: now,
            pinged: now,
            is_there: false,
            heard: 1,
        }
    }

    /// Connects to any of the nodes, with all that it keeps.
    fn connect(&mut self, world: &World) -> io::Result<()> {
        let nodes = world.nodes.lock().expect("no panic").clone();
        let node = &nodes[self.number % nodes.len()];
        let is_first = self.page.cursor.is_empty();
        let names = match is_first {
            true => EVENTS.to_owned(),
            false => named(&self.page.offered()),
        };
        let handshake = Handshake::at(node)
            .header("Sec-WebSocket-Protocol", names)
            .path(&format!("/ws/?token={}", self.number));
        let (answer, mut client) = handshake.try_send()?.try_answer()?;
        if answer.status != 101 {
            return Err(ErrorKind::ConnectionRefused.into());
        }
        let first = next(&mut client)?;
        assert_eq!(first["resumed"] == true, !is_first, "{first}");
        let request = match is_first {
            true => json!({"type": "subscribe", "room": {"n": 1}, "requestId": 1}),
            false => json!({
                "type": "resume", "requestId": 0, "cursor": self.page.cursor,
                "subscriptions": [{"requestId": 1, "room": {"n": 1}}],
            }),
        };
        // What is missed is sent from the cursor on that it had.
        let cursor = self.page.cursor.clone();
        self.page.keep(&first);
        if !is_first {
            self.page.cursor = cursor;
        }
        client.try_send_text(&request.to_string())?;
        if let Stream::Tcp(stream) = &client.stream {
            stream.set_nonblocking(true)?;
        }
        self.pinged = Instant::now();
        self.connection = Some(client);
        Ok(())
    }

    /// Takes a message.
    fn take(&mut self, message: &Value, world: &World) {
        self.page.keep(message);
        if message["type"] == "publish" {
            let number = message["data"].as_u64().expect("a number");
            assert_eq!(number, self.heard + 1, "none is lost, none comes again");
            self.heard = number;
        } else if [json!(0), json!(1)].contains(&message["requestId"]) {
            assert_ne!(message["recovered"], false, "{message}");
            self.is_there = true;
            world.there.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// Its connection ended: it comes back within a moment.
    fn leave(&mut self, within: u64, world: &World) {
        self.connection = None;
        if std::mem::take(&mut self.is_there) {
            world.there.fetch_sub(1, Ordering::SeqCst);
            world.came_back.fetch_add(1, Ordering::SeqCst);
        }
        let part = (self.number as u64 * 7_919) % 1_000;
        self.from = Instant::now() + Duration::from_millis(50 + within * part / 1_000);
    }

    /// Does what there is to do.
    fn turn(&mut self, world: &World) {
        let Some(client) = &mut self.connection else {
            if self.from <= Instant::now() && self.connect(world).is_err() {
                self.leave(0, world);
            }
            return;
        };
        if self.pinged.elapsed() > PING {
            self.pinged = Instant::now();
            let ping = json!({"type": "ping", "requestId": "p"});
            // What ends the connection is read below.
            let _ = client.try_send_text(&ping.to_string());
        }
        let mut messages = Vec::new();
        let ended = loop {
            match client.try_frame() {
                Ok(frame) if frame.opcode == frame::TEXT => messages.push(frame.payload),
                ended => break ended,
            }
        };
        for message in messages {
            let message = serde_json::from_slice(&message).expect("JSON");
            self.take(&message, world);
        }
        match ended {
            Ok(frame) if frame.opcode == frame::CLOSE => {
                let reason = String::from_utf8_lossy(&frame.payload[2..]).into_owned();
                assert!(!reason.starts_with("gap"), "{reason}");
                // For another reason where this machine is too slow for so many.
                let within = reason.strip_prefix("restart ").unwrap_or("0");
                self.leave(within.parse().expect("milliseconds"), world);
            }
            Ok(_) => {}
            Err(error) if [ErrorKind::WouldBlock, ErrorKind::TimedOut].contains(&error.kind()) => {}
            Err(_) => self.leave(0, world),
        }
    }
}

fn next(client: &mut Client) -> io::Result<Value> {
    let frame = client.try_frame()?;
    if frame.opcode != frame::TEXT {
        return Err(ErrorKind::ConnectionReset.into());
    }
    Ok(serde_json::from_slice(&frame.payload).expect("JSON"))
}

/// Ends the test where a thread of clients panics.
struct Failure<'a>(&'a World);

impl Drop for Failure<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.failed.store(true, Ordering::SeqCst);
        }
    }
}

/// Serves some clients until all have heard everything.
fn serve(world: &World, numbers: std::ops::Range<usize>) {
    let mut visitors: Vec<_> = numbers.map(Visitor::new).collect();
    let is_over = |visitor: &Visitor| {
        world.over.load(Ordering::SeqCst) && visitor.heard == world.published.load(Ordering::SeqCst)
    };
    let _failure = Failure(world);
    while !visitors.iter().all(is_over) && !world.failed.load(Ordering::SeqCst) {
        for visitor in &mut visitors {
            visitor.turn(world);
        }
        thread::sleep(world.pause);
    }
}

fn node(backend: &StubBackend, database: &Database) -> Gateway {
    let node = Gateway::with(backend)
        .set("HT_POSTGRES__URL", database.url())
        .set("HT_RESUME__SECRET", SECRET)
        .set("HT_DRAIN__PERIOD", "3s")
        .set("HT_THREADS", 1)
        .start();
    wait_for_ready(&node);
    node
}

#[test]
fn rolling_restart_costs_no_call_and_loses_and_repeats_nothing() {
    let count = std::env::var("HT_ROLLING_CLIENTS");
    let count: usize = count.map_or(120, |count| count.parse().expect("a number"));
    let database = block_on(Server::shared().database().with_log());
    let backend = StubBackend::admitting(json!([{"n": "*"}]));
    let mut nodes = [(); 3].map(|()| node(&backend, &database));
    let addresses = |nodes: &[Gateway], but: Option<usize>| {
        let nodes = nodes.iter().enumerate();
        let nodes = nodes.filter(|(index, _)| Some(*index) != but);
        nodes.map(|(_, node)| node.public().clone()).collect()
    };
    let world = World {
        pause: PAUSE * u32::try_from(count.div_ceil(OF_A_THREAD)).expect("a few"),
        nodes: Mutex::new(addresses(&nodes, None)),
        there: AtomicUsize::new(0),
        came_back: AtomicUsize::new(0),
        published: AtomicU64::new(0),
        over: AtomicBool::new(false),
        failed: AtomicBool::new(false),
    };
    let publish = |node: &Gateway| {
        let number = world.published.fetch_add(1, Ordering::SeqCst) + 1;
        node.trigger(&json!({"rooms": [{"n": 1}], "data": number, "id": number}));
    };
    let all_are_there = || {
        let begun = Instant::now();
        while world.there.load(Ordering::SeqCst) < count {
            let is_late = begun.elapsed() > Duration::from_secs(120);
            assert!(
                !is_late && !world.failed.load(Ordering::SeqCst),
                "some stay away"
            );
            thread::sleep(Duration::from_millis(20));
        }
    };
    // A log without any entry has no cursor that is good on every node.
    publish(&nodes[0]);
    for node in &nodes {
        node.wait_for_metric("high_templar_window_entries", 1);
    }
    thread::scope(|scope| {
        for first in (0..count).step_by(OF_A_THREAD) {
            let (world, last) = (&world, (first + OF_A_THREAD).min(count));
            scope.spawn(move || serve(world, first..last));
        }
        all_are_there();
        assert_eq!(backend.requests().len(), count);
        for index in 0..3 {
            let others = addresses(&nodes, Some(index));
            *world.nodes.lock().expect("no panic") = others;
            nodes[index].signal("TERM");
            // Published while they are on their way.
            (0..100).for_each(|_| publish(&nodes[(index + 1) % 3]));
            assert_eq!(nodes[index].wait_for_end(), Some(0));
            nodes[index] = node(&backend, &database);
            all_are_there();
            *world.nodes.lock().expect("no panic") = addresses(&nodes, None);
        }
        publish(&nodes[0]);
        world.over.store(true, Ordering::SeqCst);
    });
    assert!(
        world.came_back.load(Ordering::SeqCst) >= count,
        "each moved"
    );
    assert_eq!(backend.requests().len(), count, "no call but the first");
    eventually("what became of tickets", || {
        let resumed = |outcome: &str| -> u64 {
            let name = format!("high_templar_resumes_total{{outcome=\"{outcome}\"}}");
            nodes.iter().map(|node| node.metric(&name)).sum()
        };
        (resumed("resumed") > 0 && resumed("ahead") == 0).then_some(())
    });
}
