//! The messages that only streams have.

use uuid::Uuid;

use crate::cursor::Cursor;
use crate::server::{NotRecovered, Refused, Resumption, put_recovered, put_refused};

/// The first message of a stream, or of a long poll that begins anew.
#[derive(Clone, Copy, Debug)]
pub struct Opened<'a> {
    /// What every admitted client is sent first, see [`authorized`](crate::server::authorized).
    pub welcome: &'a [u8],
    /// The connection's id.
    pub connection: &'a Uuid,
    /// How many publications follow that the client missed; none: it asked for none.
    pub replayed: Option<Result<usize, NotRecovered>>,
    /// How far the client has been sent everything, where the framing has no other place for it.
    pub cursor: Option<Cursor>,
    /// The client was let in by its resume ticket.
    pub resumed: bool,
    /// What lets it in again.
    pub resumption: &'a Resumption,
    /// The subscriptions that were refused.
    pub refused: &'a [Refused],
}

impl Opened<'_> {
    /// Its text.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        let mut text = br#"{"type": "open""#.to_vec();
        self.put_members(&mut text);
        put_cursor(&mut text, self.cursor);
        if let Some(replayed) = self.replayed {
            put_recovered(&mut text, replayed);
        }
        self.resumption.put(&mut text);
        put_refused(&mut text, self.refused);
        text.push(b'}');
        text
    }

    /// Appends who the client is for the gateway, as members of an object.
    pub(super) fn put_members(&self, text: &mut Vec<u8>) {
        let welcome = self.welcome.strip_prefix(b"{").unwrap_or(self.welcome);
        let welcome = welcome.strip_suffix(b"}").unwrap_or(welcome);
        text.extend_from_slice(b", ");
        text.extend_from_slice(welcome);
        text.extend_from_slice(format!(r#", "connection": "{}""#, self.connection).as_bytes());
        if self.resumed {
            text.extend_from_slice(br#", "resumed": true"#);
        }
    }
}

/// A heartbeat to a client that reads messages. `cursor`: see [`Opened::cursor`].
#[must_use]
pub fn ping(cursor: Option<Cursor>, resumption: &Resumption) -> Vec<u8> {
    let mut text = br#"{"type": "ping""#.to_vec();
    put_cursor(&mut text, cursor);
    resumption.put(&mut text);
    text.push(b'}');
    text
}

/// The last message of a stream. `reason` is that of a close frame: a word, and perhaps the span in
/// ms within which the client should reconnect.
#[must_use]
pub fn close(code: u16, reason: &str) -> Vec<u8> {
    let mut text = br#"{"type": "close""#.to_vec();
    put_close(&mut text, code, reason);
    text.push(b'}');
    text
}

/// Appends a code and a reason, as members of an object.
pub(super) fn put_close(text: &mut Vec<u8>, code: u16, reason: &str) {
    let (word, within) = split_reason(reason);
    let word = serde_json::Value::from(word);
    text.extend_from_slice(format!(r#", "code": {code}, "reason": {word}"#).as_bytes());
    if let Some(within) = within {
        text.extend_from_slice(format!(r#", "within": {within}"#).as_bytes());
    }
}

/// The word of the reason of a close frame, and the span in ms within which to reconnect.
#[must_use]
pub fn split_reason(reason: &str) -> (&str, Option<u32>) {
    // A span without a word is one, too.
    let (word, span) = reason.rsplit_once(' ').unwrap_or(("", reason));
    match span.parse() {
        Ok(span) => (word, Some(span)),
        Err(_) => (reason, None),
    }
}

fn put_cursor(text: &mut Vec<u8>, cursor: Option<Cursor>) {
    if let Some(cursor) = cursor {
        text.extend_from_slice(br#", "cursor": ""#);
        cursor.write(text);
        text.push(b'"');
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::close::Close;
    use crate::code::ErrorCode;
    use crate::server::authorized;

    #[test]
    fn the_first_message_says_what_the_client_may_and_what_follows() {
        let (welcome, connection) = (authorized("[{\"n\": 1}]"), Uuid::from_u128(7));
        let none = Resumption::default();
        let opened = Opened {
            welcome: welcome.as_bytes(),
            connection: &connection,
            replayed: None,
            cursor: None,
            resumed: false,
            resumption: &none,
            refused: &[],
        };
        assert_eq!(
            String::from_utf8(opened.to_json()).unwrap(),
            concat!(
                r#"{"type": "open", "is_authorized": true, "allowed_rooms": [{"n": 1}], "#,
                r#""connection": "00000000-0000-0000-0000-000000000007", "refused": []}"#
            )
        );
        let resumption = Resumption {
            ticket: Some("t".into()),
            proof: Some("p".into()),
        };
        let opened = Opened {
            replayed: Some(Ok(3)),
            cursor: "k3f9ab-1742-aB3x".parse().ok(),
            resumed: true,
            resumption: &resumption,
            refused: &[(Some(1.into()), ErrorCode::RoomNotFound)],
            ..opened
        };
        assert_eq!(
            String::from_utf8(opened.to_json()).unwrap(),
            concat!(
                r#"{"type": "open", "is_authorized": true, "allowed_rooms": [{"n": 1}], "#,
                r#""connection": "00000000-0000-0000-0000-000000000007", "resumed": true, "#,
                r#""cursor": "k3f9ab-1742-aB3x", "recovered": true, "replayed": 3, "#,
                r#""ticket": "t", "proof": "p", "#,
                r#""refused": [{"requestId": 1, "message": "room-not-found"}]}"#
            )
        );
    }

    #[test]
    fn heartbeats_and_ends_are_messages() {
        let resumption = Resumption {
            ticket: None,
            proof: Some("p".into()),
        };
        assert_eq!(ping(None, &Resumption::default()), br#"{"type": "ping"}"#);
        assert_eq!(
            ping("k3f9ab-1742-aB3x".parse().ok(), &resumption),
            br#"{"type": "ping", "cursor": "k3f9ab-1742-aB3x", "proof": "p"}"#
        );
        for (reason, expected) in [
            ("restart 2000", r#""reason": "restart", "within": 2000}"#),
            ("restart", r#""reason": "restart"}"#),
            ("", r#""reason": ""}"#),
            ("two words", r#""reason": "two words"}"#),
        ] {
            let expected = format!(r#"{{"type": "close", "code": 1012, {expected}"#);
            assert_eq!(close(1012, reason), expected.as_bytes());
        }
        for reason in Close::ALL {
            let span = reason.within(5);
            assert_eq!(split_reason(&span.reason()), (reason.word(), Some(5)));
        }
    }
}
