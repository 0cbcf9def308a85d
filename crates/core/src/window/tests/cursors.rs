//! Cursors: which ones a view gives, and which it finds.

use ht_proto::cursor::{Cursor, Part};
use ht_proto::entry::Position;

use super::*;

const FEW: WindowLimits = WindowLimits {
    entries: 3,
    ..ROOMY
};

fn cursor(number: u64, check: Check) -> Cursor {
    Cursor {
        epoch: BEGINNING.epoch,
        position: Position::new(number).unwrap(),
        check,
        part: None,
    }
}

/// The cursor of the entry at a position.
fn of(position: u64) -> Cursor {
    cursor(position, Check::of(&position.to_be_bytes()))
}

fn with_entries(limits: WindowLimits, positions: &[u64]) -> Window<u64> {
    let mut window = window(limits);
    for &position in positions {
        window.append(item(position, 0, 0), Concerns::All, 1);
    }
    window
}

#[test]
fn cursor_is_that_of_the_last_entry_up_to_a_position() {
    let window = with_entries(ROOMY, &[3, 4, 10]);
    let view = window.reader().view();
    for (position, expected) in [
        (0, cursor(0, Check::NONE)),
        (2, cursor(0, Check::NONE)),
        (3, of(3)),
        (9, of(4)),
        (10, of(10)),
        (1_000, of(10)),
    ] {
        assert_eq!(view.cursor(position), expected, "{position}");
        let found = expected.position.get();
        assert_eq!(view.find(&expected), Ok(found), "{position}");
    }
}

#[test]
fn cursor_that_does_not_fit_is_refused() {
    let window = with_entries(FEW, &[3, 4, 10, 11, 12]);
    let view = window.reader().view();
    assert_eq!(view.start(), 4);
    let part = Some(Part::of(b"1", b"{}"));
    let other_epoch = Epoch::from_random(8);
    for (cursor, expected) in [
        (of(12), Ok(12)),
        (of(10), Ok(10)),
        // The last one that was dropped: nothing after it was.
        (of(4), Ok(4)),
        (Cursor { part, ..of(10) }, Ok(10)),
        (Cursor { part, ..of(4) }, Err(Unknown::Age)),
        (of(3), Err(Unknown::Age)),
        (cursor(3, Check::NONE), Err(Unknown::Age)),
        (cursor(0, Check::NONE), Err(Unknown::Age)),
        (of(13), Err(Unknown::Ahead)),
        (
            cursor(Position::MAX.get(), Check::NONE),
            Err(Unknown::Ahead),
        ),
        (cursor(10, Check::of(b"other")), Err(Unknown::Epoch)),
        (cursor(4, Check::of(b"other")), Err(Unknown::Epoch)),
        // No entry was ever there.
        (of(7), Err(Unknown::Epoch)),
        (
            Cursor {
                epoch: other_epoch,
                ..of(12)
            },
            Err(Unknown::Epoch),
        ),
    ] {
        assert_eq!(view.find(&cursor), expected, "{cursor}");
    }
}

#[test]
fn cursor_outlives_the_entries_of_a_quiet_log() {
    let mut window = with_entries(ROOMY, &[1, 2, 3]);
    window.expire(1_000_000);
    assert!(window.is_empty());
    let view = window.reader().view();
    assert_eq!(view.cursor(3), of(3));
    assert_eq!(view.find(&of(3)), Ok(3));
    assert_eq!(view.find(&of(2)), Err(Unknown::Age));
    // Also where only some of a segment is dropped, and where an entry was never kept.
    let mut window = with_entries(FEW, &[1, 2, 3, 4, 5]);
    assert_eq!(window.reader().view().cursor(2), of(2));
    window.append(item(6, 0, 0), Concerns::All, 2 << 20);
    let view = window.reader().view();
    assert_eq!((view.cursor(6), view.find(&of(6))), (of(6), Ok(6)));
}

#[test]
fn cursor_of_what_was_dropped_long_ago_is_never_found() {
    let window = with_entries(FEW, &[1, 2, 3, 4, 5]);
    let view = window.reader().view();
    assert_eq!(view.find(&view.cursor(1)), Err(Unknown::Age));
    let mut window = with_entries(FEW, &[1, 2]);
    window.begin_epoch(Beginning::of(Epoch::from_random(8)).based(2));
    let view = window.reader().view();
    assert_eq!(view.find(&view.cursor(1)), Err(Unknown::Epoch));
}

#[test]
fn positions_of_another_epoch_are_later_here_and_begin_anew_in_cursors() {
    let mut window = with_entries(ROOMY, &[1, 2, 3]);
    let before = window.reader().view();
    let epoch = Epoch::from_random(8);
    window.begin_epoch(Beginning::of(epoch).based(100));
    let reader = window.reader();
    let view = reader.view();
    assert_eq!((view.start(), view.end(), view.base()), (100, 100, 100));
    let first = Cursor {
        epoch,
        ..cursor(0, Check::NONE)
    };
    assert_eq!((view.cursor(100), view.find(&first)), (first, Ok(100)));
    window.append(item(102, 0, 0), Concerns::All, 1);
    let view = reader.view();
    assert_eq!(positions(&view, 0, None), [102]);
    let second = Cursor {
        epoch,
        ..cursor(2, Check::of(&102_u64.to_be_bytes()))
    };
    assert_eq!(view.cursor(200), second);
    assert_eq!(view.find(&second), Ok(102));
    assert_eq!(view.find(&of(2)), Err(Unknown::Epoch));
    assert_eq!((before.cursor(3), before.find(&of(3))), (of(3), Ok(3)));
}

#[test]
fn window_that_begins_within_the_log_may_not_know_the_entry_before() {
    for (check, expected) in [
        (Some(of(50).check), Ok(50)),
        (Some(Check::NONE), Err(Unknown::Epoch)),
        (None, Err(Unknown::Age)),
    ] {
        let beginning = Beginning {
            start: 50,
            check,
            ..BEGINNING
        };
        let mut window = Window::new(ROOMY, beginning);
        window.append(item(51, 0, 0), Concerns::All, 1);
        let view = window.reader().view();
        assert_eq!(view.find(&of(50)), expected);
        assert_eq!(view.find(&of(51)), Ok(51));
        assert_eq!(view.find(&of(49)), Err(Unknown::Age));
        if check.is_none() {
            assert_eq!(view.find(&view.cursor(50)), Err(Unknown::Age));
        }
    }
}
