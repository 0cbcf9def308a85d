//! Rooms that grants permit.

use ht_proto::entry::TenantId;
use ht_proto::grant::GrantList;
use ht_proto::room::RoomLimits;

use super::*;

fn room(text: &str) -> Room {
    Room::parse(text, RoomLimits::TRUSTED).unwrap()
}

#[test]
fn small_and_large_grant_sets_permit_the_same() {
    let few = r#"{"a":"*","b":1},{"a":2,"b":"*"},{"c":"x"}"#;
    let padding: Vec<_> = (0..20).map(|n| format!(r#",{{"n":{n}}}"#)).collect();
    let set = |text: &str| {
        let list = GrantList::parse(&format!("[{text}]")).unwrap();
        GrantSet::new(TenantId::MAIN, list.rooms, Hasher::default())
    };
    let sets = [set(few), set(&format!("{few}{}", padding.concat()))];
    for (asked, permitted) in [
        (r#"{"a":5,"b":1}"#, true),
        (r#"{"a":5,"b":2}"#, false),
        (r#"{"a":2,"b":2}"#, true),
        (r#"{"a":2,"b":"*"}"#, true),
        (r#"{"a":"*","b":"*"}"#, false),
        (r#"{"c":"x"}"#, true),
        (r#"{"c":"*"}"#, false),
        ("{}", false),
    ] {
        assert_eq!(
            sets.each_ref().map(|set| set.permits(&room(asked))),
            [permitted; 2]
        );
    }
    // A pattern need not be permitted itself.
    for (asked, met) in [
        (r#"{"a":5,"b":1}"#, true),
        (r#"{"a":5,"b":"*"}"#, true),
        (r#"{"a":"*","b":"*"}"#, true),
        (r#"{"a":5,"b":2}"#, false),
        (r#"{"c":"*"}"#, true),
        (r#"{"c":"y"}"#, false),
        ("{}", false),
    ] {
        assert_eq!(
            sets.each_ref().map(|set| set.meets(&room(asked))),
            [met; 2],
            "{asked}"
        );
    }
}

#[test]
fn no_grant_permits_another_decimal() {
    let grants = r#"[{"a":0.1},{"a":9007199254740992.0},{"a":1e400},{"a":2.50}]"#;
    let padding: Vec<_> = (0..20).map(|n| format!(r#",{{"n":{n}}}"#)).collect();
    for padding in [String::new(), padding.concat()] {
        let list = grants.replace(']', &format!("{padding}]"));
        let set = GrantSet::new(
            TenantId::MAIN,
            GrantList::parse(&list).unwrap().rooms,
            Hasher::default(),
        );
        for (asked, permitted) in [
            (r#"{"a":0.1}"#, true),
            (r#"{"a":1e-1}"#, true),
            (r#"{"a":0.10000000000000001}"#, false),
            (r#"{"a":9007199254740993.0}"#, false),
            (r#"{"a":25e-1}"#, true),
            (r#"{"a":2}"#, false),
        ] {
            assert_eq!(set.permits(&room(asked)), permitted, "{asked}");
        }
    }
}

#[test]
fn equal_sets_are_recognised_in_any_order() {
    let hasher = Hasher::default();
    for size in [3, 20] {
        let mut rooms: Vec<_> = (0..size)
            .map(|n| room(&format!(r#"{{"n":{n}}}"#)))
            .collect();
        let set = GrantSet::new(TenantId::MAIN, rooms.clone(), hasher.clone());
        let before = fingerprint(TenantId::MAIN, &rooms, &hasher);
        rooms.reverse();
        assert!(set.is_of(TenantId::MAIN, &rooms));
        assert_eq!(fingerprint(TenantId::MAIN, &rooms, &hasher), before);
        rooms[0] = room("{}");
        assert!(!set.is_of(TenantId::MAIN, &rooms));
        assert!(!set.is_of(TenantId::MAIN, &rooms[1..]));
    }
}
