//! Publishers with a stream of RabbitMQ as the log, and the ingest.

use std::fmt::Write;

use super::table::Series;
use super::{Page, short, whole};
use crate::publish::{Published, WINDOW};

pub(super) fn write(page: &Page<'_>, out: &mut String) {
    if page.published.is_empty() {
        return;
    }
    let _ = write!(
        out,
        "\n## A stream as the log\n\nA publisher of RabbitMQ with confirms, into a stream that nobody \
         reads; the same, which waits until it has read each message back; and one that posts to `/trigger/` of a gateway whose log is a stream, which answers when \
         it has read the trigger back. They take turns. *Ingest* is what the gateway and RabbitMQ take \
         for triggers that nobody subscribed to.\n\n\
         | publisher | p50 of one at a time, µs | p99, µs | a second with {WINDOW} at once |\n|---|---|---|---|\n",
    );
    for (name, of) in [
        ("bare", (|one| one.bare) as fn(&Published) -> _),
        ("bare, read back", |one| one.read_back),
        ("`POST /trigger/`", |one| one.gateway),
    ] {
        let _ = writeln!(
            out,
            "| {name} | {} | {} | {} |",
            page.published(|one| of(one).p50_us).with_spread(),
            page.published(|one| of(one).p99_us).with_spread(),
            page.published(|one| of(one).per_second).with_spread(),
        );
    }
    let median =
        |figure: fn(&Published) -> f64| page.published(figure).median().unwrap_or_default();
    let _ = writeln!(
        out,
        "\nIngest: {} triggers/s, {} µs of the gateway and {} µs of RabbitMQ each.",
        whole(median(|one| one.ingest.per_second)),
        short(median(|one| one.ingest.cpu_us)),
        short(median(|one| one.ingest.broker_us)),
    );
}

impl Page<'_> {
    /// A figure of every round.
    pub(super) fn published(&self, figure: impl Fn(&Published) -> f64) -> Series {
        let rounds = self.published.iter();
        Series::new(rounds.map(|one| (one.round, figure(one))))
    }
}
