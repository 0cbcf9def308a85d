//! Invalidations of many clients, spread over a span.

use std::fmt::Write;

use super::table::Series;
use super::{Page, plain, short, whole};
use crate::outcome::{Invalidating, Span};

pub(super) fn write(page: &Page<'_>, out: &mut String) {
    let workloads = page.workloads(|o| o.invalidating.is_some());
    if workloads.is_empty() {
        return;
    }
    out.push_str(
        "\n## Invalidations\n\nThe permissions of all connections with a label are invalidated \
         within a span, while others are delivered 20,000 messages/s. *In flight* is counted at the \
         API; *busiest* is its calls in the busiest tenth of a second, relative to the mean. p99 is \
         that of the others' deliveries: in a span without an invalidation, and divided, in the one \
         with it right after. *CPU/call* is what the server took more, for each call, its hold and \
         its answer. *command* is how long `POST /trigger/` took.\n\n\
         | workload | server | connections with the label | within, s | API takes, ms | calls | \
         in flight, most | busiest | CPU/call, µs | command, ms | p99 µs without | × with |\n\
         |---|---|---|---|---|---|---|---|---|---|---|---|\n",
    );
    for workload in workloads {
        for server in page.distinct(|o| &o.server) {
            page.within_row(&workload, &server, out);
        }
    }
}

impl Page<'_> {
    /// A figure of every invalidation. Their rounds are numbered on.
    pub(super) fn spans(
        &self,
        workload: &str,
        server: &str,
        figure: impl Fn(&Span) -> f64,
    ) -> Series {
        let runs = self
            .outcomes
            .iter()
            .filter(|o| o.workload == workload && o.server == server && o.invalid.is_none());
        let spans = runs.flat_map(|o| o.invalidating.iter().flat_map(|found| &found.spans));
        Series::new((0..).zip(spans.map(figure)))
    }

    fn within_row(&self, workload: &str, server: &str, out: &mut String) {
        let of = |figure: fn(&Invalidating) -> f64| {
            self.series(workload, server, |o| o.invalidating.as_ref().map(figure))
        };
        let span = |figure: fn(&Span) -> f64| self.spans(workload, server, figure);
        let Some(labelled) = of(|found| found.labelled as f64).median() else {
            return;
        };
        let median = |figure| of(figure).median().unwrap_or_default();
        let _ = writeln!(
            out,
            "| {workload} | {server} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} |",
            whole(labelled),
            plain(median(|found| found.within_seconds)),
            plain(median(|found| found.answer_after_us / 1e3)),
            span(|s| s.calls as f64)
                .median()
                .map_or_else(String::new, whole),
            of(|found| found.in_flight_most as f64)
                .most()
                .map_or_else(String::new, whole),
            span(|s| s.busiest).with_spread(),
            span(|s| s.call_us).with_spread(),
            span(|s| s.command_us / 1e3).with_spread(),
            span(|s| s.p99_us.0)
                .median()
                .map_or_else(String::new, short),
            span(|s| s.p99_us.1 / s.p99_us.0).with_spread(),
        );
    }
}
