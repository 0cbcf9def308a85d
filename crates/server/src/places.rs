//! Places that visitors take: of the node, of their address, of their user. Each is given back
//! when it is dropped, unless a shard keeps it: then the shard gives it back.

mod addresses;
mod users;

use std::sync::Arc;
use std::sync::atomic::Ordering;

pub(crate) use self::addresses::{Addresses, Bounds, Crowded, Slot};
pub(crate) use self::users::Users;
use crate::node::Node;
use crate::public::address::Client;

/// A place for a connection, and those of its address and its user.
pub(crate) struct ConnectionPlace {
    node: Arc<Node>,
    shard: Option<usize>,
    address: AddressPlace,
    /// Once the backend has said who it is.
    pub(crate) user: Option<UserPlace>,
    kept: bool,
}

impl ConnectionPlace {
    /// Takes one of at most `limit` places; 0 is no limit.
    pub(crate) fn take(node: &Arc<Node>, limit: usize, address: AddressPlace) -> Option<Self> {
        let place = Self {
            node: Arc::clone(node),
            shard: None,
            address,
            user: None,
            kept: false,
        };
        let taken = node.places.fetch_add(1, Ordering::AcqRel);
        // Dropped where it is one too many.
        (limit == 0 || taken < limit as u64).then_some(place)
    }

    /// The connection goes to this shard.
    pub(crate) fn assign(&mut self, shard: usize) {
        debug_assert!(self.shard.is_none(), "a connection has one shard");
        self.node.loads[shard].fetch_add(1, Ordering::AcqRel);
        self.shard = Some(shard);
    }

    /// Leaves giving back to [`Node::give_back`], which is to be told of the address.
    pub(crate) fn keep(mut self) -> Slot {
        debug_assert!(self.shard.is_some(), "only a shard keeps a place");
        self.kept = true;
        if let Some(user) = &mut self.user {
            user.keep();
        }
        self.address.keep()
    }
}

impl Drop for ConnectionPlace {
    fn drop(&mut self) {
        if self.kept {
            return;
        }
        self.node.places.fetch_sub(1, Ordering::AcqRel);
        if let Some(shard) = self.shard {
            self.node.loads[shard].fetch_sub(1, Ordering::AcqRel);
        }
    }
}

/// A place among the connections of one address.
pub(crate) struct AddressPlace {
    node: Arc<Node>,
    stage: Stage,
    slot: Slot,
}

/// What is counted by address, each for itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Connections that are no websockets yet, by who opened them.
    Unfinished,
    /// Handshakes under way, by where the visitor is.
    Handshake,
    /// Websockets and handshakes, by where the visitor is.
    Open,
}

impl AddressPlace {
    /// Takes one; also says how many the address then has.
    ///
    /// # Errors
    /// When the address has as many as it may have, or comes too often.
    pub(crate) fn take(
        node: &Arc<Node>,
        stage: Stage,
        client: Client,
        bounds: Bounds,
    ) -> Result<(Self, u32), Crowded> {
        let (slot, open) = node.addresses(stage).take(client, bounds, node.age())?;
        let node = Arc::clone(node);
        Ok((Self { node, stage, slot }, open))
    }

    /// Adds to what the connections of the address hold; returns the sum, zero where only the proxy
    /// is known.
    pub(crate) fn hold(&self, bytes: usize) -> usize {
        self.node.addresses(self.stage).hold(self.slot, bytes)
    }

    /// Subtracts from it.
    pub(crate) fn release(&self, bytes: usize) {
        self.node.addresses(self.stage).release(self.slot, bytes);
    }

    /// Leaves giving back to [`Node::give_back`].
    fn keep(&mut self) -> Slot {
        debug_assert_eq!(self.stage, Stage::Open, "a shard has websockets only");
        std::mem::replace(&mut self.slot, Slot::NONE)
    }
}

impl Drop for AddressPlace {
    fn drop(&mut self) {
        let addresses = self.node.addresses(self.stage);
        addresses.give_back(self.slot, self.node.age());
    }
}

/// A place among the connections of one user.
pub(crate) struct UserPlace {
    node: Arc<Node>,
    user: Option<Arc<str>>,
}

impl UserPlace {
    /// Takes one of at most `limit` places; 0 is no limit.
    pub(crate) fn take(node: &Arc<Node>, user: &str, limit: usize) -> Option<Self> {
        let user = Some(node.users.take(user, limit)?);
        let node = Arc::clone(node);
        Some(Self { node, user })
    }

    /// Its user's id.
    pub(crate) fn user(&self) -> Option<Arc<str>> {
        self.user.clone()
    }

    /// Leaves giving back to [`Node::give_back`].
    fn keep(&mut self) {
        self.user = None;
    }
}

impl Drop for UserPlace {
    fn drop(&mut self) {
        if let Some(user) = &self.user {
            self.node.users.give_back(user);
        }
    }
}
