//! `ht-sim`: runs seeds for a while, or one seed again.
//!
//! ```text
//! ht-sim [--seconds N] [--from SEED]      seeds for so long (60 s), from a random one or this one
//! ht-sim --seed SEED [--mutant NAME]      one seed again, with a trace of its shortest failure
//! ```

use std::process::ExitCode;
use std::time::{Duration, Instant};

use ht_sim::{Mutant, Outcome, Plan, run, shrink};

/// How long seeds are run where nothing else is said, in seconds.
const SECONDS: u64 = 60;

/// The requested run.
#[derive(Default)]
struct Arguments {
    seconds: Option<u64>,
    from: Option<u64>,
    seed: Option<u64>,
    mutant: Option<Mutant>,
}

impl Arguments {
    fn parse(mut words: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut arguments = Self::default();
        while let Some(word) = words.next() {
            let value = words.next().ok_or(format!("{word} needs a value"))?;
            let number = || value.parse().map_err(|_| format!("{word} takes a number"));
            match &*word {
                "--seconds" => arguments.seconds = Some(number()?),
                "--from" => arguments.from = Some(number()?),
                "--seed" => arguments.seed = Some(number()?),
                "--mutant" => {
                    let mutant = Mutant::named(&value);
                    arguments.mutant =
                        Some(mutant.ok_or(format!("--mutant takes one of {:?}", Mutant::ALL))?);
                }
                _ => return Err(format!("unknown option {word}")),
            }
        }
        Ok(arguments)
    }

    fn plan(&self, seed: u64) -> Plan {
        let plan = Plan::new(seed);
        match self.mutant {
            Some(mutant) => plan.with(mutant),
            None => plan,
        }
    }
}

fn main() -> ExitCode {
    let arguments = match Arguments::parse(std::env::args().skip(1)) {
        Ok(arguments) => arguments,
        Err(problem) => {
            eprintln!("{problem}");
            return ExitCode::from(2);
        }
    };
    // A panic of a run is a finding, and is printed with its trace.
    std::panic::set_hook(Box::new(|_| {}));
    let failed = match arguments.seed {
        Some(seed) => replay(&arguments.plan(seed)),
        None => explore(&arguments),
    };
    ExitCode::from(u8::from(failed))
}

/// Runs seed after seed. Returns whether one failed.
fn explore(arguments: &Arguments) -> bool {
    let seconds = Duration::from_secs(arguments.seconds.unwrap_or(SECONDS));
    // Short enough to be typed.
    let first = arguments.from.unwrap_or_else(|| fastrand::u64(..1 << 32));
    let begun = Instant::now();
    let mut sum = Outcome::default();
    let mut seed = first;
    while begun.elapsed() < seconds {
        let outcome = run(&arguments.plan(seed), false);
        if outcome.violation.is_some() {
            println!("seed {seed} failed after {} runs", seed - first);
            return replay(&arguments.plan(seed));
        }
        sum.steps += outcome.steps;
        sum.ms += outcome.ms;
        sum.received += outcome.received;
        sum.connections += outcome.connections;
        sum.gaps += outcome.gaps;
        sum.commands += outcome.commands;
        sum.calls += outcome.calls;
        sum.resumed += outcome.resumed;
        sum.sent_away += outcome.sent_away;
        seed += 1;
    }
    println!(
        "seeds {first} to {}: {} runs, {:.1} simulated hours, {} steps, {} connections, \
         {} publications received, {} gaps, {} commands carried out, {} calls to the API, {} clients let in by tickets, {} sent away, in {:.0} s",
        seed - 1,
        seed - first,
        sum.ms as f64 / 3_600_000.0,
        sum.steps,
        sum.connections,
        sum.received,
        sum.gaps,
        sum.commands,
        sum.calls,
        sum.resumed,
        sum.sent_away,
        begun.elapsed().as_secs_f64(),
    );
    false
}

/// Runs a plan again. Where it fails, prints the trace of the shortest plan that fails, too.
fn replay(plan: &Plan) -> bool {
    let seed = plan.seed;
    let outcome = run(plan, false);
    let Some(violation) = outcome.violation else {
        println!("seed {seed} passes: {} steps", outcome.steps);
        return false;
    };
    println!("seed {seed}: {violation}");
    let short = shrink(plan);
    let outcome = run(&short, true);
    for line in &outcome.trace {
        println!("{line}");
    }
    let (all, left) = (plan.len(), short.len());
    let violation = outcome.violation.unwrap_or_default();
    println!("with {left} of {all} actions: {violation}");
    println!("again: cargo run -p ht-sim -- --seed {seed}");
    true
}
