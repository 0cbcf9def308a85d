//! The window against a naive model, and its bounds.

mod cursors;
mod quotas;
mod threads;

use ht_proto::entry::{Epoch, TenantId};
use ht_proto::room::{Room, RoomLimits};
use proptest::prelude::*;

use super::*;
use crate::Hasher;
use crate::index::Matching;

fn hasher() -> Hasher {
    Hasher::fixed()
}

fn room(text: &str) -> Room {
    Room::parse(text, RoomLimits::TRUSTED).unwrap()
}

fn key(room: &Room) -> Key {
    Key::of(TenantId::MAIN, room, Matching::Wildcard, &hasher())
}

fn item(position: u64, at: u64, body: u64) -> Item<u64> {
    Item {
        position,
        at,
        check: Check::of(&position.to_be_bytes()),
        tenant: TenantId::MAIN,
        body: Kept::Entry(body),
    }
}

/// The epoch of all windows here.
const BEGINNING: Beginning = Beginning::of(Epoch::from_random(7));

fn window<T: Clone>(limits: WindowLimits) -> Window<T> {
    Window::new(limits, BEGINNING)
}

/// The check of the entry at a position, if a view has it.
fn check(view: &View<u64>, position: u64) -> Option<Check> {
    let cursor = view.cursor(position);
    let found = cursor.position.get() + view.base() == position && view.find(&cursor).is_ok();
    found.then_some(cursor.check)
}

fn positions(view: &View<u64>, after: u64, wanted: Option<&Wanted>) -> Vec<u64> {
    view.after(after, wanted)
        .map(|item| item.position)
        .collect()
}

const ROOMY: WindowLimits = WindowLimits {
    entries: 1_000,
    bytes: 1 << 20,
    age: 1_000,
};

#[test]
fn empty_window_covers_everything_before_it() {
    let window = Window::<u64>::new(ROOMY, BEGINNING.based(17));
    let view = window.reader().view();
    assert_eq!((view.start(), view.end()), (17, 17));
    assert!(positions(&view, 0, None).is_empty());
    assert_eq!(check(&view, 17), Some(Check::NONE));
    assert!(window.is_empty() && window.oldest_at().is_none());
}

#[test]
fn positions_may_have_holes_and_never_decrease() {
    let mut window = window(ROOMY);
    let reader = window.reader();
    for position in [3, 4, 4, 2, 10, 1_000_000] {
        window.append(item(position, 0, 0), Concerns::Rooms(&[]), 1);
    }
    let view = reader.view();
    assert_eq!(positions(&view, 0, None), [3, 4, 10, 1_000_000]);
    assert_eq!(positions(&view, 4, None), [10, 1_000_000]);
    assert_eq!(positions(&view, 5, None), [10, 1_000_000]);
    assert_eq!(positions(&view, 1_000_000, None), [0; 0]);
    assert_eq!(check(&view, 10), Some(Check::of(&10_u64.to_be_bytes())));
    assert_eq!((check(&view, 5), check(&view, 1_000_001)), (None, None));
}

#[test]
fn a_view_keeps_what_it_saw() {
    let mut window = window(WindowLimits {
        entries: 10,
        ..ROOMY
    });
    let reader = window.reader();
    (1..=10).for_each(|position| window.append(item(position, 0, 0), Concerns::All, 1));
    let before = reader.view();
    (11..=2_000).for_each(|position| window.append(item(position, 0, 0), Concerns::All, 1));
    assert_eq!(before.start(), 0);
    assert!(positions(&before, 0, None).starts_with(&[1, 2, 3, 4, 5, 6, 7, 8, 9, 10]));
    assert_eq!(reader.view().start(), 1_990);
    assert_eq!(positions(&reader.view(), 0, None).len(), 10);
}

#[test]
fn age_drops_without_appends_and_gives_memory_back() {
    let mut window = window(ROOMY);
    (1..=100).for_each(|position| window.append(item(position, position, 0), Concerns::All, 1));
    window.expire(1_050);
    assert_eq!((window.len(), window.oldest_at()), (51, Some(50)));
    window.expire(1_101);
    assert_eq!((window.len(), window.bytes()), (0, 0));
    assert_eq!(window.reader().view().start(), 100);
    // Old entries are not kept because of later ones.
    window.append(item(101, 2_000, 0), Concerns::All, 100_000);
    window.append(item(102, 2_300, 0), Concerns::All, 1);
    window.expire(3_001);
    assert_eq!(window.len(), 1);
    assert!(window.bytes() < 100_000);
}

#[test]
fn an_entry_longer_than_the_window_is_not_kept() {
    let mut window = window(ROOMY);
    window.append(item(1, 0, 0), Concerns::All, 1);
    window.append(item(2, 0, 0), Concerns::All, 2 << 20);
    let view = window.reader().view();
    assert_eq!(
        (view.start(), view.end(), window.len(), window.bytes()),
        (2, 2, 0, 0)
    );
    window.append(item(3, 0, 0), Concerns::All, 1);
    assert_eq!(positions(&window.reader().view(), 0, None), [3]);
}

#[test]
fn filter_skips_whole_segments_and_never_a_hole() {
    let mut window = window(WindowLimits {
        entries: 10_000,
        ..ROOMY
    });
    let rooms = [
        room(r#"{"a": 1}"#),
        room(r#"{"a": 2}"#),
        room(r#"{"b": 1}"#),
        room(r#"{"b": "*"}"#),
    ];
    for (position, index) in (1..).zip((0..4).flat_map(|index| [index; 256])) {
        let keys = [key(&rooms[index])];
        window.append(item(position, 0, 0), Concerns::Rooms(&keys), 1);
    }
    window.append_hole(2_000, 0);
    let view = window.reader().view();
    let found = |text: &str| {
        let wanted = Wanted::from_iter([key(&room(text))]);
        let found = positions(&view, 0, Some(&wanted));
        let (last, found) = found.split_last().unwrap();
        assert_eq!(*last, 2_000, "{text}");
        found
            .chunks(256)
            .map(|segment| segment[0] / 256)
            .collect::<Vec<_>>()
    };
    assert_eq!(found(r#"{"a": 1}"#), [0]);
    assert_eq!(found(r#"{"a": 2}"#), [1]);
    assert_eq!(found(r#"{"a": "*"}"#), [0, 1]);
    assert_eq!(found(r#"{"b": 1}"#), [2, 3]);
    assert_eq!(found(r#"{"b": 7}"#), [3]);
    assert_eq!(found(r#"{"b": "*"}"#), [2, 3]);
    assert_eq!(found(r#"{"c": "*"}"#), [0; 0]);
    assert_eq!(positions(&view, 1_024, Some(&Wanted::default())), [2_000]);
    let last = view.after(1_024, None).next().unwrap();
    assert!(matches!(last.body, Kept::Hole));
}

#[test]
fn only_where_it_stands_for_any_value_is_a_star_one() {
    let star = room(r#"{"a": "*"}"#);
    let exact = |room: &Room| Key::of(TenantId::MAIN, room, Matching::Exact, &hasher());
    assert!(key(&star).is_starred && !exact(&star).is_starred);
    assert!(!key(&room(r#"{"a": 1}"#)).is_starred);
    assert_ne!(key(&star), key(&room(r#"{"a": 1}"#)));
}

#[test]
fn equal_rooms_of_two_tenants_have_nothing_in_common() {
    let of = |tenant: u32, text: &str| {
        Key::of(
            TenantId::new(tenant),
            &room(text),
            Matching::Wildcard,
            &hasher(),
        )
    };
    let mut window = window(ROOMY);
    let keys = [of(1, r#"{"a": 1}"#), of(1, r#"{"a": "*"}"#)];
    window.append(item(1, 0, 0), Concerns::Rooms(&keys), 1);
    let view = window.reader().view();
    for (tenant, found) in [(1, &[1][..]), (0, &[]), (2, &[])] {
        for text in [r#"{"a": 1}"#, r#"{"a": 2}"#, r#"{"a": "*"}"#] {
            let wanted = Wanted::from_iter([of(tenant, text)]);
            assert_eq!(positions(&view, 0, Some(&wanted)), found, "{tenant} {text}");
        }
    }
}

/// An operation on a window.
#[derive(Clone, Debug)]
enum Step {
    Append {
        gap: u64,
        wait: u64,
        rooms: Vec<usize>,
        bytes: usize,
    },
    Hole,
    Expire(u64),
}

/// The model of an entry.
#[derive(Debug)]
struct Known {
    position: u64,
    at: u64,
    bytes: usize,
    /// None: a hole.
    rooms: Option<Vec<Room>>,
}

const LIMITS: WindowLimits = WindowLimits {
    entries: 700,
    bytes: 200_000,
    age: 400,
};

fn some_rooms() -> Vec<Room> {
    let values = ["1", "2", "3", "\"*\""];
    let one = values.map(|value| room(&format!(r#"{{"a": {value}}}"#)));
    let two = values.map(|value| room(&format!(r#"{{"a": {value}, "b": 1}}"#)));
    let many = (0..20).map(|key| room(&format!(r#"{{"k{key}": 1}}"#)));
    one.into_iter().chain(two).chain(many).collect()
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    // Runs of one room, so that segments differ.
    let appends = (
        1..4_u64,
        0..3_u64,
        prop::collection::vec(0..28_usize, 0..3),
        0..900_usize,
    );
    let run = (appends, 1..300_usize).prop_map(|((gap, wait, rooms, bytes), count)| {
        let rooms = rooms.clone();
        vec![
            Step::Append {
                gap,
                wait,
                rooms,
                bytes
            };
            count
        ]
    });
    let large = (20_000..250_000_usize).prop_map(|bytes| {
        vec![Step::Append {
            gap: 1,
            wait: 1,
            rooms: vec![0],
            bytes,
        }]
    });
    let runs = prop_oneof![
        8 => run,
        1 => large,
        1 => Just(vec![Step::Hole]),
        1 => (0..500_u64).prop_map(|wait| vec![Step::Expire(wait)]),
    ];
    prop::collection::vec(runs, 1..12).prop_map(|runs| runs.concat())
}

/// Whether a publication to `room` matches a subscription to `wanted`.
fn meets(room: &Room, wanted: &Room) -> bool {
    room.shape() == wanted.shape()
        && (0..room.len()).all(|index| {
            let (value, other) = (room.value(index), wanted.value(index));
            value == other || value == Room::STAR || other == Room::STAR
        })
}

fn check_bounds(window: &Window<u64>, view: &View<u64>, known: &[Known], now: u64) {
    assert!(window.len() <= LIMITS.entries);
    assert!(window.bytes() <= LIMITS.bytes);
    let dropped = known.partition_point(|entry| entry.position <= view.start());
    assert_eq!(window.len(), known.len() - dropped);
    let kept = &known[dropped..];
    assert!(kept.iter().all(|entry| now - entry.at <= LIMITS.age));
    assert_eq!(window.oldest_at(), kept.first().map(|entry| entry.at));
    // Nothing was dropped that no bound required. Of the bytes, a segment is dropped as a whole.
    if let Some(last) = dropped.checked_sub(1) {
        let young = now - known[last].at <= LIMITS.age && known.len() - last <= LIMITS.entries;
        let largest = known.iter().map(|entry| entry.bytes).max().unwrap_or(0);
        let spare = LIMITS.bytes / BYTES_PART + largest;
        let begin = dropped.saturating_sub(SEGMENT_ENTRIES);
        let bytes: usize = known[begin..].iter().map(|entry| entry.bytes).sum();
        let segments = (window.segments.len() + 2) * Window::<u64>::SEGMENT_BYTES;
        assert!(
            !young || bytes + segments + spare >= LIMITS.bytes,
            "dropped for nothing"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn window_agrees_with_model(steps in steps(), wanted in 0..28_usize, after in 0.0..1.0_f64) {
        let rooms = some_rooms();
        let mut window = window(LIMITS);
        let reader = window.reader();
        let mut known: Vec<Known> = Vec::new();
        let (mut now, mut position) = (0, 0);
        for step in steps {
            match step {
                Step::Append { gap, wait, rooms: chosen, bytes } => {
                    position += gap;
                    now += wait;
                    let chosen: Vec<_> = chosen.iter().map(|&index| rooms[index].clone()).collect();
                    let keys: Vec<_> = chosen.iter().map(key).collect();
                    window.append(item(position, now, position), Concerns::Rooms(&keys), bytes);
                    known.push(Known { position, at: now, bytes, rooms: Some(chosen) });
                }
                Step::Hole => {
                    position += 1;
                    window.append_hole(position, now);
                    known.push(Known { position, at: now, bytes: 0, rooms: None });
                }
                Step::Expire(wait) => {
                    now += wait;
                    window.expire(now);
                }
            }
            let view = reader.view();
            check_bounds(&window, &view, &known, now);
            prop_assert_eq!(view.end(), position.max(view.start()));
        }
        let view = reader.view();
        let after = (position as f64 * after) as u64;
        let kept = known.iter().filter(|entry| entry.position > view.start().max(after));
        let kept: Vec<_> = kept.collect();
        let all = kept.iter().map(|entry| entry.position);
        prop_assert!(view.after(after, None).map(|item| item.position).eq(all));
        for entry in &kept {
            prop_assert_eq!(check(&view, entry.position).is_some(), true);
        }
        // A negative of the filter is never wrong.
        let wanted = &rooms[wanted];
        let filter = Wanted::from_iter([key(wanted)]);
        let found = positions(&view, after, Some(&filter));
        for entry in kept {
            let is_meant = entry.rooms.as_ref().is_none_or(|rooms| {
                rooms.iter().any(|room| meets(room, wanted))
            });
            prop_assert!(!is_meant || found.contains(&entry.position), "{:?}", entry);
        }
    }
}

#[test]
fn reach_is_the_moment_since_which_nothing_is_missing() {
    let limits = WindowLimits {
        entries: 3,
        ..ROOMY
    };
    let mut window = window(limits);
    assert_eq!(window.reach(), None);
    for (position, at) in [(1, 10), (2, 20), (3, 30)] {
        window.append(item(position, at, 0), Concerns::All, 1);
        assert_eq!(window.reach(), None, "everything of the epoch is there");
    }
    window.append(item(4, 40, 0), Concerns::All, 1);
    assert_eq!(window.reach(), Some(Reach::dropped(10)));
    window.append_hole(5, 50);
    assert_eq!(window.reach(), Some(Reach::missed(50)));
    window.append(item(6, 60, 0), Concerns::All, 1);
    assert_eq!(
        window.reach(),
        Some(Reach::missed(50)),
        "what was dropped is older than what is missing"
    );
    window.expire(55 + limits.age);
    assert_eq!(window.reach(), Some(Reach::dropped(50)), "with the hole");
    window.expire(10 * limits.age);
    assert_eq!(window.reach(), Some(Reach::dropped(60)));
    window.append(item(7, 20_000, 0), Concerns::All, limits.bytes);
    assert_eq!(window.reach(), Some(Reach::dropped(20_000)), "too long");
    window.begin_epoch(BEGINNING.based(7));
    assert_eq!(window.reach(), None);
}
