//! The binary's parts: configuration, command line and the life story of the process.

pub mod cli;
pub mod config;
mod logging;
mod process;
mod reload;
mod systemd;
mod tenants;
