//! Rooms: what a client subscribes to and a trigger names.

use smallvec::SmallVec;

use crate::canonical::{CanonicalError, Reader, STAR, put_json, string_end};

/// Most keys that a room may have: a room's `*` positions are kept as bits of a `u64`.
pub const ROOM_KEYS_MAX: usize = 64;

/// A JSON object that names a room, in a form that compares by content.
///
/// Two rooms are equal when they have the same keys with values of the same type and content,
/// in whatever order and spelling.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Room {
    /// The canonical keys, sorted, one after the other; then the values in the same order.
    bytes: Box<[u8]>,
    /// Where each value ends in `bytes`, preceded by where the keys end.
    ends: SmallVec<[u32; 4]>,
    wildcards: u64,
}

/// Bounds for a room's text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RoomLimits {
    /// Longest text, in bytes.
    pub bytes: usize,
    /// How deep values may nest; 1 is a flat room.
    pub depth: usize,
}

impl RoomLimits {
    /// For rooms that come from the API, whose answers and triggers are bounded as a whole.
    pub const TRUSTED: Self = Self {
        bytes: usize::MAX,
        depth: 64,
    };
}

/// Why a text is not a room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RoomError {
    /// Not a JSON object.
    #[error("a room is a JSON object")]
    NotAnObject,
    /// Nested deeper than allowed.
    #[error("the room is nested too deep")]
    TooDeep,
    /// A number with a fraction or an exponent that is too large or too small for a double.
    #[error("a number in the room is too large or too small for a double: send it as a string")]
    Number,
    /// Longer than allowed, or with more than [`ROOM_KEYS_MAX`] keys.
    #[error("the room is too long")]
    TooLong,
}

impl Room {
    /// The value `"*"`, as [`Room::value`] gives it.
    pub const STAR: &[u8] = STAR;

    /// Reads a room from the text of a JSON value.
    ///
    /// # Errors
    /// When it is not an object, or beyond `limits`.
    pub fn parse(text: &str, limits: RoomLimits) -> Result<Self, RoomError> {
        if text.len() > limits.bytes || u32::try_from(text.len()).is_err() {
            return Err(RoomError::TooLong);
        }
        let mut reader = Reader::new(text);
        let entries = reader.entries(limits.depth).map_err(|error| match error {
            CanonicalError::Syntax => RoomError::NotAnObject,
            CanonicalError::TooDeep => RoomError::TooDeep,
            CanonicalError::Number => RoomError::Number,
        })?;
        if !reader.at_end() {
            return Err(RoomError::NotAnObject);
        }
        if entries.len() > ROOM_KEYS_MAX {
            return Err(RoomError::TooLong);
        }
        let forms = entries
            .iter()
            .map(|entry| entry.key().len() + entry.value().len());
        let mut bytes = Vec::with_capacity(forms.sum());
        let mut ends = SmallVec::with_capacity(entries.len() + 1);
        let mut wildcards = 0;
        for entry in &entries {
            bytes.extend_from_slice(entry.key());
        }
        // A form is at most some five times as long as its text, whose length fits a u32 with
        // room to spare under every limit that is ever set; the check keeps it so.
        let end = |bytes: &Vec<u8>| u32::try_from(bytes.len()).map_err(|_| RoomError::TooLong);
        ends.push(end(&bytes)?);
        for (position, entry) in entries.iter().enumerate() {
            bytes.extend_from_slice(entry.value());
            ends.push(end(&bytes)?);
            if entry.value() == STAR {
                wildcards |= 1 << position;
            }
        }
        Ok(Self {
            bytes: bytes.into(),
            ends,
            wildcards,
        })
    }

    /// How many keys the room has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ends.len() - 1
    }

    /// Whether this is the room `{}`.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many bytes its keys and values are, as they are kept.
    #[must_use]
    pub fn size(&self) -> usize {
        self.bytes.len()
    }

    /// How many bytes it takes in memory.
    #[must_use]
    pub fn memory(&self) -> usize {
        let ends = if self.ends.spilled() {
            self.ends.capacity() * size_of::<u32>()
        } else {
            0
        };
        size_of::<Self>() + self.bytes.len() + ends
    }

    /// The room's shape: its keys, sorted. Equal shapes have equal bytes.
    #[must_use]
    pub fn shape(&self) -> &[u8] {
        &self.bytes[..self.ends[0] as usize]
    }

    /// The value of the key at `position` of the sorted keys. Equal values have equal bytes.
    ///
    /// # Panics
    /// When there is no such position.
    #[must_use]
    pub fn value(&self, position: usize) -> &[u8] {
        &self.bytes[self.ends[position] as usize..self.ends[position + 1] as usize]
    }

    /// Its keys, sorted, each with its value. Equal ones have equal bytes.
    pub fn members(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let mut keys = self.shape();
        (0..self.len()).map(move |position| {
            let (key, rest) = keys.split_at(string_end(keys));
            keys = rest;
            (key, self.value(position))
        })
    }

    /// A JSON text of it: the keys in their order here, numbers perhaps spelled in another way.
    #[must_use]
    pub fn to_json(&self) -> String {
        let mut out = String::with_capacity(self.bytes.len() + 4 * self.len() + 2);
        out.push('{');
        for (index, (key, value)) in self.members().enumerate() {
            if index > 0 {
                out.push_str(", ");
            }
            put_json(key, &mut out);
            out.push_str(": ");
            put_json(value, &mut out);
        }
        out.push('}');
        out
    }

    /// The positions whose value is exactly `"*"`, as bits.
    #[must_use]
    pub fn wildcards(&self) -> u64 {
        self.wildcards
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: RoomLimits = RoomLimits {
        bytes: 64,
        depth: 2,
    };

    fn room(text: &str) -> Room {
        Room::parse(text, LIMITS).unwrap()
    }

    #[test]
    fn rooms_compare_by_content() {
        assert_eq!(
            room(r#"{"a":1,"b":"x"}"#),
            room(r#" {"b":"\u0078","a":1} "#)
        );
        assert_ne!(room(r#"{"a":1}"#), room(r#"{"a":"1"}"#));
        assert_eq!(room(r#"{"a":1}"#).shape(), room(r#"{"a":"x"}"#).shape());
        assert_ne!(room(r#"{"a":1}"#).shape(), room(r#"{"b":1}"#).shape());
        assert!(room("{}").is_empty());
    }

    #[test]
    fn members_are_sorted_keys_with_their_values() {
        let room = room(r#"{"b":"x","":1,"a\u0062":"*"}"#);
        let members: Vec<_> = room.members().collect();
        let expected: [(&[u8], &[u8]); 3] = [
            (b"s\0\0\0\0", b"i1;"),
            (b"s\0\0\0\x01b", b"s\0\0\0\x01x"),
            (b"s\0\0\0\x02ab", Room::STAR),
        ];
        assert_eq!(members, expected);
    }

    #[test]
    fn its_json_is_the_same_room() {
        let limits = RoomLimits::TRUSTED;
        for (text, json) in [
            ("{}", "{}"),
            (
                r#"{"b":[1,-0,[],{}],"a\"\n":"\u0001\\\/é"}"#,
                r#"{"b": [1, 0, [], {}], "a\"\n": "\u0001\\/é"}"#,
            ),
            (
                r#"{"a":{"z":null,"y":[true,false]},"n":-1.50,"o":0.0,"p":1e3}"#,
                r#"{"a": {"y": [true, false], "z": null}, "n": -15e-1, "o": 0.0, "p": 1e3}"#,
            ),
            (
                r#"{"a":"\ud800x\udfff","i":123456789012345678901234567890}"#,
                r#"{"a": "\ud800x\udfff", "i": 123456789012345678901234567890}"#,
            ),
        ] {
            let room = Room::parse(text, limits).unwrap();
            assert_eq!(room.to_json(), json);
            assert_eq!(Room::parse(json, limits), Ok(room));
        }
    }

    #[test]
    fn only_a_whole_star_at_the_top_is_a_wildcard() {
        assert_eq!(
            room(r#"{"a":"*","b":"a*","c":["*"],"d":"\u002a","*":1}"#).wildcards(),
            0b10010
        );
    }

    #[test]
    fn limits_are_kept() {
        for (text, error) in [
            ("[]", RoomError::NotAnObject),
            ("\"x\"", RoomError::NotAnObject),
            ("null", RoomError::NotAnObject),
            ("", RoomError::NotAnObject),
            (r#"{"a":[[]]}"#, RoomError::TooDeep),
            (r#"{"a":1e400}"#, RoomError::Number),
            (r#"{"a":[-1e999]}"#, RoomError::Number),
            (
                &format!(r#"{{"a":"{}"}}"#, "x".repeat(60)),
                RoomError::TooLong,
            ),
        ] {
            assert_eq!(Room::parse(text, LIMITS), Err(error), "{text}");
        }
        let keys = |n: usize| {
            let members: Vec<_> = (0..n).map(|i| format!("\"{i}\":0")).collect();
            Room::parse(&format!("{{{}}}", members.join(",")), RoomLimits::TRUSTED)
        };
        assert_eq!(keys(64).unwrap().len(), 64);
        assert_eq!(keys(65), Err(RoomError::TooLong));
    }
}
