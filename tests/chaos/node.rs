//! A node of the test: its name stays, the gateway process behind it changes.

use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use crate::ledger::End;
use crate::support::Gateway;
use crate::support::stream::Address;

/// Where clients and publishers find a node, and how its last incarnation ended.
pub(crate) struct Node {
    pub(crate) name: &'static str,
    state: Mutex<State>,
}

struct State {
    /// Counts the gateways that had this name.
    incarnation: u64,
    addresses: Option<(Address, Address)>,
    /// How the incarnations ended, in their order.
    ends: Vec<End>,
}

/// One gateway's public and internal address.
#[derive(Clone)]
pub(crate) struct Home {
    pub(crate) incarnation: u64,
    pub(crate) public: Address,
    pub(crate) internal: Address,
}

impl Node {
    pub(crate) fn new(name: &'static str) -> Self {
        Self {
            name,
            state: Mutex::new(State {
                incarnation: 0,
                addresses: None,
                ends: Vec::new(),
            }),
        }
    }

    /// A gateway has taken this name.
    pub(crate) fn up(&self, gateway: &Gateway) {
        let mut state = self.state();
        state.addresses = Some((gateway.public().clone(), gateway.internal().clone()));
    }

    /// The gateway is about to be killed.
    pub(crate) fn kill(&self) {
        self.end(End::Killed(Instant::now()));
    }

    /// The gateway is about to be told to shut down.
    pub(crate) fn leave(&self) {
        self.end(End::Left(Instant::now()));
    }

    fn end(&self, end: End) {
        let mut state = self.state();
        state.addresses = None;
        state.incarnation += 1;
        state.ends.push(end);
    }

    /// Where the node is to be found, if it is.
    pub(crate) fn home(&self) -> Option<Home> {
        let state = self.state();
        let (public, internal) = state.addresses.clone()?;
        Some(Home {
            incarnation: state.incarnation,
            public,
            internal,
        })
    }

    /// How this incarnation ended, if it did.
    pub(crate) fn ended(&self, incarnation: u64) -> Option<End> {
        let index = usize::try_from(incarnation).expect("a small number");
        self.state().ends.get(index).copied()
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
