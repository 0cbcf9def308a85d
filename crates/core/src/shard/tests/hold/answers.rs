//! The answer of the API about a held session, and commands until then.

use super::*;

#[test]
fn answer_decides_how_a_held_session_ends_or_continues() {
    type Outcome = fn(&World) -> RecheckOutcome;
    let cases: [(Outcome, &[&str]); 4] = [
        (|_| RecheckOutcome::Refused, &["close 4002 permissions"]),
        (
            |_| RecheckOutcome::Unreachable { within: 700 },
            &["close 1013 backend 700"],
        ),
        (
            |_| RecheckOutcome::Keep,
            &[r#"{"type": "publish", "data": 1, "requestId": 1}"#],
        ),
        (
            |world| {
                RecheckOutcome::Permitted(Rights {
                    who: who("8", &[]),
                    ..world.rights(GRANTS)
                })
            },
            &["close 4002 permissions"],
        ),
    ];
    for (outcome, expected) in cases {
        let mut world = world();
        let mut client = listener(&mut world, &[A]);
        let position = invalidate_all(&mut world);
        world.publish(A, "1");
        let outcome = outcome(&world);
        world.rechecked(&[&client], position, outcome);
        world.deliver();
        assert_eq!(client.hears(), expected);
        assert_eq!(world.stats().connections_held, 0);
        assert_eq!(world.stats().undelivered, 0);
        world.check_accounts();
    }
}

#[test]
fn answer_to_an_earlier_call_changes_nothing() {
    let mut world = world();
    let mut client = listener(&mut world, &[A]);
    let first = invalidate_all(&mut world);
    let second = invalidate_all(&mut world);
    assert_eq!(
        world.requests(),
        [recheck(&client, first), recheck(&client, second)]
    );
    world.publish(A, "1");
    let wide = world.rights(GRANTS);
    world.rechecked(&[&client], first, RecheckOutcome::Permitted(wide));
    world.rechecked(&[&client], first, RecheckOutcome::Refused);
    world.deliver();
    assert!(client.hears().is_empty());
    let rights = world.rights(r#"[{"a": 1}]"#);
    world.rechecked(&[&client], second, RecheckOutcome::Permitted(rights));
    world.deliver();
    assert_eq!(client.hears()[1..], [publish("1", "1")]);
    // It is not held any more.
    world.rechecked(&[&client], u64::MAX, RecheckOutcome::Refused);
    world.deliver();
    assert!(world.is_open(&client));
}

#[test]
fn command_in_between_that_selects_by_the_new_permissions_voids_the_answer() {
    let project = r#"{"project": 3}"#;
    let room = Room::parse(project, RoomLimits::TRUSTED).unwrap();
    let members = || Selection {
        rooms: vec![room.clone()],
        ..Selection::default()
    };
    let mut world = world();
    let mut client = listener(&mut world, &[A]);
    let first = invalidate_all(&mut world);
    let joined = |world: &World| world.rights(r#"[{"a": 1}, {"project": 3}]"#);
    let rights = joined(&world);
    // The API removed the client from the project after it had answered.
    let second = world.command(members(), invalidate());
    world.rechecked(&[&client], first, RecheckOutcome::Permitted(rights));
    world.publish(A, "1");
    world.deliver();
    assert!(client.hears().is_empty());
    assert_eq!(
        world.requests(),
        [recheck(&client, first), recheck(&client, second)]
    );
    let rights = joined(&world);
    let third = world.command(members(), signed_out());
    world.rechecked(&[&client], second, RecheckOutcome::Permitted(rights));
    world.deliver();
    assert!(!world.is_open(&client), "disconnected at {third}");
    world.check_accounts();
}

#[test]
fn commands_have_their_turn_when_a_held_session_was_sent_everything_before_them() {
    let mut world = world();
    let mut client = listener(&mut world, &[A, B]);
    invalidate_all(&mut world);
    world.publish(A, "1");
    world.command(user("7"), unsubscribe_from(&format!("[{A}]")));
    world.publish(A, "2");
    world.publish(B, "3");
    world.deliver();
    assert!(client.hears().is_empty());
    world.permitted(&[&client], r#"[{"a": 1}, {"a": 2}]"#);
    world.deliver();
    assert_eq!(
        client.hears()[1..],
        [
            publish("1", "1"),
            lost("1", r#"{"a": 1}"#, "command"),
            publish("3", "2")
        ]
    );
    // A permit is an answer.
    let position = invalidate_all(&mut world);
    world.publish(B, "4");
    world.command(user("7"), permit(NARROW));
    world.publish(B, "5");
    world.deliver();
    assert_eq!(
        client.hears(),
        [narrowed(), publish("4", "2"), publish("5", "2")]
    );
    assert_eq!(
        world.requests()[1..],
        [recheck(&client, position), Request::Cancel(client.id)]
    );
    // A disconnect does not wait.
    invalidate_all(&mut world);
    world.publish(B, "6");
    world.command(user("7"), signed_out());
    world.deliver();
    assert_eq!(client.hears(), ["close 4303 signed-out"]);
}
