//! Memory that the connections of an address and of a user hold, and its bounds.

use ht_core::peer::Eviction;
use ht_core::world::Over;
use ht_edge::permits::{Slot, Stage};

use crate::node::Node;
use crate::socket::Socket;

/// Adds to what a connection's address and user hold; returns what the address holds then.
///
/// # Errors
/// Where one of them exceeds its bound, which is logged. The bytes are added all the same.
pub(crate) fn hold(node: &Node, peer: &Socket, bytes: usize) -> Result<usize, Over> {
    let (address_max, user_max) = node.accounts.shares();
    let held = node
        .permits
        .addresses(Stage::Open)
        .hold(peer.address, bytes);
    let of_user = user(peer).map_or(0, |user| node.permits.users.hold(user, bytes));
    let (reason, line) = if address_max != 0 && held > address_max {
        (Eviction::ClientBytesPerAddress, "held-per-address")
    } else if user_max != 0 && of_user > user_max {
        (Eviction::ClientBytesPerUser, "held-per-user")
    } else {
        return Ok(held);
    };
    if let Some(suppressed) = node.throttles.tell(line) {
        let bound = reason.as_str();
        tracing::warn!(
            user = peer.user(),
            address = address(node, peer),
            suppressed,
            "limits.{bound} is reached: refusing subscriptions, or evicting the connections that \
             hold most. Raise the limit if these are your users"
        );
    }
    Err(Over {
        reason,
        address: held,
    })
}

/// Subtracts from it; returns what the address holds then.
pub(crate) fn release(node: &Node, peer: &Socket, bytes: usize) -> usize {
    if let Some(user) = user(peer) {
        node.permits.users.release(user, bytes);
    }
    node.permits
        .addresses(Stage::Open)
        .release(peer.address, bytes)
}

/// Where a connection comes from, for the log.
pub(crate) fn address(node: &Node, peer: &Socket) -> String {
    let known = node.permits.addresses(Stage::Open).name(peer.address);
    known.unwrap_or_else(|| peer.peer_address())
}

/// The user whose account a connection has; none once its place was given back.
fn user(peer: &Socket) -> Option<&str> {
    (peer.address != Slot::NONE).then(|| peer.user()).flatten()
}
