//! What the parts of a node share. Each part is handed those of it that it uses.

use std::sync::Arc;

use ht_control::interest::InterestIndex;
use ht_core::Hasher;
use ht_core::account::Accounts;
use ht_core::index::Matching;
use ht_core::outbox::Outboxes;
use ht_edge::descriptors::Descriptors;
use ht_edge::permits::Permits;
use ht_telemetry::throttle::Throttles;

use crate::commands::Commands;
use crate::config::ServerLimits;
use crate::counters::Counters;
use crate::delivery::Delivery;
use crate::gaps::Gaps;
use crate::in_flight::InFlight;
use crate::interner::Interner;
use crate::lifecycle::Lifecycle;
use crate::loads::Loads;
use crate::memory::{Memory, allowance};
use crate::totals::Totals;

/// A node's shared state.
pub(crate) struct Node {
    /// What the shards count.
    pub(crate) totals: Arc<Totals>,
    /// What is counted outside of them.
    pub(crate) counters: Arc<Counters>,
    pub(crate) throttles: Arc<Throttles>,
    pub(crate) lifecycle: Arc<Lifecycle>,
    /// What waits for all slow clients.
    pub(crate) outboxes: Arc<Outboxes>,
    /// What clients make the node keep beside that.
    pub(crate) accounts: Arc<Accounts>,
    pub(crate) memory: Arc<Memory>,
    pub(crate) descriptors: Arc<Descriptors>,
    /// Open connections and those to come, against the limits of connections.
    pub(crate) permits: Arc<Permits>,
    /// The same connections by shard.
    pub(crate) loads: Arc<Loads>,
    pub(crate) interest: Arc<InterestIndex>,
    /// What connections share.
    pub(crate) interner: Arc<Interner>,
    pub(crate) commands: Arc<Commands>,
    pub(crate) triggers_in_flight: Arc<InFlight>,
    /// What probes found of the way that triggers go.
    pub(crate) delivery: Arc<Delivery>,
    pub(crate) gaps: Arc<Gaps>,
}

impl Node {
    /// Of a node with so many shards.
    pub(crate) fn new(shards: usize, matching: Matching) -> Self {
        Self {
            totals: Arc::new(Totals::new(shards)),
            counters: Arc::default(),
            throttles: Arc::default(),
            lifecycle: Arc::default(),
            outboxes: Arc::default(),
            accounts: Arc::default(),
            memory: Arc::default(),
            descriptors: Arc::new(Descriptors::of_process()),
            permits: Arc::default(),
            loads: Arc::new(Loads::new(shards)),
            interest: Arc::new(InterestIndex::new(shards, matching)),
            interner: Arc::new(Interner::new(Hasher::default())),
            commands: Arc::new(Commands::new(shards)),
            triggers_in_flight: Arc::default(),
            delivery: Arc::new(Delivery::new(shards)),
            gaps: Arc::new(Gaps::new(shards)),
        }
    }

    /// Puts the bounds of memory in force.
    pub(crate) fn set_memory_bounds(&self, limits: &ServerLimits) {
        let bounds = limits.memory_bounds(allowance());
        self.outboxes.set_limit(bounds.outboxes);
        self.accounts.set_limit(bounds.clients);
        self.accounts.set_shares(bounds.address, bounds.user);
    }
}
