//! Settings of clients over HTTP.

use std::time::Duration;

/// How long event streams and long polls last. Whether there are any is in
/// [`PublicConfig`](super::PublicConfig).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamsConfig {
    /// A stream ends after this, or up to a tenth earlier: its client opens another one.
    pub max_age: Duration,
    /// A long poll is answered after this at the latest.
    pub wait_max: Duration,
}

impl Default for StreamsConfig {
    fn default() -> Self {
        Self {
            max_age: Duration::from_secs(3_600),
            wait_max: Duration::from_secs(55),
        }
    }
}
