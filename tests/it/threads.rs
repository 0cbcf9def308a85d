//! Threads are isolated: clients of one are served promptly while the other is behind.

use serde_json::json;
use socket2::SockRef;

use crate::fairness::{Busy, TURNS, audience, usual};
use crate::support::stream::Stream;
use crate::support::{Client, Frame, Gateway, NEVER, StubBackend, eventually, frame};

/// Flooded clients that read everything.
const READERS: usize = 100;

/// Flooded clients that read nothing.
const SLOW: usize = 4;

/// Flooded clients that send without a pause.
const TALKERS: usize = 2;

/// Deliveries of one turn of a thread.
const TURN: u64 = 64 << 10;

/// Without the limits that would end a flood. Publishers wait while anything is queued for their
/// thread.
fn two_threads() -> Gateway {
    Gateway::with(&StubBackend::open())
        .set("HT_THREADS", 2)
        .set("HT_LIMITS__INBOX", 1)
        .set("HT_LIMITS__OUTBOX_BYTES", "64MiB")
        .set("HT_LIMITS__OUTBOX_AGE", NEVER)
        .set("HT_LIMITS__MESSAGES_PER_SECOND", 0)
        .start()
}

/// Connects at least this many clients to each thread.
fn clients_by_thread(gateway: &Gateway, each: usize) -> [Vec<Client>; 2] {
    let mut threads = [Vec::new(), Vec::new()];
    while threads.iter().any(|clients| clients.len() < each) {
        let client = Client::connect(gateway);
        let thread = eventually("the thread of a new client", || {
            (0..2).find(|&thread: &usize| {
                let name = format!("high_templar_shard_connections{{shard=\"{thread}\"}}");
                gateway.metric(&name) > threads[thread].len() as u64
            })
        });
        threads[thread].push(client);
    }
    threads
}

/// Lets its system buffer as little as possible.
fn shrink(client: &Client) {
    if let Stream::Tcp(stream) = &client.stream {
        let set = SockRef::from(stream).set_recv_buffer_size(4 << 10);
        set.expect("a small buffer");
    }
}

#[test]
fn a_flooded_thread_delays_neither_deliveries_nor_pings_of_the_other() {
    const BATCH: usize = 1_000;
    let gateway = two_threads();
    let [mut flooded, mut quiet] = clients_by_thread(&gateway, READERS + SLOW + TALKERS);

    let hot = json!({"room": "hot"});
    let mut slow: Vec<_> = flooded.drain(..SLOW).collect();
    for client in &mut slow {
        shrink(client);
        client.subscribe(&hot, "hot");
    }
    let ping = [Frame::new(frame::TEXT, "ping")];
    let talkers = flooded.drain(..TALKERS);
    let talking: Vec<_> = talkers.map(|client| Busy::talking(client, &ping)).collect();
    let subscribers = (SLOW + flooded.len()) as u64;
    audience(flooded, &hot);
    let batch = vec![json!({"rooms": [hot], "data": null}); BATCH];
    let body = json!(batch).to_string();
    let _posting = [(); 3].map(|()| Busy::posting(&gateway, body.clone()));

    let delivered = || gateway.metric("high_templar_deliveries_total");
    let back_pressure = || gateway.metric("high_templar_back_pressure_total");
    let waiting = || {
        let placed = gateway.metric("high_templar_triggers_total") * subscribers;
        placed.saturating_sub(delivered())
    };
    eventually("the thread is behind", || {
        (waiting() > 2 * TURN).then_some(())
    });
    eventually("its publishers wait", || {
        (back_pressure() > 0).then_some(())
    });

    for (n, client) in quiet.iter_mut().enumerate() {
        client.subscribe(&json!({"room": n}), n);
    }
    let mut turns = Vec::new();
    for (n, client) in quiet.iter_mut().enumerate().take(TURNS) {
        let before = delivered();
        gateway.trigger(&json!({"rooms": [{"room": n}], "data": n}));
        assert_eq!(client.expect_publish(), (json!(n), json!(n)));
        client.fence();
        turns.push(delivered() - before);
    }
    // No turn of the other thread was waited for; one may have ended meanwhile.
    assert!(usual(&mut turns) <= 2 * TURN, "{turns:?}");
    let waits = back_pressure();
    eventually("the flood goes on", || {
        (back_pressure() > waits).then_some(())
    });
    let before: Vec<_> = talking.iter().map(Busy::done).collect();
    eventually("the talkers are served, too", || {
        let mut pairs = talking.iter().zip(&before);
        pairs
            .all(|(talking, &before)| talking.done() > before)
            .then_some(())
    });
    let evictions = "high_templar_evictions_total{reason=\"outbox_bytes\"}";
    assert_eq!(gateway.metric(evictions), 0, "the slow clients stayed");
}
