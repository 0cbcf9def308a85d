//! The tenants of a running gateway: the files or the registry that they come from, and the requests
//! that change them.

mod admin;
mod copy;
pub(crate) mod disk;
mod files;
pub(crate) mod folder;
mod last_good;
mod registry;
mod registry_client;

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use ht_node::Gateway;
use ht_node::administration::{Freshness, TenantAnswer, TenantRequest};
use ht_node::config::{TenantConfig, TenantName};
use ht_node::directory::{Changes, Conflict};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};
use tracing::{error, info, warn};

use crate::config::{Config, Mistakes, Survey, Tenancy, TenantSource};
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

    fn in_force(&self) -> Vec<Arc<TenantConfig>> {
        self.tenants()
    }
}

/// Puts tenants in force.
pub(crate) trait Apply {
    /// Puts them in force, all or none.
    fn apply(&self, tenants: Vec<TenantConfig>) -> Result<Changes<TenantConfig>, Vec<Conflict>>;

    /// Those in force.
    fn in_force(&self) -> Vec<Arc<TenantConfig>>;
}

/// Result of a look at the source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The tenants are as before.
    Unchanged,
    /// Others are in force.
    Changed,
    /// What the source has cannot be put in force.
    Refused,
}

impl Keeper {
    /// That of a process whose tenants come from there.
    ///
    /// # Errors
    /// If the connections to the registry cannot be set up.
    pub(crate) fn new(tenancy: &Tenancy) -> anyhow::Result<Self> {
        let (source, interval) = match &tenancy.source {
            TenantSource::None => (Source::None, Duration::MAX),
            TenantSource::File { interval, .. } => {
                (Source::Files(Box::new(Files::new(tenancy))), *interval)
            }
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

    /// The tenants at the start, of which the files say this: those of the source, or of the last good
    /// list.
    ///
    /// # Errors
    /// With the mistakes, if the files are not there at all.
    pub(crate) async fn first(&mut self, survey: &Survey) -> Result<Vec<TenantConfig>, Mistakes> {
        match &mut self.source {
            Source::None => Ok(Vec::new()),
            Source::Files(files) => files.first(survey, &self.freshness),
            Source::Registry(registry) => Ok(registry.first(&self.freshness).await),
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
            Source::Registry(registry) => {
                registry.look(gateway, &self.freshness).await;
            }
        }
        self.due = after(self.interval);
    }

    /// The same now, whether or not something has changed: the settings were read again, and are
    /// these.
    pub(crate) async fn reload(&mut self, new: &Tenancy, gateway: &impl Apply) -> Outcome {
        let outcome = match &mut self.source {
            Source::None => Outcome::Unchanged,
            Source::Files(files) => {
                let tables = Arc::clone(&new.tables);
                files.reload(tables, gateway, &self.freshness).await
            }
            Source::Registry(registry) => registry.look(gateway, &self.freshness).await,
        };
        self.due = after(self.interval);
        outcome
    }
}

/// Asks the registry once: what its list says, or why it has none.
///
/// # Errors
/// If no connection to it can be set up.
pub(crate) async fn survey_of_registry(
    tenancy: &Tenancy,
) -> anyhow::Result<Result<Survey, String>> {
    let mut registry = Registry::new(tenancy)?;
    Ok(registry.survey().await)
}

/// Logs with which tenants a node starts.
pub(crate) fn announce(config: &Config) {
    let tenants = &config.server.tenants;
    let suspended = tenants.list.iter().filter(|it| it.is_suspended).count();
    let has_main = !config.backend.url.is_empty();
    info!(
        tenants = tenants.list.len(),
        suspended,
        main = has_main,
        from = config.tenancy.shown(),
        "tenants at the start"
    );
    if let Some(name) = default_is_missing(config, &tenants.list) {
        warn!(
            "tenants.default is {name}, which is no tenant now: clients that name none get 404, until \
             there is one of this name"
        );
    }
}

/// The tenant of clients that name none, if it is none of these, nor `main`.
pub(crate) fn default_is_missing<'a>(
    config: &'a Config,
    tenants: &[TenantConfig],
) -> Option<&'a TenantName> {
    let name = config.server.tenants.default.as_ref()?;
    let is_there = name.is_main() || tenants.iter().any(|it| it.name == *name);
    (!is_there).then_some(name)
}

/// The moment when an interval that begins now is over. That of a source which is never looked at has
/// no end.
fn after(interval: Duration) -> Instant {
    Instant::now() + interval.min(Duration::from_secs(3_600))
}

/// Puts tenants in force and logs what has changed, or what they contradict.
fn put(gateway: &impl Apply, tenants: Vec<TenantConfig>) -> Outcome {
    match gateway.apply(tenants) {
        Ok(changes) if changes.is_empty() => Outcome::Unchanged,
        Ok(changes) => {
            report(&changes);
            Outcome::Changed
        }
        Err(conflicts) => {
            for conflict in conflicts {
                error!("tenants not changed: {conflict}");
            }
            Outcome::Refused
        }
    }
}

/// Tenants of one kind of change that are named in the log.
const NAMED: usize = 20;

fn report(changes: &Changes<TenantConfig>) {
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

#[cfg(test)]
mod tests;
