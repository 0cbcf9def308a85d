//! Tables of locations.

use http::header::LOCATION;
use http::{HeaderMap, HeaderValue, StatusCode, Uri};

use super::{Elsewhere, Redirect, redirect, shown, without_dots};

fn location(value: &str) -> HeaderMap {
    let value = HeaderValue::from_bytes(value.as_bytes()).unwrap();
    [(LOCATION, value)].into_iter().collect()
}

fn from(url: &str, to: &str) -> Option<String> {
    let url: Uri = url.parse().unwrap();
    match redirect(&url, StatusCode::FOUND, &location(to)) {
        Redirect::Follow(uri) => Some(uri.to_string()),
        Redirect::Foreign(_) => None,
        Redirect::None => panic!("{to} is a redirect"),
    }
}

#[test]
fn follows_the_same_origin_only() {
    let base = "http://api.test:8000/api/bootstrap/";
    let table = [
        ("http://api.test:8000/x/", Some("http://api.test:8000/x/")),
        ("HTTP://API.test:8000/x/", Some("http://API.test:8000/x/")),
        ("/x/?a=1#part", Some("http://api.test:8000/x/?a=1")),
        ("//api.test:8000/x/", Some("http://api.test:8000/x/")),
        ("next", Some("http://api.test:8000/api/bootstrap/next")),
        ("../v2/b/", Some("http://api.test:8000/api/v2/b/")),
        ("../../../../etc", Some("http://api.test:8000/etc")),
        (
            "?page=2",
            Some("http://api.test:8000/api/bootstrap/?page=2"),
        ),
        ("x:y/z", None),
        ("http://api.test/x/", None),
        ("http://api.test:8001/x/", None),
        ("https://api.test:8000/x/", None),
        ("http://other.test:8000/x/", None),
        ("//other.test/x/", None),
        ("http://user@api.test:8000/x/", None),
        ("http://api.test:8000@other.test/x/", None),
        ("javascript:alert(1)", None),
        ("http://", None),
        ("/with space", None),
        ("/café", None),
    ];
    for (to, want) in table {
        assert_eq!(from(base, to).as_deref(), want, "{to}");
    }
}

#[test]
fn classifies_targets_that_are_not_followed() {
    use Elsewhere::{Other, SamePath, Secure};
    for (url, to, expected) in [
        ("http://api.test/b/", "https://api.test/b/", Secure),
        ("http://api.test:8000/b/", "https://API.test/b/?x=1", Secure),
        ("http://api.test/b/", "https://www.api.test/b/", SamePath),
        ("https://api.test/b/", "http://api.test/b/", SamePath),
        ("http://api.test/b/", "https://api.test/login/", Other),
        ("http://api.test/b/", "https://sso.test/login/", Other),
        ("http://api.test/b/", "ftp://api.test/b/", Other),
        ("http://api.test/b/", "http://", Other),
    ] {
        let found = redirect(&url.parse().unwrap(), StatusCode::FOUND, &location(to));
        assert_eq!(found, Redirect::Foreign(expected), "{url} {to}");
    }
}

#[test]
fn knows_the_schemes_own_ports() {
    assert!(from("http://a.test/b/", "http://a.test:80/c").is_some());
    assert!(from("https://a.test/b/", "https://a.test:443/c").is_some());
    assert!(from("https://a.test/b/", "https://a.test:80/c").is_none());
}

#[test]
fn other_statuses_and_absent_locations_are_no_redirects() {
    let url: Uri = "http://a.test/".parse().unwrap();
    for status in [200, 201, 300, 304, 305, 401, 503] {
        let status = StatusCode::from_u16(status).unwrap();
        assert_eq!(redirect(&url, status, &location("/x")), Redirect::None);
    }
    let none = HeaderMap::new();
    assert_eq!(redirect(&url, StatusCode::FOUND, &none), Redirect::None);
}

#[test]
fn shows_no_query_no_user_and_no_control() {
    let table = [
        ("/login/?next=/api/&token=secret", "/login/"),
        ("https://sso.test/login#secret", "https://sso.test/login"),
        (
            "https://user:secret@sso.test/login",
            "https://sso.test/login",
        ),
        ("//user:secret@sso.test", "//sso.test"),
        ("/a//b@c/d", "/a//b@c/d"),
        ("a@b/c", "a@b/c"),
        ("/a\tb", "/a\u{fffd}b"),
        ("/caf\u{e9}", "/caf\u{e9}"),
    ];
    for (to, want) in table {
        assert_eq!(shown(&location(to)), want);
    }
    let long = shown(&location(&format!("/{}", "a".repeat(5000))));
    assert_eq!(long.chars().count(), 201);
    assert_eq!(shown(&HeaderMap::new()), "");
}

#[test]
fn removes_dot_segments() {
    let table = [
        ("/a/b/c", "/a/b/c"),
        ("/a/./b", "/a/b"),
        ("/a/../b", "/b"),
        ("/a/b/..", "/a/"),
        ("/a/b/.", "/a/b/"),
        ("/..", "/"),
        ("/../x", "/x"),
        ("/a//b", "/a//b"),
        ("/", "/"),
    ];
    for (path, want) in table {
        assert_eq!(without_dots(path), want, "{path}");
    }
}
