//! Closing the connections of one tenant, while those of the others go on.

use ht_proto::close::Close;
use ht_proto::entry::TenantId;

use crate::connection::ConnectionId;
use crate::peer::Peer;
use crate::session::Stage;
use crate::shard::Shard;
use crate::world::{Turn, World};

/// Connections that are examined at once. Those of other tenants cost a comparison each.
const EXAMINED_MAX: usize = 16_384;

impl<P: Peer> Shard<P> {
    /// Closes up to `count` admitted connections of a tenant, each after its earlier publications.
    /// Fewer where the budget is spent, or where many connections of others were passed over: call it
    /// again, as long as the tenant has any.
    pub fn close_tenant(
        &mut self,
        tenant: TenantId,
        count: usize,
        close: Close,
        turn: &mut Turn<'_, impl World<P>>,
    ) {
        // Later slots were never used.
        let slots = self.sessions.capacity();
        let mut closed = 0;
        for _ in 0..slots.min(EXAMINED_MAX) {
            if closed >= count || closed > 0 && self.budget.is_spent() {
                return;
            }
            let index = self.next_of_tenant % slots;
            self.next_of_tenant = index + 1;
            let session = self.sessions.get(index);
            let is_of_tenant = session.is_some_and(|known| match &known.stage {
                Stage::Open { grants, .. } => grants.tenant() == tenant,
                Stage::Authenticating(_) | Stage::Refused(_) | Stage::Closing { .. } => false,
            });
            if is_of_tenant {
                let id = ConnectionId(u32::try_from(index).expect("keys were given as u32"));
                self.leave(id, close, turn);
                closed += 1;
            }
        }
    }
}
