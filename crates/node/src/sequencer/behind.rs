//! Shards that are so far behind that they miss publications or commands.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;

use ht_proto::entry::TenantId;

use super::NodeSequencer;
use crate::inbox::Overflow;

/// Tenants that one line of the log names.
const NAMED: usize = 5;

impl NodeSequencer {
    /// A shard was so far behind that it missed publications. Before it can take later ones, and
    /// before others are ordered: a connection that is opened from here on missed none.
    pub(super) fn missed(&self, index: usize, overflow: &Overflow) {
        let mut missed = BTreeMap::new();
        for last in overflow.batches().filter_map(|it| it.publications.last()) {
            let upto = missed.entry(last.tenant).or_insert(last.position);
            *upto = last.position.max(*upto);
        }
        for (tenant, upto) in missed {
            if tenant == TenantId::MAIN && !self.tenants.are_enabled() {
                self.gaps.shard_missed(index, upto);
            } else {
                self.gaps.tenant_missed(index, tenant, upto);
            }
        }
    }

    pub(super) fn report_missed(&self, index: usize, overflow: &Overflow) {
        let batches = overflow.batches();
        let count: usize = batches.map(|batch| batch.publications.len()).sum();
        let counter = &self.counters.publications_missed;
        counter.fetch_add(count as u64, Ordering::Relaxed);
        let tenants = overflow
            .batches()
            .flat_map(|batch| batch.publications.iter());
        let of = self.names(tenants.map(|it| it.tenant));
        let of = if of.is_empty() {
            of
        } else {
            format!(" of {of}")
        };
        let cause =
            format!("thread {index} is too far behind: {count} publications{of} were dropped");
        self.gaps.report_shard_missed(index, &cause);
    }

    /// These tenants, for the log; empty where there is only `main`.
    fn names(&self, tenants: impl Iterator<Item = TenantId>) -> String {
        if !self.tenants.are_enabled() {
            return String::new();
        }
        let all: BTreeSet<_> = tenants.collect();
        let names = all.iter().filter_map(|id| self.tenants.name(*id));
        let mut names: Vec<_> = names.take(NAMED).map(|name| name.to_string()).collect();
        if all.len() > NAMED {
            names.push(format!("{} more", all.len() - NAMED));
        }
        names.join(", ")
    }

    /// A shard was so far behind that commands were dropped.
    pub(super) fn commands_lost(&self, index: usize, overflow: &Overflow) {
        let mut count = 0u64;
        let tenants = self.names(overflow.commands().map(|it| it.selection.tenant));
        for command in overflow.commands() {
            self.commands.carried_out(command, 0);
            count += 1;
        }
        self.counters
            .commands_lost
            .fetch_add(count, Ordering::Relaxed);
        if let Some(suppressed) = self.throttles.allow("commands-lost") {
            tracing::error!(
                shard = index,
                count,
                tenants,
                suppressed,
                "a thread is so far behind that commands were dropped: all connections of their \
                 tenant there are closed with 4002 permissions, so that nobody keeps what a command took. Send \
                 commands more slowly, or give the node more cores"
            );
        }
    }
}
