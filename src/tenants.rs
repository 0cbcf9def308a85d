//! The tenants of a running gateway: the files or the registry that they come from, and the requests
//! that change them.

mod copy;
pub(crate) mod disk;
mod files;
pub(crate) mod folder;
mod registry;
mod registry_client;

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use ht_node::Gateway;
use ht_node::config::TenantConfig;
use ht_node::directory::{Changes, Conflict};
use tokio::time::{Instant, sleep_until};
use tracing::{error, info};

use crate::config::{Mistakes, Tenancy, TenantSource};
use crate::tenants::files::Files;
use crate::tenants::registry_client::Registry;

/// Keeps the tenants of a gateway as their source has them.
pub(crate) struct Keeper {
    source: Source,
    interval: Duration,
    /// When the source is looked at next.
    due: Instant,
}

enum Source {
    None,
    Files(Box<Files>),
    Registry(Box<Registry>),
}

/// Puts tenants in force.
pub(crate) trait Apply {
    /// Puts them in force, all or none.
    fn apply(&self, tenants: Vec<TenantConfig>) -> Result<Changes<TenantConfig>, Vec<Conflict>>;
}

impl Apply for Gateway {
    fn apply(&self, tenants: Vec<TenantConfig>) -> Result<Changes<TenantConfig>, Vec<Conflict>> {
        self.set_tenants(tenants)
    }
}

impl Keeper {
    /// That of a process whose tenants come from there. `had_some`: files had tenants at the start.
    ///
    /// # Errors
    /// If the connections to the registry cannot be set up.
    pub(crate) fn new(tenancy: &Tenancy, had_some: bool) -> anyhow::Result<Self> {
        let (source, interval) = match &tenancy.source {
            TenantSource::None => (Source::None, Duration::MAX),
            TenantSource::File { interval, .. } => (
                Source::Files(Box::new(Files::new(tenancy, had_some))),
                *interval,
            ),
            TenantSource::Http { interval, .. } => (
                Source::Registry(Box::new(Registry::new(tenancy)?)),
                *interval,
            ),
        };
        Ok(Self {
            source,
            interval,
            due: after(interval),
        })
    }

    /// The tenants of a registry at the start: what it answers, or its last good list. `None` for
    /// other sources, whose tenants were read with the configuration.
    pub(crate) async fn first(&mut self) -> Option<Vec<TenantConfig>> {
        match &mut self.source {
            Source::None | Source::Files(_) => None,
            Source::Registry(registry) => Some(registry.first().await),
        }
    }

    /// Waits until the source is to be looked at. May be dropped and called again.
    pub(crate) async fn due(&self) {
        match self.source {
            Source::None => pending().await,
            Source::Files(_) | Source::Registry(_) => sleep_until(self.due).await,
        }
    }

    /// Looks at the source, and puts in force what has changed there.
    pub(crate) async fn look(&mut self, gateway: &impl Apply) {
        match &mut self.source {
            Source::None => {}
            Source::Files(files) => files.look(gateway).await,
            Source::Registry(registry) => registry.look(gateway).await,
        }
        self.due = after(self.interval);
    }

    /// The same now, whether or not something has changed: the settings were read again, and are
    /// these.
    pub(crate) async fn reload(&mut self, new: &Tenancy, gateway: &impl Apply) {
        match &mut self.source {
            Source::None => {}
            Source::Files(files) => files.reload(Arc::clone(&new.tables), gateway).await,
            Source::Registry(registry) => registry.look(gateway).await,
        }
        self.due = after(self.interval);
    }
}

/// The moment when an interval that begins now is over. That of a source which is never looked at has
/// no end.
fn after(interval: Duration) -> Instant {
    Instant::now() + interval.min(Duration::from_secs(3_600))
}

/// Puts tenants in force and logs what has changed. False if they contradict each other.
fn put(gateway: &impl Apply, tenants: Vec<TenantConfig>) -> bool {
    match gateway.apply(tenants) {
        Ok(changes) => {
            report(&changes);
            true
        }
        Err(conflicts) => {
            for conflict in conflicts {
                error!("tenants not changed: {conflict}");
            }
            false
        }
    }
}

/// Tenants of one kind of change that are named in the log.
const NAMED: usize = 20;

fn report(changes: &Changes<TenantConfig>) {
    if changes.is_empty() {
        return;
    }
    let names = |tenants: &[Arc<TenantConfig>]| {
        let mut names: Vec<_> = tenants
            .iter()
            .take(NAMED)
            .map(|it| it.name.to_string())
            .collect();
        if tenants.len() > NAMED {
            names.push(format!("and {} more", tenants.len() - NAMED));
        }
        names.join(", ")
    };
    info!(
        added = names(&changes.added),
        changed = names(&changes.changed),
        removed = names(&changes.removed),
        suspended = names(&changes.suspended),
        "tenants changed, in effect now"
    );
}

/// Logs the mistakes of tenants, of which nothing is put in force.
fn refuse(mistakes: &Mistakes) {
    for mistake in mistakes.lines() {
        error!("{mistake}");
    }
    error!("tenants not changed: see the mistakes above");
}

#[cfg(test)]
mod tests;
