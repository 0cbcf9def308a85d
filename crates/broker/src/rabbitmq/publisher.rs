//! Publishing, on a connection of its own.
//!
//! A broker that is short of memory stops reading from connections that publish. Were ours the
//! one that consumes, its acknowledgements would be held up too, and with them every trigger.

mod mark;
mod properties;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use futures_util::{StreamExt, poll};
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::types::ShortString;
use lapin::uri::AMQPUri;
use lapin::{BasicProperties, Channel, Confirmation};
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout_at};

use crate::broker::PROBE;
use crate::log::{AppendError, Kind, NewEntry};
use crate::numbers::Serial;
use crate::rabbitmq::cause::Cause;
use crate::rabbitmq::numbering::{self, Numbering};
use crate::rabbitmq::wire::{self, Wire};

/// Publishes that were abandoned before the broker confirmed them leave state behind in the
/// connection; after so many it is replaced.
const ABANDONED_MAX: usize = 1_000;

/// The `type` of probes and heartbeats.
pub(super) const PROBE_TYPE: &str = "high-templar.probe";

/// The `type` of notes.
pub(super) const NOTE_TYPE: &str = "high-templar.note";

/// The `type` of messages that only show whether the stream is bound, and where it ends.
pub(super) const MARK_TYPE: &str = "high-templar.mark";

/// Where this node's own messages are published.
pub(super) struct Publisher {
    uri: AMQPUri,
    exchange: ShortString,
    numbering: Arc<Numbering>,
    /// The key that only the stream is bound with, where there is one. Its messages are not
    /// numbered: they have positions.
    stream: Option<ShortString>,
    /// The connection, opened on first use. Its lock is also the queue: its holder enqueues a whole
    /// call's messages, and it is passed on in the order of calls.
    line: Mutex<Option<Arc<Line>>>,
    /// The connection's messages were not delivered back: the next call opens a new one.
    doubted: AtomicBool,
}

/// One connection with publisher confirms.
struct Line {
    wire: Wire,
    channel: Channel,
    numbers: std::sync::Mutex<crate::numbers::Line>,
    stale: AtomicBool,
    abandoned: AtomicUsize,
}

type Confirms<'a> = FuturesUnordered<BoxFuture<'a, Result<(), Failure>>>;

/// Why a message was not confirmed.
enum Failure {
    /// It was never enqueued: the connection is lost.
    Unsent(Cause),
    /// The broker returned it: no queue is bound.
    Returned(Cause),
    /// The broker refused it, or the connection was lost before its confirm arrived.
    Refused(Cause),
}

impl Publisher {
    pub(super) fn new(uri: AMQPUri, exchange: ShortString, numbering: Arc<Numbering>) -> Self {
        Self {
            uri,
            exchange,
            numbering,
            stream: None,
            line: Mutex::new(None),
            doubted: AtomicBool::new(false),
        }
    }

    /// Publishes to a stream: what concerns nodes alone, with the stream's name as routing key.
    pub(super) fn to_stream(uri: AMQPUri, exchange: ShortString, stream: ShortString) -> Self {
        Self {
            stream: Some(stream),
            ..Self::new(uri, exchange, Arc::default())
        }
    }

    /// The next call makes the connection anew.
    pub(super) fn doubt(&self) {
        self.doubted.store(true, Ordering::Relaxed);
    }

    /// Publishes the entries to every node, in order. Ready when the broker has confirmed all of
    /// them.
    pub(super) async fn publish(
        &self,
        entries: &[NewEntry],
        within: Duration,
    ) -> Result<(), AppendError> {
        let started = Instant::now();
        let deadline = started + within;
        let mut turn = timeout_at(deadline, self.line.lock())
            .await
            .map_err(|_| unavailable("earlier publishes take too long"))?;
        let line = match timeout_at(deadline, self.line(&mut turn)).await {
            Ok(line) => line.map_err(unavailable)?,
            Err(_elapsed) => return Err(unavailable("it does not answer")),
        };
        let mut call = Call::new(&line, entries.len());
        let all_sent = self.send_all(&mut call, entries).await?;
        drop(turn);
        if all_sent && let Ok(outcome) = timeout_at(deadline, all(&mut call.confirms)).await {
            if outcome.is_ok() {
                call.unconfirmed = 0;
                if let Some(serial) = call.last {
                    self.numbering.confirmed(serial);
                }
                return Ok(());
            }
            if let Err(Failure::Returned(cause)) = outcome
                && self.stream.is_some()
            {
                // Of several others may have been routed.
                if entries.len() == 1 {
                    call.unconfirmed = 0;
                    return Err(unavailable(cause));
                }
            }
        }
        line.stale.store(true, Ordering::Relaxed);
        Err(AppendError::Unconfirmed {
            seconds: started.elapsed().as_secs_f64().ceil() as u64,
        })
    }

    /// Publishes a probe to `queue`, in its order; ready when the broker has confirmed it.
    pub(super) async fn probe(
        &self,
        queue: ShortString,
        entry: &NewEntry,
    ) -> Result<(), AppendError> {
        let mut turn = self.line.lock().await;
        let line = self.line(&mut turn).await.map_err(unavailable)?;
        let unconfirmed = Unconfirmed(Some(&line));
        let properties = properties::message(&entry.key).with_type(PROBE_TYPE.into());
        let mut sending = Box::pin(self.send(&line.channel, queue, entry.body.clone(), properties));
        // As with triggers, the first poll puts it in line.
        let sent = poll!(&mut sending);
        drop(turn);
        match sent {
            Poll::Ready(sent) => sent.map_err(refused)?,
            Poll::Pending => sending.await.map_err(refused)?,
        }
        unconfirmed.settle();
        Ok(())
    }

    /// Publishes a heartbeat: a numbered message for every node, with no room. Returns its serial
    /// when the broker has routed it to at least one queue.
    pub(super) async fn heartbeat(&self) -> Result<Serial, Cause> {
        let mut turn = self.line.lock().await;
        let line = self.line(&mut turn).await?;
        let unconfirmed = Unconfirmed(Some(&line));
        let sequence = self.numbering.next(&line.numbers);
        let properties = BasicProperties::default()
            .with_content_type("application/json".into())
            .with_type(PROBE_TYPE.into())
            .with_headers(numbering::headers(&sequence));
        let (key, text) = (wire::ROUTING_KEY.into(), Bytes::from_static(PROBE));
        let mut sending = Box::pin(self.send(&line.channel, key, text, properties));
        let sent = poll!(&mut sending);
        self.numbering.used(&line.numbers, &sequence);
        drop(turn);
        match sent {
            Poll::Ready(sent) => sent?,
            Poll::Pending => sending.await?,
        }
        unconfirmed.settle();
        self.numbering.confirmed(sequence.serial);
        Ok(sequence.serial)
    }

    /// Enqueues the entries, in order. Returns false if only some of them were enqueued.
    async fn send_all<'a>(
        &'a self,
        call: &mut Call<'a>,
        entries: &[NewEntry],
    ) -> Result<bool, AppendError> {
        for (index, entry) in entries.iter().enumerate() {
            let own = self.stream.as_ref();
            let sequence = own
                .is_none()
                .then(|| self.numbering.next(&call.line.numbers));
            let properties = properties::of(entry, sequence.as_ref());
            let key = own.filter(|_| entry.kind != Kind::Trigger);
            let key = key.cloned().unwrap_or_else(|| wire::ROUTING_KEY.into());
            let text = entry.body.clone();
            let mut sending = Box::pin(self.send(&call.line.channel, key, text, properties));
            // The first poll enqueues it, which is what keeps the order. It is unsent if the
            // connection is known to be lost.
            let sent = poll!(&mut sending);
            if let Some(sequence) = &sequence {
                self.numbering.used(&call.line.numbers, sequence);
                call.last = Some(sequence.serial);
            }
            match sent {
                Poll::Ready(Err(Failure::Unsent(cause))) if index == 0 => {
                    call.line.stale.store(true, Ordering::Relaxed);
                    return Err(unavailable(cause));
                }
                // The broker's confirm may arrive that fast, too.
                Poll::Ready(Err(_)) => return Ok(false),
                Poll::Ready(Ok(())) => {}
                Poll::Pending => call.confirms.push(sending),
            }
        }
        Ok(true)
    }

    /// Closes the connection gracefully.
    pub(super) async fn close(&self, limit: Duration) {
        let line = tokio::time::timeout(limit, self.line.lock()).await;
        if let Ok(Some(line)) = line.map(|mut line| line.take()) {
            line.wire.close(limit).await;
        }
    }

    /// The connection, reopened if there is no working one.
    async fn line(&self, current: &mut Option<Arc<Line>>) -> Result<Arc<Line>, Cause> {
        let doubted = self.doubted.swap(false, Ordering::Relaxed);
        let line = match current {
            Some(line) if line.is_good() && !doubted => Arc::clone(line),
            _ => self.connect(current).await?,
        };
        if line.wire.is_blocked() {
            return Err(Cause::Blocked);
        }
        Ok(line)
    }

    async fn connect(&self, current: &mut Option<Arc<Line>>) -> Result<Arc<Line>, Cause> {
        *current = None;
        let wire = Wire::connect(&self.uri, "high-templar publisher").await?;
        let channel = wire.channel().await?;
        wire::step(channel.confirm_select(ConfirmSelectOptions::default())).await?;
        let line = Arc::new(Line {
            wire,
            channel,
            numbers: std::sync::Mutex::new(self.numbering.open_line()),
            stale: AtomicBool::new(false),
            abandoned: AtomicUsize::new(0),
        });
        *current = Some(Arc::clone(&line));
        Ok(line)
    }

    async fn send(
        &self,
        channel: &Channel,
        key: ShortString,
        text: Bytes,
        properties: BasicProperties,
    ) -> Result<(), Failure> {
        // Mandatory: a message that reaches no queue is returned, and we need not wait for it.
        let options = BasicPublishOptions {
            mandatory: true,
            ..BasicPublishOptions::default()
        };
        let confirm = channel
            .basic_publish(self.exchange.clone(), key, options, &text, properties)
            .await
            .map_err(|error| Failure::Unsent(error.into()))?;
        let cause = match confirm.await {
            Ok(Confirmation::Ack(None) | Confirmation::NotRequested) => return Ok(()),
            Ok(Confirmation::Ack(Some(_)) | Confirmation::Nack(Some(_))) => {
                let cause = Cause::Missing("no queue is bound to the exchange".into());
                return Err(Failure::Returned(cause));
            }
            Ok(Confirmation::Nack(None)) => Cause::Other("the broker could not take it".into()),
            Err(error) => error.into(),
        };
        Err(Failure::Refused(cause))
    }
}

impl Line {
    fn is_good(&self) -> bool {
        !self.stale.load(Ordering::Relaxed)
            && self.abandoned.load(Ordering::Relaxed) < ABANDONED_MAX
            && self.wire.is_open()
            && self.channel.status().connected()
    }
}

/// Has the connection reopened, unless it is settled: also when no caller waits any more.
struct Unconfirmed<'a>(Option<&'a Line>);

impl Unconfirmed<'_> {
    fn settle(mut self) {
        self.0 = None;
    }
}

impl Drop for Unconfirmed<'_> {
    fn drop(&mut self) {
        if let Some(line) = self.0 {
            line.stale.store(true, Ordering::Relaxed);
        }
    }
}

/// The entries of one call that are in line or under way.
struct Call<'a> {
    line: &'a Line,
    confirms: Confirms<'a>,
    unconfirmed: usize,
    /// The last number that was used.
    last: Option<Serial>,
}

impl<'a> Call<'a> {
    fn new(line: &'a Line, entries: usize) -> Self {
        Self {
            line,
            confirms: Confirms::new(),
            unconfirmed: entries,
            last: None,
        }
    }
}

/// Counts the unconfirmed publishes, also when the caller was dropped.
impl Drop for Call<'_> {
    fn drop(&mut self) {
        self.line
            .abandoned
            .fetch_add(self.unconfirmed, Ordering::Relaxed);
    }
}

impl From<Failure> for Cause {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Unsent(cause) | Failure::Returned(cause) | Failure::Refused(cause) => cause,
        }
    }
}

async fn all(confirms: &mut Confirms<'_>) -> Result<(), Failure> {
    while let Some(confirm) = confirms.next().await {
        confirm?;
    }
    Ok(())
}

fn unavailable(why: impl std::fmt::Display) -> AppendError {
    AppendError::Unavailable(why.to_string())
}

fn refused(failure: Failure) -> AppendError {
    unavailable(Cause::from(failure))
}
