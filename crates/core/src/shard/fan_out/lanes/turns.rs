//! Which lane has its turn, and which ones wait because their tenants were sent as much as they may.

use std::collections::VecDeque;
use std::sync::Arc;

use ht_proto::entry::TenantId;

use crate::bucket::DeliveryBucket;
use crate::shard::fan_out::QUANTUM;
use crate::shard::fan_out::lanes::Lanes;

/// How long deliveries of a tenant wait before some of its connections are closed, in ms, and how
/// often more of them are.
const PATIENCE: u64 = 5_000;
const RELIEF: u64 = 1_000;

/// How often a lane that waits is looked at, in ms.
const LOOK: u64 = 20;

impl Lanes {
    /// What the clients of a tenant are sent has a bound from now on, or none any more.
    pub(in crate::shard) fn set_bucket(
        &mut self,
        tenant: TenantId,
        bucket: Option<Arc<DeliveryBucket>>,
    ) {
        self.list_current();
        match &bucket {
            Some(bucket) => self.buckets.insert(tenant, Arc::clone(bucket)),
            None => self.buckets.remove(&tenant),
        };
        if self.get(tenant).is_some() {
            let lane = self.get_mut(tenant);
            (lane.bucket, lane.is_dry) = (bucket, false);
            lane.marks = VecDeque::new();
        }
        self.listed.append(&mut self.dry);
        if self.is_simple() {
            self.end_turns();
        }
    }

    /// Nothing waits any more.
    pub(in crate::shard) fn lift(&mut self) {
        self.is_lifted = true;
        self.listed.append(&mut self.dry);
    }

    /// When lanes that wait are looked at next, in ms; none: none waits.
    pub(in crate::shard) fn deadline(&self) -> Option<u64> {
        (!self.dry.is_empty()).then_some(self.dry_until)
    }

    /// One lane is left, which never waits: turns are not counted.
    pub(super) fn end_turns(&mut self) {
        self.listed.clear();
        self.dry.clear();
        self.current.is_listed = false;
        self.current.deficit = 0;
    }

    /// From now on lanes have turns.
    pub(super) fn list_current(&mut self) {
        if self.current.has_work() && !self.current.is_listed {
            self.current.is_listed = true;
            self.listed.push_back(self.current.tenant);
        }
    }

    /// Lists a lane that has something to do.
    #[inline]
    pub(super) fn list(&mut self, tenant: TenantId) {
        if self.is_simple() {
            return;
        }
        let lane = self.get_mut(tenant);
        if !std::mem::replace(&mut lane.is_listed, true) {
            self.listed.push_back(tenant);
        }
    }

    /// Gives the next lane its turn, at this time in ms. Returns false if none has something to do,
    /// but for those that wait.
    pub(in crate::shard::fan_out) fn next_turn(&mut self, now: u64) -> bool {
        if !self.dry.is_empty() && self.dry_until <= now {
            self.listed.append(&mut self.dry);
        }
        while let Some(tenant) = self.listed.pop_front() {
            let is_last = self.listed.is_empty();
            if self.get(tenant).is_none() {
                continue;
            }
            let lane = self.get_mut(tenant);
            if !lane.has_work() {
                lane.is_listed = false;
                lane.deficit = 0;
                lane.marks = VecDeque::new();
                continue;
            }
            if lane.bucket.is_some() && self.waits(tenant, now) {
                continue;
            }
            let lane = self.get_mut(tenant);
            lane.deficit = (lane.deficit + QUANTUM as i64).min(QUANTUM as i64);
            let has_turn = is_last || lane.deficit > 0;
            self.listed.push_back(tenant);
            if has_turn {
                self.enter(tenant);
                return true;
            }
        }
        false
    }

    /// Whether a lane has to wait because its bucket is empty.
    fn waits(&mut self, tenant: TenantId, now: u64) -> bool {
        let is_lifted = self.is_lifted;
        let lane = self.get_mut(tenant);
        lane.look_at_bucket(now);
        lane.is_dry &= !is_lifted;
        // Noted at every turn: while it waits it may be overdrawn for longer than patience lasts.
        let wait = lane.note_wait(now);
        let is_late = lane.is_dry && wait > PATIENCE && lane.relieved_at <= now;
        if is_late {
            lane.relieved_at = now + RELIEF;
        }
        let waits = lane.must_wait();
        if is_late {
            self.late.push(tenant);
        }
        if waits {
            if self.dry.is_empty() {
                self.dry_until = now + LOOK;
            }
            self.dry.push_back(tenant);
        }
        waits
    }

    /// The current lane did as much work as so many writes.
    pub(in crate::shard::fan_out) fn charge(&mut self, writes: u64) {
        let writes = i64::try_from(writes).unwrap_or(i64::MAX);
        self.current.deficit = self.current.deficit.saturating_sub(writes);
    }
}
