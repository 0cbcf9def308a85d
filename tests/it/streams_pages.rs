//! Which pages may open a stream or poll, and what their browsers are told.

use serde_json::json;

use crate::streams_events::{gateway, rooms};
use crate::support::source::Asking;
use crate::support::{StubBackend, http};

const EVIL: &str = "https://evil.example";

#[test]
fn a_page_of_another_site_gets_no_answer_and_costs_no_call() {
    let backend = StubBackend::open();
    let gateway = gateway(&backend)
        .set("HT_ORIGINS__ALLOW", "https://app.example")
        .start();
    let own = rooms(&[json!({"room": 1})]);
    let poll = Asking::event_source("/poll/").post(&json!({"subscriptions": []}));
    let element = |dest: &'static str, site: &'static str| {
        own.clone()
            .header("Sec-Fetch-Dest", Some(dest))
            .header("Sec-Fetch-Site", Some(site))
            .header("Sec-Fetch-Mode", Some("no-cors"))
            .header("Accept", Some("*/*"))
    };
    let of = |asking: &Asking, origin: &str| {
        asking
            .clone()
            .header("Origin", Some(origin))
            .header("Sec-Fetch-Site", Some("cross-site"))
    };
    for (what, asking) in [
        ("EventSource and fetch", of(&own, EVIL)),
        ("a sandboxed frame", of(&own, "null")),
        ("a poll", of(&poll, EVIL)),
        ("fetch without CORS", element("empty", "cross-site")),
        ("a sister site", element("empty", "same-site")),
        ("<img>", element("image", "cross-site")),
        ("<iframe>", element("iframe", "cross-site")),
        ("<script> of the own site", element("script", "same-origin")),
        ("the address bar", element("document", "none")),
    ] {
        let source = asking.open(gateway.public());
        assert_eq!(source.status, 403, "{what}");
        assert_eq!(source.header("access-control-allow-origin"), None, "{what}");
        assert_eq!(
            source.header("access-control-allow-credentials"),
            None,
            "{what}"
        );
    }
    assert!(backend.requests().is_empty());
    let name = "high_templar_handshake_errors_total{reason=\"origin\"}";
    gateway.wait_for_metric(name, 9);
    // An old browser sends no Sec-Fetch headers, and says that it wants an image.
    let old = own
        .clone()
        .header("Sec-Fetch-Site", None)
        .header("Sec-Fetch-Dest", None)
        .header("Accept", Some("image/webp,image/*,*/*;q=0.8"));
    assert_eq!(old.open(gateway.public()).status, 406);
    assert!(backend.requests().is_empty());
    let allowed = of(&own, "https://app.example").open(gateway.public());
    assert_eq!(allowed.status, 200);
    let origin = allowed.header("access-control-allow-origin");
    assert_eq!(origin, Some("https://app.example"));
    assert_eq!(
        allowed.header("access-control-allow-credentials"),
        Some("true")
    );
    assert_eq!(
        allowed.header("access-control-expose-headers"),
        Some("High-Templar-Cursor")
    );
}

#[test]
fn a_preflight_grants_what_the_origin_may_and_nothing_to_others() {
    let backend = StubBackend::open();
    let gateway = gateway(&backend)
        .set("HT_ORIGINS__ALLOW", "https://app.example")
        .start();
    let preflight = |path: &str, origin: &str| {
        let headers = [
            ("Host", "gateway.test"),
            ("Origin", origin),
            ("Access-Control-Request-Method", "POST"),
            (
                "Access-Control-Request-Headers",
                "content-type,x-high-templar-sdk",
            ),
            ("Sec-Fetch-Site", "cross-site"),
            ("Sec-Fetch-Dest", "empty"),
        ];
        http::request(gateway.public(), "OPTIONS", path, &headers, b"")
    };
    for (path, methods) in [("/sse/", "GET, POST, OPTIONS"), ("/poll/", "POST, OPTIONS")] {
        let answer = preflight(path, "https://app.example");
        assert_eq!(answer.status, 204);
        for (name, value) in [
            ("access-control-allow-origin", "https://app.example"),
            ("access-control-allow-credentials", "true"),
            ("access-control-allow-methods", methods),
            (
                "access-control-allow-headers",
                "Content-Type, Authorization, Last-Event-ID, X-High-Templar-SDK",
            ),
            ("access-control-max-age", "600"),
            ("vary", "Origin"),
        ] {
            assert_eq!(answer.header(name), Some(value), "{path}");
        }
        let answer = preflight(path, EVIL);
        assert_eq!(answer.status, 403);
        assert!(answer.header("access-control-allow-origin").is_none());
        assert!(answer.header("access-control-allow-methods").is_none());
    }
    assert!(backend.requests().is_empty());
}

#[test]
fn a_page_reads_the_status_that_refuses_it() {
    let backend = StubBackend::open();
    let gateway = gateway(&backend)
        .set("HT_ORIGINS__ALLOW", "https://app.example")
        .start();
    let asking = Asking::event_source("/sse/")
        .header("Origin", Some("https://app.example"))
        .header("X-High-Templar-SDK", Some("1"));
    for (asking, status) in [
        (asking.clone().post(&json!({})), 400),
        (asking.clone().header("Accept", Some("text/html")), 406),
    ] {
        let source = asking.open(gateway.public());
        assert_eq!(source.status, status);
        let origin = source.header("access-control-allow-origin");
        assert_eq!(origin, Some("https://app.example"));
    }
}

#[test]
fn where_an_origin_is_required_the_own_site_needs_none() {
    let backend = StubBackend::open();
    let gateway = gateway(&backend).set("HT_ORIGINS__REQUIRE", true).start();
    let own = rooms(&[json!({"room": 1})]);
    assert_eq!(own.open(gateway.public()).status, 200);
    let program = own
        .header("Sec-Fetch-Site", None)
        .header("Sec-Fetch-Dest", None);
    assert_eq!(program.open(gateway.public()).status, 403);
}

#[test]
fn a_token_comes_in_the_header_for_tokens_or_in_the_query() {
    let backend = StubBackend::open();
    let gateway = gateway(&backend).start();
    let own = rooms(&[json!({"room": 1})]).header("Cookie", None);
    let header = own.clone().header("Authorization", Some("Bearer a.b"));
    header.open(gateway.public()).expect("open");
    let mut query = own.clone();
    query.path += "&token=a.b";
    query.open(gateway.public()).expect("open");
    let basic = own.clone().header("Authorization", Some("Basic YTpi"));
    basic.open(gateway.public()).expect("open");
    let seen = backend.requests();
    assert_eq!(seen[0].header("authorization"), Some("Token a.b"));
    assert_eq!(seen[1].header("authorization"), Some("Token a.b"));
    assert_eq!(seen[2].header("authorization"), None, "a proxy's own");
    let two = query.header("Authorization", Some("Bearer other"));
    assert_eq!(two.open(gateway.public()).status, 400);
    let rest = backend.requests().len();
    assert_eq!(rest, 3);
}

#[test]
fn without_credentials_a_gateway_that_waits_for_tokens_asks_for_one() {
    let backend = StubBackend::open();
    let gateway = gateway(&backend).set("HT_AUTH__FIRST_FRAME", true).start();
    let nobody = rooms(&[json!({"room": 1})]).header("Cookie", None);
    let source = nobody.open(gateway.public());
    assert_eq!(source.status, 401);
    assert_eq!(source.header("www-authenticate"), Some("Bearer"));
    assert!(backend.requests().is_empty());
    let somebody = nobody.header("Authorization", Some("Bearer t"));
    assert_eq!(somebody.open(gateway.public()).status, 200);
}
