//! Invalidations that are spread over a span, and moments that have their turns.

use super::commands::{A, GRANTS, everyone, listener};
use super::hold::world;
use super::kit::*;
use super::terms::{asked, pass};
use crate::budget::cost;
use crate::command::Action;
use crate::shard::terms::GRAIN;

#[test]
fn no_session_is_held_later_than_its_span_allows() {
    for within in [1, 999, 1_000, 1_999, 5_000] {
        let mut world = world();
        let clients: Vec<_> = (0..30).map(|_| listener(&mut world, &[A])).collect();
        world.pass(500);
        world.command(everyone(), Action::Invalidate { within });
        world.deliver();
        world.pass(within.into());
        world.deliver();
        assert_eq!(asked(&mut world).len(), clients.len(), "{within}");
    }
}

#[test]
fn a_span_also_holds_where_sessions_are_closed_instead() {
    let mut world = world();
    world.settings.permissions.recheck = false;
    let settings = world.settings.clone();
    world.shard.reconfigure(settings, world.now);
    let mut clients: Vec<_> = (0..30).map(|_| listener(&mut world, &[A])).collect();
    world.command(everyone(), Action::Invalidate { within: 20_000 });
    world.deliver();
    let mut closed = Vec::new();
    for second in 1..=20 {
        pass(&mut world, 1_000);
        for client in &mut clients {
            let heard = client.hears();
            if !heard.is_empty() {
                assert_eq!(heard, ["close 4002 permissions"]);
                closed.push(second);
            }
        }
    }
    assert_eq!(closed.len(), clients.len());
    assert!(closed[0] < 10 && closed[29] > 10, "{closed:?}");
}

#[test]
fn sessions_are_held_at_moments_of_their_own_within_a_span() {
    let mut world = world();
    let mut clients: Vec<_> = (0..50).map(|_| listener(&mut world, &[A])).collect();
    let position = world.command(everyone(), Action::Invalidate { within: 20_000 });
    world.publish(A, "0");
    world.deliver();
    assert!(asked(&mut world).is_empty());
    for client in &mut clients {
        assert_eq!(client.hears(), [publish("0", "1")], "by the old grants");
    }
    let mut held = Vec::new();
    for second in 1..=21 {
        world.publish(A, &second.to_string());
        pass(&mut world, 1_000);
        for request in world.requests() {
            let Request::Recheck(recheck) = request else {
                panic!("{request:?}");
            };
            assert!(recheck.is_held && recheck.not_before >= position);
            held.push((recheck.key, second));
        }
        for client in &mut clients {
            let is_held = held
                .iter()
                .any(|&(key, at)| key == client.id && at < second);
            assert_eq!(client.hears().is_empty(), is_held);
        }
    }
    assert_eq!(held.len(), 50);
    let most = (1..=21).map(|at| held.iter().filter(|held| held.1 == at).count());
    assert!(most.max() < Some(15), "spread");
    let all: Vec<_> = clients.iter().collect();
    world.permitted(&all, GRANTS);
    world.deliver();
    for client in &mut clients {
        let at = held.iter().find(|(key, _)| *key == client.id).unwrap().1;
        assert_eq!(
            client.hears().len(),
            1 + 21 - at,
            "an event, and what it missed"
        );
    }
    world.check_accounts();
}

#[test]
fn moments_within_a_second_have_turns_of_their_own() {
    const SESSIONS: usize = 500;
    let mut world = world();
    let _clients: Vec<_> = (0..SESSIONS).map(|_| world.open(GRANTS)).collect();
    world.command(everyone(), Action::Invalidate { within: 1_000 });
    world.deliver();
    let (begun, mut turns) = (world.now, Vec::new());
    while let Some(due) = world.shard.deadline().filter(|due| *due < begun + 1_000) {
        // The thread sleeps until then.
        let ms = due - world.now;
        world.pass(ms);
        world.deliver();
        turns.push((world.now, asked(&mut world).len()));
    }
    let held = turns.iter().map(|(_, held)| held).sum::<usize>();
    assert_eq!(held, SESSIONS, "{turns:?}");
    // A fiftieth of the sessions each, in the mean.
    assert!(turns.len() > 40, "{turns:?}");
    assert!(turns.iter().all(|(_, held)| *held < 40), "{turns:?}");
    assert!(turns.windows(2).all(|two| two[1].0 - two[0].0 >= GRAIN));
}

#[test]
fn moments_that_came_together_have_their_turns_in_order_within_the_budget() {
    const SESSIONS: u64 = 60;
    let mut world = world();
    world.settings.permissions.recheck = false;
    let settings = world.settings.clone();
    world.shard.reconfigure(settings, world.now);
    // Those that came first have the longest terms, a few milliseconds apart.
    let mut clients: Vec<_> = (0..SESSIONS)
        .map(|number| {
            world.expires_in = Some(5_000 - 3 * number);
            world.open(GRANTS)
        })
        .collect();
    // The thread stalls.
    world.now += 6_000;
    let (mut closed, mut most) = (Vec::new(), 0);
    while closed.len() < clients.len() {
        let before = world.shard.budget().total();
        world.begin(5 * cost::CLOSE);
        world.pass(0);
        let spent = world.shard.budget().total() - before;
        assert!((1..=6 * cost::CLOSE).contains(&spent), "{spent}");
        let before = closed.len();
        for (number, client) in clients.iter_mut().enumerate().rev() {
            if !client.hears().is_empty() {
                closed.push(number);
            }
        }
        most = most.max(closed.len() - before);
    }
    assert!((2..=5).contains(&most), "{most} in a turn");
    assert!(closed.is_sorted_by(|a, b| a > b), "{closed:?}");
}

#[test]
fn holds_are_charged_to_the_turn() {
    const SESSIONS: usize = 200;
    let mut world = world();
    let _clients: Vec<_> = (0..SESSIONS).map(|_| world.open(GRANTS)).collect();
    world.command(everyone(), Action::Invalidate { within: 1_000 });
    world.deliver();
    world.now += 1_000;
    world.begin(100 * cost::MOMENT);
    world.pass(0);
    world.begin(0);
    world.deliver();
    assert_eq!(asked(&mut world).len(), 100);
    world.pass(0);
    world.begin(10 * cost::HOLD);
    world.slice(usize::MAX);
    assert_eq!(asked(&mut world).len(), 10);
    world.begin(0);
    world.deliver();
    assert_eq!(asked(&mut world).len(), 90);
}
