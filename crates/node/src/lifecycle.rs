//! The state of a node in its lifecycle.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio_util::sync::CancellationToken;

/// The state of a node in its lifecycle, for all of its parts.
#[derive(Debug, Default)]
pub(crate) struct Lifecycle {
    connected: CancellationToken,
    draining: AtomicBool,
    deserted: AtomicBool,
    broken: Arc<AtomicBool>,
}

impl Lifecycle {
    /// That of another pipeline of the same node: a shard of any that panics is one of the node.
    pub(crate) fn beside(&self) -> Self {
        Self {
            broken: Arc::clone(&self.broken),
            ..Self::default()
        }
    }

    /// Publications reach this node: there is no broker, or it has been connected once.
    pub(crate) fn connected(&self) {
        self.connected.cancel();
    }

    /// Ready as soon as publications reach this node.
    pub(crate) async fn until_connected(&self) {
        self.connected.cancelled().await;
    }

    /// The node is about to shut down.
    pub(crate) fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// Whether it is about to shut down.
    pub(crate) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// It has closed its connections.
    pub(crate) fn desert(&self) {
        self.deserted.store(true, Ordering::SeqCst);
    }

    /// Whether it has closed its connections: a trigger reaches no client here any more.
    pub(crate) fn is_deserted(&self) -> bool {
        self.deserted.load(Ordering::SeqCst)
    }

    /// A shard ended by a panic.
    pub(crate) fn break_down(&self) {
        self.broken.store(true, Ordering::Relaxed);
    }

    /// Whether a shard ended by a panic.
    pub(crate) fn is_broken(&self) -> bool {
        self.broken.load(Ordering::Relaxed)
    }
}
