//! The only input of a shard: a queue of inputs, a bounded queue of connections, and a bell that
//! wakes the shard from its sleep.
//!
//! Connections have a queue of their own, so that new ones do not wait until everything that was
//! published is delivered.
//!
//! **A slow shard blocks no other.** Inputs are placed without waiting, so the sequencer never
//! holds its order for a shard. Back-pressure applies before that, and only to publishers that
//! concern the shard: while its queue is full they wait in [`Sender::room`], as long as the shard
//! makes progress, and for a bounded time. If the shard takes nothing, or is slow for longer than
//! that while others have little to do, publishers no longer wait for it until half of its queue is
//! empty: the broker's messages arrive one after the other, and would have to wait behind it
//! whichever shard they concern. Meanwhile its queue grows up to its limit in bytes, and above that
//! it is emptied: the shard has missed publications, which is counted, logged and reported to its
//! clients (see [`crate::sequencer`]). Inputs that are not publications are few and are never
//! dropped.
//!
//! **A loud tenant costs no other its place.** While a shard has enough to do for one tenant, it takes
//! the inputs of others that are behind ([`Receiver::next`]). Only publishers of a tenant that has its
//! share of the queue or more wait for room ([`Sender::is_loud`]), and what does not fit is taken from
//! the tenant that has most in it. Where entries of several tenants come one after the other, from a
//! log, nobody waits.

mod bell;
mod input;
mod receiver;
#[cfg(test)]
mod tests;

use std::io;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ht_control::backlog::Backlog;
use ht_core::command::Command;
use ht_proto::entry::TenantId;
use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, timeout_at};

use self::bell::Bell;
pub(crate) use self::input::{
    Answered, Applicant, Arrival, Asked, Batch, Connection, Input, NewConnection, Wait,
};
pub(crate) use self::receiver::Receiver;

/// A shard that takes nothing for this long is not waited for.
const PATIENCE: Duration = Duration::from_millis(500);

/// Longest wait of one publisher for a shard that makes progress; and of all together, if another
/// shard has little to do.
const WAIT_MAX: Duration = Duration::from_secs(2);

/// Limits of the publications queued in one inbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bounds {
    /// Number of inputs from which on publishers wait.
    pub(crate) inputs: usize,
    /// Bytes of publications above which the shard misses them; from half of it on publishers wait.
    pub(crate) bytes: usize,
}

/// The shard has ended.
#[derive(Debug)]
pub(crate) struct Ended;

/// Creates the two ends of an inbox. It has room for as many connections as `bounds` has for
/// inputs. `waker` interrupts the shard's poll.
pub(crate) fn inbox(bounds: Bounds, waker: mio::Waker) -> (Sender, Receiver) {
    let (connections, next_connections) = mpsc::channel(bounds.inputs.max(1));
    let queue = Arc::new(Queue {
        inputs: Mutex::new(Inputs {
            backlog: Backlog::new(bounds.bytes),
            ended: false,
        }),
        bounds,
        len: AtomicUsize::new(0),
        bytes: AtomicUsize::new(0),
        taken: AtomicU64::new(0),
        placed: AtomicU64::new(0),
        behind: AtomicBool::new(false),
        begun: Instant::now(),
        full_since: AtomicU64::new(0),
        room: Notify::new(),
        bell: Bell {
            waker,
            asleep: AtomicBool::new(false),
        },
    });
    (
        Sender {
            queue: Arc::clone(&queue),
            connections,
        },
        Receiver {
            queue,
            connections: next_connections,
            passed_over: None,
        },
    )
}

struct Queue {
    inputs: Mutex<Inputs>,
    bounds: Bounds,
    /// Number of queued inputs, readable without the lock.
    len: AtomicUsize,
    /// Bytes of the publications among them.
    bytes: AtomicUsize,
    /// Inputs that the shard took, and those that were placed.
    taken: AtomicU64,
    placed: AtomicU64,
    /// The shard was too slow for a while, and publishers do not wait for it.
    behind: AtomicBool,
    begun: Instant,
    /// When a publisher first waited for it since half of it was empty, in ms since `begun`; zero:
    /// none did.
    full_since: AtomicU64,
    /// There may be room again.
    room: Notify,
    bell: Bell,
}

struct Inputs {
    backlog: Backlog<Input>,
    ended: bool,
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, Inputs> {
        self.inputs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An input was placed.
    fn placed(&self, backlog: &Backlog<Input>) {
        self.placed.fetch_add(1, Ordering::AcqRel);
        self.count(backlog);
    }

    /// Updates the counts of the queue.
    fn count(&self, backlog: &Backlog<Input>) {
        self.len.store(backlog.len(), Ordering::Release);
        self.bytes.store(backlog.bytes(), Ordering::Release);
    }

    fn is_full(&self) -> bool {
        self.len.load(Ordering::Acquire) >= self.bounds.inputs
            || self.bytes.load(Ordering::Acquire) >= self.bounds.bytes / 2
    }

    /// Whether it has less than half of what makes it full.
    fn is_half_empty(&self) -> bool {
        self.len.load(Ordering::Acquire) * 2 < self.bounds.inputs
            && self.bytes.load(Ordering::Acquire) * 4 < self.bounds.bytes
    }

    /// A publisher waits. Returns since when publishers have waited.
    fn wait_since(&self, now: Instant) -> Instant {
        let ms = now.saturating_duration_since(self.begun).as_millis();
        let ms = u64::try_from(ms).unwrap_or(u64::MAX).max(1);
        let first = self
            .full_since
            .compare_exchange(0, ms, Ordering::AcqRel, Ordering::Acquire);
        self.begun + Duration::from_millis(first.map_or_else(|first| first, |_| ms))
    }

    /// The shard took something: whether publishers should wait for it again.
    fn recover(&self) {
        if self.is_half_empty() && self.full_since.load(Ordering::Acquire) != 0 {
            self.full_since.store(0, Ordering::Release);
            self.behind.store(false, Ordering::Release);
        }
    }
}

/// The sender, held by the control side.
#[derive(Clone)]
pub(crate) struct Sender {
    queue: Arc<Queue>,
    connections: mpsc::Sender<Arrival>,
}

/// Room for a connection in an inbox.
pub(crate) struct Permit<'a> {
    permit: mpsc::Permit<'a, Arrival>,
    bell: &'a Bell,
}

/// Publications or commands that a shard missed because it was too far behind.
#[must_use]
pub(crate) struct Overflow {
    /// They are dropped with this, outside of every lock.
    inputs: Vec<Input>,
}

impl Overflow {
    /// What was missed, oldest first.
    pub(crate) fn batches(&self) -> impl Iterator<Item = &Batch> {
        self.inputs.iter().filter_map(Input::batch)
    }

    /// Commands that are not executed, oldest first.
    pub(crate) fn commands(&self) -> impl Iterator<Item = &Arc<Command>> {
        self.inputs.iter().filter_map(Input::command)
    }
}

impl Sender {
    /// Places an input that is not a publication, behind all that was placed before.
    pub(crate) fn send(&self, input: Input) -> Result<(), Ended> {
        let mut inputs = self.queue.lock();
        if inputs.ended {
            return Err(Ended);
        }
        // It is not a publication: nothing is missed because of it.
        drop(inputs.backlog.push(input));
        self.queue.placed(&inputs.backlog);
        drop(inputs);
        self.queue.bell.ring();
        Ok(())
    }

    /// Places publications behind all that was placed before, without waiting. If they do not fit,
    /// the queued ones are returned: the shard misses them. `missed` is called with them before the
    /// shard can take anything later.
    pub(crate) fn publish(&self, batch: Batch, missed: impl FnOnce(&Overflow)) -> Option<Overflow> {
        let mut inputs = self.queue.lock();
        // A shard that has ended has no clients to deliver to.
        if inputs.ended {
            return None;
        }
        let dropped = inputs.backlog.push(Input::Publish(batch));
        self.queue.placed(&inputs.backlog);
        let overflow = (!dropped.is_empty()).then_some(Overflow { inputs: dropped });
        if let Some(overflow) = &overflow {
            missed(overflow);
        }
        drop(inputs);
        self.queue.bell.ring();
        overflow
    }

    /// Places a command behind all that was placed before. If too many of them are queued, returns
    /// all of one tenant: the shard executes none, and closes the tenant's connections instead.
    pub(crate) fn command(&self, command: Arc<Command>) -> Result<Option<Overflow>, Ended> {
        let mut inputs = self.queue.lock();
        if inputs.ended {
            return Err(Ended);
        }
        let instead = |last: &Input| {
            let last = last.command().unwrap_or(&command);
            Input::CommandsLost(last.selection.tenant, last.position)
        };
        let command = Input::Command(Arc::clone(&command));
        let lost = inputs.backlog.push_command(command, instead);
        self.queue.placed(&inputs.backlog);
        drop(inputs);
        self.queue.bell.ring();
        Ok((!lost.is_empty()).then_some(Overflow { inputs: lost }))
    }

    /// Whether publishers should wait.
    pub(crate) fn is_full(&self) -> bool {
        self.queue.is_full() && !self.queue.behind.load(Ordering::Acquire)
    }

    /// Whether one of these tenants has its share of what is queued, or more.
    pub(crate) fn is_loud(&self, mut tenants: impl Iterator<Item = TenantId>) -> bool {
        let inputs = self.queue.lock();
        tenants.any(|tenant| inputs.backlog.is_loud(tenant))
    }

    /// Whether the shard has little to do.
    pub(crate) fn is_half_empty(&self) -> bool {
        self.queue.is_half_empty()
    }

    /// Waits until there is room for publications, or publishers no longer wait for the shard.
    /// `holds_others`: whether other shards have little to do meanwhile. True: it has just been
    /// given up, because it takes nothing, or because it is slow and others are not.
    pub(crate) async fn room(&self, holds_others: impl Fn() -> bool) -> bool {
        let queue = &self.queue;
        if !self.is_full() {
            return false;
        }
        let now = Instant::now();
        let end = now + WAIT_MAX;
        let end_of_all = queue.wait_since(now) + WAIT_MAX;
        loop {
            let mut room = pin!(queue.room.notified());
            room.as_mut().enable();
            let now = Instant::now();
            if !self.is_full() {
                return false;
            }
            if now >= end_of_all && holds_others() {
                return !queue.behind.swap(true, Ordering::AcqRel);
            }
            if now >= end {
                return false;
            }
            let taken = queue.taken.load(Ordering::Acquire);
            let patience = end.min(now + PATIENCE);
            if timeout_at(patience, room).await.is_err()
                && Instant::now() < end
                && taken == queue.taken.load(Ordering::Acquire)
            {
                return !queue.behind.swap(true, Ordering::AcqRel);
            }
        }
    }

    /// Wakes the shard, whether or not there is something to take.
    pub(crate) fn wake(&self) {
        if let Err(error) = self.queue.bell.waker.wake() {
            tracing::error!(%error, "a shard could not be woken");
        }
    }

    /// Number of queued inputs.
    pub(crate) fn len(&self) -> usize {
        self.queue.len.load(Ordering::Acquire)
    }

    /// Bytes of the queued publications.
    pub(crate) fn bytes(&self) -> usize {
        self.queue.bytes.load(Ordering::Acquire)
    }

    /// Waits for room for a connection.
    pub(crate) async fn reserve_connection(&self) -> Result<Permit<'_>, Ended> {
        let permit = self.connections.reserve().await.map_err(|_| Ended)?;
        Ok(Permit {
            permit,
            bell: &self.queue.bell,
        })
    }
}

impl Permit<'_> {
    /// Hands the connection over and wakes the shard if it sleeps.
    pub(crate) fn send(self, arrival: Arrival) {
        self.permit.send(arrival);
        self.bell.ring();
    }
}

/// A waker for a poll.
pub(crate) fn waker(poll: &mio::Poll, token: mio::Token) -> io::Result<mio::Waker> {
    mio::Waker::new(poll.registry(), token)
}
