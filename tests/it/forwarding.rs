//! Parts of a client's request that reach the backend: exactly the named ones, byte for byte.

use std::io::Write;

use crate::support::{Gateway, Handshake, StubBackend, http};

/// The headers of the only request, by name.
#[track_caller]
fn headers(backend: &StubBackend) -> Vec<(String, String)> {
    let seen = backend.wait_for(1).remove(0);
    let mut headers: Vec<_> = seen
        .headers
        .iter()
        .map(|(name, value)| (name.clone(), String::from_utf8_lossy(value).into_owned()))
        .collect();
    headers.sort();
    headers
}

/// The host and port that a backend's address names.
fn host(backend: &StubBackend) -> &str {
    backend.url.split('/').nth(2).expect("an authority")
}

#[test]
fn exactly_the_named_headers_are_forwarded() {
    let backend = StubBackend::open();
    let gateway = Gateway::start(&backend);
    Handshake::new(&gateway)
        .path("/ws/?token=a%2Fb+c&token=second&x=y")
        .header(
            "Cookie",
            "sessionid=s; csrftoken=2; csrftoken=\"a=b==\"; x=%20",
        )
        .header("User-Agent", "Browser/1.0 (test)")
        .header("X-Real-IP", "192.0.2.7")
        .header("Authorization", "Basic Zm9vOmJhcg==")
        .header("X-CSRFToken", "forged")
        .header("Origin", "https://gateway.test")
        .header("Referer", "https://referer.example")
        .header("Accept", "text/html")
        .header("Accept-Language", "nl")
        .header("Accept-Encoding", "br")
        .header("X-Forwarded-For", "192.0.2.8")
        .connect();
    let wanted = [
        ("accept", "application/json"),
        ("accept-encoding", "gzip, deflate"),
        ("authorization", "Token a/b c"),
        (
            "cookie",
            "sessionid=s; csrftoken=2; csrftoken=\"a=b==\"; x=%20",
        ),
        ("host", host(&backend)),
        ("user-agent", "Browser/1.0 (test)"),
        ("x-csrftoken", "a=b=="),
        ("x-real-ip", "192.0.2.7"),
    ];
    let wanted = wanted.map(|(name, value)| (name.to_owned(), value.to_owned()));
    assert_eq!(headers(&backend), wanted);
    let seen = &backend.requests()[0];
    assert_eq!((&*seen.method, &*seen.target), ("GET", "/api/bootstrap/"));
    assert!(seen.body.is_empty());
}

#[test]
fn a_source_without_a_value_sends_no_header() {
    let backend = StubBackend::open();
    let gateway = Gateway::start(&backend);
    Handshake::new(&gateway)
        .path("/ws/?token=&other=1")
        .header("Cookie", "")
        .header("User-Agent", "")
        .header("X-Real-IP", "")
        .connect();
    let names: Vec<_> = headers(&backend)
        .into_iter()
        .map(|(name, _)| name)
        .collect();
    assert_eq!(names, ["accept", "accept-encoding", "host"]);
}

#[test]
fn cookies_pass_byte_for_byte() {
    let backend = StubBackend::open();
    let gateway = Gateway::start(&backend);
    let cookie = "a=\u{e9}\u{4e16}; csrftoken=t\u{e9}; b=1 2\t3".as_bytes();
    Handshake::new(&gateway).header("Cookie", cookie).connect();
    let seen = backend.wait_for(1).remove(0);
    assert_eq!(seen.header_bytes("cookie"), Some(cookie));
    assert_eq!(seen.header_bytes("x-csrftoken"), Some("t\u{e9}".as_bytes()));
}

#[test]
fn custom_headers_come_from_every_source() {
    let backend = StubBackend::open();
    let gateway = Gateway::with(&backend)
        .file(
            r#"
            [backend.headers]
            X-Session-Token = { param = "session_token" }
            X-Tenant = { header = "X-Forwarded-Host" }
            X-Session = { cookie = "sessionid" }
            Referer = { fixed = "https://app.example" }
            Host = { fixed = "app.example" }
            Authorization = { param = "jwt", format = "Bearer {}" }
            X-Absent = { param = "absent" }
            X-Real-IP = false
            "#,
        )
        .start();
    Handshake::new(&gateway)
        .path("/ws/?session_token=t%20x&jwt=a.b&token=t")
        .header("X-Forwarded-Host", "tenant.example")
        .header("Cookie", "sessionid=\"s\"")
        .header("X-Real-IP", "192.0.2.7")
        .header("Referer", "https://other.example")
        .connect();
    let seen = backend.wait_for(1).remove(0);
    for (name, value) in [
        ("x-session-token", Some("t x")),
        ("x-tenant", Some("tenant.example")),
        ("x-session", Some("s")),
        ("referer", Some("https://app.example")),
        ("host", Some("app.example")),
        ("authorization", Some("Bearer a.b")),
        ("x-absent", None),
        ("x-real-ip", None),
        ("cookie", Some("sessionid=\"s\"")),
    ] {
        assert_eq!(seen.header(name), value, "{name}");
    }
}

#[test]
fn request_splitting_is_answered_with_400() {
    let backend = StubBackend::open();
    let gateway = Gateway::with(&backend)
        .file("[backend.headers]\nX-Custom = { param = \"custom\" }\n")
        .start();
    for handshake in [
        Handshake::new(&gateway).path("/ws/?token=a%0d%0aX-Forged:%201"),
        Handshake::new(&gateway).path("/ws/?token=a%0a"),
        Handshake::new(&gateway).path("/ws/?token=%00"),
        Handshake::new(&gateway).path("/ws/?token=%09"),
        Handshake::new(&gateway).path("/ws/?custom=%0D"),
        Handshake::new(&gateway).header("Cookie", b"a=\0"),
        Handshake::new(&gateway).header("User-Agent", b"a\rb"),
        // The octal escapes of a quoted cookie are undone for the token.
        Handshake::new(&gateway).header("Cookie", "csrftoken=\"a\\015\\012X-Forged: 1\""),
        Handshake::new(&gateway).header("Host", "other.test"),
        Handshake::new(&gateway).without("Host"),
        Handshake::new(&gateway).header("Content-Length", "5"),
        Handshake::new(&gateway).header("Transfer-Encoding", "chunked"),
    ] {
        assert_eq!(handshake.refused().status, 400, "{handshake:?}");
    }
    assert!(backend.requests().is_empty());
    Handshake::new(&gateway).path("/ws/?token=fine").connect();
}

#[test]
fn no_control_character_reaches_the_backend_by_any_way() {
    let backend = StubBackend::open();
    let gateway = Gateway::start(&backend);
    for byte in (0..0x20).chain([0x7f]).filter(|byte| *byte != b'\t') {
        let value = [b"a", &[byte][..], b"b"].concat();
        let octal = format!("csrftoken=\"a\\{byte:03o}b\"");
        for handshake in [
            Handshake::new(&gateway).path(&format!("/ws/?token=a%{byte:02x}b")),
            Handshake::new(&gateway).header("Cookie", octal),
            Handshake::new(&gateway).header("Cookie", &value),
            Handshake::new(&gateway).header("User-Agent", &value),
            Handshake::new(&gateway).header("X-Real-IP", &value),
            Handshake::new(&gateway).header(&format!("X-{}", char::from(byte)), "x"),
            Handshake::new(&gateway).path(&format!("/ws/?token=a{}b", char::from(byte))),
        ] {
            let (answer, _) = handshake.send().answer();
            assert_eq!(answer.status, 400, "{byte:#x} {handshake:?}");
        }
    }
    assert!(backend.requests().is_empty());
}

#[test]
fn lines_that_two_readers_could_read_in_two_ways_are_refused() {
    let backend = StubBackend::open();
    let gateway = Gateway::start(&backend);
    let good = String::from_utf8(Handshake::new(&gateway).bytes()).unwrap();
    for bad in [
        "X-Real-IP : 192.0.2.7\r\n",
        " X-Real-IP: 192.0.2.7\r\n",
        "User-Agent: a\r\n X-Real-IP: 192.0.2.7\r\n",
        "Content-Length: 5\r\nContent-Length: 6\r\n",
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        "Content-Length: +5\r\n",
        "no colon\r\n",
        ": empty\r\n",
    ] {
        let mut stream = gateway.public().connect().unwrap();
        let request = good.replacen("\r\n", &format!("\r\n{bad}"), 1);
        stream.write_all(request.as_bytes()).unwrap();
        let (answer, _) = http::read_answer(&mut stream).expect("an answer");
        assert_eq!(answer.status, 400, "{bad:?}");
    }
    assert!(backend.requests().is_empty());
}

#[test]
fn values_too_long_to_forward_are_answered_with_400() {
    let backend = StubBackend::open();
    let gateway = Gateway::with(&backend)
        .set("HT_LIMITS__HEAD_BYTES", "256KiB")
        .start();
    let token = "x".repeat(40_000);
    for handshake in [
        Handshake::new(&gateway).path(&format!("/ws/?token={token}")),
        Handshake::new(&gateway).header("User-Agent", &token),
        Handshake::new(&gateway).header("Cookie", format!("csrftoken={token}")),
        Handshake::new(&gateway)
            .header("Cookie", &token)
            .header("Cookie", &token),
    ] {
        let answer = handshake.refused();
        assert_eq!(answer.status, 400, "{}", handshake.line);
        assert!(answer.text().contains("longer than"), "{answer:?}");
    }
    assert!(backend.requests().is_empty());
}
