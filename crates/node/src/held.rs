//! Memory that the connections of an address and of a user hold, and its bounds.

use std::sync::Arc;

use ht_core::account::Accounts;
use ht_core::peer::Eviction;
use ht_core::world::Over;
use ht_edge::permits::{Permits, Slot, Stage};
use ht_proto::tenant::Scoped;
use ht_telemetry::throttle::Throttles;

use crate::socket::Socket;

/// What connections hold, by address and by user.
pub(crate) struct Held {
    pub(crate) permits: Arc<Permits>,
    pub(crate) accounts: Arc<Accounts>,
    pub(crate) throttles: Arc<Throttles>,
}

impl Held {
    /// Adds to what a connection's address and user hold; returns what the address holds then.
    /// If one of them exceeds its limit, which is logged. The bytes are added all the same.
    pub(crate) fn hold(&self, peer: &Socket, bytes: usize) -> Result<usize, Over> {
        let (address_max, user_max) = self.accounts.shares();
        let addresses = self.permits.addresses(Stage::Open);
        let of_address = addresses.hold(peer.address, bytes);
        let of_user = user(peer).map_or(0, |user| self.permits.users.hold(user, bytes));
        let (reason, line) = if address_max != 0 && of_address > address_max {
            (Eviction::ClientBytesPerAddress, "held-per-address")
        } else if user_max != 0 && of_user > user_max {
            (Eviction::ClientBytesPerUser, "held-per-user")
        } else {
            return Ok(of_address);
        };
        if let Some(suppressed) = self.throttles.allow(line) {
            let bound = reason.as_str();
            tracing::warn!(
                user = peer.user(),
                address = self.address(peer),
                suppressed,
                "limits.{bound} is reached: refusing subscriptions, or evicting the connections that \
                 hold most. Raise the limit if these are your users"
            );
        }
        Err(Over {
            reason,
            address: of_address,
        })
    }

    /// Subtracts from it; returns what the address holds then.
    pub(crate) fn release(&self, peer: &Socket, bytes: usize) -> usize {
        if let Some(user) = user(peer) {
            self.permits.users.release(user, bytes);
        }
        let addresses = self.permits.addresses(Stage::Open);
        addresses.release(peer.address, bytes)
    }

    /// The client's address, for the log.
    pub(crate) fn address(&self, peer: &Socket) -> String {
        let known = self.permits.addresses(Stage::Open).name(peer.address);
        known.unwrap_or_else(|| peer.peer_address())
    }
}

/// The user whose account a connection has; `None` once its slot was released.
fn user(peer: &Socket) -> Option<Scoped<&str>> {
    let user = (peer.address != Slot::NONE).then(|| peer.user()).flatten();
    user.map(|user| peer.tenant().scope(user))
}
