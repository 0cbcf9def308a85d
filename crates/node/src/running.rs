//! A pipeline that runs: its threads, and the services of its log.

use std::sync::Arc;

use ht_proto::entry::TenantId;

use crate::config::{ServerConfig, TenantLimits};
use crate::inbox::Input;
use crate::live::Live;
use crate::permissions::{Rechecker, Reports};
use crate::pipeline::Pipeline;
use crate::readiness::Prober;
use crate::recovery::GapCloser;
use crate::reporter::Reporter;
use crate::services::{Service, Services};
use crate::shards::Shards;

/// A pipeline that runs. If it is dropped, all connections are closed at once.
pub(crate) struct Running {
    pub(crate) pipeline: Arc<Pipeline>,
    pub(crate) shards: Shards,
    pub(crate) services: Services,
}

impl Running {
    /// One whose shards run, without services.
    pub(crate) fn new(pipeline: Arc<Pipeline>, shards: Shards) -> Self {
        Self {
            services: Services::within(pipeline.span()),
            pipeline,
            shards,
        }
    }

    /// What sends probes; none if they are disabled.
    pub(crate) fn prober(&self, config: &ServerConfig) -> Option<Prober> {
        let Pipeline { node, broker, .. } = &*self.pipeline;
        let order = self.pipeline.order();
        Prober::new(node, broker.clone(), &order, config.readiness.clone())
    }

    /// Sends probes from now on.
    pub(crate) fn start_prober(&self, prober: Prober) {
        let run = |shutdown| prober.run(shutdown);
        self.services.start(Service::Prober, run);
    }

    /// Starts the services that bring publications to the shards, and what the API permits.
    pub(crate) fn start(&self, live: &Live) {
        let Pipeline {
            node,
            broker,
            sequencer,
            inboxes,
            ..
        } = &*self.pipeline;
        let closer = GapCloser {
            gaps: Arc::clone(&node.gaps),
            totals: Arc::clone(&node.totals),
            live: live.clone(),
            inboxes: inboxes.clone(),
        };
        let run = |shutdown| closer.run(shutdown);
        self.services.start(Service::GapCloser, run);
        if let Some(broker) = broker.clone() {
            let order = self.pipeline.order();
            let reporter = Reporter {
                peers: Arc::clone(&node.peers),
                broker: Arc::clone(&broker),
                sequencer: Arc::clone(sequencer),
                totals: Arc::clone(&node.totals),
                throttles: Arc::clone(&node.throttles),
            };
            let run = |shutdown| reporter.run(shutdown);
            self.services.start(Service::Reporter, run);
            let run = |shutdown| broker.run(order, shutdown);
            self.services.start(Service::Broker, run);
        }
        // What queries the API again about clients that are connected, for as long as they are.
        let rechecker = Rechecker {
            mailbox: Arc::clone(&node.rechecks),
            tenants: Arc::clone(&node.tenants),
            interner: Arc::clone(&node.interner),
            clock: node.call_clock(),
            reports: Reports {
                meters: Arc::clone(&node.meters),
                counters: Arc::clone(&node.counters),
                throttles: Arc::clone(&node.throttles),
            },
            live: live.clone(),
            inboxes: inboxes.clone(),
        };
        let run = |shutdown| rechecker.run(shutdown);
        self.services.start(Service::Rechecker, run);
    }

    /// Applies the settings that need no restart.
    pub(crate) fn reconfigure(&self, config: &ServerConfig) {
        let node = &self.pipeline.node;
        node.gaps.set_policy(config.recovery.gap_old);
        self.shards.reconfigure(&node.shard_settings(config));
    }

    /// A tenant has these limits from now on.
    pub(crate) fn set_limits(&self, tenant: TenantId, limits: &TenantLimits) {
        let node = &self.pipeline.node;
        if let Some(bucket) = node.shares.set(tenant, limits, &node.window) {
            self.shards.send(|_| Input::Bucket(tenant, bucket.clone()));
        }
    }
}
