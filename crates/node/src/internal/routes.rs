//! Which pipelines the records of a request go through: those of their tenants.

use std::sync::Arc;

use futures_util::future::join_all;
use ht_broker::{AppendError, Placed, Sequencer as _};
use ht_proto::entry::{Entry, TenantId};
use ht_proto::record::Record;
use tokio_util::task::task_tracker::TaskTrackerToken;

use crate::internal::Internal;
use crate::pipeline::Pipeline;

/// The pipelines of a request. None of them ends before this does.
pub(super) struct Routes {
    pipelines: Vec<Arc<Pipeline>>,
    /// By record: which one of them.
    of: Vec<usize>,
    under_way: Vec<TaskTrackerToken>,
}

/// A record that is to be published.
pub(super) struct Routed {
    pub(super) record: Record,
    pub(super) tenant: TenantId,
    pub(super) route: usize,
}

impl Routes {
    /// Those of records of these tenants. None: one of them ends, because the node shuts down, or the
    /// tenant has another log from now on.
    pub(super) fn of(internal: &Internal, tenants: &[TenantId]) -> Option<Self> {
        let mut routes = Self {
            pipelines: Vec::with_capacity(1),
            of: Vec::with_capacity(tenants.len()),
            under_way: Vec::with_capacity(1),
        };
        let mut last = None;
        for tenant in tenants {
            let route = match last {
                Some((known, route)) if known == *tenant => route,
                _ => routes.add(internal, *tenant)?,
            };
            last = Some((*tenant, route));
            routes.of.push(route);
        }
        Some(routes)
    }

    fn add(&mut self, internal: &Internal, tenant: TenantId) -> Option<usize> {
        let found = internal.tenants().get(tenant);
        let pipeline = match &found {
            Some(tenant) => internal.pipelines.of(tenant)?,
            None => Arc::clone(internal.pipelines.main()),
        };
        let mut known = self.pipelines.iter();
        if let Some(route) = known.position(|it| Arc::ptr_eq(it, &pipeline)) {
            return Some(route);
        }
        // Before the check: a shutdown waits for the requests that did not see it.
        self.under_way.push(pipeline.triggers.token());
        if pipeline.node.lifecycle.is_deserted() {
            return None;
        }
        self.pipelines.push(pipeline);
        Some(self.pipelines.len() - 1)
    }

    /// Everything is published: they may end. Returns all of them.
    pub(super) fn end(self) -> Vec<Arc<Pipeline>> {
        self.pipelines
    }

    /// By record: which one of them.
    pub(super) fn by_record(&self) -> &[usize] {
        &self.of
    }

    /// Publishes these, those of one pipeline in their order.
    ///
    /// # Errors
    /// If some were not published, or it is not known whether they were. Those of other pipelines may
    /// have been.
    pub(super) async fn publish(&self, records: Vec<Routed>) -> Result<Vec<Placed>, AppendError> {
        if let [pipeline] = &self.pipelines[..] {
            let records = records.into_iter().map(|it| (it.record, it.tenant));
            return publish_to(pipeline, records.collect()).await;
        }
        let routes: Vec<_> = records.iter().map(|it| it.route).collect();
        let mut parts: Vec<Vec<_>> = self.pipelines.iter().map(|_| Vec::new()).collect();
        for Routed {
            record,
            tenant,
            route,
        } in records
        {
            parts[route].push((record, tenant));
        }
        let parts = self.pipelines.iter().zip(parts);
        let all = join_all(parts.map(|(pipeline, part)| publish_to(pipeline, part))).await;
        let all: Result<Vec<_>, _> = all.into_iter().collect();
        let mut all: Vec<_> = all?.into_iter().map(Vec::into_iter).collect();
        let places = routes.into_iter().filter_map(|route| all[route].next());
        Ok(places.collect())
    }
}

async fn publish_to(
    pipeline: &Pipeline,
    records: Vec<(Record, TenantId)>,
) -> Result<Vec<Placed>, AppendError> {
    if records.is_empty() {
        return Ok(Vec::new());
    }
    match &pipeline.broker {
        // Every node receives it from the broker, this one included.
        Some(broker) => {
            let records = records.into_iter().map(|(record, _)| record);
            broker.publish(records.collect()).await
        }
        None => {
            let entry = |(record, tenant)| Entry {
                tenant,
                ..Entry::of(record)
            };
            let batch = records.into_iter().map(entry).collect();
            Ok(pipeline.sequencer.place(batch).await)
        }
    }
}
