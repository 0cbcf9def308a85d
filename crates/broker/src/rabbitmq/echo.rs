//! The probe that a node sends to itself, to prove that triggers reach its shards.
//!
//! It is published to the exchange as triggers are, over the same connection, but with the name of
//! this node's own queue as the routing key, to which nobody else's queue is bound: neither other
//! nodes nor Python gateways on the same exchange see it. It comes back in its order among the
//! triggers, and the dispatcher hands it to the shards.
//!
//! An exchange that exists already and is not direct may route it to others all the same. Nodes
//! know it by its type and pass over it; to a Python gateway it is a trigger for no room.

use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;

use lapin::types::ShortString;
use tokio::sync::oneshot;
use uuid::Uuid;

use crate::Taken;

/// The `type` of a probe's message.
pub(super) const TYPE: &str = "high-templar.probe";

/// Its body.
pub(super) const TEXT: &[u8] = br#"{"rooms": [], "data": null}"#;

/// The queue of this node, and the probe under way.
#[derive(Default)]
pub(super) struct Echo(Mutex<State>);

#[derive(Default)]
struct State {
    queue: ShortString,
    /// At most one: a further probe takes the place of one that was given up.
    waiting: Option<(ShortString, oneshot::Sender<Taken>)>,
}

/// A probe to be sent. Dropping it stops the waiting.
pub(super) struct Probe {
    /// The routing key to publish with.
    pub(super) queue: ShortString,
    /// The `message_id` to publish with.
    pub(super) id: ShortString,
    taken: oneshot::Receiver<Taken>,
}

impl Echo {
    /// A new connection, with a queue of its own. A probe that is under way will not come back.
    pub(super) fn connected(&self, queue: &ShortString) {
        *self.lock() = State {
            queue: queue.clone(),
            waiting: None,
        };
    }

    /// The connection is gone, and with it a probe that is under way.
    pub(super) fn lost(&self) {
        self.lock().waiting = None;
    }

    /// Prepares a probe.
    pub(super) fn probe(&self) -> Probe {
        let (sender, taken) = oneshot::channel();
        let id = ShortString::from(Uuid::new_v4().simple().to_string());
        let mut state = self.lock();
        state.waiting = Some((id.clone(), sender));
        let queue = state.queue.clone();
        Probe { queue, id, taken }
    }

    /// A probe came back and has had its turn. One that was given up is nobody's.
    pub(super) fn came_back(&self, id: &str, taken: Taken) {
        let waiting = self
            .lock()
            .waiting
            .take_if(|(known, _)| known.as_str() == id);
        if let Some((_, sender)) = waiting {
            let _ = sender.send(taken);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Probe {
    /// Waits until it is back; what comes is ready when every shard has taken it. None when it is
    /// sure that it will not come back.
    pub(super) async fn back(self) -> Option<Taken> {
        self.taken.await.ok()
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn taken() -> Taken {
        Taken(async {}.boxed())
    }

    #[test]
    fn only_the_probe_under_way_is_waited_for() {
        let echo = Echo::default();
        echo.connected(&"queue".into());
        let given_up = echo.probe();
        let (late, probe) = (given_up.id.clone(), echo.probe());
        assert_eq!(probe.queue.as_str(), "queue");
        echo.came_back(late.as_str(), taken());
        let id = probe.id.clone();
        let mut back = std::pin::pin!(probe.back());
        assert!(back.as_mut().now_or_never().is_none(), "another one came");
        echo.came_back(id.as_str(), taken());
        assert!(back.now_or_never().flatten().is_some());
    }

    #[test]
    fn a_lost_connection_ends_the_waiting() {
        let echo = Echo::default();
        let probe = echo.probe();
        echo.lost();
        assert!(matches!(probe.back().now_or_never(), Some(None)));
        let probe = echo.probe();
        echo.connected(&"anew".into());
        assert!(matches!(probe.back().now_or_never(), Some(None)));
    }
}
