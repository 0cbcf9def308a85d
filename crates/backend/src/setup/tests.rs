//! Tables of settings.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, Method};

use crate::HttpBackend;
use crate::config::{BackendConfig, GuardConfig, HeaderRule, HeaderSource, HookCall, HookCalls};

fn config(url: &str) -> BackendConfig {
    BackendConfig {
        url: url.into(),
        socket: None,
        bootstrap: "bootstrap/".into(),
        timeout: Duration::from_secs(5),
        user_id_path: Arc::default(),
        headers: BackendConfig::default_headers().into(),
        forward_bytes_max: crate::FORWARD_BYTES_MAX,
        guard: GuardConfig::default(),
        answer_bytes_max: 1000,
        tls_verify: true,
        tls_ca_file: None,
        hooks: HookCalls::default(),
    }
}

fn mistake(config: BackendConfig) -> String {
    HttpBackend::new(config).unwrap_err().to_string()
}

#[test]
fn good_addresses() {
    for url in [
        "http://api.test/",
        "http://api.test:8000/api/",
        "HTTP://api.test/",
        "http://[::1]:8000/",
        "http://127.0.0.1/a/b/",
    ] {
        assert!(HttpBackend::new(config(url)).is_ok(), "{url}");
    }
}

#[test]
fn bad_addresses() {
    for (url, words) in [
        ("", "not an address"),
        ("http://", "not an address"),
        ("api.test", "must start with http"),
        ("/api/", "must start with http"),
        ("ftp://api.test/", "must start with http"),
        ("http://user:secret@api.test/", "user or password"),
        ("http://api.test/api", "end in a slash"),
        ("http://api.test/?a=/", "end in a slash"),
        ("http://api.test/#a/", "end in a slash"),
    ] {
        let text = mistake(config(url));
        assert!(text.contains(words), "{url}: {text}");
        assert!(!text.contains("secret"));
    }
}

#[test]
fn bad_paths() {
    for path in [
        "with space",
        "../admin/",
        "a/../b",
        "a#b",
        "new\r\nline",
        "b\\c",
    ] {
        let mut bootstrap = config("http://api.test/");
        bootstrap.bootstrap = path.into();
        assert!(mistake(bootstrap).contains("cannot be called"), "{path}");
        let mut hook = config("http://api.test/");
        hook.hooks.timeout = Duration::from_secs(1);
        hook.hooks.ping = Some(HookCall {
            method: Method::POST,
            path: path.into(),
        });
        assert!(mistake(hook).contains("cannot be called"), "{path}");
    }
}

#[test]
fn zeros() {
    let mut none = config("http://api.test/");
    none.timeout = Duration::ZERO;
    assert!(mistake(none).contains("backend.timeout"));
    let mut none = config("http://api.test/");
    none.guard.max_in_flight = 0;
    assert!(mistake(none).contains("max_in_flight"));
    let mut none = config("http://api.test/");
    none.answer_bytes_max = 0;
    assert!(mistake(none).contains("answer_bytes_max"));
    let mut none = config("http://api.test/");
    none.hooks.connect = Some(HookCall {
        method: Method::POST,
        path: "x/".into(),
    });
    assert!(mistake(none).contains("hooks"));
}

#[test]
fn sockets_and_authorities() {
    let mut socket = config("https://api.test/");
    socket.socket = Some("/run/api.sock".into());
    assert!(mistake(socket).contains("backend.socket"));
    let mut file = config("https://api.test/");
    file.tls_ca_file = Some("/nonexistent/ca.pem".into());
    assert!(mistake(file).contains("/nonexistent/ca.pem"));
    let mut empty = config("https://api.test/");
    empty.tls_ca_file = Some("/dev/null".into());
    assert!(mistake(empty).contains("no certificate"));
}

#[test]
fn headers_that_break_the_framing() {
    let visitor = |name| HeaderSource::Header(HeaderName::from_static(name));
    let fixed = |value: &str| HeaderSource::Fixed(value.into());
    let table = [
        ("content-length", visitor("content-length"), None, false),
        ("transfer-encoding", fixed("chunked"), None, false),
        ("connection", visitor("x"), None, false),
        ("accept-encoding", fixed("br"), None, false),
        ("host", visitor("host"), None, false),
        ("host", fixed("api.test"), None, true),
        ("x-a", fixed("a\r\nb: c"), None, false),
        ("x-a", fixed("a"), Some("no place"), false),
        ("x-a", fixed("a"), Some("{} {}"), false),
        ("x-a", fixed("a"), Some("\n{}"), false),
        ("x-a", fixed("a"), Some("<{}>"), true),
        ("accept-language", visitor("accept-language"), None, true),
    ];
    for (name, source, format, good) in table {
        let mut config = config("http://api.test/");
        let rule = HeaderRule {
            name: HeaderName::from_static(name),
            source: source.clone(),
            format: format.map(str::to_owned),
        };
        config.headers = config.headers.iter().cloned().chain([rule]).collect();
        let got = HttpBackend::new(config);
        assert_eq!(got.is_ok(), good, "{name} {source:?} {format:?}: {got:?}");
    }
}
