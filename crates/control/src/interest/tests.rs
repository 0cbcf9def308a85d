//! The index alone, and against shards that open and close rooms meanwhile.

use std::collections::HashSet;

use ht_proto::room::RoomLimits;
use proptest::prelude::*;

use super::*;

const NONE: [usize; 0] = [];

fn room(text: &str) -> Room {
    Room::parse(text, RoomLimits::TRUSTED).unwrap()
}

/// The shards, of `shards`, that a trigger for these rooms is handed to.
fn concerned(interest: &InterestIndex, shards: usize, rooms: &[&str]) -> Vec<usize> {
    let rooms = rooms.iter().map(|text| room(text)).collect();
    let set = interest.placed(&[Publication::new(1, TenantId::MAIN, rooms, "0".into())]);
    (0..shards).filter(|&shard| set.contains(shard)).collect()
}

#[test]
fn a_room_in_two_shards_is_one_room() {
    let interest = InterestIndex::new(2, Matching::Wildcard);
    interest.opened(0, TenantId::MAIN, &room(r#"{"a":1}"#));
    interest.opened(1, TenantId::MAIN, &room(r#"{"a":1}"#));
    interest.opened(0, TenantId::MAIN, &room(r#"{"a":2}"#));
    assert_eq!(interest.rooms(), 2);
    interest.closed(0, TenantId::MAIN, &room(r#"{"a":1}"#));
    assert_eq!(interest.rooms(), 2);
    interest.closed(1, TenantId::MAIN, &room(r#"{"a":1}"#));
    interest.closed(0, TenantId::MAIN, &room(r#"{"a":2}"#));
    assert_eq!(interest.rooms(), 0);
}

#[test]
fn a_publication_concerns_the_shards_where_its_rooms_are() {
    let interest = InterestIndex::new(3, Matching::Wildcard);
    assert_eq!(concerned(&interest, 3, &[r#"{"a":1}"#]), NONE);
    interest.opened(0, TenantId::MAIN, &room(r#"{"a":1}"#));
    interest.opened(2, TenantId::MAIN, &room(r#"{"a":1}"#));
    interest.opened(1, TenantId::MAIN, &room(r#"{"a":2}"#));
    assert_eq!(concerned(&interest, 3, &[r#"{"a":1}"#]), [0, 2]);
    assert_eq!(concerned(&interest, 3, &[r#"{"a":2}"#]), [1]);
    assert_eq!(
        concerned(&interest, 3, &[r#"{"a":2}"#, r#"{"a":1}"#]),
        [0, 1, 2]
    );
    assert_eq!(concerned(&interest, 3, &[r#"{"a":"1"}"#, "{}"]), NONE);
    assert_eq!(concerned(&interest, 3, &[]), NONE);
    interest.closed(0, TenantId::MAIN, &room(r#"{"a":1}"#));
    assert_eq!(concerned(&interest, 3, &[r#"{"a":1}"#]), [2]);
}

#[test]
fn wildcards_concern_every_room_of_their_keys() {
    let interest = InterestIndex::new(3, Matching::Wildcard);
    interest.opened(1, TenantId::MAIN, &room(r#"{"a":"*"}"#));
    interest.opened(1, TenantId::MAIN, &room(r#"{"a":"*","b":1}"#));
    interest.opened(1, TenantId::MAIN, &room(r#"{"a":1,"b":"*"}"#));
    assert_eq!(concerned(&interest, 3, &[r#"{"a":7}"#]), [1]);
    assert_eq!(concerned(&interest, 3, &[r#"{"b":1,"a":7}"#]), [1]);
    assert_eq!(concerned(&interest, 3, &[r#"{"b":1}"#]), NONE);
    // A trigger with `*` may meet anything.
    assert_eq!(concerned(&interest, 3, &[r#"{"c":"*"}"#]), [0, 1, 2]);
    interest.closed(1, TenantId::MAIN, &room(r#"{"a":"*","b":1}"#));
    assert_eq!(concerned(&interest, 3, &[r#"{"b":1,"a":7}"#]), [1]);
    interest.closed(1, TenantId::MAIN, &room(r#"{"a":1,"b":"*"}"#));
    assert_eq!(concerned(&interest, 3, &[r#"{"b":1,"a":7}"#]), NONE);
}

#[test]
fn a_star_is_a_value_where_matching_is_exact() {
    let interest = InterestIndex::new(2, Matching::Exact);
    interest.opened(0, TenantId::MAIN, &room(r#"{"a":"*"}"#));
    interest.opened(1, TenantId::MAIN, &room(r#"{"a":1}"#));
    assert_eq!(concerned(&interest, 2, &[r#"{"a":"*"}"#]), [0]);
    assert_eq!(concerned(&interest, 2, &[r#"{"a":1}"#]), [1]);
}

#[test]
fn shards_that_share_a_bit_are_counted_apart_when_rooms_close() {
    let interest = InterestIndex::new(70, Matching::Wildcard);
    let a = room(r#"{"a":1}"#);
    interest.opened(64, TenantId::MAIN, &a);
    interest.opened(69, TenantId::MAIN, &a);
    let last: Vec<_> = (63..70).collect();
    assert_eq!(concerned(&interest, 70, &[r#"{"a":1}"#]), last);
    interest.closed(69, TenantId::MAIN, &a);
    assert_eq!(concerned(&interest, 70, &[r#"{"a":1}"#]), last);
    assert_eq!(interest.rooms(), 1);
    interest.closed(64, TenantId::MAIN, &a);
    assert_eq!(concerned(&interest, 70, &[r#"{"a":1}"#]), NONE);
    assert_eq!(interest.rooms(), 0);
}

#[test]
fn different_rooms_of_one_hash_do_not_hide_each_other() {
    let mut presence = Presence::default();
    let shard = ShardSet::of(3);
    assert!(presence.enter(7, shard));
    assert!(!presence.enter(7, shard));
    assert!(!presence.leave(7, shard));
    assert!(presence.shards(7).contains(3));
    assert!(presence.leave(7, shard));
    assert!(presence.is_empty() && presence.more.is_empty());
    assert!(!presence.leave(7, shard));
}

/// Publishes to one room from one thread while another opens and closes it as often as it can. The
/// position that the room gets when it opens must cut the publications exactly: every later one was
/// sent to the shard, until the room closes.
fn check_cut(opens: &str, names: &str) {
    const POSITIONS: u64 = 30_000;
    let interest = InterestIndex::new(2, Matching::Wildcard);
    let opens = room(opens);
    // Others after it, so that much may happen between its lookup and the end of them all.
    let others = (0..20).map(|n| format!(r#"{{"b":{n}}}"#));
    let others = others.map(|text| room(&text));
    let rooms: Vec<_> = std::iter::once(room(names)).chain(others).collect();
    let (handed, times) = std::thread::scope(|scope| {
        let publisher = scope.spawn(|| {
            let mut handed = HashSet::new();
            for position in 1..=POSITIONS {
                let batch = [Publication::new(
                    position,
                    TenantId::MAIN,
                    rooms.clone(),
                    "0".into(),
                )];
                if interest.placed(&batch).contains(0) {
                    handed.insert(position);
                }
            }
            handed
        });
        let mut times = Vec::new();
        let mut inside = 0;
        loop {
            let since = interest.opened(0, TenantId::MAIN, &opens);
            inside = (inside + 7) % 100;
            (0..inside).for_each(|_| std::hint::spin_loop());
            // Read before it closes: nothing up to here may be missing.
            let until = interest.position.load(Ordering::Acquire);
            interest.closed(0, TenantId::MAIN, &opens);
            times.push((since, until));
            if publisher.is_finished() {
                break;
            }
        }
        (publisher.join().unwrap(), times)
    });
    for (since, until) in times {
        // The last one may have been written but not looked up when the room closed.
        for position in since + 1..until {
            assert!(handed.contains(&position), "{since} {position} {until}");
        }
    }
}

#[test]
fn a_room_that_opens_while_others_publish_misses_nothing_after_its_position() {
    check_cut(r#"{"a":1}"#, r#"{"a":1}"#);
    check_cut(r#"{"a":"*"}"#, r#"{"a":1}"#);
}

#[test]
fn tables_release_memory_when_rooms_close() {
    let interest = InterestIndex::new(2, Matching::Wildcard);
    let rooms: Vec<_> = (0..50_000)
        .map(|n| room(&format!(r#"{{"a":{n}}}"#)))
        .collect();
    let capacity = || -> usize {
        let stripes = interest
            .stripes
            .iter()
            .map(|stripe| lock(stripe).rooms.shards.capacity());
        stripes.sum()
    };
    for room in &rooms {
        interest.opened(0, TenantId::MAIN, room);
    }
    assert!(capacity() >= 50_000);
    for room in &rooms[1..] {
        interest.closed(0, TenantId::MAIN, room);
    }
    assert!(capacity() <= 2 * KEPT * STRIPES, "{}", capacity());
    assert_eq!(interest.rooms(), 1);
}

#[test]
fn two_tenants_never_meet() {
    let interest = InterestIndex::new(2, Matching::Wildcard);
    let tenants = [TenantId::MAIN, TenantId::new(1)];
    for (shard, tenant) in tenants.into_iter().enumerate() {
        for text in [r#"{"a":1}"#, r#"{"a":"*"}"#] {
            interest.opened(shard, tenant, &room(text));
        }
        assert_eq!(interest.rooms_of(tenant), 2);
    }
    interest.opened(0, tenants[1], &room(r#"{"b":1}"#));
    assert_eq!((interest.rooms(), interest.rooms_of(tenants[1])), (5, 3));
    for text in [r#"{"a":1}"#, r#"{"a":2}"#] {
        let hearing =
            |tenant| interest.hearing_any([interest.key(tenant, &room(text))].into_iter());
        assert_eq!(hearing(tenants[0]), ShardSet::of(0));
        assert_eq!(hearing(tenants[1]), ShardSet::of(1));
    }
    for text in [r#"{"a":1}"#, r#"{"a":"*"}"#] {
        interest.closed(0, tenants[0], &room(text));
    }
    assert_eq!((interest.rooms(), interest.rooms_of(tenants[0])), (3, 0));
    let nobody = interest.hearing_any([interest.key(tenants[0], &room(r#"{"a":1}"#))].into_iter());
    assert_eq!(nobody, ShardSet::NONE);
}

proptest! {
    #[test]
    fn each_tenant_has_the_index_that_it_would_have_alone(
        steps in prop::collection::vec((0..3_u32, 0..2_usize, 0..ROOMS.len(), any::<bool>()), 1..80),
        asked in 0..ROOMS.len(),
    ) {
        let shared = InterestIndex::with_hasher(2, Matching::Wildcard, Hasher::fixed());
        let alone: [_; 3] = std::array::from_fn(|_| {
            InterestIndex::with_hasher(2, Matching::Wildcard, Hasher::fixed())
        });
        let mut open = HashSet::new();
        for (number, shard, of, opens) in steps {
            let (tenant, of) = (TenantId::new(number), room(ROOMS[of]));
            let own = &alone[number as usize];
            // A shard opens a room that it does not have, and closes one that it has.
            match (opens, open.contains(&(number, shard, of.clone()))) {
                (true, false) => {
                    shared.opened(shard, tenant, &of);
                    own.opened(shard, tenant, &of);
                    open.insert((number, shard, of));
                }
                (false, true) => {
                    shared.closed(shard, tenant, &of);
                    own.closed(shard, tenant, &of);
                    open.remove(&(number, shard, of));
                }
                (true, true) | (false, false) => {}
            }
        }
        let mut rooms = 0;
        for (number, own) in (0..).zip(&alone) {
            let tenant = TenantId::new(number);
            let key = |index: &InterestIndex| index.key(tenant, &room(ROOMS[asked]));
            prop_assert_eq!(
                shared.hearing_any([key(&shared)].into_iter()),
                own.hearing_any([key(own)].into_iter())
            );
            prop_assert_eq!(shared.rooms_of(tenant), own.rooms());
            rooms += own.rooms();
        }
        prop_assert_eq!(shared.rooms(), rooms);
    }
}

const ROOMS: [&str; 5] = [
    r#"{"a":1}"#,
    r#"{"a":2}"#,
    r#"{"a":"*"}"#,
    r#"{"a":1,"b":"*"}"#,
    r#"{"b":1}"#,
];
