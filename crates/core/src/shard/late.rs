//! Tenants that are sent more than they may be: their deliveries wait, and where they have waited for
//! too long, some of their connections are closed.

use std::sync::Arc;

use ht_proto::close::Close;
use ht_proto::entry::TenantId;

use crate::bucket::DeliveryBucket;
use crate::budget::cost;
use crate::connection::ConnectionId;
use crate::peer::{Eviction, Peer};
use crate::shard::Shard;
use crate::world::{Turn, World};

/// One of so many connections of the tenant is closed at a time, but one at least.
const PART: usize = 16;

/// Sessions that are examined to choose them.
const EXAMINED_MAX: usize = 16_384;

/// Clients reconnect at random moments within a span.
const BUSY: Close = Close::TENANT_BUSY.within(30_000);

impl<P: Peer> Shard<P> {
    /// What the clients of a tenant are sent is taken from this bucket from now on, which all shards
    /// of the node share; none: it has no bound.
    pub fn set_bucket(&mut self, tenant: TenantId, bucket: Option<Arc<DeliveryBucket>>) {
        self.lanes.set_bucket(tenant, bucket);
    }

    /// Closes some connections of tenants whose deliveries have waited for too long: the slowest
    /// consumers, and then those that are sent most.
    pub(super) fn relieve_late(&mut self, turn: &mut Turn<'_, impl World<P>>) {
        for tenant in std::mem::take(&mut self.lanes.late) {
            let sessions = self.lanes.get(tenant).map_or(0, |lane| lane.sessions);
            for id in self.slowest(tenant, sessions.div_ceil(PART)) {
                self.stats.tenant_busy += 1;
                self.stats.evictions[Eviction::TenantBusy as usize] += 1;
                self.leave(id, BUSY, turn);
            }
        }
    }

    /// The slowest connections of a tenant.
    fn slowest(&mut self, tenant: TenantId, count: usize) -> Vec<ConnectionId> {
        let slots = self.sessions.capacity();
        let examined = slots.min(EXAMINED_MAX);
        self.budget.spend(examined as u64 * cost::LOOK);
        let mut found = Vec::new();
        for _ in 0..examined {
            let index = self.next_late % slots;
            self.next_late = index + 1;
            let session = self.sessions.get(index);
            if let Some(session) = session.filter(|session| session.is_of(tenant)) {
                let id = ConnectionId(u32::try_from(index).expect("keys were given as u32"));
                found.push((session.waiting(), session.own.weight(), id));
            }
        }
        found.sort_unstable_by_key(|(waiting, weight, _)| (*waiting, *weight));
        let slowest = found.iter().rev().take(count);
        slowest.map(|(.., id)| *id).collect()
    }
}
