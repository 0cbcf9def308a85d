//! `/metrics`: it shows exactly the metrics of docs/metrics.md.

use std::collections::BTreeSet;

use ht_testkit::rabbitmq::RabbitMq;

use crate::rabbitmq::wait_for_ready;
use crate::support::{Answer, Gateway, StubBackend, http};

const PAGE: &str = include_str!("../../docs/metrics.md");

/// The metrics that a page of docs/metrics.md describes; without a broker but for those.
fn documented(broker: bool) -> BTreeSet<String> {
    let sections = PAGE.split("\n## ").skip(1);
    let sections = sections
        .filter(|text| broker || !text.contains("Only on a node with a broker."))
        .filter(|text| !text.contains("Only on a node with tenants."))
        .filter(|text| !text.contains("Only where `usage.file` is set."));
    sections
        .flat_map(|section| section.split("\n### `").skip(1))
        .map(|text| text.split('`').next().expect("a name").to_owned())
        .collect()
}

/// The metrics that a gateway shows, named as their samples are.
fn shown(gateway: &Gateway) -> BTreeSet<String> {
    let answer = gateway.get("/metrics");
    let types = answer.text().lines();
    types
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '))
        .map(|(name, _)| name.to_owned())
        .collect()
}

#[test]
fn every_documented_metric_is_shown_and_no_other() {
    let backend = StubBackend::open();
    let embedded = Gateway::start(&backend);
    assert_eq!(shown(&embedded), documented(false));

    let vhost = RabbitMq::shared().vhost();
    let gateway = Gateway::with(&backend)
        .set("HT_RABBITMQ__URL", vhost.url())
        .start();
    wait_for_ready(&gateway);
    assert_eq!(shown(&gateway), documented(true));
}

#[test]
fn labels_are_the_documented_words() {
    let backend = StubBackend::open();
    let gateway = Gateway::start(&backend);
    let answer = gateway.get("/metrics");
    let labels = |line: &&str| {
        line.contains('{') && !line.contains("{le=") && !line.contains("_build_info{")
    };
    for line in answer.text().lines().filter(labels) {
        let (name, rest) = line.split_once('{').expect("labels");
        let (label, rest) = rest.split_once("=\"").expect("a label");
        let word = rest.split('"').next().expect("a word");
        let about = PAGE.split(&format!("### `{name}`\n")).nth(1);
        let about = about.unwrap_or_else(|| panic!("{name} is not documented"));
        let about = about.split("\n#").next().expect("a text");
        assert!(about.contains(&format!("- Label: `{label}`")), "{line}");
        let known = about.contains(&format!("`{word}`"));
        assert!(known || label == "shard", "{line}");
    }
}

#[test]
fn the_process_and_build_metrics_have_their_usual_names() {
    let backend = StubBackend::open();
    let gateway = Gateway::start(&backend);
    let answer = gateway.get("/metrics");
    let value = |name: &str| -> f64 {
        let mut lines = answer.text().lines();
        let found = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        let text = found.unwrap_or_else(|| panic!("no {name}: {answer:?}"));
        text.parse().expect(text)
    };
    let version = env!("CARGO_PKG_VERSION");
    let build = format!("high_templar_build_info{{version=\"{version}\",commit=\"");
    let mut lines = answer.text().lines();
    let line = lines.find(|line| line.starts_with(&build)).expect(&build);
    assert!(
        line.contains(",rustc=\"1.") && line.ends_with("\"} 1"),
        "{line}"
    );

    let of_process = |file: &str| {
        let path = format!("/proc/{}/{file}", gateway.pid());
        std::fs::read_to_string(&path).expect(&path)
    };
    let limit = of_process("limits");
    let limit = limit
        .lines()
        .find(|line| line.starts_with("Max open files"));
    let limit = limit
        .and_then(|line| line.split_whitespace().nth(3))
        .expect("a limit");
    assert_eq!(value("process_max_fds"), limit.parse::<f64>().expect(limit));
    let files = std::fs::read_dir(format!("/proc/{}/fd", gateway.pid())).expect("its files");
    let (files, open) = (files.count() as f64, value("process_open_fds"));
    // One more or less for the connection that asks.
    assert!((open - files).abs() <= 3.0, "{open} of {files}");
    let status = of_process("status");
    let threads = status
        .lines()
        .find_map(|line| line.strip_prefix("Threads:"));
    let threads: f64 = threads
        .and_then(|text| text.trim().parse().ok())
        .expect("threads");
    assert!(
        (value("process_threads") - threads).abs() <= 2.0,
        "{threads}"
    );
    let resident = value("process_resident_memory_bytes");
    assert!(
        resident > 1e6 && resident < value("process_virtual_memory_bytes"),
        "{resident}"
    );
    assert!((0.0..60.0).contains(&value("process_cpu_seconds_total")));
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let age = now.expect("a clock").as_secs_f64() - value("process_start_time_seconds");
    assert!((-1.0..120.0).contains(&age), "{age}");
}

#[test]
fn the_format_is_the_requested_one() {
    let backend = StubBackend::open();
    let gateway = Gateway::start(&backend);
    let get = |headers: &[(&str, &str)]| {
        http::request(gateway.internal(), "GET", "/metrics", headers, b"")
    };
    let text = get(&[]);
    let kind = "text/plain; version=0.0.4; charset=utf-8";
    assert_eq!(text.header("content-type"), Some(kind));
    assert!(!text.text().contains("# EOF"));
    assert!(
        text.text()
            .contains("# TYPE high_templar_triggers_total counter\n")
    );

    let openmetrics = get(&[("Accept", "application/openmetrics-text; version=1.0.0")]);
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    assert_eq!(openmetrics.header("content-type"), Some(kind));
    assert!(openmetrics.text().ends_with("# EOF\n"));
    assert!(
        openmetrics
            .text()
            .contains("# TYPE high_templar_triggers counter\n")
    );
    // The same samples in both.
    let samples = |answer: &Answer| {
        let lines = answer.text().lines().filter(|line| !line.starts_with('#'));
        let names = lines.filter_map(|line| line.rsplit_once(' ').map(|(name, _)| name.to_owned()));
        names.collect::<BTreeSet<_>>()
    };
    assert_eq!(samples(&text), samples(&openmetrics));
}
