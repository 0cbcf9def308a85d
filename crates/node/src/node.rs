//! The shared state of a node. Each part gets those members of it that it uses.
//!
//! There is one for each pipeline. Those of tenants' own logs share with the first whatever is of the
//! whole process, and have of their own what depends on the order of the log: numbers of two orders
//! never meet.

use std::sync::Arc;
use std::time::Instant;

use ht_backend::{CallClock, CallTime};
use ht_control::interest::InterestIndex;
use ht_core::Hasher;
use ht_core::account::Accounts;
use ht_core::index::Matching;
use ht_core::outbox::Outboxes;
use ht_core::shard::Settings;
use ht_core::window::WindowLimits;
use ht_edge::descriptors::Descriptors;
use ht_edge::permits::Permits;
use ht_proto::entry::{Epoch, TenantId};
use ht_proto::tenant::TenantName;
use ht_telemetry::throttle::Throttles;
use uuid::Uuid;

use crate::administration::Administration;
use crate::commands::Commands;
use crate::config::{NodesConfig, ServerConfig, ServerLimits};
use crate::counters::Counters;
use crate::delivery::Delivery;
use crate::gaps::Gaps;
use crate::in_flight::InFlight;
use crate::interner::Interner;
use crate::lifecycle::Lifecycle;
use crate::live::shard_settings;
use crate::loads::Loads;
use crate::memory::{Memory, allowance};
use crate::meters::{Meters, UsageCounts};
use crate::peers::Peers;
use crate::permissions::Mailbox;
use crate::shares::Shares;
use crate::tenants::Tenants;
use crate::tenants::closer::Leaving;
use crate::tickets::Tickets;
use crate::totals::Totals;
use crate::window::NodeWindow;

/// The tenant whose log a pipeline reads.
#[derive(Clone, Debug)]
pub(crate) struct Owner {
    pub(crate) id: TenantId,
    pub(crate) name: TenantName,
}

/// A node's shared state, as one of its pipelines has it.
pub(crate) struct Node {
    /// The tenant whose own log is read here; none: all others.
    pub(crate) owner: Option<Owner>,
    /// Who has an API of its own.
    pub(crate) tenants: Arc<Tenants>,
    /// What they may take.
    pub(crate) shares: Shares,
    /// When it began: the clock of all shards, whose tenants share buckets.
    pub(crate) clock: Instant,
    /// Who keeps their list.
    pub(crate) administration: Arc<Administration>,
    /// Those of them whose connections are to be closed.
    pub(crate) leaving: Arc<Leaving>,
    /// Counters of the shards.
    pub(crate) totals: Arc<Totals>,
    /// What is counted for each tenant.
    pub(crate) meters: Arc<Meters>,
    /// What becomes of the records of usage.
    pub(crate) usage: Arc<UsageCounts>,
    /// Counters outside of them.
    pub(crate) counters: Arc<Counters>,
    pub(crate) throttles: Arc<Throttles>,
    pub(crate) lifecycle: Arc<Lifecycle>,
    /// Memory queued for all slow consumers.
    pub(crate) outboxes: Arc<Outboxes>,
    /// Memory that clients hold beside that.
    pub(crate) accounts: Arc<Accounts>,
    pub(crate) memory: Arc<Memory>,
    pub(crate) descriptors: Arc<Descriptors>,
    /// Open and pending connections, against the connection limits.
    pub(crate) permits: Arc<Permits>,
    /// The same connections by shard.
    pub(crate) loads: Arc<Loads>,
    pub(crate) interest: Arc<InterestIndex>,
    /// Its last publications.
    pub(crate) window: Arc<NodeWindow>,
    /// Of every table and filter of rooms: their keys are the same everywhere.
    pub(crate) hasher: Hasher,
    /// Values that connections share.
    pub(crate) interner: Arc<Interner>,
    pub(crate) commands: Arc<Commands>,
    /// Sessions about which the API is to be queried again.
    pub(crate) rechecks: Arc<Mailbox>,
    pub(crate) triggers_in_flight: Arc<InFlight>,
    /// Results of the delivery probes.
    pub(crate) delivery: Arc<Delivery>,
    pub(crate) gaps: Arc<Gaps>,
    /// Entries of all tenants come one after the other, from a log.
    pub(crate) follows_log: bool,
    /// The log gives positions, and retains what it carried.
    pub(crate) log_retains: bool,
    /// The nodes on the same log.
    pub(crate) peers: Arc<Peers>,
    /// What lets clients in again.
    pub(crate) tickets: Arc<Tickets>,
}

impl Node {
    /// The clock of the calls to the API: the answer to a call includes the effect of the commands
    /// that were ordered before it, but for those that were lost in a later gap.
    pub(crate) fn call_clock(&self) -> CallClock {
        let (commands, gaps) = (Arc::clone(&self.commands), Arc::clone(&self.gaps));
        Arc::new(move || CallTime {
            commands: commands.last(),
            gap: gaps.last(),
        })
    }

    /// The same at this moment.
    pub(crate) fn call_time(&self) -> CallTime {
        CallTime {
            commands: self.commands.last(),
            gap: self.gaps.last(),
        }
    }

    /// That of the pipeline of a tenant's own log, which retains its records, in the same process.
    pub(crate) fn beside(&self, owner: Owner, shards: usize, config: &ServerConfig) -> Self {
        let window = config.limits.window(allowance());
        let interest = InterestIndex::with_hasher(shards, config.matching, self.hasher.clone());
        let epoch = Epoch::from_random(Uuid::new_v4().as_fields().0);
        Self {
            owner: Some(owner),
            tenants: Arc::clone(&self.tenants),
            shares: Shares::default(),
            clock: self.clock,
            administration: Arc::clone(&self.administration),
            leaving: Arc::clone(&self.leaving),
            totals: Arc::new(self.totals.beside(shards)),
            meters: Arc::clone(&self.meters),
            usage: Arc::clone(&self.usage),
            counters: Arc::clone(&self.counters),
            // What is logged of one log keeps nothing of another from being logged.
            throttles: Arc::default(),
            lifecycle: Arc::new(self.lifecycle.beside()),
            outboxes: Arc::clone(&self.outboxes),
            accounts: Arc::clone(&self.accounts),
            memory: Arc::clone(&self.memory),
            descriptors: Arc::clone(&self.descriptors),
            permits: Arc::clone(&self.permits),
            loads: Arc::new(Loads::new(shards)),
            interest: Arc::new(interest),
            window: Arc::new(NodeWindow::new(window, epoch)),
            hasher: self.hasher.clone(),
            interner: Arc::clone(&self.interner),
            commands: Arc::new(Commands::new(shards)),
            rechecks: Arc::new(self.rechecks.beside()),
            triggers_in_flight: Arc::clone(&self.triggers_in_flight),
            delivery: Arc::new(Delivery::new(shards)),
            gaps: Arc::new(self.gaps.beside(shards)),
            follows_log: true,
            log_retains: true,
            peers: Arc::new(Peers::new(&config.nodes)),
            tickets: Arc::clone(&self.tickets),
        }
    }

    /// For a node with this number of shards.
    pub(crate) fn new(shards: usize, matching: Matching, window: WindowLimits) -> Self {
        let hasher = Hasher::default();
        let interest = InterestIndex::with_hasher(shards, matching, hasher.clone());
        let epoch = Epoch::from_random(Uuid::new_v4().as_fields().0);
        Self {
            owner: None,
            tenants: Arc::default(),
            shares: Shares::default(),
            clock: Instant::now(),
            administration: Arc::default(),
            leaving: Arc::default(),
            totals: Arc::new(Totals::new(shards)),
            meters: Arc::default(),
            usage: Arc::default(),
            counters: Arc::default(),
            throttles: Arc::default(),
            lifecycle: Arc::default(),
            outboxes: Arc::default(),
            accounts: Arc::default(),
            memory: Arc::default(),
            descriptors: Arc::new(Descriptors::of_process()),
            permits: Arc::default(),
            loads: Arc::new(Loads::new(shards)),
            interest: Arc::new(interest),
            window: Arc::new(NodeWindow::new(window, epoch)),
            hasher,
            interner: Arc::new(Interner::new(Hasher::default())),
            commands: Arc::new(Commands::new(shards)),
            rechecks: Arc::default(),
            triggers_in_flight: Arc::default(),
            delivery: Arc::new(Delivery::new(shards)),
            gaps: Arc::new(Gaps::new(shards)),
            follows_log: false,
            log_retains: false,
            peers: Arc::new(Peers::new(&NodesConfig::default())),
            tickets: Arc::default(),
        }
    }

    /// The settings of each shard.
    pub(crate) fn shard_settings(&self, config: &ServerConfig) -> Settings {
        let window = self.window.reader();
        shard_settings(config, &self.outboxes, &self.accounts, window)
    }

    /// Puts the memory limits in force.
    pub(crate) fn set_memory_bounds(&self, limits: &ServerLimits) {
        let bounds = limits.memory_bounds(allowance());
        self.outboxes.set_limit(bounds.outboxes);
        self.tenants.answers().set_limit(bounds.answers);
        self.interner.grant_bytes().set_limit(bounds.grants);
        self.accounts.set_limit(bounds.clients);
        self.accounts.set_shares(bounds.address, bounds.user);
    }
}
