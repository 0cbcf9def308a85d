//! Tables of attempts and the resulting log lines.

use super::*;

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn one_warning_and_one_recovery_line_per_outage() {
    let start = Instant::now();
    let mut reach = Reach::default();
    assert_eq!(reach.reached(start, start), None, "nothing was wrong");
    assert_eq!(
        reach.failed(FailureKind::Connect, start),
        Some(Report::Lost)
    );
    assert!(reach.is_reported());
    for seconds in 1..600 {
        assert_eq!(
            reach.failed(FailureKind::Connect, start + SECOND * seconds),
            None
        );
    }
    let now = start + SECOND * 600;
    let back = Report::Back {
        after: SECOND * 600,
        failures: 600,
    };
    assert_eq!(reach.reached(now, now), Some(back));
    assert!(!reach.is_lost() && !reach.is_reported());
    assert_eq!(reach.reached(now, now), None);
}

#[test]
fn an_answer_to_an_earlier_attempt_does_not_end_an_outage() {
    let start = Instant::now();
    let mut reach = Reach::default();
    reach.failed(FailureKind::Connect, start + SECOND);
    assert_eq!(reach.reached(start, start + SECOND * 2), None);
    assert!(reach.is_lost());
}

#[test]
fn another_cause_logs_another_warning() {
    let start = Instant::now();
    let mut reach = Reach::default();
    assert_eq!(
        reach.failed(FailureKind::Connect, start),
        Some(Report::Lost)
    );
    assert_eq!(
        reach.failed(FailureKind::Tls, start + SECOND),
        None,
        "too soon"
    );
    assert_eq!(
        reach.failed(FailureKind::Tls, start + WARNING_INTERVAL),
        Some(Report::Lost)
    );
    assert_eq!(
        reach.failed(FailureKind::Tls, start + WARNING_INTERVAL * 3),
        None
    );
}

#[test]
fn a_flapping_backend_does_not_flood_the_log() {
    let start = Instant::now();
    let mut reach = Reach::default();
    let mut warnings = 0;
    let mut ends = 0;
    for step in 0..100 {
        let now = start + SECOND / 2 * step;
        let report = if step % 2 == 0 {
            reach.failed(FailureKind::Connect, now)
        } else {
            reach.reached(now, now)
        };
        match report {
            Some(Report::Lost) => warnings += 1,
            Some(Report::Back { .. }) => ends += 1,
            None => {}
        }
    }
    // Fifty seconds: a warning each ten, and an end for each warning.
    assert_eq!((warnings, ends), (5, 5));
}
