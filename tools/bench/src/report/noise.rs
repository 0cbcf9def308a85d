//! Differences between rounds of the floor: smaller ones are not significant.

use std::fmt::Write;

use super::{Page, REFERENCE};

pub(super) fn write(page: &Page<'_>, out: &mut String) {
    let mut lines = String::new();
    for workload in page.distinct(|o| &o.workload) {
        if let Some(noise) = page.cpu(&workload, REFERENCE).noise() {
            let _ = writeln!(lines, "- {workload}: {:.0} %", noise * 100.0);
        }
    }
    if !lines.is_empty() {
        out.push_str(
            "\n## Noise\n\nDifference between the floor's best and worst round, relative to its \
             median. Smaller differences are not significant.\n\n",
        );
        out.push_str(&lines);
    }
}
