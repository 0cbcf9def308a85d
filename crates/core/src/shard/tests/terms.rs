//! Permissions that expire.

use super::commands::{A, B, GRANTS, listener, user, who};
use super::hold::{NARROW, world};
use super::kit::*;
use crate::command::Action;
use crate::recheck::{Recheck, RecheckOutcome, RecheckReason};
use crate::select::Selection;
use crate::shard::{PermissionSettings, SessionKey};

const TERM: u64 = 100_000;

/// The reasons and the flags of the requests since the last call.
pub(super) fn asked(world: &mut World) -> Vec<(SessionKey, RecheckReason, bool)> {
    let requests = world.requests();
    requests
        .into_iter()
        .map(|request| match request {
            Request::Recheck(Recheck {
                key,
                reason,
                is_held,
                ..
            }) => (key, reason, is_held),
            Request::Cancel(_) => panic!("nothing is cancelled"),
        })
        .collect()
}

/// Time passes second by second, and all work is done.
pub(super) fn pass(world: &mut World, ms: u64) {
    for _ in 0..ms / 1_000 {
        world.pass(1_000);
        world.deliver();
    }
}

#[test]
fn permissions_are_renewed_once_in_the_last_fifth_of_their_term_without_a_hold() {
    let mut world = world();
    world.expires_in = Some(TERM);
    let mut clients: Vec<_> = (0..20).map(|_| listener(&mut world, &[A])).collect();
    let begin = world.now;
    pass(&mut world, TERM * 4 / 5 - 1_000);
    assert!(asked(&mut world).is_empty());
    let mut moments = Vec::new();
    let mut keys = Vec::new();
    while world.now < begin + TERM - 1_000 {
        pass(&mut world, 1_000);
        for (key, reason, is_held) in asked(&mut world) {
            assert_eq!((reason, is_held), (RecheckReason::Expiry, false));
            moments.push(world.now - begin);
            keys.push(key);
        }
    }
    moments.dedup();
    assert!(moments.len() > 5, "at random moments: {moments:?}");
    keys.sort();
    keys.dedup();
    assert_eq!(keys.len(), 20, "each once");
    world.publish(A, "1");
    world.deliver();
    // It is applied as a difference, and begins the next term.
    let all: Vec<_> = clients.iter().collect();
    world.permitted(&all, NARROW);
    world.deliver();
    for client in &mut clients {
        let heard = client.hears();
        assert_eq!(heard.len(), 3, "{heard:?}");
        assert_eq!(heard[0], publish("1", "1"));
    }
    let answered = world.now;
    pass(&mut world, TERM * 4 / 5 - 1_000);
    assert!(asked(&mut world).is_empty());
    let left = answered + TERM - 1_000 - world.now;
    pass(&mut world, left);
    assert_eq!(asked(&mut world).len(), 20);
    // Without a term it holds until the connection ends.
    world.expires_in = None;
    let all: Vec<_> = clients.iter().collect();
    world.permitted(&all, NARROW);
    world.deliver();
    world.idle_for_ever();
    pass(&mut world, 3 * TERM);
    assert!(asked(&mut world).is_empty());
    assert_eq!(world.stats().connections, 20);
}

impl World {
    /// No connection is closed for being idle from now on.
    pub(super) fn idle_for_ever(&mut self) {
        self.settings.idle_timeout = 0;
        let settings = self.settings.clone();
        self.shard.reconfigure(settings, self.now);
    }
}

#[test]
fn without_an_answer_a_session_is_held_at_the_end_of_its_term_and_then_closed() {
    for is_answered in [true, false] {
        let mut world = world();
        world.expires_in = Some(TERM);
        let mut client = listener(&mut world, &[A]);
        pass(&mut world, TERM - 1_000);
        assert_eq!(asked(&mut world).len(), 1);
        world.publish(A, "1");
        // An answer that is of no use changes nothing.
        let asked_at = world.outside.position;
        world.rechecked(
            &[&client],
            asked_at,
            RecheckOutcome::Unreachable { within: 1 },
        );
        pass(&mut world, 2_000);
        assert_eq!(client.hears(), [publish("1", "1")]);
        assert_eq!(
            asked(&mut world),
            [(client.id, RecheckReason::Expiry, true)],
            "held"
        );
        world.publish(A, "2");
        pass(&mut world, 8_000);
        assert!(client.hears().is_empty());
        if is_answered {
            world.permitted(&[&client], GRANTS);
            world.deliver();
            pass(&mut world, 10_000);
            assert_eq!(client.hears()[1..], [publish("2", "1")]);
            assert!(world.is_open(&client));
        } else {
            pass(&mut world, 3_000);
            assert_eq!(client.hears(), ["close 4002 permissions"]);
        }
        world.check_accounts();
    }
}

#[test]
fn shortest_term_counts_and_where_the_api_cannot_be_queried_it_ends_the_session() {
    let mut world = world();
    world.settings.permissions = PermissionSettings {
        recheck: false,
        max_age: 50_000,
        ..world.settings.permissions
    };
    let settings = world.settings.clone();
    world.shard.reconfigure(settings, world.now);
    world.expires_in = Some(TERM);
    let mut clients = [world.open(GRANTS), {
        world.expires_in = None;
        world.open(GRANTS)
    }];
    world.expires_in = Some(20_000);
    let mut short = world.open(GRANTS);
    pass(&mut world, 19_000);
    assert!(short.hears().is_empty());
    pass(&mut world, 2_000);
    assert_eq!(short.hears(), ["close 4002 permissions"]);
    pass(&mut world, 28_000);
    for client in &mut clients {
        assert!(client.hears().is_empty());
    }
    pass(&mut world, 2_000);
    for client in &mut clients {
        assert_eq!(client.hears(), ["close 4002 permissions"]);
    }
    assert!(asked(&mut world).is_empty());
}

#[test]
fn answer_from_before_a_command_is_not_used_and_another_user_is_closed() {
    let mut world = world();
    world.expires_in = Some(TERM);
    let mut client = listener(&mut world, &[A]);
    pass(&mut world, TERM - 1_000);
    assert_eq!(asked(&mut world).len(), 1);
    let asked_at = world.outside.position;
    let mut action = permit(r#"[{"a": 1}]"#);
    if let Action::Permit(permit) = &mut action {
        permit.expires_in = Some(TERM);
    }
    world.command(user("8"), permit(NARROW));
    world.command(user("7"), action);
    world.deliver();
    client.hears();
    let wide = world.rights(GRANTS);
    world.rechecked(&[&client], asked_at, RecheckOutcome::Permitted(wide));
    world.deliver();
    assert!(client.hears().is_empty());
    assert_eq!(
        asked(&mut world),
        [(client.id, RecheckReason::Expiry, false)],
        "again"
    );
    // The permit has begun a term.
    pass(&mut world, TERM * 4 / 5 - 1_000);
    assert!(asked(&mut world).is_empty());
    world.who = who("8", &[]);
    world.permitted(&[&client], GRANTS);
    world.deliver();
    assert_eq!(client.hears(), ["close 4002 permissions"]);
    world.check_accounts();
}

#[test]
fn answer_from_before_a_command_that_selects_by_its_new_label_is_not_used() {
    let mut world = world();
    world.expires_in = Some(TERM);
    world.who = who("7", &[]);
    let mut client = listener(&mut world, &[A]);
    pass(&mut world, TERM - 1_000);
    assert_eq!(asked(&mut world).len(), 1);
    let asked_at = world.outside.position;
    let staff = Selection {
        labels: vec!["staff".into()],
        ..Selection::default()
    };
    world.command(staff, permit(NARROW));
    world.deliver();
    world.who = who("7", &["staff"]);
    let early = world.rights(GRANTS);
    world.rechecked(&[&client], asked_at, RecheckOutcome::Permitted(early));
    world.deliver();
    let again = (client.id, RecheckReason::Expiry, false);
    assert_eq!(asked(&mut world), [again]);
    world.permitted(&[&client], NARROW);
    world.deliver();
    assert_eq!(client.hears().len(), 2, "the rooms of the later answer");
    assert!(asked(&mut world).is_empty());
}

#[test]
fn permit_makes_a_later_hold_needless_and_the_last_position_counts() {
    let mut world = world();
    let spread = Action::Invalidate { within: 5_000 };
    let client = listener(&mut world, &[B]);
    world.command(user("7"), spread);
    world.command(user("7"), permit(NARROW));
    pass(&mut world, 7_000);
    assert!(asked(&mut world).is_empty());
    world.command(user("7"), Action::Invalidate { within: 5_000 });
    let last = world.command(user("7"), Action::Invalidate { within: 9_000 });
    pass(&mut world, 11_000);
    let requests = world.requests();
    assert!(
        matches!(requests[..], [Request::Recheck(Recheck { not_before, .. })] if not_before == last),
        "{requests:?}"
    );
    world.gone(&client);
    assert_eq!(world.shard.deadline(), None);
}
