//! Tests of the kinds.

use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::config::mistake::WrittenAt;
use crate::config::node::Value;

fn raw(text: &str) -> Node {
    Node {
        place: WrittenAt::Variable("HT_X".to_owned()),
        value: Value::Raw(text.to_owned()),
    }
}

fn text(text: &str) -> Node {
    Node {
        value: Value::Text(text.to_owned()),
        ..raw("")
    }
}

#[test]
fn sizes_come_with_and_without_units() {
    let kind = Size {
        min: 1,
        max: 1 << 40,
    };
    for (written, expected) in [
        ("1048576", Some(1 << 20)),
        ("1_048_576", Some(1 << 20)),
        ("1MiB", Some(1 << 20)),
        ("1 mib", Some(1 << 20)),
        ("64KiB", Some(64 << 10)),
        ("2GiB", Some(2 << 30)),
        ("5kB", Some(5_000)),
        ("5MB", Some(5_000_000)),
        ("7B", Some(7)),
        ("1.5MiB", None),
        ("MiB", None),
        ("-1", None),
        ("0", None),
        ("99999999999999999999999999999999999999GiB", None),
        ("1XB", None),
        ("", None),
    ] {
        assert_eq!(kind.read(&raw(written)).ok(), expected, "{written:?}");
    }
    assert_eq!(kind.read(&text("1MiB")), Ok(1 << 20));
    assert_eq!(kind.read(&text("12")), Err(Wrong::Kind), "a quoted number");
}

#[test]
fn periods_come_in_units_or_as_seconds() {
    let kind = Period {
        min: Duration::ZERO,
        max: Duration::from_secs(86_400),
    };
    for (written, expected) in [
        ("10s", Some(10_000)),
        ("10", Some(10_000)),
        ("0.5", Some(500)),
        ("300ms", Some(300)),
        ("1.5 m", Some(90_000)),
        ("1h", Some(3_600_000)),
        ("1d", Some(86_400_000)),
        ("2d", None),
        ("-1s", None),
        ("s", None),
        ("1e3", None),
        ("1.2.3s", None),
        ("nan", None),
        ("", None),
    ] {
        let expected = expected.map(Duration::from_millis);
        assert_eq!(kind.read(&raw(written)).ok(), expected, "{written:?}");
    }
    for bad in [f64::NAN, f64::INFINITY, -1.0, 1e300] {
        let node = Node {
            value: Value::Float(bad),
            ..raw("")
        };
        assert_eq!(kind.read(&node), Err(Wrong::Kind), "{bad}");
    }
}

#[test]
fn backend_addresses_end_in_a_slash_and_hold_no_credentials() {
    for (written, expected) in [
        ("http://localhost:8000/api/", Ok(true)),
        ("https://api.example.com/", Ok(true)),
        ("http://[::1]:80/", Ok(true)),
        ("", Ok(false)),
        ("http://localhost/api", Err("slash")),
        ("http://user:password@host/", Err("user and password")),
        ("http://user@host/", Err("user and password")),
        ("http://host/?x=1/", Err("? or #")),
        ("ftp://host/", Err("http://")),
        ("/api/", Err("http://")),
        ("http:///api/", Err("not a web address")),
        ("http://ho st/", Err("not a web address")),
    ] {
        match (BaseUrl.read(&text(written)), expected) {
            (Ok(url), Ok(some)) => assert_eq!(url.is_some(), some, "{written:?}"),
            (Err(Wrong::Says(what)), Err(part)) => {
                assert!(what.contains(part), "{written:?}: {what}");
                assert!(!what.contains("password@"), "{what}");
            }
            other => panic!("{written:?}: {other:?}"),
        }
    }
}

#[test]
fn secrets_are_not_repeated_in_messages() {
    for wrong in [
        AmqpUrl.read(&text("amqps:/user:geheim@host")).err(),
        AmqpUrl.read(&text("http://user:geheim@host/")).err(),
        PostgresUrl.read(&text("http://user:geheim@host/")).err(),
        PostgresUrl
            .read(&text("postgres://user:geheim@host/db?geheim=geheim"))
            .err(),
        NatsUrl.read(&text("http://user:geheim@host/")).err(),
        NatsUrl.read(&text("nats://user:geheim@host/geheim")).err(),
        Credentials.read(&text("geheim")).err(),
        RedisUrl.read(&text("http://user:geheim@host/")).err(),
        RedisUrl
            .read(&text("redis://user:geheim@host/geheim"))
            .err(),
        BaseUrl.read(&text("http://user:geheim@host/")).err(),
    ] {
        let Some(Wrong::Says(what)) = wrong else {
            panic!("expected a sentence: {wrong:?}");
        };
        assert!(!what.contains("geheim"), "{what}");
    }
}

#[test]
fn hook_calls_are_a_method_and_a_path() {
    for (written, expected) in [
        (
            "POST user/notify_online/",
            Some(Some("POST user/notify_online/")),
        ),
        ("GET x?y=1", Some(Some("GET x?y=1"))),
        ("", Some(None)),
        ("user/notify_online/", None),
        ("BREW x", None),
        ("POST /x", None),
        ("POST a b", None),
        ("POST x#y", None),
    ] {
        let found = Call.read(&text(written)).ok();
        let shown = found.map(|call| call.map(|call| format!("{} {}", call.method, call.path)));
        assert_eq!(
            shown,
            expected.map(|call| call.map(str::to_owned)),
            "{written:?}"
        );
    }
}

#[test]
fn addresses_are_tcp_or_unix() {
    for (written, expected) in [
        ("0.0.0.0:5000", Some("0.0.0.0:5000")),
        ("[::1]:0", Some("[::1]:0")),
        ("unix:/run/ht.sock", Some("unix:/run/ht.sock")),
        ("unix:", None),
        ("localhost:5000", None),
        ("5000", None),
        (":5000", None),
    ] {
        let found = Address
            .read(&text(written))
            .ok()
            .map(|listen| listen.to_string());
        assert_eq!(found.as_deref(), expected, "{written:?}");
    }
    let long = format!("unix:/{}", "x".repeat(200));
    assert!(matches!(Address.read(&text(&long)), Err(Wrong::Says(_))));
}

#[test]
fn modes_are_octal_text() {
    for (written, expected) in [
        ("0660", Some(0o660)),
        ("777", Some(0o777)),
        ("0888", None),
        ("07777", None),
        ("", None),
    ] {
        assert_eq!(Mode.read(&text(written)).ok(), expected, "{written:?}");
    }
}

proptest! {
    #[test]
    fn what_is_shown_is_read_again(bytes in 1usize..1 << 40, millis in 0u64..100_000_000) {
        let size = Size { min: 1, max: 1 << 40 };
        let shown = size.show(&bytes);
        prop_assert_eq!(size.read(&raw(shown.trim_matches('"'))).ok(), Some(bytes));
        let period = Period { min: Duration::ZERO, max: Duration::from_secs(1_000_000) };
        let value = Duration::from_millis(millis);
        let shown = period.show(&value);
        prop_assert_eq!(period.read(&text(shown.trim_matches('"'))).ok(), Some(value));
    }

    #[test]
    fn no_text_panics(written in ".{0,40}") {
        for node in [raw(&written), text(&written)] {
            let _ = Size { min: 0, max: usize::MAX }.read(&node);
            let _ = Period { min: Duration::ZERO, max: Duration::MAX }.read(&node);
            let _ = BaseUrl.read(&node);
            let _ = AmqpUrl.read(&node);
            let _ = PostgresUrl.read(&node);
            let _ = SchemaName.read(&node);
            let _ = NatsUrl.read(&node);
            let _ = Credentials.read(&node);
            let _ = SubjectName.read(&node);
            let _ = StreamName.read(&node);
            let _ = RedisUrl.read(&node);
            let _ = Address.read(&node);
            let _ = Call.read(&node);
            let _ = Mode.read(&node);
            let _ = Headers.read(&node);
            let _ = Steps.read(&node);
        }
    }
}

#[test]
fn the_path_of_the_websocket_is_a_path_alone() {
    for (written, part) in [
        ("/ws/", ""),
        ("/app/ws", ""),
        ("/", ""),
        ("/app%20a/ws/", ""),
        ("ws/", "expected a path that begins with a slash"),
        ("", "expected a path that begins with a slash"),
        ("/app ws/", "expected a path"),
        ("wss://app.example/ws/", "without the scheme and the host"),
        ("/ws/?token=a", "leave out what begins with ?"),
        ("/app//ws/", "two slashes"),
        ("/health/", "health check"),
    ] {
        let mut mistakes = Mistakes::default();
        let read = UrlPath.take(&raw(written), "websocket_path", &mut mistakes);
        assert_eq!(read.is_some(), part.is_empty(), "{written:?}: {mistakes}");
        assert!(
            mistakes.is_empty() || mistakes.to_string().contains(part),
            "{mistakes}"
        );
    }
}
