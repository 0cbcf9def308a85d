//! The permits of a node: tables of the gateway's own, and their holders. A permit is released on
//! drop, as in the server.

use std::cell::{Cell, RefCell};
use std::net::{IpAddr, Ipv4Addr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use ht_overload::{Addresses, Bounds, Client, Crowded, Slot, Users};

/// Why a client gets no permit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Full {
    /// The address has as many connections as it may have.
    Open,
    /// It connected too often, and may retry after so many ms.
    Rate(u64),
    /// The address has half of the handshakes.
    HandshakesOfAddress,
    /// Every handshake is in progress.
    Handshakes,
    /// The node has as many connections as it may have.
    Connections,
}

/// The current time, in ms, for drops.
pub(crate) type Clock = Rc<Cell<u64>>;

/// The limits of a node. 0 is no limit.
#[derive(Clone, Copy, Debug)]
pub(crate) struct GateLimits {
    pub(crate) per_address: usize,
    pub(crate) per_second: usize,
    pub(crate) handshakes: usize,
    pub(crate) connections: usize,
    pub(crate) per_user: usize,
}

/// The permits of a node.
#[derive(Debug)]
pub(crate) struct Gate {
    limits: GateLimits,
    open: Addresses,
    handshakes: Addresses,
    users: Users,
    connections: usize,
    /// Handshakes in progress.
    in_progress: usize,
    clock: Clock,
}

/// A permit for a connection, its address and its user.
#[derive(Debug)]
pub(crate) struct Permit {
    gate: Rc<RefCell<Gate>>,
    slot: Slot,
    /// Once the API has identified the client.
    user: Option<Arc<str>>,
}

impl Permit {
    /// The API has identified the client. Returns false if this user is at its limit of
    /// connections.
    pub(crate) fn sign_in(&mut self, user: usize) -> bool {
        let mut gate = self.gate.borrow_mut();
        let limit = gate.limits.per_user;
        self.user = gate.users.take(&user.to_string(), limit);
        self.user.is_some()
    }
}

/// A permit for a handshake.
#[derive(Debug)]
pub(crate) struct HandshakePermit {
    gate: Rc<RefCell<Gate>>,
    slot: Slot,
}

impl Gate {
    pub(crate) fn new(limits: GateLimits, clock: Clock) -> Rc<RefCell<Self>> {
        Rc::new(RefCell::new(Self {
            limits,
            open: Addresses::default(),
            handshakes: Addresses::default(),
            users: Users::default(),
            connections: 0,
            in_progress: 0,
            clock,
        }))
    }

    /// Permits for a client from this address, in the order in which the server takes them.
    pub(crate) fn enter(
        gate: &Rc<RefCell<Self>>,
        address: u8,
    ) -> Result<(Permit, HandshakePermit), Full> {
        let client = Client::At(ip(address));
        let mut own = gate.borrow_mut();
        let GateLimits {
            per_address,
            per_second,
            handshakes,
            connections,
            ..
        } = own.limits;
        let now = own.now();
        let open = Bounds {
            open: per_address,
            per_second,
        };
        let (slot, _) = own.open.take(client, open, now).map_err(Full::from)?;
        let permit = Permit {
            gate: Rc::clone(gate),
            slot,
            user: None,
        };
        own.connections += 1;
        let half = Bounds {
            open: (handshakes / 2).max(1),
            per_second: 0,
        };
        let handshake = own.handshakes.take(client, half, now);
        let is_full = connections != 0 && own.connections > connections;
        own.in_progress += usize::from(handshake.is_ok());
        let is_busy = own.in_progress > handshakes;
        // Permits dropped from here on are released.
        drop(own);
        let (slot, _) = handshake.map_err(|_| Full::HandshakesOfAddress)?;
        let handshake = HandshakePermit {
            gate: Rc::clone(gate),
            slot,
        };
        if is_busy {
            return Err(Full::Handshakes);
        }
        if is_full {
            return Err(Full::Connections);
        }
        Ok((permit, handshake))
    }

    fn now(&self) -> Duration {
        Duration::from_millis(self.clock.get())
    }

    /// Connections and handshakes that have a permit.
    pub(crate) fn taken(&self) -> usize {
        self.connections
    }
}

impl From<Crowded> for Full {
    fn from(crowded: Crowded) -> Self {
        match crowded {
            Crowded::Open => Self::Open,
            Crowded::Rate { again } => {
                Self::Rate(u64::try_from(again.as_millis()).unwrap_or(0) + 1)
            }
        }
    }
}

/// An address of this number.
pub(crate) fn ip(address: u8) -> IpAddr {
    Ipv4Addr::new(10, 0, 0, address).into()
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut gate = self.gate.borrow_mut();
        let now = gate.now();
        gate.open.give_back(self.slot, now);
        gate.connections -= 1;
        if let Some(user) = &self.user {
            gate.users.give_back(user);
        }
    }
}

impl Drop for HandshakePermit {
    fn drop(&mut self) {
        let mut gate = self.gate.borrow_mut();
        let now = gate.now();
        gate.handshakes.give_back(self.slot, now);
        gate.in_progress -= 1;
    }
}
