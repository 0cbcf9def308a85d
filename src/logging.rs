//! The log: lines on stderr, as text or JSON.

mod writer;

use std::ffi::OsStr;
use std::io::{self, IsTerminal as _};

use ht_broker::{nats, rabbitmq};
use ht_node::metrics::LOG_LINES_DROPPED;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _, Registry, fmt, reload};

use crate::config::{Format, Level, LogConfig};
use crate::logging::writer::Queue;

/// Log targets of our crates.
const OURS: [&str; 7] = [
    "high_templar",
    "ht_node",
    "ht_edge",
    "ht_backend",
    "ht_broker",
    "ht_core",
    "ht_frame",
];

/// The running log. Writes queued lines when it is dropped.
pub(crate) struct Log {
    queue: Queue,
    level: LogLevel,
}

impl Log {
    /// The handle that changes its level.
    pub(crate) fn level(&self) -> LogLevel {
        self.level.clone()
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.queue.flush();
    }
}

/// The minimum level.
#[derive(Clone)]
pub(crate) struct LogLevel {
    filter: reload::Handle<EnvFilter, Registry>,
    /// `RUST_LOG` is set and overrides the configured level.
    fixed: bool,
}

impl LogLevel {
    /// Sets the level, unless `RUST_LOG` is set.
    pub(crate) fn set(&self, level: Level) {
        if self.fixed {
            return;
        }
        if let Err(cause) = self.filter.reload(EnvFilter::new(filter(level))) {
            tracing::error!("the log level is unchanged: {cause}");
        }
    }
}

/// Starts the log. `RUST_LOG` takes precedence over the configured level.
///
/// # Errors
/// When its thread cannot be started.
pub(crate) fn start(config: LogConfig) -> io::Result<Log> {
    let queue = Queue::to(io::stderr(), &LOG_LINES_DROPPED)?;
    let requested = std::env::var("RUST_LOG")
        .ok()
        .filter(|text| !text.is_empty());
    let requested =
        requested.map(|text| EnvFilter::try_new(text).map_err(|cause| cause.to_string()));
    let configured = || EnvFilter::new(filter(config.level));
    let (filter, fixed, unusable) = match requested {
        Some(Ok(filter)) => (filter, true, None),
        Some(Err(cause)) => (configured(), false, Some(cause)),
        None => (configured(), false, None),
    };
    let (filter, handle) = reload::Layer::new(filter);
    let lines = fmt::layer().with_writer(queue.clone());
    let lines = match config.format {
        Format::Text => {
            let no_color = std::env::var_os("NO_COLOR");
            lines
                .with_ansi(is_coloured(io::stderr().is_terminal(), no_color.as_deref()))
                .boxed()
        }
        Format::Json => lines.json().flatten_event(true).boxed(),
    };
    let lines = lines.with_filter(filter_fn(|line| is_permitted(line.target())));
    tracing_subscriber::registry()
        .with(filter)
        .with(lines)
        .init();
    if let Some(cause) = unusable {
        tracing::warn!("RUST_LOG is invalid and ignored: {cause}");
    }
    let level = LogLevel {
        filter: handle,
        fixed,
    };
    Ok(Log { queue, level })
}

/// Whether lines are coloured: on a terminal, unless `NO_COLOR` is set and not empty.
fn is_coloured(is_terminal: bool, no_color: Option<&OsStr>) -> bool {
    is_terminal && no_color.is_none_or(OsStr::is_empty)
}

/// Whether a target is permitted: those that could log the broker's login never are.
fn is_permitted(target: &str) -> bool {
    let krate = target.split("::").next().unwrap_or(target);
    let mut noisy = rabbitmq::NOISY_TARGETS.iter().chain(&nats::NOISY_TARGETS);
    !noisy.any(|target| *target == krate)
}

/// Our crates at this level; libraries at level warn.
fn filter(level: Level) -> String {
    let others = match level {
        Level::Error => Level::Error,
        Level::Warn | Level::Info | Level::Debug | Level::Trace => Level::Warn,
    };
    let ours = OURS.map(|name| format!("{name}={}", level.name()));
    format!("{},{}", others.name(), ours.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_that_log_the_login_of_the_broker_are_excluded() {
        assert!(!is_permitted("lapin"));
        assert!(!is_permitted("lapin::io_loop"));
        assert!(is_permitted("ht_broker::rabbitmq"));
    }

    #[test]
    fn only_a_terminal_is_coloured_and_none_with_no_color() {
        for (is_terminal, no_color, expected) in [
            (true, None, true),
            (true, Some(""), true),
            (true, Some("1"), false),
            (false, None, false),
        ] {
            let found = is_coloured(is_terminal, no_color.map(OsStr::new));
            assert_eq!(found, expected, "{is_terminal} {no_color:?}");
        }
    }

    #[test]
    fn every_level_makes_a_valid_filter() {
        for level in [
            Level::Error,
            Level::Warn,
            Level::Info,
            Level::Debug,
            Level::Trace,
        ] {
            let text = filter(level);
            assert!(EnvFilter::try_new(&text).is_ok(), "{text}");
        }
        assert!(filter(Level::Debug).starts_with("warn,high_templar=debug,"));
        assert!(filter(Level::Error).starts_with("error,high_templar=error,"));
    }
}
