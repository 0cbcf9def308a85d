//! Tenants in files, which are looked at from time to time.

use std::sync::Arc;
use std::time::Duration;

use ht_node::config::TenantConfig;
use tokio::task::spawn_blocking;
use tokio::time::sleep;
use tracing::error;

use crate::config::{Mistakes, Tenancy, TenantDocument, TenantStamp, tenant_stamp};
use crate::tenants::{Apply, put, refuse};

/// A file that is being written is not read before it has been left alone for this long.
const SETTLED: Duration = Duration::from_millis(200);

/// The files, and their state when they were read.
pub(crate) struct Files {
    tenancy: Tenancy,
    /// None: not looked at yet. A state that cannot be told is one, too.
    seen: Option<Option<TenantStamp>>,
    /// Whether there were tenants.
    had_some: bool,
}

impl Files {
    /// Those of a process that has just read them. `had_some`: there were tenants.
    pub(crate) fn new(tenancy: &Tenancy, had_some: bool) -> Self {
        Self {
            // Read anew by the first look: they may have changed since.
            seen: None,
            had_some,
            tenancy: tenancy.clone(),
        }
    }

    /// Reads the files if they have changed.
    pub(crate) async fn look(&mut self, gateway: &impl Apply) {
        let now = self.stamp().await;
        if self.seen.as_ref() == Some(&now) {
            return;
        }
        sleep(SETTLED).await;
        let settled = self.stamp().await;
        if settled != now {
            return;
        }
        self.read(now, false, gateway).await;
    }

    /// Reads them now; the tables in the configuration file are these.
    pub(crate) async fn reload(&mut self, tables: Arc<[TenantDocument]>, gateway: &impl Apply) {
        self.tenancy.tables = tables;
        let now = self.stamp().await;
        self.read(now, true, gateway).await;
    }

    /// `is_meant`: somebody has asked for it, so that none may be left.
    async fn read(&mut self, now: Option<TenantStamp>, is_meant: bool, gateway: &impl Apply) {
        self.seen = Some(now);
        let tenants = match self.tenants().await {
            Ok(tenants) => tenants,
            Err(mistakes) => {
                refuse(&mistakes);
                return;
            }
        };
        if tenants.is_empty() && self.had_some && !is_meant {
            error!(
                "tenants not changed: there is none any more. If a folder is not mounted, mount it; \
                 if all are meant to go, reload the settings (SIGHUP)"
            );
            return;
        }
        let is_some = !tenants.is_empty();
        if put(gateway, tenants) {
            self.had_some = is_some;
        }
    }

    async fn tenants(&self) -> Result<Vec<TenantConfig>, Mistakes> {
        let tenancy = self.tenancy.clone();
        let reading = spawn_blocking(move || tenancy.of_files());
        reading
            .await
            .unwrap_or_else(|panicked| std::panic::resume_unwind(panicked.into_panic()))
    }

    /// The state of the files; none if it cannot be told.
    async fn stamp(&self) -> Option<TenantStamp> {
        let path = self.tenancy.folder.join(self.tenancy.files()?);
        spawn_blocking(move || tenant_stamp(&path)).await.ok()?.ok()
    }
}
