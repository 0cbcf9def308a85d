//! Workloads beyond plain deliveries.

use std::time::Duration;

use ht_bench::backend::{Calls, StubBackend};
use ht_bench::client::Dialect;
use ht_bench::drive::{DriveError, drive};
use ht_bench::endpoint::{EndpointAt, Post};
use ht_bench::message::Content;
use ht_bench::outcome::Outcome;
use ht_bench::workload::{Grants, Pace, Pings, Rooms, Spread, Storm, Workload};

use crate::double::{Double, Fault};
use crate::floor::on_floor;
use crate::support::{CONNECTIONS, label, running, workload};

fn on_double(fault: Fault, workload: &Workload) -> Result<Outcome, DriveError> {
    let double = Double::start(fault);
    let endpoint = EndpointAt::Http(double.internal, Post::Trigger);
    let server = running(double.public, endpoint, Dialect::HighTemplar);
    drive(server, workload, label(), &Calls::default())
}

const RATE: Pace = Pace::Rate { deliveries: 4000.0 };

fn pinging() -> Workload {
    Workload {
        pings: Some(Pings {
            interval: Duration::from_millis(100),
            during: Duration::from_millis(200),
        }),
        ..workload(Rooms::FanOut, Pace::Idle)
    }
}

#[test]
fn idle_clients_ping_in_turn_and_are_answered() {
    let outcome = on_double(Fault::None, &pinging()).unwrap();
    assert_eq!(outcome.invalid, None);
    let pinging = outcome.idling.unwrap().pinging.unwrap();
    // 200 ms, and every 100 ms a ping of each.
    assert_eq!(pinging.pings, 2 * CONNECTIONS as u64);
}

#[test]
fn a_ping_without_an_answer_makes_the_run_invalid() {
    let outcome = on_double(Fault::Mute, &pinging()).unwrap();
    assert!(outcome.invalid.unwrap().contains("40 pings had 0 answers"));
}

#[test]
fn the_floor_has_no_ping() {
    let outcome = on_floor(&pinging()).unwrap();
    assert_eq!(outcome.invalid, None);
    assert!(outcome.idling.unwrap().pinging.is_none());
}

#[test]
fn clients_come_and_go_and_those_who_stay_are_kept() {
    let storm = Storm {
        per_second: 500.0,
        at_once: 8,
    };
    let workload = Workload {
        storm: Some(storm),
        ..workload(Rooms::Unicast, Pace::Idle)
    };
    for outcome in [on_double(Fault::None, &workload), on_floor(&workload)] {
        let outcome = outcome.unwrap();
        assert_eq!(outcome.invalid, None);
        let storming = outcome.storming.unwrap();
        // 200 ms at 500 a second.
        assert_eq!(storming.cycles, 100);
        assert!(storming.cycle_us > 0.0 && storming.join_us > 0.0);
    }
}

#[test]
fn many_rooms_are_checked_subscription_by_subscription() {
    let workload = workload(Rooms::Many, Pace::Rate { deliveries: 400.0 });
    let outcome = on_double(Fault::None, &workload).unwrap();
    assert_eq!(outcome.invalid, None);
    let further = outcome.subscribing.unwrap().subscriptions;
    assert_eq!(further, 99 * CONNECTIONS as u64);
    assert!(outcome.delivering.unwrap().deliveries > 0);
    assert!(on_floor(&workload).unwrap_err().is_unable());

    let outcome = on_double(Fault::Misdirect, &workload).unwrap();
    assert!(outcome.invalid.is_some());
}

#[test]
fn readers_that_stop_are_left_out_of_the_account() {
    let workload = Workload {
        stalled: 3,
        data_bytes: 65_536,
        ..workload(Rooms::FanOut, RATE)
    };
    let outcome = on_floor(&workload).unwrap();
    assert_eq!(outcome.invalid, None);
    // 40 triggers to the other 17.
    assert_eq!(outcome.delivering.unwrap().deliveries, 40 * 17);
    let stalling = outcome.stalling.unwrap();
    // The floor keeps more for them than they were sent.
    assert_eq!((stalling.stalled, stalling.closed), (3, 0));
}

#[test]
fn compressed_messages_are_inflated_and_checked() {
    let compressed = Workload {
        deflate: true,
        content: Content::Orders,
        data_bytes: 2_000,
        ..workload(Rooms::FanOut, RATE)
    };
    let outcome = on_double(Fault::None, &compressed).unwrap();
    assert_eq!(outcome.invalid, None);
    let found = outcome.delivering.unwrap();
    assert_eq!(found.deliveries, 800);
    assert!(found.frame_bytes < 1_200, "{}", found.frame_bytes);
    assert!(on_floor(&compressed).unwrap_err().is_unable());

    let outcome = on_double(Fault::Double, &compressed).unwrap();
    assert_eq!(outcome.faults.doubled, 1);
}

#[test]
fn invalidated_clients_are_counted_at_the_api() {
    let spread = Spread {
        within: Duration::from_millis(200),
        times: 2,
    };
    let workload = Workload {
        spread: Some(spread),
        grants: Grants::Identity,
        answer_after: Duration::from_millis(2),
        ..workload(Rooms::Labelled, RATE)
    };
    for fault in [Fault::None, Fault::Forget] {
        let api = StubBackend::start(workload.grants, workload.answer_after).unwrap();
        let double = Double::start_with(fault, Some(api.address()));
        let endpoint = EndpointAt::Http(double.internal, Post::Trigger);
        let server = running(double.public, endpoint, Dialect::HighTemplar);
        let outcome = drive(server, &workload, label(), api.calls()).unwrap();
        if fault == Fault::Forget {
            let why = outcome.invalid.unwrap();
            assert_eq!(why, "19 clients were selected, and 18 called");
            continue;
        }
        assert_eq!(outcome.invalid, None);
        assert_eq!(outcome.credentials_bytes, Some(400.0));
        let found = outcome.invalidating.unwrap();
        // One of twenty listens.
        assert_eq!((found.labelled, found.in_flight_most), (19, 1));
        assert_eq!(found.spans.len(), 2);
        for span in &found.spans {
            assert_eq!(span.calls, 19);
            // They are 10 ms apart at least, and so in the mean.
            assert!((0.0..1.06).contains(&span.busiest), "{span:?}");
            assert!(span.p99_us.0 > 0.0 && span.p99_us.1 > 0.0);
        }
    }
    assert!(on_floor(&workload).unwrap_err().is_unable());
}
