//! Tables of responses.

use std::time::Duration;

use bytes::Bytes;
use ht_proto::who::WhoError;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue};
use proptest::prelude::*;

use super::{answer, check_content_type};
use crate::answer::{Answer, Failure, Permissions, Refusal};

fn path(path: &str) -> Vec<String> {
    path.split_whitespace().map(str::to_owned).collect()
}

fn rooms(json: &str) -> Result<String, String> {
    match answer(&Bytes::copy_from_slice(json.as_bytes()), &[]) {
        Answer::Admitted(a) => Ok(String::from_utf8(a.allowed_rooms.to_vec()).unwrap()),
        Answer::Refused(Refusal::AllowedRooms) => Err("refused".into()),
        Answer::Refused(other) => Err(other.to_string()),
        Answer::Failed(failure) => Err(failure.kind().as_str().into()),
    }
}

#[test]
fn content_types() {
    let check = |value: &[u8]| {
        let value = HeaderValue::from_bytes(value).unwrap();
        check_content_type(&[(CONTENT_TYPE, value)].into_iter().collect())
    };
    for good in [
        "application/json",
        "Application/JSON; charset=utf-8",
        "application/json;charset=latin-1",
        " application/json ",
        "application/vnd.api+json",
        "application/problem+JSON ; x=y",
    ] {
        assert_eq!(check(good.as_bytes()), Ok(()), "{good}");
    }
    for bad in [
        "text/html",
        "text/json",
        "application/jsonp",
        "application/x-json",
        "application/+json",
        "application/json+x",
        "application",
        "json",
        "",
        "caf\u{e9}",
    ] {
        let got = check(bad.as_bytes());
        assert!(matches!(got, Err(Failure::ContentType(Some(_)))), "{bad}");
    }
    assert_eq!(
        check_content_type(&HeaderMap::new()),
        Err(Failure::ContentType(None))
    );
}

#[test]
fn rooms_are_passed_on_unchanged() {
    let table = [
        (
            r#"{"allowed_rooms": [ {"b":1.0, "a" : "\u0041"} ]}"#,
            r#"[ {"b":1.0, "a" : "\u0041"} ]"#,
        ),
        (r#"{"allowed_rooms":[]}"#, "[]"),
        (r#"{"allowed_rooms": ["x", 1, null]}"#, r#"["x", 1, null]"#),
        ("{}", "[]"),
        (" \n{\"user\": {\"allowed_rooms\": [1]}}\r\n ", "[]"),
        (
            r#"{"allowed_rooms": [1], "x": 2, "allowed_rooms": [2]}"#,
            "[2]",
        ),
        (r#"{"allowed_rooms": null, "allowed_rooms": [2]}"#, "[2]"),
        (r#"{"allowed\u005frooms": [3]}"#, "[3]"),
        (r#"{"": 1, "allowed_rooms": [4]}"#, "[4]"),
    ];
    for (json, want) in table {
        assert_eq!(rooms(json).as_deref(), Ok(want), "{json}");
    }
}

#[test]
fn a_byte_order_mark_is_skipped() {
    let found = rooms("\u{feff}{\"allowed_rooms\": [{\"a\": 1}]}");
    assert_eq!(found.as_deref(), Ok("[{\"a\": 1}]"));
    let utf16 = Bytes::from_static(b"\xff\xfe{\0}\0");
    let found = answer(&utf16, &[]);
    assert!(matches!(found, Answer::Failed(Failure::NotUtf8)));
}

#[test]
fn rooms_other_than_a_list_are_refused() {
    for value in [
        "null",
        "1",
        "-1",
        "true",
        "false",
        r#""*""#,
        "{}",
        r#"{"a": []}"#,
    ] {
        let json = format!(r#"{{"allowed_rooms": {value}}}"#);
        assert_eq!(rooms(&json).as_deref(), Err(&"refused".into()), "{json}");
    }
    let last = r#"{"allowed_rooms": [1], "allowed_rooms": null}"#;
    assert_eq!(rooms(last).as_deref(), Err(&"refused".into()));
}

#[test]
fn anything_but_an_object_fails() {
    for (json, kind) in [
        ("", "not-json"),
        ("<html>", "not-json"),
        ("{", "not-json"),
        (r#"{"allowed_rooms": [}"#, "not-json"),
        (r#"{"allowed_rooms": [NaN]}"#, "not-json"),
        (r#"{"allowed_rooms": []} x"#, "not-json"),
        (r#"{"allowed_rooms": []}{}"#, "not-json"),
        ("{'allowed_rooms': []}", "not-json"),
        ("[1,", "not-json"),
        ("[]", "not-object"),
        ("null", "not-object"),
        ("1", "not-object"),
        ("true", "not-object"),
        (r#""secret""#, "not-object"),
        ("\u{feff}\u{feff}{}", "not-json"),
    ] {
        assert_eq!(rooms(json).as_deref(), Err(&kind.into()), "{json}");
    }
    let bytes = Bytes::from_static(b"{\"allowed_rooms\": [\"\xff\"]}");
    assert!(matches!(
        answer(&bytes, &[]),
        Answer::Failed(Failure::NotUtf8)
    ));
}

#[test]
fn deep_nesting_is_harmless() {
    let deep = format!(
        r#"{{"x": {0}{1}, "allowed_rooms": {0}{1}}}"#,
        "[".repeat(99_999),
        "]".repeat(99_999)
    );
    assert_eq!(rooms(&deep).unwrap().len(), 2 * 99_999);
    let deep = "[".repeat(99_999);
    assert_eq!(rooms(&deep).as_deref(), Err(&"not-json".into()));
}

#[test]
fn rooms_are_a_slice_of_the_body() {
    let body = Bytes::from_static(br#"{"allowed_rooms": [1]}"#);
    let Answer::Admitted(admission) = answer(&body, &[]) else {
        panic!("admitted");
    };
    assert_eq!(admission.allowed_rooms.as_ptr(), body[18..].as_ptr());
}

#[test]
fn the_users_id_is_found_by_its_path() {
    let table = [
        (
            r#"{"user": {"data": {"id": 42}}}"#,
            "user data id",
            Some("42"),
        ),
        (
            r#"{"user": {"data": {"id": "a\u0062"}}}"#,
            "user data id",
            Some("ab"),
        ),
        (r#"{"id": -1.50}"#, "id", Some("-1.5")),
        (r#"{"id": 7.0}"#, "id", Some("7")),
        (r#"{"id": 70e-1}"#, "id", Some("7")),
        (r#"{"id": "7.0"}"#, "id", Some("7.0")),
        (
            r#"{"id": 12345678901234567891}"#,
            "id",
            Some("12345678901234567891"),
        ),
        (r#"{"id": 1e99999999999999999999}"#, "id", None),
        (r#"{"id": 1, "id": 2}"#, "id", Some("2")),
        (r#"{"a": {"id": 1, "id": 2}}"#, "a id", Some("2")),
        (r#"{"allowed_rooms": [], "id": 1}"#, "id", Some("1")),
        (r#"{"": 7}"#, "", None),
        (r#"{"id": 1}"#, "user id", None),
        (r#"{"user": [1]}"#, "user id", None),
        (r#"{"user": null}"#, "user id", None),
        (r#"{"id": null}"#, "id", None),
        (r#"{"id": true}"#, "id", None),
        (r#"{"id": {"x": 1}}"#, "id", None),
        (r#"{"id": [1]}"#, "id", None),
        (r#"{"id": 1}"#, "", None),
        (r#"{"id": "\ud800"}"#, "id", None),
    ];
    for (json, at, want) in table {
        let body = Bytes::copy_from_slice(json.as_bytes());
        let Answer::Admitted(admission) = answer(&body, &path(at)) else {
            panic!("admitted: {json}");
        };
        assert_eq!(admission.user_id.as_deref(), want, "{json}");
    }
}

fn permissions(json: &str, at: &str) -> Result<Permissions, Refusal> {
    match answer(&Bytes::copy_from_slice(json.as_bytes()), &path(at)) {
        Answer::Admitted(permissions) => Ok(permissions),
        Answer::Refused(refusal) => Err(refusal),
        Answer::Failed(failure) => panic!("{json}: {failure}"),
    }
}

#[test]
fn an_answer_may_identify_the_client() {
    let found = permissions(
        r#"{"view": "staff", "labels": ["b", "a", "b"], "allowed_rooms": [1], "x": {"view": 1},
            "expires_in": 900, "user": {"id": 7}, "session": "s-9f2a"}"#,
        "user id",
    );
    let found = found.unwrap();
    assert_eq!(found.allowed_rooms, "[1]");
    assert_eq!(found.user_id.as_deref(), Some("7"));
    assert_eq!(found.session.as_deref(), Some("s-9f2a"));
    assert_eq!(*found.labels, ["a".into(), "b".into()]);
    assert_eq!(found.view.as_deref(), Some("staff"));
    assert_eq!(found.expires_in, Some(Duration::from_secs(900)));
    assert_eq!(found.ignored, []);
    assert_eq!(found.bytes(), 3 + 1 + 6 + 2 + 5);

    let null = r#"{"session": null, "labels": null, "view": null, "expires_in": null}"#;
    for silent in ["{}", null] {
        let found = permissions(silent, "user id").unwrap();
        assert!(found.session.is_none() && found.labels.is_empty() && found.user_id.is_none());
        assert!(found.view.is_none() && found.expires_in.is_none() && found.ignored.is_empty());
    }
}

#[test]
fn a_wrong_session_or_labels_count_as_absent() {
    for (json, ignored) in [
        (
            r#"{"session": 7, "labels": ["a"]}"#,
            &[WhoError::Session][..],
        ),
        (r#"{"session": "s", "labels": "a"}"#, &[WhoError::Labels]),
        (
            r#"{"labels": [1], "session": {}}"#,
            &[WhoError::Session, WhoError::Labels],
        ),
        (r#"{"session": 7, "session": "s"}"#, &[]),
    ] {
        let found = permissions(json, "").unwrap();
        assert_eq!(found.ignored, ignored, "{json}");
        assert_eq!(
            found.session.is_none(),
            ignored.contains(&WhoError::Session),
            "{json}"
        );
    }
}

#[test]
fn a_wrong_view_or_expires_in_refuses() {
    for (json, error) in [
        (r#"{"view": ["staff"]}"#, WhoError::View),
        (r#"{"view": ""}"#, WhoError::View),
        (r#"{"expires_in": "900"}"#, WhoError::ExpiresIn),
        (r#"{"expires_in": 0, "view": "staff"}"#, WhoError::ExpiresIn),
        (r#"{"expires_in": 0, "view": 1}"#, WhoError::View),
    ] {
        let refusal = permissions(json, "").unwrap_err();
        assert_eq!(refusal, Refusal::InvalidMember(error), "{json}");
        assert!(
            refusal.to_string().ends_with(&error.to_string()),
            "{refusal}"
        );
    }
}

#[test]
fn the_path_may_begin_with_a_member_that_is_read_for_itself() {
    let found = permissions(r#"{"session": {"user": 7}}"#, "session user").unwrap();
    assert_eq!(found.user_id.as_deref(), Some("7"));
    assert_eq!(found.ignored, [WhoError::Session]);
    let found = permissions(r#"{"session": "s-1"}"#, "session").unwrap();
    assert_eq!(found.user_id, found.session);
}

#[test]
fn the_rooms_themselves_may_be_on_the_path() {
    let body = Bytes::from_static(br#"{"allowed_rooms": [1]}"#);
    let Answer::Admitted(admission) = answer(&body, &path("allowed_rooms")) else {
        panic!("admitted");
    };
    assert_eq!(admission.allowed_rooms, "[1]");
    assert_eq!(admission.user_id, None);
}

proptest! {
    #[test]
    fn any_bytes_end_in_an_answer(body: Vec<u8>) {
        let _ = answer(&body.into(), &path("user id"));
    }

    #[test]
    fn agrees_with_a_full_parse(text in r#"[\{\}\[\]":,0-9a null\\-]{0,24}"#) {
        let full = serde_json::from_str::<serde_json::Value>(&text);
        let ours = rooms(&text);
        match full {
            Ok(serde_json::Value::Object(_)) => prop_assert_eq!(ours.as_deref(), Ok("[]")),
            Ok(_) => prop_assert_eq!(ours.as_deref(), Err(&"not-object".to_owned())),
            // The members that are not read are checked for syntax only.
            Err(_) => prop_assert!(ours.is_err() || ours.as_deref() == Ok("[]")),
        }
    }
}
