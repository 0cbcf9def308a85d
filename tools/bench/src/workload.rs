//! What is asked of a server: who listens, how triggers go, and for how long.

mod many;

use std::time::Duration;

use clap::ValueEnum;

use crate::message::Content;

/// Who hears a trigger.
///
/// A *target* is a number for what a trigger names: it stands for one room, or with a `*` for
/// several. All triggers of one target are heard by the same subscriptions, and no subscription
/// hears two targets, so that the triggers of a target can be numbered and checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Rooms {
    /// One room that everybody is in: a trigger is a delivery to each connection.
    FanOut,
    /// A room for each connection: a trigger is one delivery.
    Unicast,
    /// Nearly a hundred thousand rooms, a hundred subscriptions a connection, with wildcards in
    /// grants, subscriptions and triggers.
    Many,
}

impl Rooms {
    /// The name of a target's room, where a server knows rooms by names.
    #[must_use]
    pub fn name(self, target: u32) -> String {
        match self {
            Self::FanOut => "all".to_owned(),
            Self::Unicast | Self::Many => target.to_string(),
        }
    }

    /// The room that triggers of a target name, as JSON.
    #[must_use]
    pub fn room(self, target: u32) -> String {
        match self {
            Self::FanOut | Self::Unicast => {
                format!(r#"{{"target":"bench","id":"{}"}}"#, self.name(target))
            }
            Self::Many => many::room(target),
        }
    }

    /// Subscriptions of each connection.
    #[must_use]
    pub fn subscriptions(self) -> u32 {
        match self {
            Self::FanOut | Self::Unicast => 1,
            Self::Many => many::SUBSCRIPTIONS,
        }
    }

    /// What connection `number` subscribes to, as JSON.
    #[must_use]
    pub fn subscribed(self, number: u32, subscription: u32) -> String {
        match self {
            Self::FanOut | Self::Unicast => self.room(number),
            Self::Many => many::subscribed(number, subscription),
        }
    }

    /// The target whose triggers a subscription of connection `number` hears.
    #[must_use]
    pub fn target(self, number: u32, subscription: u32) -> u32 {
        match self {
            Self::FanOut => 0,
            Self::Unicast => number,
            Self::Many => many::target(number, subscription),
        }
    }

    /// How many targets so many connections have.
    #[must_use]
    pub fn targets(self, connections: usize) -> usize {
        match self {
            Self::FanOut => 1,
            Self::Unicast => connections,
            Self::Many => many::TARGETS,
        }
    }

    /// The target of trigger number `trigger` of a run.
    #[must_use]
    pub fn target_of(self, trigger: u64, connections: usize) -> u32 {
        match self {
            Self::FanOut => 0,
            Self::Unicast => shuffled(trigger, connections),
            Self::Many => {
                // Every kind of trigger has its turn with every connection.
                let heard_by = shuffled(trigger + trigger / many::TURNS, connections);
                many::target(heard_by, many::turn(trigger))
            }
        }
    }

    /// Deliveries of one trigger while the first `listening` connections are there.
    #[must_use]
    pub fn receivers(self, target: u32, listening: usize) -> usize {
        match self {
            Self::FanOut => listening,
            Self::Unicast => 1,
            Self::Many => many::receivers(target, listening),
        }
    }

    /// Deliveries of a trigger on average.
    #[must_use]
    pub fn receivers_mean(self, connections: usize) -> f64 {
        match self {
            Self::FanOut => connections as f64,
            Self::Unicast => 1.0,
            Self::Many => many::receivers_mean(connections),
        }
    }
}

/// Connections take turns in an order that no cache foresees: the factor is prime and larger
/// than any number of connections, so every one has its turn.
fn shuffled(trigger: u64, connections: usize) -> u32 {
    let connections = connections.max(1) as u64;
    ((trigger % connections) * 1_000_003 % connections) as u32
}

/// Who is there to hear.
#[derive(Clone, Copy, Debug)]
pub struct Audience {
    /// Who hears a trigger.
    pub rooms: Rooms,
    /// Connections that the run has in the end.
    pub connections: usize,
    /// How many of them hear now.
    pub listening: usize,
}

impl Audience {
    /// Deliveries of trigger number `trigger`.
    #[must_use]
    pub fn receivers_of(&self, trigger: u64) -> usize {
        let target = self.rooms.target_of(trigger, self.connections);
        self.rooms.receivers(target, self.listening)
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

impl Pace {
    /// The same, at no higher rate than `deliveries_max` a second where it has a rate.
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

/// What the stub backend permits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Grants {
    /// Everybody the same: any id.
    Shared,
    /// Everybody the common room and a room of their own.
    Own,
    /// Everybody all rooms of their project: for [`Rooms::Many`].
    Project,
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
            Self::Project => many::bootstrap(number),
        }
    }
}

/// Pings of idle clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pings {
    /// From one ping of a client to its next; those of all clients are spread evenly over it.
    pub interval: Duration,
    /// How long they go on.
    pub during: Duration,
}

/// Clients that come and go.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Storm {
    /// Clients that come in a second.
    pub per_second: f64,
    /// Clients that are on their way at once, at most.
    pub at_once: usize,
}

/// One run.
#[derive(Clone, Debug)]
pub struct Workload {
    /// Who hears a trigger.
    pub rooms: Rooms,
    /// Connections, each with the subscriptions that [`Rooms::subscriptions`] tells.
    pub connections: usize,
    /// How many of them stop reading when counting begins.
    pub stalled: usize,
    /// When triggers go.
    pub pace: Pace,
    /// How long triggers go before anything is counted.
    pub warm_up: Duration,
    /// How long triggers go while CPU and latency are counted.
    pub measured: Duration,
    /// Length of each trigger's data as JSON, in bytes.
    pub data_bytes: usize,
    /// What the data looks like.
    pub content: Content,
    /// Whether the clients ask for compressed messages.
    pub deflate: bool,
    /// Pings of idle clients, after the silence.
    pub pings: Option<Pings>,
    /// Clients that come and go.
    pub storm: Option<Storm>,
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
    /// Whether connection `number` stops reading: every so-many-th of all.
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
                grants: Grants::Shared,
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
