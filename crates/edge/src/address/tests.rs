//! Tables of sources and headers.

use proptest::prelude::*;

use super::*;

const PUBLIC: &str = "203.0.113.9";
const PROXY: &str = "10.0.0.1";

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn arrival(peer: &str) -> Arrival {
    Arrival {
        peer: match peer {
            "unix" => Peer::Unix,
            text => Peer::Ip(ip(text)),
        },
        told: false,
    }
}

/// The client's address, and the `X-Real-IP` that is forwarded to the backend.
fn found(
    arrival: Arrival,
    lines: &[(&'static str, &str)],
    x_forwarded_for: bool,
) -> (Found, Option<String>) {
    let mut headers = HeaderMap::new();
    for (name, value) in lines {
        let value = HeaderValue::from_bytes(value.as_bytes()).unwrap();
        headers.append(*name, value);
    }
    let trusted = TrustedProxies::default();
    let found = find(&mut headers, arrival, &trusted, x_forwarded_for);
    assert!(headers.get_all(X_REAL_IP).iter().count() <= 1);
    let told = headers.get(X_REAL_IP);
    (found, told.map(|value| value.to_str().unwrap().to_owned()))
}

#[test]
fn private_networks_are_trusted_by_default_and_the_internet_is_not() {
    let trusted = TrustedProxies::default();
    for (peer, is_trusted) in [
        ("unix", true),
        ("127.0.0.1", true),
        ("127.8.9.10", true),
        ("10.255.0.1", true),
        ("172.16.0.1", true),
        ("172.32.0.1", false),
        ("192.168.3.4", true),
        ("192.169.3.4", false),
        ("169.254.1.1", true),
        ("::1", true),
        ("fd12::1", true),
        ("fe80::1", true),
        ("fec0::1", false),
        ("2001:db8::1", false),
        ("203.0.113.9", false),
    ] {
        assert_eq!(trusted.trust(arrival(peer).peer), is_trusted, "{peer}");
    }
    // As a dual-stack socket reports it.
    let mapped: SocketAddr = "[::ffff:10.0.0.1]:99".parse().unwrap();
    assert!(trusted.trust(mapped.into()));
}

#[test]
fn the_address_of_a_trusted_proxy_is_used_and_forwarded() {
    for (line, address, told) in [
        ("192.0.2.7", "192.0.2.7", "192.0.2.7"),
        ("2001:db8::7", "2001:db8::7", "2001:db8::7"),
        ("2001:DB8:0:0::7", "2001:db8::7", "2001:DB8:0:0::7"),
        ("192.0.2.7:4711", "192.0.2.7", "192.0.2.7"),
        ("[2001:db8::7]:4711", "2001:db8::7", "2001:db8::7"),
        ("[2001:db8::7]", "2001:db8::7", "2001:db8::7"),
        ("10.1.2.3", "10.1.2.3", "10.1.2.3"),
    ] {
        for proxy in [PROXY, "unix", "::1"] {
            let lines = [("x-real-ip", line), ("x-forwarded-for", "192.0.2.8")];
            let (found, header) = found(arrival(proxy), &lines, true);
            assert_eq!(found.client, Client::At(ip(address)), "{line}");
            assert_eq!(header.as_deref(), Some(told), "{line}");
            assert!(found.from_proxy && !found.dropped && !found.malformed);
        }
    }
}

#[test]
fn without_an_address_from_a_trusted_proxy_the_client_is_unknown() {
    for lines in [
        &[][..],
        &[("x-real-ip", "")],
        &[("x-forwarded-for", "192.0.2.8")],
    ] {
        for proxy in [PROXY, "unix"] {
            let (found, header) = found(arrival(proxy), lines, false);
            assert_eq!(found.client, Client::Behind(arrival(proxy).peer));
            assert_eq!(header.unwrap_or_default(), "");
            assert!(!found.malformed);
        }
    }
}

#[test]
fn invalid_addresses_are_dropped() {
    for lines in [
        &[("x-real-ip", "unknown")][..],
        &[("x-real-ip", "_hidden")],
        &[("x-real-ip", "192.0.2.7, 192.0.2.8")],
        &[("x-real-ip", "192.0.2")],
        &[("x-real-ip", "192.0.2.07")],
        &[("x-real-ip", "fe80::1%eth0")],
        &[("x-real-ip", "\u{661}92.0.2.7")],
        &[("x-real-ip", "192.0.2.7"), ("x-real-ip", "192.0.2.8")],
        &[("x-real-ip", ""), ("x-real-ip", "192.0.2.8")],
    ] {
        let (found, header) = found(arrival(PROXY), lines, false);
        assert_eq!(
            found.client,
            Client::Behind(arrival(PROXY).peer),
            "{lines:?}"
        );
        assert_eq!(header, None, "{lines:?}");
        assert!(found.malformed, "{lines:?}");
    }
}

#[test]
fn headers_of_untrusted_peers_are_dropped() {
    for lines in [
        &[][..],
        &[("x-real-ip", "192.0.2.7")],
        &[("x-real-ip", "10.0.0.1"), ("x-real-ip", "")],
        &[("x-forwarded-for", "192.0.2.7")],
        &[("forwarded", "for=192.0.2.7")],
    ] {
        let (found, header) = found(arrival(PUBLIC), lines, true);
        assert_eq!(found.client, Client::At(ip(PUBLIC)));
        assert_eq!(header.as_deref(), Some(PUBLIC));
        assert_eq!(found.dropped, !lines.is_empty());
        assert!(!found.from_proxy);
    }
}

#[test]
fn the_rightmost_untrusted_address_is_the_clients() {
    for (lines, want) in [
        (&["192.0.2.7"][..], Ok("192.0.2.7")),
        (&["198.51.100.1, 192.0.2.7"], Ok("192.0.2.7")),
        (&["198.51.100.1,192.0.2.7 , 10.0.0.2"], Ok("192.0.2.7")),
        (
            &["198.51.100.1", "192.0.2.7, 10.0.0.2", "10.0.0.3"],
            Ok("192.0.2.7"),
        ),
        (&["192.0.2.7:80,, [fd00::1]:99,"], Ok("192.0.2.7")),
        (&["::ffff:192.0.2.7"], Ok("192.0.2.7")),
        (&["10.0.0.9, 10.0.0.2"], Ok("10.0.0.9")),
        (&["rubbish, 192.0.2.7"], Ok("192.0.2.7")),
        (&["192.0.2.7, rubbish"], Err(())),
        (&["192.0.2.7, unknown, 10.0.0.2"], Err(())),
    ] {
        let lines: Vec<_> = lines
            .iter()
            .map(|line| ("x-forwarded-for", *line))
            .collect();
        let (found, header) = found(arrival(PROXY), &lines, true);
        match want {
            Ok(want) => {
                assert_eq!(found.client, Client::At(ip(want)), "{lines:?}");
                assert_eq!(header.as_deref(), Some(want));
            }
            Err(()) => {
                assert_eq!(
                    found.client,
                    Client::Behind(arrival(PROXY).peer),
                    "{lines:?}"
                );
                assert_eq!((header, found.malformed), (None, true));
            }
        }
    }
}

#[test]
fn an_address_from_the_proxy_protocol_may_be_a_proxy_itself() {
    let told = |peer| Arrival {
        told: true,
        ..arrival(peer)
    };
    let lines = [("x-real-ip", "192.0.2.7")];
    let (outside, header) = found(told(PUBLIC), &lines, false);
    assert_eq!(outside.client, Client::At(ip(PUBLIC)));
    assert_eq!(header.as_deref(), Some(PUBLIC));
    let (inside, header) = found(told(PROXY), &[], false);
    assert_eq!(inside.client, Client::At(ip(PROXY)));
    assert_eq!(header.as_deref(), Some(PROXY));
    let (through, header) = found(told(PROXY), &lines, false);
    assert_eq!(through.client, Client::At(ip("192.0.2.7")));
    assert_eq!(header.as_deref(), Some("192.0.2.7"));
}

#[test]
fn trusted_entries_are_networks_addresses_or_unix() {
    for (text, network) in [
        ("10.0.0.0/8", Some("10.0.0.0/8")),
        ("10.1.2.3/8", Some("10.0.0.0/8")),
        ("192.0.2.1", Some("192.0.2.1/32")),
        ("2001:db8::/32", Some("2001:db8::/32")),
        ("::1", Some("::1/128")),
        ("0.0.0.0/0", Some("0.0.0.0/0")),
        ("::ffff:10.0.0.0/104", None),
        ("10.0.0.0/33", None),
        ("10.0.0", None),
        ("localhost", None),
        ("", None),
    ] {
        let want = network
            .map(|network| Trusted::Network(network.parse().unwrap()))
            .ok_or(TrustedError);
        assert_eq!(text.parse(), want, "{text}");
    }
    assert_eq!("unix".parse(), Ok(Trusted::Unix));
}

proptest! {
    #[test]
    fn the_forwarded_x_real_ip_is_an_address_or_absent(
        peer in prop::sample::select(vec![PUBLIC, PROXY, "unix"]),
        real in prop::collection::vec("[0-9a-f.:\\[\\], ]{0,20}|192\\.0\\.2\\.[0-9]|[!-~\u{80}-\u{ff}]{0,9}", 0..3),
        forwarded in prop::collection::vec("([0-9.:]{0,9}|10\\.0\\.0\\.1|192\\.0\\.2\\.[0-9])(,[ 0-9.]{0,9}){0,3}", 0..3),
        ask in any::<bool>(),
    ) {
        let real = real.iter().map(|line| ("x-real-ip", line.as_str()));
        let forwarded = forwarded.iter().map(|line| ("x-forwarded-for", line.as_str()));
        let lines: Vec<_> = real.chain(forwarded).collect();
        let (found, told) = found(arrival(peer), &lines, ask);
        match (found.client, told) {
            (Client::At(address), Some(told)) => {
                prop_assert_eq!(told.trim().parse::<IpAddr>().unwrap().to_canonical(), address);
            }
            (Client::Behind(_), told) => prop_assert_eq!(told.unwrap_or_default(), ""),
            (Client::At(_), None) => prop_assert!(false, "the backend is not told"),
        }
        if peer == PUBLIC {
            prop_assert_eq!(found.client, Client::At(ip(PUBLIC)));
        }
    }
}
