//! `/metrics` in the Prometheus and the OpenMetrics text format, and the documentation of what it shows.

mod docs;
mod format;
mod process;
mod table;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ht_broker::Broker;
use ht_core::stats::Stats;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

pub use crate::metrics::docs::markdown;
pub(crate) use crate::metrics::table::Counters;

use crate::config::BuildInfo;
use crate::metrics::format::Format;
use crate::metrics::process::Process;
use crate::metrics::table::SECTIONS;
use crate::node::Node;
use crate::respond;
use crate::respond::Body;

/// Lines of the process's log that nobody took: counted by whoever writes the log.
pub static LOG_LINES_DROPPED: AtomicU64 = AtomicU64::new(0);

/// What every name begins with, but for those of the process, which are the same for all exporters.
const PREFIX: &str = "high_templar_";

/// Metrics that belong together.
struct Section {
    title: &'static str,
    about: &'static str,
    metrics: &'static [Metric],
}

/// One row of the table.
struct Metric {
    /// Without the prefix, and without the `_total` of a counter. Of a row that is read from
    /// [`Process`] the whole name but for `_total`.
    name: &'static str,
    read: Read,
    /// What it is, without a full stop.
    help: &'static str,
    /// When an operator should worry: a sentence.
    worry: &'static str,
}

/// How a metric is read, and so what it is.
enum Read {
    Gauge(fn(&Now<'_>) -> u64),
    GaugeByShard(fn(&Now<'_>) -> Vec<u64>),
    /// A label, all its words, and a number for each.
    GaugeBy(
        &'static str,
        fn() -> Vec<&'static str>,
        fn(&Now<'_>) -> Vec<u64>,
    ),
    Seconds(fn(&Now<'_>) -> f64),
    SecondsByShard(fn(&Now<'_>) -> Vec<f64>),
    Histogram(for<'a> fn(&'a Now<'_>) -> &'a Histogram),
    Counter(fn(&Now<'_>) -> u64),
    /// A label, all its words, and a number for each.
    CounterBy(
        &'static str,
        fn() -> Vec<&'static str>,
        fn(&Now<'_>) -> Vec<u64>,
    ),
    /// Shown on a node with a broker only.
    BrokerGauge(fn(&Broker) -> u64),
    /// Shown on a node with a broker only.
    BrokerCounter(fn(&Broker) -> u64),
    /// A gauge that is 1, with labels that say which program this is.
    Build,
    /// Shown where the system tells it.
    ProcessGauge(fn(&Process) -> Option<f64>),
    /// Shown where the system tells it.
    ProcessCounter(fn(&Process) -> Option<f64>),
}

/// What the rows are read from.
struct Now<'a> {
    node: &'a Node,
    totals: Stats,
    process: Process,
}

/// A counter for each of a few fixed words.
#[derive(Debug)]
pub(crate) struct Labels {
    words: &'static [&'static str],
    counts: Box<[AtomicU64]>,
}

/// All metrics as of now, in the format that the request asks for.
pub(crate) async fn respond(node: &Arc<Node>, headers: &HeaderMap) -> Response<Body> {
    let process = tokio::task::spawn_blocking(Process::look).await;
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Snapshot {
        node: Arc::clone(node),
        process: process.unwrap_or_default(),
    }));
    let mut body = String::new();
    if let Err(fmt::Error) = text::encode(&mut body, &registry) {
        let sentence = "the metrics could not be written";
        return respond::text(StatusCode::INTERNAL_SERVER_ERROR, sentence);
    }
    let format = Format::asked(headers);
    if format == Format::Prometheus {
        body = format::to_prometheus(&body);
    }
    let mut response = respond::with_type(StatusCode::OK, format.content_type(), body);
    let accept = HeaderValue::from_static("accept");
    response.headers_mut().insert(header::VARY, accept);
    response
}

struct Snapshot {
    node: Arc<Node>,
    process: Process,
}

impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Snapshot")
    }
}

impl Collector for Snapshot {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let now = Now {
            node: &self.node,
            totals: self.node.totals(),
            process: self.process,
        };
        let mut metrics = SECTIONS.iter().flat_map(|section| section.metrics);
        metrics.try_for_each(|metric| metric.encode(&now, &mut encoder))
    }
}

impl Metric {
    fn kind(&self) -> MetricType {
        match self.read {
            Read::Gauge(_)
            | Read::GaugeByShard(_)
            | Read::GaugeBy(..)
            | Read::Seconds(_)
            | Read::SecondsByShard(_)
            | Read::BrokerGauge(_)
            | Read::Build
            | Read::ProcessGauge(_) => MetricType::Gauge,
            Read::Histogram(_) => MetricType::Histogram,
            Read::Counter(_)
            | Read::CounterBy(..)
            | Read::BrokerCounter(_)
            | Read::ProcessCounter(_) => MetricType::Counter,
        }
    }

    /// Its name without the `_total` of a counter.
    fn full_name(&self) -> String {
        let is_process = matches!(self.read, Read::ProcessGauge(_) | Read::ProcessCounter(_));
        let prefix = if is_process { "" } else { PREFIX };
        format!("{prefix}{}", self.name)
    }

    /// Whether this node has it.
    fn is_shown(&self, now: &Now<'_>) -> bool {
        match self.read {
            Read::BrokerGauge(_) | Read::BrokerCounter(_) => now.node.broker.is_some(),
            Read::ProcessGauge(read) | Read::ProcessCounter(read) => read(&now.process).is_some(),
            Read::Gauge(_)
            | Read::GaugeByShard(_)
            | Read::GaugeBy(..)
            | Read::Seconds(_)
            | Read::SecondsByShard(_)
            | Read::Histogram(_)
            | Read::Counter(_)
            | Read::CounterBy(..)
            | Read::Build => true,
        }
    }

    fn encode(&self, now: &Now<'_>, encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        if !self.is_shown(now) {
            return Ok(());
        }
        let broker = now.node.broker.as_deref();
        let name = self.full_name();
        let mut metric = encoder.encode_descriptor(&name, self.help, None, self.kind())?;
        match (&self.read, broker) {
            (Read::Gauge(read), _) => gauge(read(now)).encode(metric),
            (Read::Seconds(read), _) => ConstGauge::new(read(now)).encode(metric),
            (Read::Histogram(read), _) => read(now).encode(metric),
            (Read::Counter(read), _) => ConstCounter::new(read(now)).encode(metric),
            (Read::BrokerGauge(read), Some(broker)) => gauge(read(broker)).encode(metric),
            (Read::BrokerCounter(read), Some(broker)) => {
                ConstCounter::new(read(broker)).encode(metric)
            }
            (Read::BrokerGauge(_) | Read::BrokerCounter(_), None) => Ok(()),
            (Read::Build, _) => {
                let labels = now.node.build.labels();
                gauge(1).encode(metric.encode_family(&labels)?)
            }
            (Read::ProcessGauge(read), _) => {
                ConstGauge::new(read(&now.process).unwrap_or_default()).encode(metric)
            }
            (Read::ProcessCounter(read), _) => {
                ConstCounter::new(read(&now.process).unwrap_or_default()).encode(metric)
            }
            (Read::GaugeByShard(read), _) => {
                let mut values = read(now).into_iter().enumerate();
                values.try_for_each(|(shard, value)| {
                    gauge(value).encode(metric.encode_family(&[("shard", shard)])?)
                })
            }
            (Read::GaugeBy(label, words, read), _) => {
                let mut values = words().into_iter().zip(read(now));
                values.try_for_each(|(word, value)| {
                    gauge(value).encode(metric.encode_family(&[(*label, word)])?)
                })
            }
            (Read::SecondsByShard(read), _) => {
                let mut values = read(now).into_iter().enumerate();
                values.try_for_each(|(shard, value)| {
                    ConstGauge::new(value).encode(metric.encode_family(&[("shard", shard)])?)
                })
            }
            (Read::CounterBy(label, words, read), _) => {
                family(&mut metric, label, &words(), &read(now))
            }
        }
    }
}

impl BuildInfo {
    /// The labels of the metric.
    fn labels(&self) -> [(&'static str, &'static str); 3] {
        let Self {
            version,
            commit,
            rustc,
        } = *self;
        [("version", version), ("commit", commit), ("rustc", rustc)]
    }
}

fn gauge(value: u64) -> ConstGauge<i64> {
    ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX))
}

fn family(
    metric: &mut MetricEncoder<'_>,
    label: &str,
    words: &[&str],
    values: &[u64],
) -> Result<(), fmt::Error> {
    debug_assert_eq!(
        words.len(),
        values.len(),
        "a number for each word of {label}"
    );
    words.iter().zip(values).try_for_each(|(&word, &value)| {
        ConstCounter::new(value).encode(metric.encode_family(&[(label, word)])?)
    })
}

impl Labels {
    fn new(words: &'static [&'static str]) -> Self {
        Self {
            words,
            counts: words.iter().map(|_| AtomicU64::new(0)).collect(),
        }
    }

    /// Counts one of the words. They stand in the table.
    pub(crate) fn add(&self, word: &str) {
        let at = self.words.iter().position(|&known| known == word);
        debug_assert!(at.is_some(), "{word:?} is not in the table of metrics");
        if let Some(at) = at {
            self.counts[at].fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(crate) fn all(&self) -> Vec<u64> {
        let counts = self.counts.iter();
        counts.map(|count| count.load(Ordering::Relaxed)).collect()
    }
}
