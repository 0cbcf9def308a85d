//! Tables of what is forwarded.

mod token;

use http::{HeaderMap, HeaderName, HeaderValue};
use proptest::prelude::*;

use super::{COOKIE_BYTES_MAX, ForwardError, ForwardRules, HEADER_BYTES_MAX};
use crate::config::{BackendConfig, HeaderRule, HeaderSource};

fn headers(lines: &[(&'static str, &[u8])]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in lines {
        let value = HeaderValue::from_bytes(value).unwrap();
        headers.append(HeaderName::from_static(name), value);
    }
    headers
}

fn rule(name: &'static str, source: HeaderSource, format: Option<&str>) -> HeaderRule {
    HeaderRule {
        name: HeaderName::from_static(name),
        source,
        format: format.map(str::to_owned),
    }
}

/// Applies the default rules and then `more`; the headers by name.
fn forwarded(
    more: Vec<HeaderRule>,
    request: &[(&'static str, &[u8])],
    query: Option<&str>,
) -> Result<Vec<(String, Vec<u8>)>, ForwardError> {
    let mut rules = BackendConfig::default_headers();
    rules.extend(more);
    let credentials = ForwardRules::new(rules).apply(&headers(request), query)?;
    let mut found: Vec<_> = credentials
        .headers()
        .iter()
        .map(|(name, value)| (name.to_string(), value.as_bytes().to_vec()))
        .collect();
    found.sort();
    Ok(found)
}

/// What the default rules forward under one name.
fn value(name: &str, request: &[(&'static str, &[u8])], query: &str) -> Option<Vec<u8>> {
    let found = forwarded(Vec::new(), request, Some(query)).unwrap();
    found.into_iter().find(|(n, _)| n == name).map(|(_, v)| v)
}

#[test]
fn the_default_rules_forward_five_headers_and_nothing_else() {
    let request: &[(&'static str, &[u8])] = &[
        ("host", b"gateway.test"),
        ("cookie", b"sessionid=abc; csrftoken=xyz"),
        ("user-agent", b"Browser/1.0"),
        ("x-real-ip", b"203.0.113.7"),
        ("authorization", b"Basic c2VjcmV0"),
        ("x-csrftoken", b"forged"),
        ("origin", b"https://app.test"),
        ("referer", b"https://app.test/page"),
        ("accept", b"text/html"),
        ("accept-language", b"nl"),
        ("accept-encoding", b"br"),
        ("content-length", b"5"),
        ("transfer-encoding", b"chunked"),
        ("connection", b"upgrade"),
        ("sec-websocket-key", b"dGhlIHNhbXBsZSBub25jZQ=="),
        ("x-forwarded-for", b"198.51.100.1"),
    ];
    let want = [
        ("authorization", "Token t1"),
        ("cookie", "sessionid=abc; csrftoken=xyz"),
        ("user-agent", "Browser/1.0"),
        ("x-csrftoken", "xyz"),
        ("x-real-ip", "203.0.113.7"),
    ];
    let got = forwarded(Vec::new(), request, Some("token=t1&next=/admin")).unwrap();
    let got: Vec<_> = got
        .iter()
        .map(|(n, v)| (n.as_str(), std::str::from_utf8(v).unwrap()))
        .collect();
    assert_eq!(got, want);
}

#[test]
fn empty_input_forwards_nothing() {
    assert_eq!(forwarded(Vec::new(), &[], None), Ok(Vec::new()));
    let empty: &[(&'static str, &[u8])] =
        &[("cookie", b""), ("user-agent", b""), ("x-real-ip", b"")];
    assert_eq!(forwarded(Vec::new(), empty, Some("token=")), Ok(Vec::new()));
    let found = forwarded(Vec::new(), &[("cookie", b"csrftoken=")], Some("")).unwrap();
    assert_eq!(found, [("cookie".into(), b"csrftoken=".to_vec())]);
}

#[test]
fn cookies_are_forwarded_whole_and_unchanged() {
    let table: [(&[&[u8]], &[u8]); 6] = [
        (&[b"a=1; b=\"x y\";c"], b"a=1; b=\"x y\";c"),
        (
            "n=caf\u{e9}"
                .as_bytes()
                .chunks(99)
                .collect::<Vec<_>>()
                .leak(),
            "n=caf\u{e9}".as_bytes(),
        ),
        (&[b"n=\xff\xfe"], b"n=\xff\xfe"),
        (&[b"a=1", b"b=2", b"c=3"], b"a=1; b=2; c=3"),
        (&[b"", b"b=2", b""], b"b=2"),
        (&[b"a=%0d%0a"], b"a=%0d%0a"),
    ];
    for (lines, want) in table {
        let request: Vec<_> = lines.iter().map(|line| ("cookie", *line)).collect();
        assert_eq!(value("cookie", &request, "").as_deref(), Some(want));
    }
}

#[test]
fn the_csrf_token_comes_from_its_last_cookie() {
    let table: [(&[u8], Option<&[u8]>); 18] = [
        (b"csrftoken=abc", Some(b"abc")),
        (b"a=1; csrftoken=abc; b=2", Some(b"abc")),
        (b"a=1;csrftoken=abc;b=2", Some(b"abc")),
        (b"csrftoken=first; csrftoken=second", Some(b"second")),
        (b"csrftoken=first; csrftoken=", None),
        (b"csrftoken=first; csrftoken", Some(b"first")),
        (b"csrftoken=\"quoted\"", Some(b"quoted")),
        (b"csrftoken=\"\"", None),
        (b"csrftoken=\"", Some(b"\"")),
        (b"csrftoken=a\"b", Some(b"a\"b")),
        (b"csrftoken=a=b==", Some(b"a=b==")),
        (b"csrftoken=a%3Db%20", Some(b"a%3Db%20")),
        (b"csrftoken = spaced ", Some(b"spaced")),
        (b"CSRFToken=other; xcsrftoken=other", None),
        (b"csrftoken=\"a\\054b\\073\\\"\\\\\"", Some(b"a,b;\"\\")),
        (b"csrftoken=\"a\\9\\\"", Some(b"a9\\")),
        (b"csrftoken=caf\xc3\xa9", Some(b"caf\xc3\xa9")),
        (b"", None),
    ];
    for (cookie, want) in table {
        let got = value("x-csrftoken", &[("cookie", cookie)], "");
        assert_eq!(got.as_deref(), want, "{}", cookie.escape_ascii());
    }
    let lines: &[(&'static str, &[u8])] = &[("cookie", b"a=1"), ("cookie", b"csrftoken=2")];
    assert_eq!(value("x-csrftoken", lines, "").as_deref(), Some(&b"2"[..]));
}

#[test]
fn the_token_comes_from_its_first_parameter() {
    let table: [(&str, Option<&[u8]>); 17] = [
        ("token=abc", Some(b"Token abc")),
        ("a=1&token=abc&b=2", Some(b"Token abc")),
        ("token=first&token=second", Some(b"Token first")),
        ("token=&token=second", None),
        ("token&token=second", None),
        ("token=a+b", Some(b"Token a b")),
        ("token=a%2Bb", Some(b"Token a+b")),
        ("token=a%20b%26c%3Dd", Some(b"Token a b&c=d")),
        ("token=a=b==", Some(b"Token a=b==")),
        ("token=caf%C3%A9", Some(b"Token caf\xc3\xa9")),
        ("token=caf\u{e9}", Some(b"Token caf\xc3\xa9")),
        ("%74oken=abc", Some(b"Token abc")),
        ("token=100%", Some(b"Token 100%")),
        ("token=%zz", Some(b"Token %zz")),
        ("Token=abc", None),
        ("tokens=abc&&=&", None),
        ("", None),
    ];
    for (query, want) in table {
        assert_eq!(
            value("authorization", &[], query).as_deref(),
            want,
            "{query}"
        );
    }
}

#[test]
fn custom_rules_add_and_override() {
    let session = rule(
        "x-session-token",
        HeaderSource::Param("session_token".into()),
        None,
    );
    let referer = rule(
        "referer",
        HeaderSource::Fixed("https://app.test".into()),
        None,
    );
    let got = forwarded(vec![session, referer], &[], Some("session_token=s")).unwrap();
    let want = [
        ("referer".to_owned(), b"https://app.test".to_vec()),
        ("x-session-token".to_owned(), b"s".to_vec()),
    ];
    assert_eq!(got, want);

    let jwt = rule(
        "authorization",
        HeaderSource::Cookie("jwt".into()),
        Some("Bearer {}!"),
    );
    let request: &[(&'static str, &[u8])] = &[("cookie", b"jwt=\"j\"")];
    let got = forwarded(vec![jwt.clone()], request, Some("token=t")).unwrap();
    assert_eq!(got[0], ("authorization".into(), b"Bearer j!".to_vec()));

    let got = forwarded(vec![jwt], &[], Some("token=t"));
    assert_eq!(
        got,
        Ok(Vec::new()),
        "an overridden rule is gone, even without a value"
    );

    let nothing = rule(
        "user-agent",
        HeaderSource::Fixed(String::new()),
        Some("x{}"),
    );
    let got = forwarded(vec![nothing], &[("user-agent", b"Browser")], None);
    assert_eq!(got, Ok(Vec::new()));
}

#[test]
fn of_several_lines_of_another_header_the_first_counts() {
    let lines: &[(&'static str, &[u8])] = &[("x-real-ip", b"192.0.2.1"), ("x-real-ip", b"evil")];
    assert_eq!(
        value("x-real-ip", lines, "").as_deref(),
        Some(&b"192.0.2.1"[..])
    );
}

#[test]
fn control_characters_are_refused() {
    let name = |header| ForwardError::ControlCharacter {
        header: HeaderName::from_static(header),
    };
    for code in (0..0x20u8).chain([0x7f]) {
        let query = format!("token=a%{code:02X}b");
        let got = forwarded(Vec::new(), &[], Some(&query));
        assert_eq!(got, Err(name("authorization")), "{query}");
    }
    let split = "token=x%0d%0aX-Real-IP:%20127.0.0.1%0d%0a%0d%0aGET%20/admin/";
    assert_eq!(
        forwarded(Vec::new(), &[], Some(split)),
        Err(name("authorization"))
    );
    let raw = forwarded(Vec::new(), &[], Some("token=a\r\nb"));
    assert_eq!(raw, Err(name("authorization")));
    let escaped: &[(&'static str, &[u8])] = &[("cookie", b"csrftoken=\"a\\015\\012b\"")];
    assert_eq!(
        forwarded(Vec::new(), escaped, None),
        Err(name("x-csrftoken"))
    );
    let tab: &[(&'static str, &[u8])] = &[("user-agent", b"a\tb")];
    assert_eq!(value("user-agent", tab, "").as_deref(), Some(&b"a\tb"[..]));
}

#[test]
fn long_values_are_refused() {
    let long = |header, bytes_max| {
        Err(ForwardError::TooLong {
            header: HeaderName::from_static(header),
            bytes_max,
        })
    };
    for (extra, ok) in [(0, true), (1, false)] {
        let token = format!("token={}", "t".repeat(HEADER_BYTES_MAX + extra));
        let agent = "a".repeat(HEADER_BYTES_MAX + extra);
        let cookie = format!("c={}", "c".repeat(COOKIE_BYTES_MAX - 2 + extra));
        let csrf = format!("csrftoken={}", "c".repeat(HEADER_BYTES_MAX + extra));
        let by_query = forwarded(Vec::new(), &[], Some(&token));
        let by_agent = forwarded(Vec::new(), &[("user-agent", agent.as_bytes())], None);
        let by_cookie = forwarded(Vec::new(), &[("cookie", cookie.as_bytes())], None);
        let by_csrf = forwarded(Vec::new(), &[("cookie", csrf.as_bytes())], None);
        if ok {
            assert!(by_query.is_ok() && by_agent.is_ok() && by_cookie.is_ok() && by_csrf.is_ok());
        } else {
            assert_eq!(by_query, long("authorization", HEADER_BYTES_MAX));
            assert_eq!(by_agent, long("user-agent", HEADER_BYTES_MAX));
            assert_eq!(by_cookie, long("cookie", COOKIE_BYTES_MAX));
            assert_eq!(by_csrf, long("x-csrftoken", HEADER_BYTES_MAX));
        }
    }
}

#[test]
fn all_forwarded_headers_together_have_a_bound() {
    let rules = ForwardRules {
        bytes_max: 100,
        ..ForwardRules::new(BackendConfig::default_headers())
    };
    // "cookie: " and a line's end are ten bytes, "user-agent: " fourteen.
    let apply = |cookie: usize, agent: usize| {
        let (cookie, agent) = (vec![b'c'; cookie], vec![b'a'; agent]);
        let request = headers(&[("cookie", &cookie), ("user-agent", &agent)]);
        rules.apply(&request, None)
    };
    let too_large = |bytes| ForwardError::TooLarge {
        bytes,
        bytes_max: 100,
    };
    assert!(apply(90, 0).is_ok());
    assert_eq!(apply(91, 0).unwrap_err(), too_large(101));
    let mut credentials = apply(50, 26).unwrap();
    assert_eq!(apply(51, 26).unwrap_err(), too_large(101));
    // A token in the first frame is added to the earlier headers.
    let token = ht_proto::token::Token::new("t").unwrap().unwrap();
    let error = rules.add_token(&mut credentials, &token).unwrap_err();
    assert_eq!(error, too_large(100 + "authorization: Token t\r\n".len()));
}

#[test]
fn secrets_are_not_shown() {
    let rules = ForwardRules::new(BackendConfig::default_headers());
    let request = headers(&[("cookie", b"sessionid=secret")]);
    let credentials = rules.apply(&request, Some("token=secret")).unwrap();
    assert!(!format!("{credentials:?} {:?}", credentials.headers()).contains("secret"));
    let error = rules.apply(&request, Some("token=secret%00")).unwrap_err();
    assert!(!format!("{error} {error:?}").contains("secret"));
}

proptest! {
    #[test]
    fn a_client_controls_nothing_but_a_value(
        cookie in proptest::collection::vec(any::<u8>(), 0..60),
        query in ".{0,60}",
    ) {
        let Ok(line) = HeaderValue::from_bytes(&cookie) else { return Ok(()) };
        let mut request = HeaderMap::new();
        request.insert("cookie", line);
        let rules = ForwardRules::new(BackendConfig::default_headers());
        if let Ok(credentials) = rules.apply(&request, Some(&query)) {
            for (name, value) in credentials.headers() {
                prop_assert!(["cookie", "x-csrftoken", "authorization"].contains(&name.as_str()));
                let control = |b: &u8| *b != b'\t' && (*b < 0x20 || *b == 0x7f);
                prop_assert!(!value.as_bytes().iter().any(control));
            }
        }
    }
}

#[test]
fn a_token_is_replaced_by_another_one_and_the_rest_stays() {
    let rules = ForwardRules::new(BackendConfig::default_headers());
    let mut request = HeaderMap::new();
    request.insert("user-agent", HeaderValue::from_static("browser"));
    let without = rules.apply(&request, None).unwrap();
    assert!(!rules.have_token(&without));
    let mut credentials = rules.apply(&request, Some("token=old")).unwrap();
    assert!(rules.have_token(&credentials));
    let token = ht_proto::token::Token::new("new").unwrap().unwrap();
    rules.replace_token(&mut credentials, &token).unwrap();
    let headers = credentials.headers();
    assert_eq!(headers["authorization"], "Token new");
    assert_eq!(headers["user-agent"], "browser");
    assert_eq!(headers.len(), 2);
}
