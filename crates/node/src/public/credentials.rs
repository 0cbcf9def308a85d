//! The credentials that a request carries for the API.

use ht_backend::{Credentials, ForwardError, ForwardRules};
use ht_edge::address::Client;
use ht_edge::rejection::{HandshakeError, Rejection};
use ht_edge::request::RequestFacts;
use ht_edge::respond;
use ht_telemetry::throttle::Throttles;
use http::{HeaderMap, StatusCode};

use crate::config::AuthConfig;

/// Collects what is forwarded to the API, a token included.
///
/// # Errors
/// If it cannot be forwarded.
pub(super) fn collect(
    rules: &ForwardRules,
    facts: &RequestFacts,
    headers: &HeaderMap,
    query: Option<&str>,
    throttles: &Throttles,
) -> Result<Credentials, Rejection> {
    let client = facts.client;
    let mut credentials = rules
        .apply(headers, query)
        .map_err(|error| refuse(throttles, client, HandshakeError::Forward, &error))?
        .from_address(client.ip());
    if let Some(token) = &facts.token {
        rules
            .add_token(&mut credentials, token)
            .map_err(|error| refuse(throttles, client, HandshakeError::Token, &error))?;
    }
    Ok(credentials)
}

/// Whether the client must send a token in its first frame, beside these.
pub(super) fn await_token(
    auth: &AuthConfig,
    rules: &ForwardRules,
    facts: &RequestFacts,
    credentials: &Credentials,
) -> bool {
    auth.first_frame
        && facts.token.is_none()
        && (facts.authenticate || !rules.identify(credentials))
}

/// For a client whose headers cannot be forwarded.
fn refuse(
    throttles: &Throttles,
    client: Client,
    reason: HandshakeError,
    error: &ForwardError,
) -> Rejection {
    let ForwardError::TooLarge { bytes, .. } = *error else {
        return Rejection::bad_request(reason, error);
    };
    let reason = HandshakeError::ForwardBytes;
    if let Some(suppressed) = throttles.allow(reason.as_str()) {
        tracing::warn!(
            address = %client,
            bytes,
            suppressed,
            "refused a client whose forwarded headers are longer than backend.forward_bytes_max. \
             Usually old cookies: shorten them, or raise the limit here and in the API's server"
        );
    }
    let sentence = format!("Request header too long: {error}. Delete the cookies of this site.");
    let status = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
    Rejection::new(reason, respond::text(status, sentence))
}
