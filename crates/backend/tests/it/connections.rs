//! Connections: kept, bounded, expired, replaced when stale, closed when a call is abandoned.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use ht_backend::{Backend, Credentials};
use tokio::sync::Semaphore;

use crate::kit::{JSON, admit, answer, ask, backend, guarded, rooms};
use crate::stub::{Reply, Seen, Stub};

#[tokio::test]
async fn calls_in_a_row_share_one_connection() {
    let stub = Stub::tcp(|seen: &Seen| match seen.nth % 4 {
        0 => Reply::Send(rooms("[]")),
        1 => Reply::Send(answer(403, JSON, b"{\"detail\": \"no\"}")),
        2 => Reply::Send(answer(302, "Location: /elsewhere\r\n", b"<html>")),
        _ => Reply::Send(answer(200, JSON, b"not json")),
    })
    .await;
    let backend = backend(&stub, |_| {});
    for _ in 0..20 {
        let _ = ask(&backend).await;
    }
    let log = stub.log();
    assert_eq!((log.opened, log.closed), (1, 0));
    assert!(log.requests.len() > 20);
}

#[tokio::test]
async fn the_rest_of_a_refusal_is_read_so_that_its_connection_is_kept() {
    let stub = Stub::tcp(|_| {
        let mut first = answer(403, JSON, b"{\"detail\": \"no\"}");
        let last = first.split_off(first.len() - 5);
        Reply::Pieces(vec![first, last])
    })
    .await;
    let backend = backend(&stub, |_| {});
    for _ in 0..5 {
        assert_eq!(ask(&backend).await, Err("refused: status".into()));
    }
    assert_eq!((stub.log().opened, stub.log().closed), (1, 0));
}

#[tokio::test]
async fn calls_at_once_have_a_connection_each_and_the_idle_ones_are_bounded() {
    let gate = Arc::new(Semaphore::new(0));
    let hold = gate.clone();
    let stub = Stub::tcp(move |_| Reply::Wait(hold.clone(), rooms("[]"))).await;
    let backend = backend(&stub, |config| config.guard.max_in_flight = 100);
    let calls = join_all((0..70).map(|_| ask(&backend)));
    let open = async {
        stub.until(|log| log.in_flight == 70).await;
        gate.add_permits(70);
    };
    let (answers, ()) = tokio::join!(calls, open);
    assert!(answers.iter().all(Result::is_ok));
    let log = stub.until(|log| log.opened - log.closed <= 64).await;
    assert_eq!(log.opened, 70);
}

#[tokio::test]
async fn an_idle_connection_expires() {
    let stub = Stub::tcp(admit).await;
    let backend = backend(&stub, |_| {});
    assert!(ask(&backend).await.is_ok());
    assert_eq!(stub.log().closed, 0);
    tokio::time::pause();
    // In steps, so that the client's own timers run in between.
    for _ in 0..35 {
        tokio::time::advance(Duration::from_secs(1)).await;
    }
    tokio::time::resume();
    stub.until(|log| log.closed == 1).await;
    assert!(ask(&backend).await.is_ok());
    assert_eq!(stub.log().opened, 2);
}

#[tokio::test]
async fn a_connection_that_the_backend_closed_is_replaced() {
    let stub = Stub::tcp(|_| Reply::Close(rooms("[]"))).await;
    let backend = backend(&stub, |_| {});
    for calls in 1..=10 {
        assert!(ask(&backend).await.is_ok());
        stub.until(|log| log.closed == calls).await;
    }
    assert_eq!(stub.log().opened, 10);
}

#[tokio::test]
async fn a_stale_connection_is_retried_once_on_a_fresh_one() {
    for stale in [
        Reply::Close(Vec::new()),
        Reply::Reset,
        Reply::Close(b"HTT".into()),
    ] {
        let stub = Stub::tcp(move |seen: &Seen| match (seen.connection, seen.nth) {
            (_, 0) => Reply::Send(rooms("[1]")),
            _ => stale.clone(),
        })
        .await;
        let backend = backend(&stub, |_| {});
        assert!(ask(&backend).await.is_ok());
        assert_eq!(ask(&backend).await, Ok("[1]".into()));
        let log = stub.log();
        assert_eq!((log.requests.len(), log.opened), (3, 2));
        assert_eq!(log.requests[1].headers, log.requests[2].headers);
    }
}

#[tokio::test]
async fn the_retry_never_takes_a_second_stale_connection() {
    let gate = Arc::new(Semaphore::new(0));
    let hold = gate.clone();
    let stub = Stub::tcp(move |seen: &Seen| match (seen.connection, seen.nth) {
        (0..3, 0) => Reply::Wait(hold.clone(), rooms("[]")),
        (0..3, _) => Reply::Close(Vec::new()),
        _ => Reply::Send(rooms("[2]")),
    })
    .await;
    let backend = backend(&stub, |_| {});
    let calls = join_all((0..3).map(|_| ask(&backend)));
    let open = async {
        stub.until(|log| log.in_flight == 3).await;
        gate.add_permits(3);
    };
    tokio::join!(calls, open);
    assert_eq!(ask(&backend).await, Ok("[2]".into()));
    assert_eq!(stub.log().requests.len(), 5);
}

#[tokio::test]
async fn a_backend_that_always_hangs_up_is_called_twice_at_most() {
    let stub = Stub::tcp(|seen: &Seen| match (seen.connection, seen.nth) {
        (0, 0) => Reply::Send(rooms("[1]")),
        _ => Reply::Close(Vec::new()),
    })
    .await;
    let backend = backend(&stub, |_| {});
    assert!(ask(&backend).await.is_ok());
    assert_eq!(ask(&backend).await, Err("failed: closed".into()));
    assert_eq!(stub.log().requests.len(), 3);
    // A fresh connection that ends is no stale one.
    assert_eq!(ask(&backend).await, Err("failed: closed".into()));
    assert_eq!(stub.log().requests.len(), 4);
}

#[tokio::test]
async fn an_abandoned_call_closes_its_connection_and_releases_its_slot() {
    let half = format!("HTTP/1.1 200 OK\r\n{JSON}Content-Length: 22\r\n\r\n{{\"allow");
    for hang in [Reply::Hang(Vec::new()), Reply::Hang(half.into_bytes())] {
        let stub = Stub::tcp(move |seen: &Seen| match seen.connection {
            0 => hang.clone(),
            _ => Reply::Send(rooms("[1]")),
        })
        .await;
        let backend = guarded(&stub, |config| config.guard.max_in_flight = 1);
        let nobody = Credentials::default();
        tokio::select! {
            _ = backend.bootstrap(&nobody) => panic!("the stub hangs"),
            _ = stub.until(|log| log.in_flight == 1) => {}
        }
        stub.until(|log| log.closed == 1).await;
        assert_eq!(ask(&backend).await, Ok("[1]".into()));
    }
}

#[tokio::test]
async fn an_unread_body_closes_its_connection() {
    let stub = Stub::tcp(|seen: &Seen| match seen.connection {
        0 => Reply::Endless(b"HTTP/1.1 403 X\r\n\r\n".into(), vec![b'x'; 10_000]),
        1 => Reply::Hang(b"HTTP/1.1 403 X\r\nContent-Length: 9\r\n\r\nx".into()),
        _ => Reply::Send(rooms("[]")),
    })
    .await;
    let backend = backend(&stub, |_| {});
    for closed in [1, 2] {
        assert_eq!(ask(&backend).await, Err("refused: status".into()));
        stub.until(|log| log.closed == closed).await;
    }
    assert!(ask(&backend).await.is_ok());
}
