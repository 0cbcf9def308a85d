//! The backend client against real servers on loopback: a scriptable one that hangs, resets,
//! truncates, lies and redirects.

#![allow(clippy::unwrap_used, reason = "the helpers of tests may panic")]

mod answers;
mod connections;
mod hooks;
mod jwt;
mod kit;
mod places;
mod redirects;
mod requests;
mod stub;
mod tls;
mod tls_faults;
mod unix;
