//! New tokens of clients whose permissions expire.

use ht_proto::token::Token;

use super::commands::{A, GRANTS, listener, user, who};
use super::hold::{NARROW, invalidate_all, narrowed, world};
use super::kit::*;
use crate::recheck::{Recheck, RecheckOutcome, RecheckReason, Rechecked};

fn authenticate(token: &str) -> String {
    format!(r#"{{"type": "authenticate", "token": "{token}", "requestId": 12}}"#)
}

fn answer(world: &mut World, client: &Client, outcome: RecheckOutcome) {
    let asked_at = world.outside.position;
    world.shard.rechecked(std::sync::Arc::new(Rechecked {
        tenant: None,
        keys: vec![client.id],
        asked_at,
        has_token: true,
        outcome,
    }));
    world.deliver();
}

fn failure(code: &str) -> String {
    format!(r#"{{"requestId": 12, "code": "error", "message": "{code}"}}"#)
}

/// A client that authenticated with a token which holds for 100 s.
fn token_client(world: &mut World) -> Client {
    world.has_token = true;
    world.expires_in = Some(100_000);
    listener(world, &[A])
}

fn request(client: &Client, token: &str) -> Request {
    Request::Recheck(Recheck {
        key: client.id,
        not_before: 0,
        is_held: false,
        reason: RecheckReason::Token,
        token: Token::new(token).unwrap(),
    })
}

#[test]
fn client_is_asked_for_a_new_token_at_four_fifths_and_continues_with_it() {
    let mut world = world();
    let mut client = token_client(&mut world);
    world.pass(79_000);
    assert!(client.hears().is_empty());
    world.pass(1_000);
    assert_eq!(
        client.hears(),
        [r#"{"type": "authenticate", "within": 20000}"#]
    );
    assert!(world.requests().is_empty(), "the API is not asked");
    assert!(world.ask(&mut client, &authenticate("new")).is_empty());
    assert_eq!(world.requests(), [request(&client, "new")]);
    world.expires_in = Some(900_500);
    let rights = world.rights(NARROW);
    answer(&mut world, &client, RecheckOutcome::Permitted(rights));
    let heard = client.hears();
    assert_eq!(
        heard[0],
        r#"{"code": "success", "requestId": 12, "expires_in": 900}"#
    );
    assert_eq!(heard.last(), Some(&narrowed()));
    assert_eq!(world.outside.tokens, [(client.id, true)]);
    // The next term.
    world.idle_for_ever();
    world.pass(700_000);
    assert!(client.hears().is_empty() && world.is_open(&client));
    world.pass(21_000);
    assert_eq!(client.hears().len(), 1);
    // No token in time.
    world.pass(180_000);
    assert_eq!(client.hears(), ["close 4301 authenticate"]);
    world.check_accounts();
}

#[test]
fn token_that_is_not_used_changes_nothing() {
    type Outcome = fn(&mut World) -> RecheckOutcome;
    let cases: [(Outcome, &str); 4] = [
        (|_| RecheckOutcome::Refused, "token-refused"),
        (|_| RecheckOutcome::Keep, "backend-unavailable"),
        (
            |_| RecheckOutcome::Unreachable { within: 1 },
            "backend-unavailable",
        ),
        (
            |world| {
                world.who = who("8", &[]);
                RecheckOutcome::Permitted(world.rights(NARROW))
            },
            "other-user",
        ),
    ];
    for (outcome, code) in cases {
        let mut world = world();
        let mut client = token_client(&mut world);
        world.say(&client, &authenticate("new"));
        // One at a time.
        assert_eq!(
            world.ask(&mut client, &authenticate("newer")),
            [failure("backend-unavailable")]
        );
        assert_eq!(world.requests(), [request(&client, "new")]);
        let outcome = outcome(&mut world);
        answer(&mut world, &client, outcome);
        assert_eq!(client.hears(), [failure(code)]);
        assert_eq!(world.outside.tokens, [(client.id, false)]);
        world.publish(A, "1");
        world.deliver();
        assert_eq!(client.hears(), [publish("1", "1")]);
        // An answer that nobody awaits.
        answer(&mut world, &client, RecheckOutcome::Refused);
        assert!(client.hears().is_empty());
        world.check_accounts();
    }
}

#[test]
fn malformed_tokens_and_clients_without_one_get_an_error() {
    let mut world = world();
    let mut client = token_client(&mut world);
    for token in ["", "a\\u0000b"] {
        assert_eq!(
            world.ask(&mut client, &authenticate(token)),
            [failure("token-refused")]
        );
    }
    let nameless = r#"{"type": "authenticate", "token": "new"}"#;
    let heard = world.ask(&mut client, nameless);
    assert_eq!(heard, [error("no-request-id")]);
    world.has_token = false;
    let mut other = listener(&mut world, &[]);
    let heard = world.ask(&mut other, &authenticate("new"));
    assert_eq!(heard, [failure("message-type-not-allowed")]);
    assert!(world.requests().is_empty());
}

#[test]
fn token_of_a_held_client_is_used_after_the_answer_and_one_from_before_a_command_is_not_final() {
    let mut world = world();
    let mut client = token_client(&mut world);
    invalidate_all(&mut world);
    world.requests();
    world.say(&client, &authenticate("new"));
    assert!(world.requests().is_empty(), "it waits");
    world.permitted(&[&client], GRANTS);
    world.deliver();
    world.resume(0);
    assert_eq!(world.requests(), [request(&client, "new")]);
    client.hears();
    // A command between the call and its answer.
    let asked_at = world.outside.position;
    world.command(user("7"), permit(NARROW));
    world.deliver();
    let wide = world.rights(GRANTS);
    let rechecked = Rechecked {
        tenant: None,
        keys: vec![client.id],
        asked_at,
        has_token: true,
        outcome: RecheckOutcome::Permitted(wide),
    };
    client.hears();
    world.shard.rechecked(std::sync::Arc::new(rechecked));
    world.deliver();
    assert_eq!(
        client.hears(),
        [r#"{"code": "success", "requestId": 12, "expires_in": 100}"#]
    );
    assert!(matches!(
        world.requests()[..],
        [Request::Recheck(Recheck {
            token: None,
            is_held: false,
            ..
        })]
    ));
    assert_eq!(
        world.ask(&mut client, &subscribe(A, "3")).len(),
        1,
        "by the grants of the command"
    );
    assert_eq!(world.stats().subscriptions, 0);
    // A client that ends cancels what is pending.
    world.say(&client, &authenticate("another"));
    world.requests();
    world.gone(&client);
    assert_eq!(world.requests(), [Request::Cancel(client.id)]);
    world.check_accounts();
}
