//! What gateway, commands and tools measure and log with: it knows nothing of any of them.

pub mod latency;
pub mod throttle;
pub mod usage;
