//! Load generator for high-templar and whatever is compared with it: a *server* to drive, a
//! *workload* to drive it with, and a *floor*, the least that any server could do.

pub mod backend;
pub mod backend_calls;
pub mod check;
pub mod cli;
pub mod client;
pub mod command;
pub mod drive;
pub mod endpoint;
pub mod floor;
pub mod message;
pub mod metrics;
pub mod outcome;
pub mod publish;
pub mod publisher;
pub mod report;
pub mod server;
pub mod workload;
