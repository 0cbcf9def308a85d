//! Saved windows are read as they were written, and anything else is refused.

use proptest::prelude::*;

use super::*;

fn room(text: &str) -> Room {
    Room::parse(text, RoomLimits::TRUSTED).unwrap()
}

fn position(number: u64) -> Position {
    Position::new(number).unwrap()
}

/// A window with an entry of each kind.
fn saved() -> Saved {
    let (main, acme) = (TenantName::main(), "acme".parse::<TenantName>().unwrap());
    let of = |at: u64| [&main, &acme][usize::from(at > 4 && at < 12)].clone();
    let entry = |at, body| SavedEntry {
        tenant: of(at),
        position: position(at),
        age: 1_000 - at,
        check: Check::of(&[at.to_le_bytes()[0]]),
        body,
    };
    let publication = |rooms: &[&str], data: &'static str| SavedBody::Publication {
        rooms: rooms.iter().map(|text| room(text)).collect(),
        data: data.into(),
    };
    Saved {
        order: SavedOrder {
            epoch: Epoch::from_random(7),
            at: 1_800_000_000_000,
            last: position(12),
            start: position(3),
            start_check: Check::of(b"3"),
            is_missing: true,
        },
        ids: [(&main, "a", 1), (&acme, "a", 2), (&main, "é 1", 12)]
            .map(|(tenant, id, at)| SavedId {
                tenant: tenant.clone(),
                id: id.into(),
                position: position(at),
            })
            .into(),
        entries: vec![
            entry(4, publication(&[r#"{"room":1}"#], "null")),
            entry(6, publication(&[], r#"{"a":"ü"}"#)),
            entry(7, SavedBody::Command(r#"{"command":"permit"}"#.into())),
            entry(9, SavedBody::Hole),
            entry(10, SavedBody::Trimmed),
            entry(
                12,
                publication(&[r#"{"a":"*","b":[1]}"#, r#"{"c":2.5}"#], "[]"),
            ),
        ],
    }
}

fn written(saved: &Saved) -> Vec<u8> {
    let mut writer = SavedWriter::new(Vec::new(), &saved.order).unwrap();
    for SavedId {
        tenant,
        id,
        position,
    } in &saved.ids
    {
        writer.of_tenant(tenant).unwrap();
        writer.id(id, *position).unwrap();
    }
    for entry in &saved.entries {
        writer.of_tenant(&entry.tenant).unwrap();
        let at = SavedAt {
            position: entry.position,
            age: entry.age,
            check: entry.check,
        };
        match &entry.body {
            SavedBody::Publication { rooms, data } => writer.publication(at, rooms, data),
            SavedBody::Command(text) => writer.command(at, text),
            SavedBody::Hole => writer.hole(at),
            SavedBody::Trimmed => writer.trimmed(at),
        }
        .unwrap();
    }
    writer.end().unwrap()
}

#[test]
fn a_window_is_read_as_it_was_written() {
    let saved = saved();
    assert_eq!(Saved::parse(&written(&saved)), Ok(saved));
}

#[test]
fn without_tenants_the_file_is_that_of_versions_before_them() {
    let mut saved = saved();
    saved
        .ids
        .iter_mut()
        .for_each(|id| id.tenant = TenantName::main());
    let entries = saved.entries.iter_mut();
    entries.for_each(|entry| entry.tenant = TenantName::main());
    let file = written(&saved);
    let mut records = Records(&file[MAGIC.len()..]);
    assert!(records.all(|(kind, _)| kind != Kind::Tenant));
    assert_eq!(Saved::parse(&file), Ok(saved));
}

#[test]
fn a_file_that_was_cut_or_changed_is_refused() {
    let file = written(&saved());
    for len in 0..file.len() {
        assert!(Saved::parse(&file[..len]).is_err(), "cut to {len}");
    }
    for at in 0..file.len() {
        let mut changed = file.clone();
        changed[at] ^= 0x10;
        assert!(Saved::parse(&changed).is_err(), "changed at {at}");
    }
    let longer = [&file[..], b"\0"].concat();
    assert_eq!(Saved::parse(&longer), Err(SavedError::Damaged));
    let twice = [&file[..], &file[..]].concat();
    assert_eq!(Saved::parse(&twice), Err(SavedError::Damaged));
}

#[test]
fn a_file_of_another_format_is_named_so() {
    for file in [&b""[..], b"{}", b"high-templar-w2\n"] {
        assert_eq!(Saved::parse(file), Err(SavedError::OtherFormat));
    }
}

#[test]
fn a_file_with_a_right_checksum_is_checked_all_the_same() {
    type Change = fn(&mut Saved);
    let changes: [(&str, Change, SavedError); 7] = [
        (
            "data that is not JSON",
            |saved| {
                saved.entries[0].body = SavedBody::Publication {
                    rooms: Vec::new(),
                    data: "1,2".into(),
                }
            },
            SavedError::Damaged,
        ),
        (
            "two entries at one position",
            |saved| saved.entries[1].position = position(4),
            SavedError::Positions,
        ),
        (
            "an entry before the window",
            |saved| saved.entries[0].position = position(3),
            SavedError::Positions,
        ),
        (
            "an entry after the last",
            |saved| saved.order.last = position(11),
            SavedError::Positions,
        ),
        (
            "an id after the last",
            |saved| saved.ids[1].position = position(13),
            SavedError::Positions,
        ),
        (
            "an empty id",
            |saved| saved.ids[0].id = "".into(),
            SavedError::Damaged,
        ),
        (
            "a long id",
            |saved| saved.ids[0].id = "a".repeat(257).into(),
            SavedError::Damaged,
        ),
    ];
    for (name, change, expected) in changes {
        let mut saved = saved();
        change(&mut saved);
        assert_eq!(Saved::parse(&written(&saved)), Err(expected), "{name}");
    }
}

#[test]
fn lengths_beyond_the_file_allocate_nothing() {
    // A publication that says it has four billion rooms, with a right checksum.
    let mut writer = SavedWriter::new(Vec::new(), &saved().order).unwrap();
    let at = SavedAt {
        position: position(4),
        age: 0,
        check: Check::NONE,
    };
    at.write(&mut writer.content);
    writer.content.extend(u32::MAX.to_le_bytes());
    writer.flush_record(Kind::Publication).unwrap();
    let file = writer.end().unwrap();
    assert_eq!(Saved::parse(&file), Err(SavedError::Damaged));
}

proptest! {
    #[test]
    fn nothing_panics(bytes: Vec<u8>) {
        let _ = Saved::parse(&bytes);
        let file = [&MAGIC[..], &bytes].concat();
        prop_assert!(Saved::parse(&file).is_err());
        // Past the checksum, too.
        let (mut saved, mut tenant) = (saved(), TenantName::main());
        let kinds = [Kind::Id, Kind::Publication, Kind::Command, Kind::Hole, Kind::Tenant];
        for kind in kinds {
            let _ = saved.add(kind, &bytes, &mut tenant);
        }
    }
}
