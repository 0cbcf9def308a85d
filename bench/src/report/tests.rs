//! The report page against figures made by hand.

use super::*;
use crate::check::Faults;
use crate::outcome::Delivering;
use crate::outcome::Joining;

fn outcome(workload: &str, server: &str, round: u32, cpu_us: f64) -> Outcome {
    Outcome {
        workload: workload.to_owned(),
        server: server.to_owned(),
        version: "1".to_owned(),
        round,
        connections: 1_000,
        joining: Joining {
            cpu_us: 10.0 * cpu_us,
            wall_us: 1.0,
            rss_bytes: 2_000.0,
            anonymous_bytes: 1_900.0,
            baseline_rss_bytes: 1,
        },
        delivering: Some(Delivering {
            deliveries: 100,
            per_second: 20_000.0,
            cpu_us,
            user_share: 0.1,
            frame_bytes: 214,
            p50_us: 1.0,
            p99_us: 2.0,
            p999_us: 3.0,
            longest_us: 4.0,
            publisher_late_us: 0.0,
            driver_cores: 0.5,
        }),
        subscribing: None,
        idling: None,
        storming: None,
        stalling: None,
        faults: Faults::default(),
        invalid: None,
    }
}

fn rounds(workload: &str, gateway: [f64; 3]) -> Vec<Outcome> {
    let mut all = Vec::new();
    // The machine is twice as slow in the second round: ratios must not see it.
    for (round, (floor, gateway)) in [8.0, 16.0, 8.4].into_iter().zip(gateway).enumerate() {
        all.push(outcome(workload, REFERENCE, round as u32, floor));
        all.push(outcome(workload, GATEWAY, round as u32, gateway));
    }
    all
}

#[test]
fn ratios_compare_within_a_round() {
    let page = render(&rounds("fan1k", [9.6, 19.2, 10.08]), &["a note".to_owned()]);
    assert!(page.contains("- a note\n"), "{page}");
    assert!(
        page.contains("| high-templar | 10.1 (9.60–19.2) | 1.20 (1.20–1.20) |"),
        "{page}"
    );
    assert!(
        page.contains("times the floor | 1.20 | 1.5 | held |"),
        "{page}"
    );
    assert!(page.contains("- fan1k: 95 %"), "{page}");
    assert!(
        page.contains("All 6 runs are valid: of 600 counted"),
        "{page}"
    );
}

#[test]
fn an_exceeded_bound_is_said() {
    let mut all = rounds("fan1k", [12.9, 25.8, 13.5]);
    all.iter_mut().for_each(|o| o.joining.rss_bytes = 2_501.0);
    all.extend(all.clone().into_iter().map(|mut o| {
        o.workload = "idle10k".to_owned();
        o.delivering = None;
        o
    }));
    let page = render(&all, &[]);
    assert!(page.contains("| 1.61 | 1.5 | **EXCEEDED** |"), "{page}");
    assert!(page.contains("| 2,501 | 2500 | **EXCEEDED** |"), "{page}");
}

#[test]
fn an_invalid_run_is_named_and_not_counted() {
    let mut all = rounds("fan1k", [9.6, 19.2, 10.08]);
    all[3].invalid = Some("client 7: not its turn".to_owned());
    all[3].faults.doubled = 3;
    let page = render(&all, &[]);
    assert!(
        page.contains("**INVALID**, left out below: fan1k high-templar round 1"),
        "{page}"
    );
    assert!(page.contains("doubled: 3"), "{page}");
    assert!(
        page.contains("| high-templar | 9.84 (9.60–10.1) |"),
        "{page}"
    );
    assert!(!page.contains("All 6 runs"), "{page}");
    assert!(one_line(&all[3]).contains("INVALID: client 7"));
}

#[test]
fn figures_are_short() {
    for (value, text) in [
        (0.0, "0.00"),
        (9.994, "9.99"),
        (9.996, "10.0"),
        (99.96, "100"),
        (1_234_567.0, "1,234,567"),
        (-1_200.0, "-1,200"),
    ] {
        assert_eq!(short(value), text);
    }
}
