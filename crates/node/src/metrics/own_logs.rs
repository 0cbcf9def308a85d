//! What is shown of the logs that tenants have of their own.

use ht_broker::Counts;
use ht_proto::entry::TenantId;
use ht_proto::tenant::TenantName;

use crate::pipelines::Pipelines;
use crate::window::WindowSize;

/// One sample of every metric of a log.
pub(super) struct OwnLogReading {
    /// It is read, and what is published arrives.
    pub(super) is_up: bool,
    pub(super) counts: Counts,
    pub(super) window: WindowSize,
    /// The gateways that read it.
    pub(super) nodes: u64,
}

/// The logs of all tenants, or of this one. Not those that are not read any more.
pub(super) fn readings(
    pipelines: &Pipelines,
    of: Option<&(TenantId, TenantName)>,
) -> Vec<(String, OwnLogReading)> {
    let own = pipelines.own().into_iter();
    let own = own.filter_map(|pipeline| {
        let node = &pipeline.node;
        let owner = node.owner.as_ref()?;
        let is_meant = of.is_none_or(|(id, _)| *id == owner.id);
        if node.lifecycle.is_draining() || !is_meant {
            return None;
        }
        let broker = pipeline.broker.as_ref();
        let reading = OwnLogReading {
            is_up: pipeline.delivers(),
            counts: broker.map(|broker| broker.counts()).unwrap_or_default(),
            window: node.window.size(),
            nodes: node.peers.count(),
        };
        Some((owner.name.to_string(), reading))
    });
    own.collect()
}
