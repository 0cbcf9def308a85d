//! The steps of a drain, at their times.

use super::*;

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn settings(delay: u64, period: u64, timeout: u64) -> DrainSettings {
    DrainSettings {
        delay: ms(delay),
        period: ms(period),
        timeout: ms(timeout),
    }
}

/// The current steps, in words.
fn steps(drain: &mut Drain) -> Vec<String> {
    let steps = std::iter::from_fn(|| drain.poll_step());
    let words = steps.map(|step| match step {
        Step::CloseEntrance => "entrance".to_owned(),
        Step::CatchUp => "catch up".to_owned(),
        Step::Close { left, close } => format!("wave, {left} left: {}", close.reason()),
        Step::CloseAll(close) => format!("all: {}", close.reason()),
        Step::EndTriggers => "triggers".to_owned(),
        Step::EndRest => "rest".to_owned(),
        Step::End { is_late } => format!("end, late: {is_late}"),
    });
    words.collect()
}

/// Advances time until something is due, and returns when that was and what was done.
fn next(drain: &mut Drain) -> (u64, Vec<String>) {
    let due = drain.deadline().expect("something is due");
    drain.tick(due - ms(1));
    assert_eq!(steps(drain), [""; 0], "too early");
    drain.tick(due);
    (due.as_millis() as u64, steps(drain))
}

/// A node with so many connections that has stopped admission at 0 ms and caught up at 10 ms.
fn caught_up(open: u64, settings: DrainSettings) -> Drain {
    let mut drain = Drain::new(settings, ms(0));
    assert_eq!(steps(&mut drain), ["entrance"]);
    drain.entrance_closed(open, ms(0));
    assert_eq!(steps(&mut drain), ["catch up"]);
    drain.caught_up(ms(10));
    drain
}

#[test]
fn a_node_drains_step_by_step() {
    let mut drain = Drain::new(settings(100, 3_000, 7_000), ms(5));
    assert_eq!(steps(&mut drain), [""; 0]);
    assert_eq!(next(&mut drain), (105, vec!["entrance".into()]));
    // However long that takes.
    assert_eq!(drain.deadline(), None);
    drain.entrance_closed(15, ms(200));
    assert_eq!(steps(&mut drain), ["catch up"]);
    drain.caught_up(ms(300));
    // Fifteen may reconnect within 150 ms: three waves, and the remainder.
    assert_eq!(steps(&mut drain), ["wave, 2 left: restart 150"]);
    let wave = |left| vec![format!("wave, {left} left: restart 150")];
    assert_eq!(next(&mut drain), (350, wave(1)));
    assert_eq!(next(&mut drain), (400, wave(0)));
    assert_eq!(next(&mut drain), (450, vec!["all: restart 150".into()]));
    drain.shards_ended();
    assert_eq!(steps(&mut drain), ["triggers"]);
    drain.triggers_ended();
    assert_eq!(steps(&mut drain), ["rest"]);
    drain.rest_ended();
    assert_eq!(steps(&mut drain), ["end, late: false"]);
    assert_eq!(drain.deadline(), None);
}

#[test]
fn slow_broker_has_its_timeout_and_no_more() {
    let mut drain = Drain::new(settings(0, 3_000, 7_000), ms(0));
    assert_eq!(steps(&mut drain), ["entrance"]);
    drain.entrance_closed(0, ms(50));
    assert_eq!(steps(&mut drain), ["catch up"]);
    assert_eq!(next(&mut drain), (1_050, vec!["all: restart".into()]));
    // It was reported too late.
    drain.caught_up(ms(1_060));
    assert_eq!(steps(&mut drain), [""; 0]);
}

#[test]
fn what_takes_longer_than_the_timeout_is_dropped() {
    let mut drain = caught_up(0, settings(0, 0, 2_000));
    assert_eq!(steps(&mut drain), ["all: restart"]);
    let late = vec!["end, late: true".to_owned()];
    assert_eq!(next(&mut drain), (2_000, late.clone()));
    drain.shards_ended();
    assert_eq!(steps(&mut drain), [""; 0]);
    let mut drain = caught_up(0, settings(0, 0, 2_000));
    drain.shards_ended();
    drain.triggers_ended();
    steps(&mut drain);
    assert_eq!(next(&mut drain), (2_000, late));
}

#[test]
fn hurry_ends_the_delay_and_the_waves_and_sets_a_second() {
    let mut drain = Drain::new(settings(10_000, 3_000, 7_000), ms(0));
    drain.hurry(ms(500));
    assert_eq!(steps(&mut drain), ["entrance"]);
    drain.entrance_closed(100, ms(600));
    assert_eq!(steps(&mut drain), ["all: restart 1000"]);
    // A second from when shutdown was hurried, however often that is requested.
    drain.hurry(ms(900));
    assert_eq!(next(&mut drain), (1_500, vec!["end, late: true".into()]));

    let mut drain = caught_up(100, settings(0, 3_000, 7_000));
    assert_eq!(steps(&mut drain), ["wave, 19 left: restart 1000"]);
    drain.hurry(ms(20));
    assert_eq!(steps(&mut drain), ["all: restart 1000"]);
    assert_eq!(next(&mut drain), (1_020, vec!["end, late: true".into()]));
}

#[test]
fn nothing_is_done_twice_or_out_of_order() {
    let mut drain = Drain::new(settings(0, 0, 7_000), ms(0));
    assert_eq!(steps(&mut drain), ["entrance"]);
    drain.rest_ended();
    drain.triggers_ended();
    drain.shards_ended();
    drain.caught_up(ms(1));
    assert_eq!(steps(&mut drain), [""; 0]);
    drain.entrance_closed(1, ms(2));
    drain.entrance_closed(1, ms(2));
    drain.shards_ended();
    assert_eq!(steps(&mut drain), ["catch up"]);
}
