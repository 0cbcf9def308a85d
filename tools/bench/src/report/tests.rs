//! The report page against figures made by hand.

use super::*;
use crate::check::Faults;
use crate::outcome::{
    Delivering, Idling, Invalidating, Joining, Pinging, Resuming, Span, Stalling, Storming,
    Subscribing,
};
use crate::publish::{Ingest, Publisher};

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
            beside_us: 0.0,
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
        invalidating: None,
        resuming: None,
        credentials_bytes: None,
        rate_max: None,
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
    let page = render(
        &rounds("fan1k", [9.6, 19.2, 10.08]),
        &[],
        &["a note".to_owned()],
    );
    assert!(page.contains("- a note\n"), "{page}");
    assert!(
        page.contains("| high-templar | 10.1 (9.60–19.2) | 1.20 (1.20–1.20) | - |"),
        "{page}"
    );
    assert!(
        page.contains("× floor-write | 1.20 (1.20–1.20) | 1.10 | **missed** |"),
        "{page}"
    );
    assert!(page.contains("- fan1k: 95 %"), "{page}");
    assert!(
        page.contains("All 6 runs are valid: of 600 counted"),
        "{page}"
    );
}

#[test]
fn bounds_compare_a_median_with_its_limit() {
    let mut all = rounds("fan1k", [8.8, 17.6, 9.24]);
    all.extend(rounds("idle10k", [1.0, 1.0, 1.0]));
    for outcome in all.iter_mut().filter(|o| o.workload == "idle10k") {
        outcome.delivering = None;
        outcome.joining.rss_bytes = 1_201.0;
        outcome.idling = Some(Idling {
            silent_seconds: 4.0,
            silent_cores: 0.0,
            pinging: Some(Pinging {
                seconds: 30.0,
                interval_seconds: 30.0,
                pings: 10_000,
                cores: 0.015,
            }),
        });
    }
    let page = render(&all, &[], &[]);
    for line in [
        "× floor-write | 1.10 (1.10–1.10) | 1.10 | held |",
        "10,000 of them | 1,201 (1,201–1,201) | 1,200 | **missed** |",
        "ping every 30 s | 1.50 (1.50–1.50) | 1.50 | held |",
    ] {
        assert!(page.contains(line), "{line}: {page}");
    }
}

#[test]
fn pairs_of_workloads_are_compared_within_a_round() {
    let mut all = rounds("json", [8.0, 16.0, 8.0]);
    all.extend(rounds("deflate", [10.4, 20.8, 10.4]));
    all.extend(rounds("slow-none", [8.0, 8.0, 8.0]));
    all.extend(rounds("slow", [8.0, 8.0, 8.0]));
    for outcome in all.iter_mut().filter(|o| o.workload == "slow-none") {
        outcome.stalling = Some(Stalling {
            stalled: 0,
            closed: 0,
            evictions: None,
            peak_growth_bytes: 2_000_000,
        });
    }
    for outcome in all.iter_mut().filter(|o| o.workload == "slow") {
        outcome.stalling = Some(Stalling {
            stalled: 5,
            closed: 5,
            evictions: Some(4),
            peak_growth_bytes: 7_500_000,
        });
        outcome.delivering.as_mut().unwrap().p99_us = 2.2;
    }
    let page = render(&all, &[], &[]);
    for line in [
        "× uncompressed | 1.30 (1.30–1.30) | 1.25 | **missed** |",
        "× without them | 1.10 (1.10–1.10) | 1.20 | held |",
        "(the limit, and half for copies) | 1.10 (1.10–1.10) | 1.57 | held |",
        "closed and counted | 1.00 (1.00–1.00) | 0.00 | **missed** |",
        "| slow | high-templar | 5 | 5 | 4 | 7.50 |",
    ] {
        assert!(page.contains(line), "{line}: {page}");
    }
}

#[test]
fn storms_and_subscriptions_have_their_tables() {
    let mut all = rounds("storm", [8.0, 8.0, 8.0]);
    for outcome in &mut all {
        outcome.delivering = None;
        outcome.storming = Some(Storming {
            cycles: 8_000,
            per_second: 2_000.0,
            cycle_us: 160.0,
            join_us: 140.0,
            latest_us: 1.0,
            driver_cores: 0.3,
            rss_before_bytes: 14_000_000,
            rss_after_bytes: 13_000_000,
            backend_call_us: Some(50.0),
        });
        outcome.subscribing = Some(Subscribing {
            subscriptions: 990_000,
            cpu_us: 2.0,
            wall_us: 2.0,
            rss_bytes: 401.0,
            anonymous_bytes: 401.0,
        });
    }
    let page = render(&all, &[], &[]);
    let bound = "the backend call by itself 50.0 | 140 (140–140) | 150 | held |";
    assert!(page.contains(bound), "{page}");
    let line =
        "| storm | high-templar | 2,000 | 160 (160–160) | 140 (140–140) | 50.0 (50.0–50.0) |";
    assert!(page.contains(line), "{page}");
    let line = "| storm | high-templar | 1,000 | 990,000 | 401 (401–401) | 2.00 (2.00–2.00) |";
    assert!(page.contains(line), "{page}");
}

#[test]
fn the_plot_has_a_bar_for_each_server() {
    assert_eq!(plot(&[]), None);
    let mut all = rounds("fan1k", [8.8, 17.6, 9.24]);
    all.push(outcome("fan1k", "other", 0, 80.0));
    all.push(outcome("fan1k", "high-templar, 2 threads", 0, 8.0));
    let drawn = plot(&all).unwrap();
    assert_eq!(drawn.matches("<rect").count(), 3, "{drawn}");
    for text in [">high-templar<", ">1.10 ×<", ">10.0 ×<"] {
        assert!(drawn.contains(text), "{text}: {drawn}");
    }
}

#[test]
fn an_invalid_run_is_named_and_not_counted() {
    let mut all = rounds("fan1k", [9.6, 19.2, 10.08]);
    all[3].invalid = Some("client 7: not its turn".to_owned());
    all[3].faults.doubled = 3;
    let page = render(&all, &[], &[]);
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

#[test]
fn ticks_have_no_digits_too_many() {
    for (value, text) in [(0.0, "0"), (3.0 * 0.2, "0.6"), (10_000.0, "10,000")] {
        assert_eq!(plain(value), text);
    }
}

#[test]
fn a_server_that_was_spared_the_rate_says_so() {
    let mut all = rounds("fan1k", [9.6, 19.2, 10.08]);
    for outcome in all.iter_mut().filter(|o| o.server == GATEWAY) {
        outcome.rate_max = Some(5_000);
    }
    let page = render(&all, &[], &[]);
    assert_eq!(page.matches("(asked for 5,000 only)").count(), 1, "{page}");
}

#[test]
fn invalidations_are_compared_with_the_span_before_each() {
    let mut one = outcome("within", GATEWAY, 0, 5.0);
    one.delivering = None;
    let span = |p99_us| Span {
        calls: 950,
        busiest: 1.25,
        command_us: 20_000.0,
        call_us: 80.0,
        p99_us,
        longest_us: (1.0, 1.0),
    };
    one.invalidating = Some(Invalidating {
        labelled: 950,
        within_seconds: 11.4,
        answer_after_us: 10_000.0,
        in_flight_most: 65,
        spans: vec![
            span((1_000.0, 1_100.0)),
            span((4_000.0, 4_000.0)),
            span((2_000.0, 3_000.0)),
        ],
    });
    let mut kept = outcome("identity", GATEWAY, 0, 5.0);
    (kept.delivering, kept.credentials_bytes) = (None, Some(450.0));
    let mut off = outcome("identity-off", GATEWAY, 0, 5.0);
    (off.delivering, off.credentials_bytes) = (None, Some(0.0));
    off.joining.rss_bytes = 1_201.0;
    let page = render(&[one, kept, off], &[], &[]);
    for line in [
        "within 11 s | 65.0 | 64.0 | **missed** |",
        "within 11 s, × without it | 1.10 (1.00–1.50) | 1.20 | held |",
        "| within | high-templar | 950 | 11.4 | 10 | 950 | 65 | 1.25 (1.25–1.25) | 80.0 \
         (80.0–80.0) | 20.0 (20.0–20.0) | 2,000 | 1.10 (1.00–1.50) |",
        "kept credentials, counted | 450 | 800 | held |",
        "a session and two labels | 1,201 | 1,200 | **missed** |",
        "credentials add | 799 | 800 | held |",
        "`permissions.recheck` off | 0.00 | 0.00 | held |",
    ] {
        assert!(page.contains(line), "{line} in {page}");
    }
}

#[test]
fn publishers_are_compared_round_by_round() {
    let round = |round, slow: f64| Published {
        round,
        bare: Publisher {
            p50_us: 300.0 * slow,
            p99_us: 900.0,
            per_second: 10_000.0 / slow,
        },
        read_back: Publisher {
            p50_us: 400.0 * slow,
            p99_us: 1_200.0,
            per_second: 9_900.0 / slow,
        },
        gateway: Publisher {
            p50_us: 500.0 * slow,
            p99_us: 1_900.0,
            per_second: 9_000.0 / slow,
        },
        ingest: Ingest {
            triggers: 48_000,
            per_second: 12_000.0,
            cpu_us: 14.5,
            broker_us: 40.0,
        },
    };
    let page = render(&[], &[round(1, 1.0), round(2, 2.0), round(3, 1.0)], &[]);
    for line in [
        "| bare | 300 (300–600) | 900 (900–900) | 10,000 (5,000–10,000) |",
        "| bare, read back | 400 (400–800) | 1,200 (1,200–1,200) | 9,900 (4,950–9,900) |",
        "| `POST /trigger/` | 500 (500–1,000) | 1,900 (1,900–1,900) | 9,000 (4,500–9,000) |",
        "Ingest: 12,000 triggers/s, 14.5 µs of the gateway and 40.0 µs of RabbitMQ each.",
        "| publications a second past a gateway with a stream, × through it | 1.11 (1.11–1.11) | 1.25 | held |",
        "| the same, past it and read back, × through it | 1.10 (1.10–1.10) | 1.25 | held |",
        "| µs CPU of a trigger that nobody subscribed to, of a stream | 14.5 (14.5–14.5) | 20.0 | held |",
        "longer than a bare confirm, p50 | 0.20 (0.20–0.40) | 1.50 | held |",
    ] {
        assert!(page.contains(line), "{line} is not in {page}");
    }
}

#[test]
fn clients_that_resume_have_their_table_and_bounds() {
    let mut one = outcome("resume10k", GATEWAY, 1, 5.0);
    one.resuming = Some(Resuming {
        clients: 10_000,
        entries: 99_100,
        missed: 3,
        took_us: 1_500_000.0,
        cpu_us: 90.0,
        p99_us: (6_000.0, 9_000.0),
        longest_us: (8_000.0, 19_000.0),
        longest_turn_us: 12_500.0,
    });
    let page = render(&[one], &[], &[]);
    for line in [
        "| resume10k | high-templar | 10,000 | 99,100 | 3 | 1.50 | 90.0 | 6,000 | 1.50 | 12.5 |",
        "| p99 of others while 10,000 clients resume at once, × without them | 1.50 | 2.00 | held |",
        "| ms of the longest turn meanwhile | 12.5 | 20.0 | held |",
    ] {
        assert!(page.contains(line), "{line} is not in {page}");
    }
}
