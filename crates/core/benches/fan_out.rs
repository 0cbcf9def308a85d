//! What a delivery costs before the system call.

#![allow(missing_docs)]
#![allow(clippy::disallowed_methods, reason = "a benchmark has a clock")]

#[allow(dead_code, unreachable_pub)]
mod support;

use std::time::{Duration, Instant};

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use ht_core::world::Turn;
use ht_proto::entry::TenantId;
use support::{
    Nothing, data, grants, grants_of, open, open_deflated, publication, publication_of, say, shard,
    subscribe, unsubscribe_text,
};

const ROOM: &str = r#"{"target":"chat","id":1}"#;

fn broadcast(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("broadcast");
    for (subscribers, bytes, burst) in [
        (1_000, 128, 1),
        (1_000, 128, 10),
        (1_000, 100_000, 1),
        (5_000, 128, 1),
        (50_000, 128, 1),
    ] {
        let mut shard = shard();
        let grants = grants(&format!("[{ROOM}]"));
        for n in 0..subscribers {
            let id = open(&mut shard, &grants);
            subscribe(&mut shard, id, ROOM, n);
        }
        let batch = publication(&[ROOM], &data(bytes));
        shard.publish(batch.clone());
        shard.fan_out(usize::MAX, &mut Turn::new(0, &mut Nothing));
        assert_eq!(shard.stats().deliveries, subscribers as u64);
        group.throughput(Throughput::Elements(subscribers as u64 * burst));
        group.bench_function(
            format!("{subscribers} subscribers, {bytes} bytes, bursts of {burst}"),
            |bencher| {
                bencher.iter(|| {
                    (0..burst).for_each(|_| shard.publish(batch.clone()));
                    shard.fan_out(usize::MAX, &mut Turn::new(0, &mut Nothing));
                });
            },
        );
        assert_eq!(shard.stats().deliveries % subscribers as u64, 0);
    }
    group.finish();
}

/// The same publications beside those of another tenant, whose clients have the same rooms.
fn tenants(criterion: &mut Criterion) {
    const SUBSCRIBERS: u128 = 1_000;
    let mut group = criterion.benchmark_group("tenants");
    for count in [1, 2, 100] {
        let mut shard = shard();
        let each = SUBSCRIBERS / count;
        let tenants = (1..).take(count as usize).map(TenantId::new);
        let batches: Vec<_> = tenants
            .map(|tenant| {
                let grants = grants_of(tenant, &format!("[{ROOM}]"));
                for n in 0..each {
                    let id = open(&mut shard, &grants);
                    subscribe(&mut shard, id, ROOM, n);
                }
                publication_of(tenant, &[ROOM], &data(128))
            })
            .collect();
        let mut publish = || {
            for batch in &batches {
                shard.publish(batch.clone());
            }
            shard.fan_out(usize::MAX, &mut Turn::new(0, &mut Nothing));
            shard.stats().deliveries
        };
        assert_eq!(u128::from(publish()), SUBSCRIBERS);
        group.throughput(Throughput::Elements(SUBSCRIBERS as u64));
        group.bench_function(format!("{SUBSCRIBERS} subscribers of {count}"), |bencher| {
            bencher.iter(&mut publish);
        });
    }
    group.finish();
}

/// A list of orders as an API might publish it, of about so many bytes.
fn orders(bytes: usize) -> Vec<u8> {
    let order = |id: usize| {
        let (customer, sum) = (id * 7_919 % 10_007, id * 104_729 % 9_973);
        format!(r#"{{"id":{id},"status":"paid","customer":"{customer}","sum":{sum}}}"#)
    };
    let each = order(1_000).len() + 1;
    let all: Vec<_> = (1_000..1_000 + bytes / each).map(order).collect();
    format!("[{}]", all.join(",")).into_bytes()
}

/// One publication to clients of which none, or all, support compression.
fn compressed(criterion: &mut Criterion) {
    const SUBSCRIBERS: usize = 1_000;
    let mut group = criterion.benchmark_group("compressed");
    group.throughput(Throughput::Elements(SUBSCRIBERS as u64));
    let grants = grants(&format!("[{ROOM}]"));
    for bytes in [4_000, 64_000] {
        let data = orders(bytes);
        for (name, deflated) in [("plain", false), ("deflated", true)] {
            let mut shard = shard();
            for n in 0..SUBSCRIBERS as u128 {
                let open = if deflated { open_deflated } else { open };
                let id = open(&mut shard, &grants);
                subscribe(&mut shard, id, ROOM, n);
            }
            shard.publish(publication(&[ROOM], &data));
            shard.fan_out(usize::MAX, &mut Turn::new(0, &mut Nothing));
            assert_eq!(shard.stats().deliveries, SUBSCRIBERS as u64);
            assert_eq!(shard.stats().deflated, u64::from(deflated));
            let name = format!("{name}, {bytes} bytes");
            group.bench_function(name, |bencher| {
                // Each is a new one: deflate is part of what is measured.
                bencher.iter_batched(
                    || publication(&[ROOM], &data),
                    |batch| {
                        shard.publish(batch);
                        shard.fan_out(usize::MAX, &mut Turn::new(0, &mut Nothing));
                    },
                    BatchSize::SmallInput,
                );
            });
        }
    }
    group.finish();
}

fn unicast(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("unicast");
    let mut shard = shard();
    let grants = grants(r#"[{"target":"chat","id":"*"}]"#);
    let rooms: Vec<_> = (0..5_000)
        .map(|n| format!(r#"{{"target":"chat","id":{n}}}"#))
        .collect();
    for (n, room) in (0..).zip(&rooms) {
        let id = open(&mut shard, &grants);
        subscribe(&mut shard, id, room, n);
    }
    let batches: Vec<_> = rooms
        .iter()
        .map(|room| publication(&[room], &data(128)))
        .collect();
    let mut turn = batches.iter().cycle();
    group.bench_function("one of 5,000 rooms", |bencher| {
        bencher.iter(|| {
            shard.publish(turn.next().expect("a cycle").clone());
            shard.fan_out(usize::MAX, &mut Turn::new(0, &mut Nothing));
        });
    });
    group.finish();
}

fn sessions(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("session");
    let mut shard = shard();
    let grants = grants(r#"[{"target":"chat","id":"*"}]"#);
    let id = open(&mut shard, &grants);
    group.bench_function("ping", |bencher| {
        bencher.iter(|| say(&mut shard, id, "ping"));
    });
    group.bench_function("subscribe and unsubscribe", |bencher| {
        bencher.iter(|| {
            subscribe(&mut shard, id, ROOM, 1);
            say(&mut shard, id, &unsubscribe_text(1));
        });
    });
    group.bench_function("open and end", |bencher| {
        bencher.iter(|| {
            let id = open(&mut shard, &grants);
            shard.gone(id, &mut Turn::new(0, &mut Nothing));
        });
    });
    // Ten thousand clients that connect, subscribe and end at once.
    group.sample_size(10);
    group.bench_function("10,000 clients come and go", |bencher| {
        bencher.iter_custom(|rounds| {
            let mut spent = Duration::ZERO;
            for _ in 0..rounds {
                let start = Instant::now();
                let ids: Vec<_> = (0..10_000).map(|_| open(&mut shard, &grants)).collect();
                for (n, &id) in (0..).zip(&ids) {
                    subscribe(&mut shard, id, ROOM, n);
                }
                for id in ids {
                    shard.gone(id, &mut Turn::new(0, &mut Nothing));
                }
                spent += start.elapsed();
            }
            spent
        });
    });
    group.finish();
}

criterion_group!(benches, broadcast, tenants, compressed, unicast, sessions);
criterion_main!(benches);
