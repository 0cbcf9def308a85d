//! Cases by hand, and random streams against a model that remembers every message.

use proptest::prelude::*;

use super::*;

const NOW: Duration = Duration::ZERO;

fn at(line: u32, number: u64) -> Serial {
    Serial { line, number }
}

fn node(id: u128) -> Uuid {
    Uuid::from_u128(id)
}

fn sequence(id: u128, serial: Serial, after: Option<Serial>) -> Sequence {
    Sequence {
        node: node(id),
        serial,
        after,
    }
}

/// Whether a message shows that others are missing.
fn is_missing(holes: &mut Holes, sequence: &Sequence) -> bool {
    holes.note(sequence, NOW) == Found::Missing
}

/// Notes a message of the publisher 1.
fn note(holes: &mut Holes, line: u32, number: u64) -> bool {
    is_missing(holes, &sequence(1, at(line, number), None))
}

/// Notes the first message of a line of the publisher 1.
fn begin(holes: &mut Holes, line: u32, after: Serial) -> bool {
    is_missing(holes, &sequence(1, at(line, 1), Some(after)))
}

/// Notes a message of this node, the publisher 0.
fn own(holes: &mut Holes, number: u64) -> bool {
    is_missing(holes, &sequence(0, at(1, number), None))
}

#[test]
fn a_skipped_number_is_missing_once() {
    let mut holes = Holes::default();
    assert!(!note(&mut holes, 1, 7), "what came before is not ours");
    assert!(!note(&mut holes, 1, 8));
    assert!(note(&mut holes, 1, 10));
    assert!(!note(&mut holes, 1, 11));
    // Duplicates and late messages show nothing, and hide nothing.
    assert!(!note(&mut holes, 1, 9));
    assert!(!note(&mut holes, 1, 11));
    assert!(note(&mut holes, 1, 13));
}

#[test]
fn late_confirms_of_an_older_line_are_missing_once_stated() {
    let states = |holes: &mut Holes, number, after| {
        is_missing(holes, &sequence(1, at(2, number), Some(after)))
    };
    let mut holes = Holes::default();
    assert!(!note(&mut holes, 1, 7));
    assert!(!begin(&mut holes, 2, at(1, 7)));
    // The messages 8 and 9 of the older line were read back by their publisher after that.
    assert!(states(&mut holes, 2, at(1, 9)));
    assert!(!states(&mut holes, 3, at(1, 9)), "once");
    // Late messages are not missing, and a hole among them is.
    assert!(!note(&mut holes, 1, 10));
    assert!(!states(&mut holes, 4, at(1, 10)));
    assert!(!note(&mut holes, 1, 12));
    assert!(states(&mut holes, 5, at(1, 12)));
    // Nothing is known of messages before the first one that arrived.
    assert!(!is_missing(&mut holes, &sequence(3, at(4, 5), None)));
    assert!(!is_missing(
        &mut holes,
        &sequence(3, at(4, 6), Some(at(3, 9)))
    ));
}

#[test]
fn the_tail_of_a_lost_line_is_missing_as_far_as_it_was_confirmed() {
    for (last, after, missing) in [
        (at(1, 5), at(1, 5), false),
        (at(1, 5), at(1, 4), false),
        (at(1, 5), at(0, 0), false),
        (at(1, 5), at(1, 6), true),
        (at(1, 5), at(2, 1), true),
        (at(2, 1), at(1, 9), false),
    ] {
        let mut holes = Holes::default();
        note(&mut holes, last.line, last.number);
        assert_eq!(
            begin(&mut holes, 3, after),
            missing,
            "{last:?} before {after:?}"
        );
        assert!(!note(&mut holes, 3, 2));
        // Messages still in flight from the old line are late.
        assert!(!note(&mut holes, last.line, last.number + 1));
        assert!(!note(&mut holes, 3, 3));
    }
}

#[test]
fn a_line_whose_first_message_is_missing_is_a_gap() {
    let mut holes = Holes::default();
    note(&mut holes, 1, 1);
    assert!(note(&mut holes, 2, 2));
}

#[test]
fn publishers_are_independent() {
    let mut holes = Holes::default();
    note(&mut holes, 1, 1);
    assert!(!is_missing(&mut holes, &sequence(2, at(1, 5), None)));
    assert!(!note(&mut holes, 1, 2));
    assert!(is_missing(&mut holes, &sequence(2, at(1, 7), None)));
}

#[test]
fn a_reported_gap_is_not_reported_again_for_others() {
    let mut holes = Holes::default();
    for number in [1, 2] {
        own(&mut holes, number);
        note(&mut holes, 1, number);
    }
    // The binding was lost: 3 of all publishers was lost, and 4 of this node.
    holes.reported(at(1, 4));
    // Still from before, then the gap, then on.
    assert!(!note(&mut holes, 1, 3));
    assert!(!note(&mut holes, 1, 5), "part of what was reported");
    assert!(!own(&mut holes, 5), "part of what was reported");
    assert!(!note(&mut holes, 1, 6));
    assert!(note(&mut holes, 1, 8), "a new one");
}

#[test]
fn behind_its_own_next_message_a_queue_is_past_the_gap() {
    let mut holes = Holes::default();
    own(&mut holes, 1);
    note(&mut holes, 1, 1);
    holes.reported(at(1, 1));
    own(&mut holes, 2);
    // Nothing of this publisher was lost.
    assert!(!note(&mut holes, 1, 2));
    assert!(note(&mut holes, 1, 4), "so this is a new gap");
}

#[test]
fn a_possible_new_gap_is_doubtful_once_for_all_publishers() {
    let at_second = |holes: &mut Holes, id: u128, number: u64, second: u64| {
        let now = Duration::from_secs(second);
        holes.note(&sequence(id, at(1, number), None), now)
    };
    let mut holes = Holes::default();
    for id in 0..4 {
        at_second(&mut holes, id, 1, 0);
    }
    holes.reported(at(1, 1));
    assert_eq!(at_second(&mut holes, 0, 2, 1), Found::Nothing);
    for (id, second) in [(1, 2), (2, 6), (3, 11)] {
        assert_eq!(at_second(&mut holes, id, 3, second), Found::Nothing);
    }
    assert_eq!(at_second(&mut holes, 2, 4, 12), Found::Doubtful);
    assert_eq!(at_second(&mut holes, 0, 3, 99), Found::Nothing);
    // A gap that is reported in the meantime holds them.
    holes.reported(at(1, 3));
    assert_eq!(at_second(&mut holes, 1, 9, 100), Found::Nothing);
    holes.reported(at(1, 3));
    assert_eq!(at_second(&mut holes, 0, 4, 120), Found::Nothing);
    // A hole that is certainly new is reported at once, and includes the doubtful ones.
    assert_eq!(at_second(&mut holes, 2, 9, 121), Found::Nothing);
    assert_eq!(at_second(&mut holes, 2, 11, 122), Found::Missing);
    holes.reported_by(node(2), at(1, 4));
    assert_eq!(at_second(&mut holes, 0, 5, 140), Found::Nothing);
}

#[test]
fn a_publisher_that_showed_a_gap_may_show_the_next() {
    let mut holes = Holes::default();
    own(&mut holes, 1);
    note(&mut holes, 1, 1);
    assert!(note(&mut holes, 1, 3));
    holes.reported_by(node(1), at(1, 1));
    assert!(note(&mut holes, 1, 5));
}

#[test]
fn a_new_queue_starts_afresh() {
    let mut holes = Holes::default();
    note(&mut holes, 1, 1);
    holes.reported(at(1, 1));
    holes.begin(node(0), at(1, 1), NOW);
    assert!(!note(&mut holes, 1, 9));
    assert!(note(&mut holes, 1, 11));
}

#[test]
fn own_messages_lost_before_the_first_arrival_are_missing() {
    for (last, first, missing) in [
        (at(0, 0), at(1, 1), false),
        (at(0, 0), at(1, 2), true),
        (at(1, 7), at(1, 8), false),
        (at(1, 7), at(1, 9), true),
    ] {
        let mut holes = Holes::default();
        holes.begin(node(0), last, NOW);
        // Reported as a gap until now, not beyond.
        holes.reported(last);
        let after = (first.number == 1).then_some(at(0, 0));
        assert_eq!(is_missing(&mut holes, &sequence(0, first, after)), missing);
    }
}

#[test]
fn publishers_are_bounded_and_the_silent_ones_forgotten() {
    let mut holes = Holes::default();
    let mut first = |id: u128, seconds: u64| {
        let now = Duration::from_secs(seconds);
        holes.note(&sequence(id, at(1, 1), None), now);
        holes.nodes.len()
    };
    for id in 0..NODES_MAX as u128 {
        assert!(first(id, id as u64) <= NODES_MAX);
    }
    assert_eq!(
        first(9_999, 1_023),
        NODES_MAX - 423,
        "older than ten minutes"
    );
    let mut holes = Holes::default();
    for id in 0..3 * NODES_MAX as u128 {
        let now = Duration::from_millis(id as u64);
        holes.note(&sequence(id, at(1, 1), None), now);
    }
    assert_eq!(holes.nodes.len(), NODES_MAX);
    let last = node(3 * NODES_MAX as u128 - 1);
    assert!(holes.nodes.contains_key(&last) && !holes.nodes.contains_key(&node(0)));
}

/// The next step of a publisher.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// A message; whether it reaches this queue, and whether its publisher reads it back.
    Publish { arrives: bool, confirmed: bool },
    /// The publisher connects anew.
    Reconnect,
    /// The last message that arrived is duplicated.
    Repeat,
}

fn steps() -> impl Strategy<Value = Vec<(bool, Step)>> {
    let step = prop_oneof![
        8 => (prop::bool::weighted(0.8), prop::bool::weighted(0.8))
            .prop_map(|(arrives, confirmed)| Step::Publish { arrives, confirmed }),
        1 => Just(Step::Reconnect),
        1 => Just(Step::Repeat),
    ];
    proptest::collection::vec((any::<bool>(), step), 0..60)
}

/// A publisher, and every message that it published.
#[derive(Default)]
struct Model {
    line: u32,
    number: u64,
    /// The last one that it read back.
    back: Serial,
    /// When its line began.
    after: Serial,
    /// Those since the last one that arrived: serial, whether it was read back.
    lost: Vec<(Serial, bool)>,
    last: Option<(Serial, Option<Serial>)>,
}

impl Model {
    /// Publishes; the sequence, and whether this queue must notice that something is missing.
    fn publish(&mut self, arrives: bool, confirmed: bool) -> Option<(Sequence, bool)> {
        self.number += 1;
        let serial = at(self.line + 1, self.number);
        let after = (self.number == 1).then_some(self.back);
        if let Some(after) = after {
            self.after = after;
        }
        if confirmed {
            self.back = serial;
        }
        if !arrives {
            self.lost.push((serial, confirmed));
            return None;
        }
        // Lost messages of this line are owed; of older ones those that were confirmed to their
        // publisher, by themselves or by a later one, before this line began.
        let owed = |(lost, _): &(Serial, bool)| lost.line == serial.line || *lost <= self.after;
        let missing = self.last.is_some() && self.lost.iter().any(owed);
        self.lost.clear();
        self.last = Some((serial, after));
        Some((sequence(0, serial, after), missing))
    }
}

proptest! {
    #[test]
    fn exactly_the_missing_messages_are_detected(steps in steps()) {
        let mut holes = Holes::default();
        let mut models = [Model::default(), Model::default()];
        for (who, step) in steps {
            let model = &mut models[usize::from(who)];
            let id = node(u128::from(who) + 1);
            match step {
                Step::Publish { arrives, confirmed } => {
                    if let Some((sequence, missing)) = model.publish(arrives, confirmed) {
                        let sequence = Sequence { node: id, ..sequence };
                        prop_assert_eq!(is_missing(&mut holes, &sequence), missing);
                    }
                }
                Step::Reconnect => {
                    model.line += 1;
                    model.number = 0;
                }
                Step::Repeat => {
                    if let Some((serial, after)) = model.last {
                        let sequence = Sequence { node: id, serial, after };
                        prop_assert!(!is_missing(&mut holes, &sequence));
                    }
                }
            }
        }
    }
}
