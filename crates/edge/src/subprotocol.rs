//! The client's offer in `Sec-WebSocket-Protocol` (RFC 6455 §11.3.4).

use ht_proto::subprotocol::{AUTHENTICATE, EVENTS, RESUME_PREFIX, Subprotocol, TOKEN_PREFIX};
use ht_proto::ticket::ResumeOffer;
use ht_proto::token::{Token, TokenError};
use http::{HeaderMap, header};

/// The known parts of a client's offer; everything else is ignored.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Offer {
    /// The selected subprotocol. No other is ever selected.
    pub(crate) subprotocol: Option<Subprotocol>,
    /// The token that was offered as a subprotocol.
    pub(crate) token: Option<Token>,
    /// A token will be sent in the first frame, whatever other credentials the client sent.
    pub(crate) authenticate: bool,
    /// The client accepts unsolicited messages. Has no effect without the subprotocol.
    pub(crate) events: bool,
    /// The resume ticket. Has no effect without the subprotocol.
    pub(crate) resume: Option<ResumeOffer>,
}

/// Why an offer is invalid: the client's fault, to be answered with 400.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum OfferError {
    /// The token is malformed.
    #[error("Sec-WebSocket-Protocol: {0}.")]
    Token(TokenError),
    /// There are two.
    #[error("Sec-WebSocket-Protocol: there is more than one token.")]
    Tokens,
}

impl Offer {
    /// Parses the offer of a request, over any number of headers.
    pub(crate) fn of(headers: &HeaderMap) -> Result<Self, OfferError> {
        let lines = headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).iter();
        let names = lines.flat_map(|line| line.as_bytes().split(|&byte| byte == b','));
        let mut offer = Self::default();
        let mut encoded = None;
        for name in names.map(<[u8]>::trim_ascii) {
            if name == Subprotocol::V1.name().as_bytes() {
                offer.subprotocol = Some(Subprotocol::V1);
            } else if name == AUTHENTICATE.as_bytes() {
                offer.authenticate = true;
            } else if name == EVENTS.as_bytes() {
                offer.events = true;
            } else if let Some(ticket) = name.strip_prefix(RESUME_PREFIX.as_bytes()) {
                // Whatever is wrong with it, the API decides.
                offer.resume = offer.resume.or(ResumeOffer::from_base64url(ticket));
            } else if let Some(token) = name.strip_prefix(TOKEN_PREFIX.as_bytes())
                && encoded.replace(token).is_some()
            {
                return Err(OfferError::Tokens);
            }
        }
        if let Some(encoded) = encoded {
            offer.token = Token::from_base64url(encoded).map_err(OfferError::Token)?;
        }
        Ok(offer)
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn offer(lines: &[&str]) -> Result<Offer, OfferError> {
        let mut headers = HeaderMap::new();
        for line in lines {
            let value = HeaderValue::from_bytes(line.as_bytes()).unwrap();
            headers.append(header::SEC_WEBSOCKET_PROTOCOL, value);
        }
        Offer::of(&headers)
    }

    fn token(text: &str) -> Option<Token> {
        Token::new(text).unwrap()
    }

    #[test]
    fn ours_is_found_at_any_position() {
        let v1 = Some(Subprotocol::V1);
        for (lines, subprotocol) in [
            (&["high-templar.v1"][..], v1),
            (&["chat, high-templar.v1 ,graphql-ws"], v1),
            (&["chat", " high-templar.v1"], v1),
            (&["high-templar.v1,high-templar.v1"], v1),
            (&["chat"], None),
            (&["High-Templar.V1"], None),
            (&["high-templar.v2"], None),
            (&["high-templar.v1.x"], None),
            (&["high-templar.authenticate.x", "high-templar.token"], None),
            (&["", " , ,"], None),
            (&["caf\u{e9}"], None),
            (&[], None),
        ] {
            let expected = Offer {
                subprotocol,
                ..Offer::default()
            };
            assert_eq!(offer(lines), Ok(expected), "{lines:?}");
        }
    }

    #[test]
    fn a_token_is_extracted_from_the_offer() {
        for (lines, subprotocol, found) in [
            (
                &["high-templar.v1, high-templar.token.YS5i"][..],
                true,
                "a.b",
            ),
            (&["high-templar.token.YS5i", "high-templar.v1"], true, "a.b"),
            (&["high-templar.token.YS5i"], false, "a.b"),
            (&["high-templar.token._-8"], false, ""),
            (&["high-templar.token.w6k"], false, "\u{e9}"),
        ] {
            if found.is_empty() {
                assert_eq!(
                    offer(lines),
                    Err(OfferError::Token(TokenError::Encoding)),
                    "{lines:?}"
                );
                continue;
            }
            let expected = Offer {
                subprotocol: subprotocol.then_some(Subprotocol::V1),
                token: token(found),
                authenticate: false,
                events: false,
                resume: None,
            };
            assert_eq!(offer(lines), Ok(expected), "{lines:?}");
        }
        let empty = offer(&["high-templar.token., high-templar.authenticate"]).unwrap();
        assert_eq!((empty.token, empty.authenticate), (None, true));
    }

    #[test]
    fn events_are_requested_beside_it_and_never_selected() {
        for (lines, events) in [
            (&["high-templar.v1, high-templar.events"][..], true),
            (&["high-templar.events", "high-templar.v1"], true),
            (&["high-templar.v1, high-templar.event"], false),
            (&["high-templar.v1, High-Templar.Events"], false),
        ] {
            let offer = offer(lines).unwrap();
            assert_eq!(offer.events, events, "{lines:?}");
            assert_eq!(offer.subprotocol, Some(Subprotocol::V1));
        }
        assert_eq!(offer(&["high-templar.events"]).unwrap().subprotocol, None);
    }

    #[test]
    fn a_resume_ticket_is_found_and_an_invalid_one_ignored() {
        let found = |line: &str| offer(&[line]).unwrap().resume;
        let first = found("high-templar.v1, high-templar.resume.YS5i");
        assert_eq!(first, ResumeOffer::from_base64url(b"YS5i"));
        assert!(first.is_some());
        for line in [
            "high-templar.resume.",
            "high-templar.resume.YQ==",
            "high-templar.resume._w",
            "high-templar.resume",
            &format!("high-templar.resume.{}", "a".repeat(12_000)),
        ] {
            assert!(
                found(line).is_none_or(|offer| offer.parts().is_none()),
                "{line}"
            );
        }
        let second = found("high-templar.resume.YS5i, high-templar.resume.Yw");
        assert_eq!(second, first);
    }

    #[test]
    fn an_invalid_token_is_rejected() {
        use TokenError::ControlCharacter;
        use TokenError::Encoding;
        for (value, error) in [
            ("YQ==", OfferError::Token(Encoding)),
            ("a+b/", OfferError::Token(Encoding)),
            ("YQ.YQ", OfferError::Token(Encoding)),
            ("YQ YQ", OfferError::Token(Encoding)),
            ("YQ0KWA", OfferError::Token(ControlCharacter)),
            ("YQA", OfferError::Token(ControlCharacter)),
            ("YQ, high-templar.token.Yg", OfferError::Tokens),
            ("YQ, high-templar.token.YQ", OfferError::Tokens),
        ] {
            let line = format!("high-templar.token.{value}");
            let found = offer(&[&line]).unwrap_err();
            assert_eq!(found, error, "{line}");
            assert!(!found.to_string().contains(value));
        }
    }

    proptest! {
        #[test]
        fn no_offer_panics_and_only_ours_is_selected(
            names in proptest::collection::vec(prop_oneof![
                "[!-~]{0,20}",
                "high-templar\\.(v1|(token|resume)\\.[A-Za-z0-9_-]{0,12}|authenticate|events|v2)",
            ], 0..6),
        ) {
            let line = names.join(", ");
            if let Ok(offer) = offer(&[&line]) {
                let ours = line.split(',').any(|name| name.trim() == "high-templar.v1");
                prop_assert_eq!(offer.subprotocol.is_some(), ours);
            }
        }
    }
}
