//! What is asked of a server: who listens, how triggers go, and for how long.

use std::time::Duration;

use clap::ValueEnum;

/// Who hears a trigger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Rooms {
    /// One room that everybody is in: a trigger is a delivery to each connection.
    FanOut,
    /// A room for each connection: a trigger is one delivery.
    Unicast,
}

impl Rooms {
    /// The name of connection `number`'s room.
    #[must_use]
    pub fn name(self, number: u32) -> String {
        match self {
            Self::FanOut => "all".to_owned(),
            Self::Unicast => number.to_string(),
        }
    }

    /// The room of connection `number`, as JSON.
    #[must_use]
    pub fn room(self, number: u32) -> String {
        format!(r#"{{"target":"bench","id":"{}"}}"#, self.name(number))
    }

    /// Deliveries of one trigger among so many connections.
    #[must_use]
    pub fn receivers(self, connections: usize) -> usize {
        match self {
            Self::FanOut => connections,
            Self::Unicast => 1,
        }
    }
}

/// When the next trigger goes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Pace {
    /// None goes: the run ends when everybody is in.
    Idle,
    /// At fixed moments, so many deliveries a second in all.
    Rate {
        /// Deliveries a second, over all connections.
        deliveries: f64,
    },
    /// As soon as fewer than this many triggers are outstanding. A trigger is outstanding until
    /// its last delivery was read.
    FlatOut {
        /// Triggers outstanding.
        window: u64,
    },
}

/// What the stub backend permits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Grants {
    /// Everybody the same: any id.
    Shared,
    /// Everybody the common room and a room of their own.
    Own,
}

impl Grants {
    /// The answer to user `number`'s bootstrap call.
    #[must_use]
    pub fn bootstrap(self, number: &str) -> String {
        match self {
            Self::Shared => r#"{"allowed_rooms":[{"target":"bench","id":"*"}]}"#.to_owned(),
            Self::Own => format!(
                r#"{{"allowed_rooms":[{},{{"target":"bench","id":"{number}"}}]}}"#,
                Rooms::FanOut.room(0)
            ),
        }
    }
}

/// One run.
#[derive(Clone, Debug)]
pub struct Workload {
    /// Who hears a trigger.
    pub rooms: Rooms,
    /// Connections, each with one subscription.
    pub connections: usize,
    /// When triggers go.
    pub pace: Pace,
    /// How long triggers go before anything is counted.
    pub warm_up: Duration,
    /// How long triggers go while CPU and latency are counted.
    pub measured: Duration,
    /// Length of each trigger's data as JSON, in bytes.
    pub data_bytes: usize,
    /// What the stub backend permits.
    pub grants: Grants,
    /// Clients that join at once.
    pub joining: usize,
    /// A run in which nothing happens for this long has failed.
    pub patience: Duration,
    /// How long after the last delivery a second copy is waited for, and how long an idle server
    /// is left alone before its memory is read.
    pub settle: Duration,
}

impl Workload {
    /// The same at no higher rate than `deliveries_max` a second, where it has a rate.
    #[must_use]
    pub fn at_most(mut self, deliveries_max: Option<u32>) -> Self {
        if let (Pace::Rate { deliveries }, Some(max)) = (&mut self.pace, deliveries_max) {
            *deliveries = deliveries.min(f64::from(max));
        }
        self
    }
}
