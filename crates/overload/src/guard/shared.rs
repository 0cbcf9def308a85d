//! The calls that clients may join, and the responses that are kept for a moment.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use crate::call::{Key, Reply};
use crate::guard::CallId;

/// Maximum number of kept responses, if the settings keep any.
pub(super) const KEPT_MAX: usize = 1_024;

/// Maximum bytes of them.
pub(super) const KEPT_BYTES_MAX: usize = 16 << 20;

/// By key, the newest call that may be joined.
#[derive(Debug)]
pub(super) struct SharedCalls<K, A> {
    entries: HashMap<K, Entry<A>>,
    /// The responses among them, the oldest first.
    kept: VecDeque<Kept<K>>,
    kept_bytes: usize,
    /// For how long after it was made a call may be joined.
    coalesce: Duration,
}

#[derive(Debug)]
struct Entry<A> {
    call: CallId,
    /// When the call was made. Before that, the response is newer than the arrival of any client
    /// that joins.
    sent: Option<Duration>,
    /// None: the call is still queued or in progress.
    answer: Option<A>,
}

#[derive(Debug)]
struct Kept<K> {
    key: K,
    call: CallId,
    bytes: usize,
    until: Duration,
}

/// What a client may join.
#[derive(Debug)]
pub(super) enum Found<A> {
    Call(CallId),
    Answer(A),
}

impl<K: Key, A: Reply> SharedCalls<K, A> {
    /// `coalesce` zero: a call that was made is not joined any more.
    pub(super) fn new(coalesce: Duration) -> Self {
        Self {
            entries: HashMap::new(),
            kept: VecDeque::new(),
            kept_bytes: 0,
            coalesce,
        }
    }

    /// What a client that arrives now may join.
    pub(super) fn find(&mut self, key: &K, now: Duration) -> Option<Found<A>> {
        self.sweep(now);
        let entry = self.entries.get(key)?;
        if entry
            .sent
            .is_some_and(|sent| now > sent.saturating_add(self.coalesce))
        {
            return None;
        }
        Some(match &entry.answer {
            None => Found::Call(entry.call),
            Some(answer) => Found::Answer(answer.clone()),
        })
    }

    /// A call may be joined from now on.
    pub(super) fn begin(&mut self, key: K, call: CallId) {
        let entry = Entry {
            call,
            sent: None,
            answer: None,
        };
        self.entries.insert(key, entry);
    }

    /// A call is made now: its response may be too old for later clients.
    pub(super) fn sent(&mut self, key: &K, call: CallId, now: Duration) {
        if self.coalesce.is_zero() {
            self.forget(key, call);
        } else if let Some(entry) = self.entry(key, call) {
            entry.sent = Some(now);
        }
    }

    /// A call has ended without a response that may be shared.
    pub(super) fn forget(&mut self, key: &K, call: CallId) {
        if self.entry(key, call).is_some() {
            self.entries.remove(key);
        }
    }

    /// A call has ended; its response may be shared for the rest of `coalesce`.
    pub(super) fn finished(&mut self, key: K, call: CallId, answer: &A, now: Duration) {
        let coalesce = self.coalesce;
        let Some(entry) = self.entry(&key, call) else {
            return;
        };
        let (Some(sent), Some((kept, bytes))) = (entry.sent, answer.kept()) else {
            return self.forget(&key, call);
        };
        entry.answer = Some(kept);
        let bytes = key.bytes() + bytes;
        self.kept_bytes += bytes;
        self.kept.push_back(Kept {
            key,
            call,
            bytes,
            until: sent.saturating_add(coalesce),
        });
        self.sweep(now);
    }

    /// Kept responses, their bytes, and the keys that are known.
    #[cfg(test)]
    pub(super) fn sizes(&self) -> (usize, usize, usize) {
        (self.kept.len(), self.kept_bytes, self.entries.len())
    }

    fn entry(&mut self, key: &K, call: CallId) -> Option<&mut Entry<A>> {
        let entry = self.entries.get_mut(key)?;
        (entry.call == call).then_some(entry)
    }

    /// Removes expired responses, and the oldest if there are too many.
    fn sweep(&mut self, now: Duration) {
        while let Some(oldest) = self.kept.front()
            && (now > oldest.until
                || self.kept_bytes > KEPT_BYTES_MAX
                || self.kept.len() > KEPT_MAX)
        {
            let Some(oldest) = self.kept.pop_front() else {
                return;
            };
            self.kept_bytes -= oldest.bytes;
            self.forget(&oldest.key, oldest.call);
        }
    }
}
