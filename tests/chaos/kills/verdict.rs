//! Whether the clients got what they had to get, or were told that they did not.

use std::sync::atomic::Ordering;

use crate::kills::engine::Engine;
use crate::kills::page::{Heard, Told};
use crate::kills::times::Times;
use crate::kills::{PAGES, Run, STALL};

/// Runs of missing triggers that are printed of a client.
const SHOWN: usize = 20;

/// What one client did not get, or got again.
#[derive(Debug, Default)]
struct Verdict {
    /// Triggers that never came, and of which it was told.
    told: u64,
    /// Those of which it was not: runs of their numbers.
    silent: Vec<(u64, u64)>,
    /// Triggers that came again after it was told of a loss.
    again: u64,
    /// Those that came again without.
    doubled: Vec<u64>,
}

/// Whether a client was told of a loss between two moments.
fn is_told(told: &[Told], from: u64, upto: u64) -> bool {
    told.iter().any(|told| (from..=upto).contains(&told.at))
}

fn within(at: u64) -> u64 {
    at + u64::try_from(STALL.as_millis()).unwrap_or(u64::MAX)
}

fn judge(heard: &Heard, times: &Times) -> Verdict {
    let mut verdict = Verdict::default();
    for number in heard.missing() {
        let [taken, accepted] = times.of_trigger(number);
        // The API had its state before it was published: a client that is told later gets it there.
        if is_told(&heard.told, taken, within(accepted)) {
            verdict.told += 1;
            continue;
        }
        match verdict.silent.last_mut() {
            Some((_, last)) if *last + 1 == number => *last = number,
            _ => verdict.silent.push((number, number)),
        }
    }
    for &(number, first, second) in &heard.again {
        match is_told(&heard.told, first, within(second)) {
            true => verdict.again += 1,
            false => verdict.doubled.push(number),
        }
    }
    verdict
}

/// Prints what happened, and checks it.
pub(super) fn report(run: &Run, engine: &Engine, kills: u64, heard: &[Heard; PAGES]) {
    let verdicts = heard.each_ref().map(|heard| judge(heard, &run.times));
    let sum = |count: fn(&Heard) -> u64| heard.iter().map(count).sum::<u64>();
    let count = |count: fn(&Verdict) -> u64| verdicts.iter().map(count).sum::<u64>();
    let silent = count(|it| it.silent.iter().map(|(first, last)| last - first + 1).sum());
    let doubled = count(|it| it.doubled.len() as u64);
    let told = count(|it| it.told);
    println!(
        "{}: {kills} kills, {} triggers accepted after {} further tries, {PAGES} clients, which came \
         back {} times and were then sent {} publications; {silent} lost, {doubled} doubled; told {} \
         times, of {told} lost, and {} came again; in {:.0} s",
        engine.name(),
        run.accepted.load(Ordering::Relaxed),
        run.repeated.load(Ordering::Relaxed),
        sum(|heard| heard.returns),
        sum(|heard| heard.replayed),
        sum(|heard| heard.told.len() as u64),
        count(|it| it.again),
        run.times.now() as f64 / 1e3,
    );
    let may_lose = engine.may_lose();
    let is_wrong = |heard: &Heard, verdict: &Verdict| {
        let is_told = !may_lose && !heard.told.is_empty();
        is_told
            || !heard.complaints.is_empty()
            || !verdict.silent.is_empty()
            || !verdict.doubled.is_empty()
    };
    let pages = heard.iter().zip(&verdicts);
    let wrong: Vec<_> = pages
        .enumerate()
        .filter(|(_, (heard, verdict))| is_wrong(heard, verdict))
        .map(|(page, (heard, verdict))| account(page, heard, verdict, &run.times))
        .collect();
    if !wrong.is_empty() {
        println!("{}\n{}", run.times.notes(), wrong.join("\n"));
    }
    assert!(wrong.is_empty(), "{} of {PAGES} clients", wrong.len());
    if may_lose {
        assert!(kills < 2 || told > 0, "the engine has lost something");
    } else {
        let orders: Vec<_> = heard.iter().map(|heard| heard.order).collect();
        assert!(orders.iter().all(|order| *order == orders[0]), "one order");
    }
    assert!(
        kills == 0 || sum(|heard| heard.returns) > 0,
        "clients moved"
    );
}

/// What went wrong for a client, line by line.
fn account(page: usize, heard: &Heard, verdict: &Verdict, times: &Times) -> String {
    let seconds = |ms: u64| ms as f64 / 1e3;
    let mut lines = vec![format!(
        "client {page}: {} runs lost silently, {} doubled, {} lost and told",
        verdict.silent.len(),
        verdict.doubled.len(),
        verdict.told
    )];
    lines.extend(verdict.silent.iter().take(SHOWN).map(|&(first, last)| {
        let ([taken, _], [_, accepted]) = (times.of_trigger(first), times.of_trigger(last));
        let (from, upto) = (seconds(taken), seconds(accepted));
        format!("  lost {first} to {last}, taken at {from:.3} and accepted by {upto:.3}")
    }));
    let doubled = verdict.doubled.iter().take(SHOWN);
    lines.extend(doubled.map(|number| format!("  doubled {number}")));
    lines.extend(
        heard
            .told
            .iter()
            .map(|Told { at, what }| format!("  told at {:.3}: {what}", seconds(*at))),
    );
    let complaints = heard.complaints.iter().take(SHOWN);
    lines.extend(complaints.map(|complaint| format!("  unexpected: {complaint}")));
    lines.join("\n")
}
