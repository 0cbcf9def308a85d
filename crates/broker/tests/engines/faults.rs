//! What goes wrong with a log that retains its records, on one in memory.

use std::sync::Arc;
use std::time::Duration;

use ht_broker::config::Reading;
use ht_broker::log::Log;
use ht_broker::{AppendError, Broker, MissedReason};
use ht_proto::entry::Epoch;
use ht_proto::note::{EpochName, Follows, Note, Report};
use ht_testkit::eventually;
use ht_testkit::log::{self, FaultyLog};

use crate::support::{Node, SOON, body, parse, trigger};

/// How long a publish may take.
const PUBLISH: Duration = Duration::from_secs(5);

const SILENCE: Duration = Duration::from_secs(10);

async fn node(log: &Arc<FaultyLog>) -> Node {
    let node = start(log);
    node.becomes_ready().await;
    node
}

fn start(log: &Arc<FaultyLog>) -> Node {
    let reading = Reading {
        positions: 1_000,
        silence: Some(SILENCE),
        ..Reading::default()
    };
    let log = Arc::clone(log) as Arc<dyn Log>;
    Node::run(Broker::new(log, parse(), PUBLISH).reading(reading))
}

/// Another publisher appends so many triggers, with these numbers as their data.
async fn publish(log: &FaultyLog, numbers: std::ops::Range<u32>) {
    let entries = numbers.map(|n| log::trigger("theirs", body(&n.to_string())));
    log.append(entries.collect(), PUBLISH).await.unwrap();
}

fn names(numbers: std::ops::Range<u32>) -> Vec<String> {
    numbers.map(|number| number.to_string()).collect()
}

/// The epoch that the node uses.
fn epoch(node: &Node) -> Epoch {
    let name = node.broker.epoch().unwrap();
    let (last, _) = *node.recorder.epochs().last().unwrap();
    assert_eq!(name.epoch, last);
    last
}

#[tokio::test(start_paused = true)]
async fn all_nodes_use_the_epoch_in_the_log_whenever_they_start() {
    let log = FaultyLog::new();
    let first = node(&log).await;
    let second = node(&log).await;
    assert_eq!(epoch(&first), epoch(&second));
    let noted = log.bodies();
    let noted = noted.iter().filter_map(|body| Note::parse(body.as_bytes()));
    assert_eq!(
        noted.filter_map(|note| note.epoch()).count(),
        1,
        "one made it"
    );
    publish(&log, 0..5).await;
    first.sees("4").await;
    let third = node(&log).await;
    assert_eq!(epoch(&third), epoch(&first));
    assert_eq!(third.recorder.back(), names(0..5), "what was there before");
    assert_eq!(third.recorder.seen(), [""; 0], "and nobody gets it");
    for node in [first, second, third] {
        assert_eq!(node.recorder.epochs().len(), 1);
        node.end().await;
    }
}

#[tokio::test(start_paused = true)]
async fn two_nodes_that_begin_at_once_agree() {
    let log = FaultyLog::new();
    let nodes = [0; 4].map(|_| start(&log));
    for node in &nodes {
        node.becomes_ready().await;
    }
    publish(&log, 0..2).await;
    for node in &nodes {
        node.sees("1").await;
    }
    let epochs = nodes.each_ref().map(epoch);
    assert!(epochs.iter().all(|epoch| *epoch == epochs[0]), "{epochs:?}");
    for node in nodes {
        node.end().await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_outage_misses_and_repeats_nothing() {
    let log = FaultyLog::new();
    let node = node(&log).await;
    for round in 0..5 {
        publish(&log, round * 100..round * 100 + 50).await;
        log.cut();
        publish(&log, round * 100 + 50..round * 100 + 100).await;
        node.sees(&format!("{}", round * 100 + 99)).await;
    }
    assert_eq!(node.recorder.seen(), names(0..500));
    assert_eq!(node.recorder.gaps(), [MissedReason::Start]);
    assert!(node.recorder.interruptions().is_empty());
    node.end().await;
}

#[tokio::test(start_paused = true)]
async fn retention_that_passes_a_node_is_a_gap() {
    let log = FaultyLog::new();
    let node = node(&log).await;
    publish(&log, 0..10).await;
    node.sees("9").await;
    let before = epoch(&node);
    log.lose();
    node.becomes_not_ready().await;
    log.heal();
    publish(&log, 10..100).await;
    log.trim(20);
    node.becomes_ready().await;
    publish(&log, 100..101).await;
    node.sees("100").await;
    let gaps = [MissedReason::Start, MissedReason::Trimmed];
    assert_eq!(node.recorder.gaps(), gaps);
    assert_eq!(node.recorder.interruptions(), [false]);
    assert_eq!(
        node.recorder.back(),
        names(80..100),
        "for clients of others"
    );
    assert_eq!(
        node.broker.epoch().unwrap().epoch,
        before,
        "no epoch was in reach"
    );
    node.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_log_that_lost_its_end_gets_a_new_epoch_on_every_node() {
    let log = FaultyLog::new();
    let nodes = [node(&log).await, node(&log).await];
    publish(&log, 0..50).await;
    for node in &nodes {
        node.sees("49").await;
    }
    let before = epoch(&nodes[0]);
    log.lose();
    log.rewind(10);
    log.heal();
    // The positions of those that were lost are given again, to others.
    publish(&log, 100..120).await;
    for node in &nodes {
        let has_another = || node.is_ready() && epoch(node) != before;
        eventually(SOON, has_another).await;
    }
    publish(&log, 120..121).await;
    for node in &nodes {
        node.sees("120").await;
        assert_eq!(epoch(node), epoch(&nodes[0]));
        assert_eq!(node.recorder.interruptions(), [true]);
        let gaps = [MissedReason::Start, MissedReason::Rewound];
        assert_eq!(node.recorder.gaps(), gaps);
    }
    for node in nodes {
        node.end().await;
    }
}

/// A publisher without keys that says the same each time: another record at the position of one that
/// was lost has the same message.
#[tokio::test(start_paused = true)]
async fn an_equal_message_does_not_hide_that_the_log_lost_its_end() {
    let log = FaultyLog::new();
    let nodes = [node(&log).await, node(&log).await];
    let same = |count: usize| {
        let log = Arc::clone(&log);
        async move {
            let entries = vec![log::trigger("", body("\"changed\"")); count];
            log.append(entries, PUBLISH).await.unwrap();
        }
    };
    same(50).await;
    for node in &nodes {
        eventually(SOON, || node.recorder.count() == 50).await;
    }
    let before = epoch(&nodes[0]);
    log.lose();
    log.rewind(10);
    log.heal();
    // More than were lost, so that the node finds something where it was.
    same(20).await;
    for node in &nodes {
        let has_another = || node.is_ready() && epoch(node) != before;
        eventually(SOON, has_another).await;
        assert_eq!(node.recorder.interruptions(), [true]);
    }
    for node in nodes {
        node.end().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_log_that_is_made_anew_leaves_no_node_deaf() {
    for published in [0, 3, 500] {
        let log = FaultyLog::new();
        let nodes = [node(&log).await, node(&log).await];
        publish(&log, 0..50).await;
        for node in &nodes {
            node.sees("49").await;
        }
        let before = epoch(&nodes[0]);
        log.lose();
        log.renew();
        log.heal();
        // Also where it is longer than the former was.
        publish(&log, 1_000..1_000 + published).await;
        for node in &nodes {
            let has_another = || node.is_ready() && epoch(node) != before;
            eventually(SOON, has_another).await;
        }
        let placed = nodes[0].broker.publish(vec![trigger("\"new\"")]).await;
        assert_eq!(placed.unwrap().len(), 1);
        for node in &nodes {
            node.sees("\"new\"").await;
            assert_eq!(epoch(node), epoch(&nodes[0]), "{published}");
        }
        for node in nodes {
            node.end().await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_engine_that_starts_is_waited_for() {
    let log = FaultyLog::new();
    log.boot();
    let node = start(&log);
    eventually(SOON, || node.broker.counts().failures >= 3).await;
    assert_eq!(node.trouble(), "it is starting");
    log.heal();
    node.becomes_ready().await;
    publish(&log, 0..10).await;
    node.sees("9").await;
    let before = epoch(&node);
    log.boot();
    node.becomes_not_ready().await;
    let refused = node.broker.publish(vec![trigger("1")]).await;
    assert!(matches!(refused, Err(AppendError::Unavailable(_))));
    log.heal();
    publish(&log, 10..20).await;
    node.sees("19").await;
    assert_eq!(node.recorder.seen(), names(0..20));
    assert_eq!((epoch(&node), node.recorder.gaps().len()), (before, 1));
    node.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_tail_that_falls_silent_is_opened_anew() {
    let log = FaultyLog::new();
    let node = node(&log).await;
    publish(&log, 0..10).await;
    node.sees("9").await;
    log.silence();
    publish(&log, 10..20).await;
    node.becomes_not_ready().await;
    assert_eq!(
        node.trouble(),
        "nothing was read for 10s, although this node appends a beacon more often"
    );
    node.sees("19").await;
    assert_eq!(node.recorder.seen(), names(0..20));
    assert_eq!(node.recorder.gaps(), [MissedReason::Start]);
    node.end().await;
}

#[tokio::test(start_paused = true)]
async fn what_is_confirmed_and_not_in_the_log_is_not_accepted() {
    let log = FaultyLog::new();
    let node = node(&log).await;
    log.forget(true);
    let published = node.broker.publish(vec![trigger("1")]).await;
    assert_eq!(published, Err(AppendError::Unconfirmed { seconds: 5 }));
    log.forget(false);
    let published = node.broker.publish(vec![trigger("2")]).await;
    assert_eq!(published.unwrap().len(), 1);
    node.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_log_that_is_lost_while_it_is_read_back_is_read_back_to_the_end() {
    let log = FaultyLog::new();
    publish(&log, 0..10).await;
    // The mark up to which a node reads back never comes, so it loses its patience.
    log.forget(true);
    let node = start(&log);
    eventually(SOON, || node.recorder.back() == names(0..10)).await;
    log.forget(false);
    node.becomes_ready().await;
    let before = epoch(&node);
    // The same with clients that miss something.
    log.lose();
    node.becomes_not_ready().await;
    log.heal();
    publish(&log, 10..100).await;
    log.trim(20);
    log.forget(true);
    let read_back = [names(0..10), names(80..100)].concat();
    eventually(SOON, || node.recorder.back() == read_back).await;
    log.forget(false);
    node.becomes_ready().await;
    publish(&log, 100..101).await;
    node.sees("100").await;
    let gaps = [MissedReason::Start, MissedReason::Trimmed];
    assert_eq!(node.recorder.gaps(), gaps);
    assert_eq!(node.recorder.interruptions(), [false]);
    assert_eq!(node.recorder.back(), read_back);
    assert_eq!(epoch(&node), before);
    node.end().await;
}

/// The first ones are dropped: nothing of what was before those that are left may be recovered.
#[tokio::test(start_paused = true)]
async fn what_a_log_has_dropped_is_not_taken_for_nothing() {
    let log = FaultyLog::new();
    let first = node(&log).await;
    let before = first.recorder.before();
    assert_eq!(before.len(), 1);
    assert_eq!(before[0].0.get(), 0, "it has read the log from its begin");
    publish(&log, 0..10).await;
    first.sees("9").await;
    // It has what they noted of the epoch, and no publication.
    let name = first.broker.epoch().unwrap();
    for _ in 0..10 {
        let note = Note {
            node: "other".into(),
            boot: "its".into(),
            report: Report::Epoch(name, Follows::Nothing),
        };
        first.broker.note(&note, PUBLISH).await.unwrap();
    }
    log.trim(5);
    let late = node(&log).await;
    assert!(late.recorder.back().is_empty());
    let [(position, check)] = late.recorder.before()[..] else {
        panic!("{:?}", late.recorder.before());
    };
    assert!(position.get() >= 15 && check.is_none(), "{position}");
    assert_eq!(epoch(&late), epoch(&first));
    for node in [first, late] {
        node.end().await;
    }
}

/// What was confirmed by a node that had read it, and lost by the log, is missing for the clients of one
/// that had not: however short ago that one has read back what was there.
#[tokio::test(start_paused = true)]
async fn a_node_that_had_not_read_what_the_log_lost_reports_a_gap_as_well() {
    let log = FaultyLog::new();
    let late = node(&log).await;
    publish(&log, 0..10).await;
    late.sees("9").await;
    let (before, kept) = (epoch(&late), log.bodies().len());
    log.silence();
    let first = node(&log).await;
    let placed = first.broker.publish(vec![trigger("\"lost\"")]).await;
    assert_eq!(placed.unwrap().len(), 1);
    assert!(!late.recorder.has("\"lost\""));
    log.lose();
    log.rewind(log.bodies().len() - kept);
    log.heal();
    for node in [&first, &late] {
        node.becomes_ready().await;
        eventually(SOON, || epoch(node) != before).await;
    }
    publish(&log, 20..21).await;
    late.sees("20").await;
    assert_eq!(epoch(&late), epoch(&first));
    let gaps = [MissedReason::Start, MissedReason::Rewound];
    assert_eq!(late.recorder.gaps(), gaps);
    assert!(late.recorder.interruptions().is_empty());
    assert_eq!(first.recorder.interruptions(), [true]);
    // A second name of what followed this loss, by a node that has found it as well, tells nothing new.
    let made = late.broker.epoch().unwrap().made + 1;
    let name = EpochName {
        made,
        epoch: Epoch::from_random(77),
    };
    let note = Note {
        node: "other".into(),
        boot: "its".into(),
        report: Report::Epoch(name, Follows::Epoch(before)),
    };
    first.broker.note(&note, PUBLISH).await.unwrap();
    publish(&log, 21..22).await;
    late.sees("21").await;
    assert_eq!(epoch(&late), name.epoch);
    assert_eq!(late.recorder.gaps(), gaps);
    for node in [first, late] {
        node.end().await;
    }
}
