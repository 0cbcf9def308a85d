//! Measuring and logging, shared by the gateway, the commands and the tools.

pub mod latency;
pub mod throttle;
pub mod usage;
