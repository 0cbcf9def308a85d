//! All shards of a pipeline.

use std::io;
use std::sync::Arc;

use ht_broker::Broker;
use ht_core::shard::{Settings, Shard};
use ht_proto::close::Close;

use crate::config::ServerConfig;
use crate::hooks::HookSender;
use crate::inbox::{self, Input};
use crate::live::Live;
use crate::memory::allowance;
use crate::node::Node;
use crate::shard::{self, Outside, Running};

/// The threads of a pipeline's shards. Those that still run are shut down when it is dropped.
pub(crate) struct Shards(Vec<Running>);

impl Shards {
    /// Starts so many.
    ///
    /// # Errors
    /// If the system cannot start another thread.
    pub(crate) fn start(
        threads: usize,
        config: &ServerConfig,
        node: &Node,
        live: &Live,
        broker: Option<&Arc<Broker>>,
        hooks: Option<&HookSender>,
    ) -> io::Result<Self> {
        let waiting = config.limits.memory_bounds(allowance()).inboxes;
        let bounds = inbox::Bounds {
            inputs: config.limits.inbox,
            bytes: waiting / threads,
        };
        let mut shards = Self(Vec::with_capacity(threads));
        for index in 0..threads {
            let shard = Shard::new(node.shard_settings(config), node.hasher.clone());
            let outside = Outside::new(index, node, live, broker.cloned(), hooks.cloned());
            let running = shard::start(shard, bounds, node, outside)?;
            shards.0.push(running);
        }
        Ok(shards)
    }

    /// Their inboxes.
    pub(crate) fn inboxes(&self) -> Vec<inbox::Sender> {
        self.0.iter().map(|shard| shard.inbox.clone()).collect()
    }

    /// Applies settings in all of them.
    pub(crate) fn reconfigure(&self, settings: &Settings) {
        self.send(|_| Input::Settings(Box::new(settings.clone())));
    }

    /// Sends an input to each shard, after everything that was published so far.
    pub(crate) fn send(&self, input: impl Fn(usize) -> Input) {
        for (index, shard) in self.0.iter().enumerate() {
            // A shard that has ended has no connections left.
            let _ = shard.inbox.send(input(index));
        }
    }

    /// Waits until every shard has closed its last connection, as instructed before.
    pub(crate) async fn ended(mut self) {
        let shards = std::mem::take(&mut self.0);
        let threads: Vec<_> = shards.into_iter().map(|shard| shard.thread).collect();
        let ended = tokio::task::spawn_blocking(move || {
            threads
                .into_iter()
                .map(std::thread::JoinHandle::join)
                .all(|end| end.is_ok())
        });
        if !matches!(ended.await, Ok(true)) {
            tracing::error!("a shard thread panicked");
        }
    }
}

impl Drop for Shards {
    fn drop(&mut self) {
        self.send(|_| Input::Drain(Close::RESTART));
    }
}
