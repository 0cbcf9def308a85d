//! Triggers: what the API sends when it has news.

use std::collections::HashSet;
use std::fmt;

use bytes::Bytes;
use serde_json::value::RawValue;

use crate::mark::without_mark;
use crate::object::{Members, members};
use crate::room::{Room, RoomLimits};

/// One trigger of the API: rooms and data.
#[derive(Clone, Debug)]
pub struct Trigger {
    /// The trigger's own JSON text, as it was sent.
    pub text: Bytes,
    /// The rooms, in the API's order, without repetitions.
    pub rooms: Vec<Room>,
    /// The JSON text of `data`, as it was sent.
    pub data: Bytes,
    /// Makes repeating harmless: a string as its content, a number as its text.
    pub id: Option<Box<str>>,
}

/// Bounds for what the API sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TriggerLimits {
    /// Longest request or message, in bytes.
    pub bytes: usize,
    /// Triggers in one request.
    pub triggers: usize,
    /// Rooms in one trigger.
    pub rooms: usize,
}

/// Longest `id`, in bytes.
pub const TRIGGER_ID_BYTES_MAX: usize = 256;

/// What is wrong with a request, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TriggerError {
    /// The index of the trigger in the request, where there is an array of them.
    pub trigger: Option<usize>,
    /// The member that is wrong, such as `rooms[2]`; none when the whole is.
    pub member: Option<String>,
    /// What is wrong with it.
    pub problem: Problem,
}

/// What may be wrong with a trigger.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// Longer than allowed.
    #[error("longer than {0} bytes (limits.trigger_bytes)")]
    TooLong(usize),
    /// Not UTF-8.
    #[error("not UTF-8")]
    NotUtf8,
    /// UTF-16 or UTF-32, by its byte order mark.
    #[error("it is UTF-16 or UTF-32: send UTF-8")]
    OtherUnicode,
    /// Not JSON; says what the parser said.
    #[error("not JSON: {0}")]
    NotJson(String),
    /// Neither an object nor, where that is allowed, an array of objects.
    #[error("a trigger is a JSON object with the members rooms and data")]
    NotAnObject,
    /// More triggers than allowed.
    #[error("more than {0} triggers in one request (limits.triggers_per_request)")]
    TooManyTriggers(usize),
    /// `rooms` is missing.
    #[error("rooms not specified")]
    NoRooms,
    /// `data` is missing.
    #[error("data not specified")]
    NoData,
    /// `rooms` is not a list.
    #[error("rooms must be a list of JSON objects")]
    RoomsNotAList,
    /// More rooms than allowed.
    #[error("more than {0} rooms in one trigger (limits.rooms_per_trigger)")]
    TooManyRooms(usize),
    /// A room is not a room.
    #[error("{0}")]
    Room(#[from] crate::room::RoomError),
    /// `id` is no short string or number.
    #[error("id must be a string or a number of at most {TRIGGER_ID_BYTES_MAX} bytes")]
    Id,
}

impl std::error::Error for TriggerError {}

impl fmt::Display for TriggerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(trigger) = self.trigger {
            write!(f, "trigger {trigger}: ")?;
        }
        if let Some(member) = &self.member {
            write!(f, "{member}: ")?;
        }
        self.problem.fmt(f)
    }
}

impl From<Problem> for TriggerError {
    fn from(problem: Problem) -> Self {
        Self {
            trigger: None,
            member: None,
            problem,
        }
    }
}

/// The triggers of one request.
#[derive(Clone, Debug)]
pub enum Request {
    /// A single object.
    One(Trigger),
    /// An array of objects.
    Many(Vec<Trigger>),
}

impl Request {
    /// Reads the body of a request: a trigger or an array of them.
    ///
    /// # Errors
    /// What is wrong with the first trigger that is wrong; none of the others is to be done.
    pub fn parse(body: &Bytes, limits: &TriggerLimits) -> Result<Self, TriggerError> {
        let text = text_of(body, limits)?;
        let first = text.trim_ascii_start().as_bytes().first();
        if first != Some(&b'[') {
            return Trigger::read(body, text, limits).map(Self::One);
        }
        let texts: Vec<&RawValue> =
            serde_json::from_str(text).map_err(|error| Problem::NotJson(error.to_string()))?;
        if texts.len() > limits.triggers {
            return Err(Problem::TooManyTriggers(limits.triggers).into());
        }
        let triggers = texts.iter().enumerate().map(|(index, text)| {
            Trigger::read(body, text.get(), limits).map_err(|error| TriggerError {
                trigger: Some(index),
                ..error
            })
        });
        triggers.collect::<Result<_, _>>().map(Self::Many)
    }
}

impl Trigger {
    /// Reads a broker's message: one trigger.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(body: &Bytes, limits: &TriggerLimits) -> Result<Self, TriggerError> {
        Self::read(body, text_of(body, limits)?, limits)
    }

    /// Reads the trigger in `text`, a part of `body`.
    fn read(body: &Bytes, text: &str, limits: &TriggerLimits) -> Result<Self, TriggerError> {
        let [rooms, data, id] = match members(text, &["rooms", "data", "id"]) {
            Ok(Members::Object(found)) => found,
            Ok(Members::NotAnObject) => return Err(Problem::NotAnObject.into()),
            Err(error) => return Err(Problem::NotJson(error.to_string()).into()),
        };
        let rooms = rooms.ok_or(Problem::NoRooms).map_err(within("rooms"))?;
        let data = data.ok_or(Problem::NoData).map_err(within("data"))?;
        let rooms = read_rooms(rooms, limits.rooms)?;
        let id = id.map(read_id).transpose().map_err(within("id"))?.flatten();
        Ok(Self {
            text: body.slice_ref(text.as_bytes()),
            rooms,
            data: body.slice_ref(data.as_bytes()),
            id,
        })
    }
}

fn text_of<'a>(body: &'a Bytes, limits: &TriggerLimits) -> Result<&'a str, Problem> {
    if body.len() > limits.bytes {
        return Err(Problem::TooLong(limits.bytes));
    }
    let text = without_mark(body).ok_or(Problem::OtherUnicode)?;
    simdutf8::basic::from_utf8(text).map_err(|_| Problem::NotUtf8)
}

/// Says of a problem that it is in this member. The member is spelled out only then.
fn within(member: impl fmt::Display) -> impl FnOnce(Problem) -> TriggerError {
    move |problem| TriggerError {
        trigger: None,
        member: Some(member.to_string()),
        problem,
    }
}

fn read_rooms(json: &str, rooms_max: usize) -> Result<Vec<Room>, TriggerError> {
    let texts: Vec<&RawValue> = serde_json::from_str(json)
        .map_err(|_| Problem::RoomsNotAList)
        .map_err(within("rooms"))?;
    if texts.len() > rooms_max {
        return Err(within("rooms")(Problem::TooManyRooms(rooms_max)));
    }
    let mut rooms = Vec::with_capacity(texts.len());
    let mut seen = HashSet::new();
    for (index, text) in texts.iter().enumerate() {
        let room = Room::parse(text.get(), RoomLimits::TRUSTED)
            .map_err(Problem::Room)
            .map_err(within(format_args!("rooms[{index}]")))?;
        if texts.len() == 1 || seen.insert(room.clone()) {
            rooms.push(room);
        }
    }
    Ok(rooms)
}

fn read_id(json: &str) -> Result<Option<Box<str>>, Problem> {
    let id = match json.as_bytes().first() {
        Some(b'n') => return Ok(None),
        Some(b'"') => serde_json::from_str(json).map_err(|_| Problem::Id)?,
        Some(b'0'..=b'9' | b'-') => json.to_owned(),
        _ => return Err(Problem::Id),
    };
    if id.is_empty() || id.len() > TRIGGER_ID_BYTES_MAX {
        return Err(Problem::Id);
    }
    Ok(Some(id.into()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIMITS: TriggerLimits = TriggerLimits {
        bytes: 1_000,
        triggers: 3,
        rooms: 3,
    };

    fn one(text: &str) -> Result<Trigger, TriggerError> {
        Trigger::parse(&Bytes::copy_from_slice(text.as_bytes()), &LIMITS)
    }

    fn request(text: &str) -> Result<Request, TriggerError> {
        Request::parse(&Bytes::copy_from_slice(text.as_bytes()), &LIMITS)
    }

    #[test]
    fn data_keeps_its_very_bytes() {
        for data in [
            r#"{"b": 1.50, "a": "\u00e9\ud800"}"#,
            "null",
            "1e400",
            "[ 1 , 2 ]",
            "\"\"",
        ] {
            let text = format!(r#" {{"x":1,"rooms":[{{"a":1}}],"data": {data} }} "#);
            let trigger = one(&text).unwrap();
            assert_eq!(trigger.data, data.as_bytes());
            assert_eq!(trigger.rooms.len(), 1);
            assert_eq!(trigger.id, None);
        }
    }

    #[test]
    fn a_byte_order_mark_is_passed_over() {
        let text = r#"{"rooms": [{"a": 1}], "data": 1}"#;
        let marked = format!("\u{feff}{text}");
        assert_eq!(one(&marked).unwrap().text, text, "nor is it published");
        let Request::Many(many) = request(&format!("\u{feff}[{text}, {text}]")).unwrap() else {
            panic!("an array");
        };
        assert_eq!(many.len(), 2);
        let utf16: Vec<u8> = [0xfeff_u16]
            .into_iter()
            .chain(text.encode_utf16())
            .flat_map(u16::to_le_bytes)
            .collect();
        let error = Request::parse(&utf16.into(), &LIMITS).unwrap_err();
        assert_eq!(error.problem, Problem::OtherUnicode);
        assert_eq!(error.to_string(), "it is UTF-16 or UTF-32: send UTF-8");
    }

    #[test]
    fn mistakes_are_named() {
        for (text, message) in [
            (
                "[]",
                "a trigger is a JSON object with the members rooms and data",
            ),
            (
                "1",
                "a trigger is a JSON object with the members rooms and data",
            ),
            (r#"{"data":1}"#, "rooms: rooms not specified"),
            (r#"{"rooms":[]}"#, "data: data not specified"),
            (
                r#"{"rooms":{},"data":1}"#,
                "rooms: rooms must be a list of JSON objects",
            ),
            (
                r#"{"rooms":null,"data":1}"#,
                "rooms: rooms must be a list of JSON objects",
            ),
            (
                r#"{"rooms":[{},"x"],"data":1}"#,
                "rooms[1]: a room is a JSON object",
            ),
            (
                r#"{"rooms":[{},{"a":1e400}],"data":1}"#,
                "rooms[1]: a number in the room is too large or too small for a double: send it as a string",
            ),
            (
                r#"{"rooms":[{},{},{},{}],"data":1}"#,
                "rooms: more than 3 rooms in one trigger (limits.rooms_per_trigger)",
            ),
            (
                r#"{"rooms":[],"data":1,"id":[]}"#,
                "id: id must be a string or a number of at most 256 bytes",
            ),
            (
                r#"{"rooms":[],"data":1,"id":""}"#,
                "id: id must be a string or a number of at most 256 bytes",
            ),
        ] {
            assert_eq!(one(text).unwrap_err().to_string(), message, "{text}");
        }
        for text in [
            "",
            "{",
            r#"{"rooms":[],"data":NaN}"#,
            r#"{"rooms":[],"data":1}x"#,
        ] {
            assert!(
                matches!(one(text).unwrap_err().problem, Problem::NotJson(_)),
                "{text}"
            );
        }
        let bytes = Bytes::from_static(b"{\"rooms\":[],\"data\":\"\xff\"}");
        assert_eq!(
            Trigger::parse(&bytes, &LIMITS).unwrap_err().problem,
            Problem::NotUtf8
        );
        assert_eq!(
            one(&" ".repeat(1_001)).unwrap_err().problem,
            Problem::TooLong(1_000)
        );
    }

    #[test]
    fn an_array_carries_many() {
        let good = r#"{"rooms":[],"data":1}"#;
        let Request::Many(many) = request(&format!("[{good}, {good}]")).unwrap() else {
            panic!()
        };
        assert_eq!(many[1].text, good);
        assert!(matches!(request(good), Ok(Request::One(_))));
        assert!(matches!(request("[]"), Ok(Request::Many(many)) if many.is_empty()));
        let error = request(&format!(r#"[{good},{{"rooms":[1],"data":1}}]"#)).unwrap_err();
        assert_eq!(
            error.to_string(),
            "trigger 1: rooms[0]: a room is a JSON object"
        );
        let error = request(&format!("[{good},{good},{good},{good}]")).unwrap_err();
        assert_eq!(error.problem, Problem::TooManyTriggers(3));
    }

    #[test]
    fn a_room_named_twice_is_one_room() {
        let rooms = one(r#"{"rooms":[{"a":1},{"b":1},{"a":1}],"data":0}"#)
            .unwrap()
            .rooms;
        assert_eq!(rooms.len(), 2);
    }

    #[test]
    fn ids_are_strings_or_numbers() {
        let id = |text: &str| {
            one(&format!(r#"{{"rooms":[],"data":0,"id":{text}}}"#))
                .unwrap()
                .id
        };
        assert_eq!(id("\"a\\u0062\"").as_deref(), Some("ab"));
        assert_eq!(id("17").as_deref(), Some("17"));
        assert_eq!(id("null"), None);
    }

    proptest! {
        #[test]
        fn nothing_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Request::parse(&bytes.into(), &LIMITS);
        }
    }
}
