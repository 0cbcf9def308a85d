//! Runs with a plan of their own: for bugs whose seed a change of the plan would turn into another.

use std::time::Duration;

use ht_overload::GuardConfig;

use crate::api::Bootstrap;
use crate::gate::GateLimits;
use crate::orders::{Deed, Order, Whom};
use crate::plan::{Action, Plan, Shape, Timed, WINDOW};
use crate::run;

/// A node without faults, three clients, and these actions at their times.
fn violation(actions: impl IntoIterator<Item = (u64, Action)>) -> Option<String> {
    let ms = Duration::from_millis;
    let shape = Shape {
        nodes: 1,
        shards: 1,
        clients: 3,
        exact: false,
        outbox_bytes: 0,
        outbox_total_bytes: 0,
        inbox_bytes: usize::MAX,
        retains: true,
        duration: 10_000,
        lag: 5,
        guard: GuardConfig {
            max_in_flight: 8,
            max_waiting: 1_000,
            wait_timeout: ms(2_000),
            coalesce: Duration::ZERO,
            circuit_failures: 4,
            circuit_backoff: ms(500),
            circuit_backoff_max: ms(4_000),
        },
        gate: GateLimits {
            per_address: 0,
            per_second: 0,
            handshakes: 200,
            connections: 0,
            per_user: 0,
        },
        counts_for: 100,
        rechecks: true,
        keeps: false,
        window: WINDOW,
        pages: false,
        tickets: false,
        tenants: 1,
    };
    let timed = actions.into_iter().map(|(at, action)| Timed { at, action });
    let plan = Plan {
        seed: 1,
        shape,
        actions: timed.collect(),
        mutant: None,
    };
    run(&plan, false).violation
}

/// Three clients with a subscription each to the room 3.
fn clients() -> impl Iterator<Item = (u64, Action)> {
    let connects = (0..3).map(|client| Action::Connect {
        client,
        node: 0,
        grants: 0,
        bootstrap: Bootstrap::Admits(5),
    });
    let subscribes = (0..3).map(|client| Action::Subscribe { client, room: 3 });
    let connects = connects.map(|action| (1_000, action));
    connects.chain(subscribes.map(|action| (2_000, action)))
}

#[test]
fn a_wave_of_closes_waits_for_publications_behind_a_command() {
    let drain = Action::Drain {
        node: 0,
        delay: 500,
        back: 1_000,
    };
    let command = Action::Command {
        node: 0,
        order: Order {
            tenant: 0,
            whom: Whom::Everyone,
            deed: Deed::Unsubscribe(10),
        },
        around: 2,
    };
    let stall = Action::Stall(0, 0, 1_000);
    let actions = [(3_000, drain), (5_900, stall), (6_000, command)];
    assert_eq!(violation(clients().chain(actions)), None);
}
