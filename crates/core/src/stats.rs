//! The counters and gauges of a shard: each is declared once, with its help text for `/metrics`.

use ht_proto::code::ErrorCode;

use crate::peer::Eviction;
use crate::recovery::RecoveryOutcome;

/// Description of one number of [`Stats`].
#[derive(Clone, Copy, Debug)]
pub struct Stat {
    /// What it is, without a full stop.
    pub help: &'static str,
    /// How it develops.
    pub kind: StatKind,
    /// Its label.
    pub label: Option<StatLabel>,
    /// Its value, or one value for each word of the label.
    pub read: fn(&Stats) -> &[u64],
}

/// The label of a number.
#[derive(Clone, Copy, Debug)]
pub struct StatLabel {
    /// Its name.
    pub name: &'static str,
    /// All words of it, in the order of [`Stat::read`].
    pub words: fn() -> Vec<&'static str>,
}

/// Kind of a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StatKind {
    /// The value now.
    Gauge,
    /// The number of events since the start.
    Counter,
}

macro_rules! field_type {
    () => {
        u64
    };
    ($words:ty) => {
        [u64; <$words>::ALL.len()]
    };
}

macro_rules! field_slice {
    ($field:expr) => {
        std::slice::from_ref(&$field)
    };
    ($field:expr, $words:ty) => {
        &$field[..]
    };
}

macro_rules! field_slice_mut {
    ($field:expr) => {
        std::slice::from_mut(&mut $field)
    };
    ($field:expr, $words:ty) => {
        &mut $field[..]
    };
}

macro_rules! field_len {
    () => {
        1
    };
    ($words:ty) => {
        <$words>::ALL.len()
    };
}

macro_rules! label {
    () => {
        None
    };
    ($label:literal $words:ty) => {
        Some(StatLabel {
            name: $label,
            words: || <$words>::ALL.iter().map(|word| word.as_str()).collect(),
        })
    };
}

macro_rules! stats {
    ($($kind:ident $field:ident $(by $label:literal $words:ty)?, $help:literal;)*) => {
        /// The totals of a shard.
        #[derive(Clone, Debug, Default, PartialEq, Eq)]
        pub struct Stats {
            $(#[doc = $help] pub $field: field_type!($($words)?),)*
        }

        /// One description for each number of [`Stats`], by the same name.
        #[derive(Clone, Copy, Debug)]
        pub struct Described {
            $(#[doc = $help] pub $field: Stat,)*
        }

        /// The description of every number.
        pub const STATS: Described = Described {
            $($field: Stat {
                help: $help,
                kind: StatKind::$kind,
                label: label!($($label $words)?),
                read: |stats| field_slice!(stats.$field $(, $words)?),
            },)*
        };

        impl Stats {
            /// How many numbers there are, one for each word of a label.
            pub const LEN: usize = 0 $(+ field_len!($($words)?))*;

            /// All numbers in a fixed order, so that they can be shared and summed.
            #[must_use]
            pub fn to_array(&self) -> [u64; Self::LEN] {
                let mut all = [0; Self::LEN];
                let mut free = all.iter_mut();
                // The values first: a zip takes one more of what it looks at first.
                $(for (value, free) in field_slice!(self.$field $(, $words)?).iter().zip(&mut free) {
                    *free = *value;
                })*
                all
            }

            /// The numbers of [`Self::to_array`], or sums of such.
            #[must_use]
            pub fn from_array(all: [u64; Self::LEN]) -> Self {
                let mut stats = Self::default();
                let mut rest = all.into_iter();
                $(for value in field_slice_mut!(stats.$field $(, $words)?) {
                    *value = rest.next().unwrap_or_default();
                })*
                stats
            }
        }
    };
}

stats! {
    Gauge connections, "Open connections that were admitted";
    Gauge rooms, "Rooms with at least one subscriber";
    Gauge subscriptions, "Subscriptions";
    Gauge queued, "Publish frames queued for slow consumers";
    Gauge streams, "Open connections that are event streams";
    Gauge polls, "Long polls that wait for a message";
    Counter admitted, "Connections that were admitted";
    Counter refused, "Clients that were refused, or could not be checked";
    Counter messages, "Messages of clients, valid or not";
    Counter deliveries, "Publish frames written to sockets";
    Counter sent_bytes, "Bytes of all frames for admitted clients, those that are queued included";
    Counter undelivered, "Publish frames that were lost with their connection";
    Counter publications, "Publications matched, per shard";
    Counter deflated, "Publications that were compressed, each once";
    Counter deflate_bytes_in, "Bytes of compressed publications before compression";
    Counter deflate_bytes_out, "The same after compression; incompressible ones count unchanged";
    Counter violations, "Connections that violated the WebSocket protocol or a size limit";
    Counter idle_timeouts, "Connections closed by the idle timeout";
    Counter no_pongs, "Connections closed because their client did not respond to a control ping (keepalive)";
    Counter subscriptions_lost, "Subscriptions that a command or a new answer of the API dropped";
    Counter permissions_changed, "Times that a command or a new answer of the API changed the permissions of a connection";
    Gauge connections_held, "Connections that are sent no publications until the API has answered about them again and they have caught up";
    Counter window_catch_ups, "Connections that were sent the publications that they missed while they were held";
    Counter tenant_busy, "Connections closed because the deliveries of their tenant waited for too long";
    Counter gaps_told, "Events sent to clients about publications that they may have missed";
    Counter window_gaps, "Connections closed because the window no longer held what they missed";
    Counter recoveries by "outcome" RecoveryOutcome, "Requests of clients that were away for what they missed, answered, by outcome";
    Counter replayed, "Publications sent again to clients that were away";
    Counter errors by "code" ErrorCode, "Error replies to clients";
    Counter evictions by "reason" Eviction, "Connections evicted (disconnected) to protect the others, by the limit that was reached";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_array_holds_every_number_once() {
        let numbers: [u64; Stats::LEN] = std::array::from_fn(|index| index as u64 + 1);
        let stats = Stats::from_array(numbers);
        assert_eq!(stats.to_array(), numbers);
        assert_eq!((stats.connections, stats.rooms), (1, 2));
        let last = stats.evictions[Eviction::ALL.len() - 1];
        assert_eq!(last, Stats::LEN as u64);
    }

    #[test]
    fn a_number_by_label_has_a_value_for_each_word() {
        let stats = Stats::default();
        for stat in [STATS.errors, STATS.evictions] {
            let words = (stat.label.expect("a label").words)();
            assert_eq!((stat.read)(&stats).len(), words.len(), "{}", stat.help);
        }
        assert_eq!((STATS.admitted.read)(&stats), [0]);
        assert_eq!(STATS.subscriptions.kind, StatKind::Gauge);
    }
}
