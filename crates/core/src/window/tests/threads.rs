//! Real threads read while another one appends: their view is always a prefix.

use std::sync::atomic::AtomicBool;
use std::thread;

use super::*;

const APPENDS: u64 = 150_000;

/// Entries in a row for one room.
const RUN: u64 = 700;

const ROOMS: u64 = 5;

fn key_of(position: u64) -> Key {
    key(&room(&format!(r#"{{"run": {}}}"#, position / RUN % ROOMS)))
}

/// Reads until the last entry is there; returns how many views it took.
fn read(reader: &Reader<u64>, published: &AtomicU64, wanted: u64) -> u64 {
    let filter = Wanted::from_iter([key(&room(&format!(r#"{{"run": {wanted}}}"#)))]);
    let mut views = 0;
    loop {
        // A thread that knows of an entry finds it in the window.
        let known = published.load(Ordering::Acquire);
        let view = reader.view();
        assert!(view.end() >= known);
        let after = known.saturating_sub(1_500).max(view.start());
        let mut expected = after;
        for item in view.after(after, None) {
            expected += 1;
            assert_eq!(item.position, expected, "without a hole, in order");
            assert!(matches!(item.body, Kept::Entry(body) if body == item.position * 3));
            assert_eq!(item.check, Check::of(&item.position.to_be_bytes()));
            assert_eq!(check(&view, item.position), Some(item.check));
        }
        assert!(expected >= known, "up to what was known");
        let mut found = view
            .after(after, Some(&filter))
            .map(|item| item.position)
            .peekable();
        for position in after + 1..=known {
            while found.next_if(|other| *other < position).is_some() {}
            let is_found = found.peek() == Some(&position);
            assert!(
                is_found || position / RUN % ROOMS != wanted,
                "{position} is left out"
            );
        }
        views += 1;
        if known == APPENDS {
            return views;
        }
    }
}

#[test]
fn readers_see_a_prefix_while_it_grows_and_is_dropped() {
    let limits = WindowLimits {
        entries: 2_000,
        bytes: 1 << 20,
        age: u64::MAX,
    };
    let mut window = window::<u64>(limits);
    let published = AtomicU64::new(0);
    let is_begun = AtomicBool::new(false);
    let keys: Vec<_> = (0..ROOMS).map(|run| key_of(run * RUN)).collect();
    thread::scope(|scope| {
        let readers: Vec<_> = (0..3)
            .map(|wanted| {
                let reader = window.reader();
                let (published, is_begun) = (&published, &is_begun);
                scope.spawn(move || {
                    is_begun.store(true, Ordering::Release);
                    read(&reader, published, wanted)
                })
            })
            .collect();
        while !is_begun.load(Ordering::Acquire) {
            thread::yield_now();
        }
        for position in 1..=APPENDS {
            let run = usize::try_from(position / RUN % ROOMS).unwrap();
            // Now and then a long one, which closes its segment early.
            let bytes = if position % 777 == 0 { 70_000 } else { 50 };
            let keys = [keys[run]];
            window.append(
                item(position, 0, position * 3),
                Concerns::Rooms(&keys),
                bytes,
            );
            published.store(position, Ordering::Release);
        }
        for reader in readers {
            assert!(reader.join().unwrap() > 1, "it read meanwhile");
        }
    });
    assert!(window.bytes() <= limits.bytes && window.len() <= limits.entries);
}
