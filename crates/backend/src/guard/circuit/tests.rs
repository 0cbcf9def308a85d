//! Tables of what happens to the circuit, with the time as an argument.

use super::*;

const SECOND: Duration = Duration::from_secs(1);

/// A circuit that opens at the third failure, for 1 s at first and 5 s at most.
fn circuit() -> (Circuit, Instant) {
    (Circuit::new(3, SECOND, 5 * SECOND), Instant::now())
}

/// Fails until it is open. Nothing is left to chance.
fn opened() -> (Circuit, Instant) {
    let (mut circuit, now) = circuit();
    for _ in 0..2 {
        assert_eq!(circuit.failed(Pass::Call, now, 0), None);
    }
    let change = circuit.failed(Pass::Call, now, 0);
    assert_eq!(change, Some(Change::Opened(SECOND)));
    (circuit, now)
}

#[test]
fn it_opens_after_failures_in_a_row_only() {
    let (mut circuit, now) = circuit();
    for _ in 0..10 {
        assert_eq!(circuit.failed(Pass::Call, now, 0), None);
        assert_eq!(circuit.failed(Pass::Call, now, 0), None);
        assert_eq!(circuit.succeeded(), None);
        assert_eq!(circuit.enter(now), Ok(Pass::Call));
    }
    assert_eq!((circuit.is_open(), circuit.opened()), (false, 0));
    let (circuit, now) = opened();
    assert_eq!((circuit.is_open(), circuit.opened()), (true, 1));
    assert_eq!(circuit.check(now), Err(SECOND));
}

#[test]
fn one_probe_at_a_time_decides() {
    let (mut circuit, now) = opened();
    let almost = now + SECOND - Duration::from_millis(1);
    assert_eq!(circuit.enter(almost), Err(Duration::from_millis(1)));
    let then = now + SECOND;
    assert_eq!(circuit.check(then), Ok(()));
    assert_eq!(circuit.enter(then), Ok(Pass::Probe));
    assert_eq!(circuit.enter(then), Err(SECOND));
    assert_eq!(circuit.check(then + 60 * SECOND), Err(SECOND));
    assert_eq!(circuit.succeeded(), Some(Change::Closed(0)));
    assert_eq!(circuit.enter(then), Ok(Pass::Call));
    // Counted anew.
    assert_eq!(circuit.failed(Pass::Call, then, 0), None);
    assert!(!circuit.is_open());
}

#[test]
fn each_probe_that_fails_doubles_the_wait_up_to_the_longest() {
    let (mut circuit, mut now) = opened();
    for seconds in [2, 4, 5, 5, 5] {
        now += 5 * SECOND;
        assert_eq!(circuit.enter(now), Ok(Pass::Probe));
        assert_eq!(circuit.failed(Pass::Probe, now, 0), None);
        assert_eq!(circuit.check(now), Err(seconds * SECOND));
    }
    assert_eq!(circuit.opened(), 1);
    assert_eq!(circuit.succeeded(), Some(Change::Closed(5)));
    for _ in 0..3 {
        circuit.failed(Pass::Call, now, 0);
    }
    assert_eq!(circuit.check(now), Err(SECOND));
    assert_eq!(circuit.opened(), 2);
}

#[test]
fn a_probe_whose_visitor_leaves_is_followed_by_another() {
    let (mut circuit, now) = opened();
    let then = now + SECOND;
    assert_eq!(circuit.enter(then), Ok(Pass::Probe));
    circuit.abandoned(Pass::Call);
    assert_eq!(circuit.enter(then), Err(SECOND));
    circuit.abandoned(Pass::Probe);
    assert_eq!(circuit.enter(then), Ok(Pass::Probe));
}

#[test]
fn calls_from_before_it_opened_can_close_it_but_not_prolong_it() {
    let (mut circuit, now) = opened();
    assert_eq!(circuit.failed(Pass::Call, now + SECOND / 2, 0), None);
    assert_eq!(circuit.check(now), Err(SECOND));
    assert_eq!(circuit.succeeded(), Some(Change::Closed(0)));
    // The probe of a circuit that was closed meanwhile is a call like any other.
    let (mut circuit, now) = opened();
    assert_eq!(circuit.enter(now + SECOND), Ok(Pass::Probe));
    assert_eq!(circuit.succeeded(), Some(Change::Closed(0)));
    assert_eq!(circuit.failed(Pass::Probe, now + SECOND, 0), None);
    assert!(!circuit.is_open());
}

#[test]
fn chance_takes_at_most_half_of_a_wait() {
    for (random, wait) in [(0, SECOND), (u32::MAX, SECOND / 2)] {
        let (mut circuit, now) = circuit();
        circuit.failed(Pass::Call, now, random);
        circuit.failed(Pass::Call, now, random);
        let change = circuit.failed(Pass::Call, now, random);
        assert_eq!(change, Some(Change::Opened(wait)));
        assert_eq!(circuit.check(now), Err(wait));
    }
}

#[test]
fn none_at_all_where_it_is_switched_off() {
    let mut circuit = Circuit::new(0, SECOND, SECOND);
    for _ in 0..1_000 {
        assert_eq!(circuit.failed(Pass::Call, Instant::now(), 0), None);
    }
    assert_eq!(circuit.enter(Instant::now()), Ok(Pass::Call));
}
