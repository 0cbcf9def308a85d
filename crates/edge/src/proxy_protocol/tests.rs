//! Headers of both versions, complete, truncated and malformed.

use futures_util::FutureExt;
use proptest::prelude::*;

use super::*;

/// The header of a connection with these bytes, and the unread rest.
fn begin(bytes: &[u8]) -> (Result<Source, Broken>, &[u8]) {
    let mut rest = bytes;
    let found = read(&mut rest).now_or_never().expect("bytes are there");
    (found, rest)
}

fn at(text: &str) -> Source {
    Source::At(text.parse().unwrap())
}

fn v2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
    [&SIGNATURE[..], &[command, family], &length, rest].concat()
}

#[test]
fn version_1_reports_the_source() {
    for (line, want) in [
        (
            "PROXY TCP4 192.0.2.7 10.0.0.1 56324 443\r\n",
            Some(at("192.0.2.7")),
        ),
        ("PROXY TCP4 1.1.1.1 1.1.1.1 1 1\r\n", Some(at("1.1.1.1"))),
        (
            "PROXY TCP6 2001:db8::7 ::1 65535 0\r\n",
            Some(at("2001:db8::7")),
        ),
        (
            "PROXY TCP6 ::ffff:192.0.2.7 ::1 1 2\r\n",
            Some(at("192.0.2.7")),
        ),
        ("PROXY UNKNOWN\r\n", Some(Source::Unsaid)),
        (
            "PROXY UNKNOWN ffff:f...f:ffff ffff:f...f:ffff 65535 65535\r\n",
            Some(Source::Unsaid),
        ),
        ("PROXY UNKNOWNS\r\n", None),
        ("PROXY TCP4 192.0.2.7 10.0.0.1 56324\r\n", None),
        ("PROXY TCP4 192.0.2.7 10.0.0.1 1 2 3\r\n", None),
        ("PROXY TCP4 192.0.2.7 10.0.0.1 1 65536\r\n", None),
        ("PROXY TCP4 192.0.2.7 10.0.0.1 1 +2\r\n", None),
        ("PROXY TCP4 192.0.2.7  10.0.0.1 1 2\r\n", None),
        ("PROXY TCP4 192.0.2.7 10.0.0.1 1 2 \r\n", None),
        ("PROXY TCP4 192.0.2.07 10.0.0.1 1 2\r\n", None),
        ("PROXY TCP4 2001:db8::7 ::1 1 2\r\n", None),
        ("PROXY TCP6 192.0.2.7 10.0.0.1 1 2\r\n", None),
        ("PROXY UDP4 192.0.2.7 10.0.0.1 1 2\r\n", None),
        ("PROXY tcp4 192.0.2.7 10.0.0.1 1 2\r\n", None),
        ("proxy TCP4 192.0.2.7 10.0.0.1 1 2\r\n", None),
        ("PROXY TCP4 192.0.2.7 10.0.0.1 1 2\n", None),
    ] {
        let bytes = [line.as_bytes(), b"GET / HTTP/1.1\r\n"].concat();
        let (found, rest) = begin(&bytes);
        assert_eq!(found.as_ref().ok(), want.as_ref(), "{line:?} {found:?}");
        if want.is_some() {
            assert_eq!(rest, b"GET / HTTP/1.1\r\n");
        }
    }
}

#[test]
fn a_line_without_an_end_is_not_read_forever() {
    let line = format!("PROXY UNKNOWN {}", "x".repeat(LINE_BYTES_MAX));
    let (found, rest) = begin(line.as_bytes());
    assert!(matches!(found, Err(Broken::Invalid)), "{found:?}");
    assert_eq!(rest.len(), line.len() - LINE_BYTES_MAX);
    let longest = format!("PROXY UNKNOWN {}\r\n", "x".repeat(LINE_BYTES_MAX - 16));
    assert_eq!(begin(longest.as_bytes()).0.unwrap(), Source::Unsaid);
}

#[test]
fn version_2_reports_the_source() {
    let four = [192, 0, 2, 7, 10, 0, 0, 1, 0xdc, 4, 1, 187];
    let mut six = [0; 36];
    six[..16].copy_from_slice(&"2001:db8::7".parse::<Ipv6Addr>().unwrap().octets());
    let with_more = [&four[..], &[4, 0, 1, 0]].concat();
    for (command, family, rest, want) in [
        (0x21, 0x11, &four[..], Some(at("192.0.2.7"))),
        (0x21, 0x11, &with_more, Some(at("192.0.2.7"))),
        (0x21, 0x21, &six, Some(at("2001:db8::7"))),
        (0x21, 0x31, &[0; 216], Some(Source::Unsaid)),
        (0x21, 0x00, &[], Some(Source::Unsaid)),
        (0x20, 0x00, &[], Some(Source::Unsaid)),
        (0x20, 0x11, &four, Some(Source::Unsaid)),
        (0x21, 0x11, &four[..11], None),
        (0x21, 0x21, &six[..35], None),
        (0x21, 0x12, &four, None),
        (0x21, 0x41, &four, None),
        (0x22, 0x11, &four, None),
        (0x11, 0x11, &four, None),
        (0x00, 0x00, &[], None),
    ] {
        let bytes = [&v2(command, family, rest)[..], b"GET"].concat();
        let (found, left) = begin(&bytes);
        assert_eq!(found.as_ref().ok(), want.as_ref(), "{command:x} {family:x}");
        assert_eq!(left, b"GET");
    }
    let long = v2(0x21, 0x00, &[0; REST_BYTES_MAX + 1]);
    assert!(matches!(begin(&long).0, Err(Broken::TooLong)));
    assert_eq!(
        begin(&v2(0x21, 0, &[0; REST_BYTES_MAX])).0.unwrap(),
        Source::Unsaid
    );
}

#[test]
fn invalid_headers_are_rejected_with_a_reason() {
    assert!(matches!(
        begin(b"GET /ws/ HTTP/1.1\r\n").0,
        Err(Broken::Missing)
    ));
    assert!(matches!(
        begin(b"\r\n\r\n\0\r\nQUIX\n!!").0,
        Err(Broken::Missing)
    ));
}

proptest! {
    #[test]
    fn a_truncated_header_is_never_accepted(address in any::<u128>(), four in any::<bool>(), binary in any::<bool>(), cut in 0usize..120) {
        let v6 = Ipv6Addr::from(address);
        let v4 = Ipv4Addr::from(address as u32);
        let (source, bytes) = match (four, binary) {
            (true, false) => (IpAddr::V4(v4), format!("PROXY TCP4 {v4} {v4} 1 2\r\n").into_bytes()),
            (false, false) => (IpAddr::V6(v6), format!("PROXY TCP6 {v6} {v6} 1 2\r\n").into_bytes()),
            (true, true) => (IpAddr::V4(v4), v2(0x21, 0x11, &[&v4.octets()[..], &[0; 8]].concat())),
            (false, true) => (IpAddr::V6(v6), v2(0x21, 0x21, &[&v6.octets()[..], &[0; 20]].concat())),
        };
        prop_assert_eq!(begin(&bytes).0.unwrap(), Source::At(source.to_canonical()));
        let cut = &bytes[..cut.min(bytes.len() - 1)];
        prop_assert!(matches!(begin(cut).0, Err(Broken::Ended(_))));
    }

    #[test]
    fn arbitrary_bytes_cause_no_panic_and_few_are_read(
        signed in any::<bool>(),
        bytes in prop::collection::vec(any::<u8>(), 0..6_000),
    ) {
        let bytes = if signed { [&SIGNATURE[..], &bytes].concat() } else { [PREFIX, &bytes].concat() };
        let (_, rest) = begin(&bytes);
        prop_assert!(bytes.len() - rest.len() <= SIGNATURE.len() + 4 + REST_BYTES_MAX);
    }
}
