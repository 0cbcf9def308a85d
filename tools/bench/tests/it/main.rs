//! Whole runs in one process: the driver against a floor and against a small gateway that can
//! be told to misbehave.

#![allow(clippy::unwrap_used, reason = "a test may end where it cannot go on")]

mod crowd;
mod double;
mod floor;
mod gateway;
mod support;
mod workloads;
