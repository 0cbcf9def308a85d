//! Kills (`kill -9`) under load, of nodes and of the engine in turn: whatever was answered 200
//! reaches every client once, also those whose node was killed, which go on at another one. Where
//! the engine loses what it had confirmed, the clients are told.
//!
//! `HT_KILLS` is the number of kills (3) and `HT_KILLS_TRIGGERS` that of triggers (20,000), for each
//! engine. After a kill some of the triggers are published while what was killed is away.

mod engine;
mod page;
mod times;
mod verdict;

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::kills::engine::Engine;
use crate::kills::page::Page;
use crate::kills::times::Times;
use crate::kills::verdict::report;
use crate::support::stream::Address;
use crate::support::{Gateway, StubBackend, eventually, http};
use crate::variable;

const NODES: usize = 3;

/// Clients; they begin at the nodes in turn.
const PAGES: usize = 6;

const PUBLISHERS: usize = 4;

/// Triggers of a request.
const BATCH: u64 = 100;

/// Pause before a publisher or a client tries the next node.
const PACE: Duration = Duration::from_millis(20);

/// Longest time in which nothing is accepted, a node is not ready again, or a client is not told of a
/// loss.
const STALL: Duration = Duration::from_secs(120);

/// How often the end is published until all clients have heard it.
const END: Duration = Duration::from_secs(1);

#[test]
#[ignore = "takes long: ./test chaos"]
fn kills_of_nodes_and_of_rabbitmq_lose_and_double_nothing() {
    check(Engine::rabbitmq());
}

#[test]
#[ignore = "takes long: ./test chaos"]
fn kills_of_nodes_and_of_postgresql_lose_and_double_nothing() {
    check(Engine::postgres());
}

#[test]
#[ignore = "takes long: ./test chaos"]
fn kills_of_nodes_and_of_nats_lose_and_double_nothing() {
    check(Engine::nats());
}

#[test]
#[ignore = "takes long: ./test chaos"]
fn kills_of_nodes_and_of_redis_lose_and_double_nothing() {
    check(Engine::redis());
}

/// What it had in memory when it was killed is gone, although it was confirmed.
#[test]
#[ignore = "takes long: ./test chaos"]
fn kills_of_a_redis_that_loses_its_end_are_told() {
    check(Engine::redis_that_loses_its_end());
}

/// A node that runs.
#[derive(Clone)]
struct Home {
    public: Address,
    internal: Address,
}

/// What all threads have in common.
struct Run {
    /// By node; none while it is killed.
    homes: Mutex<[Option<Home>; NODES]>,
    /// Triggers that there are in all.
    triggers: u64,
    /// Those up to here may be published now.
    quota: AtomicU64,
    /// Those up to here have a publisher.
    taken: AtomicU64,
    accepted: AtomicU64,
    /// Requests that were repeated.
    repeated: AtomicU64,
    /// Clients that are subscribed.
    there: AtomicUsize,
    /// Clients that have heard the end.
    ended: AtomicUsize,
    over: AtomicBool,
    times: Times,
}

impl Run {
    /// A node that runs: this one, or another.
    fn home(&self, attempt: usize) -> Option<Home> {
        let homes = self.homes.lock().unwrap_or_else(PoisonError::into_inner);
        let in_turn = homes.iter().cycle().skip(attempt % NODES).take(NODES);
        in_turn.flatten().next().cloned()
    }

    fn set_home(&self, index: usize, home: Option<Home>) {
        let mut homes = self.homes.lock().unwrap_or_else(PoisonError::into_inner);
        homes[index] = home;
    }

    fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    /// The first number of the next request, and how many triggers it has; none: that was all.
    fn next_batch(&self) -> Option<(u64, u64)> {
        loop {
            let first = self.taken.load(Ordering::Relaxed);
            if first >= self.triggers || self.is_over() {
                return None;
            }
            let count = BATCH.min(self.triggers - first);
            let may = first < self.quota.load(Ordering::Relaxed);
            let next = first + count;
            let order = Ordering::Relaxed;
            if !may {
                thread::sleep(Duration::from_millis(1));
            } else if self
                .taken
                .compare_exchange(first, next, order, order)
                .is_ok()
            {
                self.times.taken(first);
                return Some((first, count));
            }
        }
    }

    /// Publishes until all triggers are accepted.
    fn publish(&self, publisher: usize) {
        while let Some((first, count)) = self.next_batch() {
            let triggers = (first..first + count).map(
                |number| json!({"rooms": [{"n": 1}], "data": number, "id": format!("t{number}")}),
            );
            let body = triggers.collect::<serde_json::Value>().to_string();
            for attempt in publisher.. {
                if let Some(home) = self.home(attempt) {
                    let to = &home.internal;
                    match http::try_request(to, "POST", "/trigger/", &[], body.as_bytes()) {
                        Ok(answer) if answer.status == 200 => break,
                        Ok(answer) => assert!([503, 504].contains(&answer.status), "{answer:?}"),
                        // It was killed.
                        Err(_) => {}
                    }
                }
                if self.is_over() {
                    return;
                }
                self.repeated.fetch_add(1, Ordering::Relaxed);
                thread::sleep(PACE);
            }
            self.times.accepted(first);
            self.accepted.fetch_add(count, Ordering::Relaxed);
        }
    }

    /// Waits until so many are accepted.
    fn wait_for_accepted(&self, count: u64) {
        let (mut last, mut since) = (0, Instant::now());
        loop {
            let now = self.accepted.load(Ordering::Relaxed);
            if now >= count {
                return;
            }
            if now > last {
                (last, since) = (now, Instant::now());
            }
            let goes_on = since.elapsed() < STALL && !self.is_over();
            assert!(goes_on, "{now} of {count} are accepted");
            thread::sleep(Duration::from_millis(2));
        }
    }

    /// Publishes the end, which is behind everything else, until all clients have heard it.
    fn end(&self, node: &Gateway) {
        let until = Instant::now() + STALL;
        while self.ended.load(Ordering::Relaxed) < PAGES {
            let goes_on = Instant::now() < until && !self.is_over();
            assert!(goes_on, "not all clients hear the end");
            // Again where it was refused.
            node.post(json!({"rooms": [{"n": 1}], "data": "over"}).to_string());
            let next = Instant::now() + END;
            while Instant::now() < next && self.ended.load(Ordering::Relaxed) < PAGES {
                thread::sleep(Duration::from_millis(2));
            }
        }
    }
}

/// Ends all threads where one panics.
struct Ending<'a>(&'a Run);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.over.store(true, Ordering::Relaxed);
        }
    }
}

fn node(engine: &Engine, backend: &StubBackend) -> Gateway {
    let node = Gateway::with(backend)
        .set("HT_THREADS", 1)
        // A client may be away for as long as it takes, and is sent everything.
        .set("HT_RECOVERY__MESSAGES", 1_000_000)
        .set("HT_RECOVERY__BYTES", "64MiB");
    engine.configure(node).start()
}

fn home(node: &Gateway) -> Home {
    Home {
        public: node.public().clone(),
        internal: node.internal().clone(),
    }
}

fn is_ready(node: &Gateway) -> bool {
    node.get("/ready").status == 200
}

/// Waits for as long as an engine that is restarted under load may take.
fn wait_for_ready(node: &Gateway, is: bool) {
    let until = Instant::now() + STALL;
    while is_ready(node) != is {
        assert!(
            Instant::now() < until,
            "not within {STALL:?}: ready is {is}"
        );
        thread::sleep(Duration::from_millis(5));
    }
}

fn check(mut engine: Engine) {
    let kills = variable("HT_KILLS").unwrap_or(3);
    let triggers = variable("HT_KILLS_TRIGGERS").unwrap_or(20_000);
    let backend = StubBackend::admitting(json!([{"n": "*"}]));
    let mut nodes = [(); NODES].map(|()| node(&engine, &backend));
    nodes.iter().for_each(|node| wait_for_ready(node, true));
    // A log without any entry has no cursor that is good on every node.
    nodes[0].trigger(&json!({"rooms": [], "data": "first"}));
    for node in &nodes {
        node.wait_for_metric("high_templar_window_entries", 1);
    }
    let run = Run {
        homes: Mutex::new(nodes.each_ref().map(|node| Some(home(node)))),
        triggers,
        quota: AtomicU64::new(0),
        taken: AtomicU64::new(0),
        accepted: AtomicU64::new(0),
        repeated: AtomicU64::new(0),
        there: AtomicUsize::new(0),
        ended: AtomicUsize::new(0),
        over: AtomicBool::new(false),
        times: Times::new(triggers),
    };
    let heard = thread::scope(|scope| {
        let (run, ending) = (&run, Ending(&run));
        let pages = [(); PAGES];
        let mut numbers = 0..PAGES;
        let pages = pages.map(|()| {
            let mut page = Page::new(numbers.next().unwrap_or(0), triggers);
            scope.spawn(move || {
                let _ending = Ending(run);
                page.run(run);
                page.heard
            })
        });
        eventually("all clients", || {
            (run.there.load(Ordering::Relaxed) == PAGES).then_some(())
        });
        for publisher in 0..PUBLISHERS {
            scope.spawn(move || {
                let _ending = Ending(run);
                run.publish(publisher);
            });
        }
        let step = triggers / (kills + 1);
        for kill in 0..kills {
            run.quota.store(step * (kill + 1), Ordering::Relaxed);
            run.wait_for_accepted(step * kill + step / 2);
            if kill % 2 == 0 {
                let index = usize::try_from(kill / 2).unwrap_or(0) % NODES;
                kill_node(run, index, &mut nodes[index], &engine, &backend);
            } else {
                kill_engine(run, &mut engine, &nodes);
            }
        }
        run.quota.store(triggers, Ordering::Relaxed);
        run.wait_for_accepted(triggers);
        run.end(&nodes[0]);
        drop(ending);
        pages.map(|page| page.join().expect("a client"))
    });
    nodes.iter().for_each(|node| run.times.note_log(node));
    report(&run, &engine, kills, &heard);
}

/// Kills a node and starts it again; its clients and publishers go to the others.
fn kill_node(
    run: &Run,
    index: usize,
    killed: &mut Gateway,
    engine: &Engine,
    backend: &StubBackend,
) {
    run.set_home(index, None);
    run.times.note(format!("node {index} is killed"));
    killed.signal("KILL");
    run.times.note_log(killed);
    *killed = node(engine, backend);
    wait_for_ready(killed, true);
    run.times.note(format!("node {index} is ready again"));
    run.set_home(index, Some(home(killed)));
}

/// Kills the engine and starts it again.
fn kill_engine(run: &Run, engine: &mut Engine, nodes: &[Gateway; NODES]) {
    run.times.note(format!("{} is killed", engine.name()));
    engine.kill();
    nodes.iter().for_each(|node| wait_for_ready(node, false));
    engine.start_again();
    run.times.note(format!("{} serves again", engine.name()));
    nodes.iter().for_each(|node| wait_for_ready(node, true));
    run.times.note("all nodes are ready again".into());
}
