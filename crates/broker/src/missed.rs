//! Publications that may not have reached this node.

ht_proto::labels! {
    /// Why publications may not have reached this node.
    pub enum MissedReason {
        /// The node connected to the broker for the first time, and clients were there before.
        Start = "start",
        /// The connection to the broker was lost and made again.
        Reconnect = "reconnect",
        /// The node's queue was deleted, or its consumer cancelled.
        QueueDeleted = "queue-deleted",
        /// The exchange was deleted, or the queue's binding to it: messages published meanwhile
        /// were not routed to it.
        BindingLost = "binding-lost",
        /// Messages of a publisher that numbers them are missing.
        Skipped = "skipped",
        /// The log dropped records before this node had read them.
        Trimmed = "trimmed",
        /// The log lost its last records, or was made anew.
        Rewound = "rewound",
    }
}

impl MissedReason {
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
            Self::Trimmed => {
                "let the log retain more (rabbitmq.stream_age and rabbitmq.stream_bytes, or \
                 retention in the section of postgres, nats or redis), or find out why this node was \
                 cut off for so long"
            }
            Self::Rewound => {
                "find out who deletes the log, or whether the broker lost its disk or failed over \
                 to a copy that lagged"
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
    /// Description for the log: one line without a secret.
    pub cause: String,
}
