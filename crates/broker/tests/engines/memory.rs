//! The log in memory.

use std::sync::Arc;
use std::time::Duration;

use ht_broker::log::{From, Kind, Log, NewEntry, TailError};
use ht_broker::memory::MemoryLog;
use ht_proto::entry::Position;

use crate::{Engine, broker, log};

struct InMemory(Arc<MemoryLog>);

impl Engine for InMemory {
    fn log(&self) -> Arc<dyn Log> {
        Arc::clone(&self.0) as Arc<dyn Log>
    }

    async fn publish(&self, bodies: Vec<Vec<u8>>) {
        let entries = bodies.into_iter().map(entry).collect();
        self.0.append(entries, Duration::MAX).await.unwrap();
    }
}

fn entry(body: Vec<u8>) -> NewEntry {
    NewEntry {
        tenant: None,
        kind: Kind::Trigger,
        key: "somebody else's".into(),
        body: body.into(),
    }
}

fn at(number: u64) -> Position {
    Position::new(number).unwrap()
}

#[tokio::test]
async fn memory_is_a_log() {
    log::keeps_the_contract(&InMemory(MemoryLog::new(1 << 20))).await;
}

#[tokio::test]
async fn memory_carries_a_broker() {
    broker::keeps_the_contract(&InMemory(MemoryLog::new(1 << 20))).await;
}

#[tokio::test]
async fn records_beyond_the_bound_are_dropped_and_reported_as_a_gap() {
    let memory = MemoryLog::new(100);
    let mut slow = Arc::clone(&memory).tail(From::Head).await.unwrap();
    for number in 1..=12u8 {
        let entries = vec![entry(vec![number; 10])];
        memory.append(entries, Duration::MAX).await.unwrap();
    }
    let bounds = memory.bounds().await.unwrap();
    assert_eq!((bounds.first, bounds.last), (Some(at(3)), Some(at(12))));
    let lacks = TailError::Trimmed(at(1));
    assert_eq!(slow.next().await.unwrap_err(), lacks);
    assert_eq!(memory.read(at(1)..=at(9), 100).await.unwrap_err(), lacks);
    let late = Arc::clone(&memory).tail(From::At(at(2))).await;
    assert_eq!(late.err(), Some(TailError::Trimmed(at(2))));
    // One that is longer than all of it is kept alone.
    let entries = vec![entry(vec![0; 1_000])];
    memory.append(entries, Duration::MAX).await.unwrap();
    let bounds = memory.bounds().await.unwrap();
    assert_eq!((bounds.first, bounds.last), (Some(at(13)), Some(at(13))));
}
