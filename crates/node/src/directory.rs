//! Names of tenants: who claims what, and what a new list changes.

pub use ht_control::tenants::changes::Changes;
pub use ht_control::tenants::claims::{Claim, Claims, Conflict};
use ht_control::tenants::directory::Directory;

use crate::config::{HostName, TenantConfig};

/// Everything that two of these tenants claim, or one of them and `main`, which has these hosts.
#[must_use]
pub fn conflicts<'a>(
    main_hosts: &'a [HostName],
    tenants: impl IntoIterator<Item = &'a TenantConfig>,
) -> Vec<Conflict> {
    let numbered = tenants.into_iter().zip(1_usize..);
    let directory = Directory::beside_main(Some((main_hosts, 0)), numbered);
    directory.err().unwrap_or_default()
}
