//! The heartbeat of the shards: a liveness check that only they can confirm.

use std::sync::Arc;

use ht_broker::Sequencer;

/// Checks whether the shards make progress.
#[derive(Clone)]
pub struct Heartbeat(Arc<dyn Sequencer>);

impl Heartbeat {
    pub(crate) fn new(sequencer: Arc<dyn Sequencer>) -> Self {
        Self(sequencer)
    }

    /// Ready when every shard that has not ended has taken what was in its inbox before.
    pub async fn beat(&self) {
        self.0.probe().await.0.await;
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
        let heartbeat = Heartbeat::new(Arc::new(sequencer));
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
