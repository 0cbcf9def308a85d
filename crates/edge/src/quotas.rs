//! Admission limits: how many clients are admitted, and how often. Hands out the permits that a
//! handshake needs.

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ht_proto::entry::TenantId;
use ht_telemetry::throttle::Throttles;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::address::{Arrival, Client, Peer, TrustedProxies};
use crate::config::QuotaLimits;
use crate::permits::{
    AddressPermit, Bounds, ConnectionPermit, Crowded, Permits, Stage, TenantPermit,
};
use crate::rejection::{HandshakeError, Rejection};
use crate::request::RequestFacts;

/// Connections of one address, each with proxy headers, that make it look like a proxy.
const LIKE_A_PROXY: u32 = 8;

/// Connections through one proxy that does not report clients' addresses, before that is logged.
const MANY_UNSAID: u32 = 100;

/// What a client occupies while its handshake is in progress, and beyond. Released on drop.
pub struct HandshakePermits {
    /// Permits for the handshake.
    pub handshake: HandshakePermit,
    /// Permit for the pending connection.
    pub connection: ConnectionPermit,
}

/// The tenant of a client, and its share of the node; that of `main` is the whole.
#[derive(Clone, Copy, Debug)]
pub struct TenantShare<'a> {
    /// Its number.
    pub tenant: TenantId,
    /// Its name, for the log.
    pub name: &'a str,
    /// Its connections, and its rate of handshakes.
    pub bounds: Bounds,
    /// There are others, for which it leaves half of the handshakes in progress: its API may hang.
    pub has_others: bool,
}

/// Permits among all handshakes in progress, among those of the client's address and, where there are
/// several tenants, among those of its tenant.
pub struct HandshakePermit {
    _all: OwnedSemaphorePermit,
    _address: AddressPermit,
    _tenant: Option<TenantPermit>,
}

/// State of the node that decides together with the limits.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// Open connections, for the log.
    pub open: u64,
    /// Memory is short: no client is admitted.
    pub memory_is_short: bool,
}

/// Hands out permits for handshakes, against limits that may change meanwhile.
pub struct Quotas {
    permits: Arc<Permits>,
    handshakes: Arc<Semaphore>,
    throttles: Arc<Throttles>,
    /// An address looked like an untrusted proxy, which is logged once.
    untrusted_noted: AtomicBool,
    /// A trusted proxy did not report the client's address, which is logged once.
    unsaid_noted: AtomicBool,
}

impl Quotas {
    /// With at most `handshakes` in progress.
    #[must_use]
    pub fn new(permits: Arc<Permits>, handshakes: usize, throttles: Arc<Throttles>) -> Self {
        Self {
            permits,
            handshakes: Arc::new(Semaphore::new(handshakes)),
            throttles,
            untrusted_noted: AtomicBool::new(false),
            unsaid_noted: AtomicBool::new(false),
        }
    }

    /// Takes a permit for a connection that is not a websocket yet, by the address that opened it,
    /// or that a trusted balancer reported by the PROXY protocol. No address can take them all: one
    /// has a quarter at most. This limit does not apply to a trusted proxy's own connections; an
    /// address in its network that it reported has three quarters, as it may be a proxy itself.
    ///
    /// # Errors
    /// If the address has reached its share, which is logged.
    pub fn admit_connection(
        &self,
        arrival: Arrival,
        limits: &QuotaLimits,
        trusted: &TrustedProxies,
    ) -> Result<Option<AddressPermit>, HandshakeError> {
        let Peer::Ip(address) = arrival.peer else {
            return Ok(None);
        };
        let all = limits.unfinished;
        let open = match trusted.trust(arrival.peer) {
            false => all / 4,
            true if arrival.told => all - all / 4,
            true => return Ok(None),
        };
        let bounds = Bounds {
            open: open.max(1),
            per_second: 0,
        };
        let client = Client::At(address);
        let permit = AddressPermit::take(&self.permits, Stage::Unfinished, client, bounds);
        permit.map(|(permit, _)| Some(permit)).map_err(|_| {
            let reason = HandshakeError::UnfinishedPerAddress;
            if let Some(suppressed) = self.throttles.allow(reason.as_str()) {
                tracing::warn!(
                    %address,
                    open,
                    suppressed,
                    "one address has a quarter of all connections that are not websockets yet: \
                     closing further ones"
                );
            }
            reason
        })
    }

    /// Takes permits for the client's address, for a handshake and for the pending connection, the
    /// last of them among those of its tenant.
    ///
    /// # Errors
    /// If a limit is reached, which is logged.
    pub fn admit_handshake(
        &self,
        facts: &RequestFacts,
        limits: &QuotaLimits,
        load: Load,
        share: &TenantShare<'_>,
    ) -> Result<HandshakePermits, Rejection> {
        let client = facts.client;
        let bounds = Bounds {
            open: limits.connections_per_address,
            per_second: limits.handshakes_per_second,
        };
        let (address, open) = AddressPermit::take(&self.permits, Stage::Open, client, bounds)
            .map_err(|crowded| self.refuse_address(client, crowded))?;
        self.warn_of_proxies(facts, open);
        if load.memory_is_short {
            // This is logged already.
            let sentence = "This node is short of memory. Retry later.";
            return Err(Rejection::unavailable(HandshakeError::Memory, sentence));
        }
        // One address leaves half of the handshakes to others, also behind a proxy.
        let half = Bounds {
            open: (limits.handshakes / 2).max(1),
            per_second: 0,
        };
        let (of_address, _) = AddressPermit::take(&self.permits, Stage::Handshake, client, half)
            .map_err(|_| self.refuse_handshakes_of(client))?;
        let of_tenant = self.admit_handshake_of(share, half.open)?;
        let Ok(all) = Arc::clone(&self.handshakes).try_acquire_owned() else {
            return Err(self.refuse_all(HandshakeError::Handshakes, load.open));
        };
        let handshake = HandshakePermit {
            _all: all,
            _address: of_address,
            _tenant: of_tenant,
        };
        let connection = ConnectionPermit::take(&self.permits, limits.connections, address)
            .ok_or_else(|| self.refuse_all(HandshakeError::Connections, load.open))?
            .of_tenant(share.tenant, share.bounds)
            .map_err(|crowded| self.refuse_tenant(share.name, crowded))?;
        Ok(HandshakePermits {
            handshake,
            connection,
        })
    }

    /// A permit for a handshake in progress of a tenant that leaves some to others.
    fn admit_handshake_of(
        &self,
        share: &TenantShare<'_>,
        most: usize,
    ) -> Result<Option<TenantPermit>, Rejection> {
        if !share.has_others {
            return Ok(None);
        }
        let permit = TenantPermit::take(&self.permits, share.tenant, most);
        permit.map(Some).ok_or_else(|| {
            if let Some(suppressed) = self.throttles.allow("tenant-handshakes") {
                tracing::warn!(
                    tenant = share.name,
                    suppressed,
                    "one tenant has half of limits.handshakes in progress: rejecting further clients \
                     of it. Its API answers too slowly"
                );
            }
            let sentence = "This site admits clients too slowly. Retry later.";
            Rejection::unavailable(HandshakeError::Handshakes, sentence)
        })
    }

    /// Logs once what an operator has probably forgotten to configure.
    fn warn_of_proxies(&self, facts: &RequestFacts, open: u32) {
        let first = |noted: &AtomicBool| !noted.swap(true, Ordering::Relaxed);
        match facts.client {
            Client::At(address)
                if facts.dropped && open >= LIKE_A_PROXY && first(&self.untrusted_noted) =>
            {
                tracing::warn!(
                    %address,
                    open,
                    "this looks like a proxy that is not in trusted_proxies: what it says of its \
                     visitors' addresses is dropped, and for the API and the limits they are all \
                     one. If it is yours, add its address to trusted_proxies"
                );
            }
            Client::Behind(proxy) if open >= MANY_UNSAID && first(&self.unsaid_noted) => {
                tracing::warn!(
                    %proxy,
                    open,
                    "a trusted proxy does not say for whom it asks: limits.connections_per_address \
                     and limits.handshakes_per_second do not hold for its visitors. Have it send \
                     X-Real-IP (nginx: proxy_set_header X-Real-IP $remote_addr;), or set \
                     x_forwarded_for or proxy_protocol. If it is no proxy, take its network out of \
                     trusted_proxies"
                );
            }
            Client::At(_) | Client::Behind(_) => {}
        }
    }

    /// For an address that has reached its connection limit or its rate limit.
    fn refuse_address(&self, client: Client, crowded: Crowded) -> Rejection {
        let (reason, setting, sentence, again) = match crowded {
            Crowded::Open => (
                HandshakeError::ConnectionsPerAddress,
                "connections_per_address",
                "Your address has too many connections. Retry later.",
                None,
            ),
            Crowded::Rate { again } => (
                HandshakeError::HandshakesPerSecond,
                "handshakes_per_second",
                "Your address connects too often. Retry later.",
                Some(again),
            ),
        };
        if let Some(suppressed) = self.throttles.allow(reason.as_str()) {
            tracing::warn!(
                address = %client,
                suppressed,
                "limits.{setting} is reached: rejecting clients from this address"
            );
        }
        Rejection::too_many(reason, sentence, again)
    }

    /// For a client of a tenant that has reached its connection limit or its rate limit.
    fn refuse_tenant(&self, tenant: &str, crowded: Crowded) -> Rejection {
        let (reason, setting, line) = match crowded {
            Crowded::Open => (
                HandshakeError::Connections,
                "connections",
                "tenant-connections",
            ),
            Crowded::Rate { .. } => (
                HandshakeError::HandshakesPerSecond,
                "handshakes_per_second",
                "tenant-handshakes-per-second",
            ),
        };
        if let Some(suppressed) = self.throttles.allow(line) {
            tracing::warn!(
                tenant,
                suppressed,
                "the limit {setting} of a tenant is reached: rejecting its clients. Raise it under \
                 `limits` of the tenant"
            );
        }
        match crowded {
            Crowded::Open => {
                let sentence = "This site has as many connections as it may have. Retry later.";
                Rejection::unavailable(reason, sentence).of_tenant()
            }
            Crowded::Rate { again } => {
                let sentence = "Too many clients of this site connect at once. Retry later.";
                Rejection::too_many(reason, sentence, Some(again)).of_tenant()
            }
        }
    }

    /// For an address that has half of all handshakes in progress.
    fn refuse_handshakes_of(&self, client: Client) -> Rejection {
        let reason = HandshakeError::HandshakesPerAddress;
        if let Some(suppressed) = self.throttles.allow(reason.as_str()) {
            tracing::warn!(
                address = %client,
                suppressed,
                "one address has half of limits.handshakes in progress: rejecting further clients from it"
            );
        }
        let sentence = "Your address has too many handshakes in progress. Retry later.";
        Rejection::too_many(reason, sentence, None)
    }

    /// For any client while a limit of the node is reached.
    fn refuse_all(&self, reason: HandshakeError, open: u64) -> Rejection {
        let limit = reason.as_str();
        if let Some(suppressed) = self.throttles.allow(limit) {
            tracing::warn!(
                open,
                suppressed,
                "limits.{limit} is reached: rejecting clients"
            );
        }
        let sentence = format!("This node has reached limits.{limit}. Retry later.");
        Rejection::unavailable(reason, sentence)
    }
}
