//! The process itself: signals, panics, the limit of open files.

use std::{io, panic};

use ht_node::config::BuildInfo;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::{error, info, warn};

/// What this program was built from.
pub(crate) const BUILD: BuildInfo = BuildInfo {
    version: env!("CARGO_PKG_VERSION"),
    commit: env!("HT_BUILD_COMMIT"),
    rustc: env!("HT_BUILD_RUSTC"),
};

/// Open files that are not clients: listeners, the API, the broker, the log.
const OTHER_FILES: u64 = 200;

/// The signals that the process handles.
pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

/// What a signal requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Request {
    /// Reload the settings.
    Reload,
    /// Shut down; the signal's name.
    Shutdown(&'static str),
}

impl Signals {
    /// Installs the handlers.
    pub(crate) fn listen() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// Waits for the next signal.
    pub(crate) async fn next(&mut self) -> Request {
        tokio::select! {
            name = shutdown(&mut self.terminate, &mut self.interrupt) => Request::Shutdown(name),
            _ = self.hangup.recv() => Request::Reload,
        }
    }

    /// Waits for the next signal that ends the process. Returns its name.
    pub(crate) async fn shutdown(&mut self) -> &'static str {
        shutdown(&mut self.terminate, &mut self.interrupt).await
    }
}

async fn shutdown(terminate: &mut Signal, interrupt: &mut Signal) -> &'static str {
    tokio::select! {
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
    }
}

/// A running gateway has allocated more bytes than this.
#[cfg(all(feature = "jemalloc", not(target_env = "msvc")))]
const ALLOCATED: u64 = 256 << 10;

/// Allocated bytes according to jemalloc; none in a program with another allocator.
#[cfg(all(feature = "jemalloc", not(target_env = "msvc")))]
pub(crate) fn allocated() -> Option<u64> {
    tikv_jemalloc_ctl::epoch::advance().ok()?;
    let bytes = tikv_jemalloc_ctl::stats::allocated::read().ok()? as u64;
    (bytes >= ALLOCATED).then_some(bytes)
}

#[cfg(not(all(feature = "jemalloc", not(target_env = "msvc"))))]
pub(crate) fn allocated() -> Option<u64> {
    None
}

/// Raises the limit of open files as far as permitted, and warns if it is too low for the
/// configured connections.
pub(crate) fn raise_open_files(connections: usize) {
    let files = match rlimit::increase_nofile_limit(u64::MAX) {
        Ok(files) => files,
        Err(cause) => {
            warn!("the limit of open files cannot be raised: {cause}");
            return;
        }
    };
    let fit = files.saturating_sub(OTHER_FILES);
    if fit < connections as u64 {
        warn!(
            "this process may open {files} files, so about {fit} connections fit, not the \
             {connections} of limits.connections: raise the hard limit (ulimit -Hn, LimitNOFILE=) \
             or lower the setting"
        );
    } else {
        info!(files, "open files");
    }
}

/// Logs every panic as one line.
pub(crate) fn log_panics() {
    panic::set_hook(Box::new(|panic| {
        let thread = std::thread::current();
        let place = panic.location().map(ToString::to_string);
        let trace = std::backtrace::Backtrace::capture();
        let captured = trace.status() == std::backtrace::BacktraceStatus::Captured;
        let trace = captured.then(|| trace.to_string());
        error!(
            thread = thread.name().unwrap_or("unnamed"),
            place,
            trace,
            "panic, please report it: {}",
            panic.payload_as_str().unwrap_or("without a message"),
        );
    }));
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_panic_is_a_line_of_the_log_with_its_place() {
        let lines = Lines::default();
        let writer = lines.clone();
        let log = tracing_subscriber::fmt()
            .with_writer(move || writer.clone())
            .with_ansi(false)
            .finish();
        let before = panic::take_hook();
        log_panics();
        tracing::subscriber::with_default(log, || {
            let ended = panic::catch_unwind(|| panic!("the {} broke", "thing"));
            assert!(ended.is_err());
        });
        panic::set_hook(before);
        let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
        assert!(text.contains("ERROR"), "{text}");
        assert!(
            text.contains("panic, please report it: the thing broke"),
            "{text}"
        );
        assert!(text.contains("src/process.rs:"), "{text}");
    }
}
