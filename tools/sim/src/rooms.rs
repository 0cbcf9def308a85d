//! The rooms of the simulation, and how they match: spelled out again, without the code under test.

/// A room: its keys, and a value for each of them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spot {
    keys: &'static str,
    values: &'static str,
}

const fn spot(keys: &'static str, values: &'static str) -> Spot {
    Spot { keys, values }
}

/// Every room that there is, by its number.
pub(crate) const ROOMS: [Spot; 12] = [
    spot("a", "1"),
    spot("a", "2"),
    spot("a", "3"),
    spot("a", "*"),
    spot("ab", "11"),
    spot("ab", "12"),
    spot("ab", "21"),
    spot("ab", "*1"),
    spot("ab", "1*"),
    spot("ab", "**"),
    spot("c", "1"),
    spot("abc", "123"),
];

/// Possible grants of users: numbers of rooms. No user has all of them.
pub(crate) const GRANTS: [&[usize]; 5] = [
    &[3, 10],
    &[0, 8],
    &[3, 9],
    // So many that they are indexed.
    &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10],
    &[10],
];

impl Spot {
    /// Its JSON text.
    pub(crate) fn json(self) -> String {
        let members = self.keys.chars().zip(self.values.chars());
        let members = members.map(|(key, value)| match value {
            '*' => format!(r#""{key}":"*""#),
            number => format!(r#""{key}":{number}"#),
        });
        format!("{{{}}}", members.collect::<Vec<_>>().join(","))
    }

    fn compare(self, other: Self, equal: impl Fn(char, char) -> bool) -> bool {
        let mut values = self.values.chars().zip(other.values.chars());
        self.keys == other.keys && values.all(|(own, other)| equal(own, other))
    }

    /// Whether a subscription to this room receives publications to the other one.
    pub(crate) fn meets(self, other: Self, exact: bool) -> bool {
        let wild = |value| !exact && value == '*';
        self.compare(other, |own, other| own == other || wild(own) || wild(other))
    }

    /// Whether this grant permits a subscription to the room.
    fn permits(self, room: Self) -> bool {
        self.compare(room, |own, other| own == other || own == '*')
    }
}

/// Whether a user with these grants may subscribe to the room.
pub(crate) fn is_permitted(grants: &[usize], room: usize) -> bool {
    grants
        .iter()
        .any(|&grant| ROOMS[grant].permits(ROOMS[room]))
}

/// Whether the room `from` includes the other one.
pub(crate) fn covers(from: usize, room: usize) -> bool {
    ROOMS[from].permits(ROOMS[room])
}

/// The `allowed_rooms` of the API's reply.
pub(crate) fn allowed_rooms(grants: &[usize]) -> String {
    let rooms = grants.iter().map(|&grant| ROOMS[grant].json());
    format!("[{}]", rooms.collect::<Vec<_>>().join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wildcard_matches_every_value_of_its_key() {
        assert_eq!(ROOMS[8].json(), r#"{"a":1,"b":"*"}"#);
        assert!(ROOMS[8].meets(ROOMS[5], false) && ROOMS[5].meets(ROOMS[8], false));
        assert!(ROOMS[8].meets(ROOMS[7], false) && !ROOMS[8].meets(ROOMS[7], true));
        assert!(!ROOMS[8].meets(ROOMS[6], false) && !ROOMS[0].meets(ROOMS[4], false));
        assert!(is_permitted(GRANTS[0], 1) && !is_permitted(GRANTS[1], 3));
        let everybody = |room| GRANTS.iter().all(|grants| !is_permitted(grants, room));
        assert!(everybody(11));
    }
}
