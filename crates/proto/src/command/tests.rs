//! Tables of commands.

mod mistakes;
mod written;

use super::*;
use crate::close::Advice;
use crate::room::RoomLimits;

const ROOMS_MAX: usize = 3;

const ID: &str = "67e55044-10b1-426f-9247-bb680e5fe0c8";

fn read(text: &str) -> Result<Command, CommandError> {
    let body = Bytes::copy_from_slice(text.as_bytes());
    Command::read(&body, std::str::from_utf8(&body).unwrap(), ROOMS_MAX)
}

fn room(text: &str) -> Room {
    Room::parse(text, RoomLimits::TRUSTED).unwrap()
}

fn those(criteria: Criteria) -> Selector {
    Selector::Those(Box::new(criteria))
}

fn of_user(user: &str) -> Selector {
    those(Criteria {
        user: Some(user.into()),
        ..Criteria::default()
    })
}

#[test]
fn each_command_is_read() {
    for (text, action) in [
        (
            r#"{"command": "invalidate", "user": 7}"#,
            Action::Invalidate { within_ms: 0 },
        ),
        (
            r#"{"command": "invalidate", "user": "7", "within": 60000}"#,
            Action::Invalidate { within_ms: 60_000 },
        ),
        (
            r#"{"command": "permit", "user": 7, "allowed_rooms": []}"#,
            Action::Permit(Box::new(Permit {
                allowed_rooms: GrantList::parse("[]").unwrap(),
                labels: Box::default(),
                view: None,
                expires_in: None,
            })),
        ),
        (
            r#"{"command": "permit", "user": 7, "allowed_rooms": [{"a": 1.50}], "labels": ["b", "a"],
                "view": "staff", "expires_in": 900}"#,
            Action::Permit(Box::new(Permit {
                allowed_rooms: GrantList::parse(r#"[{"a": 1.50}]"#).unwrap(),
                labels: ["a".into(), "b".into()].into(),
                view: Some("staff".into()),
                expires_in: Some(Duration::from_secs(900)),
            })),
        ),
        (
            r#"{"command": "unsubscribe", "user": 7, "from": [{"a": "*"}, {"b": 1}]}"#,
            Action::Unsubscribe {
                from: vec![room(r#"{"a": "*"}"#), room(r#"{"b": 1}"#)],
            },
        ),
        (
            r#"{"command": "disconnect", "user": 7}"#,
            Action::Disconnect(Disconnect {
                come_back: ComeBack::SignIn,
                reason: "ended".into(),
                issued_before: None,
            }),
        ),
        (
            r#"{"command": "disconnect", "user": 7, "come_back": "never", "reason": "signed-out",
                "issued_before": 1764403200}"#,
            Action::Disconnect(Disconnect {
                come_back: ComeBack::Never,
                reason: "signed-out".into(),
                issued_before: Some(1_764_403_200),
            }),
        ),
    ] {
        let command = read(text).unwrap();
        assert_eq!(command.action, action, "{text}");
        assert_eq!(command.selector, of_user("7"), "{text}");
        let word = command.action.name().as_str();
        assert!(text.contains(&format!(r#""command": "{word}""#)), "{text}");
        assert_eq!((command.id, command.dry_run), (None, false));
        assert_eq!(command.confirm, Confirm::Here);
    }
}

#[test]
fn every_selector_is_read() {
    let label = |labels: &[&str]| Criteria {
        labels: labels.iter().map(|&label| label.into()).collect(),
        ..Criteria::default()
    };
    let session = Some("s-9f2a".into());
    let connection = Uuid::try_parse(ID).ok();
    for (members, selector) in [
        (r#""everyone": true"#, Selector::Everyone),
        (r#""user": -1.50"#, of_user("-1.5")),
        (r#""user": 7.0"#, of_user("7")),
        (r#""user": 70e-1"#, of_user("7")),
        (r#""user": "7.0""#, of_user("7.0")),
        (
            r#""user": 12345678901234567891"#,
            of_user("12345678901234567891"),
        ),
        (r#""user": "\u0061""#, of_user("a")),
        (
            r#""session": "s-9f2a""#,
            those(Criteria {
                session: session.clone(),
                ..Criteria::default()
            }),
        ),
        (
            r#""connection": "67e55044-10b1-426f-9247-bb680e5fe0c8""#,
            those(Criteria {
                connection,
                ..Criteria::default()
            }),
        ),
        (r#""label": "staff""#, those(label(&["staff"]))),
        (r#""label": ["b", "a", "b"]"#, those(label(&["a", "b"]))),
        (
            r#""room": {"target": "project", "id": "*"}"#,
            those(Criteria {
                room: Some(room(r#"{"id": "*", "target": "project"}"#)),
                ..Criteria::default()
            }),
        ),
        (
            r#""user": 7, "label": "a", "session": "s-9f2a""#,
            those(Criteria {
                user: Some("7".into()),
                session,
                ..label(&["a"])
            }),
        ),
    ] {
        let text = format!(r#"{{"command": "invalidate", {members}}}"#);
        assert_eq!(read(&text).unwrap().selector, selector, "{text}");
    }
}

#[test]
fn members_common_to_all_commands_are_read() {
    let text = r#"{"command": "disconnect", "everyone": true, "confirm": "everywhere",
        "dry_run": true, "id": 81, "rooms": [ ], "data": null}"#;
    let command = read(text).unwrap();
    assert_eq!(command.confirm, Confirm::Everywhere);
    assert!(command.dry_run);
    assert_eq!(command.id.as_deref(), Some("81"));
    assert_eq!(command.text, text, "byte for byte");
}

#[test]
fn close_code_corresponds_to_the_word() {
    for (come_back, code, advice) in [
        (ComeBack::Soon, 4003, Advice::Soon),
        (ComeBack::Later, 4103, Advice::Later),
        (ComeBack::SignIn, 4303, Advice::SignIn),
        (ComeBack::Never, 4203, Advice::Never),
    ] {
        assert_eq!(come_back.code(), code);
        assert_eq!(Advice::of(code), advice);
    }
}

#[test]
fn on_a_broker_it_is_also_a_trigger_without_rooms() {
    for (text, written) in [
        (
            r#" {"command": "invalidate", "user": 7 } "#,
            r#"{"command": "invalidate", "user": 7, "rooms": [], "data": null}"#,
        ),
        (
            r#"{"data":null,"command":"invalidate","user":7}"#,
            r#"{"data":null,"command":"invalidate","user":7, "rooms": []}"#,
        ),
        (
            r#"{"rooms":[],"command":"invalidate","user":7}"#,
            r#"{"rooms":[],"command":"invalidate","user":7, "data": null}"#,
        ),
    ] {
        assert_eq!(read(text).unwrap().text, written);
    }
}
