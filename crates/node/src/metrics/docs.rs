//! The table of metrics as a document.

use std::fmt::Write as _;

use prometheus_client::metrics::MetricType;

use crate::metrics::rows::SECTIONS;
use crate::metrics::{Metric, Read, alerts};

const INTRODUCTION: &str = include_str!("introduction.md");

/// The labels of the program, and their meaning.
const BUILD_LABELS: [&str; 3] = [
    "`version`, as `high-templar --version` prints it",
    "`commit`, of the source that it was built from, or `unknown`",
    "`rustc`, the version of the compiler",
];

/// The label of the numbers of tenants.
const TENANT_LABEL: &str =
    "- Label: `tenant`, its name, or `other` for all without a label of their own\n";

/// The label of the numbers of logs that tenants have of their own.
const OWN_LOG_LABEL: &str = "- Label: `tenant`, its name\n";

/// The reference of every metric: `docs/metrics.md`.
#[must_use]
pub fn markdown() -> String {
    let mut out = INTRODUCTION.to_owned();
    for section in SECTIONS {
        write(
            &mut out,
            format_args!("\n## {}\n\n{}\n", section.title, section.about),
        );
        for metric in section.metrics {
            describe(metric, &mut out);
        }
    }
    out
}

fn describe(metric: &Metric, out: &mut String) {
    let (help, worry) = (metric.help(), metric.worry);
    let name = metric.full_name();
    let kind = metric.kind();
    let suffix = match kind {
        MetricType::Counter => "_total",
        MetricType::Gauge | MetricType::Histogram | MetricType::Info | MetricType::Unknown => "",
    };
    let kind = kind.as_str();
    write(
        out,
        format_args!("\n### `{name}{suffix}`\n\n{help}.\n\n- Type: {kind}\n"),
    );
    match &metric.read {
        Read::CounterBy(label, words, _) | Read::GaugeBy(label, words, _) => {
            describe_label(label, &words(), out);
        }
        Read::Sum(stat) => {
            if let Some(label) = stat.label {
                describe_label(label.name, &(label.words)(), out);
            }
        }
        Read::GaugeByShard(_) | Read::SecondsByShard(_) => {
            out.push_str("- Label: `shard`, its number from 0\n");
        }
        Read::TenantGauge(_) | Read::TenantCounter(_) => out.push_str(TENANT_LABEL),
        Read::TenantCounterBy(label, words, _) => {
            out.push_str(TENANT_LABEL);
            describe_label(label, &words(), out);
        }
        Read::OwnLogGauge(_) | Read::OwnLogSeconds(_) | Read::OwnLogCounter(_) => {
            out.push_str(OWN_LOG_LABEL);
        }
        Read::Build => {
            for label in BUILD_LABELS {
                write(out, format_args!("- Label: {label}\n"));
            }
        }
        Read::Gauge(_)
        | Read::Seconds(_)
        | Read::Histogram(_)
        | Read::Counter(_)
        | Read::BrokerGauge(_)
        | Read::BrokerCounter(_)
        | Read::UsageGauge(_)
        | Read::TenantsCounter(_)
        | Read::TenantsGauge(_)
        | Read::UsageCounter(_)
        | Read::ProcessGauge(_)
        | Read::ProcessCounter(_) => {}
    }
    write(out, format_args!("- When to alert: {worry}\n"));
    let rules: Vec<_> = alerts::names_of(metric)
        .iter()
        .map(|name| format!("`{name}`"))
        .collect();
    if !rules.is_empty() {
        write(out, format_args!("- Rules: {}\n", rules.join(", ")));
    }
}

fn describe_label(label: &str, words: &[&str], out: &mut String) {
    let words: Vec<_> = words.iter().map(|word| format!("`{word}`")).collect();
    let words = words.join(", ");
    write(out, format_args!("- Label: `{label}`, one of {words}\n"));
}

fn write(out: &mut String, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text).expect("a String takes every text");
}
