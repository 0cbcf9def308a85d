//! A lane whose tenant may be sent only so much in a second.

use crate::peer::Peer;
use crate::shard::Shard;
use crate::shard::fan_out::state::Lane;
use crate::shard::queue::Item;

/// How often the end of the queue of a lane that waits is noted, in ms.
const MARKED: u64 = 100;

impl Lane {
    /// Whether the next thing to do is a delivery, for which its bucket is empty.
    #[inline]
    pub(in crate::shard::fan_out) fn must_wait(&self) -> bool {
        self.is_dry && self.is_written() && self.delivers_next()
    }

    #[cold]
    fn delivers_next(&self) -> bool {
        let next = self.queue.front();
        matches!(next, Some(Item::Publications(_) | Item::CatchUp))
    }

    /// Looks whether its bucket is empty at this time, in ms.
    pub(in crate::shard::fan_out) fn look_at_bucket(&mut self, now: u64) {
        let bucket = self.bucket.as_ref();
        self.is_dry = bucket.is_some_and(|bucket| bucket.is_empty(now));
    }

    /// Takes so many messages and bytes out of its bucket.
    pub(in crate::shard) fn pay(&mut self, messages: usize, bytes: usize, now: u64) {
        if let Some(bucket) = &self.bucket {
            bucket.take(messages, bytes);
            self.is_dry = bucket.is_empty(now);
        }
    }

    /// It waits. Returns for how long what is at the front of its queue does, in ms.
    pub(in crate::shard::fan_out) fn note_wait(&mut self, now: u64) -> u64 {
        while self
            .marks
            .front()
            .is_some_and(|(last, _)| *last <= self.passed)
        {
            self.marks.pop_front();
        }
        let mut items = self.queue.iter().rev();
        let last = items.find_map(|item| match item {
            Item::Publications(batch) => batch.last().map(|last| last.position),
            Item::Command(_)
            | Item::Rechecked(_)
            | Item::CatchUp
            | Item::Hold(..)
            | Item::Gap(..)
            | Item::Lost(_) => None,
        });
        let (marked, at) = self.marks.back().copied().unwrap_or((0, 0));
        if let Some(last) = last.filter(|last| *last > marked)
            && (self.marks.is_empty() || now >= at + MARKED)
        {
            self.marks.push_back((last, now));
        }
        let first = self.marks.front();
        first.map_or(0, |(_, since)| now.saturating_sub(*since))
    }
}

impl<P: Peer> Shard<P> {
    /// Matches queued publications of the current lane, and takes what they are from the bucket of
    /// its tenant, if it has one.
    #[inline(always)]
    pub(in crate::shard::fan_out) fn gather_and_pay(&mut self, now: u64) -> usize {
        if self.lanes.current.bucket.is_none() {
            return self.gather();
        }
        let lane = &mut self.lanes.current;
        if lane.is_written() {
            self.lanes.begin_round();
        }
        let before = self.lanes.current.hits.len();
        let looked = self.gather();
        let lane = &mut self.lanes.current;
        let new = &lane.hits[before..];
        let bytes = new.iter().map(|hit| lane.publication(*hit).head_len());
        let (messages, bytes) = (new.len(), bytes.sum());
        lane.pay(messages, bytes, now);
        looked
    }
}
