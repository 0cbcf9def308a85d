//! What the operator can do about a refusal or a failure: sentences without a full stop, for the
//! log and for `high-templar check`.

#[cfg(test)]
mod tests;

use std::borrow::Cow;

use ht_token::Reason;

use crate::answer::{Failure, Refusal, Waiting};
use crate::redirect::Elsewhere;
use crate::tls::Terms;

/// What to check if a server, or the proxy in front of it, fails.
const LOOK: &str = "look at the log of the API and of the proxy in front of it";

impl Failure {
    /// What to do about it; `None` if the cause is explanation enough.
    #[must_use]
    pub fn advice(&self) -> Option<Cow<'static, str>> {
        let text = match self {
            Self::Resolve(_) => {
                "check the host name in backend.url and the name servers of this machine or \
                 container"
            }
            Self::Connect(_) => {
                "check that the API runs and that backend.url is right; in a container, localhost \
                 is the container itself"
            }
            Self::Tls(fault) => {
                let advice = fault.advice(Terms::BACKEND);
                return (!advice.is_empty()).then_some(advice.into());
            }
            Self::Closed => {
                "look at the log of the API; a port that expects TLS closes plain connections, too: \
                 use https:// in backend.url there"
            }
            Self::Timeout {
                waiting: Waiting::Connection,
                ..
            } => {
                "check host and port in backend.url and the firewalls on the way; with https://, a \
                 port without TLS does not answer, either"
            }
            Self::Timeout { .. } => {
                "find out why the API is slow or overloaded, or raise backend.timeout"
            }
            Self::Busy { .. } | Self::QueueFull { .. } => {
                "find out why the API is slow, or raise backend.max_in_flight if it can serve more \
                 at once"
            }
            Self::CircuitOpen => "the line about the circuit breaker has the cause",
            Self::Status { status: 429, .. } => {
                "the API limits the rate of calls: exempt the gateway from its rate limit"
            }
            Self::Status { status: 407, .. } => {
                "a proxy between the gateway and the API demands credentials: exempt the gateway"
            }
            Self::Status { .. } => LOOK,
            Self::Protocol(_) => "check that an HTTP server listens at the port of backend.url",
            Self::ContentType(_) | Self::NotJson { .. } | Self::NotObject | Self::NotUtf8 => {
                "check backend.url and backend.bootstrap: the answer must be a JSON object such as \
                 {\"allowed_rooms\": [...]} with Content-Type: application/json"
            }
            Self::Encoding(_) => "have the API send gzip, deflate or plain JSON",
            Self::TooLarge { .. } => {
                "raise backend.answer_bytes_max, or have the API grant fewer rooms"
            }
            Self::NoRoom { .. } => {
                "raise limits.answer_total_bytes, or have the API grant fewer rooms and answer faster"
            }
            Self::Truncated => LOOK,
            Self::Keys(_) => {
                "check auth.jwt.issuer.jwks, its server and the firewalls on the way; an earlier line \
                 has the cause"
            }
        };
        Some(text.into())
    }
}

/// What to do about tokens that are refused for this reason.
const fn token(reason: Reason) -> &'static str {
    match reason {
        Reason::Issuer => "compare the claim iss with auth.jwt.issuer.iss: they must be equal",
        Reason::Algorithm => "compare the header alg with auth.jwt.issuer.algorithms",
        Reason::Type => "compare the header typ with auth.jwt.issuer.typ",
        Reason::Key => {
            "the issuer signs with a key that its set does not have: high-templar check shows the ids"
        }
        Reason::NoKeys => {
            "the keys of the issuer could not be fetched: an earlier line has the cause"
        }
        Reason::Signature => "compare the secret, or the address of the keys, with the issuer's",
        Reason::Expired => {
            "usual for a client that was away; if all are refused, compare the clocks"
        }
        Reason::TooEarly => "compare the clocks of the issuer and of this machine",
        Reason::Time => "have the issuer set exp, and times in seconds since 1970",
        Reason::TooLongLived => {
            "have the issuer sign for a shorter time, or raise auth.jwt.max_life"
        }
        Reason::Audience => "compare the claim aud with auth.jwt.issuer.audience",
        Reason::Claims => "have the issuer correct the claims that auth.jwt names",
        Reason::Denied => "a command revoked it: the client must sign in again",
        Reason::Missing => "auth.jwt demands a token, and the client sent none",
        Reason::TooLong | Reason::Malformed | Reason::Critical => {
            "only signed tokens in the compact form of RFC 7515 are valid"
        }
    }
}

impl Refusal {
    /// What to do about it where it is not as intended.
    #[must_use]
    pub fn advice(&self) -> Cow<'static, str> {
        match self {
            Self::Status(400) => {
                "check what the API rejects; Django: ALLOWED_HOSTS must have the host of backend.url"
            }
            Self::Status(401 | 403) => {
                "usually a client that is not signed in any more; if all are refused, compare \
                 backend.headers with what the API authenticates by, such as a cookie or a token"
            }
            Self::Status(404 | 405 | 410) => "check backend.url and backend.bootstrap",
            Self::Status(_) => "only status 200 admits a client: see the log of the API",
            Self::Redirect { elsewhere, .. } => match elsewhere {
                Elsewhere::Secure => {
                    "begin backend.url with https://, or exempt the gateway's calls from the \
                     redirect (Django: SECURE_REDIRECT_EXEMPT; behind SECURE_PROXY_SSL_HEADER a \
                     fixed header X-Forwarded-Proto: https in backend.headers)"
                }
                Elsewhere::SamePath => "set backend.url to the address that it redirects to",
                Elsewhere::Other => {
                    "usually a login page, because the API does not accept the forwarded headers: \
                     have it answer 401 or 403 instead"
                }
            },
            Self::LoginPage { .. } => {
                "usually a login page: have the API answer 401 or 403 instead"
            }
            Self::RedirectLoop { .. } => "mend the redirects of the API, or backend.url",
            Self::AllowedRooms => {
                "have the API send a list of JSON objects, such as [{\"target\": \"order\"}]"
            }
            Self::InvalidMember(_) => "have the API correct that member, or leave it out",
            Self::Token(refused) => return token(refused.reason).into(),
        }
        .into()
    }
}
