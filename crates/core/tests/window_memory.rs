//! What the window costs beside the entries that it keeps. A binary of its own: the allocator's figures
//! are of the whole process.

#[allow(dead_code, unreachable_pub)]
#[path = "../benches/support/mod.rs"]
mod support;

use std::sync::Arc;

use ht_core::Hasher;
use ht_core::index::Matching;
use ht_core::publication::{Logged, Publication};
use ht_core::window::{Beginning, Concerns, Item, Kept, Key, Window, WindowLimits};
use ht_proto::cursor::Check;
use ht_proto::entry::{Epoch, TenantId};
use support::{data, room};

#[global_allocator]
static ALLOCATOR: dhat::Alloc = dhat::Alloc;

/// Enough for some eighty segments of the window.
const ENTRIES: u64 = 20_000;

/// Length of their data, in bytes.
const DATA: usize = 128;

fn heap() -> usize {
    dhat::HeapStats::get().curr_bytes
}

/// An entry that was published alone.
fn entry(position: u64) -> Arc<[Publication]> {
    let room = room(&format!(r#"{{"target":"order","id":{position}}}"#));
    [Publication::new(
        position,
        TenantId::MAIN,
        vec![room],
        data(DATA).into(),
    )]
    .into()
}

#[test]
fn a_window_costs_little_more_than_its_entries() {
    let _profiler = dhat::Profiler::builder().testing().build();
    let mut entries = Vec::with_capacity(ENTRIES as usize);
    let before = heap();
    entries.extend((1..=ENTRIES).map(entry));
    let alone = heap() - before;

    let limits = WindowLimits {
        entries: ENTRIES as usize,
        bytes: 1 << 30,
        ..WindowLimits::default()
    };
    let before = heap();
    let mut window = Window::new(limits, Beginning::of(Epoch::from_random(7)));
    let hasher = Hasher::fixed();
    for batch in &entries {
        for logged in Logged::all(batch) {
            let one = logged.publication();
            let keys: Vec<_> = one.rooms.iter().map(|room| key(room, &hasher)).collect();
            let item = Item {
                position: one.position,
                at: 0,
                check: Check::of(one.data()),
                tenant: TenantId::MAIN,
                body: Kept::Entry(logged.clone()),
            };
            window.append(item, Concerns::Rooms(&keys), one.memory());
        }
    }
    let itself = heap() - before;
    assert_eq!(window.len() as u64, ENTRIES);

    let (charged, kept) = (window.bytes(), alone + itself);
    println!(
        "{ENTRIES} entries with {DATA} bytes of data: {} bytes each alone, {} in the window, which is charged \
         with {}",
        alone / ENTRIES as usize,
        kept / ENTRIES as usize,
        charged / ENTRIES as usize
    );
    assert!(
        kept * 10 <= alone * 13,
        "{kept} bytes for entries of {alone} bytes"
    );
    assert!(
        kept <= charged,
        "{kept} bytes are kept, and {charged} charged"
    );
}

fn key(room: &ht_proto::room::Room, hasher: &Hasher) -> Key {
    Key::of(TenantId::MAIN, room, Matching::Wildcard, hasher)
}
