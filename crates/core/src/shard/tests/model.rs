//! Random sequences of operations on a shard against a naive model.

#[cfg(fuzzing)]
mod choices;
mod known;
mod ledger;
mod operations;
mod page;
mod reference;
mod rights;

use std::sync::Arc;

use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;

use self::operations::{Operation, operations};
use self::reference::Reference;
use crate::index::Matching;
use crate::limits::Limits;
use crate::outbox::Outboxes;
use crate::recovery::RecoveryOutcome;
use crate::shard::tests::kit::FIRST_FRAME_TIMEOUT;
use crate::shard::{
    Compression, KeepaliveSettings, PermissionSettings, RecoverySettings, Settings, StreamSettings,
};
use crate::stats::Stats;
use crate::window::Reader;

/// Parameters of a run.
#[derive(Clone, Copy, Debug)]
struct Mode {
    matching: Matching,
    /// Publications are matched at once, so that every hit is known.
    eager: bool,
    /// Limit of queued bytes; zero: none.
    outbox_bytes: usize,
    /// Limit of the bytes of all outboxes; zero: none.
    outbox_total_bytes: usize,
    /// How long an outbox may stall, in ms; zero: for ever.
    outbox_age: u64,
    /// Units that an operation may spend at once; zero: no bound.
    units: u64,
    /// Shortest head that is compressed for clients that support it.
    threshold: usize,
}

fn check(mode: Mode, operations: &[Operation]) -> Stats {
    let mut reference = Reference::new(
        Settings {
            matching: mode.matching,
            limits: Limits {
                subscriptions: known::SUBSCRIPTIONS,
                names_per_room: known::NAMES_PER_ROOM,
                outbox_bytes: mode.outbox_bytes,
                message_timeout: 0,
                ..Limits::default()
            },
            first_frame_timeout: FIRST_FRAME_TIMEOUT,
            idle_timeout: reference::IDLE,
            outbox_age: mode.outbox_age,
            outboxes: Arc::new(Outboxes::new(mode.outbox_total_bytes)),
            accounts: Arc::default(),
            keepalive: KeepaliveSettings::default(),
            status_clients: true,
            compression: Compression {
                threshold: mode.threshold,
                ..Compression::default()
            },
            permissions: PermissionSettings {
                recheck: true,
                ..PermissionSettings::default()
            },
            recovery: RecoverySettings::default(),
            streams: StreamSettings::default(),
            window: Reader::default(),
        },
        mode.eager,
        mode.units,
    );
    for operation in operations {
        reference.apply(operation);
    }
    reference.finish()
}

/// Lets the fuzzer's bytes choose a mode and the operations.
#[cfg(fuzzing)]
pub(crate) fn fuzz(bytes: &[u8]) {
    let mut choices = choices::Choices(bytes);
    check(choices.mode(), &choices.operations());
}

/// Sequences reach what they are to judge.
#[test]
fn sequences_hold_clients_change_their_rights_and_recover_them() {
    let mut runner = TestRunner::deterministic();
    let (mut lost, mut caught_up, mut replayed, mut refused) = (0, 0, 0, 0);
    for _ in 0..200 {
        let operations = operations().new_tree(&mut runner).unwrap().current();
        let stats = check(
            Mode {
                matching: Matching::Wildcard,
                eager: false,
                outbox_bytes: 0,
                outbox_total_bytes: 0,
                outbox_age: 0,
                units: 0,
                threshold: 100,
            },
            &operations,
        );
        lost += stats.subscriptions_lost;
        caught_up += stats.window_catch_ups;
        replayed += stats.replayed;
        refused += stats.recoveries[RecoveryOutcome::Permissions as usize];
    }
    let all = [lost, caught_up, replayed, refused];
    assert!(all.iter().all(|count| *count >= 10), "{all:?}");
}

/// Often so few that a message is a whole slice.
fn units() -> impl Strategy<Value = u64> {
    prop_oneof![Just(0), 1..10_000u64]
}

proptest! {
    #[test]
    fn every_subscriber_receives_what_the_model_expects(
        operations in operations(),
        exact: bool,
        eager: bool,
        units in units(),
        threshold in 0..200usize,
    ) {
        let matching = if exact { Matching::Exact } else { Matching::Wildcard };
        let (outbox_bytes, outbox_total_bytes, outbox_age) = (0, 0, 0);
        let mode =
            Mode { matching, eager, outbox_bytes, outbox_total_bytes, outbox_age, units, threshold };
        check(mode, &operations);
    }

    #[test]
    fn eviction_does_not_affect_others(
        operations in operations(),
        eager: bool,
        outbox_bytes in prop_oneof![Just(0), 1usize..400],
        outbox_total_bytes in prop_oneof![Just(0), 1usize..2_000],
        outbox_age in prop_oneof![Just(0), 1u64..10_000],
        units in units(),
        threshold in 0..200usize,
    ) {
        let matching = Matching::Wildcard;
        let mode =
            Mode { matching, eager, outbox_bytes, outbox_total_bytes, outbox_age, units, threshold };
        check(mode, &operations);
    }
}
