//! Cases by hand, and random entries against a model that remembers every one.

use proptest::prelude::*;

use ht_proto::entry::TenantId;

use super::*;

fn order(ids_max: usize) -> Order {
    Order::new(Epoch::from_random(7), ids_max)
}

fn at(number: u64) -> Position {
    Position::new(number).unwrap()
}

/// Where the next entry with this id is placed, and whether it is a duplicate.
fn place(order: &mut Order, given: Option<u64>, id: Option<&str>) -> (u64, bool) {
    let id = id.map(|id| TenantId::MAIN.scope(id.into()));
    let placed = order.place(given.map(at), id);
    (placed.position.get(), placed.duplicate)
}

#[test]
fn a_hole_has_a_position_before_the_next_entry() {
    let mut counted = order(2);
    assert_eq!(counted.hole(None), Some(at(1)));
    assert_eq!(place(&mut counted, None, None), (2, false));
    let mut given = order(2);
    assert_eq!(place(&mut given, Some(5), None), (5, false));
    assert_eq!(given.hole(Some(at(6))), None, "nothing is between them");
    assert_eq!(given.hole(Some(at(5))), None, "it was placed before");
    assert_eq!(given.hole(Some(at(9))), Some(at(8)));
    assert_eq!(place(&mut given, Some(8), None), (8, true));
    assert_eq!(place(&mut given, Some(9), None), (9, false));
}

#[test]
fn a_repeated_id_keeps_its_first_position_within_the_window() {
    let mut order = order(2);
    for (id, placed) in [
        (Some("a"), (1, false)),
        (None, (2, false)),
        (None, (3, false)),
        (Some("a"), (1, true)),
        (Some("b"), (4, false)),
        (Some("c"), (5, false)),
        (Some("a"), (6, false)),
        (Some("c"), (5, true)),
    ] {
        assert_eq!(place(&mut order, None, id), placed, "{id:?}");
    }
    assert_eq!(order.last(), at(6));
    assert_eq!(order.epoch(), Epoch::from_random(7));
}

#[test]
fn an_id_of_another_tenant_is_another_one() {
    let mut order = order(3);
    let tenants = [0, 1, 2].map(TenantId::new);
    for (number, tenant) in (1..).zip(tenants) {
        for is_again in [false, true] {
            let placed = order.place(None, Some(tenant.scope("a".into())));
            assert_eq!((placed.position, placed.duplicate), (at(number), is_again));
        }
    }
    let ids = order.ids();
    assert_eq!(ids.len(), 3);
    let mut continued = Order::continued(order.epoch(), order.last(), ids, 3);
    for (number, tenant) in (1..).zip(tenants) {
        let placed = continued.place(None, Some(tenant.scope("a".into())));
        assert_eq!((placed.position, placed.duplicate), (at(number), true));
    }
}

fn place_of(order: &mut Order, tenant: u32, given: Option<u64>, id: &str) -> bool {
    let id = TenantId::new(tenant).scope(id.into());
    order.place(given.map(at), Some(id)).duplicate
}

#[test]
fn a_loud_tenant_pushes_out_its_own_ids_alone() {
    let mut order = order(10);
    for id in ["a", "b"] {
        assert!(!place_of(&mut order, 1, None, id));
    }
    for number in 0..100 {
        assert!(!place_of(&mut order, 2, None, &number.to_string()));
    }
    assert_eq!(order.ids().len(), 10, "all together");
    assert!(place_of(&mut order, 1, None, "a") && place_of(&mut order, 1, None, "b"));
    assert!(place_of(&mut order, 2, None, "92") && !place_of(&mut order, 2, None, "91"));
    // Of equal ones the tenant with the oldest id.
    let mut order = Order::new(order.epoch(), 2);
    for (tenant, id) in [(2, "x"), (1, "x"), (3, "x")] {
        assert!(!place_of(&mut order, tenant, None, id));
    }
    assert!(place_of(&mut order, 1, None, "x") && !place_of(&mut order, 2, None, "x"));
}

#[test]
fn tenants_on_one_log_have_so_many_ids_each_over_more_positions() {
    let limits = IdLimits::shared(10);
    assert_eq!(limits.reach(), 40);
    let mut order = Order::new(Epoch::from_random(7), limits);
    assert!(!place_of(&mut order, 1, Some(1), "a"));
    for number in 2..=40 {
        assert!(!place_of(&mut order, 2, Some(number), &number.to_string()));
    }
    assert!(place_of(&mut order, 1, Some(41), "a"));
    // Its own last ten: what it repeats counts.
    assert!(place_of(&mut order, 2, Some(42), "31"));
    assert!(!place_of(&mut order, 2, Some(43), "31"), "the eleventh");
    assert!(!place_of(&mut order, 1, Some(44), "a"), "too far");
}

#[test]
fn without_a_window_no_id_is_remembered() {
    let mut order = order(0);
    assert_eq!(place(&mut order, None, Some("a")), (1, false));
    assert_eq!(place(&mut order, None, Some("a")), (2, false));
}

#[test]
fn positions_of_a_log_are_kept_with_their_holes_and_used_once() {
    let mut order = order(2);
    assert_eq!(place(&mut order, Some(7), None), (7, false));
    assert_eq!(place(&mut order, Some(12), Some("a")), (12, false));
    assert_eq!(place(&mut order, Some(12), Some("a")), (12, true));
    assert_eq!(place(&mut order, Some(9), None), (9, true), "read twice");
    assert_eq!(place(&mut order, Some(14), Some("a")), (12, true));
    assert_eq!(order.last(), at(12));
    assert_eq!(
        place(&mut order, Some(15), Some("a")),
        (15, false),
        "too far"
    );
    assert_eq!(place(&mut order, Some(16), Some("a")), (15, true));
    assert_eq!(place(&mut order, Some(19), None), (19, false));
}

#[test]
fn positions_grow_where_the_log_begins_anew() {
    let mut order = order(100);
    assert_eq!(place(&mut order, Some(50), Some("a")), (50, false));
    assert_eq!(order.restart(Epoch::from_random(8)), at(51));
    assert_eq!((order.base(), order.last()), (at(51), at(51)));
    assert_eq!(order.epoch(), Epoch::from_random(8));
    assert_eq!(place(&mut order, Some(1), Some("a")), (52, false));
    assert_eq!(place(&mut order, Some(1), None), (52, true));
    assert_eq!(order.hole(Some(at(2))), None);
    assert_eq!(order.hole(Some(at(9))), Some(at(59)));
    assert_eq!(place(&mut order, Some(9), Some("a")), (52, true));
    assert_eq!(order.number(at(60)), at(9));
    order.rename(Epoch::from_random(9));
    assert_eq!(
        (order.epoch(), order.base()),
        (Epoch::from_random(9), at(51))
    );
    // Numbers that no log has.
    let most = Position::MAX.get();
    assert_eq!(place(&mut order, Some(most), None), (most, false));
}

proptest! {
    /// Ids come twice at most: a node cannot know of a first one that it has not read.
    #[test]
    fn a_node_that_read_back_decides_as_one_that_was_there(
        most in 1usize..6,
        entries in prop::collection::vec((0u32..3, 1u64..3, prop::option::of(0usize..30)), 1..200),
        begin in 0u64..100,
    ) {
        let limits = IdLimits::shared(most);
        let orders = || Order::new(Epoch::from_random(7), limits);
        let (mut there, mut later) = (orders(), orders());
        let (mut head, mut first) = (0, None);
        let mut once: Vec<(u32, String)> = Vec::new();
        for (tenant, step, again) in entries {
            head += step;
            let (tenant, id) = match again.filter(|again| *again < once.len()) {
                Some(again) => once.remove(once.len() - 1 - again),
                None => {
                    once.push((tenant, head.to_string()));
                    (tenant, head.to_string())
                }
            };
            let expected = place_of(&mut there, tenant, Some(head), &id);
            if head < begin {
                continue;
            }
            let found = place_of(&mut later, tenant, Some(head), &id);
            if head - *first.get_or_insert(head) >= limits.reach() {
                prop_assert_eq!(found, expected, "{} of {}", id, tenant);
            }
        }
    }

    /// Few ids and positions, so that they meet often.
    #[test]
    fn the_first_with_an_id_wins_as_long_as_it_is_remembered(
        ids_max in 0usize..4,
        gives in any::<bool>(),
        entries in prop::collection::vec((1u64..4, prop::option::of(0u8..6)), 0..60),
    ) {
        let mut order = order(ids_max);
        // Every id that was placed, with its position, oldest first.
        let mut all: Vec<(u8, u64)> = Vec::new();
        let (mut last, mut head) = (0, 0);
        for (step, id) in entries {
            head += step;
            let given = gives.then_some(head);
            let name = id.map(|id| id.to_string());
            let found = place(&mut order, given, name.as_deref());
            // By their number, or by their distance.
            let remembered = &all[all.len().saturating_sub(ids_max)..];
            let near = |at: u64| given.is_none_or(|given| given - at <= ids_max as u64);
            let known = remembered.iter().rev().find(|(known, at)| Some(*known) == id && near(*at));
            let expected = match known {
                Some((_, position)) => (*position, true),
                None => {
                    last = given.unwrap_or(last + 1);
                    all.extend(id.map(|id| (id, last)));
                    (last, false)
                }
            };
            prop_assert_eq!(found, expected);
            prop_assert_eq!(order.last().get(), last);
        }
    }
}
