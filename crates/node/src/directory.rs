//! Names of tenants: who claims what, and what a new list changes.

pub use ht_control::tenants::changes::Changes;
pub use ht_control::tenants::claims::{Claim, Claims, Conflict};
use ht_control::tenants::directory::Directory;

use crate::config::TenantConfig;

/// Everything that two of these tenants claim.
#[must_use]
pub fn conflicts(tenants: &[TenantConfig]) -> Vec<Conflict> {
    let numbered = tenants.iter().zip(0_usize..);
    Directory::new(numbered).err().unwrap_or_default()
}
