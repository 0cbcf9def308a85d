//! The alert rules and the dashboard of packaging/monitoring, judged by Prometheus' own tool: every
//! rule fires on an input that it is for, and is silent on a similar one that is no reason.

mod cases;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;

use serde_json::Value;

use crate::alerts::cases::{CASES, Case, Series};
use crate::promtool::{assert_accepted, promtool};

const RULES: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/packaging/monitoring/alerts.yml"
);
const DASHBOARD: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/packaging/monitoring/dashboard.json"
);

/// The names of the rules in the file.
fn rules() -> BTreeSet<String> {
    let text = std::fs::read_to_string(RULES).expect(RULES);
    let names = text
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- alert: HighTemplar"));
    names.map(str::to_owned).collect()
}

/// A sample's name with the labels of every scrape, and those of the case.
fn series((name, values): &Series) -> String {
    let (name, labels) = name.split_once('{').unwrap_or((name, "}"));
    let labels = labels.trim_end_matches('}');
    let prefix = match name.starts_with("process_") || name == "up" {
        true => "",
        false => "high_templar_",
    };
    let instance = if labels.contains("instance=") {
        ""
    } else {
        "instance=\"a:8002\","
    };
    format!(
        "      - series: '{prefix}{name}{{job=\"high-templar\",{instance}{labels}}}'\n        \
         values: '{values}'\n"
    )
}

/// A test of the tool: how many alerts of this name there are after so many minutes.
fn test(case: &Case, input: &[Series], fires: bool) -> String {
    let Case { alert, minutes, .. } = case;
    let series: String = input.iter().map(series).collect();
    let count = format!(
        "count(count by (alertname) (ALERTS{{alertname=\"HighTemplar{alert}\",alertstate=\"firing\"}})) or vector(0)"
    );
    format!(
        "  - interval: 1m\n    input_series:\n{series}    promql_expr_test:\n      - expr: '{count}'\n        \
         eval_time: {minutes}m\n        exp_samples: [{{labels: '{{}}', value: {}}}]\n",
        u8::from(fires)
    )
}

fn run_tests(tests: &str) -> std::process::Output {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("test.yml");
    let text = format!("rule_files: ['{RULES}']\nevaluation_interval: 1m\ntests:\n{tests}");
    std::fs::write(&file, text).expect("a file");
    let mut tool = promtool();
    let tool = tool.args(["test", "rules"]).arg(&file);
    tool.output().expect("promtool is installed")
}

#[test]
#[ignore = "needs promtool: ./test metrics"]
fn metrics_rules_are_accepted() {
    let mut tool = promtool();
    let output = tool.args(["check", "rules", RULES]).output();
    assert_accepted("check rules", &output.expect("promtool is installed"));
}

#[test]
#[ignore = "needs promtool: ./test metrics"]
fn metrics_rules_fire_on_what_they_are_for_and_on_nothing_else() {
    let tested: BTreeSet<_> = CASES.iter().map(|case| case.alert.to_owned()).collect();
    assert_eq!(tested, rules(), "a case for each rule");
    let mut tests = String::new();
    for case in CASES {
        for (input, fires) in [(case.fires, true), (case.silent, false)] {
            tests.push_str(&test(case, input, fires));
        }
    }
    assert_accepted("test rules", &run_tests(&tests));
    // The tool would notice: each input without its outcome.
    for case in &CASES[..3] {
        assert!(!run_tests(&test(case, case.fires, false)).status.success());
        assert!(!run_tests(&test(case, case.silent, true)).status.success());
    }
}

/// Grafana's variables are replaced as it does, and each expression becomes a rule that the tool
/// reads.
#[test]
#[ignore = "needs promtool: ./test metrics"]
fn metrics_dashboard_has_valid_expressions() {
    let text = std::fs::read_to_string(DASHBOARD).expect(DASHBOARD);
    let dashboard: Value = serde_json::from_str(&text).expect("JSON");
    let mut expressions = BTreeSet::new();
    collect(&dashboard, &mut expressions);
    assert!(expressions.len() > 100, "{}", expressions.len());
    let mut rules = "groups:\n  - name: dashboard\n    rules:\n".to_owned();
    for (number, expr) in expressions.iter().enumerate() {
        let expr = expr
            .replace("$__rate_interval", "2m")
            .replace("$job", "high-templar")
            .replace("$instance", ".*");
        assert!(!expr.contains('$'), "{expr}");
        let rule = format!("      - record: panel:{number}\n        expr: |\n          {expr}\n");
        write!(rules, "{rule}").expect("a text");
    }
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("rules.yml");
    std::fs::write(&file, &rules).expect("a file");
    assert_accepted("check rules", &check(&file));
    std::fs::write(&file, rules.replacen("sum", "sun", 1)).expect("a file");
    assert!(!check(&file).status.success());
}

fn check(file: &Path) -> std::process::Output {
    let mut tool = promtool();
    let tool = tool.args(["check", "rules"]).arg(file);
    tool.output().expect("promtool is installed")
}

/// Every expression of the panels, in rows too.
fn collect(value: &Value, into: &mut BTreeSet<String>) {
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                match (name.as_str(), member) {
                    ("expr", Value::String(expr)) => drop(into.insert(expr.clone())),
                    _ => collect(member, into),
                }
            }
        }
        Value::Array(all) => all.iter().for_each(|value| collect(value, into)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
