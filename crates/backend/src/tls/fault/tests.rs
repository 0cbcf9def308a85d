//! Tables of errors and the sentences about them. Those of real handshakes are in `tests/it`.

use std::sync::Arc;

use rustls::pki_types::ServerName;

use super::*;

const DAY: u64 = 24 * 60 * 60;

/// The beginning of 2001.
const AT: u64 = 978_307_200;

fn sentence(error: CertificateError) -> String {
    TlsFault::from(&Error::InvalidCertificate(error)).to_string()
}

#[test]
fn dates_are_written_as_dates() {
    let time = UnixTime::since_unix_epoch;
    let seconds = std::time::Duration::from_secs;
    for (after, expected) in [
        (0, "2001-01-01 00:00:00 UTC, less than a day ago"),
        (DAY, "2001-01-01 00:00:00 UTC, a day ago"),
        (40 * DAY, "2001-01-01 00:00:00 UTC, 40 days ago"),
    ] {
        let expired = CertificateError::ExpiredContext {
            time: time(seconds(AT + after)),
            not_after: time(seconds(AT)),
        };
        let expected = format!("the certificate expired on {expected}");
        assert_eq!(sentence(expired), expected);
    }
    let early = CertificateError::NotValidYetContext {
        time: time(seconds(AT)),
        not_before: time(seconds(AT + DAY)),
    };
    let text = sentence(early);
    assert!(
        text.contains("not valid before 2001-01-02 00:00:00 UTC"),
        "{text}"
    );
    assert!(
        text.contains("clock says 2001-01-01 00:00:00 UTC"),
        "{text}"
    );
    for beyond in [u64::MAX, 1 << 62] {
        let never = Some(beyond);
        assert_eq!(Utc(&never).to_string(), "an unknown date");
    }
}

#[test]
fn names_of_a_certificate_are_shown_as_they_are_and_not_all() {
    let presented = |names: &[&str]| {
        sentence(CertificateError::NotValidForNameContext {
            expected: ServerName::try_from("api.test").unwrap(),
            presented: names.iter().map(|&name| name.to_owned()).collect(),
        })
    };
    let start = "the server's certificate is not for api.test, but ";
    assert_eq!(
        presented(&["DnsName(\"*.other.test\")", "IpAddress(10.0.0.1)"]),
        format!("{start}for *.other.test, 10.0.0.1")
    );
    assert_eq!(
        presented(&[]),
        format!(
            "{start}names no host at all: it has no subjectAltName, and the common name does not \
             count"
        )
    );
    let many = presented(&["DnsName(\"x.test\")"; 12]);
    assert!(many.ends_with("x.test and 2 more"), "{many}");
    assert!(!presented(&["DnsName(\"\u{1b}[2J\")"]).contains('\u{1b}'));
}

#[test]
fn every_advice_names_the_settings_of_its_context() {
    let terms = Terms {
        url: "--url",
        secure: "wss://",
        plain: "ws://",
        ca_file: "--ca",
    };
    let host = || "api.test".to_owned();
    for (fault, part) in [
        (
            TlsFault::SelfSigned { host: host() },
            "set --ca to the PEM file",
        ),
        (
            TlsFault::AuthorityAsServer {
                host: host(),
                is_self_signed: true,
            },
            "as --ca: `openssl req -x509",
        ),
        (
            TlsFault::UnknownAuthority {
                issuer: None,
                is_alone: true,
            },
            "fullchain.pem",
        ),
        (TlsFault::NotTls, "use ws:// in --url"),
        (TlsFault::TlsOnly, "use wss:// in --url"),
        (TlsFault::Closed, "ws:// in --url"),
        (
            TlsFault::WrongHost {
                host: "::1".to_owned(),
                names: Vec::new(),
            },
            "name of the certificate in --url, or issue one with IP:::1",
        ),
    ] {
        let advice = fault.advice(terms);
        assert!(advice.contains(part), "{part:?} in {advice:?}");
        assert!(!advice.contains("backend."), "{advice}");
        assert!(!advice.ends_with('.'), "{advice}");
    }
}

#[test]
fn unforeseen_errors_are_one_bounded_line() {
    let odd = std::io::Error::other("x\r\ny".repeat(1_000));
    let fault = TlsFault::from(&Error::InvalidCertificate(CertificateError::Other(
        OtherError(Arc::new(odd)),
    )));
    let text = fault.to_string();
    assert_eq!(text.chars().count(), TEXT_MAX);
    assert!(!text.contains(['\r', '\n']), "{text}");
    assert_eq!(fault.advice(Terms::BACKEND), "");
}
