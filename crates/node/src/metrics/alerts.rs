//! Alert rules for Prometheus, generated from a table, and the metrics that they watch.

mod table;

use std::fmt::Write as _;

use crate::metrics::Metric;

pub(super) use table::ALERTS;

/// What begins the name of every rule.
const NAME: &str = "HighTemplar";

/// Head of the file.
const HEAD: &str = "\
# Alert rules for high-templar. This file is generated: high-templar config --alerts
#
# The job in scrape_configs is named high-templar. Load the file with rule_files: in prometheus.yml.
# Severity critical: clients or publishers are affected now. warning: look at it within the day.
groups:
  - name: high-templar
    rules:
";

/// How soon somebody has to look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Severity {
    /// Clients or publishers are affected.
    Critical,
    /// Something is wrong, or will be.
    Warning,
}

impl Severity {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Critical => "critical",
            Self::Warning => "warning",
        }
    }
}

/// A rule.
#[derive(Debug)]
pub(super) struct Alert {
    /// Without [`NAME`].
    name: &'static str,
    severity: Severity,
    /// The rows of the table of metrics that it watches, by their names.
    metrics: &'static [&'static str],
    /// How long the condition must hold, such as `5m`; empty if once is enough.
    hold: &'static str,
    /// The condition, in PromQL.
    expr: &'static str,
    /// What it means: a sentence.
    summary: &'static str,
    /// The heading of docs/operations.md that says what to do, as an anchor.
    runbook: &'static str,
}

impl Alert {
    /// Its name in Prometheus.
    fn full_name(&self) -> String {
        format!("{NAME}{}", self.name)
    }

    fn write(&self, out: &mut String) {
        let Self {
            severity,
            hold,
            expr,
            summary,
            runbook,
            ..
        } = self;
        let (name, severity) = (self.full_name(), severity.as_str());
        let hold = match *hold {
            "" => String::new(),
            hold => format!("        for: {hold}\n"),
        };
        write!(
            out,
            "      - alert: {name}\n        expr: |\n          {expr}\n{hold}        labels:\n          \
             severity: {severity}\n        annotations:\n          summary: {summary:?}\n          \
             runbook: docs/operations.md#{runbook}\n",
        )
        .expect("a String takes every text");
    }
}

/// The rules as a file of Prometheus: `packaging/monitoring/alerts.yml`.
#[must_use]
pub fn alerts() -> String {
    let mut out = HEAD.to_owned();
    for alert in ALERTS {
        alert.write(&mut out);
    }
    out
}

/// The names of the rules that watch a metric.
pub(super) fn names_of(metric: &Metric) -> Vec<String> {
    let alerts = ALERTS.iter();
    let own = alerts.filter(|alert| alert.metrics.contains(&metric.name));
    own.map(Alert::full_name).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use prometheus_client::metrics::MetricType;

    use super::table::BY_EYE;
    use super::*;
    use crate::metrics::Read;
    use crate::metrics::rows::SECTIONS;

    fn metrics() -> impl Iterator<Item = &'static Metric> {
        SECTIONS.iter().flat_map(|section| section.metrics)
    }

    /// Names as they are in an expression: words that begin as metrics of this program do.
    fn words(expr: &str) -> Vec<&str> {
        let words = expr.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        words
            .filter(|word| word.starts_with("high_templar_") || word.starts_with("process_"))
            .collect()
    }

    /// The names of the samples of a metric.
    fn samples(metric: &Metric) -> Vec<String> {
        let name = metric.full_name();
        match metric.kind() {
            MetricType::Counter => vec![format!("{name}_total")],
            MetricType::Histogram => ["bucket", "sum", "count"]
                .map(|part| format!("{name}_{part}"))
                .into(),
            MetricType::Gauge | MetricType::Info | MetricType::Unknown => vec![name],
        }
    }

    #[test]
    fn expressions_name_the_metrics_that_their_rule_watches_and_no_other() {
        for alert in ALERTS {
            let mut watched = BTreeSet::new();
            for name in alert.metrics {
                let metric = metrics().find(|metric| metric.name == *name);
                let metric = metric.unwrap_or_else(|| panic!("{}: no metric {name}", alert.name));
                watched.extend(samples(metric));
                let samples = samples(metric);
                let is_used = words(alert.expr)
                    .iter()
                    .any(|word| samples.iter().any(|sample| sample == word));
                assert!(is_used, "{}: {name} is not in its expression", alert.name);
            }
            for word in words(alert.expr) {
                let known = metrics().any(|metric| samples(metric).iter().any(|name| name == word));
                assert!(known, "{}: there is no metric {word}", alert.name);
                // The age of the process and its job only limit a condition.
                let limits = word == "process_start_time_seconds";
                assert!(limits || watched.contains(word), "{}: {word}", alert.name);
            }
        }
    }

    /// The labels in an expression with each value that they are compared with.
    fn compared(expr: &str) -> Vec<(&str, &str)> {
        let selectors = expr
            .split('{')
            .skip(1)
            .filter_map(|part| part.split('}').next());
        let pairs = selectors.flat_map(|selector| selector.split(','));
        let pairs = pairs.filter_map(|pair| pair.trim().split_once(['=', '!']));
        pairs
            .flat_map(|(label, values)| {
                let values = values.trim_matches(['=', '~', '"']);
                values.split('|').map(move |value| (label, value))
            })
            .collect()
    }

    #[test]
    fn values_of_labels_in_expressions_exist() {
        let expr = r#"a{b!~"c|d"} / e{f="g",h=~"i"}"#;
        let expected = [("b", "c"), ("b", "d"), ("f", "g"), ("h", "i")];
        assert_eq!(compared(expr), expected);
        for alert in ALERTS {
            let own = metrics().filter(|metric| alert.metrics.contains(&metric.name));
            let known: Vec<_> = own.flat_map(words_of_label).collect();
            for (label, value) in compared(alert.expr) {
                let is_known = label == "job" || known.contains(&value);
                assert!(is_known, "{}: {label}={value}", alert.name);
            }
        }
    }

    fn words_of_label(metric: &Metric) -> Vec<&'static str> {
        if let Read::CounterBy(_, words, _)
        | Read::GaugeBy(_, words, _)
        | Read::TenantCounterBy(_, words, _) = &metric.read
        {
            words()
        } else if let Read::Sum(stat) = &metric.read {
            stat.label.map(|label| (label.words)()).unwrap_or_default()
        } else {
            Vec::new()
        }
    }

    /// A metric with neither was forgotten: `docs/metrics.md` says of each when to alert.
    #[test]
    fn every_metric_has_a_rule_or_is_read_by_eye() {
        for metric in metrics() {
            let is_for_information = metric.worry.starts_with("Not by itself");
            let by_eye = BY_EYE.contains(&metric.name);
            let has_rule = !names_of(metric).is_empty();
            assert!(
                has_rule || by_eye || is_for_information,
                "{}: add a rule, or list it as read by eye",
                metric.name
            );
            assert!(!(has_rule && by_eye), "{} has a rule", metric.name);
        }
        for name in BY_EYE {
            assert!(metrics().any(|metric| metric.name == *name), "{name}");
        }
    }

    #[test]
    fn rules_lead_to_a_section_of_the_runbook() {
        let page = include_str!("../../../../docs/operations.md");
        let headings = page.lines().filter(|line| line.starts_with("##"));
        let anchors: BTreeSet<_> = headings
            .map(|line| {
                let text = line.trim_start_matches('#').trim().to_lowercase();
                text.replace(' ', "-").replace([',', '.', '`', '/'], "")
            })
            .collect();
        let mut names = BTreeSet::new();
        for alert in ALERTS {
            assert!(anchors.contains(alert.runbook), "{}", alert.runbook);
            assert!(names.insert(alert.name), "{} twice", alert.name);
            assert!(page.contains(&alert.full_name()), "{}", alert.full_name());
            assert!(alert.summary.ends_with('.'), "{}", alert.summary);
            assert!(!alert.summary.contains('\\'), "{}", alert.summary);
        }
    }
}
