//! Rejects requests that pages of other sites make a browser send to this machine.

use http::{HeaderMap, HeaderName, HeaderValue, header};

/// Whether a browser sent a request for a page of another site. The demo's page sends its own origin;
/// other programs send none.
pub(crate) fn is_cross_site(headers: &HeaderMap) -> bool {
    let value = |name| {
        headers
            .get(name)
            .map(|value: &HeaderValue| value.as_bytes())
    };
    let Some(host) = value(header::HOST) else {
        return true;
    };
    if !is_loopback_name(host) {
        return true;
    }
    let other_origin = value(header::ORIGIN).is_some_and(|origin| {
        origin
            .strip_prefix(b"http://")
            .is_none_or(|origin| origin != host)
    });
    let site = headers.get("sec-fetch-site").map(HeaderValue::as_bytes);
    // A link on another site can open the page, but nothing else.
    let navigates = value(HeaderName::from_static("sec-fetch-mode")) == Some(b"navigate");
    let other_site = site.is_some_and(|site| site != b"same-origin" && site != b"none");
    other_origin || (other_site && !navigates)
}

fn is_loopback_name(host: &[u8]) -> bool {
    let Ok(host) = std::str::from_utf8(host) else {
        return false;
    };
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    matches!(name, "127.0.0.1" | "localhost" | "[::1]")
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// The headers of a request.
    pub(crate) fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn requests_of_other_sites_are_detected() {
        let cases: [(&[(&str, &str)], bool); 10] = [
            (&[("host", "127.0.0.1:8000")], false),
            (&[("host", "localhost")], false),
            (&[("host", "[::1]:8000")], false),
            (&[], true),
            (&[("host", "evil.example:8000")], true),
            (&[("host", "127.0.0.1.evil.example")], true),
            (
                &[
                    ("host", "127.0.0.1:8000"),
                    ("origin", "http://127.0.0.1:8000"),
                ],
                false,
            ),
            (
                &[
                    ("host", "127.0.0.1:8000"),
                    ("origin", "http://evil.example"),
                ],
                true,
            ),
            (
                &[("host", "127.0.0.1:8000"), ("sec-fetch-site", "cross-site")],
                true,
            ),
            (
                &[
                    ("host", "127.0.0.1:8000"),
                    ("sec-fetch-site", "cross-site"),
                    ("sec-fetch-mode", "navigate"),
                ],
                false,
            ),
        ];
        for (pairs, expected) in cases {
            let pairs: Vec<(&'static str, &'static str)> = pairs.to_vec();
            assert_eq!(is_cross_site(&headers(&pairs)), expected, "{pairs:?}");
        }
    }
}
