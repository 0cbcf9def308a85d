//! Planted bugs: a useful simulator finds them within seconds.

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
    /// A node resumes at the end of a log that it should have resumed where it was.
    LostPlace,
    /// A publication is sent to a subscription that was ended.
    AfterUnsubscribe,
    /// A room that lost its last subscriber stays in the interest index.
    LeakedRoom,
    /// A connection that was cut is never reported to its shard.
    LeakedConnection,
    /// The shard has other grants than the API gave.
    WiderGrants,
    /// The guard is not notified that a client disconnected.
    ForgottenLeave,
    /// A call without waiting clients continues.
    RunawayCall,
    /// All addresses wait in one queue.
    OneQueue,
    /// Waits beyond the timeout are not ended.
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
    /// A client rejected by the guard keeps its permits.
    LeakedPermit,
    /// A node that drains does not wait for earlier publications.
    HastyDrain,
    /// Closing connections before a shutdown overtakes earlier publications.
    HastyClose,
    /// A node that drains closes half of the rest in each wave.
    SteepDrain,
    /// A command does not reach one of the shards.
    MissedCommand,
    /// A command reaches a shard after publications that were placed behind it.
    LateCommand,
    /// A command overtakes publications that were placed before it.
    EarlyCommand,
    /// A client that comes in is not tested for the commands since the API was asked about it.
    UncheckedNewcomer,
    /// A shard that is too far behind for its commands loses them, and no client is closed for it.
    SilentCommands,
    /// An answer of the API counts as newer than it is.
    OldAnswer,
    /// The window lacks publications.
    ShortWindow,
    /// The shard gets other grants than the API gave when it was asked again.
    WiderRights,
    /// The window has no holes.
    NoHole,
    /// Publications count as handed to a shard before they are.
    EarlyHanded,
    /// A shard is not told that its clients have missed something before they are.
    UnmarkedGap,
    /// Every order has the same name.
    OneEpoch,
    /// A node that finds that the log lost its end goes on with its epoch.
    KeptEpoch,
    /// A node that starts does not know that the log had something before what it reads.
    LateStart,
    /// The window lacks commands.
    ForgottenCommand,
    /// Publications of all tenants go to the clients of one.
    OneTenant,
    /// Commands of all tenants mean the clients of one.
    OneCommander,
    /// A trigger with the id of another tenant's counts as repeated.
    SharedIds,
    /// Clients are let in by tickets whatever was commanded since.
    StaleTicket,
    /// A client keeps its first ticket when its permissions change.
    OldTicket,
    /// Sessions keep their permissions after a gap, and the API is not asked.
    UnaskedGap,
}

impl Mutant {
    /// Every one.
    pub const ALL: [Self; 46] = [
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
        Self::MissedCommand,
        Self::LateCommand,
        Self::EarlyCommand,
        Self::UncheckedNewcomer,
        Self::SilentCommands,
        Self::OldAnswer,
        Self::ShortWindow,
        Self::WiderRights,
        Self::NoHole,
        Self::EarlyHanded,
        Self::UnmarkedGap,
        Self::OneEpoch,
        Self::KeptEpoch,
        Self::LateStart,
        Self::ForgottenCommand,
        Self::OneTenant,
        Self::OneCommander,
        Self::SharedIds,
        Self::StaleTicket,
        Self::OldTicket,
        Self::UnaskedGap,
    ];

    /// The mutant with this name, as `Debug` writes it.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|mutant| format!("{mutant:?}") == name)
    }
}
