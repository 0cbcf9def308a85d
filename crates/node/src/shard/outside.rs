//! What a shard causes outside of itself.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use ht_core::peer::{Eviction, Moment};
use ht_core::stats::Stats;
use ht_core::world::{Over, World};
use ht_edge::permits::Slot;
use ht_proto::room::Room;
use ht_proto::server::Status;
use uuid::Uuid;

use crate::held;
use crate::hooks::HookSender;
use crate::node::Node;
use crate::socket::Socket;

/// What a shard causes outside of itself.
pub(super) struct Outside {
    pub(super) index: usize,
    pub(super) node: Arc<Node>,
    pub(super) hooks: Option<HookSender>,
}

impl Outside {
    /// A line of a connection's life, for who asks for each.
    pub(super) fn tell(&self, connection: Uuid, peer: &Socket, event: &str) {
        tracing::debug!(%connection, user = peer.user(), address = self.address(peer), "{event}");
    }

    /// Where a connection comes from, for the log.
    fn address(&self, peer: &Socket) -> String {
        held::address(&self.node, peer)
    }
}

impl World<Socket> for Outside {
    fn moment(&mut self, moment: Moment, peer: &mut Socket, now: u64) {
        match moment {
            Moment::Connect => {
                self.node.connections.fetch_add(1, Ordering::AcqRel);
            }
            Moment::Disconnect => {
                if let Some(about) = &peer.about {
                    self.tell(about.id, peer, "a connection is over");
                }
                // In this order: who is not counted any more takes no permit.
                let address = std::mem::replace(&mut peer.address, Slot::NONE);
                let user = peer.about.as_ref().and_then(|about| about.user.as_ref());
                self.node.permits.release(self.index, address, user);
                self.node.connections.fetch_sub(1, Ordering::AcqRel);
            }
            Moment::Ping => {}
        }
        if let (Some(hooks), Some(about)) = (&self.hooks, &mut peer.about) {
            hooks.moment(moment, about, now);
        }
    }

    fn client(&mut self, peer: &Socket) -> u64 {
        peer.client()
    }

    fn room_opened(&mut self, room: &Room) -> u64 {
        self.node.interest.opened(self.index, room)
    }

    fn room_closed(&mut self, room: &Room) {
        self.node.interest.closed(self.index, room);
    }

    fn status(&mut self, own: &Stats) -> Status {
        self.node.status(self.index, own)
    }

    fn hold(&mut self, peer: &Socket, bytes: usize) -> Result<usize, Over> {
        held::hold(&self.node, peer, bytes)
    }

    fn release(&mut self, peer: &Socket, bytes: usize) -> usize {
        held::release(&self.node, peer, bytes)
    }

    fn logs_refused_rooms(&self) -> bool {
        tracing::enabled!(tracing::Level::DEBUG)
    }

    fn room_refused(&mut self, connection: Uuid, peer: &Socket, reason: &str) {
        if let Some(suppressed) = self.node.throttles.tell("room-refused") {
            tracing::debug!(
                %connection,
                user = peer.user(),
                address = self.address(peer),
                reason,
                suppressed,
                "refused a room. Compare it with the API's allowed_rooms for this user"
            );
        }
    }

    fn evicted(&mut self, connection: Uuid, peer: &Socket, reason: Eviction) {
        if let Some(suppressed) = self.node.throttles.tell(reason.as_str()) {
            tracing::warn!(
                %connection,
                user = peer.user(),
                address = self.address(peer),
                reason = reason.as_str(),
                suppressed,
                "evicted a connection"
            );
        }
    }
}
