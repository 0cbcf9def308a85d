//! Requests for event streams and long polls, before anything is known of their clients.

use ht_proto::stream::Format;
use ht_proto::subprotocol::Subprotocol;
use ht_proto::token::{Token, TokenError};
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_LENGTH, HOST, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode};
use uuid::Uuid;

use crate::address::Found;
use crate::rejection::{HandshakeError, Rejection};
use crate::request::RequestFacts;
use crate::respond;

/// The header by which code of ours says that it reads statuses and heartbeats.
const SDK: HeaderName = HeaderName::from_static("x-high-templar-sdk");

/// What browsers send of a stream that broke.
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// A resource for clients over HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// `/sse/`: a stream.
    Stream,
    /// `/poll/`: one answer.
    Poll,
}

impl Endpoint {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Stream, Self::Poll];

    /// The last part of its path.
    #[must_use]
    pub const fn segment(self) -> &'static str {
        match self {
            Self::Stream => "sse",
            Self::Poll => "poll",
        }
    }

    /// Its methods, as a list.
    #[must_use]
    pub const fn methods(self) -> &'static str {
        match self {
            Self::Stream => "GET, POST, OPTIONS",
            Self::Poll => "POST, OPTIONS",
        }
    }

    /// Whether it has a method, preflights aside.
    #[must_use]
    pub fn answers(self, method: &Method) -> bool {
        match self {
            Self::Stream => matches!(*method, Method::GET | Method::POST),
            Self::Poll => *method == Method::POST,
        }
    }
}

/// What the head of a request says about the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// The framing of a stream.
    pub format: Format,
    /// The client is a browser's `EventSource` without code of ours.
    pub is_plain: bool,
}

/// Reads how a request is to be answered.
///
/// # Errors
/// If it is invalid, or cannot be answered in any way that its client accepts.
pub fn wanted<B>(request: &Request<B>, endpoint: Endpoint) -> Result<Wanted, Rejection> {
    let headers = request.headers();
    let refuse = |sentence| Rejection::bad_request(HandshakeError::Handshake, sentence);
    // RFC 9112 §3.2. Of two, an intermediary may have used the other.
    if headers.get_all(HOST).iter().count() != 1 {
        return Err(refuse("There must be one Host."));
    }
    let is_get = *request.method() == Method::GET;
    let mut lengths = headers.get_all(CONTENT_LENGTH).iter();
    if is_get && (headers.contains_key(TRANSFER_ENCODING) || lengths.any(|length| length != "0")) {
        return Err(refuse("GET has no body here: send the same with POST."));
    }
    let accepted = match endpoint {
        Endpoint::Stream => accepted(headers),
        // The answer is JSON, whatever is accepted: only scripts can send POST with an `Origin`.
        Endpoint::Poll => Some((Format::Lines, false)),
    };
    let Some((format, is_named)) = accepted else {
        let sentence = "This address answers with text/event-stream or application/x-ndjson.";
        let response = respond::text(StatusCode::NOT_ACCEPTABLE, sentence);
        return Err(Rejection::new(HandshakeError::Handshake, response));
    };
    let is_events = format == Format::Events;
    Ok(Wanted {
        format,
        is_plain: is_get && is_named && is_events && !headers.contains_key(SDK),
    })
}

/// The framing that a client accepts, and whether it names it.
fn accepted(headers: &HeaderMap) -> Option<(Format, bool)> {
    let lines = headers.get_all(ACCEPT).iter();
    let lines = lines.filter_map(|line| line.to_str().ok());
    let ranges = lines.flat_map(|line| line.split(','));
    let ranges = ranges.map(|range| range.split(';').next().unwrap_or_default().trim());
    let mut any = !headers.contains_key(ACCEPT);
    let mut is_other = false;
    for range in ranges {
        for format in [Format::Events, Format::Lines] {
            if range.eq_ignore_ascii_case(format.content_type()) {
                return Some((format, true));
            }
        }
        any |= range == "*/*";
        is_other |= range != "*/*" && !range.is_empty();
    }
    // An image accepts anything at last, and is none the less no stream.
    (any && !is_other).then_some((Format::Events, false))
}

/// The text after which a browser reconnects; empty if there is none.
#[must_use]
pub fn last_event_id(headers: &HeaderMap) -> &[u8] {
    headers
        .get(LAST_EVENT_ID)
        .map_or(&[], HeaderValue::as_bytes)
}

/// The token in `Authorization: Bearer …`. Other schemes are a proxy's in front.
///
/// # Errors
/// If it is malformed, or if there are several.
fn bearer(headers: &HeaderMap) -> Result<Option<Token>, TokenError> {
    let mut found = None;
    for line in headers.get_all(AUTHORIZATION) {
        let Some((scheme, text)) = split(line.as_bytes()) else {
            continue;
        };
        if !scheme.eq_ignore_ascii_case(b"bearer") {
            continue;
        }
        let text = std::str::from_utf8(text).map_err(|_| TokenError::Encoding)?;
        let token = Token::new(text.trim())?;
        if found.is_some() && found != token {
            return Err(TokenError::Encoding);
        }
        found = token;
    }
    Ok(found)
}

fn split(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = line.iter().position(|&byte| byte == b' ')?;
    Some((&line[..at], &line[at + 1..]))
}

impl RequestFacts {
    /// Those of a request over HTTP.
    ///
    /// # Errors
    /// If its token is malformed.
    pub fn of_stream(
        headers: &HeaderMap,
        found: Found,
        wanted: Wanted,
        endpoint: Endpoint,
    ) -> Result<Self, Rejection> {
        let token = bearer(headers).map_err(|error| {
            let sentence = format!("Authorization: {error}.");
            Rejection::bad_request(HandshakeError::Token, sentence)
        })?;
        Ok(Self {
            id: Uuid::new_v4(),
            client: found.client,
            dropped: found.dropped,
            deflate: None,
            subprotocol: Some(Subprotocol::V1),
            token,
            authenticate: false,
            events: true,
            resume: None,
            gets_tickets: !wanted.is_plain,
            // It would come and go with each of its polls.
            is_reported: endpoint != Endpoint::Poll,
            accept: HeaderValue::from_static(""),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(method: Method, lines: &[(&str, &str)]) -> Request<()> {
        let request = Request::builder().method(method).uri("/sse/");
        let request = request.header("host", "app.example");
        let request = lines.iter().fold(request, |request, (name, value)| {
            request.header(*name, *value)
        });
        request.body(()).unwrap()
    }

    #[test]
    fn the_framing_is_what_the_client_accepts() {
        let image = "image/avif,image/webp,image/*,*/*;q=0.8";
        for (method, lines, expected) in [
            (
                Method::GET,
                &[("accept", "text/event-stream")][..],
                Some((Format::Events, true)),
            ),
            (
                Method::GET,
                &[("accept", "TEXT/event-stream; charset=utf-8")],
                Some((Format::Events, true)),
            ),
            (
                Method::POST,
                &[("accept", "text/event-stream")],
                Some((Format::Events, false)),
            ),
            (
                Method::GET,
                &[("accept", "text/event-stream"), ("x-high-templar-sdk", "1")],
                Some((Format::Events, false)),
            ),
            (
                Method::GET,
                &[("accept", "application/x-ndjson")],
                Some((Format::Lines, false)),
            ),
            (
                Method::GET,
                &[("accept", "text/html, application/x-ndjson")],
                Some((Format::Lines, false)),
            ),
            (
                Method::GET,
                &[("accept", "*/*")],
                Some((Format::Events, false)),
            ),
            (Method::GET, &[], Some((Format::Events, false))),
            (Method::GET, &[("accept", image)], None),
            (Method::GET, &[("accept", "text/html,*/*;q=0.8")], None),
            (Method::GET, &[("accept", "application/json")], None),
        ] {
            let found = wanted(&request(method, lines), Endpoint::Stream);
            let found = found.ok().map(|it| (it.format, it.is_plain));
            assert_eq!(found, expected, "{lines:?}");
        }
        let poll = wanted(&request(Method::POST, &[("accept", image)]), Endpoint::Poll);
        assert!(!poll.unwrap().is_plain);
    }

    #[test]
    fn a_get_has_no_body() {
        for (method, name, value, is_valid) in [
            (Method::GET, "content-length", "0", true),
            (Method::GET, "content-length", "5", false),
            (Method::GET, "transfer-encoding", "chunked", false),
            (Method::POST, "content-length", "5", true),
            (Method::POST, "host", "other.example", false),
        ] {
            let found = wanted(&request(method, &[(name, value)]), Endpoint::Stream);
            assert_eq!(found.is_ok(), is_valid, "{name}: {value}");
        }
    }

    #[test]
    fn a_token_is_in_the_header_that_carries_tokens() {
        let of = |lines: &[(&'static str, &str)]| {
            let mut headers = HeaderMap::new();
            for (name, value) in lines {
                headers.append(*name, HeaderValue::from_str(value).unwrap());
            }
            bearer(&headers)
        };
        for (lines, expected) in [
            (&[][..], ""),
            (&[("authorization", "Bearer a.b")], "a.b"),
            (&[("authorization", "bearer  a.b ")], "a.b"),
            (&[("authorization", "Basic YTpi")], ""),
            (
                &[
                    ("authorization", "Basic YTpi"),
                    ("authorization", "Bearer a"),
                ],
                "a",
            ),
            (
                &[("authorization", "Bearer a"), ("authorization", "Bearer a")],
                "a",
            ),
            (&[("authorization", "Bearer ")], ""),
        ] {
            assert_eq!(of(lines), Token::new(expected), "{lines:?}");
        }
        let two = [("authorization", "Bearer a"), ("authorization", "Bearer b")];
        assert_eq!(of(&two), Err(TokenError::Encoding));
        let tab = [("authorization", "Bearer a\tb")];
        assert_eq!(of(&tab), Err(TokenError::ControlCharacter));
    }

    #[test]
    fn methods_are_answered_where_they_mean_something() {
        for (endpoint, method, answers) in [
            (Endpoint::Stream, Method::GET, true),
            (Endpoint::Stream, Method::POST, true),
            (Endpoint::Stream, Method::HEAD, false),
            (Endpoint::Stream, Method::PUT, false),
            (Endpoint::Poll, Method::POST, true),
            (Endpoint::Poll, Method::GET, false),
        ] {
            assert_eq!(endpoint.answers(&method), answers, "{endpoint:?} {method}");
        }
    }
}
