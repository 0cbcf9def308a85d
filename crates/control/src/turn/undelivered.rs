//! Publications that a shard took from its inbox and did not match yet.

use std::collections::{HashMap, VecDeque};

use ht_core::Hasher;
use ht_proto::entry::TenantId;

/// Size of the batches that were taken and are not matched yet, by tenant.
#[derive(Debug, Default)]
pub(super) struct Undelivered {
    tenants: HashMap<TenantId, Taken, Hasher>,
    bytes: usize,
    /// Tenants of which nothing is left, with what was last reported of each.
    gone: Vec<(TenantId, usize)>,
}

/// Those of one tenant.
#[derive(Debug, Default)]
struct Taken {
    /// Bytes of each, oldest first.
    batches: VecDeque<usize>,
    bytes: usize,
    /// Bytes that were last reported.
    reported: usize,
}

impl Undelivered {
    /// All but the last `backlog_of` each tenant's batches were matched.
    pub(super) fn settle(&mut self, backlog_of: impl Fn(TenantId) -> usize) {
        let (bytes, gone) = (&mut self.bytes, &mut self.gone);
        self.tenants.retain(|tenant, taken| {
            let backlog = backlog_of(*tenant);
            while taken.batches.len() > backlog
                && let Some(matched) = taken.batches.pop_front()
            {
                taken.bytes -= matched;
                *bytes -= matched;
            }
            let is_left = !taken.batches.is_empty();
            if !is_left && taken.reported > 0 {
                gone.push((*tenant, taken.reported));
            }
            is_left
        });
    }

    /// Reports the tenants whose bytes have changed since the last call: how many they were, and are.
    pub(super) fn report(&mut self, mut each: impl FnMut(TenantId, usize, usize)) {
        for (tenant, before) in self.gone.drain(..) {
            each(tenant, before, 0);
        }
        for (tenant, taken) in &mut self.tenants {
            if taken.bytes != taken.reported {
                each(*tenant, taken.reported, taken.bytes);
                taken.reported = taken.bytes;
            }
        }
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn what_is_reported_adds_up_to_what_waits() {
        let (mut undelivered, mut known) = (Undelivered::default(), BTreeMap::new());
        let [one, other] = [0, 1].map(TenantId::new);
        let mut report = |undelivered: &mut Undelivered| {
            undelivered.report(|tenant, before, now| {
                assert_eq!(known.insert(tenant, now).unwrap_or(0), before);
            });
            [one, other].map(|tenant| known.get(&tenant).copied().unwrap_or(0))
        };
        for bytes in [10, 20, 30] {
            undelivered.add(one, bytes);
        }
        undelivered.add(other, 5);
        assert_eq!(report(&mut undelivered), [60, 5]);
        undelivered.settle(|tenant| if tenant == one { 1 } else { 0 });
        assert_eq!(report(&mut undelivered), [30, 0]);
        // Gone and there again before it is reported.
        undelivered.settle(|_| 0);
        undelivered.add(one, 7);
        assert_eq!(report(&mut undelivered), [7, 0]);
        undelivered.settle(|_| 0);
        assert_eq!(report(&mut undelivered), [0, 0]);
        assert_eq!(undelivered.bytes(), 0);
    }
}
