//! Tables of which bodies are admitted and which are evicted, with the time as an argument.

use futures_util::FutureExt as _;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

/// A body that is read in pieces, of which `bytes` have arrived.
fn reading(all: &InFlight, bytes: u64, now: Instant) -> Share<'_> {
    let mut share = all.share();
    share.grow(bytes, 0, now).unwrap();
    share.wait(now);
    share
}

#[test]
fn held_bytes_stay_within_the_limit_except_for_a_single_request() {
    let (all, now) = (InFlight::default(), Instant::now());
    let mut alone = all.share();
    alone.grow(100, 100, now).unwrap();
    alone.grow(100, 100, now).unwrap();
    assert_eq!(all.share().grow(1, 100, now), Err(NoRoom::Full));
    drop(alone);
    let (mut first, mut second) = (all.share(), all.share());
    first.grow(60, 100, now).unwrap();
    second.grow(40, 100, now).unwrap();
    assert_eq!(second.grow(1, 100, now), Err(NoRoom::Full));
    assert_eq!(all.share().grow(0, 100, now), Ok(()));
    drop(first);
    assert_eq!(all.bytes(), 40);
    second.wait(now);
    second.grow(60, 100, now).unwrap();
    // Alone again, however it is read.
    second.grow(60, 100, now).unwrap();
    second.complete().unwrap();
    assert_eq!(all.bytes(), 160);
    drop(second);
    assert_eq!(all.bytes(), 0);
}

#[test]
fn an_announced_body_is_admitted_beside_held_bytes_or_by_evicting_stalled_ones() {
    let (all, now) = (InFlight::default(), Instant::now());
    assert!(
        all.has_room(1_000, 100, now),
        "alone, even more than the limit"
    );
    let mut held = all.share();
    held.grow(40, 100, now).unwrap();
    let later = now + STALLED;
    for (length, at, limit, expected) in [
        (60, now, 100, true),
        (61, now, 100, false),
        (61, now, 0, true),
        (u64::MAX, now, 100, false),
        // Complete bodies are not evicted.
        (61, later, 100, false),
    ] {
        assert_eq!(
            all.has_room(length, limit, at),
            expected,
            "{length} {limit}"
        );
    }
    let _stalled = reading(&all, 60, now);
    for (length, at, expected) in [
        (0, now, true),
        (1, now, false),
        (60, later, true),
        (61, later, false),
    ] {
        assert_eq!(all.has_room(length, 100, at), expected, "{length}");
    }
    assert_eq!(all.bytes(), 100, "asking takes nothing");
}

#[test]
fn zero_is_no_limit() {
    let (all, now) = (InFlight::default(), Instant::now());
    let mut held = all.share();
    held.grow(u64::MAX / 2, 0, now).unwrap();
    assert_eq!(all.share().grow(u64::MAX / 2, 0, now), Ok(()));
}

#[test]
fn the_largest_stalled_body_is_evicted_and_complete_ones_never() {
    let (all, began) = (InFlight::default(), Instant::now());
    let small = reading(&all, 10, began);
    let mut large = reading(&all, 50, began);
    let mut complete = reading(&all, 40, began);
    complete.complete().unwrap();
    // None is stalled yet.
    let mut other = all.share();
    assert_eq!(other.grow(1, 100, began + SECOND / 2), Err(NoRoom::Full));
    assert_eq!(large.evicted().now_or_never(), None);
    let now = began + SECOND;
    other.grow(50, 100, now).unwrap();
    assert_eq!(all.bytes(), 100);
    assert_eq!(large.evicted().now_or_never(), Some(()));
    assert_eq!(large.grow(1, 100, now), Err(NoRoom::Evicted));
    assert_eq!(large.complete(), Err(NoRoom::Evicted));
    drop(large);
    assert_eq!(all.bytes(), 100);
    // Its slot may belong to another body by now.
    let next = reading(&all, 0, now);
    other.grow(10, 100, now).unwrap();
    assert_eq!(small.evicted().now_or_never(), Some(()));
    assert_eq!(other.grow(1, 100, now), Err(NoRoom::Full));
    drop((small, next));
    assert_eq!(all.bytes(), 100);
    drop((other, complete));
    assert_eq!(all.bytes(), 0);
}

#[test]
fn a_body_that_makes_progress_is_never_evicted_and_one_that_trickles_is() {
    let limit = 20 << 20;
    for (every, piece, stalls) in [
        (SECOND / 10, 128 << 10, false),
        (SECOND / 10, 1, true),
        // A sixteenth of 8 MiB in a second is half a MiB.
        (SECOND / 10, 24 << 10, true),
    ] {
        let (all, mut now) = (InFlight::default(), Instant::now());
        let mut body = reading(&all, 8 << 20, now);
        for _ in 0..20 {
            now += every;
            body.grow(piece, limit, now).unwrap();
        }
        let mut other = all.share();
        let took = other.grow(limit, limit, now);
        assert_eq!(took.is_ok(), stalls, "{piece} bytes each {every:?}");
        assert_eq!(body.evicted().now_or_never().is_some(), stalls);
    }
}
