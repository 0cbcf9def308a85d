//! The simulator itself: it is deterministic, it finds planted bugs, and bugs found once stay
//! fixed.

#![allow(clippy::unwrap_used)] // A failure here is a failed test.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use ht_sim::{Mutant, Plan, run};

/// Seeds that every planted bug must show in at least once. Most show in the first few.
const SEEDS: u64 = 400;

#[test]
fn a_seed_is_the_same_run_each_time() {
    for seed in [1, 7, 23] {
        let plan = Plan::new(seed);
        let outcome = run(&plan, true);
        assert!(outcome.steps > 100 && !outcome.trace.is_empty());
        assert_eq!(outcome, run(&Plan::new(seed), true), "seed {seed}");
    }
}

#[test]
fn seeds_that_failed_once_pass() {
    let known = include_str!("../seeds.txt").lines();
    let known = known.filter(|line| !line.starts_with('#'));
    let known = known.map(|line| line.split_whitespace().next().unwrap().parse().unwrap());
    for seed in known.chain(0..20) {
        let outcome = run(&Plan::new(seed), false);
        assert_eq!(outcome.violation, None, "seed {seed}");
    }
}

#[test]
fn every_planted_bug_is_found() {
    let next = AtomicUsize::new(0);
    let hunt = || {
        while let Some(&mutant) = Mutant::ALL.get(next.fetch_add(1, Ordering::Relaxed)) {
            is_found(mutant);
        }
    };
    thread::scope(|threads| {
        for hunter in [(); 2].map(|()| threads.spawn(hunt)) {
            hunter.join().unwrap();
        }
    });
}

fn is_found(mutant: Mutant) {
    let mut plans = (0..SEEDS).map(|seed| Plan::new(seed).with(mutant));
    let found = plans.find_map(|plan| run(&plan, false).violation);
    let found = found.unwrap_or_else(|| panic!("{mutant:?} was not found"));
    // By the judge, not by accident.
    let how = match mutant {
        Mutant::Drop => "was to come before it|never came",
        Mutant::Repeat => "a second time",
        Mutant::Swap => "was to come before it|out of order|never came",
        Mutant::Duplicate => "repeated is false",
        Mutant::SilentGap | Mutant::ShortGap | Mutant::SilentOverflow | Mutant::LostPlace => {
            "was not told of a gap"
        }
        Mutant::AfterUnsubscribe => "after its unsubscribe was answered",
        Mutant::LeakedRoom => "in the interest index",
        Mutant::LeakedConnection => "is still there",
        Mutant::WiderGrants => "success is true|without a grant",
        Mutant::ForgottenLeave => "after it left",
        Mutant::RunawayCall => "the API works on|calls to the API|out of order since",
        Mutant::OneQueue => "is served again|finds no room|calls to the API",
        Mutant::NoTimeout => "waits and waits",
        Mutant::StuckCircuit => "and the API is up since",
        Mutant::NoProbe => "the API is out of order since",
        Mutant::DeafProbe | Mutant::BlamedApi => "no call of the node's own failed",
        Mutant::HastyDrain => "drains before it has",
        Mutant::HastyClose => "placed before it was closed",
        Mutant::SteepDrain => "are closed too early",
        Mutant::ForgottenAnswer => "is still there",
        Mutant::MissedCommand => "was not next|never carried out",
        Mutant::LateCommand => {
            "placed after the command|without a grant|has not answered since|a second time"
        }
        Mutant::EarlyCommand => "never came|was to come before it",
        Mutant::UncheckedNewcomer => {
            "has not answered since|old rights|a command closed it|placed after the command"
        }
        Mutant::SilentCommands => {
            "a command closed it|placed after the command|success is false|old rights|is still held"
        }
        Mutant::OldAnswer => "has not answered since|without a grant|old rights|success is true",
        Mutant::ShortWindow => "never came|was to come before it",
        Mutant::WiderRights => "without a grant|success is true|after the command",
        Mutant::NoHole => "recovered, and publication|is ahead of publication",
        Mutant::EarlyHanded => "is ahead of publication|a second time",
        Mutant::UnmarkedGap => "is ahead of publication|recovered, and publication|was not told",
        Mutant::OneEpoch => {
            "is of another life|was refused for no reason|with another cursor|out of order|before it"
        }
        Mutant::KeptEpoch => "is of another life|out of order|with another cursor|before it",
        Mutant::LateStart => "was refused for no reason|before what the node knows|before it",
        Mutant::ForgottenCommand => "recovered across command",
        Mutant::OneTenant => "for another room",
        Mutant::OneCommander => {
            "has not answered since|without a grant|no command|after the command|a command closed it"
        }
        Mutant::SharedIds => "repeated is true",
        Mutant::StaleTicket => "from before the command|from before a gap",
        Mutant::OldTicket => "its ticket permits",
        Mutant::UnaskedGap => "placed after a command or a gap",
        Mutant::LeakedPermit => "s of its address|for connections|permits",
    };
    // Who may do what is seen in tickets as well.
    let is_of_rights = matches!(
        mutant,
        Mutant::MissedCommand
            | Mutant::LateCommand
            | Mutant::EarlyCommand
            | Mutant::UncheckedNewcomer
            | Mutant::SilentCommands
            | Mutant::OldAnswer
            | Mutant::WiderGrants
            | Mutant::WiderRights
            | Mutant::NoHole
            | Mutant::OneEpoch
            | Mutant::KeptEpoch
            | Mutant::LateStart
            | Mutant::ForgottenCommand
            | Mutant::OneCommander
    );
    let of_tickets = [
        "its ticket permits",
        "has a proof at",
        "is let in by a ticket",
    ];
    let of_tickets = of_tickets.into_iter().filter(|_| is_of_rights);
    let is_named = how
        .split('|')
        .chain(of_tickets)
        .any(|words| found.contains(words));
    assert!(is_named, "{mutant:?}: {found}");
}
