//! Publishing, on a connection of its own.
//!
//! A broker that is short of memory stops reading from connections that publish. Were ours the
//! one that consumes, its acknowledgements would be held up too, and with them every trigger.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError};
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use futures_util::{StreamExt, poll};
use ht_proto::trigger::Trigger;
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::types::ShortString;
use lapin::uri::AMQPUri;
use lapin::{BasicProperties, Channel, Confirmation};
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout_at};

use crate::rabbitmq::cause::Cause;
use crate::rabbitmq::echo::Probe;
use crate::rabbitmq::sequence::{LineNumbers, Numbering, Position, Sequence};
use crate::rabbitmq::waiters::{Ticket, Waiters};
use crate::rabbitmq::wire::Wire;
use crate::rabbitmq::{echo, wire};
use crate::{Place, PublishError};

/// Publishes that were given up before the broker confirmed them leave something behind in the
/// connection; after so many it is made anew.
const ABANDONED_MAX: usize = 1_000;

/// Where this node's own triggers go out.
pub(super) struct Outlet {
    uri: AMQPUri,
    exchange: ShortString,
    timeout: Duration,
    numbering: Arc<Numbering>,
    /// The last position that was used.
    used: std::sync::Mutex<Position>,
    /// The connection, made when it is first needed. Its lock is also the turn: who holds it puts
    /// a whole call's triggers in line, and it is handed on in the order of calls.
    line: Mutex<Option<Arc<Line>>>,
}

/// One connection with publisher confirms.
struct Line {
    wire: Wire,
    channel: Channel,
    numbers: LineNumbers,
    stale: AtomicBool,
    abandoned: AtomicUsize,
}

type Confirms<'a> = FuturesUnordered<BoxFuture<'a, Result<(), Cause>>>;

impl Outlet {
    pub(super) fn new(
        uri: AMQPUri,
        exchange: ShortString,
        timeout: Duration,
        numbering: Arc<Numbering>,
    ) -> Self {
        Self {
            uri,
            exchange,
            timeout,
            numbering,
            used: std::sync::Mutex::default(),
            line: Mutex::new(None),
        }
    }

    /// Publishes the triggers in order and waits until each came back and has its place.
    pub(super) async fn publish(
        &self,
        triggers: &[Trigger],
        waiters: &Waiters,
    ) -> Result<Vec<Place>, PublishError> {
        let started = Instant::now();
        let deadline = started + self.timeout;
        let mut turn = timeout_at(deadline, self.line.lock())
            .await
            .map_err(|_| unavailable("earlier publishes take too long"))?;
        let line = match timeout_at(deadline, self.line(&mut turn)).await {
            Ok(line) => line.map_err(unavailable)?,
            Err(_elapsed) => return Err(unavailable("it does not answer")),
        };
        let mut call = Call::new(&line);
        let all_sent = self
            .send_all(&mut call, triggers, waiters, deadline)
            .await?;
        drop(turn);
        if all_sent && let Some(places) = call.outcome(deadline).await {
            return Ok(places);
        }
        line.stale.store(true, Ordering::Relaxed);
        Err(PublishError::Unconfirmed {
            seconds: started.elapsed().as_secs_f64().ceil() as u64,
        })
    }

    /// Publishes a probe, in its turn; ready when the broker has taken it.
    pub(super) async fn probe(&self, probe: &Probe) -> Result<(), PublishError> {
        let mut turn = self.line.lock().await;
        let line = self.line(&mut turn).await.map_err(unavailable)?;
        let unconfirmed = Unconfirmed(Some(&line));
        let properties = message(&probe.id).with_type(echo::TYPE.into());
        let (key, text) = (probe.queue.clone(), Bytes::from_static(echo::TEXT));
        let mut sending = Box::pin(self.send(&line.channel, key, text, properties));
        // As with triggers, the first poll puts it in line.
        let sent = poll!(&mut sending);
        drop(turn);
        match sent {
            Poll::Ready(sent) => sent.map_err(unavailable)?,
            Poll::Pending => sending.await.map_err(unavailable)?,
        }
        unconfirmed.settle();
        Ok(())
    }

    /// Publishes a heartbeat: a numbered message for every node, with no room. Returns its position
    /// when the broker has routed it to at least one queue.
    pub(super) async fn heartbeat(&self) -> Result<Position, Cause> {
        let mut turn = self.line.lock().await;
        let line = self.line(&mut turn).await?;
        let unconfirmed = Unconfirmed(Some(&line));
        let sequence = self.numbering.next(&line.numbers);
        let properties = BasicProperties::default()
            .with_content_type("application/json".into())
            .with_type(echo::TYPE.into())
            .with_headers(sequence.headers());
        let (key, text) = (wire::ROUTING_KEY.into(), Bytes::from_static(echo::TEXT));
        let mut sending = Box::pin(self.send(&line.channel, key, text, properties));
        let sent = poll!(&mut sending);
        self.used(&line, &sequence);
        drop(turn);
        match sent {
            Poll::Ready(sent) => sent?,
            Poll::Pending => sending.await?,
        }
        unconfirmed.settle();
        Ok(sequence.position)
    }

    /// The last position that was used: what is published from now on is behind it.
    pub(super) fn last_used(&self) -> Position {
        *self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A numbered message was put in line.
    fn used(&self, line: &Line, sequence: &Sequence) {
        line.numbers.used();
        *self.used.lock().unwrap_or_else(PoisonError::into_inner) = sequence.position;
    }

    /// Puts the triggers in line, in order. False where it came no further than to some of them.
    async fn send_all<'a>(
        &'a self,
        call: &mut Call<'a>,
        triggers: &[Trigger],
        waiters: &'a Waiters,
        deadline: Instant,
    ) -> Result<bool, PublishError> {
        for trigger in triggers {
            let room = timeout_at(deadline, waiters.ticket(trigger.text.len())).await;
            let ticket = match room {
                Ok(ticket) => ticket,
                Err(_elapsed) if call.tickets.is_empty() => {
                    return Err(unavailable("too much is being published"));
                }
                Err(_elapsed) => return Ok(false),
            };
            let (key, text) = (wire::ROUTING_KEY.into(), trigger.text.clone());
            let sequence = self.numbering.next(&call.line.numbers);
            let properties = message(&ticket.message_id().into()).with_headers(sequence.headers());
            let mut sending = Box::pin(self.send(&call.line.channel, key, text, properties));
            // The first poll puts it in line, which is what keeps the order. It fails where the
            // connection is known to be gone.
            let sent = poll!(&mut sending);
            self.used(call.line, &sequence);
            match sent {
                Poll::Ready(Err(cause)) if call.tickets.is_empty() => {
                    call.line.stale.store(true, Ordering::Relaxed);
                    return Err(unavailable(cause));
                }
                Poll::Ready(Err(_)) => return Ok(false),
                Poll::Ready(Ok(())) => {}
                Poll::Pending => call.confirms.push(sending),
            }
            call.tickets.push(ticket);
        }
        Ok(true)
    }

    /// Takes leave of the broker.
    pub(super) async fn close(&self, limit: Duration) {
        let line = tokio::time::timeout(limit, self.line.lock()).await;
        if let Ok(Some(line)) = line.map(|mut line| line.take()) {
            line.wire.close(limit).await;
        }
    }

    /// The connection, made anew where there is none that works.
    async fn line(&self, current: &mut Option<Arc<Line>>) -> Result<Arc<Line>, Cause> {
        let line = match current {
            Some(line) if line.is_good() => Arc::clone(line),
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
            numbers: self.numbering.open_line(),
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
    ) -> Result<(), Cause> {
        // Mandatory: what reaches no queue at all is returned, and we need not wait for it.
        let options = BasicPublishOptions {
            mandatory: true,
            ..BasicPublishOptions::default()
        };
        let confirm = channel
            .basic_publish(self.exchange.clone(), key, options, &text, properties)
            .await?;
        match confirm.await? {
            Confirmation::Ack(None) | Confirmation::NotRequested => Ok(()),
            Confirmation::Ack(Some(_)) | Confirmation::Nack(Some(_)) => {
                Err(Cause::Missing("no queue is bound to the exchange".into()))
            }
            Confirmation::Nack(None) => Err(Cause::Other("the broker could not take it".into())),
        }
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

/// Has the connection made anew, unless it is settled: also when nobody waits any more.
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

/// The triggers of one call that are in line or under way.
struct Call<'a> {
    line: &'a Line,
    tickets: Vec<Ticket<'a>>,
    confirms: Confirms<'a>,
    settled: bool,
}

impl<'a> Call<'a> {
    fn new(line: &'a Line) -> Self {
        Self {
            line,
            tickets: Vec::new(),
            confirms: Confirms::new(),
            settled: false,
        }
    }

    /// All places, or none as soon as one will not come or the broker refused a trigger.
    async fn outcome(&mut self, deadline: Instant) -> Option<Vec<Place>> {
        let mut places = Vec::with_capacity(self.tickets.len());
        let mut confirmed = false;
        for ticket in &mut self.tickets {
            let place = loop {
                tokio::select! {
                    place = ticket.place() => break place?,
                    all = all(&mut self.confirms), if !confirmed => {
                        all.ok()?;
                        confirmed = true;
                    }
                    () = tokio::time::sleep_until(deadline) => return None,
                }
            };
            places.push(place);
        }
        // What came back was published, whatever becomes of the confirms.
        self.settled = timeout_at(deadline, all(&mut self.confirms)).await == Ok(Ok(()));
        Some(places)
    }
}

/// Counts what is left unconfirmed, also when the caller went away.
impl Drop for Call<'_> {
    fn drop(&mut self) {
        if !self.settled {
            let left = self.tickets.len();
            self.line.abandoned.fetch_add(left, Ordering::Relaxed);
        }
    }
}

async fn all(confirms: &mut Confirms<'_>) -> Result<(), Cause> {
    while let Some(confirm) = confirms.next().await {
        confirm?;
    }
    Ok(())
}

fn message(id: &ShortString) -> BasicProperties {
    BasicProperties::default()
        .with_content_type("application/json".into())
        .with_message_id(id.clone())
}

fn unavailable(why: impl std::fmt::Display) -> PublishError {
    PublishError::Unavailable(why.to_string())
}
