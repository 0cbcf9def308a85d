//! The driver against gateways, good and bad.

use ht_bench::backend::Calls;
use ht_bench::check::Faults;
use ht_bench::client::Dialect;
use ht_bench::drive::{DriveError, drive};
use ht_bench::endpoint::{EndpointAt, Post};
use ht_bench::outcome::Outcome;
use ht_bench::workload::{Pace, Rooms};

use crate::double::{Double, Fault};
use crate::support::{CONNECTIONS, label, running, workload};

fn run(fault: Fault, rooms: Rooms) -> Result<Outcome, DriveError> {
    let double = Double::start(fault);
    let endpoint = EndpointAt::Http(double.internal, Post::Trigger);
    let server = running(double.public, endpoint, Dialect::HighTemplar);
    let pace = Pace::Rate { deliveries: 4000.0 };
    drive(server, &workload(rooms, pace), label(), &Calls::default())
}

#[test]
fn a_good_gateway_passes() {
    for rooms in [Rooms::FanOut, Rooms::Unicast] {
        let outcome = run(Fault::None, rooms).unwrap();
        assert_eq!(outcome.invalid, None, "{rooms:?}");
        let found = outcome.delivering.unwrap();
        assert_eq!(found.deliveries, 800);
        // The five spaces of the real gateway are missing.
        assert_eq!(found.frame_bytes, 214 - 5);
    }
}

#[test]
fn a_window_passes_too() {
    let double = Double::start(Fault::None);
    let endpoint = EndpointAt::Http(double.internal, Post::Trigger);
    let server = running(double.public, endpoint, Dialect::HighTemplar);
    let workload = workload(Rooms::FanOut, Pace::FlatOut { window: 8 });
    let outcome = drive(server, &workload, label(), &Calls::default()).unwrap();
    assert_eq!(outcome.invalid, None);
    assert!(outcome.delivering.unwrap().deliveries > 0);
}

#[test]
fn every_fault_makes_the_run_invalid() {
    let none = Faults::default();
    let all = CONNECTIONS as u64;
    let cases = [
        (Fault::Lose, Faults { lost: all, ..none }),
        (Fault::Double, Faults { doubled: 1, ..none }),
        (
            Fault::Swap,
            Faults {
                out_of_order: all,
                ..none
            },
        ),
        (
            Fault::Misdirect,
            Faults {
                stray: 1,
                lost: 1,
                ..none
            },
        ),
    ];
    // Side by side: most of each run is patience with what will not come.
    std::thread::scope(|scope| {
        for (fault, expected) in cases {
            scope.spawn(move || {
                let outcome = run(fault, Rooms::FanOut).unwrap();
                assert_eq!(outcome.faults, expected, "{fault:?}");
                assert!(outcome.invalid.is_some(), "{fault:?}");
            });
        }
    });
}

#[test]
fn a_lost_connection_makes_the_run_invalid() {
    let outcome = run(Fault::Close, Rooms::FanOut).unwrap();
    assert_eq!(outcome.faults.closed, 1);
    assert!(outcome.faults.lost > 0);
    assert!(outcome.invalid.is_some());
}

#[test]
fn a_refused_trigger_or_client_ends_the_run() {
    let error = run(Fault::Refuse, Rooms::FanOut).unwrap_err().to_string();
    assert!(
        error.contains("trigger refused: HTTP/1.1 500 No"),
        "{error}"
    );
    let error = run(Fault::Forbid, Rooms::FanOut).unwrap_err().to_string();
    assert!(error.contains("is_authorized"), "{error}");
}
