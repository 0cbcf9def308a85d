//! What a shard counts for each tenant: for limits, metrics and bills.

use std::collections::HashMap;

use ht_proto::entry::TenantId;

use crate::stats::Stats;

/// The counters of one tenant, since they were last taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Connections that were admitted.
    pub opened: u64,
    /// Admitted connections that have ended.
    pub closed: u64,
    /// Messages of clients, valid or not.
    pub messages: u64,
    /// Publish frames written to sockets.
    pub deliveries: u64,
    /// Bytes of all frames for clients, those that are queued included.
    pub bytes_out: u64,
}

impl Tally {
    const NOTHING: Self = Self {
        opened: 0,
        closed: 0,
        messages: 0,
        deliveries: 0,
        bytes_out: 0,
    };
}

/// The counters of all tenants since they were last taken. Those of the tenant that was counted
/// last are at hand. What is delivered is counted in the totals of the shard alone: by how much they
/// have grown is settled when another tenant is counted, so with one tenant a delivery costs nothing.
#[derive(Debug, Default)]
pub(crate) struct Tallies {
    tenant: TenantId,
    current: Tally,
    others: HashMap<TenantId, Tally, foldhash::fast::FixedState>,
    /// The totals that are settled.
    deliveries: u64,
    sent_bytes: u64,
}

impl Tallies {
    /// The counters of a tenant.
    #[inline]
    pub(crate) fn of(&mut self, tenant: TenantId, totals: &Stats) -> &mut Tally {
        self.enter(tenant, totals);
        &mut self.current
    }

    /// What the totals grow by from now on is the tenant's.
    #[inline]
    pub(crate) fn enter(&mut self, tenant: TenantId, totals: &Stats) {
        if tenant != self.tenant {
            self.switch(tenant, totals);
        }
    }

    /// What the totals have grown by is the current tenant's.
    fn settle(&mut self, totals: &Stats) {
        let (deliveries, sent_bytes) = (totals.deliveries, totals.sent_bytes);
        self.current.deliveries += deliveries - std::mem::replace(&mut self.deliveries, deliveries);
        self.current.bytes_out += sent_bytes - std::mem::replace(&mut self.sent_bytes, sent_bytes);
    }

    /// Another tenant is counted.
    #[cold]
    #[inline(never)]
    fn switch(&mut self, tenant: TenantId, totals: &Stats) {
        self.settle(totals);
        let next = self.others.remove(&tenant).unwrap_or_default();
        let last = std::mem::replace(&mut self.current, next);
        let last_tenant = std::mem::replace(&mut self.tenant, tenant);
        if last != Tally::NOTHING {
            self.others.insert(last_tenant, last);
        }
    }

    /// Takes the counters of all tenants for whom there is something to count.
    pub(crate) fn take(&mut self, totals: &Stats, mut each: impl FnMut(TenantId, Tally)) {
        self.settle(totals);
        let current = std::mem::take(&mut self.current);
        if current != Tally::NOTHING {
            each(self.tenant, current);
        }
        if !self.others.is_empty() {
            self.others
                .drain()
                .for_each(|(tenant, tally)| each(tenant, tally));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn taken(tallies: &mut Tallies, totals: &Stats) -> BTreeMap<TenantId, u64> {
        let mut all = BTreeMap::new();
        tallies.take(totals, |tenant, tally| {
            assert_eq!(
                all.insert(tenant, tally.deliveries),
                None,
                "{tenant:?} twice"
            );
        });
        all
    }

    #[test]
    fn nothing_is_taken_twice_or_of_tenants_without_any() {
        let (mut tallies, mut totals) = (Tallies::default(), Stats::default());
        assert_eq!(taken(&mut tallies, &totals), BTreeMap::new());
        tallies.enter(TenantId::new(7), &totals);
        totals.deliveries += 2;
        tallies.enter(TenantId::new(8), &totals);
        tallies.enter(TenantId::MAIN, &totals);
        totals.deliveries += 1;
        let both = [(TenantId::MAIN, 1), (TenantId::new(7), 2)];
        assert_eq!(taken(&mut tallies, &totals), BTreeMap::from(both));
        assert_eq!(taken(&mut tallies, &totals), BTreeMap::new());
    }

    proptest! {
        #[test]
        fn each_tenant_has_the_sum_of_its_own(
            steps in prop::collection::vec((0u32..5, 0u64..3, prop::bool::weighted(0.1)), 0..60)
        ) {
            let (mut tallies, mut totals) = (Tallies::default(), Stats::default());
            let mut sums = BTreeMap::<TenantId, u64>::new();
            let mut known = BTreeMap::<TenantId, u64>::new();
            let mut add = |all: BTreeMap<TenantId, u64>| {
                for (tenant, count) in all {
                    *sums.entry(tenant).or_default() += count;
                }
            };
            for (tenant, count, takes) in steps {
                let tenant = TenantId::new(tenant);
                tallies.enter(tenant, &totals);
                totals.deliveries += count;
                if count > 0 {
                    *known.entry(tenant).or_default() += count;
                }
                if takes {
                    add(taken(&mut tallies, &totals));
                }
            }
            add(taken(&mut tallies, &totals));
            prop_assert_eq!(sums, known);
        }
    }
}
