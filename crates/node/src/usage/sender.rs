//! Posts complete hours to a receiver, until it accepts them.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use ht_backend::{PostFailure, Poster};
use ht_telemetry::throttle::Throttles;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::meters::UsageCounts;
use crate::usage::SharedFiles;

/// Records in one request.
const RECORDS: usize = 500;

/// Time after a failure: it doubles with each, up to [`PAUSE_MAX`].
const PAUSE: Duration = Duration::from_secs(1);

const PAUSE_MAX: Duration = Duration::from_mins(5);

/// Time for the last attempt, at the end of the process.
const LAST: Duration = Duration::from_secs(3);

/// Posts files to a receiver.
pub(crate) struct Sender {
    pub(crate) poster: Poster,
    pub(crate) files: SharedFiles,
    pub(crate) counts: Arc<UsageCounts>,
    pub(crate) throttles: Arc<Throttles>,
}

/// Why a round ended before everything was accepted.
enum Stopped {
    /// The receiver did not accept it.
    Receiver(PostFailure),
    /// The files could not be read or renamed.
    Disk(io::Error),
}

impl Sender {
    /// Posts what is complete whenever something was `written`, and again after failures. Once more
    /// when `ended`.
    pub(super) async fn run(self, written: &Notify, ended: &CancellationToken) {
        let mut pause = None;
        loop {
            tokio::select! {
                () = ended.cancelled() => break,
                () = written.notified() => {}
                () = sleep(pause) => {}
            }
            let sent = tokio::select! {
                () = ended.cancelled() => break,
                sent = self.send_all() => sent,
            };
            pause = sent.err().map(|stopped| self.pause_after(&stopped, pause));
        }
        if let Ok(Err(stopped)) = tokio::time::timeout(LAST, self.send_all()).await {
            self.pause_after(&stopped, None);
        }
    }

    /// Posts every complete file, the oldest first. One that the receiver refuses for what it
    /// contains does not keep the later ones.
    async fn send_all(&self) -> Result<(), Stopped> {
        let mut refused = None;
        let unsent = self.files.with(|files| files.unsent()).await;
        let unsent = unsent.and_then(|unsent| unsent).map_err(Stopped::Disk)?;
        let mut left = unsent.len();
        self.counts.unsent.store(left as u64, Ordering::Relaxed);
        for path in unsent {
            match self.send(path).await {
                Ok(()) => {
                    left -= 1;
                    self.counts.unsent.store(left as u64, Ordering::Relaxed);
                }
                Err(Stopped::Receiver(failure)) if failure.is_refusal() => {
                    self.report(&failure);
                    refused = Some(failure);
                }
                Err(stopped) => return Err(stopped),
            }
        }
        refused.map_or(Ok(()), |failure| Err(Stopped::Receiver(failure)))
    }

    async fn send(&self, path: PathBuf) -> Result<(), Stopped> {
        let file = path.clone();
        let text = self
            .files
            .with(move |_| std::fs::read_to_string(file))
            .await;
        let text = text.and_then(|text| text).map_err(Stopped::Disk)?;
        let lines: Vec<_> = text.lines().collect();
        for records in lines.chunks(RECORDS) {
            let body = format!("[{}]", records.join(","));
            let posted = self.poster.post(Bytes::from(body)).await;
            posted.map_err(Stopped::Receiver)?;
        }
        let sent = self.files.with(move |files| files.sent(&path)).await;
        sent.and_then(|sent| sent).map_err(Stopped::Disk)
    }

    /// Reports why a round ended. Returns when to try again.
    fn pause_after(&self, stopped: &Stopped, last: Option<Duration>) -> Duration {
        let pause = last.map_or(PAUSE, |last| (2 * last).min(PAUSE_MAX));
        match stopped {
            Stopped::Receiver(failure) => {
                if !failure.is_refusal() {
                    self.report(failure);
                }
                pause.max(failure.retry_after().unwrap_or_default())
            }
            Stopped::Disk(error) => {
                self.counts.write_failures.fetch_add(1, Ordering::Relaxed);
                if let Some(suppressed) = self.throttles.allow("usage-unsent") {
                    tracing::error!(
                        %error,
                        suppressed,
                        "usage: the files of usage.file cannot be read or renamed: nothing is posted. \
                         Give their folder to the gateway"
                    );
                }
                pause
            }
        }
    }

    fn report(&self, failure: &PostFailure) {
        self.counts.post_failures.fetch_add(1, Ordering::Relaxed);
        if let Some(suppressed) = self.throttles.allow("usage-post") {
            tracing::warn!(
                error = %failure,
                suppressed,
                "usage: records were not accepted by usage.url; they are sent again with the same ids \
                 until usage.keep. Look at the receiver, and at usage.receiver_key"
            );
        }
    }
}

/// Waits for this time; `None`: for ever.
async fn sleep(time: Option<Duration>) {
    match time {
        Some(time) => tokio::time::sleep(time).await,
        None => std::future::pending().await,
    }
}
