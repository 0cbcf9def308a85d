//! Tables of origins, hosts and patterns.

use http::HeaderValue;
use proptest::prelude::*;

use super::*;

fn origins(allow: &[&str]) -> Origins {
    Origins {
        allow: allow.iter().map(|text| text.parse().unwrap()).collect(),
        require: false,
        written: OriginsWritten::Nowhere,
    }
}

fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in lines {
        headers.append(*name, HeaderValue::from_str(value).unwrap());
    }
    headers
}

fn is_served(allow: &[&str], origin: &str, host: &str) -> bool {
    let headers = headers(&[("origin", origin), ("host", host)]);
    origins(allow).check(&headers, false).is_ok()
}

#[test]
fn a_page_of_the_host_itself_is_admitted_on_any_port() {
    for (origin, host, served) in [
        ("https://app.example", "app.example", true),
        ("http://app.example:8000", "app.example:5000", true),
        ("https://APP.example", "app.EXAMPLE:443", true),
        ("https://app.example:", "app.example", true),
        ("http://192.0.2.1", "192.0.2.1:80", true),
        ("http://[2001:DB8::0:1]:81", "[2001:db8::1]", true),
        ("http://localhost:3000", "localhost:5000", true),
        ("https://evil.example", "app.example", false),
        ("https://app.example.evil.example", "app.example", false),
        ("https://evilapp.example", "app.example", false),
        ("https://sub.app.example", "app.example", false),
        ("https://example", "app.example", false),
        ("http://127.0.0.1", "localhost", false),
        ("http://[2001:db8::2]", "[2001:db8::1]", false),
        ("http://[::ffff:192.0.2.1]", "192.0.2.1", false),
        ("null", "app.example", false),
        ("null", "null", false),
        ("app.example", "app.example", false),
        ("https://app.example/", "app.example", false),
        ("https://app.example@evil.example", "app.example", false),
        ("https://evil.example#app.example", "app.example", false),
        (
            "https://app.example https://app.example",
            "app.example",
            false,
        ),
        ("https://app.example:x", "app.example", false),
        ("https://app.example:65536", "app.example", false),
        ("https://", "app.example", false),
        ("://app.example", "app.example", false),
        ("", "app.example", false),
        ("https://app.example", "app.example/", false),
        ("https://app.example", "app.example,evil.example", false),
        ("https://app.example", "", false),
    ] {
        assert_eq!(is_served(&[], origin, host), served, "{origin} at {host}");
    }
}

#[test]
fn patterns_admit_other_origins() {
    for (pattern, origin, served) in [
        ("*", "https://any.example", true),
        ("*", "null", true),
        ("*", "rubbish", true),
        ("null", "null", true),
        ("null", "https://any.example", false),
        ("https://app.example", "https://app.example", true),
        ("https://app.example", "https://app.example:8443", true),
        ("https://app.example", "http://app.example", false),
        ("HTTPS://App.Example", "https://app.example", true),
        ("app.example", "http://app.example:99", true),
        ("app.example", "https://sub.app.example", false),
        ("app.example:443", "https://app.example", true),
        ("app.example:443", "http://app.example", false),
        ("https://app.example:8443", "https://app.example:8443", true),
        ("https://app.example:8443", "https://app.example", false),
        ("https://*.example.com", "https://a.b.example.com", true),
        ("https://*.example.com", "https://A.EXAMPLE.com", true),
        ("https://*.example.com", "https://example.com", false),
        ("https://*.example.com", "https://evilexample.com", false),
        ("https://*.example.com", "https://.example.com", false),
        ("https://*.example.com", "https://a.example.com.evil", false),
        ("https://*.example.com", "http://a.example.com", false),
        ("*.example.com:81", "http://a.example.com:81", true),
        ("https://*", "https://any.example:1", true),
        ("https://*", "http://any.example", false),
        ("https://*", "https://[::1]", true),
        ("https://*", "null", false),
        ("*:3000", "http://localhost:3000", true),
        ("*:3000", "http://localhost:3001", false),
        ("[::1]", "http://[0::1]:5", true),
        ("http://[::1]:5", "http://[::1]:5", true),
        // Packaged apps.
        ("capacitor://localhost", "capacitor://localhost", true),
        ("ionic://localhost", "capacitor://localhost", false),
        ("tauri://localhost", "tauri://localhost", true),
        ("http://tauri.localhost", "http://tauri.localhost", true),
        ("http://tauri.localhost", "https://tauri.localhost", false),
        ("app://-", "app://-", true),
        ("app://.", "app://.", true),
        ("app://bundle", "app://other", false),
        ("app://", "app://", true),
        ("app://my!app", "app://my!app", true),
        ("app://my!app", "app://my!other", false),
        ("file://", "file://", true),
        ("FILE://", "file://", true),
        ("file://", "null", false),
        ("null", "file://", false),
        ("file://", "app://", false),
        ("app://*", "app://bundle", true),
        ("app://*", "app://", true),
        ("app://*", "file://", false),
        ("*:3000", "file://", false),
        (
            "chrome-extension://abcdefghijklmnopabcdefghijklmnop",
            "chrome-extension://abcdefghijklmnopabcdefghijklmnop",
            true,
        ),
        (
            "moz-extension://0B8C6A5E-6f1d-4b52-8f5d-000000000000",
            "moz-extension://0b8c6a5e-6f1d-4b52-8f5d-000000000000",
            true,
        ),
        (
            "vscode-webview://*",
            "vscode-webview://1qvjd2b6k7s4i2o1pr0mk9sbbhqkrk2q2o0mlmbhh3q2g8hbd1i0",
            true,
        ),
    ] {
        let got = is_served(&[pattern], origin, "gateway.test");
        assert_eq!(got, served, "{pattern} and {origin}");
    }
}

#[test]
fn a_pattern_without_meaning_is_rejected() {
    use OriginPatternError as E;
    for (text, error) in [
        ("", E::Host),
        ("https://app.example/", E::Path),
        ("https://app.example/page", E::Path),
        ("app.example?x", E::Path),
        ("://app.example", E::Scheme),
        ("9p://app.example", E::Scheme),
        ("*://app.example", E::Scheme),
        ("a*.example", E::Star),
        ("app.*", E::Star),
        ("*.*.example", E::Star),
        ("**", E::Star),
        ("*.[::1]", E::Star),
        ("*example.com", E::Star),
        ("b\u{fc}cher.example", E::Host),
        ("app example", E::Host),
        ("app.example:http", E::Host),
        ("[::1", E::Host),
        ("https://", E::Host),
        ("http://my!app", E::Host),
        ("file:///", E::Path),
        ("app://a b", E::Host),
        ("app://user@host", E::Host),
    ] {
        assert_eq!(text.parse::<OriginPattern>(), Err(error), "{text:?}");
    }
}

#[test]
fn a_client_without_an_origin_is_admitted_unless_one_is_required() {
    let none = headers(&[("host", "app.example")]);
    let mut origins = origins(&["*"]);
    assert_eq!(origins.check(&none, false), Ok(()));
    origins.require = true;
    assert_eq!(origins.check(&none, false), Err(Foreign::Missing));
    let some = headers(&[("host", "app.example"), ("origin", "https://a.example")]);
    assert_eq!(origins.check(&some, false), Ok(()));
}

#[test]
fn duplicate_headers_do_not_bypass_the_check() {
    let own = ("origin", "https://app.example");
    let evil = ("origin", "https://evil.example");
    let host = ("host", "app.example");
    for lines in [[own, evil, host], [evil, own, host], [own, own, host]] {
        let found = origins(&[]).check(&headers(&lines), false);
        assert_eq!(found, Err(Foreign::Unreadable), "{lines:?}");
    }
    let hosts = [evil, ("host", "app.example"), ("host", "evil.example")];
    let found = origins(&[]).check(&headers(&hosts), false);
    assert_eq!(found, Err(Foreign::Page("https://evil.example".into())));
}

#[test]
fn the_forwarded_host_of_a_trusted_proxy_is_used() {
    for (forwarded, from_proxy, served) in [
        ("app.example", true, true),
        ("app.example:443, inner.example", true, true),
        ("inner.example, app.example", true, false),
        ("app.example", false, false),
    ] {
        let lines = headers(&[
            ("host", "127.0.0.1:5000"),
            ("x-forwarded-host", forwarded),
            ("origin", "https://app.example"),
        ]);
        let found = origins(&[]).check(&lines, from_proxy);
        assert_eq!(found.is_ok(), served, "{forwarded} {from_proxy}");
    }
}

proptest! {
    #[test]
    fn patterns_round_trip_as_text(text in "([a-z]{1,3}://)?(\\*|(\\*\\.)?[a-z0-9.-]{1,9}|\\[::[0-9a-f]{1,4}\\])(:[0-9]{1,5})?") {
        if let Ok(pattern) = text.parse::<OriginPattern>() {
            let again = pattern.to_string().parse::<OriginPattern>();
            prop_assert_eq!(again, Ok(pattern));
        }
    }

    #[test]
    fn no_header_value_admits_another_host(line in "(https?://)?[a-z@:/.\\[\\]#?, ]{0,12}(app\\.example)?[a-z@:/.\\[\\]#?, ]{0,12}") {
        // Parsed as browsers and URL parsers would, or not at all.
        if is_served(&[], &line, "app.example") {
            let rest = line.split_once("://").map(|(_, rest)| rest);
            let host = rest.and_then(|rest| rest.split(':').next());
            prop_assert_eq!(host, Some("app.example"));
        }
    }
}
