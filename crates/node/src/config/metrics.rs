//! What `/metrics` shows.

/// What `/metrics` shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MetricsConfig {
    /// Most tenants with a label of their own; the others are shown together.
    pub tenants_max: usize,
}

impl Default for MetricsConfig {
    fn default() -> Self {
        Self { tenants_max: 200 }
    }
}
