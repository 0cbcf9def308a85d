//! Closes the connections of tenants that are removed or suspended, in waves. They end where the tenant
//! is served again by the same shards: whoever comes from then on is not meant.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ht_control::input::TenantWave;
use ht_control::waves::{DrainWaves, WAVE};
use ht_edge::permits::Permits;
use ht_proto::close::Close;
use ht_proto::entry::TenantId;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::inbox::{self, Input};
use crate::live::Live;
use crate::tenants::Tenants;

#[cfg(test)]
mod tests;

/// When the clients of a suspended tenant should retry, in ms.
pub(crate) const SUSPENDED_MS: u32 = 600_000;

/// Longest time for the connections that are left after the last wave: those that were being handed
/// to a shard.
const LATE: Duration = Duration::from_secs(10);

/// Tenants whose connections are to be closed: each once.
#[derive(Default)]
pub(crate) struct Leaving {
    tenants: Mutex<HashMap<TenantId, Leaver>>,
    added: Notify,
}

/// Why the connections of a tenant are closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    /// It is removed.
    Removed,
    /// It is not served for now.
    Suspended,
    /// It has a log of its own from now on.
    Moved,
}

/// A tenant whose connections are to be closed.
struct Leaver {
    cause: Cause,
    /// The shards that have them.
    inboxes: Vec<inbox::Sender>,
}

/// Closes their connections.
pub(crate) struct Closer {
    pub(crate) leaving: Arc<Leaving>,
    pub(crate) tenants: Arc<Tenants>,
    pub(crate) permits: Arc<Permits>,
    pub(crate) live: Live,
}

/// The waves of one tenant.
struct Waves {
    close: Close,
    last: Instant,
    /// Others are admitted meanwhile, whose connections these shards do not get.
    is_served_elsewhere: bool,
    /// The shards are of this tenant alone.
    has_own_shards: bool,
    inboxes: Vec<inbox::Sender>,
}

impl Leaving {
    /// Has the connections of a tenant in these shards closed.
    pub(crate) fn add(&self, tenant: TenantId, cause: Cause, inboxes: Vec<inbox::Sender>) {
        self.lock().insert(tenant, Leaver { cause, inboxes });
        self.added.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<TenantId, Leaver>> {
        self.tenants.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Closer {
    /// Closes connections until `shutdown`.
    pub(crate) async fn run(self, shutdown: CancellationToken) {
        let mut all: HashMap<TenantId, Waves> = HashMap::new();
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = self.leaving.added.notified() => {}
                () = tokio::time::sleep(WAVE), if !all.is_empty() => {}
            }
            for (tenant, leaver) in std::mem::take(&mut *self.leaving.lock()) {
                if leaver.cause == Cause::Moved || !self.is_served(tenant) {
                    all.insert(tenant, self.begin(tenant, leaver));
                }
            }
            all.retain(|tenant, waves| self.close(*tenant, waves));
        }
    }

    fn is_served(&self, tenant: TenantId) -> bool {
        let tenant = self.tenants.get(tenant);
        tenant.is_some_and(|it| !it.is_suspended())
    }

    /// Whether a tenant has a log of its own, and so shards of its own.
    fn has_own_shards(&self, tenant: TenantId) -> bool {
        let tenant = self.tenants.get(tenant);
        tenant.is_some_and(|it| it.log().is_some())
    }

    fn begin(&self, tenant: TenantId, Leaver { cause, inboxes }: Leaver) -> Waves {
        let open = self.permits.shares.open(tenant).into();
        let waves = DrainWaves::new(open, self.live.now().drain.period, Duration::MAX);
        let name = self.tenants.name(tenant);
        let name = name.as_ref().map(|name| name.as_str());
        let over_ms = u64::try_from(waves.over.as_millis()).unwrap_or(u64::MAX);
        let close = match cause {
            Cause::Removed => {
                tracing::info!(
                    tenant = name,
                    connections = open,
                    over_ms,
                    "a tenant was removed: closing its connections"
                );
                waves.close()
            }
            Cause::Moved => {
                tracing::info!(
                    tenant = name,
                    connections = open,
                    over_ms,
                    "a tenant has a log of its own: closing its connections, which come back to it"
                );
                waves.close()
            }
            Cause::Suspended => {
                tracing::info!(
                    tenant = name,
                    connections = open,
                    over_ms,
                    "a tenant is suspended: closing its connections"
                );
                Close::SUSPENDED.within(SUSPENDED_MS)
            }
        };
        Waves {
            close,
            last: Instant::now() + waves.over,
            is_served_elsewhere: cause == Cause::Moved,
            has_own_shards: self.has_own_shards(tenant),
            inboxes,
        }
    }

    /// One wave. Returns whether others follow.
    fn close(&self, tenant: TenantId, waves: &Waves) -> bool {
        let (now, open) = (Instant::now(), self.permits.shares.open(tenant));
        if open == 0 || now > waves.last + LATE {
            return false;
        }
        let is_here =
            !waves.is_served_elsewhere && waves.has_own_shards == self.has_own_shards(tenant);
        if is_here && self.is_served(tenant) {
            let name = self.tenants.name(tenant);
            let name = name.as_ref().map(|name| name.as_str());
            tracing::info!(
                tenant = name,
                connections = open,
                "the tenant is served again: those of its connections that are left stay open"
            );
            return false;
        }
        let left = waves.last.saturating_duration_since(now);
        let left = u32::try_from(left.as_millis() / WAVE.as_millis()).unwrap_or(u32::MAX);
        let shards = u32::try_from(waves.inboxes.len()).unwrap_or(u32::MAX);
        let count = open
            .div_ceil(left.saturating_add(1))
            .div_ceil(shards.max(1));
        // At the end whatever is left, however it is spread over the shards.
        let count = if left == 0 { u32::MAX } else { count };
        for inbox in &waves.inboxes {
            // A shard that has ended has no connections.
            let _ = inbox.send(Input::CloseTenant(TenantWave {
                tenant,
                count: usize::try_from(count).unwrap_or(usize::MAX),
                close: waves.close,
            }));
        }
        true
    }
}
