//! Shards that are so far behind that they miss publications or commands.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use ht_proto::entry::TenantId;

use super::NodeSequencer;
use crate::inbox::Overflow;

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
        let cause = format!("thread {index} is too far behind: {count} publications were dropped");
        self.gaps.report_shard_missed(index, &cause);
    }

    /// A shard was so far behind that commands were dropped.
    pub(super) fn commands_lost(&self, index: usize, overflow: &Overflow) {
        let mut count = 0u64;
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
                suppressed,
                "a thread is so far behind that commands were dropped: all connections of their \
                 tenant there are closed with 4002 permissions, so that nobody keeps what a command took. Send \
                 commands more slowly, or give the node more cores"
            );
        }
    }
}
