//! The tenants of a running gateway: the files or the registry that they come from, and the requests
//! that change them.

mod admin;
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
use ht_node::administration::{Freshness, TenantAnswer, TenantRequest};
use ht_node::config::TenantConfig;
use ht_node::directory::{Changes, Conflict};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};
use tracing::{error, info};

use crate::config::{Mistakes, Tenancy, TenantSource};
use crate::tenants::admin::{Admin, Ask};
use crate::tenants::files::Files;
use crate::tenants::registry_client::Registry;

/// Keeps the tenants of a gateway as their source has them.
pub(crate) struct Keeper {
    source: Source,
    interval: Duration,
    /// When the source is looked at next.
    due: Instant,
    requests: mpsc::Receiver<Ask>,
    /// Answers nobody yet: whoever is to answer requests takes it.
    admin: Option<Admin>,
    freshness: Freshness,
}

/// What there is to do.
pub(crate) enum Turn {
    /// To look at the source.
    Look,
    /// To answer a request.
    Answer(Ask),
}

enum Source {
    None,
    Files(Box<Files>),
    Registry(Box<Registry>),
}

impl Apply for Gateway {
    fn apply(&self, tenants: Vec<TenantConfig>) -> Result<Changes<TenantConfig>, Vec<Conflict>> {
        self.set_tenants(tenants)
    }
}

/// Puts tenants in force.
pub(crate) trait Apply {
    /// Puts them in force, all or none.
    fn apply(&self, tenants: Vec<TenantConfig>) -> Result<Changes<TenantConfig>, Vec<Conflict>>;
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
        let (admin, requests) = Admin::new();
        Ok(Self {
            source,
            interval,
            due: after(interval),
            requests,
            admin: Some(admin),
            freshness: Freshness::default(),
        })
    }

    /// Answers the requests of this gateway from now on, if there are tenants.
    pub(crate) fn serve(&mut self, gateway: &Gateway) {
        if let (false, Some(admin)) = (matches!(self.source, Source::None), self.admin.take()) {
            gateway.administer_tenants(Arc::new(admin));
        }
        let (was, now) = (self.freshness.clone(), gateway.freshness_of_tenants());
        was.hand_over(&now);
        self.freshness = now;
    }

    /// The tenants of a registry at the start: what it answers, or its last good list. `None` for
    /// other sources, whose tenants were read with the configuration.
    pub(crate) async fn first(&mut self) -> Option<Vec<TenantConfig>> {
        match &mut self.source {
            Source::None | Source::Files(_) => None,
            Source::Registry(registry) => Some(registry.first(&self.freshness).await),
        }
    }

    /// Waits until there is something to do. May be dropped and called again.
    pub(crate) async fn next(&mut self) -> Turn {
        if matches!(self.source, Source::None) {
            return pending().await;
        }
        tokio::select! {
            Some(ask) = self.requests.recv() => Turn::Answer(ask),
            () = sleep_until(self.due) => Turn::Look,
        }
    }

    /// Does it.
    pub(crate) async fn take(&mut self, turn: Turn, gateway: &impl Apply) {
        match turn {
            Turn::Look => self.look(gateway).await,
            Turn::Answer((request, reply)) => {
                let answer = self.answer(request, gateway).await;
                // Whoever asked may have gone.
                let _ = reply.send(answer);
            }
        }
    }

    async fn answer(&mut self, request: TenantRequest, gateway: &impl Apply) -> TenantAnswer {
        match &mut self.source {
            Source::None => admin::elsewhere("This gateway has no tenants."),
            Source::Files(files) => files.answer(request, gateway, &self.freshness).await,
            Source::Registry(registry) => registry.answer(request),
        }
    }

    /// Looks at the source, and puts in force what has changed there.
    async fn look(&mut self, gateway: &impl Apply) {
        match &mut self.source {
            Source::None => {}
            Source::Files(files) => files.look(gateway, &self.freshness).await,
            Source::Registry(registry) => registry.look(gateway, &self.freshness).await,
        }
        self.due = after(self.interval);
    }

    /// The same now, whether or not something has changed: the settings were read again, and are
    /// these.
    pub(crate) async fn reload(&mut self, new: &Tenancy, gateway: &impl Apply) {
        match &mut self.source {
            Source::None => {}
            Source::Files(files) => {
                let tables = Arc::clone(&new.tables);
                files.reload(tables, gateway, &self.freshness).await;
            }
            Source::Registry(registry) => registry.look(gateway, &self.freshness).await,
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
