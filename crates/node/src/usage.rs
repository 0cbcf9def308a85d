//! The usage of tenants, for bills: written to files at each checkpoint, and posted once an hour is
//! complete.

mod files;
mod ledger;
mod sender;
mod start;

use std::collections::VecDeque;
use std::io;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use ht_telemetry::throttle::Throttles;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::meters::UsageCounts;
use crate::usage::files::UsageFiles;
use crate::usage::ledger::{Hour, Ledger};
use crate::usage::sender::Sender;

/// Complete hours that are kept in memory while they cannot be written.
const HOURS_MAX: usize = 48;

/// Writes the usage of all tenants.
pub(crate) struct Usage {
    pub(crate) ledger: Ledger,
    /// Notes in the ledger what tenants have used.
    pub(crate) read: Box<dyn Fn(&mut Ledger) + Send + Sync>,
    pub(crate) files: SharedFiles,
    pub(crate) interval: Duration,
    pub(crate) keep: Duration,
    pub(crate) clock: Arc<dyn Fn() -> SystemTime + Send + Sync>,
    pub(crate) sender: Option<Sender>,
    pub(crate) counts: Arc<UsageCounts>,
    pub(crate) throttles: Arc<Throttles>,
    /// Complete hours are posted.
    pub(crate) is_posted: bool,
    /// Complete hours that are still to be written, with their lines.
    pub(crate) complete: VecDeque<(Hour, String)>,
}

/// The files, for the threads that write them.
#[derive(Clone, Debug)]
pub(crate) struct SharedFiles(Arc<Mutex<UsageFiles>>);

impl SharedFiles {
    /// Those beside the configured file, of this run.
    pub(crate) fn new(file: &Path, boot: &str) -> Self {
        Self(Arc::new(Mutex::new(UsageFiles::new(file, boot))))
    }

    fn lock(&self) -> MutexGuard<'_, UsageFiles> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does something with them where it may block.
    async fn with<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut UsageFiles) -> T + Send + 'static,
    ) -> io::Result<T> {
        let files = self.clone();
        let done = tokio::task::spawn_blocking(move || work(&mut files.lock()));
        done.await.map_err(io::Error::other)
    }
}

impl Usage {
    /// Writes and posts until `shutdown`, and then once more.
    pub(crate) async fn run(mut self, shutdown: CancellationToken) {
        let (written, ended) = (Arc::new(Notify::new()), CancellationToken::new());
        let sender = self.sender.take();
        let sending = async {
            if let Some(sender) = sender {
                sender.run(&written, &ended).await;
            }
        };
        let writing = async {
            self.tidy().await;
            written.notify_one();
            loop {
                let has_ended = tokio::select! {
                    () = shutdown.cancelled() => true,
                    () = tokio::time::sleep(self.until_checkpoint()) => false,
                };
                let hour = self.ledger.hour();
                self.checkpoint(has_ended).await;
                if self.ledger.hour() != hour {
                    self.tidy().await;
                    written.notify_one();
                }
                if has_ended {
                    ended.cancel();
                    return;
                }
            }
        };
        tokio::join!(sending, writing);
        let ended = self.files.with(UsageFiles::end).await;
        if let Err(error) = ended {
            self.failed(&error);
        }
    }

    /// The time to the next checkpoint: one is at the end of each hour.
    fn until_checkpoint(&self) -> Duration {
        let rest = self.ledger.hour().end().duration_since((self.clock)());
        self.interval.min(rest.unwrap_or_default())
    }

    /// Notes what was used up to now and writes it. `is_last`: nothing will be added.
    async fn checkpoint(&mut self, is_last: bool) {
        let now = (self.clock)();
        (self.read)(&mut self.ledger);
        if is_last || self.ledger.is_over(now) {
            let lines = self.ledger.lines(now, true);
            self.complete.push_back((self.ledger.hour(), lines));
            if self.complete.len() > HOURS_MAX
                && let Some((hour, _)) = self.complete.pop_front()
            {
                tracing::error!(%hour, "usage: the records of an hour are lost, because they could not be written");
            }
            self.ledger.begin(now);
        }
        let complete: Vec<_> = self.complete.iter().cloned().collect();
        let current = (!is_last).then(|| (self.ledger.hour(), self.ledger.lines(now, false)));
        let written = self
            .files
            .with(move |files| write(files, &complete, current.as_ref()));
        let (done, result) = written.await.unwrap_or_else(|error| (0, Err(error)));
        self.complete.drain(..done);
        if let Err(error) = result {
            self.failed(&error);
        }
    }

    /// Completes what runs that have died left, and removes what is too old.
    async fn tidy(&self) {
        let (now, keep) = ((self.clock)(), self.keep);
        let done = self.files.with(move |files| {
            let recovered = files.recover()?;
            let removed = files.remove_old(now, keep)?;
            io::Result::Ok((recovered, removed))
        });
        match done.await.and_then(|done| done) {
            Ok((recovered, unsent)) => {
                if recovered > 0 {
                    tracing::info!(
                        files = recovered,
                        "usage: completed what a process that died had written"
                    );
                }
                if unsent > 0 && self.is_posted {
                    tracing::error!(
                        files = unsent,
                        "usage: removed records that usage.url never accepted and that are older than \
                         usage.keep. Look at the receiver"
                    );
                }
            }
            Err(error) => self.failed(&error),
        }
    }

    fn failed(&self, error: &io::Error) {
        self.counts.write_failures.fetch_add(1, Ordering::Relaxed);
        if let Some(suppressed) = self.throttles.allow("usage-file") {
            tracing::error!(
                folder = %self.files.lock().folder().display(),
                %error,
                suppressed,
                "usage: the records of tenants cannot be written; they are kept in memory, and lost if \
                 this process dies. Make the folder of usage.file writable for the gateway, and look at \
                 the disk"
            );
        }
    }
}

/// Writes complete hours, and the current one. Returns how many of the former were written.
fn write(
    files: &mut UsageFiles,
    complete: &[(Hour, String)],
    current: Option<&(Hour, String)>,
) -> (usize, io::Result<()>) {
    for (done, (hour, lines)) in complete.iter().enumerate() {
        if let Err(error) = files.complete(*hour, lines) {
            return (done, Err(error));
        }
    }
    let result = match current {
        Some((hour, lines)) => files.checkpoint(*hour, lines),
        None => Ok(()),
    };
    (complete.len(), result)
}

#[cfg(test)]
mod tests;
