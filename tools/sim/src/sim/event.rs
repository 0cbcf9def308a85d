//! Kinds of events.

use std::rc::Rc;

use ht_broker::numbers::Serial;
use ht_core::shard::SessionKey;
use ht_overload::CallId;

use crate::api::{Said, Says};
use crate::node::Message;

/// An event.
#[derive(Debug)]
pub(crate) enum Event {
    Act(usize),
    Answer {
        node: usize,
        life: usize,
        call: CallId,
        says: Says,
    },
    /// Waits for a call beyond the timeout are ended.
    GuardDue {
        node: usize,
        life: usize,
    },
    /// The gateway's own call may be due.
    Probe {
        node: usize,
        life: usize,
    },
    Probed {
        node: usize,
        life: usize,
        answered: bool,
    },
    /// A client disconnects, unless it has its result.
    Leaves(usize),
    /// The ticket of a client is looked at.
    Resumes(usize),
    /// A client must have its result.
    Impatient(usize),
    /// The API is well again, unless its mood changed since that one.
    Recovers(usize),
    Return {
        client: usize,
        attempt: u64,
    },
    /// The API has answered about a session's token.
    Authenticated {
        node: usize,
        life: usize,
        number: usize,
        key: SessionKey,
        said: Said,
    },
    Arrived(usize),
    HungUp(usize),
    /// A connection whose client hung up must be removed.
    Released(usize),
    Reads(usize),
    Turn {
        node: usize,
        life: usize,
        shard: usize,
    },
    Post {
        trigger: usize,
        tries: usize,
        node: usize,
    },
    Logged(Rc<Message>),
    Taken {
        node: usize,
        life: usize,
        attempt: u64,
    },
    Timeout {
        node: usize,
        life: usize,
        attempt: u64,
    },
    Consume {
        node: usize,
        life: usize,
        link: u32,
    },
    Link {
        node: usize,
        life: usize,
        link: u32,
    },
    Check {
        node: usize,
        life: usize,
        link: u32,
    },
    Proof {
        node: usize,
        life: usize,
        link: u32,
        serial: Serial,
    },
    Wave {
        node: usize,
        life: usize,
        shard: usize,
    },
    Drain {
        node: usize,
        life: usize,
    },
    /// The API may have to be asked again about open sessions.
    RecheckDue {
        node: usize,
        life: usize,
    },
    /// A node that drains may have placed the earlier publications.
    CatchesUp {
        node: usize,
        life: usize,
    },
    /// A node that drains may have answered every trigger.
    EndsTriggers {
        node: usize,
        life: usize,
    },
    Up(usize),
}
