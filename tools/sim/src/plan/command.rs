//! Which commands the API publishes.

use fastrand::Rng;

use crate::orders::{Deed, Order, USERS, Whom};
use crate::plan::Shape;
use crate::rooms::{GRANTS, ROOMS};

/// A command. Its connection is named by its client.
pub(super) fn order(shape: &Shape, rng: &mut Rng) -> Order {
    let client = rng.usize(0..shape.clients);
    let one = match rng.u8(0..4) {
        0 => Whom::SignIn(client),
        1 => Whom::Connection(client),
        _ => Whom::User(client % USERS),
    };
    let whom = match rng.u8(0..8) {
        0 => Whom::Everyone,
        1 => Whom::Label(rng.usize(0..GRANTS.len())),
        2 => Whom::Room(rng.usize(0..ROOMS.len())),
        _ => one,
    };
    match rng.u8(0..6) {
        // One answer for unlike clients would be a mistake.
        0..=2 => Order {
            whom: one,
            deed: Deed::Permit(rng.usize(0..GRANTS.len())),
        },
        3 => Order {
            whom,
            deed: Deed::Disconnect,
        },
        _ => Order {
            whom,
            deed: Deed::Unsubscribe(rng.usize(0..ROOMS.len())),
        },
    }
}
