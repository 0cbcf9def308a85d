//! The driver against the floor.

use std::thread::JoinHandle;

use ht_bench::backend::Calls;
use ht_bench::client::Dialect;
use ht_bench::drive::{DriveError, drive};
use ht_bench::endpoint::EndpointAt;
use ht_bench::floor::{Floor, Mode, Stop};
use ht_bench::outcome::Outcome;
use ht_bench::server::Running;
use ht_bench::workload::{Pace, Rooms, Workload};

use crate::support::{CONNECTIONS, label, running, workload};

fn start(mode: Mode) -> (Running, Stop, JoinHandle<std::io::Result<()>>) {
    let floor = Floor::bind("127.0.0.1:0".parse().unwrap(), mode).unwrap();
    let control = EndpointAt::Floor(floor.control().unwrap());
    let server = running(floor.public().unwrap(), control, Dialect::Plain);
    let stop = floor.stop_handle();
    (server, stop, std::thread::spawn(|| floor.run()))
}

pub(crate) fn on_floor(workload: &Workload) -> Result<Outcome, DriveError> {
    let (server, stop, thread) = start(Mode::Write);
    let outcome = drive(server, workload, label(), &Calls::default());
    stop.stop().unwrap();
    thread.join().unwrap().unwrap();
    outcome
}

#[test]
fn every_delivery_arrives_once_in_both_modes_and_both_kinds_of_rooms() {
    for mode in [Mode::Write, Mode::Coalesce] {
        for rooms in [Rooms::FanOut, Rooms::Unicast] {
            let pace = Pace::Rate { deliveries: 4000.0 };
            let (server, stop, thread) = start(mode);
            let outcome =
                drive(server, &workload(rooms, pace), label(), &Calls::default()).unwrap();
            stop.stop().unwrap();
            thread.join().unwrap().unwrap();

            assert_eq!(outcome.invalid, None, "{mode:?} {rooms:?}");
            assert!(outcome.faults.is_none());
            let found = outcome.delivering.unwrap();
            // 200 ms at 4,000 a second: the number of triggers does not depend on the machine.
            assert_eq!(found.deliveries, 800, "{mode:?} {rooms:?}");
            assert_eq!(found.frame_bytes, 214);
            assert!(found.cpu_us > 0.0 && found.p50_us > 0.0);
            assert!(found.p50_us <= found.p99_us && found.p99_us <= found.longest_us);
            assert!(outcome.joining.cpu_us > 0.0);
        }
    }
}

#[test]
fn a_window_keeps_triggers_going_until_all_have_arrived() {
    for mode in [Mode::Write, Mode::Coalesce] {
        let (server, stop, thread) = start(mode);
        let workload = workload(Rooms::FanOut, Pace::FlatOut { window: 8 });
        let outcome = drive(server, &workload, label(), &Calls::default()).unwrap();
        stop.stop().unwrap();
        thread.join().unwrap().unwrap();

        assert_eq!(outcome.invalid, None);
        let found = outcome.delivering.unwrap();
        assert_eq!(found.deliveries % CONNECTIONS as u64, 0);
        assert!(found.deliveries > 8 * CONNECTIONS as u64, "{found:?}");
    }
}

#[test]
fn an_idle_run_sends_nothing_but_the_warm_up() {
    let outcome = on_floor(&workload(Rooms::FanOut, Pace::Idle)).unwrap();
    assert_eq!(outcome.invalid, None);
    assert!(outcome.delivering.is_none());
}
