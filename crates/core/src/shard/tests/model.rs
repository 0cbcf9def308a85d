//! Random sequences of operations on a shard against a naive model.

mod known;
mod operations;
mod reference;

use proptest::prelude::*;

#[cfg(fuzzing)]
use proptest::strategy::ValueTree;
#[cfg(fuzzing)]
use proptest::test_runner::Config;
#[cfg(fuzzing)]
use proptest::test_runner::RngAlgorithm;
#[cfg(fuzzing)]
use proptest::test_runner::TestRng;
#[cfg(fuzzing)]
use proptest::test_runner::TestRunner;

use self::operations::Operation;
use self::operations::operations;
use self::reference::Reference;
use crate::index::Matching;
use crate::limits::Limits;
use crate::shard::Compression;
use crate::shard::Settings;

/// What differs between the runs.
#[derive(Clone, Copy, Debug)]
struct Mode {
    matching: Matching,
    /// Publications are matched at once, so that every hit is known.
    eager: bool,
    /// Bytes that may wait; zero: no bound.
    outbox_bytes: usize,
    /// Shortest head that is compressed for those who take it.
    threshold: usize,
}

fn check(mode: Mode, operations: &[Operation]) {
    let mut reference = Reference::new(
        Settings {
            matching: mode.matching,
            limits: Limits {
                subscriptions: known::SUBSCRIPTIONS,
                outbox_bytes: mode.outbox_bytes,
                ..Limits::default()
            },
            idle_timeout: reference::IDLE,
            status_clients: true,
            compression: Compression {
                threshold: mode.threshold,
                ..Compression::default()
            },
        },
        mode.eager,
    );
    for operation in operations {
        reference.apply(operation);
    }
    reference.finish();
}

/// Lets the fuzzer's bytes choose a mode and the operations.
#[cfg(fuzzing)]
pub(crate) fn fuzz(bytes: &[u8]) {
    let random = TestRng::from_seed(RngAlgorithm::PassThrough, bytes);
    let mut runner = TestRunner::new_with_rng(Config::default(), random);
    let choices = (
        any::<bool>(),
        any::<bool>(),
        prop_oneof![Just(0usize), 1usize..400],
        0..200usize,
        operations(),
    );
    // Bytes may be too few to choose by.
    let Ok(tree) = choices.new_tree(&mut runner) else {
        return;
    };
    let (exact, eager, outbox_bytes, threshold, operations) = tree.current();
    let matching = if exact { Matching::Exact } else { Matching::Wildcard };
    check(Mode { matching, eager, outbox_bytes, threshold }, &operations);
}

proptest! {
    #[test]
    fn every_subscriber_gets_what_it_should(
        operations in operations(),
        exact: bool,
        eager: bool,
        threshold in 0..200usize,
    ) {
        let matching = if exact { Matching::Exact } else { Matching::Wildcard };
        check(Mode { matching, eager, outbox_bytes: 0, threshold }, &operations);
    }

    #[test]
    fn eviction_takes_nothing_from_the_others(
        operations in operations(),
        eager: bool,
        outbox_bytes in 1usize..400,
        threshold in 0..200usize,
    ) {
        let matching = Matching::Wildcard;
        check(Mode { matching, eager, outbox_bytes, threshold }, &operations);
    }
}
