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

/// The name of the bucket, as it is configured.
const BUCKET: &str = "publish_per_second";

/// Triggers and commands by tenant.
pub(super) type Tokens = BTreeMap<TenantId, u64>;

/// Takes what these records cost from the buckets of their tenants: one token for each trigger and
/// each command that is executed. All of a request or nothing is published, so the first empty
/// bucket rejects it. Returns what each tenant is to publish.
pub(super) fn take(
    internal: &Internal,
    records: &[Record],
    tenants: &[TenantId],
) -> Result<Tokens, Box<Response<Body>>> {
    let mut tokens = Tokens::new();
    for (record, tenant) in records.iter().zip(tenants) {
        if !matches!(record, Record::Command(command) if command.dry_run) {
            *tokens.entry(*tenant).or_default() += 1;
        }
    }
    let meters = &internal.sources.node.meters;
    for (tenant, tokens) in &tokens {
        let known = internal.tenants().get(*tenant);
        let config = known.as_ref().and_then(|tenant| tenant.config());
        let per_second = config.map_or(0, |config| config.limits.publish_per_second);
        if let Err(again) = meters.take_to_publish(*tenant, *tokens, per_second) {
            meters
                .of(*tenant)
                .refusals
                .add(TenantLimit::PublishPerSecond);
            let name = known.map_or_else(String::new, |tenant| tenant.name().to_string());
            return Err(Box::new(too_many(internal, &name, per_second, again)));
        }
    }
    Ok(tokens)
}

/// Counts what was published.
pub(super) fn published(internal: &Internal, tokens: &Tokens) {
    for (tenant, tokens) in tokens {
        let meter = internal.sources.node.meters.of(*tenant);
        meter.triggers.fetch_add(*tokens, Ordering::Relaxed);
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
