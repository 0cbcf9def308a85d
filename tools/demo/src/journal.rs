//! What the backend received, answered and sent: kept for the page, and published through the
//! gateway itself in the room `{"target":"backend-log"}`.
//!
//! Those publications are not written into the journal, or it would write about itself for ever.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use ht_trigger_client::post;
use serde::Serialize;
use serde_json::value::RawValue;
use tokio::sync::mpsc;

/// Entries kept for a page that comes later.
pub(crate) const ENTRIES_MAX: usize = 200;

/// Entries that wait to be published. Beyond it they are skipped: the page sees the gap in the
/// numbers and asks for what it missed.
const WAITING_MAX: usize = 128;

/// Entries published at once; with bodies of at most 16 KiB this stays far below what may wait
/// for one connection.
const BATCH_MAX: usize = 8;

/// What an entry tells of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    /// The gateway asked who a visitor is.
    Bootstrap,
    /// The gateway told that a connection came, pinged or went.
    Hook,
    /// The page called the API.
    Api,
    /// The backend sent a trigger.
    Trigger,
}

/// One HTTP exchange, seen from the backend.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Entry {
    /// Counts up by one.
    pub(crate) id: u64,
    /// Milliseconds since 1970.
    pub(crate) at: u64,
    pub(crate) kind: Kind,
    /// On whose behalf, if known.
    pub(crate) who: Option<&'static str>,
    pub(crate) method: &'static str,
    /// The path, or for a trigger the whole address.
    pub(crate) target: String,
    /// Request headers worth showing.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) headers: Vec<(&'static str, String)>,
    /// The request's body, where it was JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) body: Option<Box<RawValue>>,
    /// The answer's status; 0 when there was none.
    pub(crate) status: u16,
    /// The answer's body where it was JSON, or a remark.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) answer: Option<Box<RawValue>>,
}

/// The last exchanges of the backend.
#[derive(Debug)]
pub(crate) struct Journal {
    kept: Mutex<Kept>,
    news: mpsc::Sender<Entry>,
}

#[derive(Debug, Default)]
struct Kept {
    entries: VecDeque<Entry>,
    made: u64,
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
    /// An empty journal, and the news to hand to [`publish`].
    pub(crate) fn new() -> (Self, mpsc::Receiver<Entry>) {
        let (news, receiver) = mpsc::channel(WAITING_MAX);
        let kept = Mutex::default();
        (Self { kept, news }, receiver)
    }

    /// Writes an exchange down.
    pub(crate) fn write(&self, exchange: Exchange) {
        // Numbered and queued under one lock, so that the numbers come in order.
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.made += 1;
        let entry = Entry {
            id: kept.made,
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
        if self.news.try_send(entry).is_err() {
            tracing::debug!("journal_entries_skipped: the page will ask for them");
        }
    }

    /// The newest number.
    pub(crate) fn last(&self) -> u64 {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.made
    }

    /// The entries after number `id`, oldest first.
    pub(crate) fn after(&self, id: u64) -> Vec<Entry> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let entries = kept.entries.iter().filter(|entry| entry.id > id);
        entries.cloned().collect()
    }
}

/// A trigger as the gateway takes it.
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

/// Publishes what the journal writes until the journal is gone; `internal` is the URL of the
/// gateway's internal listener.
pub(crate) async fn publish(mut news: mpsc::Receiver<Entry>, internal: String) {
    let room = RoomOfLog {
        target: "backend-log",
    };
    let mut batch = Vec::with_capacity(BATCH_MAX);
    while news.recv_many(&mut batch, BATCH_MAX).await > 0 {
        let data = Data { entries: &batch };
        let body = serde_json::to_vec(&Publication {
            rooms: [room],
            data,
        });
        let body = body.expect("entries are plain data").into();
        if let Err(error) = post(&internal, None, body).await {
            // The page asks for what it missed when it is connected again.
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
    fn keeps_the_last_entries_and_their_numbers() {
        let (journal, _news) = Journal::new();
        for _ in 0..ENTRIES_MAX + 3 {
            journal.write(exchange());
        }
        let all: Vec<_> = journal.after(0).iter().map(|entry| entry.id).collect();
        assert_eq!(all.len(), ENTRIES_MAX);
        assert_eq!((all[0], all[ENTRIES_MAX - 1]), (4, ENTRIES_MAX as u64 + 3));
        assert_eq!(journal.after(ENTRIES_MAX as u64 + 2).len(), 1);
    }
}
