//! Cost of connection churn.

use std::fmt::Write;

use super::{Page, short};
use crate::outcome::Storming;

pub(super) fn write(page: &Page<'_>, out: &mut String) {
    let workloads = page.workloads(|o| o.storming.is_some());
    if workloads.is_empty() {
        return;
    }
    out.push_str(
        "\n## Storm\n\nClients connect at a fixed rate, are admitted by the backend, subscribe and \
         leave: server CPU for each (*cycle*), and without leaving (*connect*). *backend call* is \
         the CPU of the call alone: the gateway's client makes it in a separate process, at the \
         same rate. Resident memory is the server's before the first client and after the last.\n\n\
         | workload | server | cycles/s | cycle, µs | connect, µs | backend call, µs | \
         memory before, MB | after, MB | driver |\n|---|---|---|---|---|---|---|---|---|\n",
    );
    for workload in workloads {
        for server in page.distinct(|o| &o.server) {
            let of = |figure: fn(&Storming) -> Option<f64>| {
                page.series(&workload, &server, |o| o.storming.as_ref().and_then(figure))
            };
            let cycle = of(|s| Some(s.cycle_us));
            if cycle.is_empty() {
                continue;
            }
            let median = |figure| of(figure).median().map_or_else(String::new, short);
            let _ = writeln!(
                out,
                "| {workload} | {server} | {} | {} | {} | {} | {} | {} | {} % |",
                median(|s| Some(s.per_second)),
                cycle.with_spread(),
                of(|s| Some(s.join_us)).with_spread(),
                of(|s| s.backend_call_us).with_spread(),
                median(|s| Some(s.rss_before_bytes as f64 / 1e6)),
                median(|s| Some(s.rss_after_bytes as f64 / 1e6)),
                median(|s| Some(s.driver_cores * 100.0)),
            );
        }
    }
}
