//! What the API sees of a call.

use ht_backend::config::BackendConfig;
use ht_backend::{Backend, ForwardRules};
use http::{HeaderMap, HeaderValue};

use crate::kit::{admit, backend, credentials, told};
use crate::stub::Stub;

#[tokio::test]
async fn the_call_is_a_get_with_the_backends_host() {
    let stub = Stub::tcp(admit).await;
    let backend = backend(&stub, |config| config.url.push_str("api/"));
    let forwarded = credentials(&[("cookie", "a=1"), ("x-real-ip", "192.0.2.1")]);
    assert_eq!(told(backend.bootstrap(&forwarded).await), Ok("[]".into()));

    let log = stub.log();
    let [seen] = &log.requests[..] else {
        panic!("one request: {log:?}");
    };
    assert_eq!((&*seen.method, &*seen.target), ("GET", "/api/bootstrap/"));
    let host = stub.url.trim_start_matches("http://").trim_end_matches('/');
    let want = [
        ("accept", "application/json"),
        ("accept-encoding", "gzip, deflate"),
        ("cookie", "a=1"),
        ("host", host),
        ("x-real-ip", "192.0.2.1"),
    ];
    for (name, value) in want {
        assert_eq!(seen.header(name), Some(value.as_bytes()), "{name}");
    }
    assert_eq!(seen.headers.len(), want.len(), "{:?}", seen.headers);
}

#[tokio::test]
async fn bytes_beyond_ascii_arrive_unchanged() {
    let stub = Stub::tcp(admit).await;
    let backend = backend(&stub, |_| {});
    let mut request = HeaderMap::new();
    let cookie = b"utf8=caf\xc3\xa9; raw=\xff\xfe; csrftoken=\"t=\xc3\xa9\"";
    request.insert("cookie", HeaderValue::from_bytes(cookie).unwrap());
    let rules = ForwardRules::new(BackendConfig::default_headers());
    let forwarded = rules.apply(&request, Some("token=%C3%A9")).unwrap();
    assert_eq!(told(backend.bootstrap(&forwarded).await), Ok("[]".into()));

    let seen = stub.log().requests[0].clone();
    assert_eq!(seen.header("cookie"), Some(&cookie[..]));
    assert_eq!(seen.header("x-csrftoken"), Some(&b"t=\xc3\xa9"[..]));
    assert_eq!(seen.header("authorization"), Some(&b"Token \xc3\xa9"[..]));
}

#[tokio::test]
async fn headers_of_the_framing_never_leave() {
    let stub = Stub::tcp(admit).await;
    let backend = backend(&stub, |_| {});
    let forwarded = credentials(&[
        ("transfer-encoding", "chunked"),
        ("content-length", "5"),
        ("connection", "close"),
        ("expect", "100-continue"),
        ("upgrade", "websocket"),
        ("accept-encoding", "br"),
        ("x-kept", "yes"),
    ]);
    assert_eq!(told(backend.bootstrap(&forwarded).await), Ok("[]".into()));
    let seen = stub.log().requests[0].clone();
    for name in [
        "transfer-encoding",
        "content-length",
        "connection",
        "expect",
        "upgrade",
    ] {
        assert_eq!(seen.header(name), None, "{name}");
    }
    assert_eq!(seen.header("accept-encoding"), Some(&b"gzip, deflate"[..]));
    assert_eq!(seen.header("x-kept"), Some(&b"yes"[..]));
}

#[tokio::test]
async fn accept_and_host_may_be_set_by_the_operator() {
    let stub = Stub::tcp(admit).await;
    let backend = backend(&stub, |_| {});
    let forwarded = credentials(&[("accept", "application/vnd.api+json"), ("host", "api.test")]);
    assert_eq!(told(backend.bootstrap(&forwarded).await), Ok("[]".into()));
    let seen = stub.log().requests[0].clone();
    assert_eq!(
        seen.header("accept"),
        Some(&b"application/vnd.api+json"[..])
    );
    assert_eq!(seen.header("host"), Some(&b"api.test"[..]));
}
