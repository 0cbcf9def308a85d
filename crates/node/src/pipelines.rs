//! The pipelines of a node: that of all tenants, and those of tenants with a log of their own.

use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use ht_core::stats::Stats;
use ht_proto::entry::TenantId;

use crate::pipeline::Pipeline;
use crate::tenants::{LogNumber, Tenant};

/// All pipelines of a node.
pub(crate) struct Pipelines {
    main: Arc<Pipeline>,
    /// Those of tenants' own logs, also of those that are shut down.
    own: ArcSwap<Vec<(LogNumber, Arc<Pipeline>)>>,
    /// They are changed by one at a time.
    ended: Mutex<Ended>,
}

/// What those have counted that have ended: no counter goes backwards.
#[derive(Default)]
struct Ended {
    totals: Stats,
    /// Entries that left a window early.
    trimmed: u64,
}

impl Pipelines {
    /// With that of all tenants.
    pub(crate) fn new(main: Arc<Pipeline>) -> Self {
        Self {
            main,
            own: ArcSwap::default(),
            ended: Mutex::default(),
        }
    }

    /// The one of all tenants without a log of their own.
    pub(crate) fn main(&self) -> &Arc<Pipeline> {
        &self.main
    }

    /// The one of a tenant. None: its log is not read any more, since the tenant was removed or has
    /// another one.
    pub(crate) fn of(&self, tenant: &Tenant) -> Option<Arc<Pipeline>> {
        let Some(number) = tenant.log() else {
            return Some(Arc::clone(&self.main));
        };
        let own = self.own.load();
        let found = own.iter().find(|(known, _)| *known == number);
        found.map(|(_, pipeline)| Arc::clone(pipeline))
    }

    /// The one of the tenant with this number; that of all others if nobody has it.
    pub(crate) fn of_id(&self, tenant: TenantId) -> Arc<Pipeline> {
        let found = self.main.node.tenants.get(tenant);
        let found = found.and_then(|tenant| self.of(&tenant));
        found.unwrap_or_else(|| Arc::clone(&self.main))
    }

    /// Those of tenants' own logs.
    pub(crate) fn own(&self) -> Vec<Arc<Pipeline>> {
        let own = self.own.load();
        own.iter()
            .map(|(_, pipeline)| Arc::clone(pipeline))
            .collect()
    }

    /// How many tenants have a log of their own that delivers nothing.
    pub(crate) fn own_down(&self) -> usize {
        let own = self.own().into_iter();
        own.filter(|one| !one.node.lifecycle.is_draining() && !one.delivers())
            .count()
    }

    /// All of them, that of all tenants first.
    pub(crate) fn all(&self) -> Vec<Arc<Pipeline>> {
        let mut all = vec![Arc::clone(&self.main)];
        all.extend(self.own());
        all
    }

    /// Bytes of publications of a tenant that are kept in windows.
    pub(crate) fn window_bytes_of(&self, tenant: TenantId) -> u64 {
        let all = self.all().into_iter();
        all.map(|one| one.node.window.bytes_of(tenant)).sum()
    }

    /// From now on it is the one of the tenant with this log.
    pub(crate) fn add(&self, number: LogNumber, pipeline: Arc<Pipeline>) {
        let _one = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        let mut own = Vec::clone(&self.own.load());
        own.push((number, pipeline));
        self.own.store(Arc::new(own));
    }

    /// It has ended.
    pub(crate) fn remove(&self, number: LogNumber) {
        let mut ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        let mut own = Vec::clone(&self.own.load());
        if let Some(at) = own.iter().position(|(known, _)| *known == number) {
            let (_, pipeline) = own.swap_remove(at);
            ended.totals = sum([&ended.totals, &pipeline.node.totals.sum()]);
            ended.trimmed += pipeline.node.window.size().trimmed;
        }
        self.own.store(Arc::new(own));
    }

    /// Entries of tenants that left a window early.
    pub(crate) fn trimmed(&self) -> u64 {
        let ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        let all = self.all().into_iter();
        let now: u64 = all.map(|one| one.node.window.size().trimmed).sum();
        now + ended.trimmed
    }

    /// The totals of all shards, also of those that have ended.
    pub(crate) fn totals(&self) -> Stats {
        let ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        let all = self.all();
        let all: Vec<_> = all.iter().map(|one| one.node.totals.sum()).collect();
        sum(all.iter().chain([&ended.totals]))
    }
}

fn sum<'a>(all: impl IntoIterator<Item = &'a Stats>) -> Stats {
    let mut sum = [0u64; Stats::LEN];
    for stats in all {
        let values = stats.to_array();
        let values = sum.iter_mut().zip(values);
        values.for_each(|(sum, value)| *sum = sum.wrapping_add(value));
    }
    Stats::from_array(sum)
}
