//! Publications that a shard took from its inbox and did not match yet.

use std::collections::{HashMap, VecDeque};

use ht_core::Hasher;
use ht_proto::entry::TenantId;

/// Size of the batches that were taken and are not matched yet, by tenant.
#[derive(Debug, Default)]
pub(super) struct Undelivered {
    tenants: HashMap<TenantId, Taken, Hasher>,
    bytes: usize,
}

/// Those of one tenant.
#[derive(Debug, Default)]
struct Taken {
    /// Bytes of each, oldest first.
    batches: VecDeque<usize>,
    bytes: usize,
}

impl Undelivered {
    /// All but the last `backlog_of` each tenant's batches were matched.
    pub(super) fn settle(&mut self, backlog_of: impl Fn(TenantId) -> usize) {
        let bytes = &mut self.bytes;
        self.tenants.retain(|tenant, taken| {
            let backlog = backlog_of(*tenant);
            while taken.batches.len() > backlog
                && let Some(matched) = taken.batches.pop_front()
            {
                taken.bytes -= matched;
                *bytes -= matched;
            }
            !taken.batches.is_empty()
        });
    }

    /// A batch of a tenant was taken.
    pub(super) fn add(&mut self, tenant: TenantId, bytes: usize) {
        let taken = self.tenants.entry(tenant).or_default();
        taken.batches.push_back(bytes);
        taken.bytes += bytes;
        self.bytes += bytes;
    }

    /// Whether a tenant has so many batches, or bytes of them.
    pub(super) fn has(&self, tenant: TenantId, batches: usize, bytes: usize) -> bool {
        let taken = self.tenants.get(&tenant);
        taken.is_some_and(|taken| taken.batches.len() >= batches || taken.bytes >= bytes)
    }

    /// Bytes of all.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }
}
