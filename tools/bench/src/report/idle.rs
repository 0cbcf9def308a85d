//! Cost of idle connections.

use std::fmt::Write;

use super::{Page, REFERENCE, short, whole};
use crate::outcome::Outcome;

pub(super) fn write(page: &Page<'_>, out: &mut String) {
    let is_idle = |o: &Outcome| o.idling.is_some() && o.storming.is_none();
    let workloads = page.workloads(is_idle);
    if workloads.is_empty() {
        return;
    }
    out.push_str(
        "\n## Idle connections\n\nResident memory that each connection added to the server (`Rss`, \
         without kernel memory), CPU of its connect, and the CPU of all together, first silent, \
         then with a `ping` and its reply every 30 s.\n\n\
         | workload | server | connections | B/connection | of it anonymous | before, MB | \
         µs CPU/connect | × floor-write | silent, % of a core | pinging, % of a core |\n\
         |---|---|---|---|---|---|---|---|---|---|\n",
    );
    for workload in workloads {
        for server in page.distinct(|o| &o.server) {
            page.idle_row(&workload, &server, out);
        }
    }
}

impl Page<'_> {
    fn idle_row(&self, workload: &str, server: &str, out: &mut String) {
        let of = |figure: fn(&Outcome) -> Option<f64>| self.series(workload, server, figure);
        let cost = of(|o| Some(o.joining.cpu_us));
        if cost.is_empty() {
            return;
        }
        let floor = self.series(workload, REFERENCE, |o| Some(o.joining.cpu_us));
        let median = |figure| of(figure).median().map_or_else(String::new, short);
        let _ = writeln!(
            out,
            "| {workload} | {server} | {} | {} | {} | {} | {} | {} | {} | {} |",
            of(|o| Some(o.connections as f64))
                .median()
                .map_or_else(String::new, whole),
            of(|o| Some(o.joining.rss_bytes)).with_spread(),
            of(|o| Some(o.joining.anonymous_bytes)).with_spread(),
            median(|o| Some(o.joining.baseline_rss_bytes as f64 / 1e6)),
            cost.with_spread(),
            cost.over(&floor).with_spread(),
            of(|o| Some(o.idling?.silent_cores * 100.0)).with_spread(),
            of(|o| Some(o.idling?.pinging?.cores * 100.0)).with_spread(),
        );
    }
}
