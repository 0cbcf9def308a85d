//! Makes a failing plan shorter, as long as it fails.

use crate::plan::Plan;
use crate::run;

/// Runs that may be spent on it.
const RUNS: usize = 2_000;

/// The shortest plan found that still fails: without unneeded shards, nodes and faults, then
/// without half of the actions at a time, a quarter, down to single ones.
#[must_use]
pub fn shrink(plan: &Plan) -> Plan {
    let mut best = plan.clone();
    let mut runs = 0;
    let mut fails = |plan: &Plan| {
        runs += 1;
        (runs <= RUNS).then(|| run(plan, false).violation.is_some())
    };
    for simpler in Plan::SIMPLER {
        while let Some(plan) = simpler(&best)
            && fails(&plan) == Some(true)
        {
            best = plan;
        }
    }
    let mut size = best.actions.len().div_ceil(2);
    while size > 0 {
        let before = best.actions.len();
        let mut at = 0;
        while at < best.actions.len() {
            let mut shorter = best.clone();
            let end = (at + size).min(shorter.actions.len());
            shorter.actions.drain(at..end);
            match fails(&shorter) {
                Some(true) => best = shorter,
                Some(false) => at += size,
                None => return best,
            }
        }
        // Single ones are tried until none of them can be removed.
        if size > 1 || best.actions.len() == before {
            size /= 2;
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mutant::Mutant;

    #[test]
    fn a_short_plan_fails_as_the_long_one_did() {
        let fails = |plan: &Plan| run(plan, false).violation.is_some();
        let plans = (0..100).map(|seed| Plan::new(seed).with(Mutant::Repeat));
        let plan = plans.into_iter().find(fails).expect("it is found");
        let short = shrink(&plan);
        assert!(fails(&short));
        // A client connects and subscribes, and there are five publications.
        assert!(short.len() <= 20 && short.len() < plan.len(), "{short:#?}");
    }
}
