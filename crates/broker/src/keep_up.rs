//! What an engine does as long as the node lives, over a connection that may be lost.

use std::fmt::Display;
use std::future::Future;
use std::time::Duration;

use tokio::time::{Instant, sleep};
use uuid::Uuid;

use crate::backoff::Backoff;
use crate::outage::{Notice, Outage};

/// Shortest wait before a connection is tried again.
const BACKOFF_LEAST: Duration = Duration::from_millis(200);

/// Longest one.
const BACKOFF_MOST: Duration = Duration::from_secs(5);

/// A connection that lasted so long makes the next failure a first one again.
const LASTED: Duration = Duration::from_secs(10);

/// Repeats what ends only when its connection is lost, with pauses. `log` is called for causes that
/// are new or last for long.
pub(crate) async fn keep_up<C: Display, F: Future<Output = C>>(
    run: impl Fn() -> F,
    log: impl Fn(&C),
) {
    let mut backoff = Backoff::new(BACKOFF_LEAST, BACKOFF_MOST);
    let mut outage = Outage::default();
    loop {
        let begun = Instant::now();
        let cause = run().await;
        if begun.elapsed() >= LASTED {
            backoff.reset();
            outage.over(begun);
        }
        if outage.note(&cause.to_string(), Instant::now()) != Notice::Nothing {
            log(&cause);
        }
        sleep(backoff.wait(Uuid::new_v4().as_fields().0)).await;
    }
}
