//! Tenants that have too many bytes lose their own oldest entries, and nobody loses others.

use ht_proto::cursor::{Cursor, Part};

use super::*;

const LOUD: TenantId = TenantId::new(1);
const OTHER: TenantId = TenantId::new(2);

fn of(tenant: TenantId, position: u64) -> Item<u64> {
    Item {
        tenant,
        ..item(position, 0, position)
    }
}

/// The positions of a tenant's entries that are kept.
fn kept(view: &View<u64>, tenant: TenantId) -> Vec<u64> {
    let all = view.after(view.start(), None);
    let own = all.filter(|item| item.tenant == tenant && matches!(item.body, Kept::Entry(_)));
    own.map(|item| item.position).collect()
}

#[test]
fn tenant_with_too_many_bytes_loses_its_own_oldest_entries_and_its_own_cursors_are_refused() {
    let mut window = window(ROOMY);
    window.set_quota(LOUD, Some(60_000));
    // One of the other tenant to ten of the loud one.
    for position in 1..=880 {
        let tenant = if position % 11 == 0 { OTHER } else { LOUD };
        window.append(of(tenant, position), Concerns::Rooms(&[]), 100);
        assert!(window.bytes_of(LOUD) <= 60_000);
    }
    assert_eq!(window.bytes_of(OTHER), 8_000);
    let view = window.reader().view();
    let (loud, other) = (kept(&view, LOUD), kept(&view, OTHER));
    assert_eq!(other.len(), 80, "all of them");
    assert!(loud.len() >= 500 - SEGMENT_ENTRIES && loud.is_sorted());
    assert_eq!(window.len(), loud.len() + other.len());
    assert_eq!(window.trimmed() as usize, 800 - loud.len());
    let start = view.start_of(LOUD);
    assert_eq!((view.start(), view.start_of(OTHER)), (0, 0));
    assert!(loud[0] > start && start > 0);
    // Every cursor is still one of the other tenant, whosever entry it is of.
    for position in 1..=880 {
        let cursor = view.cursor(position);
        assert_eq!(view.find_of(OTHER, &cursor), Ok(position));
        let found = view.find_of(LOUD, &cursor);
        match position < start {
            true => assert_eq!(found, Err(Unknown::Trimmed), "{position}"),
            false => assert_eq!(found, Ok(position)),
        }
    }
    let part = Cursor {
        part: Some(Part::of(b"1", b"{}")),
        ..view.cursor(start)
    };
    assert_eq!(view.find_of(LOUD, &part), Err(Unknown::Trimmed));
    assert_eq!(view.find_of(OTHER, &part), Ok(start));
}

#[test]
fn quota_applies_to_what_is_there_and_is_lifted_again() {
    let mut window = window(ROOMY);
    for position in 1..=100 {
        window.append(of(LOUD, position), Concerns::Rooms(&[]), 1_000);
    }
    let before = window.reader().view();
    window.set_quota(LOUD, Some(10_000));
    assert_eq!(
        (window.len(), window.bytes_of(LOUD)),
        (0, 0),
        "a segment at once"
    );
    assert_eq!(kept(&before, LOUD).len(), 100, "a reader keeps what it saw");
    assert!(window.bytes() < 100_000);
    window.set_quota(LOUD, None);
    for position in 101..=200 {
        window.append(of(LOUD, position), Concerns::Rooms(&[]), 1_000);
    }
    assert_eq!(kept(&window.reader().view(), LOUD).len(), 100);
    // With the entries of all tenants nothing is left of it.
    window.expire(10 * ROOMY.age);
    assert_eq!(
        (window.len(), window.bytes(), window.bytes_of(LOUD)),
        (0, 0, 0)
    );
    assert_eq!(window.reader().view().start_of(LOUD), 200);
}

#[test]
fn entry_longer_than_its_tenants_quota_is_not_kept() {
    let mut window = window(ROOMY);
    window.set_quota(LOUD, Some(1_000));
    window.append(of(LOUD, 1), Concerns::Rooms(&[]), 2_000);
    window.append(of(OTHER, 2), Concerns::Rooms(&[]), 2_000);
    let view = window.reader().view();
    assert_eq!((view.start_of(LOUD), view.start_of(OTHER)), (1, 0));
    assert_eq!((kept(&view, LOUD), kept(&view, OTHER)), (vec![], vec![2]));
}

/// Appends entries of a loud tenant, and one of the other to each hundred of them.
fn append_loud(window: &mut Window<u64>, count: u64, bytes: usize) {
    let begin = window.end();
    for position in begin + 1..=begin + count {
        let tenant = if position % 100 == 1 { OTHER } else { LOUD };
        window.append(of(tenant, position), Concerns::Rooms(&[]), bytes);
    }
}

#[test]
fn full_window_loses_entries_of_the_tenant_that_has_most() {
    for limits in [
        WindowLimits {
            entries: 1_000,
            bytes: 64 << 20,
            ..ROOMY
        },
        WindowLimits {
            entries: 100_000,
            bytes: 2_000_000,
            ..ROOMY
        },
    ] {
        let mut window = window(limits);
        append_loud(&mut window, 5_000, 1_000);
        assert!(window.len() <= limits.entries && window.bytes() <= limits.bytes);
        let view = window.reader().view();
        let (loud, other) = (kept(&view, LOUD), kept(&view, OTHER));
        assert_eq!(other.len(), 50, "all of them: {limits:?}");
        assert_eq!((view.start(), view.start_of(OTHER)), (0, 0));
        // The last ones of the other, without a hole.
        let last: Vec<_> = (1..=5_000).filter(|at| at % 100 != 1).collect();
        assert!(loud.len() >= 400, "{} {limits:?}", loud.len());
        assert_eq!(loud, last[last.len() - loud.len()..]);
        for position in 1..=5_000 {
            let cursor = view.cursor(position);
            assert_eq!(view.find_of(OTHER, &cursor), Ok(position));
            let found = view.find_of(LOUD, &cursor);
            assert_eq!(found.is_ok(), position >= view.start_of(LOUD), "{position}");
        }
    }
}

#[test]
fn what_is_left_of_trimmed_entries_has_a_bound_as_well() {
    let limits = WindowLimits {
        entries: 1_000_000,
        ..ROOMY
    };
    let mut window = window(limits);
    append_loud(&mut window, 100_000, 100);
    assert!(window.bytes() <= limits.bytes);
    let view = window.reader().view();
    assert!(view.start() > 0, "the oldest are gone for all");
    assert!(!kept(&view, OTHER).is_empty() && !kept(&view, LOUD).is_empty());
}

#[test]
fn small_quota_makes_no_more_segments_than_a_large_one() {
    let limits = WindowLimits {
        entries: 100_000,
        ..ROOMY
    };
    let bytes_beside_entries = |quota| {
        let mut window = window(limits);
        window.set_quota(LOUD, quota);
        for position in 1..=10 * SEGMENT_ENTRIES as u64 {
            window.append(of(LOUD, position), Concerns::Rooms(&[]), 10);
        }
        window.bytes() - window.bytes_of(LOUD)
    };
    let usual = bytes_beside_entries(None);
    for quota in [1, 10, 100, 1_000] {
        assert_eq!(bytes_beside_entries(Some(quota)), usual, "{quota}");
    }
}

/// What each tenant may have at most, if it has a bound.
const QUOTAS: [Option<usize>; 3] = [None, Some(20_000), Some(5_000)];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn no_tenant_loses_what_another_has_too_much(
        runs in prop::collection::vec((0..3_u32, 1..120_usize, 0..600_usize), 1..60),
    ) {
        let limits = WindowLimits { entries: 2_000, bytes: 300_000, age: 1_000_000 };
        let mut window = window(limits);
        for (tenant, bytes) in (0..).zip(QUOTAS) {
            window.set_quota(TenantId::new(tenant), bytes);
        }
        let reader = window.reader();
        let (mut position, mut all) = (0, Vec::new());
        for (tenant, count, bytes) in runs {
            for _ in 0..count {
                position += 1;
                let tenant = TenantId::new(tenant);
                window.append(of(tenant, position), Concerns::Rooms(&[]), bytes);
                all.push((tenant, position, bytes));
            }
            let view = reader.view();
            let mut len = 0;
            for (tenant, quota) in (0..).map(TenantId::new).zip(QUOTAS) {
                let start = view.start_of(tenant);
                let own = all.iter().filter(|(of, at, _)| *of == tenant && *at > start);
                let bytes: usize = own.clone().map(|(.., bytes)| bytes).sum();
                let own: Vec<_> = own.map(|(_, at, _)| *at).collect();
                // Exactly what is after its start, and no more than it may have.
                prop_assert_eq!(&kept(&view, tenant), &own);
                len += own.len();
                let charged = window.bytes_of(tenant);
                prop_assert!(charged >= bytes && charged <= quota.unwrap_or(usize::MAX));
                for at in (view.start() + 1..=position).step_by(13) {
                    let cursor = view.cursor(at);
                    prop_assert_eq!(view.find(&cursor), Ok(at));
                    prop_assert_eq!(view.find_of(tenant, &cursor).is_ok(), at >= start);
                }
            }
            prop_assert_eq!(window.len(), len);
            prop_assert!(window.bytes() <= limits.bytes && window.len() <= limits.entries);
        }
    }
}

#[test]
fn entries_that_were_trimmed_in_another_process_are_missing_for_their_tenant_alone() {
    let mut window = window(ROOMY);
    window.append(of(OTHER, 1), Concerns::Rooms(&[]), 100);
    for position in 2..=300 {
        window.append_trimmed(Item {
            body: Kept::Trimmed,
            ..of(LOUD, position)
        });
    }
    window.append(of(LOUD, 301), Concerns::Rooms(&[]), 100);
    let view = window.reader().view();
    assert_eq!((view.start(), view.start_of(LOUD)), (0, 300));
    assert_eq!(window.len(), 2);
    for position in 1..=301 {
        let cursor = view.cursor(position);
        assert_eq!(view.find_of(OTHER, &cursor), Ok(position));
        assert_eq!(view.find_of(LOUD, &cursor).is_ok(), position >= 300);
    }
}
