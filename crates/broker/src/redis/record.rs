//! Records as the server returns them, and their ids: `<life>-<number>`.
//!
//! The life names one stream, from its first record until it is deleted. It is the time of that
//! record, so a stream that is made anew has another one. Numbers begin at 1 and leave nothing out;
//! they are the positions of the log.

use bytes::Bytes;
use ht_proto::entry::Position;
use redis::Value;

use crate::encoding::Message;
use crate::log::{Kind, Record};
use crate::redis::cause::Cause;

/// The id of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Id {
    pub(super) life: u64,
    pub(super) number: u64,
}

impl Id {
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (life, number) = text.split_once('-')?;
        Some(Self {
            life: life.parse().ok()?,
            number: number.parse().ok()?,
        })
    }

    pub(super) fn text(self) -> String {
        format!("{}-{}", self.life, self.number)
    }

    pub(super) fn position(self) -> Position {
        position(self.number)
    }
}

/// A record with what the log adds.
#[derive(Clone, Debug)]
pub(super) struct Stored {
    pub(super) id: Id,
    /// Milliseconds since 1970 when it was appended, by the server's clock.
    pub(super) at: Option<u64>,
    pub(super) record: Record,
}

/// The records in the reply to `XRANGE`, `XREVRANGE`, or for one stream of `XREAD`.
///
/// # Errors
/// When that is not what it is.
pub(super) fn stored(reply: Value) -> Result<Vec<Stored>, Cause> {
    let records = reply.into_sequence().map_err(|other| unexpected(&other))?;
    records.into_iter().map(one).collect()
}

/// The records in the reply to `XREAD` of one stream.
///
/// # Errors
/// When that is not what it is.
pub(super) fn read(reply: Value) -> Result<Vec<Stored>, Cause> {
    let Value::Array(mut streams) = reply else {
        return stored(reply);
    };
    match streams.pop() {
        Some(Value::Array(mut stream)) if stream.len() == 2 => {
            stored(stream.pop().unwrap_or_default())
        }
        other => Err(unexpected(&other)),
    }
}

fn one(value: Value) -> Result<Stored, Cause> {
    let id = match value.as_sequence() {
        Some([id, Value::Array(_)]) => text(id).and_then(Id::parse),
        _ => None,
    };
    let (Some(id), Ok(mut parts)) = (id, value.into_sequence()) else {
        return Err(Cause::Other("the server returned what is no record".into()));
    };
    let fields = parts.pop().unwrap_or_default().into_sequence();
    let mut fields = fields.unwrap_or_default().into_iter();
    let (mut kind, mut key, mut at, mut body) = (Kind::Trigger, None, None, Bytes::new());
    while let (Some(name), Some(value)) = (fields.next(), fields.next()) {
        match (text(&name), value) {
            (Some("body"), Value::BulkString(bytes)) => body = bytes.into(),
            (Some(name), value) => {
                let value = text(&value).unwrap_or_default();
                match name {
                    "kind" => kind = kind_named(value),
                    "key" => key = Some(value).filter(|key| !key.is_empty()).map(Into::into),
                    "at" => at = value.parse().ok(),
                    _ => {}
                }
            }
            (None, _) => {}
        }
    }
    Ok(Stored {
        id,
        at,
        record: Record {
            position: Some(id.position()),
            kind,
            key,
            stamp: at.unwrap_or(0),
            message: Message {
                body,
                content_encoding: None,
            },
        },
    })
}

/// The text of a string.
pub(super) fn text(value: &Value) -> Option<&str> {
    if let Value::BulkString(bytes) = value {
        std::str::from_utf8(bytes).ok()
    } else {
        None
    }
}

pub(super) fn unexpected(value: &impl std::fmt::Debug) -> Cause {
    let mut shown = format!("{value:?}");
    shown.truncate(shown.floor_char_boundary(60));
    Cause::Other(format!(
        "the server answered what was not asked for: {shown}"
    ))
}

/// The name of a kind in a record.
pub(super) const fn kind_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Trigger => "trigger",
        Kind::Note => "note",
        Kind::Probe => "probe",
    }
}

/// The kind with this name. One of a later version is passed over like a note that is not
/// understood.
fn kind_named(name: &str) -> Kind {
    match name {
        "trigger" => Kind::Trigger,
        "probe" => Kind::Probe,
        _ => Kind::Note,
    }
}

/// The position with this number.
pub(super) fn position(number: u64) -> Position {
    Position::new(number).unwrap_or(Position::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn string(text: &str) -> Value {
        Value::BulkString(text.into())
    }

    fn entry(id: &str, fields: &[&str]) -> Value {
        let fields = fields.iter().map(|text| string(text)).collect();
        Value::Array(vec![string(id), Value::Array(fields)])
    }

    #[test]
    fn ids_are_a_life_and_a_number() {
        let id = Id::parse("1764490000123-42").unwrap();
        assert_eq!((id.life, id.number), (1_764_490_000_123, 42));
        assert_eq!(id.text(), "1764490000123-42");
        assert_eq!(id.position().get(), 42);
        for wrong in ["", "1", "1-", "-1", "1-2-3", "a-1"] {
            assert_eq!(Id::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn records_are_read_whatever_publishers_leave_out() {
        let written = ["kind", "note", "key", "k", "at", "17", "body", "{}"];
        let records = Value::Array(vec![
            entry("5-1", &written),
            entry("5-2", &["body", "x"]),
            entry("5-3", &["key", "", "other", "y", "at", "soon"]),
        ]);
        let reply = Value::Array(vec![Value::Array(vec![string("log"), records.clone()])]);
        for found in [stored(records).unwrap(), read(reply).unwrap()] {
            let shown: Vec<_> = found
                .iter()
                .map(|it| {
                    let record = &it.record;
                    let key = record.key.as_deref();
                    (record.kind, key, it.at, &*record.message.body)
                })
                .collect();
            assert_eq!(
                shown,
                [
                    (Kind::Note, Some("k"), Some(17), &b"{}"[..]),
                    (Kind::Trigger, None, None, &b"x"[..]),
                    (Kind::Trigger, None, None, &b""[..]),
                ]
            );
        }
        assert!(read(Value::Nil).unwrap().is_empty(), "nothing came in time");
    }

    #[test]
    fn what_is_no_record_is_an_error() {
        for reply in [
            Value::Int(1),
            Value::Array(vec![Value::Int(1)]),
            Value::Array(vec![entry("one", &[])]),
        ] {
            assert!(stored(reply.clone()).is_err(), "{reply:?}");
            assert!(read(Value::Array(vec![reply])).is_err());
        }
    }
}
