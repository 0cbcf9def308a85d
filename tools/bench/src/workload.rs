//! Workloads: subscribers, rate and duration.

mod identity;
mod many;

use std::time::Duration;

use clap::ValueEnum;

pub use self::identity::{LABEL, Spread};
use crate::message::Content;

/// Receivers of a trigger.
///
/// A *target* is a number for what a trigger names: one room, or with a `*` several. All triggers
/// of one target have the same receivers, and no subscription receives two targets, so that the
/// triggers of a target can be numbered and checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Rooms {
    /// One room with all connections: a trigger is a delivery to each.
    FanOut,
    /// A room for each connection: a trigger is one delivery.
    Unicast,
    /// Nearly a hundred thousand rooms, a hundred subscriptions a connection, with wildcards in
    /// grants, subscriptions and triggers.
    Many,
    /// One room with one of twenty connections. The others have a label and a room each, without
    /// triggers.
    Labelled,
}

impl Rooms {
    /// The name of a target's room, if the server's rooms have names.
    #[must_use]
    pub fn name(self, target: u32) -> String {
        match self {
            Self::FanOut | Self::Labelled => "all".to_owned(),
            Self::Unicast | Self::Many => target.to_string(),
        }
    }

    /// The room that triggers of a target name, as JSON.
    #[must_use]
    pub fn room(self, target: u32) -> String {
        match self {
            Self::FanOut | Self::Unicast | Self::Labelled => {
                format!(r#"{{"target":"bench","id":"{}"}}"#, self.name(target))
            }
            Self::Many => many::room(target),
        }
    }

    /// Subscriptions of each connection.
    #[must_use]
    pub fn subscriptions(self) -> u32 {
        match self {
            Self::FanOut | Self::Unicast | Self::Labelled => 1,
            Self::Many => many::SUBSCRIPTIONS,
        }
    }

    /// The room of a subscription of connection `number`, as JSON.
    #[must_use]
    pub fn subscribed(self, number: u32, subscription: u32) -> String {
        match self {
            Self::FanOut | Self::Unicast => self.room(number),
            Self::Labelled if identity::is_listener(number) => self.room(0),
            Self::Labelled => Self::Unicast.room(number),
            Self::Many => many::subscribed(number, subscription),
        }
    }

    /// The target of a subscription of connection `number`.
    #[must_use]
    pub fn target(self, number: u32, subscription: u32) -> u32 {
        match self {
            Self::FanOut => 0,
            Self::Unicast => number,
            Self::Labelled => identity::target(number),
            Self::Many => many::target(number, subscription),
        }
    }

    /// Number of targets.
    #[must_use]
    pub fn targets(self, connections: usize) -> usize {
        match self {
            Self::FanOut => 1,
            Self::Unicast => connections,
            Self::Labelled => identity::TARGETS,
            Self::Many => many::TARGETS,
        }
    }

    /// The target of trigger number `trigger` of a run.
    #[must_use]
    pub fn target_of(self, trigger: u64, connections: usize) -> u32 {
        match self {
            Self::FanOut | Self::Labelled => 0,
            Self::Unicast => shuffled(trigger, connections),
            Self::Many => {
                // Every kind of trigger reaches every connection.
                let received_by = shuffled(trigger + trigger / many::TURNS, connections);
                many::target(received_by, many::turn(trigger))
            }
        }
    }

    /// Deliveries of one trigger while the first `listening` connections are open.
    #[must_use]
    pub fn receivers(self, target: u32, listening: usize) -> usize {
        match self {
            Self::FanOut => listening,
            Self::Unicast => 1,
            Self::Labelled => identity::receivers(target, listening),
            Self::Many => many::receivers(target, listening),
        }
    }

    /// Deliveries of a trigger on average.
    #[must_use]
    pub fn receivers_mean(self, connections: usize) -> f64 {
        match self {
            Self::FanOut => connections as f64,
            Self::Unicast => 1.0,
            Self::Labelled => identity::receivers(0, connections) as f64,
            Self::Many => many::receivers_mean(connections),
        }
    }
}

/// Connections take turns in an order that caches cannot predict. The factor is prime and larger
/// than the number of connections, so each has its turn.
fn shuffled(trigger: u64, connections: usize) -> u32 {
    let connections = connections.max(1) as u64;
    ((trigger % connections) * 1_000_003 % connections) as u32
}

/// The subscribers.
#[derive(Clone, Copy, Debug)]
pub struct Subscribers {
    /// Receivers of a trigger.
    pub rooms: Rooms,
    /// Final number of connections.
    pub connections: usize,
    /// How many of them receive now.
    pub listening: usize,
}

impl Subscribers {
    /// Deliveries of trigger number `trigger`.
    #[must_use]
    pub fn receivers_of(&self, trigger: u64) -> usize {
        let target = self.rooms.target_of(trigger, self.connections);
        self.rooms.receivers(target, self.listening)
    }
}

/// Schedule of triggers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Pace {
    /// No triggers: the run ends when all clients have joined.
    Idle,
    /// At a fixed rate.
    Rate {
        /// Deliveries a second, over all connections.
        deliveries: f64,
    },
    /// As soon as fewer triggers than the window are outstanding, that is, not delivered to all
    /// receivers.
    FlatOut {
        /// Triggers outstanding.
        window: u64,
    },
}

impl Pace {
    /// The same with a rate of at most `deliveries_max` a second.
    #[must_use]
    pub fn at_most(self, deliveries_max: Option<u32>) -> Self {
        match (self, deliveries_max) {
            (Self::Rate { deliveries }, Some(max)) => Self::Rate {
                deliveries: deliveries.min(f64::from(max)),
            },
            _ => self,
        }
    }
}

/// Grants of the stub backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Grants {
    /// All ids to all users.
    Shared,
    /// The common room and the user's own.
    Own,
    /// All rooms of the user's project, for [`Rooms::Many`].
    Project,
    /// As [`Self::Shared`], with a user, a session and two labels of each.
    Identity,
}

impl Grants {
    /// The bootstrap response for user `number`.
    #[must_use]
    pub fn bootstrap(self, number: &str) -> String {
        match self {
            Self::Shared => r#"{"allowed_rooms":[{"target":"bench","id":"*"}]}"#.to_owned(),
            Self::Own => format!(
                r#"{{"allowed_rooms":[{},{{"target":"bench","id":"{number}"}}]}}"#,
                Rooms::FanOut.room(0)
            ),
            Self::Project => many::bootstrap(number),
            Self::Identity => identity::bootstrap(number),
        }
    }
}

/// Pings of idle clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pings {
    /// Interval of each client's pings; those of all clients are spread evenly over it.
    pub interval: Duration,
    /// Duration.
    pub during: Duration,
}

/// Connection churn.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Storm {
    /// Connects a second.
    pub per_second: f64,
    /// Maximum clients in progress.
    pub at_once: usize,
}

/// Clients that were away, and resume at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Away {
    /// How many there are.
    pub clients: usize,
    /// Entries since their cursor that are for none of them.
    pub entries: u64,
    /// Entries that are for each of them.
    pub missed: u64,
}

/// One run.
#[derive(Clone, Debug)]
pub struct Workload {
    /// Receivers of a trigger.
    pub rooms: Rooms,
    /// Connections, each with [`Rooms::subscriptions`].
    pub connections: usize,
    /// How many of them stop reading when counting begins.
    pub stalled: usize,
    /// Schedule of triggers.
    pub pace: Pace,
    /// Duration of triggers before the measurement.
    pub warm_up: Duration,
    /// Duration of the measurement.
    pub measured: Duration,
    /// Length of each trigger's data as JSON, in bytes.
    pub data_bytes: usize,
    /// Kind of the data.
    pub content: Content,
    /// Whether the clients offer compression.
    pub deflate: bool,
    /// Pings of idle clients, after the silence.
    pub pings: Option<Pings>,
    /// Connection churn.
    pub storm: Option<Storm>,
    /// Invalidations while triggers are sent.
    pub spread: Option<Spread>,
    /// Clients that resume while triggers are sent.
    pub away: Option<Away>,
    /// Grants of the stub backend.
    pub grants: Grants,
    /// After how long the stub backend responds.
    pub answer_after: Duration,
    /// Whether clients send the headers of a browser with several cookies.
    pub browser: bool,
    /// Clients that join at a time.
    pub joining: usize,
    /// A run without progress for this long has failed.
    pub patience: Duration,
    /// How long to wait for duplicates after the last delivery, and for an idle server before its
    /// memory is read.
    pub settle: Duration,
}

impl Workload {
    /// Whether connection `number` stops reading: evenly distributed.
    #[must_use]
    pub fn stalls(&self, number: u32) -> bool {
        let Some(stride) = self.connections.checked_div(self.stalled) else {
            return false;
        };
        let number = number as usize;
        number % stride.max(1) + 1 == stride.max(1) && number / stride.max(1) < self.stalled
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_spared_a_rate_but_nothing_else() {
        let rate = |deliveries| Pace::Rate { deliveries };
        assert_eq!(rate(2_000.0).at_most(Some(300)), rate(300.0));
        assert_eq!(rate(200.0).at_most(Some(300)), rate(200.0));
        assert_eq!(rate(2_000.0).at_most(None), rate(2_000.0));
        let window = Pace::FlatOut { window: 8 };
        assert_eq!(window.at_most(Some(300)), window);
    }

    #[test]
    fn rooms_take_turns_and_each_has_its_receivers() {
        for (rooms, connections, mean) in [
            (Rooms::FanOut, 7, 7.0),
            (Rooms::Unicast, 7, 1.0),
            (Rooms::Many, 1_000, 6.85),
            (Rooms::Labelled, 1_000, 50.0),
        ] {
            assert!(
                (rooms.receivers_mean(connections) - mean).abs() < 0.01,
                "{rooms:?}"
            );
            for number in 0..7 {
                for subscription in 0..rooms.subscriptions() {
                    let target = rooms.target(number, subscription);
                    assert!((target as usize) < rooms.targets(connections));
                    assert!(rooms.receivers(target, connections) > 0);
                }
            }
        }
    }

    #[test]
    fn a_share_of_the_connections_stalls() {
        let count = |connections, stalled| {
            let workload = Workload {
                rooms: Rooms::FanOut,
                connections,
                stalled,
                pace: Pace::Idle,
                warm_up: Duration::ZERO,
                measured: Duration::ZERO,
                data_bytes: 128,
                content: Content::Filler,
                deflate: false,
                pings: None,
                storm: None,
                spread: None,
                away: None,
                grants: Grants::Shared,
                answer_after: Duration::ZERO,
                browser: false,
                joining: 1,
                patience: Duration::ZERO,
                settle: Duration::ZERO,
            };
            (0..connections as u32)
                .filter(|n| workload.stalls(*n))
                .count()
        };
        assert_eq!(count(1_000, 0), 0);
        for (connections, stalled) in [(1_000, 10), (20, 3), (7, 1), (7, 6)] {
            assert_eq!(count(connections, stalled), stalled, "{connections}");
        }
    }
}
