//! Load on admission: crowds of connecting clients, and an API with faults.

use std::time::Duration;

use fastrand::Rng;
use ht_overload::GuardConfig;

use crate::api::{Bootstrap, Mood};
use crate::gate::GateLimits;
use crate::plan::{Action, Shape, Timed};

/// Addresses of crowds; lower ones are of clients.
const CROWDS: u8 = 10;

/// How a node protects the API.
pub(super) fn guard(rng: &mut Rng) -> GuardConfig {
    let ms = Duration::from_millis;
    GuardConfig {
        max_in_flight: rng.usize(1..9),
        max_waiting: [0, 4, 1_000][rng.usize(0..3)],
        wait_timeout: ms(2_000),
        coalesce: ms([0, 500][rng.usize(0..2)]),
        circuit_failures: rng.u32(1..5),
        circuit_backoff: ms(500),
        circuit_backoff_max: ms(4_000),
    }
}

/// Admission limits of a node.
pub(super) fn gate(rng: &mut Rng) -> GateLimits {
    let mut some = |limit: usize| [0, limit][rng.usize(0..2)];
    GateLimits {
        per_address: some(6),
        per_second: some(3),
        handshakes: [7, 200][some(1)],
        connections: some(30),
        per_user: some(1),
    }
}

/// The actions of crowds and of the API. None of them happens in some runs.
pub(super) fn actions(shape: &Shape, rng: &mut Rng) -> Vec<Timed> {
    let count = [0, 10, 60][rng.usize(0..3)];
    // Trouble is often a crowd and an outage at once.
    let mut at = 0;
    let timed = (0..rng.usize(0..=count)).map(|_| {
        at = match rng.u8(0..3) {
            0 => rng.u64(0..shape.duration),
            _ => (at + rng.u64(0..500)).min(shape.duration),
        };
        Timed {
            at,
            action: action(shape, rng),
        }
    });
    timed.collect()
}

fn action(shape: &Shape, rng: &mut Rng) -> Action {
    if rng.u8(0..40) == 0 {
        return Action::Hurry(rng.usize(0..shape.nodes));
    }
    if rng.u8(0..4) == 0 {
        let mood = match rng.u8(0..3) {
            0 => Mood::Slow(rng.u64(10..4_000)),
            1 => Mood::Hangs,
            _ => Mood::Fails(rng.u64(1..200)),
        };
        return Action::Mood(mood, rng.u64(100..30_000));
    }
    let bootstrap = match rng.u8(0..6) {
        0 => Bootstrap::Fails(rng.u64(1..500)),
        1 => Bootstrap::Hangs,
        _ => Bootstrap::Admits(rng.u64(1..400)),
    };
    Action::Crowd {
        node: rng.usize(0..shape.nodes),
        // Also from where clients are.
        address: [rng.u8(0..3), CROWDS + rng.u8(0..4)][usize::from(rng.u8(0..4) > 0)],
        count: [1, 5, 30][rng.usize(0..3)],
        same: rng.u8(0..4) == 0,
        bootstrap,
        patience: [50, 1_000, 20_000][rng.usize(0..3)],
    }
}

/// Has something published while a node drains, and one of its threads is slow.
pub(super) fn meanwhile(actions: &mut Vec<Timed>, shape: &Shape, rng: &mut Rng) {
    let drains: Vec<_> = actions
        .iter()
        .filter(|timed| matches!(timed.action, Action::Drain { .. }))
        .map(|timed| (timed.at, timed.action.node()))
        .collect();
    for (at, node) in drains {
        let publish = Action::Publish {
            node,
            rooms: [3, 9],
            count: rng.usize(1..4),
            bytes: 10,
        };
        let stall = Action::Stall(node, rng.usize(0..shape.shards), rng.u64(1..1_500));
        for action in [stall, publish] {
            let at = (at + rng.u64(0..2_000)).min(shape.duration);
            actions.push(Timed { at, action });
        }
    }
}
