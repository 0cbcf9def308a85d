//! Planted bugs: what a simulator that is worth its name finds within seconds.

/// A bug that the glue between the parts of a node has on request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mutant {
    /// A publication does not reach one of the shards.
    Drop,
    /// A publication reaches a shard twice.
    Repeat,
    /// Two publications reach a shard in the wrong order.
    Swap,
    /// A repeated trigger is placed again.
    Duplicate,
    /// A gap is found, and no client is closed for it.
    SilentGap,
    /// A gap closes the first of its connections only.
    ShortGap,
    /// A shard that is too far behind misses publications, and no client is closed for it.
    SilentOverflow,
    /// A node goes on at the end of a log that it was to go on reading where it was.
    LostPlace,
    /// A publication is sent to a subscription that was ended.
    AfterUnsubscribe,
    /// A room that lost its last subscriber stays in the interest index.
    LeakedRoom,
    /// A connection that was cut is never reported to its shard.
    LeakedConnection,
    /// The shard has other grants than the API gave.
    WiderGrants,
    /// The guard is not told that a client left.
    ForgottenLeave,
    /// A call that nobody waits for goes on.
    RunawayCall,
    /// All addresses wait in one queue.
    OneQueue,
    /// Nobody looks who has waited too long.
    NoTimeout,
    /// The answer to the gateway's own call counts as a failure.
    DeafProbe,
    /// The gateway's own calls are never made.
    NoProbe,
    /// The gateway's own calls are not made while the circuit is open.
    StuckCircuit,
    /// A client's call that fails counts as one of the gateway's own.
    BlamedApi,
    /// A client that sent its token is never answered.
    ForgottenAnswer,
    /// Whoever is sent away by the guard keeps its permits.
    LeakedPermit,
    /// A node that drains does not wait for what was published before.
    HastyDrain,
    /// What closes connections before a node leaves overtakes what was published before.
    HastyClose,
    /// A node that drains closes half of what is left in each wave.
    SteepDrain,
}

impl Mutant {
    /// Every one.
    pub const ALL: [Self; 25] = [
        Self::Drop,
        Self::Repeat,
        Self::Swap,
        Self::Duplicate,
        Self::SilentGap,
        Self::ShortGap,
        Self::SilentOverflow,
        Self::LostPlace,
        Self::AfterUnsubscribe,
        Self::LeakedRoom,
        Self::LeakedConnection,
        Self::WiderGrants,
        Self::ForgottenLeave,
        Self::RunawayCall,
        Self::OneQueue,
        Self::NoTimeout,
        Self::DeafProbe,
        Self::NoProbe,
        Self::StuckCircuit,
        Self::BlamedApi,
        Self::ForgottenAnswer,
        Self::LeakedPermit,
        Self::HastyDrain,
        Self::HastyClose,
        Self::SteepDrain,
    ];

    /// The mutant with this name, as `Debug` writes it.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|mutant| format!("{mutant:?}") == name)
    }
}
