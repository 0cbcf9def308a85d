//! Resume tickets without signatures: what a client was given, and what it says.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use ht_core::ticket::Granted;
use ht_proto::cursor::Cursor;
use ht_proto::server::Resumption;

use crate::orders::{labelled, room};
use crate::rooms::ROOMS;

/// A proof, and the ticket to which it belongs.
#[derive(Clone, Debug)]
pub(crate) struct Proof {
    /// The connection that was given it.
    pub(crate) connection: usize,
    pub(crate) ticket: Ticket,
    /// The ticket is up to date with everything up to here.
    pub(crate) cursor: Cursor,
    /// When it was given.
    pub(crate) at: u64,
}

/// What a ticket says.
#[derive(Clone, Debug)]
pub(crate) struct Ticket {
    /// The grants that the label of its client names.
    pub(crate) grants: usize,
    /// The rooms that it permits.
    pub(crate) permits: [bool; ROOMS.len()],
}

/// All proofs of a run, by their numbers.
pub(crate) type Proofs = Rc<RefCell<Vec<Proof>>>;

/// Gives the clients of a shard tickets.
#[derive(Debug)]
pub(crate) struct Tickets {
    proofs: Proofs,
    /// The last ticket of each connection.
    last: BTreeMap<usize, Ticket>,
    /// The numbers of the proofs that were given in the last turn.
    pub(crate) given: Vec<usize>,
    /// A planted bug: a connection has its first ticket for ever.
    is_lazy: bool,
}

impl Tickets {
    pub(crate) fn new(proofs: &Proofs, is_lazy: bool) -> Self {
        Self {
            proofs: Rc::clone(proofs),
            last: BTreeMap::new(),
            given: Vec::new(),
            is_lazy,
        }
    }

    /// Gives a client a proof, and with new permissions another ticket.
    pub(crate) fn give(
        &mut self,
        connection: usize,
        granted: &Granted<'_>,
        anew: bool,
    ) -> Resumption {
        if anew && !(self.is_lazy && self.last.contains_key(&connection)) {
            let label = granted.who.and_then(|who| who.labels().next());
            let ticket = Ticket {
                grants: label.and_then(labelled).expect("a label of ours"),
                permits: std::array::from_fn(|number| granted.grants.permits(&room(number))),
            };
            self.last.insert(connection, ticket);
        }
        let ticket = self.last.get(&connection);
        let ticket = ticket.expect("it was given one").clone();
        let mut proofs = self.proofs.borrow_mut();
        let number = proofs.len();
        proofs.push(Proof {
            connection,
            ticket,
            cursor: granted.cursor,
            at: 0,
        });
        self.given.push(number);
        Resumption {
            ticket: anew.then(|| format!("ticket-{number}")),
            proof: Some(number.to_string()),
        }
    }
}
