//! Publications that may not have reached this node.

/// Why publications may not have reached this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MissedReason {
    /// The node connected to the broker for the first time, and clients were there before.
    Start,
    /// The connection to the broker was lost and made again.
    Reconnect,
    /// The node's queue was deleted, or its consumer cancelled.
    QueueDeleted,
    /// The exchange was deleted, or the queue's binding to it: what was published meanwhile went
    /// elsewhere.
    BindingLost,
    /// Messages of a publisher that numbers them are missing.
    Skipped,
}

impl MissedReason {
    /// Every reason, for metrics and documents.
    pub const ALL: [Self; 5] = [
        Self::Start,
        Self::Reconnect,
        Self::QueueDeleted,
        Self::BindingLost,
        Self::Skipped,
    ];

    /// The reason as it stands in metrics and logs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Reconnect => "reconnect",
            Self::QueueDeleted => "queue-deleted",
            Self::BindingLost => "binding-lost",
            Self::Skipped => "skipped",
        }
    }

    /// What the operator can do about it.
    #[must_use]
    pub const fn remedy(self) -> &'static str {
        match self {
            Self::Start => "start the broker before the gateway, or wait for /ready before traffic",
            Self::Reconnect => "find out why the broker closed the connection or restarted",
            Self::QueueDeleted => {
                "find out who deletes queues whose names begin with hightemplar_: a person, a \
                 policy or a timeout of the broker"
            }
            Self::BindingLost => {
                "find out who deletes the exchange or its bindings: gateways and publishers never do"
            }
            Self::Skipped => {
                "look for a policy that limits queues whose names begin with hightemplar_ (length, \
                 time to live), for an exchange that was deleted, or for a partition of the \
                 broker's cluster"
            }
        }
    }
}

/// Publications that may not have reached this node. Whatever is published after this value was
/// handed to [`crate::Sequencer::missed`] arrives again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missed {
    /// Why.
    pub reason: MissedReason,
    /// What happened, for the log: one line without a secret.
    pub cause: String,
}
