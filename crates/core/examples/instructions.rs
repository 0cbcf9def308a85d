//! The hottest paths, for callgrind to count: `bench/instructions` runs each of them by its
//! name. Seeds, sizes and order are fixed, so that the same program counts the same.

#![allow(missing_docs)]

#[allow(dead_code, unreachable_pub)]
#[path = "../benches/support/mod.rs"]
mod support;

use std::hint::black_box;
use std::process::ExitCode;
use std::sync::Arc;

use ht_core::Hasher;
use ht_core::index::Matching;
use ht_core::shard::Shard;
use ht_core::window::{Beginning, Concerns, Item, Kept, Key, Window, WindowLimits};
use ht_core::world::Turn;
use ht_proto::cursor::Check;
use ht_proto::entry::{Epoch, TenantId};
use ht_proto::room::{Room, RoomLimits};
use support::{
    Nothing, Sink, data, frame, grants, open, publication, shard, subscribe, subscribe_text,
    unsubscribe_text,
};

/// Subscribers of the large room.
const AUDIENCE: usize = 1_000;
/// Publications to it.
const BROADCASTS: usize = 100;
/// Rooms with one subscriber each.
const ROOMS: usize = 5_000;
/// Publications to some of them.
const UNICASTS: usize = 1_000;
/// Times that a client subscribes, sends a ping, and unsubscribes.
const VISITS: usize = 1_000;
/// Bytes of data in a publication.
const DATA: usize = 128;

fn main() -> ExitCode {
    let operations = match std::env::args().nth(1).as_deref() {
        Some("fan-out") => fan_out(),
        Some("unicast") => unicast(),
        Some("messages") => messages(),
        Some("append") => append(),
        _ => {
            eprintln!("usage: instructions fan-out|unicast|messages|append");
            return ExitCode::from(2);
        }
    };
    println!("{operations}");
    ExitCode::SUCCESS
}

/// Runs the measured code: callgrind looks for this function by its name.
#[inline(never)]
fn counted(work: &mut dyn FnMut()) {
    work();
    // Prevents a tail call here.
    black_box(());
}

/// Deliveries of publications to a room with many subscribers.
fn fan_out() -> u64 {
    const ROOM: &str = r#"{"target":"chat","id":1}"#;
    let mut shard = shard();
    let grants = grants(&format!("[{ROOM}]"));
    for name in 0..AUDIENCE {
        let id = open(&mut shard, &grants);
        subscribe(&mut shard, id, ROOM, name as u128);
    }
    let batch = publication(&[ROOM], &data(DATA));
    counted(&mut || {
        for _ in 0..BROADCASTS {
            shard.publish(batch.clone());
            shard.fan_out(usize::MAX, &mut Turn::new(0, &mut Nothing));
        }
    });
    assert_eq!(shard.stats().deliveries, (AUDIENCE * BROADCASTS) as u64);
    shard.stats().deliveries
}

/// Publications for one of many rooms, with one subscriber each.
fn unicast() -> u64 {
    let mut shard = many_rooms();
    // A prime step iterates over the rooms in no particular order.
    let batches: Vec<_> = (0..UNICASTS)
        .map(|n| publication(&[&room(n * 7_919 % ROOMS)], &data(DATA)))
        .collect();
    counted(&mut || {
        for batch in &batches {
            shard.publish(batch.clone());
            shard.fan_out(usize::MAX, &mut Turn::new(0, &mut Nothing));
        }
    });
    assert_eq!(shard.stats().deliveries, UNICASTS as u64);
    shard.stats().deliveries
}

/// Messages of a client, from their bytes to the answer: subscribe, ping, unsubscribe.
fn messages() -> u64 {
    let mut shard = many_rooms();
    let grants = grants(
        r#"[{"target":"news"},{"target":"order","customer":"*"},{"target":"user","id":7},
            {"target":"stock","warehouse":"*","item":"*"},{"target":"chat","id":"*"}]"#,
    );
    let id = open(&mut shard, &grants);
    let (rooms, messages) = (shard.stats().rooms, shard.stats().messages);
    // Decoded in place, so each message is needed anew.
    let mut said: Vec<_> = (0..VISITS)
        .flat_map(|n| {
            [
                frame(&subscribe_text(&room(ROOMS + n), n as u128)),
                frame("ping"),
                frame(&unsubscribe_text(n as u128)),
            ]
        })
        .collect();
    counted(&mut || {
        for bytes in &mut said {
            shard.receive(id, bytes, &mut Turn::new(0, &mut Nothing));
        }
    });
    let stats = shard.stats();
    assert!(stats.errors.iter().all(|&errors| errors == 0), "{stats:?}");
    assert_eq!(stats.messages - messages, 3 * VISITS as u64);
    assert_eq!(stats.rooms, rooms);
    3 * VISITS as u64
}

/// Publications that are appended to a full window, each with the key of its room.
fn append() -> u64 {
    let hasher = Hasher::fixed();
    let room = |n: usize| Room::parse(&room(n), RoomLimits::TRUSTED).expect("a room");
    let rooms: Vec<_> = (0..ROOMS).map(room).collect();
    let batch = publication(&["{}"], &data(DATA));
    let mut window = Window::new(
        WindowLimits::default(),
        Beginning::of(Epoch::from_random(0)),
    );
    let mut append = |position: u64, room: &Room| {
        let key = Key::of(TenantId::MAIN, room, Matching::Wildcard, &hasher);
        let item = Item {
            position,
            at: position / 100,
            check: Check::NONE,
            tenant: TenantId::MAIN,
            body: Kept::Entry(Arc::clone(&batch)),
        };
        window.append(item, Concerns::Rooms(&[key]), 2 * DATA);
    };
    let last = WindowLimits::default().entries as u64;
    (1..=last).for_each(|position| append(position, &rooms[0]));
    counted(&mut || {
        for (position, room) in (last + 1..).zip(&rooms) {
            append(position, room);
        }
    });
    assert_eq!(window.reader().view().end(), last + ROOMS as u64);
    assert_eq!(window.len() as u64, last);
    ROOMS as u64
}

/// A shard with many rooms, each with one subscriber.
fn many_rooms() -> Shard<Sink> {
    let mut shard = shard();
    let grants = grants(r#"[{"target":"chat","id":"*"}]"#);
    for n in 0..ROOMS {
        let id = open(&mut shard, &grants);
        subscribe(&mut shard, id, &room(n), n as u128);
    }
    assert_eq!(shard.stats().rooms, ROOMS as u64);
    shard
}

fn room(n: usize) -> String {
    format!(r#"{{"target":"chat","id":{n}}}"#)
}
