//! Lines of `drive` in, a page for people out.

mod table;

use std::fmt::Write;
use std::fs;
use std::path::Path;

use anyhow::Context;

use self::table::Series;
use crate::outcome::Outcome;

/// What everything else is compared with.
const REFERENCE: &str = "floor-write";
/// Our own name in the results.
const GATEWAY: &str = "high-templar";

/// A promise: a figure of the gateway that may not exceed a bound.
struct Bound {
    workload: &'static str,
    what: &'static str,
    limit: f64,
    of: fn(&Page<'_>, &str) -> Option<f64>,
}

const BOUNDS: &[Bound] = &[
    Bound {
        workload: "fan1k",
        what: "CPU per delivery at 1,000 subscribers and 20,000 deliveries/s, times the floor",
        limit: 1.5,
        of: |page, workload| page.ratio(workload, GATEWAY, |o| o.delivering.map(|d| d.cpu_us)),
    },
    Bound {
        workload: "idle10k",
        what: "resident bytes per idle subscribed connection at 10,000",
        limit: 2_500.0,
        of: |page, workload| {
            let series = page.series(workload, GATEWAY, |o| Some(o.joining.rss_bytes));
            series.median()
        },
    },
];

/// All outcomes.
struct Page<'a> {
    outcomes: &'a [Outcome],
}

/// Reads a file of outcomes and makes the page.
///
/// # Errors
/// When the file is missing or holds something else.
pub fn read_and_render(path: &Path, notes: &[String]) -> anyhow::Result<String> {
    let text =
        fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let outcomes: Vec<Outcome> = text
        .lines()
        .enumerate()
        .map(|(index, line)| {
            let place = || format!("{}, line {}", path.display(), index + 1);
            serde_json::from_str(line).with_context(place)
        })
        .collect::<Result<_, _>>()?;
    Ok(render(&outcomes, notes))
}

/// Makes the page.
#[must_use]
pub fn render(outcomes: &[Outcome], notes: &[String]) -> String {
    let page = Page { outcomes };
    let mut out = "# Results\n\nWritten by `bench/run`; how to read it stands in \
                   [README.md](README.md).\n\n"
        .to_owned();
    for note in notes {
        let _ = writeln!(out, "- {note}");
    }
    for server in page.distinct(|o| &o.server) {
        let of_server = || outcomes.iter().filter(|o| o.server == server);
        let version = of_server().map(|o| o.version.as_str()).next().unwrap_or("");
        let runs = of_server().count();
        let _ = writeln!(out, "- {server}: {version} ({runs} runs)");
    }
    page.verdict(&mut out);
    page.bounds(&mut out);
    page.deliveries(&mut out);
    page.connections(&mut out);
    page.noise(&mut out);
    out
}

/// One run in one line, for whoever watches.
#[must_use]
pub fn one_line(outcome: &Outcome) -> String {
    let joining = &outcome.joining;
    let mut line = format!(
        "{} {} round {}: {:.0} µs and {:.0} B (anonymous {:.0} B) a connection",
        outcome.workload,
        outcome.server,
        outcome.round,
        joining.cpu_us,
        joining.rss_bytes,
        joining.anonymous_bytes,
    );
    if let Some(found) = &outcome.delivering {
        let _ = write!(
            line,
            "; {:.2} µs a delivery ({:.0} % user), {:.0}/s, p50 {:.0} µs, p99 {:.0} µs, \
             driver {:.0} %, late {:.0} µs",
            found.cpu_us,
            found.user_share * 100.0,
            found.per_second,
            found.p50_us,
            found.p99_us,
            found.driver_cores * 100.0,
            found.publisher_late_us,
        );
        if found.beside_us > 0.0 {
            let _ = write!(line, "; {:.2} µs a delivery beside it", found.beside_us);
        }
    }
    if let Some(why) = &outcome.invalid {
        let _ = write!(line, "; INVALID: {why} {:?}", outcome.faults);
    }
    line
}

impl Page<'_> {
    /// Names in the order in which they first appear.
    fn distinct(&self, name: fn(&Outcome) -> &String) -> Vec<String> {
        let mut names: Vec<String> = Vec::new();
        for outcome in self.outcomes {
            if !names.contains(name(outcome)) {
                names.push(name(outcome).clone());
            }
        }
        names
    }

    /// A figure of the valid runs of a server, by round.
    fn series(
        &self,
        workload: &str,
        server: &str,
        figure: impl Fn(&Outcome) -> Option<f64>,
    ) -> Series {
        let runs = self
            .outcomes
            .iter()
            .filter(|o| o.workload == workload && o.server == server && o.invalid.is_none());
        Series::new(runs.filter_map(|o| Some((o.round, figure(o)?))))
    }

    /// The median over rounds of a figure divided by the floor's in the same round.
    fn ratio(
        &self,
        workload: &str,
        server: &str,
        figure: impl Fn(&Outcome) -> Option<f64>,
    ) -> Option<f64> {
        let floor = self.series(workload, REFERENCE, &figure);
        self.series(workload, server, &figure).over(&floor).median()
    }

    fn verdict(&self, out: &mut String) {
        let invalid: Vec<_> = self
            .outcomes
            .iter()
            .filter(|o| o.invalid.is_some())
            .collect();
        if invalid.is_empty() {
            let deliveries: u64 = self
                .outcomes
                .iter()
                .filter_map(|o| o.delivering.map(|d| d.deliveries))
                .sum();
            let _ = writeln!(
                out,
                "\nAll {} runs are valid: of {deliveries} counted deliveries none was lost, \
                 doubled or out of order.",
                self.outcomes.len()
            );
        }
        for outcome in invalid {
            let _ = writeln!(
                out,
                "\n**INVALID**, left out below: {} {} round {}: {}. {:?}",
                outcome.workload,
                outcome.server,
                outcome.round,
                outcome.invalid.as_deref().unwrap_or_default(),
                outcome.faults
            );
        }
    }

    fn bounds(&self, out: &mut String) {
        let mut lines = String::new();
        for bound in BOUNDS {
            if let Some(found) = (bound.of)(self, bound.workload) {
                let held = if found <= bound.limit {
                    "held"
                } else {
                    "**EXCEEDED**"
                };
                let (what, limit) = (bound.what, bound.limit);
                let _ = writeln!(lines, "| {what} | {} | {limit} | {held} |", short(found));
            }
        }
        if !lines.is_empty() {
            out.push_str("\n## Bounds\n\n| what | found | bound | |\n|---|---|---|---|\n");
            out.push_str(&lines);
        }
    }

    fn deliveries(&self, out: &mut String) {
        for workload in self.distinct(|o| &o.workload) {
            let has_any = |o: &&Outcome| o.workload == workload && o.delivering.is_some();
            let Some(some) = self.outcomes.iter().find(has_any) else {
                continue;
            };
            let _ = write!(
                out,
                "\n## {workload}: {} connections\n\n\
                 | server | µs/delivery | × floor | user | deliveries/s | p50 µs | p99 µs | p99.9 µs | \
                 frame B | driver |\n|---|---|---|---|---|---|---|---|---|---|\n",
                some.connections
            );
            for server in self.distinct(|o| &o.server) {
                self.delivery_row(&workload, &server, out);
            }
        }
    }

    fn delivery_row(&self, workload: &str, server: &str, out: &mut String) {
        let cpu = |o: &Outcome| o.delivering.map(|d| d.cpu_us);
        let series = self.series(workload, server, cpu);
        if series.is_empty() {
            return;
        }
        let ratios = series.over(&self.series(workload, REFERENCE, cpu));
        let median = |figure: fn(&crate::outcome::Delivering) -> f64| {
            let series = self.series(workload, server, |o| o.delivering.as_ref().map(figure));
            series.median().map_or_else(String::new, short)
        };
        let percent = |figure: fn(&crate::outcome::Delivering) -> f64| {
            let series = self.series(workload, server, |o| o.delivering.as_ref().map(figure));
            series
                .median()
                .map_or_else(String::new, |m| format!("{:.0} %", m * 100.0))
        };
        let _ = writeln!(
            out,
            "| {server} | {} | {} | {} | {} | {} | {} | {} | {} | {} |",
            series.with_spread(),
            ratios.with_spread(),
            percent(|d| d.user_share),
            median(|d| d.per_second),
            median(|d| d.p50_us),
            median(|d| d.p99_us),
            median(|d| d.p999_us),
            median(|d| d.frame_bytes as f64),
            percent(|d| d.driver_cores),
        );
    }

    fn connections(&self, out: &mut String) {
        out.push_str(
            "\n## Connections\n\n| workload | server | connections | resident B/conn | \
             of it anonymous | resident before, MB | µs CPU/connect | × floor |\n\
             |---|---|---|---|---|---|---|---|\n",
        );
        for workload in self.distinct(|o| &o.workload) {
            for server in self.distinct(|o| &o.server) {
                let of = |figure: fn(&Outcome) -> f64| {
                    self.series(&workload, &server, |o| Some(figure(o)))
                };
                let cost = of(|o| o.joining.cpu_us);
                if cost.is_empty() {
                    continue;
                }
                let floor = self.series(&workload, REFERENCE, |o| Some(o.joining.cpu_us));
                let _ = writeln!(
                    out,
                    "| {workload} | {server} | {} | {} | {} | {} | {} | {} |",
                    of(|o| o.connections as f64)
                        .median()
                        .map_or_else(String::new, short),
                    of(|o| o.joining.rss_bytes).with_spread(),
                    of(|o| o.joining.anonymous_bytes).with_spread(),
                    of(|o| o.joining.baseline_rss_bytes as f64 / 1e6)
                        .median()
                        .map_or_else(String::new, short),
                    cost.with_spread(),
                    cost.over(&floor).with_spread(),
                );
            }
        }
    }

    /// How much the floor differs from itself: smaller differences mean nothing.
    fn noise(&self, out: &mut String) {
        let mut lines = String::new();
        for workload in self.distinct(|o| &o.workload) {
            let cpu = |o: &Outcome| o.delivering.map(|d| d.cpu_us);
            let series = self.series(&workload, REFERENCE, cpu);
            if let Some(noise) = series.noise() {
                let _ = writeln!(lines, "- {workload}: {:.0} %", noise * 100.0);
            }
        }
        if !lines.is_empty() {
            out.push_str(
                "\n## Noise\n\nFrom the floor's best to its worst round, as a share of its \
                 median. Smaller differences mean nothing.\n\n",
            );
            out.push_str(&lines);
        }
    }
}

/// Three digits that matter, thousands with commas.
fn short(value: f64) -> String {
    if value.abs() < 9.995 {
        return format!("{value:.2}");
    }
    if value.abs() < 99.95 {
        return format!("{value:.1}");
    }
    let digits = format!("{:.0}", value.abs());
    let mut out = String::new();
    if value < 0.0 {
        out.push('-');
    }
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index) % 3 == 0 {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests;
