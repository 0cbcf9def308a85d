//! What each tenant's entries take in a window, and how much that may be.

use std::collections::HashMap;
use std::sync::Arc;

use ht_proto::entry::TenantId;

use crate::Hasher;
use crate::window::segment::TrimmedEntries;

/// Tenants that had too many bytes, each with the position of its last entry that was dropped for
/// that.
pub(super) type Trimmed = HashMap<TenantId, u64, Hasher>;

/// A tenant that has too many bytes loses this part more than it must, so that it does not lose
/// some with every entry.
const SPARED: usize = 16;

/// The bytes of all tenants.
#[derive(Debug, Default)]
pub(super) struct Quotas {
    /// The tenant that was charged last, and its bytes: most often it is the next one as well.
    last: (TenantId, usize),
    /// Those of the others.
    bytes: HashMap<TenantId, usize, Hasher>,
    /// The bounds of those that have one.
    bounds: HashMap<TenantId, usize, Hasher>,
    trimmed: Arc<Trimmed>,
    /// How many entries were dropped for a bound.
    pub(super) count: u64,
}

impl Quotas {
    /// An entry of so many bytes was appended.
    #[inline]
    pub(super) fn charge(&mut self, tenant: TenantId, bytes: usize) {
        if self.last.0 != tenant {
            self.turn_to(tenant);
        }
        self.last.1 += bytes;
    }

    #[cold]
    fn turn_to(&mut self, tenant: TenantId) {
        let own = self.bytes.remove(&tenant).unwrap_or(0);
        let (before, bytes) = std::mem::replace(&mut self.last, (tenant, own));
        if bytes > 0 {
            self.bytes.insert(before, bytes);
        }
    }

    /// Entries with so many bytes were dropped.
    pub(super) fn release(&mut self, tenant: TenantId, bytes: usize) {
        if self.last.0 == tenant {
            self.last.1 -= bytes;
        } else if let Some(known) = self.bytes.get_mut(&tenant) {
            *known -= bytes;
            if *known == 0 {
                self.bytes.remove(&tenant);
                if self.bytes.capacity() > 64 && self.bytes.len() * 4 < self.bytes.capacity() {
                    self.bytes.shrink_to(self.bytes.len() * 2);
                }
            }
        }
    }

    pub(super) fn set(&mut self, tenant: TenantId, bytes: Option<usize>) {
        match bytes {
            Some(bytes) => self.bounds.insert(tenant, bytes),
            None => self.bounds.remove(&tenant),
        };
    }

    pub(super) fn bytes_of(&self, tenant: TenantId) -> usize {
        if self.last.0 == tenant {
            return self.last.1;
        }
        self.bytes.get(&tenant).copied().unwrap_or(0)
    }

    /// The tenant that has most, and how much that is; none where nobody else has any.
    pub(super) fn loudest(&self) -> Option<(TenantId, usize)> {
        if self.bytes.is_empty() {
            return None;
        }
        let others = self.bytes.iter().map(|(tenant, bytes)| (*tenant, *bytes));
        let all = others.chain([self.last]);
        all.max_by_key(|(tenant, bytes)| (*bytes, *tenant))
    }

    /// Whether a tenant has too many.
    #[inline]
    pub(super) fn is_over(&self, tenant: TenantId) -> bool {
        !self.bounds.is_empty() && self.bytes_of(tenant) > self.bound(tenant)
    }

    fn bound(&self, tenant: TenantId) -> usize {
        self.bounds.get(&tenant).copied().unwrap_or(usize::MAX)
    }

    /// What a tenant may keep once it had too many.
    pub(super) fn target(&self, tenant: TenantId) -> usize {
        let bound = self.bound(tenant);
        bound - bound / SPARED
    }

    /// A tenant lost these entries, of so many bytes. Everything up to `start` was dropped for all.
    pub(super) fn trim(
        &mut self,
        tenant: TenantId,
        bytes: usize,
        trimmed: &TrimmedEntries,
        start: u64,
    ) {
        self.release(tenant, bytes);
        self.count += trimmed.entries as u64;
        let all = Arc::make_mut(&mut self.trimmed);
        all.retain(|_, position| *position > start);
        if trimmed.last > start {
            all.insert(tenant, trimmed.last);
        }
    }

    pub(super) fn trimmed(&self) -> Arc<Trimmed> {
        Arc::clone(&self.trimmed)
    }

    /// Nothing is kept any more.
    pub(super) fn forget_entries(&mut self) {
        self.last.1 = 0;
        self.bytes = HashMap::default();
        self.trimmed = Arc::default();
    }
}
