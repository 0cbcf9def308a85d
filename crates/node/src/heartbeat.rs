//! The heartbeat of the shards: a liveness check that only they can confirm.

use std::sync::Arc;

use futures_util::future::join_all;
use ht_broker::Sequencer;

/// Lists the sequencers whose shards are checked.
type Sequencers = dyn Fn() -> Vec<Arc<dyn Sequencer>> + Send + Sync;

/// Checks whether the shards make progress.
#[derive(Clone)]
pub struct Heartbeat(Arc<Sequencers>);

impl Heartbeat {
    /// That of the shards of these sequencers, as they are at each beat.
    pub(crate) fn new(
        sequencers: impl Fn() -> Vec<Arc<dyn Sequencer>> + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(sequencers))
    }

    /// Ready when every shard that has not ended has taken what was in its inbox before.
    pub async fn beat(&self) {
        let all = (self.0)();
        let beats = all.iter().map(|one| async { one.probe().await.0.await });
        join_all(beats).await;
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use futures_util::FutureExt;
    use ht_core::index::Matching;
    use ht_core::window::WindowLimits;

    use super::*;
    use crate::inbox;
    use crate::inbox::Input;
    use crate::node::Node;
    use crate::sequencer::NodeSequencer;

    #[tokio::test]
    async fn it_beats_when_the_last_shard_has_taken_something() {
        let [first, second] = std::array::from_fn(|_| {
            let poll = mio::Poll::new().unwrap();
            let bounds = inbox::Bounds {
                inputs: 4,
                bytes: 1 << 20,
            };
            inbox::inbox(bounds, inbox::waker(&poll, mio::Token(0)).unwrap())
        });
        let node = Node::new(2, Matching::default(), WindowLimits::default());
        let sequencer = NodeSequencer::new(vec![first.0, second.0], 0, &node);
        let sequencer: Arc<dyn Sequencer> = Arc::new(sequencer);
        let heartbeat = Heartbeat::new(move || vec![Arc::clone(&sequencer)]);
        let mut beat = pin!(heartbeat.beat());
        assert!(beat.as_mut().now_or_never().is_none());
        let mut shards = [first.1, second.1];
        for shard in &mut shards {
            assert!(beat.as_mut().now_or_never().is_none(), "a shard is stuck");
            let Some(Input::Probe(taken)) = shard.next(|_| false, false) else {
                panic!("a probe");
            };
            taken.send(()).unwrap();
        }
        beat.await;
    }
}
