//! Single rules as tables, and random steps against a naive model.

mod model;

use proptest::prelude::*;

use super::*;
use crate::recheck::tests::model::World;

const MS: Duration = Duration::from_millis(1);

/// Any moment.
const NOW: Duration = Duration::from_secs(1_000);

const HOLD: Duration = Duration::from_secs(30);

type Machine = Rechecks<char, u32>;

/// When the last command had this position.
fn at(commands: u64) -> CallTime {
    CallTime { commands, gap: 0 }
}

fn due(not_before: u64, patience: Patience) -> Due {
    Due {
        not_before: at(not_before),
        patience,
    }
}

fn held(not_before: u64) -> Due {
    due(not_before, Patience::Held)
}

/// The calls that were made, by their credentials; fails if there was another output.
fn calls(machine: &mut Machine) -> Vec<(RecheckId, char)> {
    let outputs = std::iter::from_fn(|| machine.poll_output());
    outputs
        .map(|output| match output {
            RecheckOutput::Call(call, credentials) => (call, credentials),
            RecheckOutput::Abandon(_) | RecheckOutput::Fail(_) => panic!("not a call: {output:?}"),
        })
        .collect()
}

fn one_call(machine: &mut Machine) -> RecheckId {
    let made = calls(machine);
    assert_eq!(made.len(), 1, "{made:?}");
    made[0].0
}

fn check_idle(machine: &Machine) {
    assert_eq!((machine.in_flight(), machine.waiting()), (0, 0));
    assert!(machine.groups.is_empty() && machine.by_credentials.is_empty());
    assert!(machine.ready.is_empty() && machine.paused.is_empty() && machine.held.is_empty());
    assert_eq!(machine.deadline(), None);
}

#[test]
fn an_answer_from_before_a_gap_does_not_count() {
    let mut machine = Machine::new(8, HOLD);
    machine.request(1, &'a', held(5), NOW);
    let first = one_call(&mut machine);
    let mut after = held(5);
    after.not_before.gap = 1;
    machine.request(2, &'a', after, NOW);
    assert_eq!(machine.answered(first, at(9), NOW), [1]);
    let second = one_call(&mut machine);
    let is_known = CallTime { gap: 1, ..at(5) };
    assert_eq!(machine.answered(second, is_known, NOW), [2]);
    check_idle(&machine);
}

#[test]
fn ten_requests_during_a_call_cause_exactly_one_more() {
    let mut machine = Machine::new(8, HOLD);
    machine.request(1, &'a', held(5), NOW);
    let first = one_call(&mut machine);
    for position in 6..16 {
        machine.request(1, &'a', held(position), NOW);
    }
    assert_eq!(machine.poll_output(), None);
    assert_eq!(machine.answered(first, at(5), NOW), [] as [u32; 0]);
    let second = one_call(&mut machine);
    assert_eq!(machine.answered(second, at(15), NOW), [1]);
    assert_eq!(machine.poll_output(), None);
    check_idle(&machine);
}

#[test]
fn sessions_with_equal_credentials_share_a_call_that_is_late_enough_for_them() {
    let mut machine = Machine::new(8, HOLD);
    machine.request(1, &'a', held(5), NOW);
    let first = one_call(&mut machine);
    machine.request(2, &'a', held(4), NOW);
    machine.request(3, &'a', held(6), NOW);
    machine.request(4, &'b', held(6), NOW);
    assert_eq!(calls(&mut machine).len(), 1, "other credentials");
    assert_eq!(machine.answered(first, at(5), NOW), [1, 2]);
    assert_eq!(calls(&mut machine).len(), 1);
    assert_eq!(machine.waiting(), 2);
}

#[test]
fn a_group_whose_last_session_ended_drops_its_call_and_frees_its_slot() {
    let mut machine = Machine::new(1, HOLD);
    machine.request(1, &'a', held(1), NOW);
    machine.request(2, &'a', held(1), NOW);
    let call = one_call(&mut machine);
    machine.request(3, &'b', held(1), NOW);
    machine.cancel(1);
    assert_eq!(machine.poll_output(), None, "another session waits");
    machine.cancel(2);
    let abandon = RecheckOutput::Abandon(call);
    assert_eq!(machine.poll_output(), Some(abandon));
    assert_eq!(calls(&mut machine)[0].1, 'b');
    assert_eq!(
        machine.answered(call, at(9), NOW),
        [] as [u32; 0],
        "abandoned"
    );
    machine.cancel(3);
    machine.cancel(3);
    check_idle(&machine);
}

#[test]
fn renewals_wait_for_sessions_that_are_held() {
    let mut machine = Machine::new(1, HOLD);
    let renewal = due(0, Patience::Renewal);
    machine.request(1, &'a', renewal, NOW);
    let mut call = one_call(&mut machine);
    machine.request(2, &'b', renewal, NOW);
    machine.request(3, &'c', renewal, NOW);
    machine.request(4, &'d', held(1), NOW);
    // Its permissions have expired meanwhile.
    machine.request(3, &'c', held(0), NOW);
    let mut order = Vec::new();
    for _ in 0..3 {
        assert_eq!(machine.answered(call, at(1), NOW).len(), 1);
        let made = calls(&mut machine);
        order.push(made[0].1);
        call = made[0].0;
    }
    assert_eq!(order, ['c', 'd', 'b']);
}

#[test]
fn a_call_is_repeated_after_its_pause_until_the_sessions_have_waited_too_long() {
    let mut machine = Machine::new(8, HOLD);
    machine.request(1, &'a', held(1), NOW);
    machine.request(2, &'a', due(0, Patience::Renewal), NOW);
    let mut call = one_call(&mut machine);
    let (mut now, mut attempts) = (NOW, 1);
    loop {
        machine.failed(call, 8_000 * MS, u32::MAX / 2 + 1, now);
        assert_eq!(machine.poll_output(), None);
        now = machine.deadline().unwrap();
        machine.timeout(now);
        match machine.poll_output() {
            Some(RecheckOutput::Call(next, 'a')) => call = next,
            Some(RecheckOutput::Fail(sessions)) => {
                assert_eq!(sessions, [1]);
                break;
            }
            output => panic!("{output:?}"),
        }
        attempts += 1;
    }
    assert_eq!((now, attempts), (NOW + HOLD, 5));
    // The renewal goes on.
    let call = one_call(&mut machine);
    assert_eq!(machine.answered(call, at(0), now), [2]);
    check_idle(&machine);
}

#[test]
fn a_pause_lasts_between_half_and_all_of_what_is_asked_for() {
    for (random, expected) in [(0, 500), (u32::MAX / 2 + 1, 750), (u32::MAX, 1_000)] {
        let mut machine = Machine::new(8, HOLD);
        machine.request(1, &'a', held(1), NOW);
        let call = one_call(&mut machine);
        machine.failed(call, 1_000 * MS, random, NOW);
        let pause = (machine.deadline().unwrap() - NOW).as_secs_f64() * 1_000.0;
        assert_eq!(pause.round() as u32, expected, "{random}");
    }
}

#[test]
fn a_usable_answer_that_is_too_old_begins_the_wait_anew() {
    let mut machine = Machine::new(8, HOLD);
    machine.request(1, &'a', held(1), NOW);
    let call = one_call(&mut machine);
    machine.request(1, &'a', held(2), NOW + 10_000 * MS);
    assert_eq!(machine.deadline(), Some(NOW + HOLD));
    machine.answered(call, at(1), NOW + 20_000 * MS);
    assert_eq!(machine.deadline(), Some(NOW + 20_000 * MS + HOLD));
    machine.set_hold_timeout(5_000 * MS);
    assert_eq!(machine.deadline(), Some(NOW + 25_000 * MS));
}

#[test]
fn a_client_that_waits_for_one_attempt_gets_its_failure() {
    let mut machine = Machine::new(8, HOLD);
    machine.request(1, &'a', due(0, Patience::Once), NOW);
    machine.request(2, &'a', held(0), NOW);
    let call = one_call(&mut machine);
    machine.failed(call, 1_000 * MS, 0, NOW);
    let failed = RecheckOutput::Fail(vec![1]);
    assert_eq!(machine.poll_output(), Some(failed));
    assert_eq!(machine.waiting(), 1);
}

#[test]
fn a_request_with_other_credentials_replaces_the_former_one() {
    let mut machine = Machine::new(8, HOLD);
    machine.request(1, &'a', held(7), NOW);
    let old = one_call(&mut machine);
    machine.request(1, &'b', due(0, Patience::Renewal), NOW + MS);
    assert_eq!(machine.poll_output(), Some(RecheckOutput::Abandon(old)));
    let new = one_call(&mut machine);
    assert_eq!(machine.deadline(), Some(NOW + HOLD), "still held");
    assert_eq!(
        machine.answered(new, at(6), NOW + MS),
        [] as [u32; 0],
        "too old"
    );
}

#[derive(Clone, Debug)]
enum Step {
    /// A session needs an answer; true: to a call that is sent from now on.
    Request(u32, char, bool, Patience),
    Cancel(u32),
    /// A command is ordered: the clock of the calls advances.
    Command,
    Answer(usize),
    Fail(usize, u32),
    Wait(u32),
}

fn step() -> impl Strategy<Value = Step> {
    let credentials = prop::sample::select(vec!['a', 'b', 'c', 'd']);
    let patience = prop::sample::select(vec![Patience::Held, Patience::Renewal, Patience::Once]);
    let request = (0..8_u32, credentials, any::<bool>(), patience);
    prop_oneof![
        5 => request.prop_map(|(session, credentials, fresh, patience)| {
            Step::Request(session, credentials, fresh, patience)
        }),
        2 => (0..8_u32).prop_map(Step::Cancel),
        2 => Just(Step::Command),
        3 => any::<usize>().prop_map(Step::Answer),
        2 => (any::<usize>(), 0..4_000_u32)
            .prop_map(|(which, pause)| Step::Fail(which, pause)),
        3 => (0..2_000_u32).prop_map(Step::Wait),
    ]
}

proptest! {
    #[test]
    fn random_steps_do_what_the_model_does(
        in_flight_max in 0..4_usize,
        steps in prop::collection::vec(step(), 0..80),
    ) {
        let mut world = World::new(in_flight_max, 3_000 * MS);
        for step in steps {
            match step {
                Step::Request(session, credentials, fresh, patience) => {
                    world.request(session, credentials, fresh, patience);
                }
                Step::Cancel(session) => world.cancel(session),
                Step::Command => world.clock += 1,
                Step::Answer(which) => world.answer(which),
                Step::Fail(which, pause) => world.fail(which, pause * MS),
                Step::Wait(ms) => world.wait(ms * MS),
            }
        }
        world.finish();
    }
}
