//! Explanations for refused clients.

use ht_proto::entry::TenantId;
use ht_proto::grant::GrantList;
use ht_proto::room::RoomLimits;

use super::*;
use crate::Hasher;
use crate::grant::GrantSet;

fn room(text: &str) -> Room {
    Room::parse(text, RoomLimits::TRUSTED).unwrap()
}

/// The explanation of a set of these grants.
fn why(grants: &str, asked: &str) -> Explanation {
    let list = GrantList::parse(grants).unwrap();
    let set = GrantSet::new(TenantId::MAIN, list.rooms, Hasher::default());
    let asked = room(asked);
    assert!(!set.permits(&asked));
    explain(set.nearest_first(&asked), &asked)
}

#[test]
fn the_closest_grant_and_its_differences_are_named() {
    for (grants, asked, reason) in [
        (
            r#"[{"project":1}]"#,
            r#"{"project":"1"}"#,
            r#"`project`: granted 1 (number), asked "1" (text)"#,
        ),
        (
            r#"[{"a":true,"b":"*"}]"#,
            r#"{"a":false,"b":1}"#,
            "`a`: granted true (boolean), asked false (boolean)",
        ),
        (
            r#"[{"a":null}]"#,
            r#"{"a":[1,{"b":2.0}]}"#,
            r#"`a`: granted null, asked [1,{"b":2.0}] (array)"#,
        ),
        (
            r#"[{"a":1}]"#,
            "{}",
            "`a`: granted 1 (number), asked nothing",
        ),
        (
            r#"[{"a":1}]"#,
            r#"{"a":1,"bb":2}"#,
            "`bb`: granted nothing, asked 2 (number)",
        ),
        (
            r#"[{"a":"*","b":1}]"#,
            r#"{"b":1}"#,
            r#"`a`: granted "*" (text), asked nothing"#,
        ),
        (
            r#"[{"a":1}]"#,
            r#"{"a":"*"}"#,
            r#"`a`: granted 1 (number), asked "*" (text)"#,
        ),
        // Fewest keys first; of those the one that differs by its type; else the first.
        (
            r#"[{"x":1},{"a":1,"b":2},{"a":1,"b":3}]"#,
            r#"{"a":1,"b":4}"#,
            "`b`: granted 2 (number), asked 4 (number)",
        ),
        (
            r#"[{"a":1,"b":2},{"a":1,"b":4}]"#,
            r#"{"a":1,"b":"4"}"#,
            r#"`b`: granted 4 (number), asked "4" (text)"#,
        ),
        (
            r#"[{"a":1,"b":1,"c":1,"d":1,"e":1}]"#,
            r#"{"a":2,"b":2,"c":2,"d":2,"e":2}"#,
            "`a`: granted 1 (number), asked 2 (number); \
             `b`: granted 1 (number), asked 2 (number); \
             `c`: granted 1 (number), asked 2 (number); and 2 more",
        ),
    ] {
        let reason = format!("not granted; the closest grant differs in {reason}");
        assert_eq!(why(grants, asked).text, reason, "{grants} {asked}");
    }
    assert_eq!(why("[]", "{}").text, "not granted; there are no grants");
}

#[test]
fn of_many_grants_those_with_the_same_keys_are_compared_first() {
    let others: Vec<_> = (0..10_000).map(|n| format!(r#"{{"n":{n}}}"#)).collect();
    let others = others.join(",");
    let asked = r#"{"project":"1"}"#;
    let text = why(&format!(r#"[{others},{{"project":1}}]"#), asked).text;
    assert_eq!(
        text,
        "not granted; the closest of the 64 grants compared differs in \
         `project`: granted 1 (number), asked \"1\" (text)"
    );
    // Up to the bound nothing is omitted.
    let exactly: Vec<_> = (0..64).map(|n| format!(r#"{{"n":{n}}}"#)).collect();
    let text = why(&format!("[{}]", exactly.join(",")), r#"{"n":"63"}"#).text;
    assert_eq!(
        text,
        "not granted; the closest grant differs in `n`: granted 63 (number), asked \"63\" (text)"
    );
}

#[test]
fn text_and_work_are_bounded() {
    let long = "\\u0001ä".repeat(20);
    let member = |n: usize, value: &str| format!("\"{n:02}{long}\":\"{value}{long}\"");
    let room = |value: &str| {
        let members: Vec<_> = (0..64).map(|n| member(n, value)).collect();
        format!("{{{}}}", members.join(","))
    };
    let grants: Vec<_> = (0..100).map(|n| room(&n.to_string())).collect();
    let Explanation { text, units } = why(&format!("[{}]", grants.join(",")), &room("x"));
    assert!(text.len() <= REASON_BYTES_MAX, "{}", text.len());
    assert!(text.ends_with("; and 61 more"), "{text}");
    assert!(!text.contains(char::is_control));
    assert!(units < crate::budget::SLICE, "{units}");
    let few = why(r#"[{"a":1}]"#, r#"{"a":2}"#).units;
    assert!(0 < few && few < units, "{few}");
}
