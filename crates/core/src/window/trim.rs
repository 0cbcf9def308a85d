//! Tenants that have too many bytes lose their own oldest entries: more than their quota, or, where the
//! window is full, more than any other. So a loud one shortens nobody's recovery but its own.

use std::sync::Arc;

use ht_proto::entry::TenantId;
use smallvec::SmallVec;

use crate::window::segment::{Segment, TrimmedEntries};
use crate::window::{Concerns, Item, Window};

/// A tenant is trimmed for others only if it has this part of all bytes.
const LOUD_PART: usize = 64;

/// And loses this part of its own.
const TRIMMED_PART: usize = 16;

/// A segment, and what is known of its entries.
#[derive(Debug)]
pub(super) struct Owned<T> {
    pub(super) segment: Arc<Segment<T>>,
    pub(super) bytes: usize,
    pub(super) since: u64,
    /// How many of its entries were neither dropped nor trimmed.
    pub(super) live: usize,
    /// The tenants of its entries, and what they are charged with for them.
    pub(super) tenants: SmallVec<[(TenantId, usize); 1]>,
}

impl<T> Owned<T> {
    /// An entry of a tenant, of so many bytes.
    pub(super) fn charge(&mut self, tenant: TenantId, bytes: usize) {
        self.bytes += bytes;
        let mut known = self.tenants.iter_mut().rev();
        match known.find(|(known, _)| *known == tenant) {
            Some((_, charged)) => *charged += bytes,
            None => self.tenants.push((tenant, bytes)),
        }
    }
}

impl<T: Clone> Window<T> {
    /// A tenant may have so many bytes; none: as many as there are. It loses its own oldest entries
    /// beyond.
    pub fn set_quota(&mut self, tenant: TenantId, bytes: Option<usize>) {
        self.quotas.set(tenant, bytes);
        if self.quotas.is_over(tenant) {
            let is_changed = self.trim(tenant);
            self.publish(is_changed);
        }
    }

    /// Appends what is left of an entry that was dropped in another process: its tenant lacks it.
    pub fn append_trimmed(&mut self, item: Item<T>) {
        let (position, tenant) = (item.position, item.tenant);
        if position > self.end() {
            self.append(item, Concerns::Rooms(&[]), 0);
            self.trimmed_here(position, tenant);
        }
    }

    /// The last entry is what is left of one.
    fn trimmed_here(&mut self, position: u64, tenant: TenantId) {
        if let Some(last) = self.segments.back_mut() {
            last.live -= 1;
            self.len -= 1;
            let trimmed = TrimmedEntries {
                entries: 0,
                last: position,
            };
            self.quotas.trim(tenant, 0, &trimmed, self.start);
            self.publish(true);
        }
    }

    /// The bytes of a tenant's entries.
    #[must_use]
    pub fn bytes_of(&self, tenant: TenantId) -> usize {
        self.quotas.bytes_of(tenant)
    }

    /// How many entries were dropped because their tenants had too many bytes.
    #[must_use]
    pub fn trimmed(&self) -> u64 {
        self.quotas.count
    }

    /// Drops the oldest entries of a tenant that has more than its quota. Returns whether a segment
    /// changed.
    pub(super) fn trim(&mut self, tenant: TenantId) -> bool {
        self.trim_to(tenant, self.quotas.target(tenant))
    }

    /// Drops some of the oldest entries of the tenant that has most bytes, if there are others and it
    /// has a notable part. Returns whether a segment changed.
    pub(super) fn trim_loudest(&mut self) -> bool {
        let Some((tenant, bytes)) = self.quotas.loudest() else {
            return false;
        };
        // Where all have little, that of each trim would be little as well.
        bytes >= self.bytes_of_entries() / LOUD_PART
            && self.trim_to(tenant, bytes - bytes.div_ceil(TRIMMED_PART))
    }

    /// Bytes of entries, without those of the window itself.
    pub(super) fn bytes_of_entries(&self) -> usize {
        self.bytes - self.overhead
    }

    /// Drops the oldest entries of a tenant that has more bytes than these, segment by segment. Their
    /// positions and checks stay, for cursors of others. Returns whether a segment changed.
    fn trim_to(&mut self, tenant: TenantId, target: usize) -> bool {
        let mut is_changed = false;
        for index in 0..self.segments.len() {
            if self.quotas.bytes_of(tenant) <= target {
                break;
            }
            let from = if index == 0 { self.gone } else { 0 };
            let is_open = index + 1 == self.segments.len();
            let owned = &mut self.segments[index];
            let mut tenants = owned.tenants.iter();
            let Some(at) = tenants.position(|(known, _)| *known == tenant) else {
                continue;
            };
            let (_, bytes) = owned.tenants.remove(at);
            let (segment, trimmed) = owned.segment.without(tenant, from, is_open);
            let saved = owned.segment.bytes() - segment.bytes();
            owned.segment = Arc::new(segment);
            owned.bytes -= bytes + saved;
            owned.live -= trimmed.entries;
            self.bytes -= bytes + saved;
            self.overhead -= saved;
            self.len -= trimmed.entries;
            self.quotas.trim(tenant, bytes, &trimmed, self.start);
            is_changed = true;
        }
        is_changed
    }
}
