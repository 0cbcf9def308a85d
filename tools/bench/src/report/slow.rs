//! Slow consumers.

use std::fmt::Write;

use super::{Page, short, whole};
use crate::outcome::{Outcome, Stalling};

pub(super) fn write(page: &Page<'_>, out: &mut String) {
    let mut lines = String::new();
    let is_shown = |o: &Outcome| {
        let stalled = o.stalling.is_some_and(|s| s.stalled > 0);
        // What fills memory without any slow reader.
        stalled || o.workload == "slow-none"
    };
    for workload in page.workloads(is_shown) {
        for server in page.distinct(|o| &o.server) {
            let of = |figure: fn(&Stalling) -> Option<f64>| {
                let series =
                    page.series(&workload, &server, |o| o.stalling.as_ref().and_then(figure));
                series.median()
            };
            let Some(stalled) = of(|s| Some(s.stalled as f64)) else {
                continue;
            };
            let count = |figure| of(figure).map_or_else(|| "-".to_owned(), whole);
            let _ = writeln!(
                lines,
                "| {workload} | {server} | {} | {} | {} | {} |",
                whole(stalled),
                count(|s| Some(s.closed as f64)),
                count(|s| s.evictions.map(|e| e as f64)),
                of(|s| Some(s.peak_growth_bytes as f64 / 1e6)).map_or_else(String::new, short),
            );
        }
    }
    if !lines.is_empty() {
        out.push_str(
            "\n## Slow readers\n\nReaders that stopped when the measurement began, how many of them \
             the server closed, how many evictions its metrics report, and the maximum growth of \
             its resident memory, the window included. Up to 4 MB for each slow reader are in the kernel.\n\n\
             | workload | server | stopped | closed | counted | peak, MB |\n\
             |---|---|---|---|---|---|\n",
        );
        out.push_str(&lines);
    }
}
