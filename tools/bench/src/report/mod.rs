//! Writes the results page from the lines of `drive`.

mod bounds;
mod crowd;
mod deliveries;
mod idle;
mod line;
mod many;
mod noise;
mod plot;
mod published;
mod slow;
mod storm;
mod svg;
mod table;
mod within;

use std::fmt::Write;
use std::fs;
use std::path::Path;

use anyhow::Context;
use serde::de::DeserializeOwned;

pub use self::line::one_line;
pub use self::plot::plot;
use self::table::Series;
use crate::outcome::Outcome;
use crate::publish::Published;

/// The server that all others are compared with.
const REFERENCE: &str = "floor-write";
/// The same at full speed.
const COALESCING: &str = "floor-coalesce";
/// This product in the results, with one thread.
const GATEWAY: &str = "high-templar";
/// The same, triggered over RabbitMQ.
const GATEWAY_RABBITMQ: &str = "high-templar-rabbitmq";

/// All outcomes.
struct Page<'a> {
    outcomes: &'a [Outcome],
    published: &'a [Published],
}

/// Reads a file of outcomes, or of other findings: one in a line.
///
/// # Errors
/// When the file is missing or invalid.
pub fn read<T: DeserializeOwned>(path: &Path) -> anyhow::Result<Vec<T>> {
    let text =
        fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    text.lines()
        .enumerate()
        .map(|(index, line)| {
            let place = || format!("{}, line {}", path.display(), index + 1);
            serde_json::from_str(line).with_context(place)
        })
        .collect()
}

/// Writes the page.
#[must_use]
pub fn render(outcomes: &[Outcome], published: &[Published], notes: &[String]) -> String {
    let page = Page {
        outcomes,
        published,
    };
    let mut out = "# Results\n\nWritten by `bench/run`. [README.md](README.md) explains the \
                   figures.\n\n"
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
    bounds::write(&page, &mut out);
    deliveries::write(&page, &mut out);
    slow::write(&page, &mut out);
    idle::write(&page, &mut out);
    many::write(&page, &mut out);
    storm::write(&page, &mut out);
    within::write(&page, &mut out);
    crowd::write(&page, &mut out);
    published::write(&page, &mut out);
    noise::write(&page, &mut out);
    out
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

    /// CPU of a delivery, in µs.
    fn cpu(&self, workload: &str, server: &str) -> Series {
        self.series(workload, server, |o| o.delivering.map(|d| d.cpu_us))
    }

    /// CPU of a delivery, divided by another server's in the same round.
    fn cpu_ratio(&self, workload: &str, server: &str, other: &str) -> Series {
        self.cpu(workload, server).over(&self.cpu(workload, other))
    }

    /// The workloads with an outcome that satisfies `has`, in the order in which they first appear.
    fn workloads(&self, has: impl Fn(&Outcome) -> bool) -> Vec<String> {
        let any = |w: &String| self.outcomes.iter().any(|o| o.workload == *w && has(o));
        let mut names = self.distinct(|o| &o.workload);
        names.retain(any);
        names
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
}

/// A count.
fn whole(value: f64) -> String {
    if value < 100.0 {
        format!("{value:.0}")
    } else {
        short(value)
    }
}

/// A number of a scale, without trailing zeros.
fn plain(value: f64) -> String {
    if value < 1_000.0 {
        // Rounded first: three times 0.2 is not quite 0.6.
        ((value * 1e6).round() / 1e6).to_string()
    } else {
        short(value)
    }
}

/// Three significant digits, thousands with commas.
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
