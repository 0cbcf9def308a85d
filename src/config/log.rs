//! Settings of the log, and the names of their choices.

use ht_node::config::{GapPolicy, Matching, Unreachable};

use crate::config::kind::Choice;

/// Settings of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogConfig {
    /// The minimum level.
    pub level: Level,
    /// The format.
    pub format: Format,
}

/// The minimum level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Needs action.
    Error,
    /// May need action.
    Warn,
    /// The life cycle of the process.
    Info,
    /// The start and end of each connection.
    Debug,
    /// All details.
    Trace,
}

/// Format of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Text.
    Text,
    /// One JSON object per line.
    Json,
}

impl Level {
    /// The level's name in the file.
    #[must_use]
    pub fn name(self) -> &'static str {
        let name = Self::ALL.iter().find(|(_, level)| *level == self);
        name.map_or("info", |(name, _)| name)
    }
}

impl Choice for Level {
    const ALL: &'static [(&'static str, Self)] = &[
        ("error", Self::Error),
        ("warn", Self::Warn),
        ("info", Self::Info),
        ("debug", Self::Debug),
        ("trace", Self::Trace),
    ];
}

impl Choice for Format {
    const ALL: &'static [(&'static str, Self)] = &[("text", Self::Text), ("json", Self::Json)];
}

impl Choice for GapPolicy {
    const ALL: &'static [(&'static str, Self)] =
        &[("reconnect", Self::Reconnect), ("ignore", Self::Ignore)];
}

impl Choice for Unreachable {
    const ALL: &'static [(&'static str, Self)] = &[("close", Self::Close), ("keep", Self::Keep)];
}

impl Choice for Matching {
    const ALL: &'static [(&'static str, Self)] =
        &[("wildcard", Self::Wildcard), ("exact", Self::Exact)];
}

/// What carries the log in RabbitMQ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RabbitMqLog {
    /// A queue for each node.
    Queue,
    /// A stream for all.
    Stream,
}

impl Choice for RabbitMqLog {
    const ALL: &'static [(&'static str, Self)] =
        &[("queue", Self::Queue), ("stream", Self::Stream)];
}
