//! How much memory a client costs, apart from its socket. Each bound is the measured value and some
//! margin: a rise beyond it should be a decision.

#[allow(dead_code, unreachable_pub)]
#[path = "../benches/support/mod.rs"]
mod support;

use std::sync::Arc;

use ht_core::who::{Facts, Who};
use ht_core::world::Turn;
use support::{grants, open, open_as, shard, subscribe};

#[global_allocator]
static ALLOCATOR: dhat::Alloc = dhat::Alloc;

/// Clients: a bit less than a power of two, so that tables which double are nearly full.
const CLIENTS: usize = 4_000;

fn heap() -> usize {
    dhat::HeapStats::get().curr_bytes
}

#[test]
fn a_client_costs_little() {
    let _profiler = dhat::Profiler::builder().testing().build();
    let grants = grants(r#"[{"target":"chat","id":"*"}]"#);
    let mut shard = shard();
    let empty = heap();
    let ids: Vec<_> = (0..CLIENTS).map(|_| open(&mut shard, &grants)).collect();
    let per = |bytes: usize| bytes / CLIENTS;
    let idle = per(heap() - empty);

    let before = heap();
    for (n, &id) in (0..).zip(&ids) {
        subscribe(&mut shard, id, r#"{"target":"chat","id":-1}"#, n);
    }
    let shared = per(heap() - before);

    let before = heap();
    for (n, &id) in (0..).zip(&ids) {
        let room = format!(r#"{{"target":"chat","id":{n}}}"#);
        subscribe(&mut shard, id, &room, n);
    }
    let own = per(heap() - before);

    println!(
        "bytes for an idle client {idle}, for a subscription to a shared room {shared}, to a \
         room of its own {own}"
    );
    assert!(idle <= 128, "an idle client costs {idle} bytes");
    assert!(
        shared <= 160,
        "a subscription to a shared room costs {shared} bytes"
    );
    assert!(
        own <= 400,
        "a subscription to a room of its own costs {own} bytes"
    );

    for id in ids {
        shard.gone(id, &mut Turn::new(0, &mut support::Nothing));
    }
    assert!(shard.is_empty());
    assert_eq!((shard.stats().rooms, shard.stats().subscriptions), (0, 0));

    // Each is a user of its own, with no other identity.
    let before = heap();
    for n in 0..CLIENTS {
        let facts = Facts {
            user: Some(format!("user-{n}").into()),
            ..Facts::default()
        };
        open_as(&mut shard, &grants, Who::new(facts).map(Arc::new));
    }
    // The connections themselves have slots already.
    let user = per(heap() - before);
    println!("bytes for who a client is, where every user is another one: {user}");
    assert!(user <= 200, "a user costs {user} bytes");
}
