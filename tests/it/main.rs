//! The real binary as a black box, a file per feature.

mod binary;
mod bootstrap;
mod cli;
mod handshake;
mod hooks;
mod idle;
mod legacy;
mod lifecycle;
mod limits;
mod messages;
mod order;
mod outages;
mod rabbitmq;
mod rooms;
mod status;
mod support;
mod talk;
mod triggers;
