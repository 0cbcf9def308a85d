//! Hosts of tenants.

use std::fmt;
use std::str::FromStr;

use ht_node::config::{HostName, HostNameError};

/// A host of a tenant, in any script.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TenantHost(HostName);

impl FromStr for TenantHost {
    type Err = HostNameError;

    fn from_str(text: &str) -> Result<Self, HostNameError> {
        if text.is_ascii() {
            return text.parse().map(Self);
        }
        if text.contains(['/', ':', '*', '@']) {
            // For the sentence about what does not belong there.
            let ascii: String = text.chars().filter(char::is_ascii).collect();
            ascii.parse::<HostName>()?;
        }
        let ascii = idna::domain_to_ascii_strict(text).map_err(|_| HostNameError::Name)?;
        ascii.parse().map(Self)
    }
}

impl fmt::Display for TenantHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl From<TenantHost> for HostName {
    fn from(host: TenantHost) -> Self {
        host.0
    }
}
