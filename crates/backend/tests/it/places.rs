//! The bound on bootstrap calls under way.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::join_all;
use ht_backend::{Backend, Failure};
use tokio::sync::Semaphore;

use crate::kit::{credentials, failed, guarded, rooms, told, visit};
use crate::stub::{Reply, Stub};

#[tokio::test]
async fn never_more_calls_than_slots() {
    let gate = Arc::new(Semaphore::new(0));
    let hold = gate.clone();
    let stub = Stub::tcp(move |_| Reply::Wait(hold.clone(), rooms("[]"))).await;
    let backend = guarded(&stub, |config| config.guard.max_in_flight = 3);
    let calls = join_all((0..40).map(|number| visit(&backend, number)));
    let open = async {
        for answered in 0..40 {
            let under_way = (40 - answered).min(3);
            stub.until(|log| {
                log.requests.len() == answered + under_way && log.in_flight == under_way
            })
            .await;
            gate.add_permits(1);
        }
    };
    let (answers, ()) = tokio::join!(calls, open);
    assert!(answers.into_iter().all(|answer| told(answer).is_ok()));
    let log = stub.log();
    assert_eq!((log.requests.len(), log.in_flight_max), (40, 3));
}

#[tokio::test]
async fn slots_are_assigned_in_order_of_arrival() {
    let stub = Stub::tcp(|_| Reply::Send(rooms("[]"))).await;
    let backend = guarded(&stub, |config| config.guard.max_in_flight = 1);
    let visitors = ["a", "b", "c", "d", "e", "f"].map(|name| credentials(&[("x-real-ip", name)]));
    join_all(visitors.iter().map(|visitor| backend.bootstrap(visitor))).await;
    let log = stub.log();
    let order: Vec<_> = log
        .requests
        .iter()
        .map(|seen| seen.header("x-real-ip").unwrap())
        .collect();
    assert_eq!(order.concat(), b"abcdef");
}

#[tokio::test]
async fn waiting_for_a_slot_times_out() {
    let stub = Stub::tcp(|_| Reply::Hang(Vec::new())).await;
    let within = Duration::from_millis(300);
    let backend = guarded(&stub, |config| {
        config.guard.max_in_flight = 1;
        config.guard.wait_timeout = within;
        config.timeout = within;
    });
    // The first holds the only slot for just as long as the second waits for it.
    let first = visit(&backend, 1);
    let second = async {
        stub.until(|log| log.in_flight == 1).await;
        let started = tokio::time::Instant::now();
        let third = visit(&backend, 3).now_or_never();
        assert!(third.is_none());
        (failed(visit(&backend, 2).await), started.elapsed())
    };
    let (first, (second, waited)) = tokio::join!(first, second);
    assert_eq!(told(first), Err("failed: timeout".into()));
    // It got the slot when the first gave up, and then its own timeout began.
    assert_eq!(second.kind().as_str(), "timeout");
    assert!(waited >= within, "{waited:?}");

    let calls = join_all((0..3).map(|number| visit(&backend, number))).await;
    let calls: Vec<_> = calls.into_iter().map(failed).collect();
    let kinds: Vec<_> = calls.iter().map(|it| it.kind().as_str()).collect();
    assert_eq!(kinds[0], "timeout");
    assert!(kinds.contains(&"busy"), "{kinds:?}");
    assert!(calls.contains(&Failure::Busy { within }));
}

#[tokio::test]
async fn an_abandoned_wait_is_removed_from_the_queue() {
    let gate = Arc::new(Semaphore::new(0));
    let hold = gate.clone();
    let stub = Stub::tcp(move |_| Reply::Wait(hold.clone(), rooms("[]"))).await;
    let backend = guarded(&stub, |config| config.guard.max_in_flight = 1);
    let first = visit(&backend, 1);
    let rest = async {
        stub.until(|log| log.in_flight == 1).await;
        assert!(visit(&backend, 2).now_or_never().is_none());
        assert!(visit(&backend, 3).now_or_never().is_none());
        gate.add_permits(2);
        visit(&backend, 4).await
    };
    let (first, rest) = tokio::join!(first, rest);
    assert!(told(first).is_ok() && told(rest).is_ok());
    assert_eq!(stub.log().requests.len(), 2);
}
