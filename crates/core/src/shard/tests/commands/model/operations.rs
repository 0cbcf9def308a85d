//! What happens, at random.

use proptest::prelude::*;

use super::{LABELS, ROOMS, USERS};

#[derive(Clone, Copy, Debug)]
pub(super) enum Target {
    User(usize),
    Label(usize),
    Room(usize),
    Everyone,
}

#[derive(Clone, Debug)]
pub(super) enum Operation {
    /// The API is queried about a user, for a connection of this shard.
    Ask(usize, usize),
    /// The connection with the oldest API query is opened.
    Enter,
    Subscribe(usize, usize),
    Publish(usize),
    /// The user has these rooms from now on, as bits, and this label.
    Permit(usize, u8, usize),
    Unsubscribe(Target, u8),
    Disconnect(Target),
    /// The same rights as for a permit, but the API is to be queried again.
    Invalidate(usize, u8, usize),
    /// The API is queried again, about one of the sessions for which this was requested.
    Query(usize),
    /// The answer to the oldest such query arrives.
    Respond,
    /// A shard works, within so many units.
    Slice(usize, u64),
}

pub(super) fn operations() -> impl Strategy<Value = Vec<Operation>> {
    let target = prop_oneof![
        3 => (0..USERS).prop_map(Target::User),
        1 => (0..LABELS.len()).prop_map(Target::Label),
        1 => (0..ROOMS.len()).prop_map(Target::Room),
        1 => Just(Target::Everyone),
    ];
    let operation = prop_oneof![
        4 => (0..4usize, 0..USERS).prop_map(|(shard, user)| Operation::Ask(shard, user)),
        4 => Just(Operation::Enter),
        12 => (0..16usize, 0..ROOMS.len()).prop_map(|(c, room)| Operation::Subscribe(c, room)),
        12 => (0..ROOMS.len()).prop_map(Operation::Publish),
        4 => (0..USERS, 0..8u8, 0..LABELS.len()).prop_map(|(u, r, l)| Operation::Permit(u, r, l)),
        4 => (0..USERS, 0..8u8, 0..LABELS.len())
            .prop_map(|(u, r, l)| Operation::Invalidate(u, r, l)),
        6 => (0..16usize).prop_map(Operation::Query),
        6 => Just(Operation::Respond),
        2 => (target.clone(), 0..8u8).prop_map(|(target, r)| Operation::Unsubscribe(target, r)),
        1 => target.prop_map(Operation::Disconnect),
        12 => (0..4usize, prop_oneof![Just(0), 1..50_000u64])
            .prop_map(|(shard, units)| Operation::Slice(shard, units)),
    ];
    proptest::collection::vec(operation, 0..150)
}
