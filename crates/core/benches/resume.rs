//! What a client costs that was away and resumes with its cursor: the search of the window, and the
//! messages that it missed. A part of the shard's turn belongs to it, so it must not be long.

#![allow(missing_docs)]
#![allow(clippy::disallowed_methods, reason = "a benchmark has a clock")]

#[allow(dead_code, unreachable_pub)]
mod support;

use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use ht_core::Hasher;
use ht_core::budget::Phase;
use ht_core::grant::GrantSet;
use ht_core::index::Matching;
use ht_core::publication::{Logged, Publication};
use ht_core::shard::{SessionKey, Shard};
use ht_core::window::{Beginning, Concerns, Item, Kept, Key, Window, WindowLimits};
use ht_core::world::Turn;
use ht_proto::cursor::{Check, Cursor};
use ht_proto::entry::{Epoch, Position, TenantId};
use support::{Nothing, Sink, data, grants, open_v1, room, say, settings, shard_with};

/// Entries of a full window.
const ENTRIES: u64 = 100_000;

/// Rooms of the entries.
const ROOMS: u64 = 10_000;

/// Subscriptions of the client, of which every second has a room with entries.
const SUBSCRIPTIONS: u64 = 20;

/// Entries of two seconds, where the window covers a hundred.
const GAP: u64 = 2_000;

/// Writes of a fan-out in one turn.
const WRITES: usize = 256;

struct World {
    shard: Shard<Sink>,
    grants: Arc<GrantSet>,
    cursors: Vec<Cursor>,
}

/// A shard without clients, and a full window. Cursors are those of all positions from 0.
fn world() -> World {
    let beginning = Beginning::of(Epoch::from_random(7));
    let limits = WindowLimits {
        entries: ENTRIES as usize,
        bytes: 1 << 30,
        ..WindowLimits::default()
    };
    let mut window = Window::new(limits, beginning);
    let hasher = Hasher::fixed();
    let mut cursors = vec![cursor(beginning.epoch, 0, Check::NONE)];
    for position in 1..=ENTRIES {
        let room = room(&format!(
            r#"{{"target":"order","id":{}}}"#,
            position % ROOMS
        ));
        let key = Key::of(TenantId::MAIN, &room, Matching::Wildcard, &hasher);
        let check = Check::of(&position.to_be_bytes());
        let cursor = cursor(beginning.epoch, position, check);
        let one = Publication::new(position, TenantId::MAIN, vec![room], data(128).into());
        let batch: Arc<[Publication]> = [one.at(position, cursor)].into();
        for logged in Logged::all(&batch) {
            let item = Item {
                position,
                at: 0,
                check,
                tenant: TenantId::MAIN,
                body: Kept::Entry(logged),
            };
            window.append(item, Concerns::Rooms(&[key]), batch[0].memory());
        }
        cursors.push(cursor);
    }
    assert_eq!(window.len() as u64, ENTRIES);
    let mut settings = settings();
    settings.window = window.reader();
    let mut shard = shard_with(settings);
    shard.handed(ENTRIES);
    let grants = grants(r#"[{"target":"order","id":"*"},{"target":"quiet","id":"*"}]"#);
    World {
        shard,
        grants,
        cursors,
    }
}

fn cursor(epoch: Epoch, position: u64, check: Check) -> Cursor {
    let position = Position::new(position).expect("a position");
    Cursor {
        epoch,
        position,
        check,
        part: None,
    }
}

/// The message of a client with `rooms` rooms that have entries; the others have none.
fn message(cursor: Cursor, rooms: u64) -> String {
    let mut text = Vec::new();
    cursor.write(&mut text);
    let cursor = String::from_utf8(text).expect("text");
    let subscriptions = (0..SUBSCRIPTIONS).map(|name| {
        let target = if name < rooms { "order" } else { "quiet" };
        format!(r#"{{"requestId":{name},"room":{{"target":"{target}","id":{name}}}}}"#)
    });
    let subscriptions: Vec<_> = subscriptions.collect();
    format!(
        r#"{{"type":"resume","requestId":"r","cursor":"{cursor}","subscriptions":[{}]}}"#,
        subscriptions.join(",")
    )
}

impl World {
    /// The client connects again and resumes. Returns how long the shard took for it in all, and in
    /// its longest turn.
    fn resume(&mut self, text: &str) -> (Duration, Duration) {
        let key = open_v1(&mut self.shard, &self.grants);
        let begun = Instant::now();
        self.shard.begin(Phase::Sockets);
        say(&mut self.shard, key, text);
        let mut longest = begun.elapsed();
        while self.shard.has_fan_out() || self.shard.is_behind() {
            let turn = Instant::now();
            self.turn();
            longest = longest.max(turn.elapsed());
        }
        let took = begun.elapsed();
        assert_eq!(self.shard.stats().connections_held, 0);
        assert_eq!(self.shard.stats().subscriptions, SUBSCRIPTIONS);
        self.close(key);
        (took, longest)
    }

    fn turn(&mut self) {
        let mut nothing = Nothing;
        let turn = &mut Turn::new(0, &mut nothing);
        self.shard.begin(Phase::Resume);
        self.shard.resume(turn);
        self.shard.begin(Phase::Deliveries);
        self.shard.fan_out(WRITES, turn);
    }

    fn close(&mut self, key: SessionKey) {
        self.shard.begin_unlimited();
        self.shard.gone(key, &mut Turn::new(0, &mut Nothing));
        while self.shard.has_work() {
            self.shard.clean_up(&mut Turn::new(0, &mut Nothing));
        }
        assert!(self.shard.is_empty());
    }
}

fn resumes(criterion: &mut Criterion) {
    let mut world = world();
    let mut group = criterion.benchmark_group("resume with 20 subscriptions");
    for (name, from, rooms) in [
        ("100,000 entries, none for it", 0, 0),
        ("100,000 entries, 100 for it", 0, SUBSCRIPTIONS / 2),
        ("2,000 entries, none for it", ENTRIES - GAP, 0),
        ("nothing missed", ENTRIES, 0),
    ] {
        let text = message(world.cursors[from as usize], rooms);
        let before = world.shard.stats().deliveries;
        let mut longest = Duration::ZERO;
        let mut times = 0;
        group.bench_function(name, |bencher| {
            bencher.iter_custom(|iterations| {
                times += iterations;
                let took = (0..iterations).map(|_| world.resume(&text));
                took.fold(Duration::ZERO, |sum, (took, turn)| {
                    longest = longest.max(turn);
                    sum + took
                })
            });
        });
        // Each room has an entry in ROOMS.
        let expected = rooms * (ENTRIES - from) / ROOMS * times;
        assert_eq!(world.shard.stats().deliveries - before, expected);
        println!("{name}: the longest turn took {longest:?}");
    }
    group.finish();
}

criterion_group!(benches, resumes);
criterion_main!(benches);
