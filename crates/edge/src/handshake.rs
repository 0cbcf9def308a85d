//! The opening handshake (RFC 6455 §4.2).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ht_frame::PerMessageDeflate;
use ht_proto::subprotocol::Subprotocol;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, Version, header};
use sha1::{Digest, Sha1};

use crate::respond;
use crate::respond::Body;
use crate::webkit::misreads_compression;

/// Appended to the key before it is hashed (RFC 6455 §1.3).
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// Bytes of a decoded key (RFC 6455 §4.1).
const KEY_BYTES: usize = 16;

/// Validates a request for `/ws/`; returns the value of `Sec-WebSocket-Accept`.
///
/// # Errors
/// The response to a request that is not a valid handshake.
pub(crate) fn check<B>(request: &Request<B>) -> Result<HeaderValue, Box<Response<Body>>> {
    let headers = request.headers();
    if request.version() < Version::HTTP_11 {
        return Err(refuse(
            StatusCode::BAD_REQUEST,
            "A websocket needs HTTP/1.1.",
        ));
    }
    if !has_token(headers, &header::UPGRADE, "websocket")
        || !has_token(headers, &header::CONNECTION, "upgrade")
    {
        let sentence = "This address speaks websocket: connect with a websocket client.";
        return Err(refuse(StatusCode::UPGRADE_REQUIRED, sentence));
    }
    let version = headers.get(header::SEC_WEBSOCKET_VERSION);
    if version.map(HeaderValue::as_bytes) != Some(b"13") {
        let sentence = "This address speaks websocket version 13.";
        return Err(refuse(StatusCode::UPGRADE_REQUIRED, sentence));
    }
    // RFC 9112 §3.2. Of two, an intermediary may have used the other.
    if headers.get_all(header::HOST).iter().count() != 1 {
        return Err(refuse(StatusCode::BAD_REQUEST, "There must be one Host."));
    }
    // Data after the head belongs to the websocket: no intermediary may interpret it otherwise.
    let mut lengths = headers.get_all(header::CONTENT_LENGTH).iter();
    if headers.contains_key(header::TRANSFER_ENCODING) || lengths.any(|length| length != "0") {
        let sentence = "A handshake has no body.";
        return Err(refuse(StatusCode::BAD_REQUEST, sentence));
    }
    let mut keys = headers.get_all(header::SEC_WEBSOCKET_KEY).iter();
    let (Some(key), None) = (keys.next(), keys.next()) else {
        return Err(refuse(
            StatusCode::BAD_REQUEST,
            "There must be one Sec-WebSocket-Key.",
        ));
    };
    if STANDARD.decode(key).map(|key| key.len()) != Ok(KEY_BYTES) {
        let sentence = "Sec-WebSocket-Key must be 16 bytes in base64.";
        return Err(refuse(StatusCode::BAD_REQUEST, sentence));
    }
    let hash = Sha1::new().chain_update(key).chain_update(GUID).finalize();
    HeaderValue::from_str(&STANDARD.encode(hash)).map_err(|_| {
        refuse(
            StatusCode::BAD_REQUEST,
            "Sec-WebSocket-Key cannot be answered.",
        )
    })
}

/// What can be negotiated about compression. Nothing with a browser that cannot read what it
/// offers.
pub(crate) fn compression(headers: &HeaderMap) -> Option<PerMessageDeflate> {
    let user_agent = headers.get(header::USER_AGENT);
    let user_agent = user_agent.and_then(|value| value.to_str().ok());
    if user_agent.is_some_and(misreads_compression) {
        return None;
    }
    let offers = headers.get_all(header::SEC_WEBSOCKET_EXTENSIONS).iter();
    PerMessageDeflate::negotiate(offers.map(HeaderValue::as_bytes))
}

/// The response that ends HTTP.
pub(crate) fn switching(
    accept: &HeaderValue,
    deflate: Option<PerMessageDeflate>,
    subprotocol: Option<Subprotocol>,
) -> Response<Body> {
    let mut response = Response::new(Body::default());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept.clone());
    if let Some(chosen) = subprotocol {
        let chosen = HeaderValue::from_static(chosen.name());
        headers.insert(header::SEC_WEBSOCKET_PROTOCOL, chosen);
    }
    if let Some(deflate) = deflate {
        let response = HeaderValue::try_from(deflate.response());
        let response = response.expect("tokens and digits are a header's value");
        headers.insert(header::SEC_WEBSOCKET_EXTENSIONS, response);
    }
    response
}

fn refuse(status: StatusCode, sentence: &str) -> Box<Response<Body>> {
    let mut response = respond::text(status, sentence);
    let headers = response.headers_mut();
    headers.insert(
        header::SEC_WEBSOCKET_VERSION,
        HeaderValue::from_static("13"),
    );
    if status == StatusCode::UPGRADE_REQUIRED {
        headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    }
    Box::new(response)
}

/// Whether a comma-separated header contains `token`, case-insensitively.
fn has_token(headers: &HeaderMap, name: &http::HeaderName, token: &str) -> bool {
    let values = headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok());
    values
        .flat_map(|value| value.split(','))
        .any(|part| part.trim().eq_ignore_ascii_case(token))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: [(&str, &str); 5] = [
        ("host", "gateway.test"),
        ("upgrade", "WebSocket"),
        ("connection", "keep-alive, Upgrade"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];

    fn request(headers: &[(&str, &str)]) -> Request<()> {
        let request = headers
            .iter()
            .fold(Request::get("/ws/"), |r, (k, v)| r.header(*k, *v));
        request.body(()).unwrap()
    }

    #[test]
    fn the_example_of_the_rfc_is_accepted() {
        assert_eq!(
            check(&request(&GOOD)).unwrap(),
            "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
        );
    }

    #[test]
    fn compression_is_negotiated_over_any_number_of_headers() {
        let offers = [
            ("sec-websocket-extensions", "other"),
            (
                "sec-websocket-extensions",
                "permessage-deflate; server_max_window_bits=9",
            ),
        ];
        let agreed = |headers| compression(request(headers).headers());
        let accept = HeaderValue::from_static("x");
        let response = switching(&accept, agreed(&offers), None);
        assert_eq!(
            response.headers()["sec-websocket-extensions"],
            "permessage-deflate; server_no_context_takeover; client_no_context_takeover; \
             server_max_window_bits=9"
        );
        let response = switching(&accept, agreed(&GOOD), None);
        assert!(!response.headers().contains_key("sec-websocket-extensions"));
    }

    #[test]
    fn compression_is_declined_for_browsers_that_misread_it() {
        let agreed = |user_agent: &'static str| {
            let headers = [
                ("sec-websocket-extensions", "permessage-deflate"),
                ("user-agent", user_agent),
            ];
            compression(request(&headers).headers()).is_some()
        };
        assert!(!agreed(
            "Mozilla/5.0 (iPhone; CPU iPhone OS 15_2 like Mac OS X)"
        ));
        assert!(agreed(
            "Mozilla/5.0 (iPhone; CPU iPhone OS 15_4 like Mac OS X)"
        ));
        assert!(agreed("Gecko"));
    }

    #[test]
    fn only_the_selected_subprotocol_is_in_the_response() {
        let accept = HeaderValue::from_static("x");
        for (subprotocol, named) in [
            (Some(Subprotocol::V1), Some("high-templar.v1")),
            (None, None),
        ] {
            let response = switching(&accept, None, subprotocol);
            let header = response.headers().get("sec-websocket-protocol");
            assert_eq!(header.map(HeaderValue::as_bytes), named.map(str::as_bytes));
        }
    }

    #[test]
    fn invalid_handshakes_are_rejected_with_a_reason() {
        let with = |name: &str, value: Option<&'static str>| {
            let mut headers: Vec<_> = GOOD.to_vec();
            let at = headers
                .iter()
                .position(|(known, _)| *known == name)
                .unwrap();
            match value {
                Some(value) => headers[at].1 = value,
                None => {
                    headers.remove(at);
                }
            }
            *check(&request(&headers)).unwrap_err()
        };
        for (name, value, status) in [
            ("upgrade", None, 426),
            ("upgrade", Some("h2c"), 426),
            ("connection", Some("keep-alive"), 426),
            ("sec-websocket-version", None, 426),
            ("sec-websocket-version", Some("8"), 426),
            ("host", None, 400),
            ("sec-websocket-key", None, 400),
            ("sec-websocket-key", Some("short"), 400),
            ("sec-websocket-key", Some("!GhlIHNhbXBsZSBub25jZQ=="), 400),
        ] {
            let response = with(name, value);
            assert_eq!(response.status(), status, "{name} {value:?}");
            assert_eq!(response.headers()["sec-websocket-version"], "13");
        }
        for (name, value, status) in [
            ("host", "other.test", Some(400)),
            ("content-length", "5", Some(400)),
            ("content-length", "0", None),
            ("transfer-encoding", "chunked", Some(400)),
        ] {
            let mut headers = GOOD.to_vec();
            headers.push((name, value));
            let refused = check(&request(&headers)).err();
            let found = refused.map(|response| response.status().as_u16());
            assert_eq!(found, status, "{name}: {value}");
        }
        let mut old = request(&GOOD);
        *old.version_mut() = Version::HTTP_10;
        assert_eq!(check(&old).unwrap_err().status(), 400);
    }
}
