//! Which pages may ask over HTTP, and read the answer: what `Origin` and the Fetch Metadata headers
//! say, and what CORS answers.
//!
//! A WebSocket always has an `Origin`. A `GET` of a page's own site has none, and neither has an image
//! of any site: those are told apart by `Sec-Fetch-Site` and `Sec-Fetch-Dest`, which no page can set.

use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ALLOW,
    ORIGIN, VARY,
};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};

use crate::origin::{Foreign, Origins};
use crate::respond::Body;

const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const FETCH_DEST: HeaderName = HeaderName::from_static("sec-fetch-dest");

/// What a page may send beside what browsers send for every page.
const ALLOWED_HEADERS: &str = "Content-Type, Authorization, Last-Event-ID, X-High-Templar-SDK";

/// What a page may read of a response beside what every page may.
const EXPOSED_HEADERS: &str = "High-Templar-Cursor, Retry-After";

/// How long a browser keeps the answer to a preflight, in seconds.
const MAX_AGE: &str = "600";

/// A page that may ask, or a program.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// Its origin, if its browser said it.
    origin: Option<HeaderValue>,
}

/// Why a page may not ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PageError {
    /// Its origin is not allowed.
    Foreign(Foreign),
    /// An element of another site's page, such as an image, which has no `Origin`.
    CrossSite,
    /// Not a script asks, but an element or the address bar.
    Element,
}

impl Page {
    /// Checks who asks. A forwarded host is only used if the request was received from a trusted
    /// proxy.
    ///
    /// # Errors
    /// If it is a page that may not ask.
    pub fn check(
        headers: &HeaderMap,
        origins: &Origins,
        from_proxy: bool,
    ) -> Result<Self, PageError> {
        if of(headers, &FETCH_DEST).is_some_and(|dest| dest != "empty") {
            return Err(PageError::Element);
        }
        if headers.contains_key(ORIGIN) {
            let checked = origins.check(headers, from_proxy);
            checked.map_err(PageError::Foreign)?;
            let origin = of(headers, &ORIGIN).filter(|origin| **origin != SEVERAL);
            let origin = origin.ok_or(PageError::Foreign(Foreign::Unreadable))?;
            return Ok(Self {
                origin: Some(origin.clone()),
            });
        }
        match of(headers, &FETCH_SITE).map(HeaderValue::as_bytes) {
            // A GET of the page's own site has no `Origin`.
            Some(b"same-origin") => Ok(Self::default()),
            None | Some(b"none") => {
                let checked = origins.check(headers, from_proxy);
                checked.map_err(PageError::Foreign)?;
                Ok(Self::default())
            }
            Some(_) => Err(PageError::CrossSite),
        }
    }

    /// Its origin, as its browser said it.
    #[must_use]
    pub fn origin(&self) -> Option<&str> {
        self.origin.as_ref()?.to_str().ok()
    }

    /// Lets the page read a response. Only this origin, never all: the request had its credentials.
    pub fn allow<B>(&self, response: &mut Response<B>) {
        let headers = response.headers_mut();
        headers.append(VARY, HeaderValue::from_static("Origin"));
        if let Some(origin) = &self.origin {
            headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
            let yes = HeaderValue::from_static("true");
            headers.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, yes);
            let exposed = HeaderValue::from_static(EXPOSED_HEADERS);
            headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, exposed);
        }
    }

    /// The response to a preflight, for these methods.
    #[must_use]
    pub fn preflight(&self, methods: &'static str) -> Response<Body> {
        let mut response = Response::new(Body::default());
        *response.status_mut() = StatusCode::NO_CONTENT;
        self.allow(&mut response);
        let headers = response.headers_mut();
        headers.insert(ALLOW, HeaderValue::from_static(methods));
        if self.origin.is_some() {
            for (name, value) in [
                (ACCESS_CONTROL_ALLOW_METHODS, methods),
                (ACCESS_CONTROL_ALLOW_HEADERS, ALLOWED_HEADERS),
                (ACCESS_CONTROL_MAX_AGE, MAX_AGE),
            ] {
                headers.insert(name, HeaderValue::from_static(value));
            }
        }
        response
    }
}

/// The value of a header that occurs once.
fn of<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a HeaderValue> {
    let mut lines = headers.get_all(name).iter();
    match (lines.next(), lines.next()) {
        (Some(line), None) => Some(line),
        // Of several, one may be what the gateway would trust and another what a proxy did.
        (Some(_), Some(_)) => Some(&SEVERAL),
        (None, _) => None,
    }
}

/// No header of a browser has this value.
static SEVERAL: HeaderValue = HeaderValue::from_static("several");

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    fn origins(allow: &[&str], require: bool) -> Origins {
        Origins {
            allow: allow.iter().map(|text| text.parse().unwrap()).collect(),
            require,
            ..Origins::default()
        }
    }

    const HOST: (&str, &str) = ("host", "app.example");

    #[test]
    fn who_asks_is_told_by_what_no_page_can_set() {
        let (own, foreign) = ("https://app.example", "https://evil.example");
        for (lines, allow, require, expected) in [
            // EventSource and fetch of the own site, and a program.
            (
                &[
                    ("sec-fetch-site", "same-origin"),
                    ("sec-fetch-dest", "empty"),
                ][..],
                &[][..],
                true,
                Ok(None),
            ),
            (&[], &[], false, Ok(None)),
            (&[], &[], true, Err(PageError::Foreign(Foreign::Missing))),
            (
                &[("sec-fetch-site", "none"), ("sec-fetch-dest", "empty")],
                &[],
                false,
                Ok(None),
            ),
            (&[("origin", own)], &[], true, Ok(Some(own))),
            // Another site, by EventSource or fetch.
            (
                &[
                    ("origin", foreign),
                    ("sec-fetch-site", "cross-site"),
                    ("sec-fetch-dest", "empty"),
                ],
                &[],
                false,
                Err(PageError::Foreign(Foreign::Page(foreign.into()))),
            ),
            (
                &[("origin", foreign), ("sec-fetch-site", "cross-site")],
                &["https://evil.example"],
                false,
                Ok(Some(foreign)),
            ),
            (&[("origin", foreign)], &["*"], false, Ok(Some(foreign))),
            (&[("origin", "null")], &["null"], false, Ok(Some("null"))),
            (
                &[("origin", "null")],
                &[],
                false,
                Err(PageError::Foreign(Foreign::Page("null".into()))),
            ),
            // fetch with the mode no-cors.
            (
                &[
                    ("sec-fetch-site", "cross-site"),
                    ("sec-fetch-dest", "empty"),
                ],
                &["*"],
                false,
                Err(PageError::CrossSite),
            ),
            (
                &[("sec-fetch-site", "same-site")],
                &[],
                false,
                Err(PageError::CrossSite),
            ),
            // <img>, <iframe>, a worker's script, the address bar.
            (
                &[
                    ("sec-fetch-site", "cross-site"),
                    ("sec-fetch-dest", "image"),
                ],
                &["*"],
                false,
                Err(PageError::Element),
            ),
            (
                &[
                    ("sec-fetch-site", "same-origin"),
                    ("sec-fetch-dest", "iframe"),
                ],
                &[],
                false,
                Err(PageError::Element),
            ),
            (
                &[("sec-fetch-site", "none"), ("sec-fetch-dest", "document")],
                &[],
                false,
                Err(PageError::Element),
            ),
            (
                &[("origin", own), ("sec-fetch-dest", "script")],
                &[],
                false,
                Err(PageError::Element),
            ),
            // Several of a header that browsers send once.
            (
                &[
                    ("sec-fetch-site", "same-origin"),
                    ("sec-fetch-site", "cross-site"),
                ],
                &[],
                false,
                Err(PageError::CrossSite),
            ),
            (
                &[("sec-fetch-dest", "empty"), ("sec-fetch-dest", "empty")],
                &[],
                false,
                Err(PageError::Element),
            ),
            (
                &[("origin", own), ("origin", own)],
                &[],
                false,
                Err(PageError::Foreign(Foreign::Unreadable)),
            ),
        ] {
            let headers = headers(&[&[HOST], lines].concat());
            let page = Page::check(&headers, &origins(allow, require), false);
            let found = page.as_ref().map(Page::origin);
            assert_eq!(
                found,
                expected.as_ref().map(|origin| *origin),
                "{lines:?} {allow:?}"
            );
        }
    }

    #[test]
    fn only_the_page_that_asks_may_read_the_answer() {
        let headers = headers(&[HOST, ("origin", "https://app.example")]);
        let page = Page::check(&headers, &origins(&[], false), false).unwrap();
        let mut response = Response::new(());
        page.allow(&mut response);
        let headers = response.headers();
        assert_eq!(
            headers["access-control-allow-origin"],
            "https://app.example"
        );
        assert_eq!(headers["access-control-allow-credentials"], "true");
        assert_eq!(headers["vary"], "Origin");
        let preflight = page.preflight("GET, POST");
        assert_eq!(preflight.status(), 204);
        let headers = preflight.headers();
        assert_eq!(headers["access-control-allow-methods"], "GET, POST");
        assert_eq!(headers["access-control-allow-headers"], ALLOWED_HEADERS);
        assert_eq!(headers["access-control-max-age"], "600");
        assert_eq!(
            headers["access-control-allow-origin"],
            "https://app.example"
        );
        let program = Page::default().preflight("POST");
        assert_eq!(program.headers()["allow"], "POST");
        assert!(
            !program
                .headers()
                .contains_key("access-control-allow-origin")
        );
        assert!(
            !program
                .headers()
                .contains_key("access-control-allow-methods")
        );
    }

    #[test]
    fn of_several_origins_none_is_answered() {
        let headers = headers(&[
            HOST,
            ("origin", "https://a.example"),
            ("origin", "https://b.example"),
        ]);
        let page = Page::check(&headers, &origins(&["*"], false), false);
        assert_eq!(page, Err(PageError::Foreign(Foreign::Unreadable)));
    }

    proptest! {
        #[test]
        fn an_element_never_gets_an_answer(
            dest in "[a-z]{1,12}",
            site in "(same-origin|same-site|cross-site|none)",
            origin in prop::option::of("https://(app|evil)\\.example"),
        ) {
            let mut lines = vec![HOST, ("sec-fetch-dest", &*dest), ("sec-fetch-site", &*site)];
            if let Some(origin) = &origin {
                lines.push(("origin", origin));
            }
            let page = Page::check(&headers(&lines), &origins(&[], false), false);
            let may = dest == "empty" && match origin.as_deref() {
                Some(origin) => origin == "https://app.example",
                None => site == "same-origin" || site == "none",
            };
            prop_assert_eq!(page.is_ok(), may);
        }
    }
}
