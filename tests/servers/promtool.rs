//! The metrics of a running gateway, judged by Prometheus' own tool.

use std::io::Write as _;
use std::process::{Command, Output, Stdio};

use serde_json::json;

use crate::support::{Client, Gateway, StubBackend, http};

/// The tool, which `./test metrics` fetches where it is not installed.
pub(crate) fn promtool() -> Command {
    Command::new(std::env::var("HT_PROMTOOL").unwrap_or_else(|_| "promtool".to_owned()))
}

#[track_caller]
pub(crate) fn assert_accepted(what: &str, output: &Output) {
    let said = [&*output.stdout, &output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(output.status.success(), "{what}: {said}");
}

/// A gateway that has something to show, in every section.
fn used(backend: &StubBackend) -> Gateway {
    let gateway = Gateway::with(backend)
        .hooks()
        .set("HT_INTERNAL__API_KEY", "key")
        .set("HT_RABBITMQ__URL", "amqp://127.0.0.1:1")
        .start();
    let mut client = Client::connect(&gateway);
    client.subscribe(&json!({"room": 1}), 1);
    client.fence();
    gateway
}

fn metrics(gateway: &Gateway, accept: &str) -> String {
    let headers = [("Authorization", "Bearer key"), ("Accept", accept)];
    let answer = http::request(gateway.internal(), "GET", "/metrics", &headers, b"");
    assert_eq!(answer.status, 200, "{answer:?}");
    let kind = answer.header("content-type").expect("a content type");
    assert!(kind.starts_with(accept), "{kind}");
    answer.text().to_owned()
}

#[test]
#[ignore = "needs promtool: ./test metrics"]
fn metrics_pass_promtool_as_text() {
    let backend = StubBackend::open();
    let text = metrics(&used(&backend), "text/plain");
    let mut tool = promtool();
    let tool = tool.args(["check", "metrics"]).stdin(Stdio::piped());
    let tool = tool.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut tool = tool.spawn().expect("promtool is installed");
    let mut stdin = tool.stdin.take().expect("its input");
    stdin.write_all(text.as_bytes()).expect("it reads");
    drop(stdin);
    let output = tool.wait_with_output().expect("it ends");
    assert_accepted("check metrics", &output);
}

/// `check metrics` reads the text format only; what imports OpenMetrics reads it as Prometheus does
/// when it scrapes, and wants a time for each sample.
#[test]
#[ignore = "needs promtool: ./test metrics"]
fn metrics_pass_promtool_as_openmetrics() {
    let backend = StubBackend::open();
    let text = metrics(&used(&backend), "application/openmetrics-text");
    let timed = |line: &str| match line.starts_with('#') {
        true => format!("{line}\n"),
        false => format!("{line} 1700000000\n"),
    };
    let timed: String = text.lines().map(timed).collect();
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("metrics.txt");
    let import = |text: &str| {
        std::fs::write(&file, text).expect("a file");
        let mut tool = promtool();
        let tool = tool.args(["tsdb", "create-blocks-from", "openmetrics"]);
        let tool = tool.arg(&file).arg(folder.path().join("blocks"));
        tool.output().expect("promtool is installed")
    };
    assert_accepted("openmetrics", &import(&timed));
    // It would print errors.
    for wrong in [
        timed.replace("# EOF\n", ""),
        timed.replace(
            "high_templar_triggers_total ",
            "high_templar_triggers_total {",
        ),
    ] {
        assert!(!import(&wrong).status.success());
    }
}
