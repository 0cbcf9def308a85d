//! What is queued in an inbox, for how long, and what happens above its limits.

use std::collections::VecDeque;
use std::pin::pin;

use futures_util::FutureExt;
use ht_control::input::PUBLICATION_BYTES;
use ht_core::publication::Publication;
use ht_core::recheck::{RecheckOutcome, Rechecked};
use ht_proto::close::Close;
use ht_proto::entry::TenantId;
use ht_proto::room::{Room, RoomLimits};
use proptest::prelude::*;
use tokio::sync::oneshot;

use super::*;

fn with(inputs: usize, bytes: usize) -> (Sender, Receiver) {
    let poll = mio::Poll::new().unwrap();
    let waker = super::waker(&poll, mio::Token(0)).unwrap();
    inbox(Bounds { inputs, bytes }, waker)
}

/// One publication at a position, charged with 1,000 bytes or somewhat more.
fn batch(position: u64) -> Batch {
    let room = Room::parse("{}", RoomLimits::TRUSTED).unwrap();
    let data = format!("\"{}\"", "x".repeat(1_000 - PUBLICATION_BYTES));
    Batch::new(vec![Publication::new(
        position,
        TenantId::MAIN,
        vec![room],
        data.into(),
    )])
}

fn publish(sender: &Sender, position: u64) -> Option<Overflow> {
    let mut reported = 0;
    let overflow = sender.publish(batch(position), |missed| {
        reported = missed.batches().count()
    });
    let missed = overflow.as_ref().map_or(0, |it| it.batches().count());
    assert_eq!(reported, missed, "before it is returned");
    overflow
}

/// The positions of what is taken; 0 is an input that is not a publication.
fn take(receiver: &mut Receiver) -> Option<u64> {
    let input = receiver.next(|_| false, false)?;
    Some(match input {
        Input::Publish(batch) => batch.publications[0].position,
        Input::Settings(_)
        | Input::Bucket(..)
        | Input::Probe(_)
        | Input::Close { .. }
        | Input::CloseMissed { .. }
        | Input::CloseTenant(_)
        | Input::CloseUnauthenticated(_)
        | Input::Abandon(_)
        | Input::Command(_)
        | Input::Rechecked(_)
        | Input::CommandsLost(..)
        | Input::Drain(_) => 0,
    })
}

fn drained(receiver: &mut Receiver) -> Vec<u64> {
    std::iter::from_fn(|| take(receiver)).collect()
}

fn close() -> Input {
    Input::Close {
        count: 0,
        close: Close::RESTART,
    }
}

#[test]
fn above_the_limit_only_publications_are_dropped_from_the_queue() {
    let (sender, mut receiver) = with(100, 5_000);
    for position in 1..=4 {
        assert!(publish(&sender, position).is_none());
    }
    sender.send(close()).unwrap();
    let overflow = publish(&sender, 5).expect("an overflow");
    let missed: Vec<_> = overflow
        .batches()
        .map(|batch| batch.publications[0].position)
        .collect();
    assert_eq!(missed, [1, 2, 3, 4]);
    assert!(publish(&sender, 6).is_none());
    assert_eq!(sender.bytes(), 2 * batch(1).bytes);
    assert_eq!(drained(&mut receiver), [0, 5, 6]);
    assert_eq!((sender.len(), sender.bytes()), (0, 0));
}

#[test]
fn one_batch_always_fits() {
    let (sender, mut receiver) = with(1, 10);
    assert!(publish(&sender, 1).is_none());
    assert_eq!(take(&mut receiver), Some(1));
    assert!(publish(&sender, 2).is_none());
    assert!(publish(&sender, 3).is_some());
    assert_eq!(drained(&mut receiver), [3]);
}

#[test]
fn nothing_is_placed_in_the_inbox_of_a_shard_that_has_ended() {
    let (sender, receiver) = with(1, 1 << 20);
    let (probe, mut taken) = oneshot::channel();
    sender.send(Input::Probe(probe)).unwrap();
    drop(receiver);
    assert!(taken.try_recv().is_err(), "nobody waits for a probe");
    assert!(sender.send(close()).is_err());
    assert!(publish(&sender, 1).is_none());
    assert_eq!((sender.len(), sender.bytes()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn publishers_wait_while_a_full_shard_takes_something() {
    let (sender, mut receiver) = with(2, 1 << 20);
    assert_eq!(
        sender.room(|| false).now_or_never(),
        Some(false),
        "there is room"
    );
    for position in 1..=3 {
        assert!(publish(&sender, position).is_none());
    }
    let mut room = pin!(sender.room(|| false));
    assert_eq!(room.as_mut().now_or_never(), None);
    assert_eq!(take(&mut receiver), Some(1));
    assert_eq!(room.as_mut().now_or_never(), None, "it is still full");
    assert_eq!(take(&mut receiver), Some(2));
    assert_eq!(room.now_or_never(), Some(false));
}

#[tokio::test(start_paused = true)]
async fn back_pressure_starts_at_half_of_the_bytes() {
    let (sender, mut receiver) = with(100, 4_000);
    let _ = publish(&sender, 1);
    assert_eq!(sender.room(|| false).now_or_never(), Some(false));
    let _ = publish(&sender, 2);
    assert_eq!(sender.room(|| false).now_or_never(), None);
    take(&mut receiver);
    assert_eq!(sender.room(|| false).now_or_never(), Some(false));
}

#[tokio::test(start_paused = true)]
async fn a_shard_that_takes_nothing_is_given_up_until_it_does() {
    let (sender, mut receiver) = with(1, 1 << 20);
    let _ = publish(&sender, 1);
    let begun = Instant::now();
    assert!(sender.room(|| false).await, "who finds out says so");
    assert_eq!(begun.elapsed(), PATIENCE);
    // Publishers no longer wait for it.
    assert_eq!(sender.room(|| false).now_or_never(), Some(false));
    assert!(!sender.is_full());
    let _ = publish(&sender, 2);
    let _ = publish(&sender, 3);
    take(&mut receiver);
    assert!(!sender.is_full(), "not for one that it takes");
    assert_eq!(drained(&mut receiver), [2, 3]);
    let _ = publish(&sender, 4);
    assert!(sender.is_full(), "it kept up, so it is waited for");
    assert_eq!(sender.room(|| false).now_or_never(), None);
}

#[tokio::test(start_paused = true)]
async fn a_slow_shard_holds_others_for_a_bounded_time_until_it_has_caught_up() {
    let (sender, mut receiver) = with(4, 1 << 20);
    let mut slow = tokio::time::interval(PATIENCE / 2);
    // As the broker's messages arrive: the next when the previous one is placed.
    let mut publish_all = async |first: u64, holds_others: bool| {
        let begun = Instant::now();
        for position in first..first + 50 {
            let mut room = pin!(sender.room(|| holds_others));
            loop {
                tokio::select! {
                    _ = &mut room => break,
                    _ = slow.tick() => drop(take(&mut receiver)),
                }
            }
            let _ = publish(&sender, position);
        }
        begun.elapsed()
    };
    let alone = publish_all(1, false).await;
    assert!(
        alone >= 40 * PATIENCE / 2,
        "at the pace of the shard: {alone:?}"
    );
    let beside_others = publish_all(51, true).await;
    assert!(beside_others <= WAIT_MAX + PATIENCE, "{beside_others:?}");
    assert_eq!(
        publish_all(101, true).await,
        Duration::ZERO,
        "it is still behind"
    );
    drained(&mut receiver);
    for position in 151..155 {
        let _ = publish(&sender, position);
    }
    assert!(sender.is_full(), "it kept up, so it is waited for");
}

#[tokio::test(start_paused = true)]
async fn no_publisher_waits_forever_for_a_slow_shard() {
    let (sender, mut receiver) = with(1, 1 << 20);
    for position in 1..=100 {
        assert!(publish(&sender, position).is_none());
    }
    let begun = Instant::now();
    let slow = async {
        loop {
            tokio::time::sleep(PATIENCE / 2).await;
            take(&mut receiver);
        }
    };
    let given_up = tokio::select! {
        given_up = sender.room(|| false) => given_up,
        () = slow => unreachable!("it goes on for ever"),
    };
    assert!(!given_up, "it makes progress");
    assert!(
        begun.elapsed() <= WAIT_MAX + PATIENCE,
        "{:?}",
        begun.elapsed()
    );
}

#[tokio::test(start_paused = true)]
async fn the_end_of_a_shard_ends_the_wait_for_it() {
    let (sender, receiver) = with(1, 1 << 20);
    let _ = publish(&sender, 1);
    let mut room = pin!(sender.room(|| false));
    assert_eq!(room.as_mut().now_or_never(), None);
    drop(receiver);
    assert_eq!(room.now_or_never(), Some(false));
}

proptest! {
    /// What is taken and what was missed is all that was placed, in its order, and the counts match
    /// the queue.
    #[test]
    fn nothing_is_lost_without_a_trace(
        operations in proptest::collection::vec((0..4u8, 1..5usize), 0..100),
        bytes in 500..8_000usize,
    ) {
        let (sender, mut receiver) = with(3, bytes);
        let mut model: VecDeque<u64> = VecDeque::new();
        let mut position = 0;
        for (kind, count) in operations {
            for _ in 0..count {
                match kind {
                    0 | 1 => {
                        position += 1;
                        let size = batch(position).bytes;
                        let waiting = model.iter().filter(|&&at| at != 0).count();
                        let overflow = publish(&sender, position);
                        prop_assert_eq!(overflow.is_some(), waiting > 0 && (waiting + 1) * size > bytes);
                        if let Some(overflow) = overflow {
                            let missed = overflow.batches();
                            let missed = missed.map(|batch| batch.publications[0].position);
                            let expected = model.iter().copied().filter(|&at| at != 0);
                            prop_assert!(missed.eq(expected));
                            model.retain(|&at| at == 0);
                        }
                        model.push_back(position);
                    }
                    2 => {
                        sender.send(close()).unwrap();
                        model.push_back(0);
                    }
                    _ => prop_assert_eq!(take(&mut receiver), model.pop_front()),
                }
                let waiting = model.iter().filter(|&&at| at != 0).count();
                prop_assert_eq!(sender.bytes(), waiting * batch(1).bytes);
                prop_assert_eq!(sender.len(), model.len());
                prop_assert_eq!(receiver.has_input(), !model.is_empty());
            }
        }
    }
}

#[test]
fn an_answer_about_a_session_waits_for_its_own_tenant_alone() {
    let (sender, mut receiver) = with(100, 1 << 20);
    let [loud, other] = [TenantId::MAIN, TenantId::new(1)];
    let answer = |tenant| {
        Input::Rechecked(Arc::new(Rechecked {
            tenant: Some(tenant),
            keys: Vec::new(),
            asked_at: 0,
            has_token: false,
            outcome: RecheckOutcome::Refused,
        }))
    };
    let _ = publish(&sender, 1);
    for tenant in [loud, other] {
        sender.send(answer(tenant)).unwrap();
    }
    // The shard has enough of what the loud one publishes.
    let mut next = || match receiver.next(|tenant| tenant == loud, true) {
        Some(Input::Rechecked(rechecked)) => rechecked.tenant,
        Some(other) => panic!("{other:?}"),
        None => None,
    };
    assert_eq!([next(), next()], [Some(other), None]);
    // Its own comes behind what was placed before.
    assert_eq!(take(&mut receiver), Some(1));
    let own = receiver.next(|_| false, true);
    assert!(matches!(own, Some(Input::Rechecked(it)) if it.tenant == Some(loud)));
}
