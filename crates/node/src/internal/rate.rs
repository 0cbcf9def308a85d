//! The rate limit of what a tenant publishes: `publish_per_second`.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

use ht_edge::respond::{self, Body};
use ht_proto::entry::TenantId;
use ht_proto::record::Record;
use http::{HeaderValue, Response, StatusCode, header};
use serde_json::json;

use crate::counters::TenantLimit;
use crate::internal::Internal;
use crate::tenants::Tenant;

/// The name of the bucket, as it is configured.
const BUCKET: &str = "publish_per_second";

/// What a request costs each tenant.
pub(super) type Tokens = BTreeMap<TenantId, Cost>;

/// Triggers and commands of a tenant.
#[derive(Clone, Copy, Default)]
pub(super) struct Cost {
    /// All of them: a dry run makes every shard search, too.
    tokens: u64,
    /// Without dry runs.
    published: u64,
}

/// Checks that the tenant of a whole request may publish at all, before its body is read.
pub(super) fn check(internal: &Internal, tenant: &Tenant) -> Result<(), Box<Response<Body>>> {
    let per_second = limit(tenant);
    let meters = &internal.sources.node.meters;
    let checked = meters.check_to_publish(tenant.id(), per_second);
    checked.map_err(|again| refused(internal, tenant.id(), Some(tenant), again))
}

/// Takes what these records cost from the buckets of their tenants: one token for each trigger and
/// each command. All of a request or nothing is published, so the first empty bucket rejects it.
/// Returns what each tenant is to publish.
pub(super) fn take(
    internal: &Internal,
    records: &[Record],
    tenants: &[TenantId],
) -> Result<Tokens, Box<Response<Body>>> {
    let mut tokens = Tokens::new();
    for (record, tenant) in records.iter().zip(tenants) {
        let cost = tokens.entry(*tenant).or_default();
        cost.tokens += 1;
        let is_dry = matches!(record, Record::Command(command) if command.dry_run);
        cost.published += u64::from(!is_dry);
    }
    let meters = &internal.sources.node.meters;
    for (id, cost) in &tokens {
        let known = internal.tenants().get(*id);
        let per_second = known.as_deref().map_or(0, limit);
        if let Err(again) = meters.take_to_publish(*id, cost.tokens, per_second) {
            return Err(refused(internal, *id, known.as_deref(), again));
        }
    }
    Ok(tokens)
}

fn limit(tenant: &Tenant) -> u64 {
    let config = tenant.config();
    config.map_or(0, |config| config.limits.publish_per_second)
}

/// Counts and answers a request that its tenant may send `again` later.
fn refused(
    internal: &Internal,
    id: TenantId,
    tenant: Option<&Tenant>,
    again: Duration,
) -> Box<Response<Body>> {
    let meter = internal.sources.node.meters.of(id);
    meter.refusals.add(TenantLimit::PublishPerSecond);
    let name = tenant.map_or_else(String::new, |tenant| tenant.name().to_string());
    let per_second = tenant.map_or(0, limit);
    Box::new(too_many(internal, &name, per_second, again))
}

/// Counts what was published.
pub(super) fn published(internal: &Internal, tokens: &Tokens) {
    for (tenant, cost) in tokens {
        let meter = internal.sources.node.meters.of(*tenant);
        meter.triggers.fetch_add(cost.published, Ordering::Relaxed);
    }
}

fn too_many(internal: &Internal, tenant: &str, limit: u64, again: Duration) -> Response<Body> {
    if let Some(suppressed) = internal.throttles.allow("tenant-publish-rate") {
        tracing::warn!(
            tenant,
            limit,
            suppressed,
            "rejected a request to /trigger/ with 429: its tenant is at limits.publish_per_second. \
             Raise that limit of the tenant, or have it publish less"
        );
    }
    let seconds = again.as_secs() + u64::from(again.subsec_nanos() > 0);
    let sentence = format!(
        "the tenant {tenant} may publish {limit} triggers and commands per second ({BUCKET}): send it \
         again in {seconds} s"
    );
    let body = json!({"error": sentence, "bucket": BUCKET, "tenant": tenant});
    let mut response = respond::json(StatusCode::TOO_MANY_REQUESTS, &body);
    let seconds = HeaderValue::from(seconds.max(1));
    response.headers_mut().insert(header::RETRY_AFTER, seconds);
    response
}
