//! What a client asks for: its subscriptions, and from where on.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::value::RawValue;

use crate::client::{MessageLimits, Resumed};
use crate::cursor::Cursor;
use crate::object::{Members, members};
use crate::ticket::ResumeOffer;

/// Longest body of a request, in bytes.
pub const BODY_BYTES_MAX: usize = 64 << 10;

/// Longest body in the query of a request, in bytes of its base64url.
pub const TEXT_BYTES_MAX: usize = 8 << 10;

/// Most subscriptions of one request.
pub const SUBSCRIPTIONS_MAX: usize = 1_000;

/// What a client asks for over HTTP.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StreamRequest {
    /// The subscriptions; each may be invalid by itself.
    pub subscriptions: Vec<Resumed>,
    /// From where on they are sent publications.
    pub start: Start,
    /// What lets the client in without a call to the API.
    pub resume: Option<ResumeOffer>,
    /// How long a long poll waits for a message, in ms; none: as long as it may.
    pub wait_ms: Option<u64>,
}

/// From where on a client is sent publications.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Start {
    /// From now on.
    #[default]
    Now,
    /// After this cursor.
    After(Cursor),
    /// After a text that is no cursor of ours. It comes from the browser, which cannot correct it.
    Unknown,
}

/// Why a request is invalid: the client's fault, to be answered with 400.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StreamRequestError {
    /// The body is too long.
    #[error("The request is longer than {BODY_BYTES_MAX} bytes.")]
    TooLong,
    /// The parameter `s` is too long.
    #[error("The parameter `s` is longer than {TEXT_BYTES_MAX} bytes: send the same with POST.")]
    TextTooLong,
    /// The parameter `s` is not base64url.
    #[error("The parameter `s` is not JSON in base64url.")]
    Encoding,
    /// The body is not a JSON object.
    #[error("The request is not a JSON object.")]
    NotAnObject,
    /// There are no subscriptions, or they are no list of objects.
    #[error("`subscriptions` is not a list of objects with `requestId` and `room`.")]
    Subscriptions,
    /// There are too many subscriptions.
    #[error("There are more than {SUBSCRIPTIONS_MAX} subscriptions.")]
    TooManySubscriptions,
    /// `cursor` is not a cursor.
    #[error("`cursor` is not a cursor: send one back as it came.")]
    Cursor,
    /// `wait` is not a number of milliseconds.
    #[error("`wait` is not a number of milliseconds.")]
    Wait,
    /// The query has rooms in two ways.
    #[error("Use either the parameter `s` or parameters `room`.")]
    TwoWays,
}

impl StreamRequest {
    /// Reads a body: `{"cursor": …, "resume": …, "subscriptions": […], "wait": …}`. Unknown members
    /// are ignored, and so is a `resume` that is no offer: then the API decides.
    ///
    /// # Errors
    /// Where it is invalid.
    pub fn parse(body: &[u8], limits: &MessageLimits) -> Result<Self, StreamRequestError> {
        if body.len() > BODY_BYTES_MAX {
            return Err(StreamRequestError::TooLong);
        }
        let text = std::str::from_utf8(body).map_err(|_| StreamRequestError::NotAnObject)?;
        let found = members(text, &["cursor", "resume", "subscriptions", "wait"]);
        let Ok(Members::Object([cursor, resume, subscriptions, wait])) = found else {
            return Err(StreamRequestError::NotAnObject);
        };
        let resume = resume.and_then(|json| serde_json::from_str::<String>(json).ok());
        Ok(Self {
            subscriptions: parse_subscriptions(subscriptions, limits)?,
            start: cursor.map_or(Ok(Start::Now), parse_cursor)?,
            resume: resume.and_then(|text| ResumeOffer::from_text(&text)),
            wait_ms: wait.map(parse_wait).transpose()?,
        })
    }

    /// Reads a body in base64url, with or without padding.
    ///
    /// # Errors
    /// Where it is invalid.
    pub fn parse_base64url(text: &str, limits: &MessageLimits) -> Result<Self, StreamRequestError> {
        if text.len() > TEXT_BYTES_MAX {
            return Err(StreamRequestError::TextTooLong);
        }
        let body = URL_SAFE_NO_PAD.decode(text.trim_end_matches('='));
        Self::parse(&body.map_err(|_| StreamRequestError::Encoding)?, limits)
    }

    /// Subscriptions to these rooms, each the text of an object, named by their number from 1 on.
    ///
    /// # Errors
    /// Where there are too many.
    pub fn of_rooms<T: AsRef<str>>(
        rooms: &[T],
        limits: &MessageLimits,
    ) -> Result<Self, StreamRequestError> {
        if rooms.len() > SUBSCRIPTIONS_MAX {
            return Err(StreamRequestError::TooManySubscriptions);
        }
        let rooms = rooms.iter().enumerate();
        let each = rooms.map(|(index, room)| Resumed::numbered(index + 1, room.as_ref(), limits));
        Ok(Self {
            subscriptions: each.collect(),
            ..Self::default()
        })
    }

    /// Goes on after what the browser kept in `Last-Event-ID`, which is newer than the cursor that
    /// the page wrote into the request. An empty text says nothing.
    pub fn go_on_after(&mut self, last_event_id: &[u8]) {
        if !last_event_id.is_empty() {
            let text = std::str::from_utf8(last_event_id).ok();
            let cursor = text.and_then(|text| text.parse().ok());
            self.start = cursor.map_or(Start::Unknown, Start::After);
        }
    }

    /// Every cursor in it.
    pub fn cursors(&self) -> impl Iterator<Item = Cursor> {
        let own = match self.start {
            Start::After(cursor) => Some(cursor),
            Start::Now | Start::Unknown => None,
        };
        let each = self.subscriptions.iter();
        let each = each.filter_map(|subscription| subscription.since.ok().flatten());
        each.chain(own)
    }
}

fn parse_subscriptions(
    json: Option<&str>,
    limits: &MessageLimits,
) -> Result<Vec<Resumed>, StreamRequestError> {
    let invalid = StreamRequestError::Subscriptions;
    let texts: Vec<&RawValue> = serde_json::from_str(json.ok_or(invalid)?).map_err(|_| invalid)?;
    if texts.len() > SUBSCRIPTIONS_MAX {
        return Err(StreamRequestError::TooManySubscriptions);
    }
    let each = texts.into_iter();
    let each = each.map(|text| Resumed::parse(text.get(), limits).map_err(|_| invalid));
    each.collect()
}

/// A cursor in a JSON string. `null` and an empty text are none: a page may always send its variable.
pub(super) fn parse_cursor(json: &str) -> Result<Start, StreamRequestError> {
    let text: Option<String> =
        serde_json::from_str(json).map_err(|_| StreamRequestError::Cursor)?;
    start_of(text.as_deref().unwrap_or_default())
}

/// The start after a cursor; an empty text is none.
pub(super) fn start_of(text: &str) -> Result<Start, StreamRequestError> {
    if text.is_empty() {
        return Ok(Start::Now);
    }
    let cursor = text.parse().map_err(|_| StreamRequestError::Cursor)?;
    Ok(Start::After(cursor))
}

fn parse_wait(json: &str) -> Result<u64, StreamRequestError> {
    serde_json::from_str(json).map_err(|_| StreamRequestError::Wait)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::client::RequestId;
    use crate::code::ErrorCode;
    use crate::room::{Room, RoomLimits};

    const LIMITS: MessageLimits = MessageLimits {
        request_id_bytes: 64,
        room: RoomLimits {
            bytes: 4_096,
            depth: 8,
        },
    };

    fn parse(text: &str) -> Result<StreamRequest, StreamRequestError> {
        StreamRequest::parse(text.as_bytes(), &LIMITS)
    }

    fn list(count: usize) -> String {
        let one = r#"{"requestId": 1, "room": {"n": 1}}"#;
        format!(r#"{{"subscriptions": [{}]}}"#, vec![one; count].join(","))
    }

    #[test]
    fn a_request_says_which_rooms_and_from_where_on() {
        let request = parse(
            r#"{"cursor": "k3f9ab-1742-aB3x", "resume": "v1.k.p.m.k3f9ab-1742-aB3x.proof", "wait": 25000,
                "subscriptions": [{"requestId": 1, "room": {"n": 1}},
                                  {"requestId": "a", "room": {"n": "*"}, "since": "k3f9ab-1700-aB3x", "more": 1},
                                  {"requestId": {}, "room": 3}], "unknown": {}}"#,
        )
        .unwrap();
        let cursor: Cursor = "k3f9ab-1742-aB3x".parse().unwrap();
        assert_eq!(request.start, Start::After(cursor));
        assert_eq!(request.wait_ms, Some(25_000));
        let offer = request.resume.as_ref().unwrap();
        assert_eq!(offer.parts().map(|parts| parts.3), Some("proof"));
        let [first, second, third] = &request.subscriptions[..] else {
            panic!("{request:?}");
        };
        assert_eq!(first.request_id, Ok(RequestId::from(1)));
        let room = Room::parse(r#"{"n": 1}"#, RoomLimits::TRUSTED).unwrap();
        assert_eq!(first.room, Ok(room));
        assert_eq!(second.since, Ok("k3f9ab-1700-aB3x".parse().ok()));
        assert_eq!(third.request_id, Err(ErrorCode::InvalidRequestId));
        assert_eq!(third.room, Err(ErrorCode::InvalidRoom));
        assert_eq!(request.cursors().count(), 2);
    }

    #[test]
    fn what_is_missing_has_a_default() {
        for text in [
            r#"{"subscriptions": []}"#,
            r#"{"subscriptions": [], "cursor": null, "resume": 7}"#,
            r#"{"subscriptions": [], "cursor": ""}"#,
        ] {
            assert_eq!(parse(text), Ok(StreamRequest::default()), "{text}");
        }
    }

    #[test]
    fn invalid_requests_are_refused_with_a_reason() {
        use StreamRequestError as Error;
        let long = format!(
            r#"{{"subscriptions": [], "x": "{}"}}"#,
            "x".repeat(64 << 10)
        );
        for (text, error) in [
            ("", Error::NotAnObject),
            ("[]", Error::NotAnObject),
            (r#"{"subscriptions": []"#, Error::NotAnObject),
            ("{}", Error::Subscriptions),
            (r#"{"subscriptions": {}}"#, Error::Subscriptions),
            (r#"{"subscriptions": [1]}"#, Error::Subscriptions),
            (r#"{"subscriptions": [], "cursor": 5}"#, Error::Cursor),
            (r#"{"subscriptions": [], "cursor": "5"}"#, Error::Cursor),
            (r#"{"subscriptions": [], "wait": "5"}"#, Error::Wait),
            (r#"{"subscriptions": [], "wait": -1}"#, Error::Wait),
            (&list(1_001), Error::TooManySubscriptions),
            (&long, Error::TooLong),
        ] {
            let start = &text[..text.len().min(60)];
            assert_eq!(parse(text), Err(error), "{start}");
        }
        assert_eq!(parse(&list(1_000)).unwrap().subscriptions.len(), 1_000);
        let not_utf8 = StreamRequest::parse(b"{\"subscriptions\": [], \"x\": \"\xff\"}", &LIMITS);
        assert_eq!(not_utf8, Err(Error::NotAnObject));
    }

    #[test]
    fn a_query_carries_the_same_in_base64url() {
        let text = URL_SAFE_NO_PAD.encode(list(2));
        for text in [text.clone(), text + "="] {
            let request = StreamRequest::parse_base64url(&text, &LIMITS);
            assert_eq!(request, parse(&list(2)));
        }
        let of = |text: &str| StreamRequest::parse_base64url(text, &LIMITS);
        assert_eq!(of("a+b/"), Err(StreamRequestError::Encoding));
        assert_eq!(of(""), Err(StreamRequestError::NotAnObject));
        let long = "a".repeat(TEXT_BYTES_MAX + 1);
        assert_eq!(of(&long), Err(StreamRequestError::TextTooLong));
    }

    #[test]
    fn rooms_are_named_by_their_number() {
        let request = StreamRequest::of_rooms(&[r#"{"n": 1}"#, "no room"], &LIMITS).unwrap();
        let names = request.subscriptions.iter();
        let names: Vec<_> = names.map(|one| one.request_id.clone().unwrap()).collect();
        assert_eq!(names, [RequestId::from(1), RequestId::from(2)]);
        assert_eq!(request.subscriptions[1].room, Err(ErrorCode::InvalidRoom));
        let many = StreamRequest::of_rooms(&vec!["{}"; 1_001], &LIMITS);
        assert_eq!(many, Err(StreamRequestError::TooManySubscriptions));
    }

    #[test]
    fn what_the_browser_kept_is_newer_than_what_the_page_wrote() {
        let mut request = parse(r#"{"subscriptions": [], "cursor": "k3f9ab-1-aB3x"}"#).unwrap();
        let written = request.start;
        request.go_on_after(b"");
        assert_eq!(request.start, written);
        request.go_on_after(b"k3f9ab-2-aB3x.AAAAAQ");
        let newer = "k3f9ab-2-aB3x.AAAAAQ".parse().unwrap();
        assert_eq!(request.start, Start::After(newer));
        for unknown in [&b"17"[..], b"\xff", b"k3f9ab-2-aB3x "] {
            request.go_on_after(unknown);
            assert_eq!(request.start, Start::Unknown);
        }
    }

    proptest! {
        #[test]
        fn no_body_panics(bytes: Vec<u8>, text in ".{0,60}") {
            let _ = StreamRequest::parse(&bytes, &LIMITS);
            let _ = StreamRequest::parse(text.as_bytes(), &LIMITS);
            let _ = StreamRequest::parse_base64url(&text, &LIMITS);
            let mut request = StreamRequest::default();
            request.go_on_after(&bytes);
        }

        #[test]
        fn a_body_and_its_base64url_say_the_same(text in "\\{\"(subscriptions|cursor)\": ?[\\[\\]{}\"a-z0-9:,-]{0,30}\\}") {
            let encoded = URL_SAFE_NO_PAD.encode(&text);
            prop_assert_eq!(StreamRequest::parse_base64url(&encoded, &LIMITS), parse(&text));
        }
    }
}
