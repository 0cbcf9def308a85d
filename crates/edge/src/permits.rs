//! RAII permits against the limits of connections: of the node, of an address, of a user. Each is
//! released on drop, unless it is kept: then [`Permits::release`] releases it.

mod tables;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

pub use ht_overload::{Bounds, Crowded, Slot};
use ht_proto::entry::TenantId;
use ht_proto::tenant::Scoped;

use crate::address::Client;
pub use crate::permits::tables::{Addresses, Shares, Users};

/// The connections of a node, by the limits that apply to them.
#[derive(Debug)]
pub struct Permits {
    /// Open connections and handshakes.
    connections: AtomicU64,
    /// The same connections, by address.
    open: Addresses,
    /// Connections before the upgrade, by address.
    unfinished: Addresses,
    /// Handshakes in progress, by address.
    handshakes: Addresses,
    /// Connections by user.
    pub users: Users,
    /// Connections of tenants other than `main`, whose limits are those of the node.
    pub shares: Shares,
    /// Handshakes in progress, by tenant.
    handshaking: Shares,
    since: Instant,
}

impl Default for Permits {
    fn default() -> Self {
        Self {
            connections: AtomicU64::new(0),
            open: Addresses::default(),
            unfinished: Addresses::default(),
            handshakes: Addresses::default(),
            users: Users::default(),
            shares: Shares::default(),
            handshaking: Shares::default(),
            since: Instant::now(),
        }
    }
}

impl Permits {
    fn age(&self) -> Duration {
        self.since.elapsed()
    }

    /// What is counted by address.
    pub fn addresses(&self, stage: Stage) -> &Addresses {
        match stage {
            Stage::Unfinished => &self.unfinished,
            Stage::Handshake => &self.handshakes,
            Stage::Open => &self.open,
        }
    }

    /// Releases the permits that a connection of a tenant kept.
    pub fn release(&self, tenant: TenantId, address: Slot, user: Option<&Arc<str>>) {
        if let Some(user) = user {
            self.users.give_back(tenant.scope(user));
        }
        self.give_back_share(tenant);
        self.open.give_back(address, self.age());
        self.connections.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Permits {
    fn give_back_share(&self, tenant: TenantId) {
        if tenant != TenantId::MAIN {
            self.shares.give_back(tenant, self.age());
        }
    }
}

/// A permit for a connection, with those of its address, its tenant and its user.
pub struct ConnectionPermit {
    permits: Arc<Permits>,
    tenant: TenantId,
    address: AddressPermit,
    /// Set once the backend has identified the client.
    pub user: Option<UserPermit>,
    kept: bool,
}

impl ConnectionPermit {
    /// Takes one of at most `limit`; 0 is no limit.
    pub fn take(permits: &Arc<Permits>, limit: usize, address: AddressPermit) -> Option<Self> {
        let permit = Self {
            permits: Arc::clone(permits),
            tenant: TenantId::MAIN,
            address,
            user: None,
            kept: false,
        };
        let taken = permits.connections.fetch_add(1, Ordering::AcqRel);
        // Dropped if it is one too many.
        (limit == 0 || taken < limit as u64).then_some(permit)
    }

    /// Takes a permit among the connections of a tenant as well. It has those of `main` already.
    ///
    /// # Errors
    /// If the tenant has reached its limit of connections or its rate limit.
    pub fn of_tenant(mut self, tenant: TenantId, bounds: Bounds) -> Result<Self, Crowded> {
        if tenant != TenantId::MAIN {
            let permits = &self.permits;
            permits.shares.take(tenant, bounds, permits.age())?;
            self.tenant = tenant;
        }
        Ok(self)
    }

    /// Leaves the release to [`Permits::release`], with the slot of its address.
    pub fn keep(mut self) -> Slot {
        self.kept = true;
        if let Some(user) = &mut self.user {
            user.keep();
        }
        self.address.keep()
    }
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        if !self.kept {
            self.permits.give_back_share(self.tenant);
            self.permits.connections.fetch_sub(1, Ordering::AcqRel);
        }
    }
}

/// A permit for a handshake in progress of one tenant.
pub struct TenantPermit {
    permits: Arc<Permits>,
    tenant: TenantId,
}

impl TenantPermit {
    /// Takes one of at most `limit`; 0 is no limit.
    pub fn take(permits: &Arc<Permits>, tenant: TenantId, limit: usize) -> Option<Self> {
        let bounds = Bounds {
            open: limit,
            per_second: 0,
        };
        let taken = permits.handshaking.take(tenant, bounds, permits.age());
        let permits = Arc::clone(permits);
        taken.ok().map(|()| Self { permits, tenant })
    }
}

impl Drop for TenantPermit {
    fn drop(&mut self) {
        let permits = &self.permits;
        permits.handshaking.give_back(self.tenant, permits.age());
    }
}

/// A permit for a connection of one address.
pub struct AddressPermit {
    permits: Arc<Permits>,
    stage: Stage,
    slot: Slot,
}

/// The scopes that are counted by address, each separately.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Connections that are not websockets yet, by the peer that opened them.
    Unfinished,
    /// Handshakes in progress, by the client's address.
    Handshake,
    /// Websockets and handshakes, by the client's address.
    Open,
}

impl AddressPermit {
    /// Takes one; also returns how many the address then has.
    ///
    /// # Errors
    /// If the address has reached its limit of connections or its rate limit.
    pub fn take(
        permits: &Arc<Permits>,
        stage: Stage,
        client: Client,
        bounds: Bounds,
    ) -> Result<(Self, u32), Crowded> {
        let (slot, open) = permits
            .addresses(stage)
            .take(client, bounds, permits.age())?;
        let permits = Arc::clone(permits);
        let permit = Self {
            permits,
            stage,
            slot,
        };
        Ok((permit, open))
    }

    /// Adds to the bytes that the connections of the address hold; returns the sum, zero if only
    /// the proxy is known.
    pub fn hold(&self, bytes: usize) -> usize {
        self.permits.addresses(self.stage).hold(self.slot, bytes)
    }

    /// Subtracts from it.
    pub fn release(&self, bytes: usize) {
        self.permits.addresses(self.stage).release(self.slot, bytes);
    }

    /// Leaves the release to [`Permits::release`].
    fn keep(&mut self) -> Slot {
        debug_assert_eq!(self.stage, Stage::Open, "only websockets keep one");
        std::mem::replace(&mut self.slot, Slot::NONE)
    }
}

impl Drop for AddressPermit {
    fn drop(&mut self) {
        let addresses = self.permits.addresses(self.stage);
        addresses.give_back(self.slot, self.permits.age());
    }
}

/// A permit for a connection of one user.
pub struct UserPermit {
    permits: Arc<Permits>,
    tenant: TenantId,
    user: Option<Arc<str>>,
}

impl UserPermit {
    /// Takes one of at most `limit`; 0 is no limit.
    pub fn take(permits: &Arc<Permits>, user: Scoped<&str>, limit: usize) -> Option<Self> {
        let tenant = user.tenant;
        let user = Some(permits.users.take(user, limit)?);
        let permits = Arc::clone(permits);
        Some(Self {
            permits,
            tenant,
            user,
        })
    }

    /// Its user's id.
    pub fn user(&self) -> Option<Arc<str>> {
        self.user.clone()
    }

    /// Leaves the release to [`Permits::release`].
    fn keep(&mut self) {
        self.user = None;
    }
}

impl Drop for UserPermit {
    fn drop(&mut self) {
        if let Some(user) = &self.user {
            self.permits.users.give_back(self.tenant.scope(user));
        }
    }
}
