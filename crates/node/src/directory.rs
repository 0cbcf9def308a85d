//! Names of tenants: who claims what, and what a new list changes.

pub use ht_control::tenants::changes::Changes;
pub use ht_control::tenants::claims::{Claim, Claims, Conflict};
use ht_control::tenants::directory::Directory;

use crate::config::TenantConfig;

/// Everything that two of these tenants claim.
#[must_use]
pub fn conflicts<'a>(tenants: impl IntoIterator<Item = &'a TenantConfig>) -> Vec<Conflict> {
    let numbered = tenants.into_iter().zip(0_usize..);
    Directory::new(numbered).err().unwrap_or_default()
}
