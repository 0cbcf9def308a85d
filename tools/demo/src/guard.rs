//! Keeps other sites' pages away: they can make a browser send requests to this machine.

use http::{HeaderMap, HeaderName, HeaderValue, header};

/// Whether a browser sent this from a page of another site: then it is not answered. A page of
/// the demo names its own address, other programs name none.
pub(crate) fn is_foreign(headers: &HeaderMap) -> bool {
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
    let foreign_origin = value(header::ORIGIN).is_some_and(|origin| {
        origin
            .strip_prefix(b"http://")
            .is_none_or(|origin| origin != host)
    });
    let site = headers.get("sec-fetch-site").map(HeaderValue::as_bytes);
    // A link on another site may open the page; it may not do anything.
    let navigates = value(HeaderName::from_static("sec-fetch-mode")) == Some(b"navigate");
    let foreign_site = site.is_some_and(|site| site != b"same-origin" && site != b"none");
    foreign_origin || (foreign_site && !navigates)
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
    fn pages_of_other_sites_get_no_answer() {
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
        for (pairs, foreign) in cases {
            let pairs: Vec<(&'static str, &'static str)> = pairs.to_vec();
            assert_eq!(is_foreign(&headers(&pairs)), foreign, "{pairs:?}");
        }
    }
}
