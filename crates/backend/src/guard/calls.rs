//! One call for clients who bring the very same.

#[cfg(test)]
mod tests;

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, Hash, Hasher, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared, WeakShared};
use tokio::time::Instant;

use crate::answer::{Answer, Permissions};
use crate::credentials::Credentials;
use crate::guard::fair_queue::QueueKey;

/// Finished answers that are kept, where `backend.coalesce` keeps any.
const KEPT_MAX: usize = 1_024;

/// Bytes of them.
const KEPT_BYTES_MAX: usize = 16 << 20;

/// A call that any number of clients wait for. It is abandoned with the last of them.
pub(super) type Call = Shared<BoxFuture<'static, Answer>>;

/// What clients must have in common to share a call: every forwarded header, byte for byte and in
/// the same order, and the lane they wait in, so that nobody waits in a stranger's turn.
#[derive(Clone)]
pub(super) struct Key(Arc<(QueueKey, Credentials)>);

impl Key {
    pub(super) fn new(credentials: Credentials) -> Self {
        Self(Arc::new((credentials.address().into(), credentials)))
    }

    pub(super) fn queue_key(&self) -> QueueKey {
        self.0.0
    }

    pub(super) fn credentials(&self) -> &Credentials {
        &self.0.1
    }

    fn bytes(&self) -> usize {
        let headers = self.credentials().headers().iter();
        headers.map(|(_, value)| value.len()).sum()
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        let (own, others) = (self.credentials().headers(), other.credentials().headers());
        self.queue_key() == other.queue_key() && own.iter().eq(others.iter())
    }
}

impl Eq for Key {}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.queue_key().hash(state);
        for (name, value) in self.credentials().headers() {
            name.hash(state);
            value.as_bytes().hash(state);
        }
    }
}

/// The calls that clients may join.
pub(super) struct Calls<S = RandomState> {
    table: Mutex<Table<S>>,
    /// For how long after it went out a call may be joined.
    coalesce: Duration,
}

struct Table<S> {
    entries: HashMap<Key, Entry, S>,
    /// The finished answers among them, the oldest first.
    kept: VecDeque<Kept>,
    kept_bytes: usize,
    /// Calls that were begun.
    begun: u64,
    /// Clients who joined one.
    joined: u64,
}

struct Entry {
    number: u64,
    /// When the call went out. Before that, whoever joins hears what is true later than now.
    sent: Option<Instant>,
    source: Source,
}

enum Source {
    UnderWay(WeakShared<BoxFuture<'static, Answer>>),
    Finished(Answer),
}

struct Kept {
    key: Key,
    number: u64,
    bytes: usize,
    until: Instant,
}

impl<S: BuildHasher + Default> Calls<S> {
    /// `coalesce` zero: a call that went out is not joined any more.
    pub(super) fn new(coalesce: Duration) -> Arc<Self> {
        Arc::new(Self {
            table: Mutex::new(Table {
                entries: HashMap::default(),
                kept: VecDeque::new(),
                kept_bytes: 0,
                begun: 0,
                joined: 0,
            }),
            coalesce,
        })
    }
}

impl<S: BuildHasher> Calls<S> {
    /// Clients who joined a call of another.
    pub(super) fn joined(&self) -> u64 {
        self.lock().joined
    }

    /// Joins a call with this key, or begins one with what `begin` makes.
    pub(super) fn join(
        self: &Arc<Self>,
        key: &Key,
        now: Instant,
        begin: impl FnOnce(Ticket<S>) -> BoxFuture<'static, Answer>,
    ) -> Call {
        let mut table = self.lock();
        table.sweep(now);
        if let Some(known) = table.find(key, now, self.coalesce) {
            table.joined += 1;
            return known;
        }
        table.begun += 1;
        let number = table.begun;
        let ticket = Ticket {
            calls: Arc::clone(self),
            key: key.clone(),
            number,
        };
        let call = begin(ticket).shared();
        if let Some(weak) = call.downgrade() {
            let entry = Entry {
                number,
                sent: None,
                source: Source::UnderWay(weak),
            };
            table.entries.insert(key.clone(), entry);
        }
        call
    }

    fn lock(&self) -> MutexGuard<'_, Table<S>> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S: BuildHasher> Table<S> {
    fn find(&self, key: &Key, now: Instant, coalesce: Duration) -> Option<Call> {
        let entry = self.entries.get(key)?;
        if entry.sent.is_some_and(|sent| now > sent + coalesce) {
            return None;
        }
        match &entry.source {
            Source::UnderWay(call) => call.upgrade(),
            Source::Finished(answer) => {
                let answer = answer.clone();
                Some(std::future::ready(answer).boxed().shared())
            }
        }
    }

    fn entry(&mut self, key: &Key, number: u64) -> Option<&mut Entry> {
        let entry = self.entries.get_mut(key)?;
        (entry.number == number).then_some(entry)
    }

    fn forget(&mut self, key: &Key, number: u64) {
        if self.entry(key, number).is_some() {
            self.entries.remove(key);
        }
    }

    /// Forgets finished answers whose moment is over, and the oldest where they are too many.
    fn sweep(&mut self, now: Instant) {
        while let Some(oldest) = self.kept.front()
            && (now > oldest.until
                || self.kept_bytes > KEPT_BYTES_MAX
                || self.kept.len() > KEPT_MAX)
        {
            let Some(oldest) = self.kept.pop_front() else {
                return;
            };
            self.kept_bytes -= oldest.bytes;
            self.forget(&oldest.key, oldest.number);
        }
    }
}

/// A call's own hold on its entry. Dropping it ends the sharing.
pub(super) struct Ticket<S: BuildHasher = RandomState> {
    calls: Arc<Calls<S>>,
    key: Key,
    number: u64,
}

impl<S: BuildHasher> Ticket<S> {
    /// The call goes out now: what it brings may be older than what later clients must hear.
    pub(super) fn sent(&self, now: Instant) {
        let mut table = self.calls.lock();
        if self.calls.coalesce.is_zero() {
            table.forget(&self.key, self.number);
        } else if let Some(entry) = table.entry(&self.key, self.number) {
            entry.sent = Some(now);
        }
    }

    /// The call is over; its answer may serve others for the rest of the moment. A failure never
    /// does: the circuit deals with those.
    pub(super) fn finished(self, answer: &Answer, now: Instant) {
        let answer = match answer {
            Answer::Admitted(admission) => Answer::Admitted(Permissions {
                // A copy, so that not the whole answer stays in memory.
                allowed_rooms: Bytes::copy_from_slice(&admission.allowed_rooms),
                ..admission.clone()
            }),
            Answer::Refused(refusal) => Answer::Refused(refusal.clone()),
            Answer::Failed(_) => return,
        };
        let mut table = self.calls.lock();
        let Some(entry) = table.entry(&self.key, self.number) else {
            return;
        };
        let Some(sent) = entry.sent else {
            return;
        };
        let bytes = self.key.bytes() + bytes_of(&answer);
        entry.source = Source::Finished(answer);
        table.kept_bytes += bytes;
        table.kept.push_back(Kept {
            key: self.key.clone(),
            number: self.number,
            bytes,
            until: sent + self.calls.coalesce,
        });
        table.sweep(now);
    }
}

impl<S: BuildHasher> Drop for Ticket<S> {
    fn drop(&mut self) {
        let mut table = self.calls.lock();
        if let Some(Entry {
            source: Source::UnderWay(_),
            ..
        }) = table.entry(&self.key, self.number)
        {
            table.forget(&self.key, self.number);
        }
    }
}

fn bytes_of(answer: &Answer) -> usize {
    match answer {
        Answer::Admitted(admission) => admission.bytes(),
        Answer::Refused(_) | Answer::Failed(_) => 0,
    }
}
