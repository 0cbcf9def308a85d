//! The query of a request: what `EventSource`, which sends neither body nor headers of the page,
//! asks for.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

use crate::client::MessageLimits;
use crate::stream::request::{StreamRequest, StreamRequestError, start_of};

/// Reads a query (the part after the `?`, percent-encoded): `s=<base64url JSON>`, or `room=<JSON>`
/// any number of times, and `cursor=`. Other parameters are somebody else's.
///
/// # Errors
/// Where it is invalid.
pub fn query_of(query: &str, limits: &MessageLimits) -> Result<StreamRequest, StreamRequestError> {
    let (mut text, mut rooms, mut cursor) = (None, Vec::new(), None);
    for pair in query.split('&') {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        match name {
            "s" if text.is_none() => text = Some(value),
            "room" => rooms.push(decode(value)),
            "cursor" if cursor.is_none() => cursor = Some(decode(value)),
            _ => {}
        }
    }
    let mut request = match text {
        Some(_) if !rooms.is_empty() => return Err(StreamRequestError::TwoWays),
        Some(text) => StreamRequest::parse_base64url(text, limits)?,
        None => StreamRequest::of_rooms(&rooms, limits)?,
    };
    if let Some(cursor) = cursor.filter(|cursor| !cursor.is_empty()) {
        request.start = start_of(&cursor)?;
    }
    Ok(request)
}

/// Undoes percent-encoding; `+` is a space, as `URLSearchParams` writes it.
fn decode(value: &str) -> Cow<'_, str> {
    if value.contains('+') {
        let spaced = value.replace('+', " ");
        let decoded = percent_decode_str(&spaced).decode_utf8_lossy();
        return Cow::Owned(decoded.into_owned());
    }
    percent_decode_str(value).decode_utf8_lossy()
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use proptest::prelude::*;

    use super::*;
    use crate::code::ErrorCode;
    use crate::room::{Room, RoomLimits};
    use crate::stream::Start;

    const LIMITS: MessageLimits = MessageLimits {
        request_id_bytes: 64,
        room: RoomLimits {
            bytes: 4_096,
            depth: 8,
        },
    };

    fn rooms(request: &StreamRequest) -> Vec<Result<Room, ErrorCode>> {
        let each = request.subscriptions.iter();
        each.map(|one| one.room.clone()).collect()
    }

    #[test]
    fn rooms_are_in_the_query_one_by_one_or_all_together() {
        let room = |text| Ok(Room::parse(text, RoomLimits::TRUSTED).unwrap());
        for (query, expected) in [
            ("", vec![]),
            ("token=a&key=b", vec![]),
            (
                "room=%7B%22n%22%3A+1%7D&token=x&room={\"m\":\"a%2Bb\"}",
                vec![room(r#"{"n": 1}"#), room(r#"{"m": "a+b"}"#)],
            ),
            ("room=&room", vec![Err(ErrorCode::InvalidRoom); 2]),
            ("rooms={}&Room={}", vec![]),
        ] {
            let request = query_of(query, &LIMITS).unwrap();
            assert_eq!(rooms(&request), expected, "{query}");
            assert_eq!(request.start, Start::Now);
        }
        let body = r#"{"subscriptions": [{"requestId": "a", "room": {"n": 1}}]}"#;
        let encoded = URL_SAFE_NO_PAD.encode(body);
        let request = query_of(&format!("x=1&s={encoded}"), &LIMITS).unwrap();
        let expected = StreamRequest::parse(body.as_bytes(), &LIMITS).unwrap();
        assert_eq!(request, expected);
    }

    #[test]
    fn a_cursor_is_in_the_query_or_in_the_body() {
        let after = |text: &str| Start::After(text.parse().unwrap());
        let body = r#"{"subscriptions": [], "cursor": "k3f9ab-1-aB3x"}"#;
        let encoded = URL_SAFE_NO_PAD.encode(body);
        for (query, start) in [
            ("cursor=k3f9ab-2-aB3x".to_owned(), after("k3f9ab-2-aB3x")),
            ("cursor=".to_owned(), Start::Now),
            (format!("s={encoded}"), after("k3f9ab-1-aB3x")),
            (format!("s={encoded}&cursor="), after("k3f9ab-1-aB3x")),
            (
                format!("cursor=k3f9ab-2-aB3x&s={encoded}"),
                after("k3f9ab-2-aB3x"),
            ),
        ] {
            let request = query_of(&query, &LIMITS).unwrap();
            assert_eq!(request.start, start, "{query}");
        }
        for (query, error) in [
            ("cursor=17", StreamRequestError::Cursor),
            ("s=e30&room={}", StreamRequestError::TwoWays),
            ("s=e30", StreamRequestError::Subscriptions),
            ("s=%7B", StreamRequestError::Encoding),
        ] {
            assert_eq!(query_of(query, &LIMITS), Err(error), "{query}");
        }
    }

    proptest! {
        #[test]
        fn no_query_panics(query in "(s|room|cursor|[a-z]{0,3})?=?[!-~]{0,40}(&(s|room|cursor)=[!-~é]{0,20}){0,3}") {
            let _ = query_of(&query, &LIMITS);
        }
    }
}
