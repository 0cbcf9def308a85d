//! The contract of every sequencer, whatever places through it.

use bytes::Bytes;
use futures_util::future::join_all;
use ht_broker::{Placed, Sequencer};
use ht_proto::entry::{Entry, Position};
use ht_proto::trigger::{Trigger, TriggerLimits};

/// The suite. `make` creates a sequencer that has placed nothing and remembers so many trigger ids.
pub async fn keeps_the_contract<S: Sequencer>(make: impl AsyncFn(usize) -> S) {
    counts_by_itself(&make(2).await).await;
    keeps_batches_together(&make(0).await).await;
    takes_the_positions_of_a_log(&make(5).await).await;
    forgets_ids(&make(1).await).await;
    let (first, second) = (make(0).await, make(0).await);
    assert_eq!(first.epoch(), first.epoch());
    assert_ne!(first.epoch(), second.epoch(), "each order has its name");
    // After all of it; there is no shard to process it.
    first.probe().await.0.await;
}

async fn counts_by_itself(sequencer: &impl Sequencer) {
    assert_eq!(sequencer.place(Vec::new()).await, []);
    let batch = vec![entry(Some("a")), entry(None), entry(Some("a"))];
    let places = sequencer.place(batch).await;
    assert_eq!(places, [placed(1), placed(2), duplicate(1)]);
    let places = sequencer.place(vec![entry(Some("a")), entry(None)]).await;
    assert_eq!(places, [duplicate(1), placed(3)]);
}

async fn forgets_ids(sequencer: &impl Sequencer) {
    let batch = ["a", "b", "b", "a"].map(|id| entry(Some(id)));
    let places = sequencer.place(batch.into()).await;
    assert_eq!(places, [placed(1), placed(2), duplicate(2), placed(3)]);
}

async fn keeps_batches_together(sequencer: &impl Sequencer) {
    let batches = (0..50).map(|size| vec![entry(None); size % 7]);
    let mut last = 0;
    let mut all = join_all(batches.map(|batch| sequencer.place(batch))).await;
    all.retain(|places| !places.is_empty());
    all.sort_by_key(|places| places[0].position);
    for places in all {
        for place in places {
            last += 1;
            assert_eq!(place, placed(last));
        }
    }
}

async fn takes_the_positions_of_a_log(sequencer: &impl Sequencer) {
    let at = |number, id| Entry {
        position: Position::new(number),
        ..entry(id)
    };
    let batch = vec![at(10, None), at(20, Some("a")), at(20, Some("a"))];
    let places = sequencer.place(batch).await;
    assert_eq!(places, [placed(10), placed(20), duplicate(20)]);
    let batch = vec![at(5, None), at(25, Some("a")), at(30, None)];
    let places = sequencer.place(batch).await;
    assert_eq!(places, [duplicate(5), duplicate(20), placed(30)]);
}

/// A publication for a room without subscribers.
fn entry(id: Option<&str>) -> Entry {
    let limits = TriggerLimits {
        bytes: 1_000,
        triggers: 1,
        rooms: 1,
    };
    let id = id.map_or_else(|| "null".to_owned(), |id| format!("\"{id}\""));
    let text = format!(r#"{{"rooms": [{{"nobody": "here"}}], "data": 1, "id": {id}}}"#);
    let trigger = Trigger::parse(&Bytes::from(text), &limits);
    Entry::publication(trigger.expect("a trigger"))
}

fn placed(number: u64) -> Placed {
    Placed {
        position: Position::new(number).expect("a small number"),
        duplicate: false,
    }
}

fn duplicate(number: u64) -> Placed {
    Placed {
        duplicate: true,
        ..placed(number)
    }
}
