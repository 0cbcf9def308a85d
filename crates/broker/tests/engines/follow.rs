//! Following a log that is lost, on a log in memory whose connections can be cut.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use ht_broker::log::{Appended, Batch, Caps, From, Kind, Log, NewEntry, Tail, TailError, Trouble};
use ht_broker::memory::MemoryLog;
use ht_broker::{AppendError, Missed, MissedReason};
use ht_proto::entry::Position;
use ht_testkit::eventually;
use tokio_util::sync::CancellationToken;

use crate::support::{Node, SOON, body, trigger};

/// How long a publish may take.
const PUBLISH: Duration = Duration::from_secs(5);

struct Flaky {
    inner: Arc<MemoryLog>,
    retains: bool,
    /// Cancelled when the connections of now are lost.
    connections: Mutex<CancellationToken>,
    /// Why no connection can be made.
    refusal: Mutex<Option<MissedReason>>,
    /// The report of the next batch.
    missed: Mutex<Vec<Missed>>,
    /// Appended messages are not read.
    deaf: AtomicBool,
}

impl Flaky {
    fn new(retains: bool, bytes_max: usize) -> Arc<Self> {
        Arc::new(Self {
            inner: MemoryLog::new(bytes_max),
            retains,
            connections: Mutex::default(),
            refusal: Mutex::default(),
            missed: Mutex::default(),
            deaf: AtomicBool::new(false),
        })
    }

    /// Every connection is lost, and none can be opened until [`Flaky::restore`].
    fn lose(&self, reason: MissedReason) {
        *self.refusal.lock().unwrap() = Some(reason);
        std::mem::take(&mut *self.connections.lock().unwrap()).cancel();
    }

    fn restore(&self) {
        *self.refusal.lock().unwrap() = None;
    }

    /// Something is published by another node.
    async fn publish(&self, data: &str) {
        let entry = NewEntry {
            tenant: None,
            kind: Kind::Trigger,
            key: "another node's".into(),
            body: body(data).into(),
        };
        self.inner.append(vec![entry], PUBLISH).await.unwrap();
    }

    fn trouble(&self) -> Option<TailError> {
        let reason = (*self.refusal.lock().unwrap())?;
        Some(TailError::Lost(Trouble {
            cause: format!("lost for {}", reason.as_str()),
            advice: "",
            reason,
        }))
    }
}

impl Log for Flaky {
    fn name(&self) -> &'static str {
        "flaky"
    }

    fn caps(&self) -> Caps {
        Caps {
            retains: self.retains,
        }
    }

    fn append(
        &self,
        batch: Vec<NewEntry>,
        within: Duration,
    ) -> BoxFuture<'_, Result<Vec<Option<Appended>>, AppendError>> {
        self.inner.append(batch, within)
    }

    fn tail(self: Arc<Self>, from: From) -> BoxFuture<'static, Result<Box<dyn Tail>, TailError>> {
        async move {
            if let Some(trouble) = self.trouble() {
                return Err(trouble);
            }
            let connection = self.connections.lock().unwrap().clone();
            let inner = Arc::clone(&self.inner).tail(from).await?;
            let tail = FlakyTail {
                log: self,
                inner,
                connection,
            };
            Ok(Box::new(tail) as Box<dyn Tail>)
        }
        .boxed()
    }
}

struct FlakyTail {
    log: Arc<Flaky>,
    inner: Box<dyn Tail>,
    connection: CancellationToken,
}

impl Tail for FlakyTail {
    fn next(&mut self) -> BoxFuture<'_, Result<Batch, TailError>> {
        async {
            loop {
                let batch = tokio::select! {
                    biased;
                    () = self.connection.cancelled() => return Err(self.log.trouble().unwrap()),
                    batch = self.inner.next() => batch?,
                };
                if !self.log.deaf.load(Ordering::Relaxed) {
                    let missed = std::mem::take(&mut *self.log.missed.lock().unwrap());
                    return Ok(Batch { missed, ..batch });
                }
            }
        }
        .boxed()
    }

    fn close(self: Box<Self>, limit: Duration) -> BoxFuture<'static, ()> {
        self.inner.close(limit)
    }
}

async fn node(log: &Arc<Flaky>) -> Node {
    let node = Node::start(Arc::clone(log) as Arc<dyn Log>, PUBLISH);
    node.becomes_ready().await;
    node
}

#[tokio::test(start_paused = true)]
async fn a_log_that_retains_is_resumed_without_a_gap() {
    let log = Flaky::new(true, 1 << 20);
    let node = node(&log).await;
    log.publish("1").await;
    node.sees("1").await;
    log.lose(MissedReason::Reconnect);
    node.becomes_not_ready().await;
    assert_eq!(node.trouble(), "lost for reconnect");
    for number in 2..=600 {
        log.publish(&number.to_string()).await;
    }
    eventually(SOON, || node.broker.counts().failures >= 3).await;
    log.restore();
    node.sees("600").await;
    let expected: Vec<_> = (1..=600).map(|number| number.to_string()).collect();
    assert_eq!(node.recorder.seen(), expected, "each once, in order");
    assert_eq!(node.recorder.gaps(), [MissedReason::Start]);
    node.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_log_that_dropped_what_comes_next_is_a_gap() {
    let log = Flaky::new(true, 200);
    let node = node(&log).await;
    log.publish("1").await;
    node.sees("1").await;
    log.lose(MissedReason::Reconnect);
    node.becomes_not_ready().await;
    for number in 2..=20 {
        log.publish(&number.to_string()).await;
    }
    log.restore();
    node.becomes_ready().await;
    log.publish("21").await;
    node.sees("21").await;
    assert_eq!(node.recorder.seen(), ["1", "21"]);
    let gaps = [MissedReason::Start, MissedReason::Trimmed];
    assert_eq!(node.recorder.gaps(), gaps);
    node.end().await;
}

#[tokio::test(start_paused = true)]
async fn without_retention_each_outage_is_a_gap_for_its_first_reason() {
    let log = Flaky::new(false, 1 << 20);
    let node = node(&log).await;
    log.publish("1").await;
    node.sees("1").await;
    log.lose(MissedReason::QueueDeleted);
    node.becomes_not_ready().await;
    log.publish("2").await;
    log.lose(MissedReason::Reconnect);
    eventually(SOON, || node.broker.counts().failures >= 3).await;
    log.restore();
    node.becomes_ready().await;
    log.publish("3").await;
    node.sees("3").await;
    assert_eq!(node.recorder.seen(), ["1", "3"]);
    let gaps = [MissedReason::Start, MissedReason::QueueDeleted];
    assert_eq!(node.recorder.gaps(), gaps);
    assert_eq!(node.recorder.gap_positions(), [0, 1]);
    node.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_node_that_starts_before_its_log_has_missed_what_came_before() {
    let log = Flaky::new(false, 1 << 20);
    log.lose(MissedReason::Reconnect);
    let node = Node::start(Arc::clone(&log) as Arc<dyn Log>, PUBLISH);
    eventually(SOON, || node.broker.counts().failures >= 2).await;
    log.restore();
    node.becomes_ready().await;
    assert_eq!(node.recorder.gaps(), [MissedReason::Start]);
    node.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_gap_is_reported_before_what_comes_with_it() {
    let log = Flaky::new(false, 1 << 20);
    let node = node(&log).await;
    log.publish("1").await;
    node.sees("1").await;
    log.missed.lock().unwrap().push(Missed {
        reason: MissedReason::Skipped,
        cause: "a number is missing".into(),
    });
    log.publish("2").await;
    node.sees("2").await;
    let gaps = [MissedReason::Start, MissedReason::Skipped];
    assert_eq!(node.recorder.gaps(), gaps);
    assert_eq!(node.recorder.gap_positions(), [0, 1]);
    node.end().await;
}

/// Nothing is read back over a lost connection, so no publisher waits for it.
#[tokio::test(start_paused = true)]
async fn a_lost_connection_ends_the_waiting_of_publishers_and_probes() {
    let log = Flaky::new(true, 1 << 20);
    let node = node(&log).await;
    log.deaf.store(true, Ordering::Relaxed);
    let begun = tokio::time::Instant::now();
    let (published, probed, ()) = tokio::join!(
        node.broker.publish(vec![trigger("1")]),
        node.broker.probe(),
        async {
            // Both are appended: the futures before were polled.
            tokio::task::yield_now().await;
            log.lose(MissedReason::Reconnect);
        },
    );
    assert!(begun.elapsed() < PUBLISH, "{:?}", begun.elapsed());
    assert!(
        matches!(published, Err(AppendError::Unconfirmed { .. })),
        "{published:?}"
    );
    assert!(
        matches!(probed, Err(AppendError::Unavailable(_))),
        "{probed:?}"
    );
    let appended = log.inner.bounds().await.unwrap();
    // After the mark and the epoch of the log.
    assert_eq!(appended.last.map(Position::get), Some(4));

    node.becomes_not_ready().await;
    let refused = node.broker.publish(vec![trigger("2")]).await;
    assert!(matches!(refused, Err(AppendError::Unavailable(_))));
    node.end().await;
}

#[tokio::test(start_paused = true)]
async fn what_is_not_read_back_in_time_is_unconfirmed() {
    let log = Flaky::new(true, 1 << 20);
    let node = node(&log).await;
    log.deaf.store(true, Ordering::Relaxed);
    let begun = tokio::time::Instant::now();
    let published = node.broker.publish(vec![trigger("1")]).await;
    assert_eq!(published, Err(AppendError::Unconfirmed { seconds: 5 }));
    assert!(begun.elapsed() < PUBLISH + Duration::from_millis(100));
    log.deaf.store(false, Ordering::Relaxed);
    assert_eq!(
        node.broker.publish(vec![trigger("2")]).await.unwrap().len(),
        1
    );
    assert_eq!(node.recorder.seen(), ["2"]);
    node.end().await;
}
