//! The tables of permits, each behind its lock.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ht_overload::{Bounds, Client, Crowded, Slot};

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

/// Permits by user.
#[derive(Debug, Default)]
pub struct Users(Mutex<ht_overload::Users>);

impl Users {
    /// Takes one of at most `limit` permits; 0 is no limit. All connections of a user share its id.
    pub fn take(&self, user: &str, limit: usize) -> Option<Arc<str>> {
        lock(&self.0).take(user, limit)
    }

    /// Releases a permit.
    pub fn give_back(&self, user: &Arc<str>) {
        lock(&self.0).give_back(user);
    }

    /// Adds to the bytes that the connections of a user hold; returns the sum.
    pub fn hold(&self, user: &str, bytes: usize) -> usize {
        lock(&self.0).hold(user, bytes)
    }

    /// Subtracts from them.
    pub fn release(&self, user: &str, bytes: usize) {
        lock(&self.0).release(user, bytes);
    }
}

fn lock<T>(table: &Mutex<T>) -> MutexGuard<'_, T> {
    table.lock().unwrap_or_else(PoisonError::into_inner)
}
