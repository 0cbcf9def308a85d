//! Parses what the API sends, as far as this version supports it.

use bytes::Bytes;
use ht_proto::record::Record;
use ht_proto::trigger::{Request, TriggerError, TriggerLimits};

/// Parses a broker's message: a trigger or a command.
///
/// # Errors
/// What is invalid in it, or not known to this version.
pub fn message(body: &Bytes, limits: &TriggerLimits) -> Result<Record, TriggerError> {
    let record = Record::parse(body, limits)?;
    supported(&record)?;
    Ok(record)
}

/// Parses the body of a request: a trigger, a command, or an array of them.
pub(crate) fn request(
    body: &Bytes,
    limits: &TriggerLimits,
) -> Result<Request<Record>, TriggerError> {
    let request = Request::of_records(body, limits)?;
    match &request {
        Request::One(record) => supported(record)?,
        Request::Many(records) => {
            for (index, record) in records.iter().enumerate() {
                supported(record).map_err(|error| TriggerError {
                    trigger: Some(index),
                    ..error
                })?;
            }
        }
    }
    Ok(request)
}

fn supported(record: &Record) -> Result<(), TriggerError> {
    match record {
        Record::Trigger(_) => Ok(()),
        Record::Command(command) => Ok(command.supported()?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: TriggerLimits = TriggerLimits {
        bytes: 1_000,
        triggers: 10,
        rooms: 10,
    };

    #[test]
    fn unsupported_records_are_rejected() {
        for (text, error) in [
            (
                r#"{"command":"disconnect","user":7,"issued_before":9}"#,
                "issued_before: this version does not know this member: leave it out",
            ),
            (
                r#"{"command":"unsubscribe","user":7,"from":[{}],"dry_run":true,"confirm":"everywhere"}"#,
                "confirm: a dry run counts at this node alone: leave it out",
            ),
        ] {
            let body = Bytes::from_static(text.as_bytes());
            assert_eq!(message(&body, &LIMITS).unwrap_err().to_string(), error);
            let trigger = r#"{"rooms":[],"data":1}"#;
            let body = Bytes::from(format!("[{trigger},{text}]"));
            let found = request(&body, &LIMITS).unwrap_err().to_string();
            assert_eq!(found, format!("command 1: {error}"));
        }
        for text in [
            r#"{"command":"unsubscribe","user":7,"from":[{}],"confirm":"everywhere"}"#,
            r#"{"command":"invalidate","user":7,"within":60000}"#,
            r#"{"command":"permit","user":7,"allowed_rooms":[]}"#,
            r#"{"command":"disconnect","everyone":true,"dry_run":true}"#,
            r#"{"command":"unsubscribe","user":7,"from":[{}]}"#,
        ] {
            let body = Bytes::from_static(text.as_bytes());
            assert!(message(&body, &LIMITS).is_ok() && request(&body, &LIMITS).is_ok());
        }
    }
}
