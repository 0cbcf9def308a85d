//! The address of a client, as it is forwarded to the backend.

use std::io::{Read, Write};

use crate::support::stream::Address;
use crate::support::{Client, Gateway, Handshake, StubBackend, frame, http};

/// A loopback address without a proxy is the only "other" address that a test can connect from.
const NOBODY: &str = "trusted_proxies = []\n";

/// The `X-Real-IP` of the backend's last request.
#[track_caller]
fn told(backend: &StubBackend, requests: usize) -> Option<String> {
    let seen = backend.wait_for(requests).remove(requests - 1);
    seen.header("x-real-ip").map(str::to_owned)
}

#[test]
fn a_trusted_proxy_is_accepted_over_every_kind_of_socket() {
    let backend = StubBackend::open();
    let mut asked = 0;
    for listen in ["127.0.0.1:0", "[::1]:0", "unix"] {
        let builder = Gateway::with(&backend);
        let path = builder.folder().join("public.sock");
        let listen = match listen {
            "unix" => format!("unix:{}", path.display()),
            tcp => tcp.to_owned(),
        };
        if listen.starts_with("[") && std::net::TcpListener::bind(&listen).is_err() {
            continue;
        }
        let gateway = builder.set("HT_LISTEN", &listen).start();
        for (lines, want) in [
            (&["192.0.2.7"][..], Some("192.0.2.7")),
            (&["2001:db8::7"], Some("2001:db8::7")),
            (&["192.0.2.7:4711"], Some("192.0.2.7")),
            (&[], None),
            (&[""], None),
            // An invalid address, and one that may be of two clients, is ignored.
            (&["unknown"], None),
            (&["192.0.2.7", "192.0.2.8"], None),
        ] {
            let mut handshake = Handshake::new(&gateway).header("X-Forwarded-For", "198.51.100.1");
            for line in lines {
                handshake = handshake.header("X-Real-IP", line);
            }
            handshake.connect();
            asked += 1;
            assert_eq!(told(&backend, asked).as_deref(), want, "{listen} {lines:?}");
        }
        gateway.wait_for_line("ignoring an invalid X-Real-IP");
    }
}

#[test]
fn nobody_else_can_say_who_he_is() {
    let backend = StubBackend::open();
    let gateway = Gateway::with(&backend).file(NOBODY).start();
    let forged = Handshake::new(&gateway)
        .header("X-Real-IP", "192.0.2.7")
        .header("X-Real-IP", "10.0.0.1")
        .header("X-Forwarded-For", "192.0.2.8");
    forged.connect();
    assert_eq!(told(&backend, 1).as_deref(), Some("127.0.0.1"));
    Handshake::new(&gateway).connect();
    assert_eq!(told(&backend, 2).as_deref(), Some("127.0.0.1"));
    // Nor for the requested host.
    let page = Handshake::new(&gateway)
        .header("X-Forwarded-Host", "evil.example")
        .header("Origin", "https://evil.example");
    assert_eq!(page.refused().status, 403);
}

#[test]
fn a_client_of_an_untrusted_socket_has_no_address() {
    let backend = StubBackend::open();
    let builder = Gateway::with(&backend).file(NOBODY);
    let path = builder.folder().join("public.sock");
    let gateway = builder
        .set("HT_LISTEN", format!("unix:{}", path.display()))
        .start();
    let forged = Handshake::new(&gateway).header("X-Real-IP", "192.0.2.7");
    forged.connect();
    assert_eq!(told(&backend, 1), None);
}

#[test]
fn forwarded_addresses_are_used_if_configured() {
    let backend = StubBackend::open();
    let gateway = Gateway::with(&backend)
        .file("x_forwarded_for = true\n")
        .start();
    for (asked, (line, real, want)) in (1..).zip([
        ("198.51.100.1, 192.0.2.7, 10.0.0.1", None, Some("192.0.2.7")),
        ("192.0.2.7", Some("192.0.2.9"), Some("192.0.2.9")),
        ("10.0.0.2, 10.0.0.1", None, Some("10.0.0.2")),
        ("192.0.2.7, rubbish", None, None),
    ]) {
        let mut handshake = Handshake::new(&gateway).header("X-Forwarded-For", line);
        if let Some(real) = real {
            handshake = handshake.header("X-Real-IP", real);
        }
        handshake.connect();
        assert_eq!(told(&backend, asked).as_deref(), want, "{line}");
    }
}

/// Sends a PROXY header and a handshake in one piece.
fn through(gateway: &Gateway, header: &[u8], handshake: &Handshake) -> Vec<u8> {
    let mut stream = gateway.public().connect().expect("a connection");
    let bytes = [header, &handshake.bytes()].concat();
    // An untrusted peer may get the error while it sends.
    let _ = stream.write_all(&bytes);
    match http::read_answer(&mut stream) {
        Ok((answer, _)) => answer.status.to_string().into_bytes(),
        Err(_) => {
            let mut rest = Vec::new();
            let _ = stream.read_to_end(&mut rest);
            rest
        }
    }
}

/// A header of version 2 for TCP over IPv4.
fn binary(command: u8, source: [u8; 4]) -> Vec<u8> {
    let mut header = b"\r\n\r\n\0\r\nQUIT\n".to_vec();
    header.extend([command, 0x11, 0, 12]);
    header.extend(source);
    header.extend([10, 0, 0, 1, 0xdc, 4, 1, 0xbb]);
    header
}

#[test]
fn the_proxy_protocol_sets_the_address_in_both_versions() {
    let backend = StubBackend::open();
    let gateway = Gateway::with(&backend)
        .set("HT_PROXY_PROTOCOL", true)
        .set("HT_LIMITS__HEAD_TIMEOUT", "1s")
        .start();
    let good = Handshake::new(&gateway);
    let forged = good.clone().header("X-Real-IP", "192.0.2.99");
    for (asked, (header, handshake, want)) in (1..).zip([
        (
            &b"PROXY TCP4 192.0.2.7 10.0.0.1 5 80\r\n"[..],
            &good,
            Some("192.0.2.7"),
        ),
        (
            b"PROXY TCP6 2001:db8::7 ::1 5 80\r\n",
            &good,
            Some("2001:db8::7"),
        ),
        (
            b"PROXY TCP4 192.0.2.7 10.0.0.1 5 80\r\n",
            &forged,
            Some("192.0.2.7"),
        ),
        (&binary(0x21, [192, 0, 2, 8]), &good, Some("192.0.2.8")),
        // The balancer connects for itself: it is a trusted proxy like any other.
        (&binary(0x20, [192, 0, 2, 8]), &good, None),
        (b"PROXY UNKNOWN\r\n", &forged, Some("192.0.2.99")),
        // A proxy behind the balancer, which names the client it forwards for.
        (
            b"PROXY TCP4 10.0.0.7 10.0.0.1 5 80\r\n",
            &forged,
            Some("192.0.2.99"),
        ),
        (
            b"PROXY TCP4 10.0.0.7 10.0.0.1 5 80\r\n",
            &good,
            Some("10.0.0.7"),
        ),
    ]) {
        let status = through(&gateway, header, handshake);
        assert_eq!(status, b"101", "{}", header.escape_ascii());
        assert_eq!(
            told(&backend, asked).as_deref(),
            want,
            "{}",
            header.escape_ascii()
        );
    }
    let asked = backend.requests().len();
    for broken in [
        &b""[..],
        b"PROXY TCP4 192.0.2.7\r\n",
        b"PROXY TCP4 192.0.2.7 10.0.0.1 5 80 \r\n",
        &binary(0x31, [192, 0, 2, 8]),
    ] {
        let answer = through(&gateway, broken, &good);
        assert_eq!(answer, b"", "{}", broken.escape_ascii());
    }
    // Nor is a missing header waited for.
    let mut silent = gateway.public().connect().unwrap();
    silent.write_all(b"PROXY TCP4 192.0.2.7").unwrap();
    let mut answer = Vec::new();
    let _ = silent.read_to_end(&mut answer);
    assert!(answer.is_empty());
    assert_eq!(backend.requests().len(), asked);
    let name = "high_templar_handshake_errors_total{reason=\"proxy-protocol\"}";
    gateway.wait_for_metric(name, 5);
    gateway.wait_for_line("or switch proxy_protocol off here");
}

#[test]
fn no_header_of_the_proxy_protocol_is_read_from_anybody_else() {
    let backend = StubBackend::open();
    let gateway = Gateway::with(&backend)
        .file(NOBODY)
        .set("HT_PROXY_PROTOCOL", true)
        .start();
    let good = Handshake::new(&gateway);
    let answer = through(&gateway, b"PROXY TCP4 192.0.2.7 10.0.0.1 5 80\r\n", &good);
    assert!(
        answer == b"400" || answer.is_empty(),
        "{}",
        answer.escape_ascii()
    );
    assert!(backend.requests().is_empty());
    good.connect();
    assert_eq!(told(&backend, 1).as_deref(), Some("127.0.0.1"));
}

#[test]
fn messages_behind_a_proxy_header_and_a_handshake_are_answered() {
    let backend = StubBackend::open();
    let builder = Gateway::with(&backend).set("HT_PROXY_PROTOCOL", true);
    let path = builder.folder().join("public.sock");
    let gateway = builder
        .set("HT_LISTEN", format!("unix:{}", path.display()))
        .start();
    let mut stream = Address::Unix(path).connect().unwrap();
    let ping = crate::support::Frame::new(frame::TEXT, "ping").bytes();
    let all = [
        &binary(0x21, [192, 0, 2, 8])[..],
        &Handshake::new(&gateway).bytes(),
        &ping,
    ]
    .concat();
    stream.write_all(&all).unwrap();
    let mut client: Client = crate::support::client::Asked(stream).open();
    assert_eq!(client.expect_json()["is_authorized"], true);
    assert_eq!(client.expect_text(), "pong");
    assert_eq!(told(&backend, 1).as_deref(), Some("192.0.2.8"));
}
