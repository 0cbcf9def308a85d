//! Appending: each entry is a message, and all of a call are sent before the first is acknowledged.

use std::future::Future;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use futures_util::future::join_all;
use futures_util::poll;
use tokio::sync::Mutex;
use tokio::task::unconstrained;
use tokio::time::{Instant, timeout_at};

use crate::log::{AppendError, Appended, NewEntry};
use crate::nats::Server;
use crate::nats::cause::Cause;
use crate::nats::link::{Acknowledged, Link};
use crate::nats::stream::position;

/// What a message needs beside its body: the header with its key.
const HEADERS: usize = 256;

/// The connection that entries are appended over, and for what is asked now and then.
#[derive(Default)]
pub(super) struct Writer(Mutex<Option<Arc<Link>>>);

impl Writer {
    /// The connection, which is made if there is none.
    pub(super) async fn link(&self, server: &Server) -> Result<Arc<Link>, Cause> {
        let mut link = self.0.lock().await;
        if let Some(link) = link.as_ref().filter(|link| link.is_open()) {
            return Ok(Arc::clone(link));
        }
        *link = None;
        let opened = Arc::new(Link::open(server, "high-templar writer").await?);
        Ok(Arc::clone(link.insert(opened)))
    }

    /// Whoever comes next makes a new connection.
    pub(super) fn forget(&self) {
        // Whoever holds it is making one.
        if let Ok(mut link) = self.0.try_lock() {
            *link = None;
        }
    }

    /// Appends the entries in their order, within this time.
    pub(super) async fn append(
        &self,
        server: &Server,
        batch: &[NewEntry],
        within: Duration,
    ) -> Result<Vec<Option<Appended>>, AppendError> {
        if batch.is_empty() {
            return Ok(Vec::new());
        }
        let begun = Instant::now();
        // A time that is too long for a clock is no limit.
        let deadline = begun
            .checked_add(within)
            .unwrap_or(begun + Duration::from_secs(86_400));
        let unavailable = |cause: &Cause| AppendError::Unavailable(cause.to_string());
        let link = match timeout_at(deadline, self.link(server)).await {
            Ok(link) => link.map_err(|cause| unavailable(&cause))?,
            Err(_elapsed) => return Err(unavailable(&Cause::Silent(begun.elapsed()))),
        };
        let longest = batch
            .iter()
            .map(|entry| entry.body.len())
            .max()
            .unwrap_or(0);
        let max = link.client.max_payload();
        if longest + HEADERS > max {
            return Err(AppendError::TooLong {
                bytes: longest,
                max: max.saturating_sub(HEADERS),
            });
        }
        let appending: Vec<_> = batch
            .iter()
            .map(|entry| link.append(server, entry))
            .collect();
        let acknowledged = timeout_at(deadline, in_order(appending)).await;
        let outcome = outcome(acknowledged.unwrap_or_default(), batch.len(), begun);
        if outcome.is_err() {
            self.forget();
        }
        outcome
    }
}

/// Polls each once, in their order, and then waits for all: a message is sent when it is polled first.
async fn in_order<F: Future<Output = Acknowledged>>(futures: Vec<F>) -> Vec<Acknowledged> {
    let mut futures: Vec<_> = futures
        .into_iter()
        .map(|one| Box::pin(unconstrained(one)))
        .collect();
    let mut done: Vec<Option<Acknowledged>> = Vec::with_capacity(futures.len());
    for future in &mut futures {
        done.push(match poll!(future.as_mut()) {
            Poll::Ready(acknowledged) => Some(acknowledged),
            Poll::Pending => None,
        });
    }
    let rest = futures.into_iter().zip(done).map(|(future, done)| async {
        match done {
            Some(done) => done,
            None => future.await,
        }
    });
    join_all(rest).await
}

/// The result of a call of so many entries, of which these were answered.
fn outcome(
    acknowledged: Vec<Acknowledged>,
    entries: usize,
    begun: Instant,
) -> Result<Vec<Option<Appended>>, AppendError> {
    let mut appended = Vec::with_capacity(entries);
    let (mut refusal, mut refused) = (None, 0);
    for one in acknowledged {
        match one {
            Acknowledged::At(sequence) => {
                let position = position(sequence);
                appended.push(Some(Appended { position }));
            }
            Acknowledged::Refused(cause) => {
                refused += 1;
                refusal.get_or_insert(cause);
            }
            Acknowledged::Unknown => {}
        }
    }
    match refusal {
        None if appended.len() == entries => Ok(appended),
        // None of them was stored.
        Some(cause) if refused == entries => Err(AppendError::Unavailable(cause.to_string())),
        None | Some(_) => Err(AppendError::Unconfirmed {
            seconds: begun.elapsed().as_secs_f64().ceil() as u64,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_appended_refused_or_unknown_as_a_whole() {
        let refused = || Acknowledged::Refused(Cause::NoStream);
        let at = Acknowledged::At;
        let of = |acknowledged: Vec<_>, entries| {
            outcome(acknowledged, entries, Instant::now()).map(|appended| appended.len())
        };
        assert_eq!(of(vec![at(3), at(4)], 2), Ok(2));
        let unavailable = AppendError::Unavailable("the stream does not exist".into());
        assert_eq!(of(vec![refused(), refused()], 2), Err(unavailable));
        for some in [
            vec![at(3), refused()],
            vec![refused(), Acknowledged::Unknown],
            vec![at(3), Acknowledged::Unknown],
            vec![],
        ] {
            let unknown = of(some, 2).unwrap_err();
            assert!(matches!(unknown, AppendError::Unconfirmed { .. }));
        }
    }
}
