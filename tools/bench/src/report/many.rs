//! Cost of further subscriptions.

use std::fmt::Write;

use super::{Page, whole};
use crate::outcome::Outcome;

pub(super) fn write(page: &Page<'_>, out: &mut String) {
    let workloads = page.workloads(|o| o.subscribing.is_some());
    if workloads.is_empty() {
        return;
    }
    out.push_str(
        "\n## Further subscriptions\n\nCost of each subscription after the first of a \
         connection, with a `requestId` of its own.\n\n\
         | workload | server | connections | further subscriptions | B each | µs CPU each |\n\
         |---|---|---|---|---|---|\n",
    );
    for workload in workloads {
        for server in page.distinct(|o| &o.server) {
            let of = |figure: fn(&Outcome) -> Option<f64>| page.series(&workload, &server, figure);
            let bytes = of(|o| Some(o.subscribing?.rss_bytes));
            if bytes.is_empty() {
                continue;
            }
            let count = |figure| of(figure).median().map_or_else(String::new, whole);
            let _ = writeln!(
                out,
                "| {workload} | {server} | {} | {} | {} | {} |",
                count(|o| Some(o.connections as f64)),
                count(|o| Some(o.subscribing?.subscriptions as f64)),
                bytes.with_spread(),
                of(|o| Some(o.subscribing?.cpu_us)).with_spread(),
            );
        }
    }
}
