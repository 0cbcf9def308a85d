//! What each tenant may take of a node: bytes of its window, and what its clients are sent.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use ht_core::bucket::{DeliveryBucket, DeliveryLimits};
use ht_proto::entry::TenantId;

use crate::config::TenantLimits;
use crate::window::NodeWindow;

/// The buckets of the tenants whose clients' messages have a bound. All shards take from the same
/// one.
#[derive(Debug, Default)]
pub(crate) struct Shares {
    buckets: Mutex<HashMap<TenantId, Arc<DeliveryBucket>>>,
}

/// A bucket that the shards do not have yet; none: they have one that is not used any more.
pub(crate) type News = Option<Arc<DeliveryBucket>>;

impl Shares {
    /// A tenant has these limits from now on; without any it takes as much as there is. Returns what
    /// the shards are to be told.
    #[must_use]
    pub(crate) fn set(
        &self,
        tenant: TenantId,
        limits: &TenantLimits,
        window: &NodeWindow,
    ) -> Option<News> {
        let bytes = Some(limits.window_bytes).filter(|bytes| *bytes != 0);
        window.set_quota(tenant, bytes);
        let of = DeliveryLimits {
            messages: limits.messages_per_second,
            bytes: limits.bytes_per_second,
        };
        let is_bounded = of != DeliveryLimits::default();
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        match buckets.get(&tenant) {
            Some(bucket) if is_bounded => {
                bucket.set_limits(of);
                None
            }
            Some(_) => {
                buckets.remove(&tenant);
                Some(None)
            }
            None if is_bounded => {
                let bucket = Arc::new(DeliveryBucket::new(of));
                buckets.insert(tenant, Arc::clone(&bucket));
                Some(Some(bucket))
            }
            None => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use ht_core::window::WindowLimits;
    use ht_proto::entry::Epoch;

    use super::*;

    #[test]
    fn all_shards_take_from_one_bucket_whose_limits_change_without_them() {
        let window = NodeWindow::new(WindowLimits::default(), Epoch::from_random(0));
        let (shares, tenant) = (Shares::default(), TenantId::new(1));
        let set = |messages_per_second| {
            let limits = TenantLimits {
                messages_per_second,
                ..TenantLimits::default()
            };
            shares.set(tenant, &limits, &window)
        };
        assert!(set(0).is_none());
        let bucket = set(10).unwrap().unwrap();
        assert!(set(1).is_none(), "they have it");
        bucket.take(1, 0);
        assert!(bucket.is_empty(0));
        assert!(set(0).unwrap().is_none());
        assert!(set(0).is_none());
    }
}
