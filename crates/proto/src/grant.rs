//! Grants: the rooms that the API permits a user.

use serde_json::value::RawValue;

use crate::room::{Room, RoomError, RoomLimits};

/// The list `allowed_rooms` of a bootstrap response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GrantList {
    /// The grants without repetitions, in the API's order.
    pub rooms: Vec<Room>,
    /// JSON text of the list, as the client gets it: values unchanged, equal grants collapsed.
    pub text: String,
    /// The first object that permits nothing, because no request can name such a room.
    pub unusable: Option<Unusable>,
}

/// A grant that permits nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unusable {
    /// Its JSON text.
    pub item: String,
    /// Why no request can name it.
    pub problem: RoomError,
}

/// `allowed_rooms` is not a list of objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("allowed_rooms must be a list of JSON objects")]
pub struct GrantListError;

impl GrantList {
    /// Reads the JSON text of `allowed_rooms`.
    ///
    /// An object that no request could ever name (see [`crate::room::ROOM_KEYS_MAX`] and
    /// [`crate::room::RoomError::Number`]) is shown to the client but grants nothing.
    ///
    /// # Errors
    /// When it is not a list of objects.
    pub fn parse(text: &str) -> Result<Self, GrantListError> {
        let entries: Vec<&RawValue> = serde_json::from_str(text).map_err(|_| GrantListError)?;
        let mut rooms: Vec<Room> = Vec::with_capacity(entries.len());
        let mut seen = std::collections::HashSet::with_capacity(entries.len());
        let mut list = String::with_capacity(text.len());
        let mut unusable = None;
        list.push('[');
        for entry in entries {
            let entry = entry.get();
            if !entry.starts_with('{') {
                return Err(GrantListError);
            }
            match Room::parse(entry, RoomLimits::TRUSTED) {
                Ok(room) if !seen.insert(room.clone()) => continue,
                Ok(room) => rooms.push(room),
                Err(problem) => {
                    unusable.get_or_insert_with(|| Unusable {
                        item: entry.to_owned(),
                        problem,
                    });
                }
            }
            if list.len() > 1 {
                list.push_str(", ");
            }
            list.push_str(entry);
        }
        list.push(']');
        Ok(Self {
            rooms,
            text: list,
            unusable,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_grants_collapse_and_the_order_stays() {
        let list = GrantList::parse(r#"[{"b":1.50},{"a":"*"}, {"b":1.5},{"a":"*"}]"#).unwrap();
        assert_eq!(list.text, r#"[{"b":1.50}, {"a":"*"}]"#);
        assert_eq!(list.rooms.len(), 2);
        assert_eq!(GrantList::parse("[]").unwrap().text, "[]");
    }

    #[test]
    fn a_number_that_no_double_holds_grants_nothing() {
        let text = r#"[{"a":1e400}, {"b":[-1e400]}, {"c":1e-400}, {"d":1.0}]"#;
        let list = GrantList::parse(text).unwrap();
        assert_eq!(list.text, text);
        assert_eq!(list.rooms.len(), 1);
    }

    #[test]
    fn first_grant_that_permits_nothing_is_reported() {
        let keys: Vec<_> = (0..65).map(|key| format!("\"{key}\":1")).collect();
        let many = format!("{{{}}}", keys.join(","));
        let deep = format!("{{\"a\":{}{}}}", "[".repeat(64), "]".repeat(64));
        for (item, problem) in [
            (r#"{"a":1e400}"#, RoomError::Number),
            (r#"{"b":[{"c": -1e400}]}"#, RoomError::Number),
            (r#"{"c":1e-400}"#, RoomError::Number),
            (&many, RoomError::TooLong),
            (&deep, RoomError::TooDeep),
        ] {
            let text = format!(r#"[{{"a":1}}, {item}, {{"d":2e400}}]"#);
            let unusable = GrantList::parse(&text).unwrap().unusable;
            let item = item.to_owned();
            assert_eq!(unusable, Some(Unusable { item, problem }), "{text}");
        }
        let usable = GrantList::parse(r#"[{"a":1e308},{"a":1e308},{}]"#).unwrap();
        assert_eq!(usable.unusable, None);
    }

    #[test]
    fn only_lists_of_objects_are_grants() {
        for text in [
            r#"["a"]"#,
            r#"[{"a":1},"b"]"#,
            "{}",
            "\"x\"",
            "null",
            "1",
            "[1]",
            "[[]]",
            "",
        ] {
            assert!(GrantList::parse(text).is_err(), "{text}");
        }
    }
}
