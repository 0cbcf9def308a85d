//! Tables of the circuit's transitions, with the time as an argument.

use super::*;

const SECOND: Duration = Duration::from_secs(1);

/// An arbitrary moment.
const NOW: Duration = Duration::from_secs(1_000);

/// A circuit with a suspicion at the third failure, open for 1 s at first and 5 s at most.
fn circuit() -> (Circuit, Duration) {
    (Circuit::new(3, SECOND, 5 * SECOND), NOW)
}

fn source(address: u64, credentials: u64) -> Source {
    Source {
        address,
        credentials,
    }
}

/// Fails for three clients and the gateway itself. Without randomness.
fn opened() -> (Circuit, Duration) {
    let (mut circuit, now) = circuit();
    for visitor in 0..3 {
        assert_eq!(circuit.failed(source(visitor, visitor), now), visitor == 2);
    }
    let change = circuit.probed(false, now, 0);
    assert_eq!(change, Some(Change::Opened(SECOND)));
    (circuit, now)
}

#[test]
fn failures_of_clients_alone_never_open_it() {
    let (mut circuit, now) = circuit();
    for visitor in 0..1_000 {
        circuit.failed(source(visitor, visitor), now);
        assert_eq!(circuit.check(now), Ok(()));
    }
    assert_eq!(circuit.next_probe(), Some(now));
    // The API responds to the gateway: the failures are caused by the clients.
    assert_eq!(circuit.probed(true, now, 0), None);
    assert_eq!(circuit.next_probe(), None);
    assert_eq!((circuit.is_open(), circuit.opened()), (false, 0));
}

#[test]
fn it_opens_after_failures_in_a_row_only() {
    let (mut circuit, now) = circuit();
    for visitor in 0..30 {
        circuit.failed(source(visitor, visitor), now);
        circuit.failed(source(visitor + 1, visitor + 1), now);
        assert_eq!(circuit.next_probe(), None);
        assert_eq!(circuit.answered(), None);
    }
    let (circuit, now) = opened();
    assert_eq!((circuit.is_open(), circuit.opened()), (true, 1));
    assert_eq!(circuit.check(now), Err(SECOND));
}

#[test]
fn failures_of_few_clients_need_more_failed_own_calls() {
    // By address and credentials: one address with many cookies, one cookie from many addresses,
    // fewer than the threshold of both, as many, more.
    for (sources, needed) in [
        (&[(1, 1), (1, 1), (1, 1), (1, 1)][..], 3),
        (&[(1, 1), (1, 2), (1, 3), (1, 4)], 3),
        (&[(1, 1), (2, 1), (3, 1), (4, 1)], 3),
        (&[(1, 1), (2, 2), (2, 2), (1, 1)], 3),
        (&[(1, 1), (2, 2), (3, 3)], 1),
        (&[(1, 1), (1, 2), (2, 2), (3, 3), (4, 4)], 1),
    ] {
        let (mut circuit, mut now) = circuit();
        for &(address, credentials) in sources {
            circuit.failed(source(address, credentials), now);
        }
        for _ in 1..needed {
            assert_eq!(circuit.probed(false, now, 0), None, "{sources:?}");
            assert_eq!(circuit.check(now), Ok(()));
            now += SECOND;
            assert_eq!(circuit.next_probe(), Some(now), "a second apart");
        }
        let change = circuit.probed(false, now, 0);
        assert_eq!(change, Some(Change::Opened(SECOND)), "{sources:?}");
    }
}

#[test]
fn a_response_to_a_client_outweighs_a_failed_own_call() {
    let (mut circuit, now) = circuit();
    for visitor in 0..3 {
        circuit.failed(source(visitor, visitor), now);
    }
    assert_eq!(circuit.answered(), None);
    assert_eq!(circuit.probed(false, now, 0), None);
    assert!(!circuit.is_open());
    // Own calls keep their interval, however many suspicions there are.
    for visitor in 0..3 {
        circuit.failed(source(visitor, visitor), now);
    }
    assert_eq!(circuit.next_probe(), Some(now + SECOND));
}

#[test]
fn each_probe_that_fails_doubles_the_wait_up_to_the_longest() {
    let (mut circuit, mut now) = opened();
    assert_eq!(circuit.next_probe(), Some(now + SECOND));
    for seconds in [2, 4, 5, 5, 5] {
        now += 5 * SECOND;
        // No client's call is made while the probe is in progress.
        assert!(circuit.check(now).is_err());
        assert_eq!(circuit.probed(false, now, 0), None);
        assert_eq!(circuit.check(now), Err(seconds * SECOND));
        assert_eq!(circuit.next_probe(), Some(now + seconds * SECOND));
    }
    assert_eq!(circuit.opened(), 1);
    assert_eq!(circuit.probed(true, now, 0), Some(Change::Closed(5)));
    assert_eq!(circuit.check(now), Ok(()));
    assert_eq!(circuit.next_probe(), None);
}

#[test]
fn calls_started_before_it_opened_can_close_it_but_not_prolong_it() {
    let (mut circuit, now) = opened();
    assert!(!circuit.failed(source(9, 9), now + SECOND / 2));
    assert_eq!(circuit.check(now), Err(SECOND));
    assert_eq!(circuit.answered(), Some(Change::Closed(0)));
    assert_eq!(circuit.check(now), Ok(()));
}

#[test]
fn jitter_shortens_a_wait_by_at_most_half() {
    for (random, wait) in [(0, SECOND), (u32::MAX, SECOND / 2)] {
        let (mut circuit, now) = circuit();
        for visitor in 0..3 {
            circuit.failed(source(visitor, visitor), now);
        }
        let change = circuit.probed(false, now, random);
        assert_eq!(change, Some(Change::Opened(wait)));
        assert_eq!(circuit.check(now), Err(wait));
    }
}

#[test]
fn it_never_opens_if_disabled() {
    let (mut circuit, now) = (Circuit::new(0, SECOND, SECOND), NOW);
    for visitor in 0..1_000 {
        assert!(!circuit.failed(source(visitor, visitor), now));
    }
    assert_eq!(circuit.next_probe(), None);
    assert_eq!(circuit.check(now), Ok(()));
}
