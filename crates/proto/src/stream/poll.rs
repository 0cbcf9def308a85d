//! The answer to a long poll.

use crate::cursor::Cursor;
use crate::server::{NotRecovered, Refused, Resumption, put_recovered, put_refused};
use crate::stream::message::Opened;

/// The answer to a long poll: everything that its client is to be sent, and how far that is.
#[derive(Clone, Copy, Debug)]
pub struct PollAnswer<'a> {
    /// How far the client has been sent everything, this answer included; none where it keeps the
    /// cursor that it has.
    pub cursor: Option<Cursor>,
    /// Whether it is sent what it missed; none: it asked for none.
    pub replayed: Option<Result<usize, NotRecovered>>,
    /// The messages, each appended by [`put_message`].
    pub messages: &'a [u8],
    /// The subscriptions that were refused.
    pub refused: &'a [Refused],
    /// What lets the client in again.
    pub resumption: &'a Resumption,
    /// What it may subscribe to, where it begins anew.
    pub opened: Option<&'a Opened<'a>>,
}

impl PollAnswer<'_> {
    /// Its text.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        let mut text = Vec::with_capacity(self.messages.len() + 512);
        if let Some(opened) = self.opened {
            opened.put_members(&mut text);
        }
        if let Some(cursor) = self.cursor {
            text.extend_from_slice(br#", "cursor": ""#);
            cursor.write(&mut text);
            text.push(b'"');
        }
        if let Some(replayed) = self.replayed {
            put_recovered(&mut text, replayed);
        }
        text.extend_from_slice(br#", "messages": ["#);
        let messages = self.messages.strip_suffix(SEPARATOR);
        text.extend_from_slice(messages.unwrap_or(self.messages));
        text.push(b']');
        self.resumption.put(&mut text);
        put_refused(&mut text, self.refused);
        text.push(b'}');
        // Every member begins with a comma and a space: that of the first becomes the brace.
        drop(text.splice(..2, *b"{"));
        text
    }
}

const SEPARATOR: &[u8] = b", ";

/// Appends a message to those of an answer, in parts.
pub fn put_message(messages: &mut Vec<u8>, parts: &[&[u8]]) {
    parts
        .iter()
        .for_each(|part| messages.extend_from_slice(part));
    messages.extend_from_slice(SEPARATOR);
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use uuid::Uuid;

    use super::*;
    use crate::code::ErrorCode;
    use crate::server::{authorized, publish_head, publish_tail};

    #[test]
    fn an_answer_has_the_messages_and_the_cursor_after_them() {
        let mut messages = Vec::new();
        let none = Resumption::default();
        let answer = PollAnswer {
            cursor: "k3f9ab-1742-aB3x".parse().ok(),
            replayed: Some(Ok(0)),
            messages: &messages,
            refused: &[],
            resumption: &none,
            opened: None,
        };
        assert_eq!(
            String::from_utf8(answer.to_json()).unwrap(),
            concat!(
                r#"{"cursor": "k3f9ab-1742-aB3x", "recovered": true, "replayed": 0, "#,
                r#""messages": [], "refused": []}"#
            )
        );
        for name in ["1", "\"a\""] {
            let (head, tail) = (publish_head(b"{\n}"), publish_tail(name));
            put_message(&mut messages, &[&head, tail.as_bytes()]);
        }
        let (welcome, connection) = (authorized("[]"), Uuid::from_u128(7));
        let resumption = Resumption {
            ticket: Some("t".into()),
            proof: None,
        };
        let refused = [(None, ErrorCode::NoRequestId)];
        let opened = Opened {
            welcome: welcome.as_bytes(),
            connection: &connection,
            replayed: None,
            cursor: None,
            resumed: true,
            resumption: &none,
            refused: &[],
        };
        let answer = PollAnswer {
            cursor: None,
            replayed: None,
            messages: &messages,
            refused: &refused,
            resumption: &resumption,
            opened: Some(&opened),
        };
        let answer: Value = serde_json::from_slice(&answer.to_json()).unwrap();
        assert_eq!(
            answer,
            json!({
                "is_authorized": true, "allowed_rooms": [], "resumed": true,
                "connection": "00000000-0000-0000-0000-000000000007",
                "messages": [{"type": "publish", "data": {}, "requestId": 1},
                             {"type": "publish", "data": {}, "requestId": "a"}],
                "ticket": "t", "refused": [{"message": "no-request-id"}],
            })
        );
    }
}
