//! Responses to requests that stay HTTP.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use http_body_util::Full;

/// A complete body.
pub type Body = Full<Bytes>;

/// A sentence for a person.
pub fn text(status: StatusCode, sentence: impl Into<String>) -> Response<Body> {
    let mut body = sentence.into();
    body.push('\n');
    with_type(status, "text/plain; charset=utf-8", body)
}

/// JSON for a program.
pub fn json(status: StatusCode, value: &serde_json::Value) -> Response<Body> {
    with_type(status, "application/json", value.to_string())
}

/// A body of any type.
pub fn with_type(
    status: StatusCode,
    content_type: &'static str,
    body: impl Into<Bytes>,
) -> Response<Body> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// 405, with the allowed methods.
pub fn method_not_allowed(allowed: &'static str) -> Response<Body> {
    let mut response = text(
        StatusCode::METHOD_NOT_ALLOWED,
        format!("This address only answers {allowed}."),
    );
    response
        .headers_mut()
        .insert(header::ALLOW, HeaderValue::from_static(allowed));
    response
}

/// The same, with the time after which it may be retried: whole seconds, at least one.
pub fn retry_after(mut response: Response<Body>, period: Duration) -> Response<Body> {
    let seconds = period.as_millis().div_ceil(1_000).max(1);
    let value = HeaderValue::try_from(seconds.to_string()).expect("digits are a header's value");
    response.headers_mut().insert(header::RETRY_AFTER, value);
    response
}
