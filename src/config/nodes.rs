//! Whether the times of leases fit together.

use crate::config::mistake::{Mistakes, WrittenAt};
use crate::config::settings::Values;

/// Checks that a lease outlives a beacon that is late.
pub(crate) fn check(values: &Values, mistakes: &mut Mistakes) {
    let (beacon, lease) = (&values.nodes_beacon, &values.nodes_lease);
    if lease.value < 2 * beacon.value {
        let (place, key) = match lease.place {
            WrittenAt::Default => (&beacon.place, "nodes.beacon"),
            WrittenAt::File { .. }
            | WrittenAt::Variable(_)
            | WrittenAt::Dotenv { .. }
            | WrittenAt::Secret { .. } => (&lease.place, "nodes.lease"),
        };
        mistakes.add(
            place,
            key,
            "nodes.lease must be at least twice nodes.beacon: otherwise a single late beacon makes \
             the other nodes take this one for lost",
        );
    }
}
