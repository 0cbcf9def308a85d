//! The last good list of files, with which a node starts that finds a mistake in them.

use std::collections::HashMap;
use std::time::Duration;

use ht_node::config::{OriginsWritten, TenantConfig};
use tracing::error;

use crate::config::{Survey, Tenancy};
use crate::tenants::copy::{Copy, CopyError};
use crate::tenants::registry::Held;

/// The copy of the list that was in force.
pub(crate) struct LastGood {
    copy: Copy,
    /// What it has, once that was compared.
    kept: Option<Held>,
}

impl LastGood {
    /// That of these files, if there is to be one.
    pub(crate) fn of(tenancy: &Tenancy) -> Option<Self> {
        let source = format!("files {}", tenancy.shown());
        Some(Self {
            copy: Copy::new(tenancy.copy()?, &source),
            kept: None,
        })
    }

    /// Its tenants, and how long ago the files had them. None if there are none, or it cannot be used,
    /// which is logged. `survey`: what the files have now.
    pub(crate) fn read(
        &self,
        tenancy: &Tenancy,
        survey: &Survey,
    ) -> Option<(Vec<TenantConfig>, Duration)> {
        let file = self.copy.path().display().to_string();
        let read = self.copy.read().and_then(|(held, age)| {
            let documents = held.documents(&file);
            let tenants = tenancy.survey_of(documents, tenancy.operator()).whole();
            let tenants = tenants.map_err(|it| CopyError::Rubbish(Held::refused(&it)))?;
            Ok((tenants, age))
        });
        match read {
            Ok((tenants, age)) => {
                let tenants = at_home(tenants, survey);
                Some((tenants, age)).filter(|(tenants, _)| !tenants.is_empty())
            }
            // The files were never good since it was configured.
            Err(CopyError::None) => None,
            Err(cause) => {
                error!(file, %cause, "tenants.copy cannot be used");
                None
            }
        }
    }

    /// Keeps the list that is in force.
    pub(crate) fn keep(&mut self, survey: &Survey) {
        let documents = survey.tenants.iter().map(|it| &it.document);
        let held = Held::of(documents);
        if self.kept.as_ref() != Some(&held) {
            self.copy.keep(&held);
            self.kept = Some(held);
        }
    }

    /// The files are as they were.
    pub(crate) fn confirm(&self) {
        self.copy.confirm();
    }
}

/// The same tenants as from their files: what has not changed there is no change later.
fn at_home(mut tenants: Vec<TenantConfig>, survey: &Survey) -> Vec<TenantConfig> {
    let homes = survey.tenants.iter().map(|it| {
        let home = it.document.node.place.path().display().to_string();
        (it.document.name(), home)
    });
    let homes: HashMap<_, _> = homes.collect();
    for tenant in &mut tenants {
        if let OriginsWritten::Tenant { name, place } = &mut tenant.origins.written
            && let Some(home) = homes.get(&**name)
        {
            home.clone_into(place);
        }
    }
    tenants
}
