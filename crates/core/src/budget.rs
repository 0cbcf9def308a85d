//! How much work a shard does in one turn.
//!
//! A shard's thread serves many connections in turns. Everything that a turn does is charged by
//! what it costs, in *units*, and the turn is over when its budget is spent: what is left is kept
//! and continued in a later turn. A unit is about a nanosecond on one core of the machine that
//! `bench/RESULTS.md` describes. The costs in [`cost`] are upper estimates, from measurements of
//! the worst input of each kind, so that a turn that spends [`TURN`] takes well below 20 ms.
//!
//! Units, not time: a clock would make turns depend on the load of the machine and tests fail at
//! random.

/// Units that all phases of a turn may spend together.
pub const TURN: u64 = {
    let mut sum = 0;
    let mut at = 0;
    while at < Phase::ALL.len() {
        sum += Phase::ALL[at].units();
        at += 1;
    }
    sum
};

/// Units that one connection may spend before the other connections have their turn.
pub const SLICE: u64 = 500_000;

/// The largest step that a turn cannot divide with the default limits, in units: a turn, which
/// checks its budget between steps, exceeds it by at most one such step per phase. The largest are
/// the deliveries of one connection, of which a round gathers 64 Ki and 1 MiB of publications, and
/// the growth of a table.
pub const STEP: u64 = 6_000_000;

// 20 ms, of which the thread's own work between the steps takes some.
const _: () = assert!(TURN + STEP <= 18_000_000);

/// The parts of a turn. Each has a budget of its own, so that none starves another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Sockets that are ready: input is read, queued output is written.
    Sockets,
    /// Connections whose bytes were read in an earlier turn and not processed yet.
    Resume,
    /// New connections.
    Newcomers,
    /// Publications, settings and probes are taken from the inbox; publications are delivered.
    Deliveries,
    /// Subscriptions of connections that ended are dropped.
    CleanUp,
    /// What is due: timeouts, evictions, pings.
    Tick,
}

impl Phase {
    /// Every phase, in the order of a turn.
    pub const ALL: [Self; 6] = [
        Self::Sockets,
        Self::Resume,
        Self::Newcomers,
        Self::Deliveries,
        Self::CleanUp,
        Self::Tick,
    ];

    /// What the phase may spend in a turn, in units.
    #[must_use]
    pub const fn units(self) -> u64 {
        match self {
            Self::Sockets => 3_000_000,
            Self::Resume => 2_000_000,
            Self::Newcomers | Self::Deliveries => 1_500_000,
            Self::CleanUp | Self::Tick => 1_000_000,
        }
    }
}

/// What may still be spent.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    /// Units that the phase may spend.
    limit: u64,
    /// Units that one connection may spend at once.
    slice: u64,
    /// What is spent when the slice of the current connection is over.
    slice_end: u64,
    /// Units that were spent since the phase began.
    spent: u64,
    /// Units that were spent in the phases before.
    before: u64,
}

impl Budget {
    /// Everything may be done at once. What a new shard has, for tests and tools.
    pub const UNLIMITED: Self = Self {
        limit: u64::MAX,
        slice: u64::MAX,
        slice_end: u64::MAX,
        spent: 0,
        before: 0,
    };

    /// A phase of `limit` units begins, of which one connection may spend `slice`.
    pub const fn begin(&mut self, limit: u64, slice: u64) {
        *self = Self {
            limit,
            slice,
            slice_end: limit,
            spent: 0,
            before: self.total(),
        };
    }

    /// Charges some work.
    pub const fn spend(&mut self, units: u64) {
        self.spent = self.spent.saturating_add(units);
    }

    /// Whether the phase is over.
    #[must_use]
    pub const fn is_spent(&self) -> bool {
        self.spent >= self.limit
    }

    /// Whether the phase is over once so many units more are spent.
    #[must_use]
    pub const fn would_be_spent(&self, units: u64) -> bool {
        self.spent.saturating_add(units) >= self.limit
    }

    /// All units that were ever spent.
    #[must_use]
    pub const fn total(&self) -> u64 {
        self.before.saturating_add(self.spent)
    }

    /// A connection has its slice from now on.
    pub(crate) const fn begin_slice(&mut self) {
        let end = self.spent.saturating_add(self.slice);
        self.slice_end = if end < self.limit { end } else { self.limit };
    }

    /// Whether the connection has had its slice, or the phase is over.
    pub(crate) const fn is_slice_over(&self) -> bool {
        self.spent >= self.slice_end
    }
}

/// What work costs, in units.
pub mod cost {
    /// Reading from a socket, and delivering what was published before.
    pub const RECEIVE: u64 = 2_000;
    /// Continuing with a connection that used up its slice before.
    pub const RESUME: u64 = 300;
    /// A message or a control frame, and its reply.
    pub const MESSAGE: u64 = 500;
    /// Asking for the totals of the node.
    pub const STATUS: u64 = 3_000;
    /// A further subscription: its entries in the tables.
    pub const SUBSCRIBE: u64 = 3_000;
    /// Dropping a subscription.
    pub const DROP: u64 = 1_500;
    /// A candidate that is examined for a publication.
    pub const LOOK: u64 = 60;
    /// Comparing a short text with another one.
    pub const COMPARE_TEXT: u64 = 20;
    /// A publication for a subscription, before it is written.
    pub const HIT: u64 = 20;
    /// A write to a socket.
    pub const WRITE: u64 = 4_000;
    /// Registering a new connection.
    pub const OPEN: u64 = 10_000;
    /// Noting a name by which a connection is found, and forgetting it.
    pub const NAME: u64 = 500;
    /// Testing a subscription against a grant set.
    pub const TEST_GRANTS: u64 = 120;
    /// Most that a new connection is tested for the commands of its handshake.
    pub const CATCH_UP: u64 = 3_000_000;
    /// Listing when something is due for a session, or taking it from the list.
    pub const MOMENT: u64 = 500;
    /// Holding a session, and requesting an answer of the API about it.
    pub const HOLD: u64 = 2_000;
    /// Ending a connection, including notifications to others.
    pub const CLOSE: u64 = 10_000;

    /// Testing a segment of the window for so many rooms.
    #[must_use]
    pub const fn test_segment(rooms: usize) -> u64 {
        LOOK + 15 * rooms as u64
    }

    /// Hashing so many rooms, to test segments of the window for them.
    #[must_use]
    pub const fn want(rooms: usize) -> u64 {
        100 * rooms as u64
    }

    /// Comparing a grant with a refused room, which have so many keys together.
    #[must_use]
    pub const fn compare(keys: usize) -> u64 {
        LOOK + 30 * keys as u64
    }

    /// Taking so many bytes off the wire: unmasking, validating, gathering.
    #[must_use]
    pub const fn wire(bytes: usize) -> u64 {
        bytes as u64 / 2
    }

    /// Inflating to so many bytes.
    #[must_use]
    pub const fn inflate(bytes: usize) -> u64 {
        2 * bytes as u64
    }

    /// Parsing a message of so many bytes.
    #[must_use]
    pub const fn parse(bytes: usize) -> u64 {
        6 * bytes as u64
    }

    /// Handing so many bytes to the system, or keeping them.
    #[must_use]
    pub const fn write(bytes: usize) -> u64 {
        WRITE + bytes as u64 / 4
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slice_ends_with_its_phase() {
        let mut budget = Budget::UNLIMITED;
        budget.begin(100, 30);
        budget.begin_slice();
        budget.spend(29);
        assert!(!budget.is_slice_over() && !budget.is_spent());
        budget.spend(1);
        assert!(budget.is_slice_over() && !budget.is_spent());
        budget.spend(60);
        budget.begin_slice();
        budget.spend(10);
        assert!(budget.is_slice_over() && budget.is_spent());
        budget.begin(50, 30);
        assert!(!budget.is_spent());
        assert_eq!(budget.total(), 100);
    }
}
