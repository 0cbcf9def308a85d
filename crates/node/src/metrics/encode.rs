//! Reads a row of the table of metrics, and writes its samples.

use std::fmt;

use ht_core::stats::{Stat, StatKind, StatLabel};
use prometheus_client::encoding::{
    DescriptorEncoder, EncodeLabelValue, EncodeMetric, MetricEncoder,
};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

use crate::metrics::{Metric, Now, PREFIX, Read};

impl Metric {
    /// Its type in Prometheus.
    pub(super) fn kind(&self) -> MetricType {
        match self.read {
            Read::Gauge(_)
            | Read::GaugeByShard(_)
            | Read::GaugeBy(..)
            | Read::Seconds(_)
            | Read::SecondsByShard(_)
            | Read::BrokerGauge(_)
            | Read::Build
            | Read::TenantGauge(_)
            | Read::TenantsGauge(_)
            | Read::OwnLogGauge(_)
            | Read::OwnLogSeconds(_)
            | Read::UsageGauge(_)
            | Read::ProcessGauge(_) => MetricType::Gauge,
            Read::Histogram(_) => MetricType::Histogram,
            Read::Sum(stat) => match stat.kind {
                StatKind::Gauge => MetricType::Gauge,
                StatKind::Counter => MetricType::Counter,
            },
            Read::Counter(_)
            | Read::CounterBy(..)
            | Read::BrokerCounter(_)
            | Read::TenantCounter(_)
            | Read::TenantCounterBy(..)
            | Read::TenantsCounter(_)
            | Read::OwnLogCounter(_)
            | Read::UsageCounter(_)
            | Read::ProcessCounter(_) => MetricType::Counter,
        }
    }

    /// What it is, without a full stop.
    pub(super) fn help(&self) -> &'static str {
        if let Read::Sum(stat) = self.read {
            stat.help
        } else {
            self.help
        }
    }

    /// Its name without the `_total` of a counter.
    pub(super) fn full_name(&self) -> String {
        let is_process = matches!(self.read, Read::ProcessGauge(_) | Read::ProcessCounter(_));
        let prefix = if is_process { "" } else { PREFIX };
        format!("{prefix}{}", self.name)
    }

    /// Whether it is a number of each tenant.
    pub(super) fn is_of_tenants(&self) -> bool {
        matches!(
            self.read,
            Read::TenantGauge(_)
                | Read::TenantCounter(_)
                | Read::TenantCounterBy(..)
                | Read::OwnLogGauge(_)
                | Read::OwnLogSeconds(_)
                | Read::OwnLogCounter(_)
        )
    }

    /// Whether this node has it.
    fn is_shown(&self, now: &Now<'_>) -> bool {
        match self.read {
            Read::BrokerGauge(_) | Read::BrokerCounter(_) => now.broker().is_some(),
            Read::ProcessGauge(read) | Read::ProcessCounter(read) => read(&now.process).is_some(),
            Read::TenantGauge(_) | Read::TenantCounter(_) | Read::TenantCounterBy(..) => {
                now.tenants.is_some()
            }
            Read::TenantsCounter(_) | Read::TenantsGauge(_) => now.tenants.is_some(),
            Read::OwnLogGauge(_) | Read::OwnLogSeconds(_) | Read::OwnLogCounter(_) => {
                !now.own_logs.is_empty()
            }
            Read::UsageGauge(_) | Read::UsageCounter(_) => now.sources.usage.is_some(),
            Read::Gauge(_)
            | Read::GaugeByShard(_)
            | Read::GaugeBy(..)
            | Read::Seconds(_)
            | Read::SecondsByShard(_)
            | Read::Histogram(_)
            | Read::Counter(_)
            | Read::CounterBy(..)
            | Read::Sum(_)
            | Read::Build => true,
        }
    }

    /// Writes its values, if this node has it.
    pub(super) fn encode(
        &self,
        now: &Now<'_>,
        encoder: &mut DescriptorEncoder<'_>,
    ) -> Result<(), fmt::Error> {
        if !self.is_shown(now) {
            return Ok(());
        }
        let broker = now.broker();
        let name = self.full_name();
        let mut metric = encoder.encode_descriptor(&name, self.help(), None, self.kind())?;
        match (&self.read, broker) {
            (Read::Gauge(read) | Read::TenantsGauge(read), _) => gauge(read(now)).encode(metric),
            (Read::Seconds(read), _) => ConstGauge::new(read(now)).encode(metric),
            (Read::Histogram(read), _) => read(now).encode(metric),
            (Read::Counter(read) | Read::TenantsCounter(read), _) => {
                ConstCounter::new(read(now)).encode(metric)
            }
            (Read::BrokerGauge(read), Some(broker)) => gauge(read(broker)).encode(metric),
            (Read::BrokerCounter(read), Some(broker)) => {
                ConstCounter::new(read(broker)).encode(metric)
            }
            (Read::BrokerGauge(_) | Read::BrokerCounter(_), None) => Ok(()),
            (Read::Build, _) => {
                let labels = now.sources.build.labels();
                gauge(1).encode(metric.encode_family(&labels)?)
            }
            (Read::ProcessGauge(read), _) => {
                ConstGauge::new(read(&now.process).unwrap_or_default()).encode(metric)
            }
            (Read::ProcessCounter(read), _) => {
                ConstCounter::new(read(&now.process).unwrap_or_default()).encode(metric)
            }
            (Read::GaugeByShard(read), _) => {
                let values = read(now).into_iter().map(gauge);
                family(&mut metric, "shard", values.enumerate())
            }
            (Read::SecondsByShard(read), _) => {
                let values = read(now).into_iter().map(ConstGauge::new);
                family(&mut metric, "shard", values.enumerate())
            }
            (Read::GaugeBy(label, words, read), _) => {
                let values = read(now).into_iter().map(gauge);
                family(&mut metric, label, words().into_iter().zip(values))
            }
            (Read::CounterBy(label, words, read), _) => {
                let values = read(now).into_iter().map(ConstCounter::new);
                family(&mut metric, label, words().into_iter().zip(values))
            }
            (Read::TenantGauge(read), _) => {
                let tenants = now.tenants.iter().flatten();
                let values = tenants.map(|(name, it)| (name.as_str(), gauge(read(it))));
                family(&mut metric, "tenant", values)
            }
            (Read::TenantCounter(read), _) => {
                let tenants = now.tenants.iter().flatten();
                let values = tenants.map(|(name, it)| (name.as_str(), ConstCounter::new(read(it))));
                family(&mut metric, "tenant", values)
            }
            (Read::TenantCounterBy(label, words, read), _) => {
                let mut tenants = now.tenants.iter().flatten();
                tenants.try_for_each(|(name, it)| by(&mut metric, name, label, &words(), read(it)))
            }
            (Read::OwnLogGauge(read), _) => {
                let logs = now.own_logs.iter();
                let values = logs.map(|(name, it)| (name.as_str(), gauge(read(it))));
                family(&mut metric, "tenant", values)
            }
            (Read::OwnLogSeconds(read), _) => {
                let logs = now.own_logs.iter();
                let values = logs.map(|(name, it)| (name.as_str(), ConstGauge::new(read(it))));
                family(&mut metric, "tenant", values)
            }
            (Read::OwnLogCounter(read), _) => {
                let logs = now.own_logs.iter();
                let values = logs.map(|(name, it)| (name.as_str(), ConstCounter::new(read(it))));
                family(&mut metric, "tenant", values)
            }
            (Read::UsageGauge(read), _) => {
                let counts = now.sources.usage.as_deref();
                gauge(counts.map_or(0, read)).encode(metric)
            }
            (Read::UsageCounter(read), _) => {
                let counts = now.sources.usage.as_deref();
                ConstCounter::new(counts.map_or(0, read)).encode(metric)
            }
            (Read::Sum(stat), _) => sum(stat, (stat.read)(&now.totals), metric),
        }
    }
}

/// Writes the sum of a number over all shards: one value, or one for each value of its label.
fn sum(stat: &Stat, values: &[u64], mut metric: MetricEncoder<'_>) -> Result<(), fmt::Error> {
    match (stat.kind, stat.label) {
        (StatKind::Gauge, None) => values
            .first()
            .map_or(Ok(()), |&value| gauge(value).encode(metric)),
        (StatKind::Counter, None) => values
            .first()
            .map_or(Ok(()), |&value| ConstCounter::new(value).encode(metric)),
        (StatKind::Gauge, Some(StatLabel { name, words })) => {
            let values = values.iter().copied().map(gauge);
            family(&mut metric, name, words().into_iter().zip(values))
        }
        (StatKind::Counter, Some(StatLabel { name, words })) => {
            let values = values.iter().copied().map(ConstCounter::new);
            family(&mut metric, name, words().into_iter().zip(values))
        }
    }
}

fn gauge(value: u64) -> ConstGauge<i64> {
    ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX))
}

/// Writes one sample of a tenant for each value of a label that occurred.
fn by(
    metric: &mut MetricEncoder<'_>,
    tenant: &str,
    label: &str,
    words: &[&str],
    values: &[u64],
) -> Result<(), fmt::Error> {
    let mut values = words.iter().zip(values).filter(|(_, value)| **value > 0);
    values.try_for_each(|(word, value)| {
        let labels = [("tenant", tenant), (label, *word)];
        ConstCounter::new(*value).encode(metric.encode_family(&labels)?)
    })
}

/// Writes one sample for each value of a label.
fn family<W: EncodeLabelValue, M: EncodeMetric>(
    metric: &mut MetricEncoder<'_>,
    label: &str,
    mut values: impl Iterator<Item = (W, M)>,
) -> Result<(), fmt::Error> {
    values.try_for_each(|(word, value)| value.encode(metric.encode_family(&[(label, word)])?))
}
