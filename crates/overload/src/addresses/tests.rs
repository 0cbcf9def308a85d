//! Counts, compared with a naive model.

use std::collections::HashMap;

use proptest::prelude::*;

use super::*;

const NO_BOUNDS: Bounds = Bounds {
    open: 0,
    per_second: 0,
};

fn at(text: &str) -> Client {
    Client::At(text.parse().unwrap())
}

fn secs(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds)
}

fn len(addresses: &Addresses) -> (usize, usize) {
    assert_eq!(addresses.entries.len(), addresses.index.len());
    (addresses.entries.len(), addresses.lingering.len())
}

#[test]
fn an_address_has_as_many_connections_as_it_may_have() {
    let mut addresses = Addresses::default();
    let bounds = Bounds {
        open: 2,
        per_second: 0,
    };
    let take = |addresses: &mut Addresses, client| addresses.take(client, bounds, Duration::ZERO);
    let (first, one) = take(&mut addresses, at("192.0.2.1")).unwrap();
    let (_, two) = take(&mut addresses, at("192.0.2.1")).unwrap();
    assert_eq!((one, two), (1, 2));
    assert_eq!(take(&mut addresses, at("192.0.2.1")), Err(Crowded::Open));
    assert!(take(&mut addresses, at("192.0.2.2")).is_ok());
    addresses.give_back(first, Duration::ZERO);
    assert!(take(&mut addresses, at("192.0.2.1")).is_ok());
    assert_eq!(take(&mut addresses, at("192.0.2.1")), Err(Crowded::Open));
}

#[test]
fn ipv6_addresses_count_by_their_network() {
    let mut addresses = Addresses::default();
    let bounds = Bounds {
        open: 1,
        per_second: 0,
    };
    let take = |addresses: &mut Addresses, client| addresses.take(client, bounds, Duration::ZERO);
    let (slot, _) = take(&mut addresses, at("2001:db8:0:1::1")).unwrap();
    assert_eq!(addresses.name(slot).unwrap(), "2001:db8:0:1::/64");
    assert_eq!(
        take(&mut addresses, at("2001:db8:0:1:ffff::2")),
        Err(Crowded::Open)
    );
    assert!(take(&mut addresses, at("2001:db8:0:2::1")).is_ok());
}

#[test]
fn clients_of_unknown_address_behind_a_proxy_are_not_limited() {
    let mut addresses = Addresses::default();
    let bounds = Bounds {
        open: 1,
        per_second: 1,
    };
    let proxy = "10.0.0.1".parse().unwrap();
    for peer in [Peer::Ip(proxy), Peer::Unix] {
        for count in 1..100 {
            let (_, open) = addresses
                .take(Client::Behind(peer), bounds, Duration::ZERO)
                .unwrap();
            assert_eq!(open, count);
        }
    }
    // The proxy itself has an entry of its own.
    let (_, open) = addresses
        .take(Client::At(proxy), bounds, Duration::ZERO)
        .unwrap();
    assert_eq!(open, 1);
}

#[test]
fn handshakes_of_an_address_are_rate_limited() {
    let mut addresses = Addresses::default();
    let bounds = Bounds {
        open: 0,
        per_second: 5,
    };
    let mut come = |now| addresses.take(at("192.0.2.1"), bounds, now);
    // The burst of ten seconds at once.
    for _ in 0..50 {
        assert!(come(secs(1.0)).is_ok());
    }
    let again = secs(0.2);
    assert_eq!(come(secs(1.0)), Err(Crowded::Rate { again }));
    // A rejected client does not wait longer for it.
    assert_eq!(come(secs(1.0)), Err(Crowded::Rate { again }));
    assert!(come(secs(1.2)).is_ok());
    assert!(matches!(come(secs(1.3)), Err(Crowded::Rate { .. })));
    for _ in 0..50 {
        assert!(come(secs(100.0)).is_ok());
    }
    assert!(come(secs(100.0)).is_err());
}

#[test]
fn entries_of_disconnected_addresses_are_removed() {
    let mut addresses = Addresses::default();
    let bounds = Bounds {
        open: 0,
        per_second: 1_000,
    };
    for count in 0..100_000_u32 {
        let now = Duration::from_micros(u64::from(count) * 10);
        let client = Client::At(IpAddr::V4(Ipv4Addr::from(count)));
        let (slot, _) = addresses.take(client, bounds, now).unwrap();
        addresses.give_back(slot, now);
        // Each counts for a millisecond, in which a hundred are made.
        assert!(len(&addresses).0 <= 102, "{count}: {:?}", len(&addresses));
    }
    // No handshakes: few entries are left, and they are removed with the next one.
    for _ in 0..60 {
        let (slot, _) = addresses
            .take(at("192.0.2.1"), NO_BOUNDS, secs(9.0))
            .unwrap();
        addresses.give_back(slot, secs(9.0));
    }
    assert_eq!(len(&addresses), (0, 0));
}

#[derive(Clone, Debug)]
enum Step {
    Take(u8),
    GiveBack(prop::sample::Index),
    Wait(u32),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0u8..5).prop_map(Step::Take),
        any::<prop::sample::Index>().prop_map(Step::GiveBack),
        (0u32..3_000).prop_map(Step::Wait),
    ]
}

proptest! {
    #[test]
    fn counts_match_a_naive_model(
        open_max in 0usize..4,
        per_second in 0usize..4,
        steps in prop::collection::vec(step(), 0..300),
    ) {
        let mut addresses = Addresses::default();
        let bounds = Bounds { open: open_max, per_second };
        let mut now = Duration::ZERO;
        let mut held: Vec<(u8, Slot)> = Vec::new();
        // When each address was admitted.
        let mut times: HashMap<u8, Vec<Duration>> = HashMap::new();
        for step in steps {
            match step {
                Step::Wait(ms) => now += Duration::from_millis(u64::from(ms)),
                Step::GiveBack(at) if !held.is_empty() => {
                    let (_, slot) = held.swap_remove(at.index(held.len()));
                    addresses.give_back(slot, now);
                }
                Step::GiveBack(_) => {}
                Step::Take(address) => {
                    let client = Client::At(IpAddr::V4(Ipv4Addr::from(u32::from(address))));
                    let open = held.iter().filter(|(of, _)| *of == address).count();
                    match addresses.take(client, bounds, now) {
                        Ok((slot, counted)) => {
                            prop_assert_eq!(counted as usize, open + 1);
                            prop_assert!(open_max == 0 || open < open_max);
                            held.push((address, slot));
                            times.entry(address).or_default().push(now);
                        }
                        Err(Crowded::Open) => prop_assert_eq!(open, open_max),
                        Err(Crowded::Rate { again }) => {
                            prop_assert!(again > Duration::ZERO && per_second > 0);
                            let let_in = times.get(&address).map_or(0, Vec::len);
                            prop_assert!(let_in >= per_second * 10);
                        }
                    }
                }
            }
            // In any span no more than its rate and the burst.
            for times in times.values().filter(|_| per_second > 0) {
                let last = times.last().copied().unwrap_or_default();
                for (back, first) in times.iter().rev().enumerate() {
                    let share = (last - *first + BURST).as_secs_f64() * per_second as f64;
                    prop_assert!((back + 1) as f64 <= share + 1e-6);
                }
            }
        }
        for (_, slot) in held {
            addresses.give_back(slot, now);
        }
        now += BURST + BURST;
        for _ in 0..10 {
            let (slot, open) = addresses.take(at("192.0.2.1"), NO_BOUNDS, now).unwrap();
            prop_assert_eq!(open, 1);
            addresses.give_back(slot, now);
        }
        prop_assert_eq!(len(&addresses), (0, 0));
    }
}
