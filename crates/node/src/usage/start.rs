//! How the usage of tenants is read from a node, and written.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use ht_backend::{PostConfig, PostSetupError, Poster};
use ht_proto::entry::TenantId;

use crate::config::{Secret, UsageConfig};
use crate::meters::{Meter, Meters};
use crate::pipelines::Pipelines;
use crate::usage::ledger::{Ledger, Peaks, Sums};
use crate::usage::sender::Sender;
use crate::usage::{SharedFiles, Usage};

impl Usage {
    /// That of a node. None if it is not to be written.
    ///
    /// # Errors
    /// If nothing could be posted with these settings.
    pub(crate) fn of(
        config: &UsageConfig,
        pipelines: &Arc<Pipelines>,
    ) -> Result<Option<Self>, PostSetupError> {
        let node = &pipelines.main().node;
        let Some(file) = &config.file else {
            return Ok(None);
        };
        let files = SharedFiles::new(file, node.peers.boot());
        let poster = config.url.clone().map(|url| {
            let key = config.key.as_ref();
            Poster::new(PostConfig {
                url,
                authorization: key.and_then(|Secret(key)| PostConfig::authorization(key)),
                timeout: config.timeout,
                tls_ca_file: config.tls_ca_file.clone(),
            })
        });
        let sender = poster.transpose()?.map(|poster| Sender {
            poster,
            files: files.clone(),
            counts: Arc::clone(&node.usage),
            throttles: Arc::clone(&node.throttles),
        });
        let reader = Arc::clone(pipelines);
        Ok(Some(Self {
            ledger: Ledger::new(node.peers.name(), node.peers.boot(), SystemTime::now()),
            read: Box::new(move |ledger| read(&reader, ledger)),
            files,
            interval: config.interval,
            keep: config.keep,
            clock: Arc::new(SystemTime::now),
            is_posted: sender.is_some(),
            sender,
            counts: Arc::clone(&node.usage),
            throttles: Arc::clone(&node.throttles),
            complete: VecDeque::new(),
        }))
    }
}

/// Notes what every tenant has used.
fn read(pipelines: &Pipelines, ledger: &mut Ledger) {
    let node = &pipelines.main().node;
    for (tenant, meter) in node.meters.all() {
        if let Some(name) = node.tenants.name(tenant) {
            let (sums, peaks) = used(pipelines, tenant, &node.meters, meter);
            ledger.note(&name, sums, peaks);
        }
    }
}

fn used(pipelines: &Pipelines, tenant: TenantId, meters: &Meters, meter: &Meter) -> (Sums, Peaks) {
    let connections = meters.take_connections(meter);
    let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
    let sums = Sums {
        connection_ms: connections.ms,
        messages_in: read(&meter.messages),
        triggers: read(&meter.triggers),
        publications: read(&meter.publications),
        deliveries: read(&meter.deliveries),
        bytes_out: read(&meter.bytes_out),
        bootstrap_calls: meter.bootstrap_calls(),
    };
    let peaks = Peaks {
        connections: connections.peak,
        window_bytes: pipelines.window_bytes_of(tenant),
    };
    (sums, peaks)
}
