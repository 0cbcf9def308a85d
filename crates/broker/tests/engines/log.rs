//! The contract of every log.

use std::sync::Arc;
use std::time::Duration;

use ht_broker::log::{Bounds, From, Kind, Log, NewEntry, Record, Tail, TailError};
use ht_proto::entry::Position;
use tokio::time::timeout;

use crate::Engine;
use crate::support::SOON;

/// The suite, for an empty log.
pub(crate) async fn keeps_the_contract(engine: &impl Engine) {
    let [first, second] = std::array::from_fn(|_| engine.log());
    assert!(!first.name().is_empty());
    let mut tails = [Reader::open(&first).await, Reader::open_new(&second).await];

    let positions = brings_the_same_to_all(&*first, &mut tails).await;
    brings_what_others_publish(engine, &mut tails).await;
    brings_a_probe_to_its_node(&*first, &mut tails).await;
    brings_notes_to_all(&*first, &mut tails).await;
    begins_at_the_head(&first).await;
    if first.caps().retains {
        names_the_same_positions_to_all(&positions);
        retains_what_was_read(&first, &positions).await;
        reads_back(&first, &positions).await;
    } else {
        retains_nothing(&first).await;
    }
    let [one, other] = tails;
    one.close().await;
    other.close().await;
    first.close(SOON).await;
}

/// Entries have their order and their keys on each node, however they were put together.
async fn brings_the_same_to_all(
    log: &dyn Log,
    tails: &mut [Reader; 2],
) -> [Vec<Option<Position>>; 3] {
    let mut appended = Vec::new();
    let mut number = 0;
    for size in [1, 0, 300, 2, 700] {
        let batch = (0..size).map(|_| {
            number += 1;
            entry(Kind::Trigger, &number.to_string())
        });
        let found = log.append(batch.collect(), SOON).await.unwrap();
        assert_eq!(found.len(), size);
        appended.extend(found.into_iter().map(|one| one.map(|one| one.position)));
    }
    let mut positions = [appended, Vec::new(), Vec::new()];
    let expected: Vec<_> = (1..=number).map(|number| number.to_string()).collect();
    for (tail, positions) in tails.iter_mut().zip(&mut positions[1..]) {
        let records = tail.read(expected.len()).await;
        let keys = records.iter().map(|record| record.key.as_deref().unwrap());
        assert!(keys.eq(expected.iter()));
        assert!(records.iter().all(|record| record.kind == Kind::Trigger));
        assert_eq!(records[0].message.body, "body of 1");
        *positions = records.iter().map(|record| record.position).collect();
    }
    positions
}

async fn brings_what_others_publish(engine: &impl Engine, tails: &mut [Reader; 2]) {
    let bodies: Vec<_> = (0..500).map(|n: u32| format!("theirs {n}")).collect();
    let bytes = bodies.iter().map(|body| body.clone().into_bytes());
    engine.publish(bytes.collect()).await;
    for tail in tails {
        let records = tail.read(bodies.len()).await;
        let found = records.iter().map(|record| &*record.message.body);
        assert!(found.eq(bodies.iter().map(String::as_bytes)));
    }
}

/// A probe is read back in its order; to another node it is at most a probe.
async fn brings_a_probe_to_its_node(log: &dyn Log, tails: &mut [Reader; 2]) {
    let batch = [
        (Kind::Trigger, "before"),
        (Kind::Probe, "probe"),
        (Kind::Trigger, "after"),
    ];
    let batch = batch.map(|(kind, key)| entry(kind, key));
    log.append(batch.into(), SOON).await.unwrap();
    let [own, other] = tails;
    let found = own.read(3).await;
    let found: Vec<_> = found.iter().map(named).collect();
    assert_eq!(
        found,
        [
            (Kind::Trigger, "before"),
            (Kind::Probe, "probe"),
            (Kind::Trigger, "after")
        ]
    );
    assert_eq!(named(&other.read(1).await[0]), (Kind::Trigger, "before"));
    let next = other.read(1).await;
    let next = match named(&next[0]) {
        (Kind::Probe, "probe") => other.read(1).await,
        _ => next,
    };
    assert_eq!(named(&next[0]), (Kind::Trigger, "after"));
}

/// A note is read as one by every node, the one that sent it included, in its order.
async fn brings_notes_to_all(log: &dyn Log, tails: &mut [Reader; 2]) {
    let batch = [(Kind::Note, "note"), (Kind::Trigger, "after")];
    let batch = batch.map(|(kind, key)| entry(kind, key));
    log.append(batch.into(), SOON).await.unwrap();
    for tail in tails {
        let found = tail.read(2).await;
        assert_eq!(named(&found[0]), (Kind::Note, "note"));
        assert_eq!(found[0].message.body, "body of note");
        assert_eq!(named(&found[1]), (Kind::Trigger, "after"));
    }
}

async fn begins_at_the_head(log: &Arc<dyn Log>) {
    let mut late = Reader::open(log).await;
    let batch = vec![entry(Kind::Trigger, "later")];
    log.append(batch, SOON).await.unwrap();
    assert_eq!(named(&late.read(1).await[0]), (Kind::Trigger, "later"));
    late.close().await;
}

fn names_the_same_positions_to_all(positions: &[Vec<Option<Position>>; 3]) {
    let [appended, first, second] = positions;
    assert!(first.iter().all(Option::is_some));
    assert!(first.is_sorted_by(|one, next| one < next));
    assert_eq!(first, second);
    // If the engine returns positions at once, they are correct.
    let told = appended
        .iter()
        .zip(first)
        .filter(|(told, _)| told.is_some());
    assert!(told.clone().all(|(told, position)| told == position));
}

async fn retains_what_was_read(log: &Arc<dyn Log>, positions: &[Vec<Option<Position>>; 3]) {
    let known: Vec<_> = positions[1]
        .iter()
        .map(|position| position.unwrap())
        .collect();
    let (from, to) = (known[10], known[20]);
    let mut again = Reader::open_at(log, from).await;
    let records = again.read(5).await;
    let found = records.iter().map(|record| record.position.unwrap());
    assert!(
        found.eq(known[10..15].iter().copied()),
        "with the one asked for"
    );
    again.tail.close(SOON).await;

    let records = log.read(from..=to, usize::MAX).await.unwrap();
    let found = records.iter().map(|record| record.position.unwrap());
    assert!(found.eq(known[10..=20].iter().copied()));
    let bytes: usize = records[..3]
        .iter()
        .map(|record| record.message.body.len())
        .sum();
    assert_eq!(log.read(from..=to, bytes).await.unwrap().len(), 3);
    assert_eq!(
        log.read(from..=to, 1).await.unwrap().len(),
        1,
        "at least one"
    );

    let Bounds { first, last } = log.bounds().await.unwrap();
    assert!(first <= Some(known[0]) && last > known.last().copied());
    // An engine that begins somewhere else without a word would hide a loss.
    for beyond in [last.unwrap().next(), Position::MAX] {
        let refused = Arc::clone(log).tail(From::At(beyond)).await;
        assert_eq!(refused.err(), Some(TailError::Rewound(beyond)));
    }
}

/// A node that has read nothing begins where it has all that it asks for, and not after it.
async fn reads_back(log: &Arc<dyn Log>, positions: &[Vec<Option<Position>>; 3]) {
    let known = &positions[1];
    let (oldest, late) = (known[0], known[known.len() - 10]);
    let (hour, none) = (Duration::from_secs(3_600), Duration::ZERO);
    let to_late = distance(log, late).await;
    for (age, positions, latest) in [
        (none, to_late, late),
        (hour, 0, oldest),
        (none, u64::MAX, oldest),
        (hour, 1, oldest),
    ] {
        let back = From::Back { age, positions };
        let mut reader = Reader::begin(log, back).await;
        let first = reader.read(1).await;
        assert!(first[0].position <= latest, "{back:?}");
        reader.tail.close(SOON).await;
    }
}

/// How far the log has gone on since this position.
async fn distance(log: &Arc<dyn Log>, position: Option<Position>) -> u64 {
    let last = log.bounds().await.unwrap().last.unwrap();
    last.get() - position.unwrap().get() + 1
}

async fn retains_nothing(log: &Arc<dyn Log>) {
    assert_eq!(log.bounds().await, Err(TailError::NotRetained));
    let all = Position::START..=Position::MAX;
    let read = log.read(all, usize::MAX).await;
    assert_eq!(read.unwrap_err(), TailError::NotRetained);
    let tail = Arc::clone(log).tail(From::At(Position::START)).await;
    assert_eq!(tail.err(), Some(TailError::NotRetained));
}

fn entry(kind: Kind, key: &str) -> NewEntry {
    NewEntry {
        tenant: None,
        kind,
        key: key.into(),
        body: format!("body of {key}").into(),
    }
}

fn named(record: &Record) -> (Kind, &str) {
    (record.kind, record.key.as_deref().unwrap_or_default())
}

/// Reads a tail record by record.
struct Reader {
    tail: Box<dyn Tail>,
    records: Vec<Record>,
}

impl Reader {
    async fn open(log: &Arc<dyn Log>) -> Self {
        Self::begin(log, From::Head).await
    }

    /// As a node that has read nothing opens it.
    async fn open_new(log: &Arc<dyn Log>) -> Self {
        let (age, positions) = (Duration::from_secs(60), 1_000);
        let back = From::Back { age, positions };
        let from = if log.caps().retains { back } else { From::Head };
        Self::begin(log, from).await
    }

    async fn open_at(log: &Arc<dyn Log>, position: Position) -> Self {
        Self::begin(log, From::At(position)).await
    }

    async fn begin(log: &Arc<dyn Log>, from: From) -> Self {
        Self {
            tail: Arc::clone(log).tail(from).await.unwrap(),
            records: Vec::new(),
        }
    }

    /// The next records, so many.
    async fn read(&mut self, count: usize) -> Vec<Record> {
        while self.records.len() < count {
            let batch = timeout(SOON, self.tail.next()).await.unwrap().unwrap();
            assert!(batch.missed.is_empty(), "{:?}", batch.missed);
            self.records.extend(batch.records);
        }
        let rest = self.records.split_off(count);
        std::mem::replace(&mut self.records, rest)
    }

    /// There were no more records.
    async fn close(self) {
        assert!(self.records.is_empty(), "{:?}", self.records);
        self.tail.close(Duration::from_secs(1)).await;
    }
}
