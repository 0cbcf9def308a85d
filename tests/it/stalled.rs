//! Thousands of slow consumers: the process stays within its limits, and healthy clients are not
//! affected.

use std::thread;

use serde_json::{Value, json};
use socket2::SockRef;

use crate::support::stream::Stream;
use crate::support::{Client, Gateway, StubBackend};

/// How many stop reading, if so many files may be open.
const STALLED: usize = 2_000;

/// How many read.
const HEALTHY: usize = 4;

/// Limit on the outboxes of all of them together.
const TOTAL: u64 = 24 << 20;

/// Limit on the outbox of one of them: without the limit on all of them they would hold 500 MB.
const EACH: u64 = 256 << 10;

/// Allowed growth of memory besides: tables, scratch space, and what the allocator keeps.
const BESIDES: u64 = 32 << 20;

/// A subscriber of the room whose socket buffers little.
fn stalled(gateway: &Gateway) -> Client {
    let mut client = Client::connect(gateway);
    if let Stream::Tcp(stream) = &client.stream {
        let set = SockRef::from(stream).set_recv_buffer_size(4 << 10);
        set.expect("a small buffer");
    }
    client.subscribe(&json!({"room": 1}), "1");
    client
}

/// How many there can be: the test and the gateway hold one end of each.
fn fit() -> usize {
    let limits = std::fs::read_to_string("/proc/self/limits").expect("limits");
    let files = limits
        .lines()
        .find(|line| line.starts_with("Max open files"));
    let files = files.and_then(|line| line.split_whitespace().nth(3));
    let files = files.and_then(|number| number.parse().ok());
    STALLED.min(files.unwrap_or(usize::MAX) - 200)
}

/// Resident memory of the process, in bytes.
fn resident(gateway: &Gateway) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", gateway.pid()));
    let status = status.expect("a process that runs");
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
    kib.expect("its resident memory") << 10
}

fn evicted(gateway: &Gateway) -> [u64; 3] {
    let of = |reason| {
        gateway.metric(&format!(
            "high_templar_evictions_total{{reason=\"{reason}\"}}"
        ))
    };
    ["outbox_bytes", "outbox_age", "outbox_total_bytes"].map(of)
}

/// Publishes these, and checks that every healthy client receives them, in order, and nothing else.
fn publish(gateway: &Gateway, healthy: &mut [Client], all: &[Value]) {
    let trigger = |data| json!({"rooms": [{"room": 1}], "data": data});
    gateway.trigger(&all.iter().map(trigger).collect());
    for client in healthy {
        for data in all {
            assert_eq!(client.expect_publish(), (data.clone(), json!("1")));
        }
    }
}

#[test]
fn thousands_who_do_not_read_are_let_go_within_the_bounds_and_the_others_hear_everything() {
    let backend = StubBackend::open();
    let gateway = Gateway::with(&backend)
        .set("HT_LIMITS__OUTBOX_BYTES", EACH)
        .set("HT_LIMITS__OUTBOX_TOTAL_BYTES", TOTAL)
        // The system would take up to a megabyte for each, without showing it.
        .set("HT_TCP__SEND_BUFFER", "16KiB")
        .start();
    let mut healthy: Vec<_> = (0..HEALTHY).map(|_| Client::connect(&gateway)).collect();
    for client in &mut healthy {
        client.subscribe(&json!({"room": 1}), "1");
    }
    let count = fit();
    let stalled: Vec<_> = thread::scope(|scope| {
        let part = |part| {
            let gateway = &gateway;
            scope.spawn(move || {
                let mine = (part..count).step_by(4);
                mine.map(|_| stalled(gateway)).collect::<Vec<_>>()
            })
        };
        let parts: Vec<_> = (0..4).map(part).collect();
        parts
            .into_iter()
            .flat_map(|part| part.join().unwrap())
            .collect()
    });
    let before = resident(&gateway);

    // Those that are copied and those that are shared, until no slow consumer is left.
    let (copied, shared) = ("x".repeat(3_000), "x".repeat(20_000));
    for round in 0.. {
        let all = [&copied, &copied, &copied, &shared, &copied, &copied];
        let all = all
            .iter()
            .enumerate()
            .map(|(at, data)| json!([round, at, data]));
        publish(&gateway, &mut healthy, &all.collect::<Vec<_>>());
        let grown = resident(&gateway).saturating_sub(before);
        assert!(
            grown <= TOTAL + BESIDES,
            "{grown} bytes more in round {round}, evicted {:?}",
            evicted(&gateway)
        );
        let waiting = gateway.metric("high_templar_outbox_bytes");
        // An addition counts before the eviction that it causes.
        assert!(waiting <= TOTAL + (128 << 10), "{waiting} in round {round}");
        let evicted = evicted(&gateway);
        if evicted.iter().sum::<u64>() == count as u64 {
            assert!(evicted[2] > 0, "{evicted:?}");
            break;
        }
        assert!(round < 2_000, "{evicted:?}");
    }
    gateway.wait_for_open(&mut healthy[0], HEALTHY as u64);
    assert_eq!(gateway.metric("high_templar_outbox_bytes"), 0);
    let line = gateway.wait_for_line("evicted a connection");
    assert!(line.contains("127.0.0.1"), "{line}");
    drop(stalled);
}

#[test]
fn a_client_that_reads_nothing_for_too_long_is_disconnected() {
    let backend = StubBackend::open();
    let gateway = Gateway::with(&backend)
        .set("HT_LIMITS__OUTBOX_BYTES", 0)
        .set("HT_LIMITS__OUTBOX_TOTAL_BYTES", 0)
        .set("HT_LIMITS__OUTBOX_AGE", "3s")
        .start();
    let mut good = Client::connect(&gateway);
    good.subscribe(&json!({"room": 1}), "1");
    let _stalled = stalled(&gateway);
    let data = json!("x".repeat(1 << 20));
    while gateway.metric("high_templar_queued_frames") == 0 {
        publish(
            &gateway,
            std::slice::from_mut(&mut good),
            std::slice::from_ref(&data),
        );
    }
    gateway.wait_for_metric("high_templar_evictions_total{reason=\"outbox_age\"}", 1);
    gateway.wait_for_open(&mut good, 1);
    publish(&gateway, std::slice::from_mut(&mut good), &[json!(1)]);
}
