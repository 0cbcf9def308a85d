//! The whole node in virtual time: several nodes, the log between them, an API and its clients, all
//! from one seed, with every possible fault, and a judge that knows which clients must have
//! received what.
//!
//! The code under test is the gateway's own: shards and their turns, interest index, order, gap
//! detector, waves, the guard of the API, permits and the steps of a shutdown.
//! The stand-ins for sockets, threads, the log and the clock are in this crate. Nothing here waits,
//! so that an hour takes seconds; and everything depends on the seed alone, so that a run that
//! fails once fails again.

mod api;
mod events;
mod gate;
mod mutant;
mod node;
mod oracle;
mod orders;
mod outside;
mod plan;
mod rooms;
#[cfg(test)]
mod scenarios;
mod shard;
mod shrink;
mod sim;
mod tickets;
mod wire;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;

use ht_core::Hasher;

pub use crate::mutant::Mutant;
pub use crate::plan::Plan;
pub use crate::shrink::shrink;
use crate::sim::{Sim, Trace};

/// Result of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// The error.
    pub violation: Option<String>,
    /// Trace of the run, a line each, if requested.
    pub trace: Vec<String>,
    /// How many events there were.
    pub steps: u64,
    /// The time that passed, in simulated ms.
    pub ms: u64,
    /// Publications that reached clients.
    pub received: u64,
    /// Connections that were opened.
    pub connections: u64,
    /// Gaps that nodes found.
    pub gaps: u64,
    /// Commands that shards carried out.
    pub commands: u64,
    /// Calls that the API got.
    pub calls: u64,
    /// Clients that were let in without one, by their tickets.
    pub resumed: u64,
    /// Clients that were sent away without one, by the guard.
    pub sent_away: u64,
}

/// Runs a plan. A panic is a violation, too.
#[must_use]
pub fn run(plan: &Plan, traced: bool) -> Outcome {
    let plan = Rc::new(plan.clone());
    let trace = traced.then(Trace::default);
    let kept = trace.clone();
    let run = AssertUnwindSafe(|| Sim::new(plan, trace).run());
    let mut outcome = catch_unwind(run).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref().map(|text: &&str| (*text).to_owned()));
        Outcome {
            violation: Some(format!("panic: {}", text.unwrap_or_default())),
            ..Outcome::default()
        }
    });
    outcome.trace = kept.map(|trace| trace.take()).unwrap_or_default();
    outcome
}

/// The hash function of every run: the same, so that tables have the same order.
fn hasher() -> Hasher {
    Hasher::with_seed(1, foldhash::SharedSeed::global_fixed())
}
