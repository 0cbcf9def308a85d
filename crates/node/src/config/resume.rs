//! How clients are let in again without a call to the API.

use std::time::Duration;

use crate::config::Secret;

/// Secrets that resume tickets may have at once: one, and the one before it.
pub const RESUME_SECRETS_MAX: usize = 2;

/// Shortest secret, in bytes.
pub const RESUME_SECRET_BYTES_MIN: usize = 32;

/// How clients are let in again without a call to the API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResumeConfig {
    /// Whether clients get resume tickets, and are let in by them.
    pub enabled: bool,
    /// How long after its last proof a client is let in.
    pub max_age: Duration,
    /// The secrets of tickets: new ones are signed with the first. None: a random one, which no
    /// other process knows.
    pub secrets: Vec<Secret>,
}

impl Default for ResumeConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            max_age: Duration::from_secs(60),
            secrets: Vec::new(),
        }
    }
}
