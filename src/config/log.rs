//! Settings of the log, and the names of their choices.

use ht_node::config::{GapPolicy, Matching};

use crate::config::kind::Choice;

/// How to log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogConfig {
    /// What is logged.
    pub level: Level,
    /// How it is written.
    pub format: Format,
}

/// The least important thing that is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// What needs a person.
    Error,
    /// What may need one.
    Warn,
    /// The life of the process.
    Info,
    /// The life of each connection.
    Debug,
    /// Everything.
    Trace,
}

/// How a line of the log is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// For people.
    Text,
    /// One JSON object a line.
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

impl Choice for Matching {
    const ALL: &'static [(&'static str, Self)] =
        &[("wildcard", Self::Wildcard), ("exact", Self::Exact)];
}
