//! What a log retained before the node read it, and its epochs.

use super::*;

/// An entry at this number of a log.
fn numbered(number: u64, entry: Entry) -> Entry {
    Entry {
        position: Position::new(number),
        ..entry
    }
}

#[tokio::test]
async fn entries_from_before_are_in_the_window_and_reach_no_shard() {
    let (node, sequencer, mut shards) = two_shards();
    let epoch = Epoch::from_random(77);
    let first = numbered(10, trigger(&["a"], 1));
    let check = first.check;
    let back = vec![first, numbered(12, command(DISCONNECT))];
    sequencer
        .begins_after(Position::new(9).unwrap(), None)
        .await;
    sequencer.read_back(back).await;
    sequencer.begin_epoch(epoch, false).await;
    assert_eq!(Sequencer::epoch(&sequencer), epoch);
    assert_eq!(kept(&node), [(10, false), (12, false)]);
    assert!(
        shards
            .iter_mut()
            .all(|shard| shard.next(|_| false, false).is_none())
    );
    let view = node.window.reader().view();
    let cursor = view.cursor(10);
    assert_eq!((cursor.epoch, cursor.check), (epoch, check));
    assert_eq!(view.find(&cursor), Ok(10));
    let before = Cursor {
        position: Position::START,
        check: Check::NONE,
        ..cursor
    };
    assert!(view.find(&before).is_err(), "the log had others before");
    // What comes then is told.
    let live = vec![numbered(13, trigger(&["a"], 2))];
    let placed = sequencer.place(live).await;
    assert_eq!(placed[0].position.get(), 13);
    assert_eq!(taken(&mut shards[0]), [13]);
}

/// All that the log had is dropped, but for what nodes noted of it.
#[tokio::test]
async fn cursor_is_good_in_a_log_that_retained_no_entry() {
    let (node, sequencer, mut shards) = two_shards();
    let epoch = Epoch::from_random(77);
    sequencer.begin_epoch(epoch, false).await;
    let check = Check::of(b"the last one");
    let last = Position::new(40).unwrap();
    sequencer.begins_after(last, Some(check)).await;
    let cursor = Cursor {
        epoch,
        position: last,
        check,
        part: None,
    };
    let find = |cursor| node.window.reader().view().find(&cursor);
    assert_eq!(find(cursor), Ok(40));
    assert_eq!(sequencer.last_entry().await, Some(cursor));
    assert_eq!(node.interest.handed(), 40, "clients are given it");
    let before = |position, check| {
        let position = Position::new(position).unwrap();
        Cursor {
            position,
            check,
            ..cursor
        }
    };
    assert_eq!(find(before(0, Check::NONE)), Err(Unknown::Age));
    assert_eq!(find(before(39, check)), Err(Unknown::Age));
    // It is not told again, and what comes is after it.
    sequencer.begins_after(Position::START.next(), None).await;
    let placed = sequencer
        .place(vec![numbered(101, trigger(&["a"], 1))])
        .await;
    assert_eq!(placed[0].position.get(), 101);
    assert_eq!(find(cursor), Ok(40));
    assert_eq!(taken(&mut shards[0]), [101]);
}

/// Nobody noted the last entry: no cursor of before is believed, also not that of an empty log.
#[tokio::test]
async fn nothing_is_recovered_across_what_the_log_dropped() {
    let (node, sequencer, _shards) = two_shards();
    let epoch = Epoch::from_random(77);
    let empty = Cursor {
        epoch,
        ..node.window.reader().view().cursor(0)
    };
    sequencer
        .begins_after(Position::new(99).unwrap(), None)
        .await;
    sequencer.begin_epoch(epoch, false).await;
    let view = node.window.reader().view();
    assert_eq!(view.find(&empty), Err(Unknown::Age));
    assert_eq!(sequencer.last_entry().await, None);
    sequencer
        .place(vec![numbered(120, trigger(&["a"], 1))])
        .await;
    let view = node.window.reader().view();
    assert_eq!(view.find(&empty), Err(Unknown::Age));
    assert_eq!(view.find(&view.cursor(120)), Ok(120));
    // A later epoch, of which nothing was published.
    let later = Epoch::from_random(78);
    sequencer.begin_epoch(later, true).await;
    assert_eq!(node.window.reader().view().epoch(), later);
}

#[tokio::test]
async fn positions_grow_where_the_log_is_made_anew() {
    let (node, sequencer, _shards) = two_shards();
    sequencer
        .place(vec![numbered(500, trigger(&["a"], 1))])
        .await;
    let old = node.window.reader().view().cursor(500);
    sequencer.interrupted(true).await;
    let unknown = Sequencer::epoch(&sequencer);
    assert_ne!(unknown, old.epoch);
    sequencer
        .read_back(vec![numbered(1, trigger(&["a"], 1))])
        .await;
    let epoch = Epoch::from_random(78);
    sequencer.begin_epoch(epoch, false).await;
    let batch = vec![numbered(2, trigger(&["a"], 2))];
    let places = sequencer.place(batch).await;
    assert_eq!(places[0].position.get(), 503, "501 is the hole");
    assert_eq!(kept(&node), [(502, false), (503, false)]);
    let view = node.window.reader().view();
    let cursor = view.cursor(503);
    assert_eq!((cursor.epoch, cursor.position.get()), (epoch, 2));
    assert_eq!(view.find(&cursor), Ok(503));
    assert!(view.find(&old).is_err());
}

#[tokio::test]
async fn a_later_epoch_ends_the_window() {
    let (node, sequencer, _shards) = two_shards();
    sequencer.place(vec![numbered(5, trigger(&["a"], 1))]).await;
    let old = node.window.reader().view().cursor(5);
    sequencer.begin_epoch(Epoch::from_random(79), true).await;
    assert_eq!(kept(&node), []);
    let placed = sequencer.place(vec![numbered(6, trigger(&["a"], 1))]).await;
    assert_eq!(placed[0].position.get(), 6);
    let view = node.window.reader().view();
    assert!(view.find(&old).is_err() && view.find(&view.cursor(6)) == Ok(6));
}

#[tokio::test]
async fn dropped_records_are_a_hole_before_those_that_are_left() {
    let (node, sequencer, _shards) = two_shards();
    sequencer.place(vec![numbered(5, trigger(&["a"], 1))]).await;
    sequencer.interrupted(false).await;
    sequencer
        .read_back(vec![numbered(9, trigger(&["a"], 1))])
        .await;
    assert_eq!(kept(&node), [(5, false), (8, true), (9, false)]);
    // Shards do not get them, and their clients no cursors of after them until they are told.
    assert_eq!(node.interest.handed(), 9);
    assert_eq!((node.gaps.of_shard(0), node.gaps.of_shard(1)), (1, 1));
}
