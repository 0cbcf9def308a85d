//! What it costs to find the subscribers of a trigger, and to check whether a user may subscribe to
//! a room.

#![allow(missing_docs)]

#[allow(dead_code, unreachable_pub)]
mod support;

use std::hint::black_box;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use ht_core::Hasher;
use ht_core::grant::GrantSet;
use ht_core::world::Turn;
use ht_proto::entry::TenantId;
use ht_proto::grant::GrantList;
use support::{Nothing, grants, open, publication, room, shard, subscribe};

const ROOMS: usize = 100_000;
const SHAPES: usize = 50;
const SUBSCRIPTIONS: usize = 1_000_000;

/// One of the rooms: of fifty shapes with two or three keys, one in twenty with `*` somewhere.
fn numbered(n: usize) -> String {
    let shape = n % SHAPES;
    let tenant = match n / SHAPES % 20 {
        0 => "\"*\"".into(),
        other => format!("\"tenant-{other}\""),
    };
    match shape % 2 {
        0 => format!(r#"{{"target":"model{shape}","tenant":{tenant},"id{shape}":{n}}}"#),
        _ => format!(r#"{{"model{shape}":{n},"tenant":{tenant}}}"#),
    }
}

fn subscriptions(criterion: &mut Criterion) {
    let mut shard = shard();
    let mut all = String::from("[");
    for shape in 0..SHAPES {
        let separator = if shape == 0 { "" } else { "," };
        all += separator;
        all += &match shape % 2 {
            0 => format!(r#"{{"target":"*","tenant":"*","id{shape}":"*"}}"#),
            _ => format!(r#"{{"model{shape}":"*","tenant":"*"}}"#),
        };
    }
    let grants = grants(&(all + "]"));
    let connections: Vec<_> = (0..1_000).map(|_| open(&mut shard, &grants)).collect();
    for n in 0..SUBSCRIPTIONS {
        let id = connections[n / (SUBSCRIPTIONS / connections.len())];
        subscribe(&mut shard, id, &numbered(n % ROOMS), n as u128);
    }
    assert_eq!(shard.stats().rooms, ROOMS as u64);
    assert_eq!(shard.stats().subscriptions, SUBSCRIPTIONS as u64);
    // A room with a single subscriber.
    subscribe(
        &mut shard,
        connections[0],
        r#"{"model1":"alone","tenant":"x"}"#,
        0,
    );

    let mut group = criterion.benchmark_group("1,000,000 subscriptions to 100,000 rooms");
    for (name, trigger) in [
        ("unknown shape", r#"{"nobody":1,"tenant":"tenant-1"}"#),
        (
            "no hit",
            r#"{"target":"model0","tenant":"tenant-1","id0":-1}"#,
        ),
        ("1 hit", r#"{"model1":"alone","tenant":"x"}"#),
        ("10 hits", r#"{"model1":51,"tenant":"tenant-1"}"#),
        (
            "no hit, star",
            r#"{"target":"*","tenant":"tenant-1","id0":-1}"#,
        ),
        ("1 hit, star", r#"{"model1":"alone","tenant":"*"}"#),
        ("2,000 hits, star", r#"{"model1":"*","tenant":"tenant-1"}"#),
    ] {
        let batch = publication(&[trigger], b"{}");
        let before = shard.stats().deliveries;
        shard.publish(batch.clone());
        shard.fan_out(usize::MAX, &mut Turn::new(0, &mut Nothing));
        println!("{name}: {} deliveries", shard.stats().deliveries - before);
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                shard.publish(batch.clone());
                shard.fan_out(usize::MAX, &mut Turn::new(0, &mut Nothing));
            });
        });
    }
    group.finish();
}

fn permits(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("grants");
    for size in [5, 100, 10_000] {
        let texts: Vec<_> = (0..size).map(numbered).collect();
        let list = GrantList::parse(&format!("[{}]", texts.join(","))).expect("grants");
        assert_eq!(list.rooms.len(), size);
        let set = GrantSet::new(TenantId::MAIN, list.rooms.clone(), Hasher::fixed());
        let hit = room(&numbered(size - 1));
        let star = room(r#"{"target":"model0","tenant":"anyone","id0":0}"#);
        let miss = room(r#"{"target":"model0","tenant":"tenant-1","id0":-1}"#);
        let unknown = room(r#"{"nobody":1,"tenant":"tenant-1"}"#);
        for (name, asked, permitted) in [
            ("hit", &hit, true),
            ("hit by star", &star, true),
            ("miss", &miss, false),
            ("unknown shape", &unknown, false),
        ] {
            assert_eq!(set.permits(asked), permitted, "{name}");
            group.bench_function(format!("{size}: {name}"), |bencher| {
                bencher.iter(|| set.permits(black_box(asked)));
            });
        }
        group.bench_function(format!("{size}: build"), |bencher| {
            bencher.iter_batched(
                || list.rooms.clone(),
                |rooms| GrantSet::new(TenantId::MAIN, rooms, Hasher::fixed()),
                BatchSize::LargeInput,
            );
        });
    }
    group.finish();
}

criterion_group!(benches, subscriptions, permits);
criterion_main!(benches);
