//! Shares of wildcards, against a naive count.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

const SHAPE: u32 = 7;

/// What each connection holds, spelled out: of connection and mask one for each subscription.
#[derive(Default)]
struct Model(Vec<(u32, u64)>);

impl Model {
    fn masks(&self, of: impl Fn(u32) -> bool) -> BTreeSet<u64> {
        let own = self.0.iter().filter(|(connection, _)| of(*connection));
        own.map(|&(_, mask)| mask).collect()
    }

    fn admits(&self, connection: u32, mask: u64) -> bool {
        let all = self.masks(|_| true);
        let own = self.masks(|other| other == connection);
        let client = self.masks(|other| client(other) == client(connection));
        if own.contains(&mask) || own.len() == PER_CONNECTION || all.contains(&mask) {
            return own.contains(&mask) || own.len() < PER_CONNECTION;
        }
        match all.len() {
            0..64 if client.len() < 32 => true,
            0..128 if own.len() < 2 => true,
            0..256 => client.len() < 2,
            _ => false,
        }
    }
}

/// Clients with ever more connections: 0; 1 to 3; 4 to 8 and so on.
fn client(connection: u32) -> u64 {
    u64::from((connection + 1).isqrt())
}

/// Adds the mask to the connection if it is admitted.
fn take(shares: &mut Wildcards, model: &mut Model, connection: u32, mask: u64) -> bool {
    let all = model.masks(|_| true);
    let (id, client) = (ConnectionId(connection), client(connection));
    let admitted = shares.admits(id, client, SHAPE, mask, all.len(), all.contains(&mask));
    assert_eq!(
        admitted,
        model.admits(connection, mask),
        "{connection} {mask}"
    );
    if admitted {
        shares.enter(id, client, SHAPE, mask);
        model.0.push((connection, mask));
    }
    admitted
}

proptest! {
    #[test]
    fn shares_are_as_counted_by_hand(
        operations in proptest::collection::vec((0..40u32, 1..200u64, 0..8u8), 0..400),
    ) {
        let (mut shares, mut model) = (Wildcards::new(Hasher::default()), Model::default());
        for (connection, mask, kind) in operations {
            if kind > 0 {
                take(&mut shares, &mut model, connection, mask);
            } else if let Some(at) = model.0.iter().position(|&(own, _)| own == connection) {
                let (_, mask) = model.0.remove(at);
                shares.leave(ConnectionId(connection), SHAPE, mask);
            }
        }
        let mut left = BTreeMap::new();
        for (connection, mask) in model.0 {
            *left.entry((connection, mask)).or_insert(0) += 1;
        }
        for ((connection, mask), count) in left {
            for _ in 0..count {
                shares.leave(ConnectionId(connection), SHAPE, mask);
            }
        }
        prop_assert!(shares.is_empty());
    }
}

#[test]
fn neither_one_connection_nor_many_of_one_client_use_up_what_others_need() {
    let (mut shares, mut model) = (Wildcards::new(Hasher::default()), Model::default());
    // A client requests more than is available, on each of its connections.
    let (first, last) = (31 * 31, 32 * 32 - 1);
    assert!((first - 1..last - 1).all(|connection| client(connection) == 31));
    let mut taken = 0;
    for connection in first - 1..last - 1 {
        let masks = 1..=150u64;
        taken += masks
            .filter(|&mask| take(&mut shares, &mut model, connection, mask))
            .count();
    }
    assert!(taken > 64);
    let held = model.masks(|_| true).len();
    assert!(held <= FOR_CONNECTIONS, "{held}");
    // Others still have two of their own each, for as many clients as the reserve is for.
    for connection in [0, 1, 4, 9, 16] {
        for mask in [2_000, 3_000] {
            let mask = mask + u64::from(connection);
            assert!(
                take(&mut shares, &mut model, connection, mask),
                "{connection}"
            );
        }
    }
}

#[test]
fn connections_that_cannot_be_told_apart_share_as_well() {
    let mut shares = Wildcards::new(Hasher::default());
    let mut masks = BTreeSet::new();
    let mut take = |connection: u32, mask: u64| {
        let id = ConnectionId(connection);
        let admitted = shares.admits(id, 0, SHAPE, mask, masks.len(), masks.contains(&mask));
        if admitted {
            shares.enter(id, 0, SHAPE, mask);
            masks.insert(mask);
        }
        admitted
    };
    // One that requests all, from a few connections.
    for connection in 0..10 {
        for mask in 1..=127 {
            take(connection, mask + 128 * u64::from(connection));
        }
    }
    // Another one, behind the same address.
    assert!(take(99, 5_000) && take(99, 5_001));
}
