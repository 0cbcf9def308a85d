//! What is asked for on the command line, and what is not.

use clap::CommandFactory;

use super::*;

#[test]
fn the_command_line_is_sound() {
    Cli::command().debug_assert();
}

#[test]
fn the_pace_is_what_was_asked_for() {
    let pace = |words: &[&str]| {
        let all = [&["ht-bench", "drive", "--server", "gateway"], words].concat();
        let Command::Drive(args) = Cli::try_parse_from(all).unwrap().command else {
            panic!("not drive");
        };
        args.workload().unwrap().pace
    };
    let rate = |deliveries| Pace::Rate { deliveries };
    assert_eq!(pace(&[]), rate(20_000.0));
    assert_eq!(pace(&["--rate", "50"]), rate(50.0));
    assert_eq!(pace(&["--window", "8"]), Pace::FlatOut { window: 8 });
    assert_eq!(pace(&["--idle"]), Pace::Idle);
}

#[test]
fn what_makes_no_sense_is_refused() {
    for words in [
        &["--rate", "0"][..],
        &["--window", "8", "--rate", "5"],
        &["--idle", "--window", "8"],
        &["--connections", "20000"],
        &["--data-bytes", "10"],
        &["--ping-every", "30"],
        &["--storm", "100"],
        &["--idle", "--stalled", "3"],
        &["--idle", "--within", "5"],
        &["--times", "2"],
        &["--setting", "PATH=/"],
        &["--setting", "HT_THREADS"],
    ] {
        let all = [&["ht-bench", "drive", "--server", "gateway"], words].concat();
        assert!(Cli::try_parse_from(all).is_err(), "{words:?}");
    }
}

#[test]
fn some_workloads_contradict_themselves() {
    let workload = |words: &[&str]| {
        let all = [&["ht-bench", "drive", "--server", "gateway"], words].concat();
        let Command::Drive(args) = Cli::try_parse_from(all).unwrap().command else {
            panic!("not drive");
        };
        args.workload()
    };
    assert!(workload(&["--stalled", "1000"]).is_err());
    assert!(workload(&["--stalled", "1", "--rooms", "unicast"]).is_err());
    assert!(workload(&["--rooms", "many", "--window", "8"]).is_err());
    assert!(workload(&["--within", "5"]).is_err());
    let labelled = workload(&["--rooms", "labelled", "--within", "5"]).unwrap();
    assert_eq!(labelled.grants, Grants::Identity);
    assert_eq!(labelled.spread.unwrap().times, 3);
    let many = workload(&["--rooms", "many"]).unwrap();
    assert_eq!(many.grants, Grants::Project);
    let idle = workload(&["--idle", "--ping-every", "30", "--storm", "100"]).unwrap();
    assert_eq!(idle.pings.unwrap().during, Duration::from_secs(30));
    assert_eq!(idle.storm.unwrap().at_once, 64);
}
