//! The order of triggers, and shards that are behind.

use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt as _;
use ht_broker::MissedReason;
use ht_core::index::Matching;
use ht_core::window::{Kept, Unknown, Wanted, WindowLimits};
use ht_proto::cursor::Cursor;
use ht_proto::entry::{Body, TenantId};
use ht_proto::record::Record;
use ht_proto::room::{Room, RoomLimits};
use ht_proto::trigger::{Trigger, TriggerLimits};
use ht_testkit::sequencer;
use tokio::time::Instant;

mod loud;
mod retained;

use super::*;
use crate::inbox::{Bounds, Input, Receiver};

const BOUNDS: Bounds = Bounds {
    inputs: 2,
    bytes: 10_000,
};

fn room(name: &str) -> Room {
    Room::parse(&format!(r#"{{"room":"{name}"}}"#), RoomLimits::TRUSTED).unwrap()
}

/// A trigger for rooms, with data of this length.
fn trigger(rooms: &[&str], length: usize) -> Entry {
    let data = format!("\"{}\"", "x".repeat(length));
    Entry::publication(Trigger {
        text: Bytes::new(),
        rooms: rooms.iter().map(|name| room(name)).collect(),
        data: data.into(),
        id: None,
        tenant: None,
        is_scoped: false,
    })
}

/// Two shards whose inboxes are not read, the first with the room `a`, the second with `b`, both
/// with `all`.
fn two_shards() -> (Node, NodeSequencer, [Receiver; 2]) {
    let node = Node::new(2, Matching::default(), WindowLimits::default());
    let [first, second] = std::array::from_fn(|_| {
        let poll = mio::Poll::new().unwrap();
        inbox::inbox(BOUNDS, inbox::waker(&poll, mio::Token(0)).unwrap())
    });
    let senders = vec![first.0, second.0];
    for (shard, name) in [(0, "a"), (1, "b"), (0, "all"), (1, "all")] {
        node.interest.opened(shard, TenantId::MAIN, &room(name));
    }
    let sequencer = NodeSequencer::new(senders, 0, &node);
    (node, sequencer, [first.1, second.1])
}

/// The positions of what a shard takes.
fn taken(shard: &mut Receiver) -> Vec<u64> {
    let mut positions = Vec::new();
    while let Some(input) = shard.next(|_| false, false) {
        if let Input::Publish(batch) = input {
            positions.extend(
                batch
                    .publications
                    .iter()
                    .map(|publication| publication.position),
            );
        }
    }
    positions
}

#[tokio::test(start_paused = true)]
async fn a_shard_that_takes_nothing_holds_nobody_else() {
    let (node, sequencer, mut shards) = two_shards();
    for _ in 0..2 {
        sequencer.place(vec![trigger(&["a"], 10)]).await;
    }
    // The first shard is full: publishers that concern the second do not wait.
    let begun = Instant::now();
    for _ in 0..50 {
        sequencer.place(vec![trigger(&["b"], 10)]).await;
        assert_eq!(taken(&mut shards[1]).len(), 1);
    }
    assert_eq!(begun.elapsed(), Duration::ZERO);
    // A publisher that concerns both waits once for the first, and later ones do not.
    for _ in 0..10 {
        sequencer.place(vec![trigger(&["all"], 10)]).await;
        assert_eq!(taken(&mut shards[1]).len(), 1);
    }
    assert_eq!(begun.elapsed(), Duration::from_millis(500));
    // Nothing is lost, and each shard has its own in the order.
    let expected: Vec<_> = (1..=2).chain(53..=62).collect();
    assert_eq!(taken(&mut shards[0]), expected);
    assert_eq!(node.counters.publications_missed.load(Ordering::Relaxed), 0);
    assert_eq!(node.gaps.last(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_shard_that_is_slow_holds_nobody_else_for_long() {
    let (node, sequencer, mut shards) = two_shards();
    let [slow, fast] = &mut shards;
    let mut pace = tokio::time::interval(Duration::from_millis(100));
    let begun = Instant::now();
    let mut at_slow = Vec::new();
    for n in 1..=200 {
        let mut place = pin!(sequencer.place(vec![trigger(&["all"], 1)]));
        loop {
            tokio::select! {
                _ = &mut place => break,
                _ = pace.tick() => {
                    if let Some(Input::Publish(batch)) = slow.next(|_| false, false) {
                        at_slow.push(batch.publications[0].position);
                    }
                }
            }
        }
        assert_eq!(taken(fast), [n]);
    }
    // Two seconds at its pace, and then at theirs: what exceeds its queue is a gap of its own.
    assert!(
        begun.elapsed() <= Duration::from_millis(2_100),
        "{:?}",
        begun.elapsed()
    );
    at_slow.extend(taken(slow));
    let missed = node.counters.publications_missed.load(Ordering::Relaxed);
    assert_eq!(at_slow.len() as u64 + missed, 200);
    assert!(at_slow.is_sorted());
}

#[tokio::test(start_paused = true)]
async fn a_publisher_that_waits_for_one_shard_does_not_keep_others_from_another() {
    let (_node, sequencer, mut shards) = two_shards();
    for _ in 0..2 {
        sequencer.place(vec![trigger(&["a"], 10)]).await;
    }
    let mut waiting = pin!(sequencer.place(vec![trigger(&["all"], 10)]));
    assert!(waiting.as_mut().now_or_never().is_none());
    let other = sequencer.place(vec![trigger(&["b"], 10)]).now_or_never();
    assert_eq!(other.unwrap()[0].position.get(), 3);
    // A position is assigned only when all waits are over.
    assert_eq!(taken(&mut shards[0]), [1, 2]);
    assert_eq!(waiting.await[0].position.get(), 4);
    assert_eq!(taken(&mut shards[0]), [4]);
    assert_eq!(taken(&mut shards[1]), [3, 4]);
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_publisher_has_no_effect() {
    let (_node, sequencer, mut shards) = two_shards();
    for _ in 0..2 {
        sequencer.place(vec![trigger(&["a"], 10)]).await;
    }
    let triggers = vec![trigger(&["b"], 10), trigger(&["all"], 10)];
    assert!(sequencer.place(triggers).now_or_never().is_none());
    assert_eq!(taken(&mut shards[1]), [0u64; 0]);
    assert_eq!(taken(&mut shards[0]), [1, 2]);
    let places = sequencer.place(vec![trigger(&["all"], 10)]).await;
    assert_eq!(places[0].position.get(), 3);
}

#[tokio::test(start_paused = true)]
async fn what_does_not_fit_is_missed_counted_and_a_gap_of_that_shard_alone() {
    let (node, sequencer, mut shards) = two_shards();
    let mut heard = Vec::new();
    for _ in 0..20 {
        sequencer.place(vec![trigger(&["all"], 3_000)]).await;
        heard.extend(taken(&mut shards[1]));
    }
    let all: Vec<_> = (1..=20).collect();
    assert_eq!(heard, all);
    let bytes = sequencer.shards[0].bytes();
    assert!(bytes <= BOUNDS.bytes, "{bytes}");
    let missed = node.counters.publications_missed.load(Ordering::Relaxed);
    let left = taken(&mut shards[0]);
    assert_eq!(missed + left.len() as u64, 20);
    assert!(missed > 0);
    assert_eq!(left, all[usize::try_from(missed).unwrap()..]);
    assert!(node.gaps.last() > 0);
}

/// A record: a command or a trigger.
fn command(text: &str) -> Entry {
    let limits = TriggerLimits {
        bytes: 10_000,
        triggers: 1,
        rooms: 10,
    };
    let body = Bytes::copy_from_slice(text.as_bytes());
    Entry::of(Record::parse(&body, &limits).unwrap())
}

/// What a shard takes: positions of publications, and of commands or of lost ones.
fn all_taken(shard: &mut Receiver) -> Vec<(&'static str, u64)> {
    let mut all = Vec::new();
    while let Some(input) = shard.next(|_| false, false) {
        match input {
            Input::Publish(batch) => {
                let positions = batch.publications.iter().map(|it| ("trigger", it.position));
                all.extend(positions);
            }
            Input::Command(command) => all.push(("command", command.position)),
            Input::CommandsLost(_, position) => all.push(("lost", position)),
            Input::Rechecked(_)
            | Input::Settings(_)
            | Input::Bucket(..)
            | Input::Probe(_)
            | Input::Close { .. }
            | Input::CloseMissed { .. }
            | Input::CloseTenant(_)
            | Input::CloseUnauthenticated(_)
            | Input::Abandon(_)
            | Input::Drain(_) => {}
        }
    }
    all
}

/// What the window has: positions, and whether each is a hole.
fn kept(node: &Node) -> Vec<(u64, bool)> {
    let view = node.window.reader().view();
    let items = view.after(0, None);
    items
        .map(|item| (item.position, matches!(item.body, Kept::Hole)))
        .collect()
}

#[tokio::test]
async fn publications_are_in_the_window_whether_or_not_a_shard_has_subscribers() {
    let (node, sequencer, mut shards) = two_shards();
    let repeated = |room: &str| {
        let mut entry = trigger(&[room], 1);
        if let Body::Publication(trigger) = &mut entry.body {
            trigger.id = Some("again".into());
        }
        entry
    };
    let sequencer = NodeSequencer {
        order: Mutex::new(Order::new(Sequencer::epoch(&sequencer), 10)),
        ..sequencer
    };
    let first = vec![repeated("a"), trigger(&["nobody", "b"], 1), repeated("a")];
    sequencer.place(first).await;
    let second = vec![command(DISCONNECT), trigger(&[], 1), trigger(&["b"], 1)];
    sequencer.place(second).await;
    assert_eq!(
        kept(&node),
        [1, 2, 3, 4, 5].map(|position| (position, false))
    );
    let view = node.window.reader().view();
    let key = node.interest.key(TenantId::MAIN, &room("b"));
    let wanted = Wanted::from_iter([key]);
    let rooms = view.after(0, Some(&wanted)).map(|item| match &item.body {
        Kept::Entry(logged) => logged.publication().rooms.len(),
        Kept::Command(_) => 1_000,
        Kept::Trimmed | Kept::Hole => 0,
    });
    assert!(rooms.eq([1, 2, 1_000, 0, 1]), "each with its own rooms");
    assert_eq!(taken(&mut shards[0]), [1, 2]);
    let size = node.window.size();
    assert!(size.entries == 5 && size.bytes > 4 * 256, "{size:?}");
}

#[tokio::test]
async fn missed_publications_are_a_hole_before_the_next_entry() {
    let (node, sequencer, _shards) = two_shards();
    let missed = |reason| Missed {
        reason,
        cause: "a test".into(),
    };
    // Nobody can have missed any.
    Sequencer::missed(&sequencer, missed(MissedReason::Start));
    sequencer.place(vec![trigger(&["a"], 1)]).await;
    Sequencer::missed(&sequencer, missed(MissedReason::Reconnect));
    assert_eq!(kept(&node), [(1, false), (2, true)]);
    assert_eq!((node.gaps.last(), node.commands.last()), (1, 2));
    // While somebody else has the order: with the next entry.
    let order = sequencer.order.lock().await;
    Sequencer::missed(&sequencer, missed(MissedReason::Skipped));
    drop(order);
    assert_eq!((kept(&node).len(), node.gaps.last()), (2, 1));
    let places = sequencer.place(vec![command(DISCONNECT), trigger(&["a"], 1)]);
    let places: Vec<_> = places
        .await
        .iter()
        .map(|placed| placed.position.get())
        .collect();
    assert_eq!(places, [4, 5]);
    let holes = [(1, false), (2, true), (3, true), (4, false), (5, false)];
    assert_eq!((kept(&node), node.gaps.last()), (holes.to_vec(), 2));
    sequencer.place(vec![trigger(&["a"], 1)]).await;
    assert_eq!(kept(&node).last(), Some(&(6, false)));
}

#[tokio::test]
async fn cursors_are_those_of_the_text_that_every_node_reads() {
    let (node, sequencer, mut shards) = two_shards();
    let logged = r#"{"command":"disconnect","user":7,"rooms":[],"data":null}"#;
    let texts = [
        r#"{"rooms":[{"room":"a"}],"data":1}"#,
        logged,
        r#"{"rooms":[{"room":"a"}],"data":2}"#,
    ];
    let batch: Vec<_> = texts.iter().map(|text| command(text)).collect();
    let checks: Vec<_> = batch.iter().map(|entry| entry.check).collect();
    assert_eq!(checks, texts.map(|text| Check::of(text.as_bytes())));
    sequencer.place(batch).await;
    let view = node.window.reader().view();
    let expected = (1..).zip(checks).map(|(position, check)| Cursor {
        epoch: Sequencer::epoch(&sequencer),
        position: Position::new(position).unwrap(),
        check,
        part: None,
    });
    let expected: Vec<_> = expected.collect();
    assert_eq!(
        [1, 2, 3].map(|position| view.cursor(position)),
        expected[..]
    );
    let inputs = std::iter::from_fn(|| shards[0].next(|_| false, false));
    let stamped = inputs.filter_map(|input| {
        let publications = input.batch()?.publications.iter();
        Some(publications.map(|one| one.cursor).collect::<Vec<_>>())
    });
    assert_eq!(
        stamped.flatten().collect::<Vec<_>>(),
        [expected[0], expected[2]]
    );
}

#[tokio::test(start_paused = true)]
async fn old_publications_are_dropped_without_new_ones() {
    let (node, sequencer, _shards) = two_shards();
    sequencer.place(vec![trigger(&["a"], 1)]).await;
    tokio::time::advance(Duration::from_secs(299)).await;
    node.window.expire();
    let size = node.window.size();
    assert_eq!((size.entries, size.seconds), (1, 299.0));
    tokio::time::advance(Duration::from_secs(2)).await;
    node.window.expire();
    let size = node.window.size();
    assert_eq!((size.entries, size.bytes, size.seconds), (0, 0, 0.0));
    assert!(size.is_cut, "it does not reach back to the first one");
}

const DISCONNECT: &str = r#"{"command":"disconnect","user":7}"#;

#[tokio::test]
async fn commands_reach_every_shard_at_their_position_among_publications() {
    let (node, sequencer, mut shards) = two_shards();
    let dry = r#"{"command":"disconnect","user":7,"dry_run":true}"#;
    let batch = vec![
        trigger(&["a"], 1),
        command(DISCONNECT),
        trigger(&["b"], 1),
        command(dry),
        trigger(&["all"], 1),
    ];
    let places = sequencer.place(batch).await;
    let places: Vec<_> = places.iter().map(|placed| placed.position.get()).collect();
    assert_eq!(places, [1, 2, 3, 4, 5]);
    let (trigger, command) = ("trigger", "command");
    let [first, second] = &mut shards;
    // A shard may be handed more than concerns it, but nothing in another order.
    assert_eq!(all_taken(first)[..2], [(trigger, 1), (command, 2)]);
    assert_eq!(
        all_taken(second),
        [(command, 2), (trigger, 3), (trigger, 5)]
    );
    assert_eq!(
        node.commands.last(),
        2,
        "one that only counts has a place and no effect"
    );
}

#[tokio::test(start_paused = true)]
async fn too_many_commands_of_a_shard_that_is_behind_close_its_connections_instead() {
    let (node, sequencer, mut shards) = two_shards();
    let mut done = 0;
    let mut at_second = Vec::new();
    while node.counters.commands_lost.load(Ordering::Relaxed) == 0 {
        sequencer
            .place(vec![trigger(&["all"], 1), command(DISCONNECT)])
            .await;
        at_second.extend(all_taken(&mut shards[1]));
        done += 1;
        assert!(done < 100);
    }
    let last = 2 * done;
    let at_first = all_taken(&mut shards[0]);
    // At the position of the first of them, before what was published after it.
    assert_eq!(at_first[..2], [("trigger", 1), ("lost", last)]);
    let triggers: Vec<_> = (1..done).map(|n| ("trigger", 2 * n + 1)).collect();
    assert_eq!(at_first[2..], triggers);
    let commands = at_second.iter().filter(|(what, _)| *what == "command");
    assert_eq!(
        commands.count() as u64,
        done,
        "the other shard carries all of them out"
    );
    assert_eq!(node.counters.commands_lost.load(Ordering::Relaxed), done);
}

#[tokio::test(start_paused = true)]
async fn a_probe_does_not_wait_and_reports_which_shards_took_it() {
    let (_node, sequencer, mut shards) = two_shards();
    for _ in 0..2 {
        sequencer.place(vec![trigger(&["a"], 10)]).await;
    }
    let mut probe = pin!(sequencer.hand_on_probe().now_or_never().unwrap().0);
    for shard in [1, 0] {
        assert!(
            probe.as_mut().now_or_never().is_none(),
            "{shard} did not take it"
        );
        while let Some(input) = shards[shard].next(|_| false, false) {
            if let Input::Probe(taken) = input {
                taken.send(()).unwrap();
            }
        }
    }
    probe.await;
}

#[tokio::test]
async fn it_keeps_the_contract_of_a_sequencer() {
    sequencer::keeps_the_contract(async |ids_max| {
        let node = Node::new(1, Matching::default(), WindowLimits::default());
        NodeSequencer::new(Vec::new(), ids_max, &node)
    })
    .await;
}
