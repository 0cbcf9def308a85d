//! A table for each workload in which something is delivered.

use std::fmt::Write;

use super::{COALESCING, Page, REFERENCE, short, whole};
use crate::outcome::Delivering;

/// Descriptions of the workloads.
const WORDS: &[(&str, &str)] = &[
    (
        "fan1k",
        "One room with all clients, 20,000 deliveries/s in all.",
    ),
    (
        "fan5k",
        "The same with more subscribers: fewer triggers, each to more.",
    ),
    (
        "fan1k-max",
        "The room of fan1k at full speed, eight triggers outstanding.",
    ),
    (
        "fan5k-max",
        "The room of fan5k at full speed, eight triggers outstanding.",
    ),
    (
        "uni5k",
        "A room for each connection, 2,000 triggers/s in turn.",
    ),
    (
        "uni1k",
        "A room for each connection, 2,000 triggers/s in turn.",
    ),
    ("large", "64 KB of data to one room."),
    (
        "json",
        "3 KB of JSON records to one room: for comparison with deflate.",
    ),
    (
        "deflate",
        "The same, compressed with permessage-deflate: *frame B* is the length on the wire.",
    ),
    (
        "slow-none",
        "32 KB of data to one room: for comparison with slow.",
    ),
    (
        "slow",
        "The same, while 1 % of the readers do not read. Figures are those of the others.",
    ),
    (
        "many",
        "A hundred subscriptions a connection, in many rooms and with wildcards; a trigger names \
         one room or, with a `*`, many.",
    ),
];

pub(super) fn write(page: &Page<'_>, out: &mut String) {
    for workload in page.workloads(|o| o.delivering.is_some()) {
        let words = WORDS.iter().find(|(name, _)| *name == workload);
        let words = words.map_or("", |(_, words)| words);
        let some = page.outcomes.iter().find(|o| o.workload == workload);
        let connections = some.map(|o| o.connections as f64);
        let _ = write!(
            out,
            "\n## {workload}: {} connections\n\n{words}\n\n\
             | server | µs/delivery | × floor-write | × floor-coalesce | user | deliveries/s | \
             p50 µs | p99 µs | p99.9 µs | frame B | driver |\n\
             |---|---|---|---|---|---|---|---|---|---|---|\n",
            connections.map_or_else(String::new, whole),
        );
        for server in page.distinct(|o| &o.server) {
            page.delivery_row(&workload, &server, out);
        }
    }
}

impl Page<'_> {
    fn delivery_row(&self, workload: &str, server: &str, out: &mut String) {
        let cpu = self.cpu(workload, server);
        if cpu.is_empty() {
            return;
        }
        let ratio = |floor| self.cpu_ratio(workload, server, floor).with_spread();
        let of = |figure: fn(&Delivering) -> f64| {
            let series = self.series(workload, server, |o| o.delivering.as_ref().map(figure));
            series.median()
        };
        let median = |figure| of(figure).map_or_else(String::new, short);
        let percent =
            |figure| of(figure).map_or_else(String::new, |m| format!("{:.0} %", m * 100.0));
        let beside = of(|d| d.beside_us).filter(|us| *us > 0.0);
        let beside = beside.map_or_else(String::new, |us| format!(" + {} beside it", short(us)));
        let spared = self.outcomes.iter().find_map(|o| {
            let here = o.workload == workload && o.server == server;
            o.rate_max.filter(|_| here)
        });
        let spared = spared.map_or_else(String::new, |max| {
            format!(" (asked for {} only)", short(f64::from(max)))
        });
        let _ = writeln!(
            out,
            "| {server} | {}{beside} | {} | {} | {} | {}{spared} | {} | {} | {} | {} | {} |",
            cpu.with_spread(),
            ratio(REFERENCE),
            ratio(COALESCING),
            percent(|d| d.user_share),
            median(|d| d.per_second),
            median(|d| d.p50_us),
            median(|d| d.p99_us),
            median(|d| d.p999_us),
            median(|d| d.frame_bytes as f64),
            percent(|d| d.driver_cores),
        );
    }
}
