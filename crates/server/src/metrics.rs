//! `/metrics` in the OpenMetrics text format.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

use ht_broker::Health;
use ht_core::peer::Eviction;
use ht_proto::code::ErrorCode;
use http::Response;
use http::StatusCode;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::encoding::EncodeMetric;
use prometheus_client::encoding::text;
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

use crate::node::Node;
use crate::respond;
use crate::respond::Body;

/// All metrics as of now.
pub(crate) fn respond(node: &Arc<Node>) -> Response<Body> {
    let mut registry = Registry::with_prefix("high_templar");
    registry.register_collector(Box::new(Snapshot(Arc::clone(node))));
    let mut body = String::new();
    match text::encode(&mut body, &registry) {
        Ok(()) => {
            let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
            respond::with_type(StatusCode::OK, kind, body)
        }
        Err(fmt::Error) => respond::text(
            StatusCode::INTERNAL_SERVER_ERROR,
            "the metrics could not be written",
        ),
    }
}

struct Snapshot(Arc<Node>);

impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Snapshot")
    }
}

impl Collector for Snapshot {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let mut writer = Writer(encoder);
        self.encode_shards(&mut writer)?;
        self.encode_doors(&mut writer)?;
        self.encode_broker(&mut writer)
    }
}

impl Snapshot {
    fn encode_shards(&self, writer: &mut Writer<'_>) -> Result<(), fmt::Error> {
        let (node, totals) = (&self.0, self.0.totals());
        let open = node.connections.load(Ordering::Acquire);
        writer.gauge("connections", "Admitted connections that are open", open)?;
        let help = "Admitted connections by shard; they differ by the few that left last";
        writer.by_shard("shard_connections", help, node.connections_by_shard())?;
        writer.gauge("rooms", "Rooms that have a subscriber", node.census.rooms())?;
        writer.gauge("subscriptions", "Subscriptions", totals.subscriptions)?;
        writer.gauge(
            "queued_frames",
            "Publish frames that wait for slow clients",
            totals.queued,
        )?;
        writer.counter(
            "admitted",
            "Connections that were admitted",
            totals.admitted,
        )?;
        writer.counter(
            "refused",
            "Visitors that were refused or failed",
            totals.refused,
        )?;
        writer.counter(
            "messages",
            "Messages of clients, valid or not",
            totals.messages,
        )?;
        writer.counter(
            "publications",
            "Publications matched, per shard",
            totals.publications,
        )?;
        writer.counter(
            "deflated_publications",
            "Publications that were compressed, each once",
            totals.deflated,
        )?;
        let help = "Bytes of the publications that were compressed, before";
        writer.counter("deflate_input_bytes", help, totals.deflate_bytes_in)?;
        let help = "The same bytes after; what did not become smaller counts as it was";
        writer.counter("deflate_output_bytes", help, totals.deflate_bytes_out)?;
        let help = "Publish frames handed to the system";
        writer.counter("deliveries", help, totals.deliveries)?;
        let help = "Publish frames that were lost with their connection";
        writer.counter("undelivered", help, totals.undelivered)?;
        let help = "Connections that broke the websocket protocol or a size limit";
        writer.counter("violations", help, totals.violations)?;
        let help = "Connections closed because their client said nothing for too long";
        writer.counter("idle_timeouts", help, totals.idle_timeouts)?;
        let errors = ErrorCode::ALL
            .iter()
            .map(|code| code.as_str())
            .zip(totals.errors);
        writer.family("client_errors", "Error replies to clients", "code", errors)?;
        let evictions = Eviction::ALL
            .iter()
            .map(|reason| reason.as_str())
            .zip(totals.evictions);
        let help = "Connections ended to protect the others";
        writer.family("evictions", help, "reason", evictions)
    }

    fn encode_doors(&self, writer: &mut Writer<'_>) -> Result<(), fmt::Error> {
        let counters = &self.0.counters;
        let value = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let help = "Triggers that got a place in the order, repetitions included";
        writer.counter("triggers", help, value(&counters.triggers))?;
        let help = "Triggers whose id was seen before: accepted, not delivered again";
        writer.counter("trigger_duplicates", help, value(&counters.duplicates))?;
        let help = "Requests to the internal listener that were refused";
        writer.family(
            "internal_errors",
            help,
            "status",
            counters.trigger_errors.all(),
        )?;
        let help = "Handshakes refused before the backend was asked";
        writer.family(
            "handshake_errors",
            help,
            "reason",
            counters.handshake_errors.all(),
        )?;
        let help = "Bootstrap calls to the backend";
        writer.family("bootstraps", help, "outcome", counters.bootstraps.all())?;
        writer.counter("hooks", "Hooks that were called", value(&counters.hooks))?;
        let help = "Hooks that got no answer";
        writer.family("hook_errors", help, "reason", counters.hook_errors.all())?;
        let help = "Hooks lost because the queue was full";
        writer.counter("hooks_dropped", help, value(&counters.hooks_dropped))?;
        let help = "Times that no connection could be accepted";
        writer.counter("accept_errors", help, value(&counters.accept_errors))
    }

    fn encode_broker(&self, writer: &mut Writer<'_>) -> Result<(), fmt::Error> {
        let Some(broker) = &self.0.broker else {
            return Ok(());
        };
        let counts = broker.counts();
        let up = u64::from(broker.health() == Health::Ready);
        writer.gauge(
            "broker_up",
            "1 while triggers can come in from the broker",
            up,
        )?;
        writer.counter(
            "broker_messages",
            "Messages from the broker",
            counts.received,
        )?;
        let help = "Messages from the broker that were no trigger";
        writer.counter("broker_rejected", help, counts.rejected)?;
        let help = "Times that the broker was lost or could not be reached";
        writer.counter("broker_failures", help, counts.failures)
    }
}

/// Writes one metric after the other.
struct Writer<'a>(DescriptorEncoder<'a>);

impl Writer<'_> {
    fn gauge(&mut self, name: &str, help: &str, value: u64) -> Result<(), fmt::Error> {
        let gauge = ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX));
        gauge.encode(
            self.0
                .encode_descriptor(name, help, None, MetricType::Gauge)?,
        )
    }

    fn by_shard(
        &mut self,
        name: &str,
        help: &str,
        values: impl Iterator<Item = u64>,
    ) -> Result<(), fmt::Error> {
        let mut metric = self
            .0
            .encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (shard, value) in values.enumerate() {
            let gauge = ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX));
            gauge.encode(metric.encode_family(&[("shard", shard)])?)?;
        }
        Ok(())
    }

    fn counter(&mut self, name: &str, help: &str, value: u64) -> Result<(), fmt::Error> {
        let counter = ConstCounter::new(value);
        counter.encode(
            self.0
                .encode_descriptor(name, help, None, MetricType::Counter)?,
        )
    }

    fn family(
        &mut self,
        name: &str,
        help: &str,
        label: &str,
        values: impl IntoIterator<Item = (&'static str, u64)>,
    ) -> Result<(), fmt::Error> {
        let mut metric = self
            .0
            .encode_descriptor(name, help, None, MetricType::Counter)?;
        for (word, value) in values {
            let labels = [(label, word)];
            ConstCounter::new(value).encode(metric.encode_family(&labels)?)?;
        }
        Ok(())
    }
}
