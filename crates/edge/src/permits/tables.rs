//! The tables of permits, each behind its lock.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ht_overload::{Bounds, Client, Crowded, Share, Slot};
use ht_proto::entry::TenantId;
use ht_proto::tenant::Scoped;

/// Permits by address.
#[derive(Debug, Default)]
pub struct Addresses(Mutex<ht_overload::Addresses>);

impl Addresses {
    /// Takes a permit for a client from this address at this time; also returns how many
    /// connections the address then has. Limits do not apply to clients of which only the proxy is
    /// known.
    ///
    /// # Errors
    /// If the address has reached its limit of connections or its rate limit.
    pub fn take(
        &self,
        client: Client,
        bounds: Bounds,
        now: Duration,
    ) -> Result<(Slot, u32), Crowded> {
        lock(&self.0).take(client, bounds, now)
    }

    /// Releases a permit.
    pub fn give_back(&self, slot: Slot, now: Duration) {
        lock(&self.0).give_back(slot, now);
    }

    /// Adds to the bytes that the connections of an address hold; returns the sum, zero if only the
    /// proxy is known: limits do not apply to those.
    pub fn hold(&self, slot: Slot, bytes: usize) -> usize {
        lock(&self.0).hold(slot, bytes)
    }

    /// Subtracts from them; returns the rest.
    pub fn release(&self, slot: Slot, bytes: usize) -> usize {
        lock(&self.0).release(slot, bytes)
    }

    /// The address of an entry, for logs.
    pub fn name(&self, slot: Slot) -> Option<String> {
        lock(&self.0).name(slot)
    }
}

/// Permits by user of a tenant.
#[derive(Debug, Default)]
pub struct Users(Mutex<UsersByTenant>);

/// The users of `main`, and of each other tenant that has one with a connection.
#[derive(Debug, Default)]
struct UsersByTenant {
    main: ht_overload::Users,
    others: HashMap<TenantId, ht_overload::Users>,
}

impl UsersByTenant {
    fn of(&mut self, tenant: TenantId) -> &mut ht_overload::Users {
        match tenant {
            TenantId::MAIN => &mut self.main,
            other => self.others.entry(other).or_default(),
        }
    }
}

impl Users {
    /// Takes one of at most `limit` permits; 0 is no limit. All connections of a user share its id.
    pub fn take(&self, user: Scoped<&str>, limit: usize) -> Option<Arc<str>> {
        lock(&self.0).of(user.tenant).take(user.value, limit)
    }

    /// Releases a permit.
    pub fn give_back(&self, user: Scoped<&Arc<str>>) {
        let mut users = lock(&self.0);
        let own = users.of(user.tenant);
        own.give_back(user.value);
        if own.is_empty() {
            users.others.remove(&user.tenant);
        }
    }

    /// Adds to the bytes that the connections of a user hold; returns the sum.
    pub fn hold(&self, user: Scoped<&str>, bytes: usize) -> usize {
        lock(&self.0).of(user.tenant).hold(user.value, bytes)
    }

    /// Subtracts from them.
    pub fn release(&self, user: Scoped<&str>, bytes: usize) {
        lock(&self.0).of(user.tenant).release(user.value, bytes);
    }
}

/// Permits by tenant.
#[derive(Debug, Default)]
pub struct Shares(Mutex<HashMap<TenantId, Share>>);

impl Shares {
    /// Takes a permit for a connection of a tenant at this time.
    ///
    /// # Errors
    /// If the tenant has reached its limit of connections or its rate limit.
    pub fn take(&self, tenant: TenantId, bounds: Bounds, now: Duration) -> Result<(), Crowded> {
        lock(&self.0).entry(tenant).or_default().take(bounds, now)
    }

    /// Releases a permit.
    pub fn give_back(&self, tenant: TenantId, now: Duration) {
        let mut shares = lock(&self.0);
        let Some(share) = shares.get_mut(&tenant) else {
            debug_assert!(false, "a permit is released once");
            return;
        };
        share.give_back();
        if share.is_idle(now) {
            shares.remove(&tenant);
        }
    }

    /// Those of all tenants together.
    pub fn all(&self) -> u64 {
        let shares = lock(&self.0);
        shares.values().map(|share| u64::from(share.open())).sum()
    }

    /// Connections and handshakes of a tenant.
    pub fn open(&self, tenant: TenantId) -> u32 {
        lock(&self.0).get(&tenant).map_or(0, Share::open)
    }
}

fn lock<T>(table: &Mutex<T>) -> MutexGuard<'_, T> {
    table.lock().unwrap_or_else(PoisonError::into_inner)
}
