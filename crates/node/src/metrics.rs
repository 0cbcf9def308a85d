//! `/metrics` in the Prometheus and the OpenMetrics text format, and the documentation of what it shows.

mod alerts;
mod dashboard;
mod docs;
mod encode;
mod format;
mod own_logs;
mod process;
mod rows;
mod tenants;

use std::fmt;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};

use ht_backend::GuardCounts;
use ht_broker::Broker;
use ht_core::stats::{Stat, Stats};
use ht_edge::respond::{self, Body};
use ht_proto::entry::TenantId;
use ht_proto::tenant::TenantName;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, text};
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

pub use crate::metrics::alerts::alerts;
pub use crate::metrics::dashboard::dashboard;
pub use crate::metrics::docs::markdown;
pub(crate) use crate::metrics::tenants::Labelled;

use crate::config::BuildInfo;
use crate::inbox;
use crate::meters::UsageCounts;
use crate::metrics::format::Format;
use crate::metrics::own_logs::OwnLogReading;
use crate::metrics::process::Process;
use crate::metrics::rows::SECTIONS;
use crate::metrics::tenants::Reading;
use crate::node::Node;
use crate::pipeline::Pipeline;
use crate::pipelines::Pipelines;
use crate::readiness::Readiness;
use crate::tenants::Tenant;
use crate::window::WindowSize;

/// Dropped lines of the process's log: counted by the writer of the log.
pub static LOG_LINES_DROPPED: AtomicU64 = AtomicU64::new(0);

/// Prefix of every name, except those of the process, which are the same for all exporters.
const PREFIX: &str = "high_templar_";

/// A group of metrics.
struct Section {
    title: &'static str,
    about: &'static str,
    metrics: &'static [Metric],
}

/// One row of the table.
struct Metric {
    /// Without the prefix, and without the `_total` of a counter. For a row that is read from
    /// [`Process`] the whole name except `_total`.
    name: &'static str,
    read: Read,
    /// What it is, without a full stop. Empty if [`Read::Sum`] has it.
    help: &'static str,
    /// When an operator should be alerted: a sentence.
    worry: &'static str,
}

/// How a metric is read, and so its type.
enum Read {
    Gauge(fn(&Now<'_>) -> u64),
    GaugeByShard(fn(&Now<'_>) -> Vec<u64>),
    /// A label, all its values, and a number for each.
    GaugeBy(&'static str, Words, fn(&Now<'_>) -> Vec<u64>),
    Seconds(fn(&Now<'_>) -> f64),
    SecondsByShard(fn(&Now<'_>) -> Vec<f64>),
    Histogram(for<'a> fn(&'a Now<'_>) -> &'a Histogram),
    Counter(fn(&Now<'_>) -> u64),
    /// A label, all its values, and a number for each.
    CounterBy(&'static str, Words, fn(&Now<'_>) -> Vec<u64>),
    /// The sum of a number over all shards.
    Sum(Stat),
    /// Shown on a node with a broker only.
    BrokerGauge(fn(&Broker) -> u64),
    /// Shown on a node with a broker only.
    BrokerCounter(fn(&Broker) -> u64),
    /// A number of each tenant. Shown on a node with tenants only.
    TenantGauge(fn(&Reading) -> u64),
    /// The same.
    TenantCounter(fn(&Reading) -> u64),
    /// A further label, all its values, and a number for each: those that are not 0 are shown.
    TenantCounterBy(&'static str, Words, for<'a> fn(&'a Reading) -> &'a [u64]),
    /// A number of each log that a tenant has of its own. Shown on a node with such only.
    OwnLogGauge(fn(&OwnLogReading) -> u64),
    /// The same.
    OwnLogSeconds(fn(&OwnLogReading) -> f64),
    /// The same.
    OwnLogCounter(fn(&OwnLogReading) -> u64),
    /// A number of all tenants together. Shown on a node with tenants only.
    TenantsCounter(fn(&Now<'_>) -> u64),
    /// The same.
    TenantsGauge(fn(&Now<'_>) -> u64),
    /// Shown where the usage of tenants is written only.
    UsageGauge(fn(&UsageCounts) -> u64),
    /// The same.
    UsageCounter(fn(&UsageCounts) -> u64),
    /// A gauge that is always 1, with labels that identify the program.
    Build,
    /// Shown if the system reports it.
    ProcessGauge(fn(&Process) -> Option<f64>),
    /// Shown if the system reports it.
    ProcessCounter(fn(&Process) -> Option<f64>),
}

/// Lists the values of a label.
type Words = fn() -> Vec<&'static str>;

/// Where the numbers are kept.
pub(crate) struct Sources {
    pub(crate) node: Arc<Node>,
    pub(crate) readiness: Readiness,
    pub(crate) pipelines: Arc<Pipelines>,
    pub(crate) build: BuildInfo,
    /// Most tenants with a label of their own.
    pub(crate) tenants_max: usize,
    /// Those that have one.
    pub(crate) labelled: Mutex<Labelled>,
    /// What becomes of the records of usage, where they are written.
    pub(crate) usage: Option<Arc<UsageCounts>>,
}

/// What the rows are read from.
struct Now<'a> {
    node: &'a Node,
    sources: &'a Sources,
    totals: Stats,
    process: Process,
    /// Numbers of tenants, by their labels; none on a node without tenants.
    tenants: Option<Vec<(String, Reading)>>,
    /// Numbers of tenants' own logs, by the names of the tenants.
    own_logs: Vec<(String, OwnLogReading)>,
}

impl Now<'_> {
    /// Counts of the guards of calls to all backends; zero if there are none.
    fn guard(&self) -> GuardCounts {
        self.sources.readiness.tenants.guards()
    }

    /// A number of each shard's inbox.
    fn by_inbox(&self, read: fn(&inbox::Sender) -> usize) -> Vec<u64> {
        self.by_shard(|pipeline| {
            let inboxes = pipeline.inboxes.iter();
            inboxes.map(|inbox| read(inbox) as u64).collect()
        })
    }

    /// A number of each shard: those of own logs follow.
    fn by_shard<T>(&self, read: impl Fn(&Pipeline) -> Vec<T>) -> Vec<T> {
        let all = self.sources.pipelines.all();
        all.iter().flat_map(|pipeline| read(pipeline)).collect()
    }

    /// A number of all pipelines together.
    fn sum(&self, read: fn(&Pipeline) -> u64) -> u64 {
        let all = self.sources.pipelines.all();
        all.iter().map(|pipeline| read(pipeline)).sum()
    }

    /// The window.
    fn window(&self) -> WindowSize {
        self.node.window.size()
    }

    fn broker(&self) -> Option<&Broker> {
        self.sources.readiness.broker.as_deref()
    }
}

/// All metrics at this moment, in the format that the request accepts.
pub(crate) async fn respond(sources: &Arc<Sources>, headers: &HeaderMap) -> Response<Body> {
    let process = tokio::task::spawn_blocking(Process::look).await;
    let snapshot = Snapshot {
        sources: Arc::clone(sources),
        process: process.unwrap_or_default(),
        tenant: None,
    };
    encode(snapshot, headers)
}

/// The metrics of one tenant.
pub(crate) fn respond_of(
    sources: &Arc<Sources>,
    tenant: &Tenant,
    headers: &HeaderMap,
) -> Response<Body> {
    let snapshot = Snapshot {
        sources: Arc::clone(sources),
        process: Process::default(),
        tenant: Some((tenant.id(), tenant.name().clone())),
    };
    encode(snapshot, headers)
}

fn encode(snapshot: Snapshot, headers: &HeaderMap) -> Response<Body> {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(snapshot));
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
    sources: Arc<Sources>,
    process: Process,
    /// Only what is shown of this one.
    tenant: Option<(TenantId, TenantName)>,
}

impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Snapshot")
    }
}

impl Collector for Snapshot {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let Sources {
            node,
            labelled,
            tenants_max,
            ..
        } = &*self.sources;
        let tenants = match &self.tenant {
            Some((tenant, name)) => Some(tenants::one(node, *tenant, name.as_str())),
            None => tenants::all(node, labelled, *tenants_max),
        };
        let now = Now {
            node,
            sources: &self.sources,
            totals: self.sources.pipelines.totals(),
            process: self.process,
            tenants,
            own_logs: own_logs::readings(&self.sources.pipelines, self.tenant.as_ref()),
        };
        let mut metrics = SECTIONS.iter().flat_map(|section| section.metrics);
        metrics.try_for_each(|metric| match self.tenant {
            Some(_) if !metric.is_of_tenants() => Ok(()),
            _ => metric.encode(&now, &mut encoder),
        })
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
