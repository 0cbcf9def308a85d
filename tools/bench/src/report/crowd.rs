//! Clients that resume at once.

use std::fmt::Write;

use super::{Page, short, whole};
use crate::outcome::Resuming;

pub(super) fn write(page: &Page<'_>, out: &mut String) {
    let workloads = page.workloads(|o| o.resuming.is_some());
    if workloads.is_empty() {
        return;
    }
    out.push_str(
        "\n## Clients that resume at once\n\nClients with 20 subscriptions each send `resume` at the \
         same moment, over a window with so many entries, while others are delivered 20,000 messages/s. \
         *Took* is until the last one was sent what it had missed, *CPU each* what the server took more \
         for a client. p99 is that of the others' deliveries, as long without and with them. *Longest \
         turn* is that of a thread, from the metrics.\n\n\
         | workload | server | clients | entries | missed | took, s | CPU each, µs | p99 µs without | \
         × with | longest turn, ms |\n|---|---|---|---|---|---|---|---|---|---|\n",
    );
    for workload in workloads {
        for server in page.distinct(|o| &o.server) {
            page.resuming_row(&workload, &server, out);
        }
    }
}

impl Page<'_> {
    fn resuming_row(&self, workload: &str, server: &str, out: &mut String) {
        let of = |figure: fn(&Resuming) -> f64| {
            self.series(workload, server, |o| o.resuming.as_ref().map(figure))
        };
        let Some(clients) = of(|found| found.clients as f64).median() else {
            return;
        };
        let median = |figure| of(figure).median().unwrap_or_default();
        let _ = writeln!(
            out,
            "| {workload} | {server} | {} | {} | {} | {} | {} | {} | {} | {} |",
            whole(clients),
            whole(median(|found| found.entries as f64)),
            whole(median(|found| found.missed as f64)),
            of(|found| found.took_us / 1e6).with_spread(),
            of(|found| found.cpu_us).with_spread(),
            short(median(|found| found.p99_us.0)),
            of(|found| found.p99_us.1 / found.p99_us.0).with_spread(),
            of(|found| found.longest_turn_us / 1e3).with_spread(),
        );
    }
}
