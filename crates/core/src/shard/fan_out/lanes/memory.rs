//! What lanes keep in memory, and when they give it back.

use crate::shard::fan_out::lanes::Lanes;

use ht_proto::entry::TenantId;

/// Lanes that are examined in one sweep.
const SWEPT: usize = 256;

/// Capacity that a lane or a table keeps.
const KEPT: usize = 16;

impl Lanes {
    /// Where the commands that all lanes keep take too much memory, the lane that keeps most forgets
    /// its own.
    pub(in crate::shard) fn bound_commands(&mut self) {
        let bytes = self.current.recent.bytes();
        self.command_bytes += bytes;
        self.command_bytes -= std::mem::replace(&mut self.current.command_bytes, bytes);
        if self.command_bytes <= 4 * self.bounds.bytes {
            return;
        }
        let parked = self.parked.values_mut().map(|lane| &mut **lane);
        let all = parked.chain([&mut self.current]);
        if let Some(largest) = all.max_by_key(|lane| lane.recent.bytes()) {
            largest.recent.forget_kept();
            self.command_bytes -= std::mem::take(&mut largest.command_bytes);
        }
    }

    /// Forgets some of the lanes that nobody needs, at this time in ms.
    pub(in crate::shard) fn sweep(&mut self, now: u64) {
        if self.parked.is_empty() {
            return;
        }
        if self.to_sweep.is_empty() {
            self.to_sweep = self.parked.keys().copied().collect();
        }
        for tenant in self
            .to_sweep
            .split_off(self.to_sweep.len().saturating_sub(SWEPT))
        {
            let lane = self.parked.get(&tenant);
            if lane.is_some_and(|lane| lane.is_idle(now) && !lane.is_listed) {
                self.forget(tenant);
            }
        }
        if self.current.is_idle(now)
            && !self.current.is_listed
            && let Some(&tenant) = self.parked.keys().next()
        {
            let idle = self.enter(tenant);
            self.forget(idle);
        }
        if self.parked.capacity() > 4 * (self.parked.len() + KEPT) {
            self.parked.shrink_to(2 * self.parked.len());
        }
        if self.parked.is_empty() {
            self.spare = None;
            self.to_sweep = Vec::new();
            if self.is_simple() {
                self.end_turns();
            }
        }
    }

    fn forget(&mut self, tenant: TenantId) {
        if let Some(lane) = self.parked.remove(&tenant) {
            self.command_bytes -= lane.command_bytes;
        }
    }

    /// A round of the current lane begins.
    #[inline]
    pub(in crate::shard::fan_out) fn begin_round(&mut self) {
        self.current.reset();
        if !self.parked.is_empty() && self.current.lacks_buffers() {
            let buffers = self.spare.take();
            self.current.set_buffers(buffers.unwrap_or_default());
        }
    }

    /// The current lane has nothing to do. Where there are others it keeps no memory for rounds.
    #[inline]
    pub(in crate::shard::fan_out) fn rest(&mut self) {
        if !self.parked.is_empty() {
            self.give_back();
        }
    }

    fn give_back(&mut self) {
        let buffers = self.current.take_buffers();
        if self.spare.is_none() {
            self.spare = Some(buffers);
        }
        self.current.queue.shrink_to(KEPT);
    }
}
