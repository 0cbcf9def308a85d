//! Responses of the demo's two listeners.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use http_body_util::Full;
use serde::Serialize;
use serde_json::json;

/// A response before it is sent.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Reply {
    /// 200 with JSON.
    pub(crate) fn json(value: &impl Serialize) -> Self {
        let body = serde_json::to_vec(value).expect("responses are plain data");
        Self::raw(StatusCode::OK, body.into())
    }

    /// JSON text.
    pub(crate) fn raw(status: StatusCode, body: Bytes) -> Self {
        Self::file(status, "application/json", body)
    }

    /// Any content, with its type.
    pub(crate) fn file(status: StatusCode, kind: &'static str, body: Bytes) -> Self {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
        Self {
            status,
            headers,
            body,
        }
    }

    /// 204.
    pub(crate) fn empty() -> Self {
        Self {
            status: StatusCode::NO_CONTENT,
            headers: HeaderMap::new(),
            body: Bytes::new(),
        }
    }

    /// A status, and a sentence as `error`.
    pub(crate) fn error(status: StatusCode, sentence: &str) -> Self {
        Self::json(&json!({ "error": sentence })).with_status(status)
    }

    /// The same with another status.
    pub(crate) fn with_status(mut self, status: StatusCode) -> Self {
        self.status = status;
        self
    }

    /// Sets or removes a cookie.
    pub(crate) fn with_cookie(mut self, name: &str, value: Option<&str>) -> Self {
        let (value, age) = match value {
            Some(value) => (value, ""),
            None => ("", "; Max-Age=0"),
        };
        let cookie = format!("{name}={value}; Path=/; HttpOnly; SameSite=Strict{age}");
        let cookie = HeaderValue::try_from(cookie).expect("names and keys are plain ASCII");
        self.headers.insert(header::SET_COOKIE, cookie);
        self
    }
}

impl From<Reply> for Response<Full<Bytes>> {
    fn from(reply: Reply) -> Self {
        let mut response = Self::new(Full::new(reply.body));
        *response.status_mut() = reply.status;
        *response.headers_mut() = reply.headers;
        let headers = response.headers_mut();
        for (name, value) in [
            (header::CACHE_CONTROL, "no-store"),
            (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        response
    }
}
