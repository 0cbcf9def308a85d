//! The real binary as a black box, a file per feature.

mod backend;
mod bench;
mod binary;
mod bootstrap;
mod cli;
mod compression;
mod fairness;
mod forwarding;
mod handshake;
mod hooks;
mod idle;
mod internal;
mod legacy;
mod lifecycle;
mod limits;
mod messages;
mod metrics;
mod order;
mod outages;
mod rabbitmq;
mod readiness;
mod rooms;
mod status;
mod support;
mod talk;
mod triggers;
