//! `/metrics`: what it shows is what docs/metrics.md says, no more and no less.

use std::collections::BTreeSet;

use ht_testkit::rabbitmq::RabbitMq;

use crate::rabbitmq::wait_for_ready;
use crate::support::{Answer, Gateway, StubBackend, http};

const PAGE: &str = include_str!("../../docs/metrics.md");

/// The metrics that a page of docs/metrics.md describes; without a broker but for those.
fn documented(broker: bool) -> BTreeSet<String> {
    let sections = PAGE.split("\n## ").skip(1);
    let sections =
        sections.filter(|text| broker || !text.contains("Only on a node with a broker."));
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
    let labels = |line: &&str| line.contains('{') && !line.contains("{le=");
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
fn the_format_is_the_one_that_is_asked_for() {
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
