//! What a gap concerns, and how fast connections are closed for it.

use std::collections::BTreeSet;

use ht_core::index::Matching;

use super::*;

fn waves(open: u64, own: u64, period_ms: u64) -> (usize, String) {
    let waves = Waves::new(open, own, Duration::from_millis(period_ms));
    (waves.count, waves.close.reason().into_owned())
}

#[test]
fn connections_are_closed_as_fast_as_they_may_return() {
    // Two shards with 150 connections each: 3 s, 60 waves.
    assert_eq!(waves(300, 150, 30_000), (3, "gap 1000".into()));
    // Never longer than the period.
    assert_eq!(waves(100_000, 50_000, 30_000), (84, "gap 1000".into()));
    // A handful at once, and told to return within the time that they need.
    assert_eq!(waves(3, 2, 30_000), (2, "gap 30".into()));
    assert_eq!(waves(0, 0, 30_000), (1, "gap 10".into()));
}

#[test]
fn without_a_period_clients_spread_their_return() {
    assert_eq!(waves(100_000, 50_000, 0), (50_000, "gap 5000".into()));
    assert_eq!(waves(20, 20, 0), (20, "gap 200".into()));
}

#[test]
fn every_reason_has_a_word_of_its_own_and_a_remedy() {
    let words: BTreeSet<_> = GapReason::all().map(GapReason::as_str).collect();
    assert_eq!(words.len(), GapReason::COUNT);
    for (index, reason) in GapReason::all().enumerate() {
        assert_eq!(reason.index(), index);
        assert!(!reason.remedy().is_empty());
    }
}

fn missed(reason: MissedReason) -> Missed {
    let cause = "a test".into();
    Missed { reason, cause }
}

fn shards(node: &Node) -> Vec<u32> {
    let shards = node.gaps.shards.iter();
    shards.map(|it| it.last.load(Ordering::SeqCst)).collect()
}

#[test]
fn a_gap_concerns_all_shards_or_one() {
    let node = Node::new(3, Matching::default(), None);
    node.missed(&missed(MissedReason::Reconnect));
    assert_eq!((node.gaps.last(), shards(&node)), (1, vec![1, 1, 1]));
    node.shard_missed(1, "its inbox was full");
    assert_eq!((node.gaps.last(), shards(&node)), (2, vec![1, 2, 1]));
    assert_eq!(node.gaps.counts(), [0, 1, 0, 0, 0, 1]);
}

#[test]
fn before_the_first_client_nothing_can_be_missed() {
    let node = Node::new(1, Matching::default(), None);
    node.missed(&missed(MissedReason::Start));
    assert_eq!((node.gaps.last(), node.gaps.counts()[0]), (0, 0));
    node.connections.store(1, Ordering::Release);
    node.missed(&missed(MissedReason::Start));
    assert_eq!((node.gaps.last(), node.gaps.counts()[0]), (1, 1));
}

#[test]
fn ignored_gaps_are_counted_and_close_nobody_later_either() {
    let node = Node::new(1, Matching::default(), None);
    node.gaps.set_policy(GapPolicy::Ignore);
    node.missed(&missed(MissedReason::Skipped));
    assert_eq!((node.gaps.last(), node.gaps.counts()[4]), (0, 1));
    node.gaps.set_policy(GapPolicy::Reconnect);
    assert_eq!(shards(&node), [0]);
}
