//! The HTTP exchanges of the backend, kept for the page and published through the gateway itself to the
//! room `{"target":"backend-log"}`.
//!
//! The journal's own publications are not recorded, because each would cause another one.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use ht_trigger_client::post;
use serde::Serialize;
use serde_json::value::RawValue;
use tokio::sync::mpsc;

/// Maximum entries, kept for pages that open later.
pub(crate) const ENTRIES_MAX: usize = 200;

/// Maximum entries that wait to be published. Further ones are skipped: the page detects the gap in the
/// ids and fetches the entries.
const WAITING_MAX: usize = 128;

/// Entries per publication. With bodies of at most 16 KiB it stays far below the limit of a
/// connection's outbox.
const BATCH_MAX: usize = 8;

/// Kind of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    /// A bootstrap call of the gateway.
    Bootstrap,
    /// A hook: a connection opened, pinged or ended.
    Hook,
    /// The page called the API.
    Api,
    /// The backend sent a trigger.
    Trigger,
}

/// One HTTP exchange of the backend.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Entry {
    /// Consecutive number.
    pub(crate) id: u64,
    /// Milliseconds since 1970.
    pub(crate) at: u64,
    pub(crate) kind: Kind,
    /// The user, if known.
    pub(crate) who: Option<&'static str>,
    pub(crate) method: &'static str,
    /// The path, or for a trigger the whole address.
    pub(crate) target: String,
    /// Request headers that the page shows.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) headers: Vec<(&'static str, String)>,
    /// The request's body, if it was JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) body: Option<Box<RawValue>>,
    /// The response's status; 0 if there was none.
    pub(crate) status: u16,
    /// The response's body if it was JSON, or an error.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) answer: Option<Box<RawValue>>,
}

/// The last exchanges of the backend.
#[derive(Debug)]
pub(crate) struct Journal {
    kept: Mutex<Kept>,
    unpublished: mpsc::Sender<Entry>,
}

#[derive(Debug, Default)]
struct Kept {
    entries: VecDeque<Entry>,
    count: u64,
}

/// An entry before it has its number and time.
#[derive(Debug)]
pub(crate) struct Exchange {
    pub(crate) kind: Kind,
    pub(crate) who: Option<&'static str>,
    pub(crate) method: &'static str,
    pub(crate) target: String,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: Option<Box<RawValue>>,
    pub(crate) status: u16,
    pub(crate) answer: Option<Box<RawValue>>,
}

impl Journal {
    /// An empty journal, and the entries for [`publish`].
    pub(crate) fn new() -> (Self, mpsc::Receiver<Entry>) {
        let (unpublished, receiver) = mpsc::channel(WAITING_MAX);
        let kept = Mutex::default();
        (Self { kept, unpublished }, receiver)
    }

    /// Records an exchange.
    pub(crate) fn record(&self, exchange: Exchange) {
        // Numbered and queued under one lock, so that they are published in order.
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.count += 1;
        let entry = Entry {
            id: kept.count,
            at: now_millis(),
            kind: exchange.kind,
            who: exchange.who,
            method: exchange.method,
            target: exchange.target,
            headers: exchange.headers,
            body: exchange.body,
            status: exchange.status,
            answer: exchange.answer,
        };
        if kept.entries.len() >= ENTRIES_MAX {
            kept.entries.pop_front();
        }
        kept.entries.push_back(entry.clone());
        if self.unpublished.try_send(entry).is_err() {
            tracing::debug!("a journal entry is not published: the page will fetch it");
        }
    }

    /// The last id.
    pub(crate) fn last(&self) -> u64 {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.count
    }

    /// The entries after `id`, oldest first.
    pub(crate) fn after(&self, id: u64) -> Vec<Entry> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let entries = kept.entries.iter().filter(|entry| entry.id > id);
        entries.cloned().collect()
    }
}

/// A trigger.
#[derive(Serialize)]
pub(crate) struct Publication<R, D> {
    pub(crate) rooms: [R; 1],
    pub(crate) data: D,
}

#[derive(Clone, Copy, Serialize)]
struct RoomOfLog {
    target: &'static str,
}

#[derive(Serialize)]
struct Data<'a> {
    entries: &'a [Entry],
}

/// Publishes the journal's entries until the journal is dropped. `internal` is the URL of the gateway's
/// internal listener.
pub(crate) async fn publish(mut entries: mpsc::Receiver<Entry>, internal: String) {
    let room = RoomOfLog {
        target: "backend-log",
    };
    let mut batch = Vec::with_capacity(BATCH_MAX);
    while entries.recv_many(&mut batch, BATCH_MAX).await > 0 {
        let data = Data { entries: &batch };
        let body = serde_json::to_vec(&Publication {
            rooms: [room],
            data,
        });
        let body = body.expect("entries are plain data").into();
        if let Err(error) = post(&internal, None, body).await {
            // The page fetches the entries when it reconnects.
            tracing::debug!(%error, "the journal was not published");
        }
        batch.clear();
    }
}

fn now_millis() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |time| {
        u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exchange() -> Exchange {
        Exchange {
            kind: Kind::Api,
            who: None,
            method: "POST",
            target: "/api/order/".to_owned(),
            headers: Vec::new(),
            body: None,
            status: 201,
            answer: None,
        }
    }

    #[test]
    fn the_last_entries_are_kept_with_their_ids() {
        let (journal, _entries) = Journal::new();
        for _ in 0..ENTRIES_MAX + 3 {
            journal.record(exchange());
        }
        let all: Vec<_> = journal.after(0).iter().map(|entry| entry.id).collect();
        assert_eq!(all.len(), ENTRIES_MAX);
        assert_eq!((all[0], all[ENTRIES_MAX - 1]), (4, ENTRIES_MAX as u64 + 3));
        assert_eq!(journal.after(ENTRIES_MAX as u64 + 2).len(), 1);
    }
}
