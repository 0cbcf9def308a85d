//! What is to be appended: calls that wait are put together, so that a round trip serves many.

use std::collections::VecDeque;
use std::fmt::Display;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ht_proto::entry::Position;
use tokio::sync::{Notify, oneshot};
use tokio::time::{sleep, timeout};

use crate::log::{AppendError, Appended, NewEntry};

/// Entries that are appended together, unless a single call has more.
const BATCH_MAX: usize = 256;

/// Their bytes together, unless a single call has more.
const BATCH_BYTES: usize = 4 << 20;

/// How often a shutdown looks whether all is appended.
const CLOSE_LOOK: Duration = Duration::from_millis(5);

type Reply = Result<Vec<Option<Appended>>, AppendError>;

/// The queue between those who append and the connection that does it for them.
#[derive(Default)]
pub(crate) struct AppendQueue {
    state: Mutex<State>,
    wake: Notify,
}

#[derive(Default)]
struct State {
    calls: VecDeque<Call>,
    /// The number of the next call.
    next: u64,
    /// Why nothing can be appended now.
    down: Option<String>,
    closing: bool,
}

/// The entries of one call.
struct Call {
    number: u64,
    entries: Vec<NewEntry>,
    reply: oneshot::Sender<Reply>,
}

/// Calls that are appended together. One that is dropped without a reply is
/// [unconfirmed](AppendError::Unconfirmed).
pub(crate) struct Calls(Vec<Call>);

impl Calls {
    /// All of their entries, in order.
    pub(crate) fn entries(&self) -> impl Iterator<Item = &NewEntry> {
        self.0.iter().flat_map(|call| &call.entries)
    }

    /// They are in the log, at these positions.
    pub(crate) fn appended(self, mut positions: impl Iterator<Item = Position>) {
        for call in self.0 {
            let taken = positions.by_ref().take(call.entries.len());
            let appended = taken.map(|position| Some(Appended { position }));
            let _ = call.reply.send(Ok(appended.collect()));
        }
    }

    /// They are not in the log.
    pub(crate) fn refused(self, cause: impl Display) {
        for call in self.0 {
            let _ = call
                .reply
                .send(Err(AppendError::Unavailable(cause.to_string())));
        }
    }
}

impl AppendQueue {
    /// Appends the entries, within this time.
    pub(crate) async fn append(&self, entries: Vec<NewEntry>, within: Duration) -> Reply {
        if entries.is_empty() {
            return Ok(Vec::new());
        }
        let (reply, answer) = oneshot::channel();
        let number = {
            let mut state = self.lock();
            if let Some(down) = &state.down {
                return Err(AppendError::Unavailable(down.clone()));
            }
            let number = state.next;
            state.next += 1;
            state.calls.push_back(Call {
                number,
                entries,
                reply,
            });
            number
        };
        self.wake.notify_one();
        let unconfirmed = AppendError::Unconfirmed {
            seconds: within.as_secs(),
        };
        match timeout(within, answer).await {
            Ok(Ok(reply)) => reply,
            // It was under way.
            Ok(Err(_dropped)) => Err(unconfirmed),
            Err(_elapsed) if self.withdraw(number) => Err(AppendError::Unavailable(
                "it did not take it in time".into(),
            )),
            Err(_elapsed) => Err(unconfirmed),
        }
    }

    /// Takes a call back that has not begun. Returns whether there was one.
    fn withdraw(&self, number: u64) -> bool {
        let mut state = self.lock();
        let before = state.calls.len();
        state.calls.retain(|call| call.number != number);
        state.calls.len() < before
    }

    /// The next calls, as many as fit together; waits for the first.
    pub(crate) async fn next(&self) -> Calls {
        loop {
            let wake = self.wake.notified();
            let calls = self.take();
            if !calls.is_empty() {
                return Calls(calls);
            }
            wake.await;
        }
    }

    /// No more calls are accepted; those that wait are still appended.
    pub(crate) async fn close(&self, limit: Duration) {
        {
            let mut state = self.lock();
            state.closing = true;
            state.down = Some("the node shuts down".into());
        }
        let emptied = async {
            loop {
                if self.lock().calls.is_empty() {
                    return;
                }
                sleep(CLOSE_LOOK).await;
            }
        };
        let _ = timeout(limit, emptied).await;
    }

    fn take(&self) -> Vec<Call> {
        let mut state = self.lock();
        let (mut entries, mut bytes) = (0, 0);
        let mut taken = Vec::new();
        while let Some(call) = state.calls.front() {
            let size: usize = call.entries.iter().map(|entry| entry.body.len()).sum();
            entries += call.entries.len();
            bytes += size;
            let fits = entries <= BATCH_MAX && bytes <= BATCH_BYTES;
            if !fits && !taken.is_empty() {
                break;
            }
            let call = state.calls.pop_front();
            // Nobody waits for one that was given up.
            taken.extend(call.filter(|call| !call.reply.is_closed()));
        }
        taken
    }

    /// Calls are accepted again.
    pub(crate) fn open(&self) {
        let mut state = self.lock();
        if !state.closing {
            state.down = None;
        }
    }

    /// Refuses what waits, and what comes until there is a connection.
    pub(crate) fn refuse(&self, cause: impl Display) {
        let calls = {
            let mut state = self.lock();
            if !state.closing {
                state.down = Some(cause.to_string());
            }
            std::mem::take(&mut state.calls)
        };
        Calls(calls.into()).refused(cause);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
