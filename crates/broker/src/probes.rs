//! The probe in flight: a node sends it to itself to prove that triggers reach its shards.
//!
//! It is appended as triggers are, is read back in its order among them, and the sequencer passes
//! it to the shards.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;
use uuid::Uuid;

use crate::sequencer::Taken;

/// The probe in flight. At most one: a further probe replaces one that was abandoned.
#[derive(Default)]
pub(crate) struct Probes(Mutex<Option<(Box<str>, oneshot::Sender<Taken>)>>);

/// A probe to be sent. Dropping it ends the waiting.
pub(crate) struct Probe {
    /// The key to append with.
    pub(crate) key: Box<str>,
    taken: oneshot::Receiver<Taken>,
}

impl Probes {
    /// Prepares a probe.
    pub(crate) fn probe(&self) -> Probe {
        let (sender, taken) = oneshot::channel();
        let key: Box<str> = Uuid::new_v4().simple().to_string().into();
        *self.lock() = Some((key.clone(), sender));
        Probe { key, taken }
    }

    /// Whether a probe with this key is pending. An abandoned one, or one of another node, is not.
    pub(crate) fn is_awaited(&self, key: &str) -> bool {
        self.lock()
            .as_ref()
            .is_some_and(|(known, _)| **known == *key)
    }

    /// The probe was read back and has had its turn.
    pub(crate) fn replied(&self, key: &str, taken: Taken) {
        let waiting = self.lock().take_if(|(known, _)| **known == *key);
        if let Some((_, sender)) = waiting {
            let _ = sender.send(taken);
        }
    }

    /// The connection that would have read it back is lost.
    pub(crate) fn lost(&self) {
        *self.lock() = None;
    }

    fn lock(&self) -> MutexGuard<'_, Option<(Box<str>, oneshot::Sender<Taken>)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Probe {
    /// Waits for the probe reply; the returned future is ready when every shard has processed the
    /// probe. `None` once it is certain that there will be no reply.
    pub(crate) async fn reply(self) -> Option<Taken> {
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
    fn only_the_probe_in_flight_is_pending() {
        let probes = Probes::default();
        let given_up = probes.probe();
        let (late, probe) = (given_up.key.clone(), probes.probe());
        assert!(!probes.is_awaited(&late));
        probes.replied(&late, taken());
        let key = probe.key.clone();
        assert!(probes.is_awaited(&key));
        let mut reply = std::pin::pin!(probe.reply());
        assert!(reply.as_mut().now_or_never().is_none(), "another one came");
        probes.replied(&key, taken());
        assert!(reply.now_or_never().flatten().is_some());
    }

    #[test]
    fn a_lost_connection_ends_the_wait() {
        let probes = Probes::default();
        let probe = probes.probe();
        probes.lost();
        assert!(matches!(probe.reply().now_or_never(), Some(None)));
    }
}
