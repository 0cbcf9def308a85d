//! Which connections a gap concerns.

use std::collections::BTreeSet;

use ht_core::index::Matching;
use ht_core::window::WindowLimits;

use super::*;

#[test]
fn every_reason_has_a_label_of_its_own_and_a_remedy() {
    let words: BTreeSet<_> = GapReason::ALL.iter().map(|it| it.as_str()).collect();
    assert_eq!(words.len(), GapReason::ALL.len());
    for (index, reason) in GapReason::ALL.iter().enumerate() {
        assert_eq!(reason.index(), index);
        assert!(!reason.remedy().is_empty());
    }
}

fn missed(reason: MissedReason) -> Missed {
    let cause = "a test".into();
    Missed { reason, cause }
}

fn shards(node: &Node) -> Vec<u32> {
    let shards = 0..node.totals.connections_by_shard().len();
    shards.map(|shard| node.gaps.of_shard(shard)).collect()
}

#[test]
fn a_gap_concerns_all_shards_or_one() {
    let node = Node::new(3, Matching::default(), WindowLimits::default());
    let reports = GapReports::new(&node);
    reports.missed(&missed(MissedReason::Reconnect));
    assert_eq!(node.gaps.last(), 0, "it has no position yet");
    reports.tell(Position::new(3).unwrap());
    assert_eq!((node.gaps.last(), shards(&node)), (1, vec![1, 1, 1]));
    reports.shard_missed(1, 7);
    reports.report_shard_missed(1, "its inbox was full");
    assert_eq!((node.gaps.last(), shards(&node)), (2, vec![1, 2, 1]));
    let missing = |shard| {
        let Missing { upto, cause } = node.gaps.take_missing(shard);
        (upto, cause)
    };
    assert_eq!(missing(0), (3, GapCause::Broker));
    // A command may be among what did not reach the node.
    assert_eq!(missing(1), (7, GapCause::Broker));
    assert_eq!(missing(1), (0, GapCause::Overload), "it is taken");
    let of = |reason: GapReason| node.gaps.counts()[reason.index()];
    assert_eq!(of(GapReason::Broker(MissedReason::Reconnect)), 1);
    assert_eq!(of(GapReason::ShardOverflow), 1);
    assert_eq!(node.gaps.counts().iter().sum::<u64>(), 2);
}

#[test]
fn before_the_first_client_nothing_can_be_missed() {
    let node = Node::new(1, Matching::default(), WindowLimits::default());
    assert!(!GapReports::new(&node).missed(&missed(MissedReason::Start)));
    assert_eq!((node.gaps.last(), node.gaps.counts()[0]), (0, 0));
    node.totals.opened();
    assert!(GapReports::new(&node).missed(&missed(MissedReason::Start)));
    assert_eq!(node.gaps.counts()[0], 1);
}
