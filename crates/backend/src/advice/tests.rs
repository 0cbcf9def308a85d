//! Every cause has its advice, and none repeats a secret.

use std::time::Duration;

use ht_proto::who::WhoError;

use super::*;
use crate::tls::TlsFault;

#[test]
fn failures_name_the_setting_or_the_place_to_look_at() {
    let within = Duration::from_secs(5);
    let timeout = |waiting| Failure::Timeout { within, waiting };
    let status = |status| Failure::Status {
        status,
        retry_after: None,
    };
    for (failure, part) in [
        (Failure::Resolve(String::new()), "host name in backend.url"),
        (Failure::Connect(String::new()), "the API runs"),
        (Failure::Tls(TlsFault::NotTls), "use http:// in backend.url"),
        (Failure::Closed, "use https:// in backend.url"),
        (timeout(Waiting::Connection), "firewalls"),
        (timeout(Waiting::Head), "backend.timeout"),
        (timeout(Waiting::Body), "backend.timeout"),
        (Failure::Busy { within }, "backend.max_in_flight"),
        (status(429), "exempt the gateway from its rate limit"),
        (status(502), "log of the API"),
        (Failure::NotObject, "allowed_rooms"),
        (
            Failure::TooLarge { bytes_max: 1 },
            "backend.answer_bytes_max",
        ),
        (Failure::NoRoom { limit: 1 }, "limits.answer_total_bytes"),
    ] {
        let advice = failure.advice().unwrap_or_default();
        assert!(advice.contains(part), "{failure:?}: {advice}");
        assert!(!advice.ends_with('.'), "{advice}");
    }
    assert_eq!(Failure::Tls(TlsFault::Other(String::new())).advice(), None);
}

#[test]
fn refusals_say_what_to_check() {
    let redirect = |elsewhere| Refusal::Redirect {
        location: String::new(),
        elsewhere,
    };
    for (refusal, part) in [
        (Refusal::Status(400), "ALLOWED_HOSTS"),
        (Refusal::Status(401), "backend.headers"),
        (Refusal::Status(403), "backend.headers"),
        (Refusal::Status(404), "backend.bootstrap"),
        (Refusal::Status(418), "only status 200"),
        (redirect(Elsewhere::Secure), "https://"),
        (redirect(Elsewhere::SamePath), "backend.url"),
        (redirect(Elsewhere::Other), "login page"),
        (Refusal::AllowedRooms, "list of JSON objects"),
        (
            Refusal::InvalidMember(WhoError::View),
            "correct that member",
        ),
    ] {
        let advice = refusal.advice();
        assert!(advice.contains(part), "{refusal:?}: {advice}");
    }
}
