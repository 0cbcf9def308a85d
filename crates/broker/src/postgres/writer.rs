//! Appending: calls that wait are put together, and each batch is one transaction.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, oneshot};
use tokio::time::{sleep, timeout};
use tokio_postgres::Statement;

use crate::log::{AppendError, Appended, NewEntry};
use crate::postgres::Server;
use crate::postgres::cause::Cause;
use crate::postgres::link::Link;
use crate::postgres::tail::{kind_number, position};

/// Entries that are appended together, unless a single call has more.
const BATCH_MAX: usize = 256;

/// Their bytes together, unless a single call has more.
const BATCH_BYTES: usize = 4 << 20;

/// How often a shutdown looks whether all is appended.
const CLOSE_LOOK: Duration = Duration::from_millis(5);

const APPEND: &str = "SELECT {schema}.ht_append($1, $2, $3)";

type Reply = Result<Vec<Option<Appended>>, AppendError>;

/// The queue of what is to be appended.
#[derive(Default)]
pub(super) struct Writer {
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

impl Writer {
    /// Appends the entries, within this time.
    pub(super) async fn append(&self, entries: Vec<NewEntry>, within: Duration) -> Reply {
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

    /// Appends over one connection until it is lost. Returns why.
    pub(super) async fn run(&self, server: &Server) -> Cause {
        let cause = match Connected::open(server).await {
            Ok(mut connected) => {
                self.open();
                self.write(&mut connected).await
            }
            Err(cause) => cause,
        };
        self.refuse(&cause);
        cause
    }

    /// No more calls are accepted; those that wait are still appended.
    pub(super) async fn close(&self, limit: Duration) {
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

    async fn write(&self, connected: &mut Connected) -> Cause {
        loop {
            let batch = loop {
                let wake = self.wake.notified();
                let batch = self.take();
                if !batch.is_empty() {
                    break batch;
                }
                tokio::select! {
                    () = wake => {}
                    cause = connected.link.idle() => return cause,
                }
            };
            if let Err(cause) = connected.append(batch).await {
                return cause;
            }
        }
    }

    /// The next calls, as many as fit into one transaction.
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
    fn open(&self) {
        let mut state = self.lock();
        if !state.closing {
            state.down = None;
        }
    }

    /// Refuses what waits, and what comes until there is a connection.
    fn refuse(&self, cause: &Cause) {
        let calls = {
            let mut state = self.lock();
            if !state.closing {
                state.down = Some(cause.to_string());
            }
            std::mem::take(&mut state.calls)
        };
        for call in calls {
            let refused = AppendError::Unavailable(cause.to_string());
            let _ = call.reply.send(Err(refused));
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection that appends.
struct Connected {
    link: Link,
    append: Statement,
}

impl Connected {
    async fn open(server: &Server) -> Result<Self, Cause> {
        let mut link = Link::open(server).await?;
        let sql = server.schema.fill(APPEND);
        let client = Arc::clone(&link.client);
        let append = link.ask(async move { client.prepare(&sql).await }).await?;
        Ok(Self { link, append })
    }

    /// Appends these calls in one transaction, and replies to them.
    async fn append(&mut self, calls: Vec<Call>) -> Result<(), Cause> {
        let entries = || calls.iter().flat_map(|call| &call.entries);
        let kinds: Vec<i16> = entries().map(|entry| kind_number(entry.kind)).collect();
        let keys: Vec<&str> = entries().map(|entry| &*entry.key).collect();
        let bodies: Vec<&[u8]> = entries().map(|entry| &*entry.body).collect();
        let (client, statement) = (Arc::clone(&self.link.client), self.append.clone());
        let appending = async {
            let row = client
                .query_one(&statement, &[&kinds, &keys, &bodies])
                .await?;
            row.try_get::<_, i64>(0)
        };
        match self.link.ask(appending).await {
            Ok(first) => {
                let mut positions = first..;
                for call in calls {
                    let taken = positions.by_ref().take(call.entries.len());
                    let appended = taken.map(|number| {
                        let position = position(number);
                        Some(Appended { position })
                    });
                    let _ = call.reply.send(Ok(appended.collect()));
                }
                Ok(())
            }
            Err(cause) => {
                // Refused by a server that goes on: its transaction was rolled back. Otherwise
                // nobody knows, and a dropped call says so.
                if cause.is_refusal() {
                    for call in calls {
                        let error = AppendError::Unavailable(cause.to_string());
                        let _ = call.reply.send(Err(error));
                    }
                }
                Err(cause)
            }
        }
    }
}
