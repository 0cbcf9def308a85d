//! What this node counts for each tenant: for limits, metrics and bills.
//!
//! Shards count for themselves and add what they have at the end of a turn, so counting costs
//! nothing during delivery.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use ht_core::tally::Tally;
use ht_overload::Bucket;
use ht_proto::entry::TenantId;
use ht_proto::label::Label as _;

use crate::counters::{BootstrapOutcome, Labels, TenantLimit};

/// Tenants of one part of the table, which is made when one of them is counted.
const PART: usize = 1_024;

/// Parts of the table: more than there are numbers of tenants.
const PARTS: usize = 1_024;

type Part = Box<[OnceLock<Box<Meter>>]>;

/// The meters of all tenants. A meter is made when its tenant is first counted, and stays.
#[derive(Debug)]
pub(crate) struct Meters {
    parts: Box<[OnceLock<Part>]>,
    since: Instant,
}

/// What is counted for one tenant.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    connections: Mutex<Connections>,
    to_publish: Mutex<Bucket>,
    /// Messages of its clients, valid or not.
    pub(crate) messages: AtomicU64,
    /// Its publications that were placed in the order of this node.
    pub(crate) publications: AtomicU64,
    /// Its triggers that this node accepted over HTTP.
    pub(crate) triggers: AtomicU64,
    /// Publish frames written to sockets.
    pub(crate) deliveries: AtomicU64,
    /// Bytes of all frames for its clients.
    pub(crate) bytes_out: AtomicU64,
    /// Bytes of its publications that wait in shards.
    pub(crate) waiting: AtomicU64,
    /// Calls of its API for clients that connect, by outcome.
    pub(crate) bootstraps: Labels<BootstrapOutcome>,
    /// What was rejected because of a limit of the tenant.
    pub(crate) refusals: Labels<TenantLimit>,
}

/// What becomes of the records of usage, for metrics.
#[derive(Debug, Default)]
pub(crate) struct UsageCounts {
    /// Checkpoints that could not be written.
    pub(crate) write_failures: AtomicU64,
    /// Requests that the receiver did not accept.
    pub(crate) post_failures: AtomicU64,
    /// Complete files that were not accepted yet.
    pub(crate) unsent: AtomicU64,
}

/// The connections of a tenant over time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Connections {
    /// Those that are open.
    pub(crate) open: u64,
    /// The most at once, since the peak was last taken.
    pub(crate) peak: u64,
    /// Sum of the time that each was open, in ms, up to the time `at`.
    pub(crate) ms: u64,
    at: u64,
}

impl Connections {
    /// At the time `now`, in ms, some have been opened and some have ended.
    fn change(&mut self, opened: u64, closed: u64, now: u64) {
        self.ms += self.open * now.saturating_sub(self.at);
        self.at = now.max(self.at);
        self.open = (self.open + opened).saturating_sub(closed);
        self.peak = self.peak.max(self.open);
    }
}

impl Default for Meters {
    fn default() -> Self {
        Self {
            parts: (0..PARTS).map(|_| OnceLock::new()).collect(),
            since: Instant::now(),
        }
    }
}

impl Meters {
    /// The meter of a tenant.
    pub(crate) fn of(&self, tenant: TenantId) -> &Meter {
        // Numbers are bounded below the size of the table (`TENANTS_MAX`).
        let number = tenant.get() as usize % (PARTS * PART);
        let part =
            self.parts[number / PART].get_or_init(|| (0..PART).map(|_| OnceLock::new()).collect());
        part[number % PART].get_or_init(Box::default)
    }

    /// The tenants for whom something was counted, by their numbers.
    pub(crate) fn all(&self) -> impl Iterator<Item = (TenantId, &Meter)> {
        let parts = self.parts.iter().enumerate();
        let parts = parts.filter_map(|(at, part)| Some((at, part.get()?)));
        parts.flat_map(|(at, part)| {
            let meters = part.iter().enumerate();
            meters.filter_map(move |(index, meter)| {
                let number = u32::try_from(at * PART + index).ok()?;
                Some((TenantId::new(number), &**meter.get()?))
            })
        })
    }

    /// Adds what a shard has counted.
    pub(crate) fn add(&self, tenant: TenantId, tally: &Tally) {
        let meter = self.of(tenant);
        let counted = [
            (&meter.messages, tally.messages),
            (&meter.deliveries, tally.deliveries),
            (&meter.bytes_out, tally.bytes_out),
        ];
        for (sum, count) in counted {
            if count > 0 {
                sum.fetch_add(count, Ordering::Relaxed);
            }
        }
        if tally.opened + tally.closed > 0 {
            let now = self.now();
            meter.lock().change(tally.opened, tally.closed, now);
        }
    }

    /// The connections of a tenant up to now.
    pub(crate) fn connections(&self, meter: &Meter) -> Connections {
        let now = self.now();
        let mut connections = meter.lock();
        connections.change(0, 0, now);
        *connections
    }

    /// The same; the next peak begins with those that are open now.
    pub(crate) fn take_connections(&self, meter: &Meter) -> Connections {
        let now = self.now();
        let mut connections = meter.lock();
        connections.change(0, 0, now);
        let taken = *connections;
        connections.peak = connections.open;
        taken
    }

    /// Takes from the bucket of what a tenant may publish.
    ///
    /// # Errors
    /// With the time after which there is enough in it.
    pub(crate) fn take_to_publish(
        &self,
        tenant: TenantId,
        tokens: u64,
        per_second: u64,
    ) -> Result<(), Duration> {
        let mut bucket = self
            .of(tenant)
            .to_publish
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        bucket.take(tokens, per_second, self.since.elapsed())
    }

    /// Whether a tenant may publish anything at all now; takes nothing.
    ///
    /// # Errors
    /// With the time after which it may.
    pub(crate) fn check_to_publish(
        &self,
        tenant: TenantId,
        per_second: u64,
    ) -> Result<(), Duration> {
        let meter = self.of(tenant);
        let bucket = meter.to_publish.lock();
        let bucket = bucket.unwrap_or_else(PoisonError::into_inner);
        bucket.check(per_second, self.since.elapsed())
    }

    fn now(&self) -> u64 {
        u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

impl Meter {
    /// In one shard so many bytes of its publications wait, where others did before.
    pub(crate) fn waits(&self, before: usize, now: usize) {
        if now > before {
            self.waiting
                .fetch_add((now - before) as u64, Ordering::Relaxed);
        } else {
            self.waiting
                .fetch_sub((before - now) as u64, Ordering::Relaxed);
        }
    }

    /// Calls of its API about clients, without those that were held back.
    pub(crate) fn bootstrap_calls(&self) -> u64 {
        let all = BootstrapOutcome::ALL.iter().zip(self.bootstraps.all());
        let made = all.filter(|(outcome, _)| outcome.is_call());
        made.map(|(_, count)| count).sum()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Connections> {
        self.connections
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_are_counted_over_time() {
        let mut connections = Connections::default();
        for (opened, closed, now, expected) in [
            (2, 0, 1_000, (2, 2, 0)),
            (0, 0, 2_500, (2, 2, 3_000)),
            // Those that reconnect at one moment are no peak.
            (5, 6, 3_500, (1, 2, 5_000)),
            (0, 1, 3_500, (0, 2, 5_000)),
            (0, 0, 9_000, (0, 2, 5_000)),
            (3, 0, 9_000, (3, 3, 5_000)),
            // Of another thread, which read the clock before.
            (1, 0, 8_990, (4, 4, 5_000)),
            (0, 0, 9_010, (4, 4, 5_040)),
        ] {
            connections.change(opened, closed, now);
            let Connections { open, peak, ms, .. } = connections;
            assert_eq!((open, peak, ms), expected, "at {now}");
        }
    }

    #[test]
    fn each_tenant_has_its_own_meter_and_idle_ones_have_none() {
        let meters = Meters::default();
        let tenants = [0, 1, 1_023, 1_024, 999_999].map(TenantId::new);
        for tenant in tenants {
            let tally = Tally {
                opened: 2,
                deliveries: u64::from(tenant.get()) + 1,
                ..Tally::default()
            };
            meters.add(tenant, &tally);
            meters.add(
                tenant,
                &Tally {
                    closed: 1,
                    ..Tally::default()
                },
            );
        }
        let all: Vec<_> = meters.all().collect();
        assert_eq!(
            all.iter().map(|(tenant, _)| *tenant).collect::<Vec<_>>(),
            tenants
        );
        for (tenant, meter) in all {
            let deliveries = meter.deliveries.load(Ordering::Relaxed);
            assert_eq!(deliveries, u64::from(tenant.get()) + 1);
            let connections = meters.take_connections(meter);
            assert_eq!((connections.open, connections.peak), (1, 2));
            assert_eq!(meters.take_connections(meter).peak, 1);
        }
    }
}
