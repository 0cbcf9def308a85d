//! The log: lines on stderr, for people or for machines.

mod writer;

use std::io;
use std::io::IsTerminal as _;

use ht_broker::rabbitmq::NOISY_TARGETS;
use ht_node::metrics::LOG_LINES_DROPPED;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::Layer as _;
use tracing_subscriber::Registry;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::fmt;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::reload;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::config::{Format, Level, LogConfig};
use crate::logging::writer::Queue;

/// Our crates, by the names of their log targets.
const OURS: [&str; 7] = [
    "high_templar",
    "ht_node",
    "ht_edge",
    "ht_backend",
    "ht_broker",
    "ht_core",
    "ht_frame",
];

/// The running log. What was logged is written when it is dropped.
pub(crate) struct Log {
    queue: Queue,
    level: LogLevel,
}

impl Log {
    /// Where its level can be changed.
    pub(crate) fn level(&self) -> LogLevel {
        self.level.clone()
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.queue.flush();
    }
}

/// The least important thing that is logged.
#[derive(Clone)]
pub(crate) struct LogLevel {
    filter: reload::Handle<EnvFilter, Registry>,
    /// `RUST_LOG` decides, not the configured level.
    fixed: bool,
}

impl LogLevel {
    /// Logs at this level from now on, unless `RUST_LOG` says something.
    pub(crate) fn set(&self, level: Level) {
        if self.fixed {
            return;
        }
        if let Err(cause) = self.filter.reload(EnvFilter::new(filter(level))) {
            tracing::error!("the log level is unchanged: {cause}");
        }
    }
}

/// Logs from now on. `RUST_LOG` wins over the configured level.
///
/// # Errors
/// When the system has no thread for it.
pub(crate) fn start(config: LogConfig) -> io::Result<Log> {
    let queue = Queue::to(io::stderr(), &LOG_LINES_DROPPED)?;
    let asked = std::env::var("RUST_LOG")
        .ok()
        .filter(|text| !text.is_empty());
    let asked = asked.map(|text| EnvFilter::try_new(text).map_err(|cause| cause.to_string()));
    let configured = || EnvFilter::new(filter(config.level));
    let (filter, fixed, unusable) = match asked {
        Some(Ok(filter)) => (filter, true, None),
        Some(Err(cause)) => (configured(), false, Some(cause)),
        None => (configured(), false, None),
    };
    let (filter, handle) = reload::Layer::new(filter);
    let lines = fmt::layer().with_writer(queue.clone());
    let lines = match config.format {
        Format::Text => lines.with_ansi(io::stderr().is_terminal()).boxed(),
        Format::Json => lines.json().flatten_event(true).boxed(),
    };
    let lines = lines.with_filter(filter_fn(|line| may_be_shown(line.target())));
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

/// Whatever is asked for, what could show the broker's login stays out.
fn may_be_shown(target: &str) -> bool {
    let krate = target.split("::").next().unwrap_or(target);
    !NOISY_TARGETS.contains(&krate)
}

/// Our crates at this level; libraries only when something is wrong.
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
    fn the_login_of_the_broker_stays_out() {
        assert!(!may_be_shown("lapin"));
        assert!(!may_be_shown("lapin::io_loop"));
        assert!(may_be_shown("ht_broker::rabbitmq"));
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
