//! Every mistake is reported, with the member that has it.

use super::*;
use crate::room::RoomError;
use crate::who::WhoError;

/// A command by its name and its other members.
fn text(name: &str, members: &str) -> String {
    format!(r#"{{"command": "{name}", {members}}}"#)
}

#[track_caller]
fn assert_wrong(member: &str, problem: &CommandProblem, texts: &[String]) {
    for text in texts {
        let error = read(text).expect_err(text);
        assert_eq!(error.problem, *problem, "{text}");
        assert_eq!(
            error.member.as_deref().unwrap_or_default(),
            member,
            "{text}"
        );
    }
}

#[test]
fn a_member_that_the_command_does_not_have_is_a_mistake() {
    for (name, members, member, problem) in [
        (
            "disconnect",
            r#""user": 7, "lable": "x""#,
            "lable",
            CommandProblem::Unknown,
        ),
        (
            "disconnect",
            r#""User": 7"#,
            "User",
            CommandProblem::Unknown,
        ),
        (
            "disconnect",
            r#""user": 7, "user": 8"#,
            "user",
            CommandProblem::Repeated,
        ),
        (
            "disconnect",
            r#""user": 7, "\u0075ser": 7"#,
            "user",
            CommandProblem::Repeated,
        ),
        ("deny", r#""user": 7"#, "command", CommandProblem::Name),
        (
            "Disconnect",
            r#""user": 7"#,
            "command",
            CommandProblem::Name,
        ),
    ] {
        assert_wrong(member, &problem, &[text(name, members)]);
    }
    let without = [r#"{"user": 7}"#, r#"{"command": 1, "user": 7}"#].map(str::to_owned);
    assert_wrong("command", &CommandProblem::Name, &without);
    for (name, own) in [
        (Name::Invalidate, &["within"][..]),
        (
            Name::Permit,
            &["allowed_rooms", "labels", "view", "expires_in"],
        ),
        (Name::Unsubscribe, &["from"]),
        (Name::Disconnect, &["come_back", "reason", "issued_before"]),
    ] {
        for (member, value) in [
            ("within", "1"),
            ("allowed_rooms", "[]"),
            ("labels", "[]"),
            ("view", "\"a\""),
            ("expires_in", "1"),
            ("from", "[{}]"),
            ("come_back", "\"soon\""),
            ("reason", "\"a\""),
            ("issued_before", "1"),
        ] {
            let needed = match name {
                Name::Permit if member != "allowed_rooms" => r#""user": 7, "allowed_rooms": []"#,
                Name::Unsubscribe if member != "from" => r#""user": 7, "from": [{}]"#,
                Name::Invalidate | Name::Permit | Name::Unsubscribe | Name::Disconnect => {
                    r#""user": 7"#
                }
            };
            let text = text(name.as_str(), &format!(r#"{needed}, "{member}": {value}"#));
            if own.contains(&member) {
                read(&text).expect(&text);
            } else {
                assert_wrong(member, &CommandProblem::Misplaced(name), &[text]);
            }
        }
    }
}

#[test]
fn a_selector_selects_something_or_is_a_mistake() {
    let many: Vec<_> = (0..1_001).map(|n| format!("\"{n}\"")).collect();
    let many = format!("[{}]", many.join(","));
    let long = format!("\"{}\"", "x".repeat(129));
    for (member, problem, values) in [
        (
            "everyone",
            CommandProblem::NotEveryone,
            &["false", "1", "null"][..],
        ),
        (
            "user",
            CommandProblem::User,
            &["null", "\"\"", "[7]", "{}", "true"],
        ),
        ("session", CommandProblem::Session, &["null", "\"\"", "7"]),
        (
            "connection",
            CommandProblem::Connection,
            &["null", "\"67e55044\"", "7"],
        ),
        (
            "label",
            CommandProblem::Label,
            &["null", "\"\"", "[]", "[\"a\", \"\"]", "[1]", "7", &long],
        ),
        ("label", CommandProblem::TooManyValues, &[&many]),
        (
            "room",
            CommandProblem::Room(RoomError::NotAnObject),
            &["null", "[]", "\"a\""],
        ),
        (
            "room",
            CommandProblem::Room(RoomError::Number),
            &[r#"{"a": 1e400}"#],
        ),
    ] {
        let texts = values.iter().flat_map(|value| {
            let alone = text("invalidate", &format!(r#""{member}": {value}"#));
            let other = match member {
                "session" => "user",
                _ => "session",
            };
            let beside = text(
                "invalidate",
                &format!(r#""{other}": "x", "{member}": {value}"#),
            );
            [alone, beside]
        });
        assert_wrong(member, &problem, &texts.collect::<Vec<_>>());
    }
    let none = [
        r#"{"command": "disconnect"}"#.to_owned(),
        text("disconnect", r#""dry_run": true"#),
    ];
    assert_wrong("", &CommandProblem::NoSelector, &none);
    let all = [r#""user": 7"#, r#""label": "a""#, r#""room": {}"#];
    let all = all.map(|other| text("disconnect", &format!(r#""everyone": true, {other}"#)));
    assert_wrong("everyone", &CommandProblem::EveryoneAndOthers, &all);
    for (member, selector) in [
        ("label", r#""label": "a""#),
        ("label", r#""label": "a", "user": 7"#),
        ("room", r#""room": {}, "user": 7"#),
        ("everyone", r#""everyone": true"#),
    ] {
        let text = text("permit", &format!(r#"{selector}, "allowed_rooms": []"#));
        assert_wrong(member, &CommandProblem::PermitsMany, &[text]);
    }
}

#[test]
fn every_value_is_checked() {
    let long = format!("\"{}\"", "x".repeat(33));
    for (name, member, problem, values) in [
        (
            "invalidate",
            "within",
            CommandProblem::Within,
            &["-1", "1.5", "\"1\"", "3600001"][..],
        ),
        (
            "permit",
            "allowed_rooms",
            CommandProblem::AllowedRooms,
            &["{}", "[1]", "null"],
        ),
        (
            "permit",
            "allowed_rooms",
            CommandProblem::Room(RoomError::Number),
            &[r#"[{"a": 1}, {"a": 1e400}]"#],
        ),
        (
            "unsubscribe",
            "from",
            CommandProblem::From,
            &["[]", "{}", "null"],
        ),
        (
            "unsubscribe",
            "from",
            CommandProblem::TooManyRooms(3),
            &["[{}, {}, {}, {}]"],
        ),
        (
            "unsubscribe",
            "from[1]",
            CommandProblem::Room(RoomError::NotAnObject),
            &["[{}, 1]"],
        ),
        (
            "disconnect",
            "come_back",
            CommandProblem::ComeBack,
            &["\"now\"", "null", "4003"],
        ),
        (
            "disconnect",
            "reason",
            CommandProblem::Reason,
            &["\"\"", "\"Signed out\"", &long],
        ),
        (
            "disconnect",
            "issued_before",
            CommandProblem::IssuedBefore,
            &["-1", "\"x\"", "9007199254740992"],
        ),
        (
            "disconnect",
            "confirm",
            CommandProblem::Confirm,
            &["\"here\"", "true", "null"],
        ),
        (
            "disconnect",
            "dry_run",
            CommandProblem::DryRun,
            &["1", "null"],
        ),
        (
            "disconnect",
            "id",
            CommandProblem::Id,
            &["\"\"", "{}", "true"],
        ),
        (
            "disconnect",
            "rooms",
            CommandProblem::Rooms,
            &["[{}]", "null"],
        ),
        ("disconnect", "data", CommandProblem::Data, &["1", "[]"]),
    ] {
        let key = member.trim_end_matches("[1]");
        let texts = values.iter();
        let texts = texts.map(|value| text(name, &format!(r#""user": 7, "{key}": {value}"#)));
        assert_wrong(member, &problem, &texts.collect::<Vec<_>>());
    }
    assert_wrong(
        "from",
        &CommandProblem::From,
        &[text("unsubscribe", r#""user": 7"#)],
    );
    assert_wrong(
        "allowed_rooms",
        &CommandProblem::AllowedRooms,
        &[text("permit", r#""user": 7"#)],
    );
    for (member, error) in [
        (r#""labels": "a""#, WhoError::Labels),
        (r#""view": 1"#, WhoError::View),
        (r#""expires_in": 0"#, WhoError::ExpiresIn),
    ] {
        let text = text(
            "permit",
            &format!(r#""user": 7, "allowed_rooms": [], {member}"#),
        );
        assert_wrong(error.member(), &CommandProblem::Who(error), &[text]);
    }
    for text in ["", "{", "[]", "7", "null"] {
        let problem = read(text).expect_err(text).problem;
        assert!(matches!(problem, CommandProblem::NotAnObject(_)), "{text}");
    }
}

#[test]
fn a_long_name_is_not_repeated_as_a_whole() {
    let text = format!(r#"{{"{}": 1}}"#, "ä".repeat(1_000));
    let member = read(&text).unwrap_err().member.unwrap();
    assert_eq!(member, "ä".repeat(32));
}
