//! Where the usage of tenants is written, for bills.

use std::path::PathBuf;
use std::time::Duration;

use crate::config::Secret;

/// Where the usage of tenants is written, for bills.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsageConfig {
    /// The files are beside this path, and their names begin with its name. None: nothing is
    /// written.
    pub file: Option<PathBuf>,
    /// Complete hours are posted to this address. None: nowhere. Needs `file`.
    pub url: Option<String>,
    /// Sent there as `Authorization: Bearer`.
    pub key: Option<Secret>,
    /// PEM file with the authorities to trust there, instead of the system's.
    pub tls_ca_file: Option<PathBuf>,
    /// Time limit of one request.
    pub timeout: Duration,
    /// Interval of the checkpoints: so much is lost with a crash, at most.
    pub interval: Duration,
    /// How long files are kept, whether they were posted or not.
    pub keep: Duration,
}

impl Default for UsageConfig {
    fn default() -> Self {
        Self {
            file: None,
            url: None,
            key: None,
            tls_ca_file: None,
            timeout: Duration::from_secs(30),
            interval: Duration::from_mins(1),
            keep: Duration::from_hours(30 * 24),
        }
    }
}
