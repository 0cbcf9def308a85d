//! The first panels of the dashboard: whether everything is well.

use serde_json::Value;

use crate::metrics::dashboard::SELECTOR;
use crate::metrics::dashboard::panel::{Grid, Panel, Target, quantiles};

/// Number, title, description, unit and expression: the value now.
const NUMBERS: [(&str, &str, &str, &str); 6] = [
    (
        "Nodes that are ready",
        "Of all nodes that are scraped.",
        "short",
        "sum(high_templar_ready$)",
    ),
    (
        "Connections",
        "Open connections of all nodes.",
        "short",
        "sum(high_templar_connections$)",
    ),
    (
        "Deliveries per second",
        "Publish frames written to sockets.",
        "cps",
        "sum(rate(high_templar_deliveries_total$[$__rate_interval]))",
    ),
    (
        "Triggers per second",
        "Triggers that were accepted and ordered. With a broker each node counts all of them.",
        "cps",
        "max(rate(high_templar_triggers_total$[$__rate_interval]))",
    ),
    (
        "Gaps in an hour",
        "Times that publications may have been missed. More than 0: see the runbook.",
        "short",
        "sum(increase(high_templar_gaps_total$[1h]))",
    ),
    (
        "Slowest thread",
        "The longest turn of a thread in the last one to two minutes.",
        "s",
        "max(high_templar_shard_turn_seconds_max$)",
    ),
];

pub(super) fn panels(grid: &mut Grid) -> Vec<Value> {
    let mut panels: Vec<_> = NUMBERS
        .iter()
        .map(|(title, description, unit, expr)| {
            let targets = vec![(selected(expr), String::new())];
            panel("stat", title, description, unit, targets).json(grid.next(4, 4))
        })
        .collect();
    grid.end_line();
    let graphs = graphs();
    panels.extend(graphs.into_iter().map(|graph| graph.json(grid.next(8, 8))));
    grid.end_line();
    panels
}

fn graphs() -> [Panel; 9] {
    let graph =
        |title, description, unit, targets| panel("timeseries", title, description, unit, targets);
    let one = |expr: &str, legend: &str| vec![(selected(expr), legend.to_owned())];
    [
        graph(
            "Connections",
            "Open connections of each node. A fall on one node and a rise on the others is a restart.",
            "short",
            one("high_templar_connections$", "{{instance}}"),
        ),
        graph(
            "Deliveries",
            "Publish frames written to sockets, by node.",
            "cps",
            one(
                "rate(high_templar_deliveries_total$[$__rate_interval])",
                "{{instance}}",
            ),
        ),
        graph(
            "Triggers to threads",
            "How long probes take, which go the way of triggers: through the broker, to every thread.",
            "s",
            quantiles("high_templar_probe_seconds"),
        ),
        graph(
            "Calls of the API",
            "Bootstrap calls by outcome. Only admitted and status are usual.",
            "cps",
            one(
                "sum by (outcome) (rate(high_templar_bootstraps_total$[$__rate_interval])) > 0",
                "{{outcome}}",
            ),
        ),
        graph(
            "Rejected and evicted",
            "Handshakes that the gateway rejected itself, and connections that it closed to protect \
             others, by reason.",
            "cps",
            vec![
                (
                    selected(
                        "sum by (reason) (rate(high_templar_handshake_errors_total$[$__rate_interval])) > 0",
                    ),
                    "rejected: {{reason}}".to_owned(),
                ),
                (
                    selected(
                        "sum by (reason) (rate(high_templar_evictions_total$[$__rate_interval])) > 0",
                    ),
                    "evicted: {{reason}}".to_owned(),
                ),
            ],
        ),
        graph(
            "Clients that came back",
            "Reconnects by outcome. Those that are not recovered fetch again.",
            "cps",
            one(
                "sum by (outcome) (rate(high_templar_recoveries_total$[$__rate_interval])) > 0",
                "{{outcome}}",
            ),
        ),
        graph(
            "CPU",
            "Cores that each node uses.",
            "short",
            one(
                "rate(process_cpu_seconds_total$[$__rate_interval])",
                "{{instance}}",
            ),
        ),
        graph(
            "Memory",
            "Resident memory of each node.",
            "bytes",
            one("process_resident_memory_bytes$", "{{instance}}"),
        ),
        graph(
            "Queued for slow consumers",
            "Bytes in the outboxes of each node.",
            "bytes",
            one("high_templar_outbox_bytes$", "{{instance}}"),
        ),
    ]
}

/// An expression with the selected nodes in place of each `$` behind a metric's name.
fn selected(expr: &str) -> String {
    let mut out = String::new();
    let mut rest = expr;
    while let Some((before, after)) = rest.split_once('$') {
        out.push_str(before);
        // Grafana's own variables follow a bracket.
        out.push_str(if before.ends_with('[') { "$" } else { SELECTOR });
        rest = after;
    }
    out + rest
}

fn panel(
    kind: &'static str,
    title: &str,
    description: &str,
    unit: &'static str,
    targets: Vec<Target>,
) -> Panel {
    Panel {
        kind,
        title: title.to_owned(),
        description: description.to_owned(),
        unit,
        targets,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_are_selected_behind_names_and_variables_stay() {
        let expr = selected("rate(a_total$[$__rate_interval]) / b$");
        assert_eq!(
            expr,
            format!("rate(a_total{SELECTOR}[$__rate_interval]) / b{SELECTOR}")
        );
    }
}
