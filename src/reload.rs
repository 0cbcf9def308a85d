//! Reloads the settings while the gateway runs.

use ht_backend::{ForwardRules, HttpBackend};
use ht_node::Gateway;
use tracing::{error, info, warn};

use crate::config::{Config, Sources, Written};
use crate::logging::LogLevel;
use crate::tenants::{Keeper, Outcome};

/// Names the file that a launcher derived variables of the environment from, such as `settings.py`:
/// a running process cannot read it again.
const DERIVED_FROM: &str = "HIGH_TEMPLAR_DERIVED_FROM";

/// Holds the settings in force.
pub(crate) struct Reloader {
    sources: Sources,
    /// The settings at startup.
    started: Written,
    current: Config,
    level: LogLevel,
}

impl Reloader {
    /// Of a process that began with `config`, which was read from `sources`.
    pub(crate) fn new(sources: Sources, config: Config, level: LogLevel) -> Self {
        Self {
            sources,
            started: config.written.clone(),
            current: config,
            level,
        }
    }

    /// Reads the settings again from the same files and applies those that need no restart. With a
    /// mistake among them nothing changes. Either way the log reports the result.
    pub(crate) async fn reload(&mut self, gateway: &Gateway, keeper: &mut Keeper) {
        let sources = self.sources.clone();
        let loaded = match tokio::task::spawn_blocking(move || sources.load()).await {
            Ok(loaded) => loaded,
            Err(cause) => {
                error!("settings not reloaded: {cause}");
                return;
            }
        };
        let new = match loaded {
            Ok(new) => new,
            Err(mistakes) => {
                for mistake in mistakes.lines() {
                    error!("{mistake}");
                }
                error!("settings not reloaded, nothing changes: see the mistakes above");
                return;
            }
        };
        if let Err(cause) = self.apply(gateway, &new).await {
            error!("settings not reloaded, nothing changes: {cause:#}");
            return;
        }
        let tenants = keeper.reload(&new.tenancy, gateway).await;
        let changes = self.current.changes(&self.started, &new);
        if !changes.fixed.is_empty() {
            let fixed = changes.fixed.join(", ");
            warn!("changed settings that need a restart: {fixed}");
        }
        let mut live = changes.live;
        if tenants == Outcome::Changed {
            live.push("the tenants (see above)");
        }
        match live.as_slice() {
            [] if tenants == Outcome::Refused => {
                warn!("settings reloaded, but not the tenants: see above");
            }
            [] if !changes.fixed.is_empty() => info!("settings reloaded, nothing else changed"),
            [] => info!(
                "settings reloaded, nothing changes: environment variables are read at start only, \
                 files at every reload"
            ),
            live => info!("settings reloaded, in effect now: {}", live.join(", ")),
        }
        if let Some(source) = std::env::var(DERIVED_FROM).ok().filter(|it| !it.is_empty()) {
            info!("{source} is read at start only: restart to apply a change to it");
        }
        self.current = new;
    }

    async fn apply(&self, gateway: &Gateway, new: &Config) -> anyhow::Result<()> {
        // Mistakes that only the backend checks, such as headers that must not be set.
        if !new.backend.url.is_empty() {
            HttpBackend::new(new.backend.clone())?;
        }
        let rules = ForwardRules::of(&new.backend);
        gateway.reload(&new.server, rules).await?;
        self.level.set(new.log.level);
        Ok(())
    }
}
