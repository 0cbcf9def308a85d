//! How much the floor differs from itself: smaller differences mean nothing.

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
            "\n## Noise\n\nFrom the floor's best to its worst round, as a share of its median. \
             Smaller differences mean nothing.\n\n",
        );
        out.push_str(&lines);
    }
}
