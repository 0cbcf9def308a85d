//! Chaos: hostile clients, a backend in bad moods, a broker that is paused, killed and stopped, a
//! node that is killed and restarted, all at once. Healthy subscribers must receive every trigger
//! that either node accepted while they were subscribed, in order, once, or be notified of a gap;
//! and at the end the surviving node must be as it was before.
//!
//! `HT_CHAOS_SECONDS` sets the duration, `HT_CHAOS_SEED` repeats a run's choices (the threads' pace
//! is their own). `./test chaos` runs it for two minutes.

// Other tests use the rest of it.
#[allow(dead_code, unused_imports)]
#[path = "../it/support/mod.rs"]
mod support;

mod faults;
mod hostile;
mod kills;
mod ledger;
mod link;
mod moods;
mod node;
mod publisher;
mod subscriber;
mod weather;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use fastrand::Rng;

use crate::hostile::Deeds;
use crate::ledger::{Tally, Whose};
use crate::publisher::Publisher;
use crate::subscriber::Subscriber;
use crate::support::log::Watched;
use crate::support::{Gateway, eventually};
use crate::weather::{Event, World};

/// Healthy subscribers of each node.
const HEALTHY: usize = 6;

/// Clients that misbehave at any moment.
const HOSTILE: usize = 12;

/// Resident memory that a node may have more than before, in bytes.
const MEMORY: u64 = 32 << 20;

/// Descriptors that a node may have more than before: connections to the backend are kept for the
/// next call.
const DESCRIPTORS: usize = 64;

#[test]
#[ignore = "takes minutes: ./test chaos"]
fn healthy_subscribers_notice_nothing() {
    let seconds = variable("HT_CHAOS_SECONDS").unwrap_or(20);
    let seed = variable("HT_CHAOS_SEED").unwrap_or_else(|| fastrand::u64(..));
    println!("chaos for {seconds} s, HT_CHAOS_SEED={seed}");
    let mut random = Rng::with_seed(seed);
    let mut world = World::start();
    let mut crowd = Crowd::start(&world);
    let before = Size::of(&world.steady);
    println!("the steady node before: {before:?}");

    let rabble = Rabble::start(&world, &mut random);
    let until = Instant::now() + Duration::from_secs(seconds);
    let mut events = Vec::new();
    while Instant::now() < until {
        if events.is_empty() {
            events = Event::shuffled(&mut random);
        }
        let event = events.pop().expect("an event");
        let begun = Instant::now();
        world.suffer(event, &mut random);
        let heard = crowd.account(&world);
        println!("{event:?} for {:?}: {heard}", begun.elapsed());
    }
    let deeds = rabble.stop();
    println!("hostile deeds: {}", deeds.account());
    assert!(deeds.are_all_done(), "{}", deeds.account());

    eventually("only healthy subscribers on the steady node", || {
        let open = world.steady.metric("high_templar_connections");
        (open == HEALTHY as u64).then_some(())
    });
    let bound = Size {
        memory: before.memory + MEMORY,
        descriptors: before.descriptors + DESCRIPTORS,
    };
    let after = eventually("the steady node as it was before", || {
        let size = Size::of(&world.steady);
        (size.memory <= bound.memory && size.descriptors <= bound.descriptors).then_some(size)
    });
    println!("the steady node after: {after:?}");
    println!("in all: {}", crowd.tally);
    crowd.stop();
    let World {
        steady, restless, ..
    } = world;
    for mut gateway in [steady].into_iter().chain(restless) {
        gateway.signal("TERM");
        assert_eq!(gateway.wait_for_end(), Some(0));
    }
}

/// A number in the environment.
fn variable(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().expect("a whole number"))
}

/// Resource usage of a process.
#[derive(Clone, Copy, Debug)]
struct Size {
    /// Resident, in bytes.
    memory: u64,
    descriptors: usize,
}

impl Size {
    fn of(gateway: &Gateway) -> Self {
        let folder = format!("/proc/{}", gateway.pid());
        let status = std::fs::read_to_string(format!("{folder}/status")).expect("a process");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|line| line.trim().split(' ').next()?.parse::<u64>().ok());
        Self {
            memory: kib.expect("a resident size") << 10,
            descriptors: std::fs::read_dir(format!("{folder}/fd"))
                .expect("a process")
                .count(),
        }
    }
}

/// Publishers and healthy subscribers.
struct Crowd {
    publishers: Vec<Arc<Publisher>>,
    subscribers: Vec<Arc<Subscriber>>,
    over: Arc<AtomicBool>,
    threads: Vec<thread::JoinHandle<()>>,
    /// Of all accounts.
    tally: Tally,
}

impl Crowd {
    fn start(world: &World) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let names: Vec<_> = world.nodes.iter().map(|node| node.name).collect();
        let mut crowd = Self {
            publishers: Vec::new(),
            subscribers: Vec::new(),
            over: Arc::clone(&over),
            threads: Vec::new(),
            tally: Tally::default(),
        };
        for node in &world.nodes {
            for n in 0..HEALTHY {
                let subscriber = Arc::new(Subscriber {
                    node: Arc::clone(node),
                    notes: Watched::default(),
                    publishers: names.clone(),
                    deflate: n % 2 == 0,
                });
                crowd.subscribers.push(Arc::clone(&subscriber));
                let over = Arc::clone(&over);
                crowd
                    .threads
                    .push(thread::spawn(move || subscriber.run(&over)));
            }
        }
        for subscriber in &crowd.subscribers {
            let online = subscriber.notes.wait(|notes| notes.online.then_some(()));
            online.expect("a subscriber that is online");
        }
        for node in &world.nodes {
            let publisher = Arc::new(Publisher::new());
            crowd.publishers.push(Arc::clone(&publisher));
            let (node, over) = (Arc::clone(node), Arc::clone(&over));
            crowd.threads.push(thread::spawn(move || {
                publisher.run(&node, &over, Rng::new())
            }));
        }
        crowd
    }

    /// Pauses the publishers for a moment, waits until all subscribers have received everything,
    /// and checks it. Checked messages are dropped, but for the tally.
    fn account(&mut self, world: &World) -> String {
        let pauses: Vec<_> = self.publishers.iter().map(|it| it.pause()).collect();
        let (mut numbers, mut retries) = (0, 0);
        let mut tally = Tally::default();
        let mut wrong = Vec::new();
        for (node, publisher) in world.nodes.iter().zip(&self.publishers) {
            let accepted = publisher.published.change(|published| {
                retries += std::mem::take(&mut published.retries);
                std::mem::take(&mut published.accepted)
            });
            numbers += accepted.len();
            let last = accepted.last().copied();
            for subscriber in &self.subscribers {
                let who = subscriber.node.name;
                let whose = if who == node.name {
                    Whose::Own
                } else {
                    Whose::Other
                };
                let (heard, all) = subscriber.take(node.name, last, wrong.is_empty());
                let verdicts = heard
                    .iter()
                    .map(|heard| tally.check(node.name, &accepted, heard, whose));
                let late = (!all).then(|| "never received all".to_owned());
                let about = verdicts.filter_map(Result::err).chain(late);
                wrong.extend(
                    about.map(|it| format!("a subscriber of {who} about {}: {it}", node.name)),
                );
                subscriber
                    .notes
                    .look(|notes| wrong.extend_from_slice(&notes.complaints));
            }
        }
        assert!(wrong.is_empty(), "{tally}\n{}", wrong.join("\n"));
        world.backend.stub.forget();
        drop(pauses);
        let account = format!("{numbers} triggers accepted after {retries} further tries; {tally}");
        self.tally.add(tally);
        account
    }

    fn stop(self) {
        self.over.store(true, Ordering::Relaxed);
        for thread in self.threads {
            thread.join().expect("no panic");
        }
    }
}

/// All misbehaving clients.
struct Rabble {
    deeds: Arc<Deeds>,
    over: Arc<AtomicBool>,
    threads: Vec<thread::JoinHandle<()>>,
}

impl Rabble {
    fn start(world: &World, random: &mut Rng) -> Self {
        let deeds = Arc::new(Deeds::default());
        let over = Arc::new(AtomicBool::new(false));
        let mut threads = Vec::new();
        for _ in 0..HOSTILE {
            let (nodes, deeds, over) =
                (world.nodes.to_vec(), Arc::clone(&deeds), Arc::clone(&over));
            let random = random.fork();
            threads.push(thread::spawn(move || {
                hostile::run(&nodes, &deeds, &over, random);
            }));
        }
        let (nodes, over_too, random) = (world.nodes.to_vec(), Arc::clone(&over), random.fork());
        threads.push(thread::spawn(move || {
            hostile::flood(&nodes, &over_too, random);
        }));
        Self {
            deeds,
            over,
            threads,
        }
    }

    fn stop(self) -> Arc<Deeds> {
        self.over.store(true, Ordering::Relaxed);
        for thread in self.threads {
            thread.join().expect("no panic");
        }
        self.deeds
    }
}
