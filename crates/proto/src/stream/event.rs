//! How messages are framed in a stream: as events of `text/event-stream` (HTML Living Standard
//! §9.2), or as lines of JSON.

use crate::close::Advice;
use crate::cursor::{Cursor, CursorText, Part};
use crate::server::{put_publish_tail, request_id_of};

/// The framing of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// `text/event-stream`: each message is an event with its `type` as name, and its cursor as
    /// `id`.
    Events,
    /// `application/x-ndjson`: each message is a line, and its cursor a member.
    Lines,
}

impl Format {
    /// Its content type.
    #[must_use]
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Events => "text/event-stream",
            Self::Lines => "application/x-ndjson",
        }
    }
}

/// What is before the head of a publication in an event.
pub const EVENT_PUBLISH: &[u8] = b"event: publish\ndata: ";

/// Times to reconnect where nothing says another, in ms: about the 3 seconds that browsers wait by
/// themselves, but no two clients of a node that was killed wait equally long.
const SOON: (u64, u64) = (1_000, 4_000);

/// The same where an early attempt would make it worse.
const LATER: (u64, u64) = (5_000, 30_000);

/// Whether a byte ends a line.
const fn ends_line(byte: u8) -> bool {
    matches!(byte, b'\r' | b'\n')
}

/// Whether a text has several lines.
#[must_use]
pub fn has_line_breaks(text: &[u8]) -> bool {
    text.contains(&b'\n') || text.contains(&b'\r')
}

/// This JSON text on one line, if it has several. Its value is the same: line breaks within JSON are
/// only between tokens, where a space means the same.
#[must_use]
pub fn line_of(json: &[u8]) -> Option<Vec<u8>> {
    has_line_breaks(json).then(|| {
        let mut line = Vec::with_capacity(json.len());
        put_line(&mut line, json);
        line
    })
}

/// Appends a JSON text on one line.
fn put_line(out: &mut Vec<u8>, json: &[u8]) {
    let each = json.iter();
    out.extend(each.map(|&byte| if ends_line(byte) { b' ' } else { byte }));
}

/// Appends what is behind the head of a publication. `tail` is its
/// [`publish_tail`](crate::server::publish_tail); the cursor is that of a client that was sent it,
/// with the part if others of the same entry follow.
pub fn put_publish_end(
    out: &mut Vec<u8>,
    format: Format,
    tail: &[u8],
    cursor: Option<(&CursorText, Option<Part>)>,
) {
    match (format, cursor) {
        (Format::Events, cursor) => {
            out.extend_from_slice(request_id_of(tail));
            out.extend_from_slice(b"}\n");
            if let Some((text, part)) = cursor {
                out.extend_from_slice(b"id: ");
                out.extend_from_slice(text.as_bytes());
                if let Some(part) = part {
                    out.extend_from_slice(&part.suffix());
                }
                out.push(b'\n');
            }
        }
        (Format::Lines, Some((text, part))) => put_publish_tail(out, tail, text, part),
        (Format::Lines, None) => out.extend_from_slice(tail),
    }
    out.push(b'\n');
}

/// Appends a message with a `type`, the first of its members. `cursor` is that of a client that was
/// sent it; in a line it is not repeated.
pub fn put_event(out: &mut Vec<u8>, format: Format, message: &[u8], cursor: Option<Cursor>) {
    match format {
        Format::Events => {
            if let Some(cursor) = cursor {
                out.extend_from_slice(b"id: ");
                cursor.write(out);
                out.push(b'\n');
            }
            out.extend_from_slice(b"event: ");
            out.extend_from_slice(type_of(message));
            out.extend_from_slice(b"\ndata: ");
            put_line(out, message);
            out.extend_from_slice(b"\n\n");
        }
        Format::Lines => {
            put_line(out, message);
            out.push(b'\n');
        }
    }
}

/// The `type` of a message of ours.
fn type_of(message: &[u8]) -> &[u8] {
    let rest = message.strip_prefix(br#"{"type": ""#).unwrap_or_default();
    let end = rest.iter().position(|&byte| byte == b'"').unwrap_or(0);
    &rest[..end]
}

/// Appends a heartbeat of which a page notices nothing. The browser keeps the cursor: without it, that
/// of a page that is sent nothing would be too old after a while.
pub fn put_quiet(out: &mut Vec<u8>, cursor: Option<Cursor>) {
    match cursor {
        Some(cursor) => {
            out.extend_from_slice(b"id: ");
            cursor.write(out);
        }
        // A comment.
        None => out.push(b':'),
    }
    out.extend_from_slice(b"\n\n");
}

/// Appends how long the browser waits before it reconnects, within the event that follows.
pub fn put_retry(out: &mut Vec<u8>, ms: u64) {
    out.extend_from_slice(b"retry: ");
    out.extend_from_slice(itoa::Buffer::new().format(ms).as_bytes());
    out.push(b'\n');
}

/// A time to reconnect in ms, at random: within a span, or such that clients of one node do not all
/// come at once.
#[must_use]
pub fn retry_ms(within: Option<u32>, advice: Advice, random: u64) -> u64 {
    let (least, span) = match (within, advice) {
        (Some(within), _) => (0, u64::from(within)),
        (None, Advice::Later) => LATER,
        (None, Advice::Soon | Advice::Never | Advice::SignIn | Advice::AsYouLike) => SOON,
    };
    least + random % (span + 1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::room::{Room, RoomLimits};
    use crate::server::{self, GapCause, Lost, publish_head, publish_tail};

    fn text(put: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        put(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_publication_has_its_cursor_where_the_format_has_it() {
        let cursor: Cursor = "k3f9ab-1742-aB3x.AAAAAQ".parse().unwrap();
        let whole = CursorText::from(Cursor {
            part: None,
            ..cursor
        });
        let tail = publish_tail("7");
        let end =
            |format, cursor| text(|out| put_publish_end(out, format, tail.as_bytes(), cursor));
        for (format, cursor, expected) in [
            (Format::Events, None, "7}\n\n"),
            (
                Format::Events,
                Some((&whole, None)),
                "7}\nid: k3f9ab-1742-aB3x\n\n",
            ),
            (
                Format::Events,
                Some((&whole, cursor.part)),
                "7}\nid: k3f9ab-1742-aB3x.AAAAAQ\n\n",
            ),
            (Format::Lines, None, "7}\n"),
            (
                Format::Lines,
                Some((&whole, cursor.part)),
                "7, \"cursor\": \"k3f9ab-1742-aB3x.AAAAAQ\"}\n",
            ),
        ] {
            assert_eq!(end(format, cursor), expected);
        }
    }

    #[test]
    fn data_with_line_breaks_has_the_same_value_on_one_line() {
        for (data, is_changed) in [
            ("{\"a\": 1}", false),
            ("{\n\t\"a\":\r\n 1\r}", true),
            ("\"\u{2028}\\n\"", false),
            ("[\n]", true),
        ] {
            let head = publish_head(data.as_bytes());
            let line = line_of(&head);
            assert_eq!(line.is_some(), is_changed, "{data:?}");
            let line = line.unwrap_or_else(|| head.clone());
            assert_eq!(line.len(), head.len());
            let whole = |head: Vec<u8>| {
                let message = [head, publish_tail("1").into()].concat();
                serde_json::from_slice::<serde_json::Value>(&message).unwrap()
            };
            assert_eq!(whole(line), whole(head));
        }
    }

    #[test]
    fn an_event_is_named_by_its_type() {
        let cursor: Cursor = "k3f9ab-1742-aB3x".parse().unwrap();
        let room = Room::parse(r#"{"n": 1}"#, RoomLimits::TRUSTED).unwrap();
        for (message, name) in [
            (
                server::unsubscribed("1", &room, Lost::Command),
                "unsubscribed",
            ),
            (server::permissions("[\n]"), "permissions"),
            (server::gap(&cursor, GapCause::Broker), "gap"),
            (server::authenticate(5), "authenticate"),
        ] {
            let event = text(|out| put_event(out, Format::Events, message.as_bytes(), None));
            let data = message.replace('\n', " ");
            assert_eq!(event, format!("event: {name}\ndata: {data}\n\n"));
            let line = text(|out| put_event(out, Format::Lines, message.as_bytes(), Some(cursor)));
            assert_eq!(line, format!("{data}\n"));
        }
        let message = br#"{"type": "gap"}"#;
        let event = text(|out| put_event(out, Format::Events, message, Some(cursor)));
        assert_eq!(
            event,
            "id: k3f9ab-1742-aB3x\nevent: gap\ndata: {\"type\": \"gap\"}\n\n"
        );
    }

    #[test]
    fn a_heartbeat_moves_the_cursor_and_is_no_event() {
        let cursor: Cursor = "k3f9ab-1742-aB3x".parse().unwrap();
        assert_eq!(
            text(|out| put_quiet(out, Some(cursor))),
            "id: k3f9ab-1742-aB3x\n\n"
        );
        assert_eq!(text(|out| put_quiet(out, None)), ":\n\n");
        assert_eq!(text(|out| put_retry(out, 2_817)), "retry: 2817\n");
    }

    proptest! {
        #[test]
        fn reconnects_are_within_the_span(within in prop::option::of(0_u32..100_000), random: u64) {
            let ms = retry_ms(within, Advice::Soon, random);
            let bounds = within.map_or(1_000..=5_000, |within| 0..=u64::from(within));
            prop_assert!(bounds.contains(&ms));
            prop_assert!((5_000..=35_000).contains(&retry_ms(None, Advice::Later, random)));
        }
    }
}
