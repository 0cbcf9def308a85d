//! Responses to triggers and commands that are wrong.

use ht_edge::respond::{self, Body};
use ht_proto::trigger::{Problem, TriggerError};
use http::{Response, StatusCode};
use serde_json::json;

/// The response that names the invalid member of a trigger. Nothing of the request was published.
pub(super) fn refused(error: &TriggerError) -> Response<Body> {
    let status = if matches!(error.problem, Problem::TooLong(_)) {
        StatusCode::PAYLOAD_TOO_LARGE
    } else {
        StatusCode::BAD_REQUEST
    };
    let mut body = json!({ "error": error.to_string() });
    if let Some(trigger) = error.trigger {
        body["trigger"] = trigger.into();
    }
    if let Some(member) = &error.member {
        body["member"] = member.as_str().into();
    }
    respond::json(status, &body)
}
