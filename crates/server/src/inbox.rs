//! The only way into a shard: two bounded queues, and a bell that wakes the shard from its sleep.
//!
//! Connections have a queue of their own: nobody has to wait outside until all that was published
//! is delivered.

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::sync::atomic::fence;

use ht_core::publication::Publication;
use ht_core::shard::Settings;
use ht_core::shard::Wave;
use ht_core::shard::Welcome;
use ht_proto::close::Close;
use tokio::sync::mpsc;
use tokio::sync::oneshot;

use crate::places::ConnectionPlace;
use crate::socket::Socket;

/// What a shard may be told.
pub(crate) enum Input {
    /// Publications, in their order.
    Publish(Arc<[Publication]>),
    /// Behave like this from now on.
    Settings(Box<Settings>),
    /// Say that it was taken.
    Probe(oneshot::Sender<()>),
    /// Close so many connections.
    Close {
        /// Admitted ones.
        count: usize,
        /// What they are told.
        close: Close,
    },
    /// Close connections that opened before a gap: one wave.
    CloseMissed {
        /// The gap's number.
        number: u32,
        /// How many at most.
        count: usize,
        /// What they are told.
        close: Close,
        /// What became of it.
        done: oneshot::Sender<Wave>,
    },
    /// Close everything for this reason and end.
    Drain(Close),
}

/// A connection on its way to its shard: its handshake is done.
pub(crate) struct NewConnection {
    pub(crate) socket: Socket,
    pub(crate) welcome: Welcome,
    /// What its client sent since: bytes that were read together with the handshake.
    pub(crate) early: Vec<u8>,
    /// Its place among the connections.
    pub(crate) place: ConnectionPlace,
}

/// The shard has ended.
#[derive(Debug)]
pub(crate) struct Ended;

/// Makes the two ends of an inbox for `capacity` inputs and as many connections. `waker`
/// interrupts the shard's poll.
pub(crate) fn inbox(capacity: usize, waker: mio::Waker) -> (Sender, Receiver) {
    let (inputs, next_inputs) = mpsc::channel(capacity.max(1));
    let (connections, next_connections) = mpsc::channel(capacity.max(1));
    let bell = Arc::new(Bell {
        waker,
        asleep: AtomicBool::new(false),
    });
    (
        Sender {
            inputs,
            connections,
            bell: Arc::clone(&bell),
        },
        Receiver {
            inputs: next_inputs,
            connections: next_connections,
            bell,
        },
    )
}

#[derive(Debug)]
struct Bell {
    waker: mio::Waker,
    asleep: AtomicBool,
}

/// The end that the control side holds.
#[derive(Clone, Debug)]
pub(crate) struct Sender {
    inputs: mpsc::Sender<Input>,
    connections: mpsc::Sender<Box<NewConnection>>,
    bell: Arc<Bell>,
}

/// A place in an inbox that is already taken.
pub(crate) struct Permit<'a, T> {
    permit: mpsc::Permit<'a, T>,
    bell: &'a Bell,
}

impl Sender {
    /// Waits for a place.
    pub(crate) async fn reserve(&self) -> Result<Permit<'_, Input>, Ended> {
        self.permit(&self.inputs).await
    }

    /// Waits for a place for a connection.
    pub(crate) async fn reserve_connection(&self) -> Result<Permit<'_, Box<NewConnection>>, Ended> {
        self.permit(&self.connections).await
    }

    /// Wakes the shard for a turn, whether or not there is something to take.
    pub(crate) fn wake(&self) {
        if let Err(error) = self.bell.waker.wake() {
            tracing::error!(%error, "a shard could not be woken");
        }
    }

    async fn permit<'a, T>(&'a self, queue: &'a mpsc::Sender<T>) -> Result<Permit<'a, T>, Ended> {
        let permit = queue.reserve().await.map_err(|_| Ended)?;
        Ok(Permit {
            permit,
            bell: &self.bell,
        })
    }
}

impl<T> Permit<'_, T> {
    /// Fills the place and wakes the shard if it sleeps.
    pub(crate) fn send(self, content: T) {
        self.permit.send(content);
        // Pairs with the fence in `Receiver::may_sleep`: either the shard sees it, or we
        // see that it sleeps.
        fence(Ordering::SeqCst);
        if self.bell.asleep.swap(false, Ordering::Relaxed)
            && let Err(error) = self.bell.waker.wake()
        {
            tracing::error!(%error, "a shard could not be woken");
        }
    }
}

/// The end that the shard holds.
pub(crate) struct Receiver {
    inputs: mpsc::Receiver<Input>,
    connections: mpsc::Receiver<Box<NewConnection>>,
    bell: Arc<Bell>,
}

impl Receiver {
    /// The next input, if there is one.
    pub(crate) fn next(&mut self) -> Option<Input> {
        self.inputs.try_recv().ok()
    }

    /// The next connection, if there is one.
    pub(crate) fn next_connection(&mut self) -> Option<Box<NewConnection>> {
        self.connections.try_recv().ok()
    }

    /// Announces that the shard is about to sleep. False: do not, there is something to take.
    pub(crate) fn may_sleep(&mut self) -> bool {
        self.bell.asleep.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        if self.inputs.is_empty() && self.connections.is_empty() {
            return true;
        }
        self.bell.asleep.store(false, Ordering::Relaxed);
        false
    }

    /// The shard is awake: no bell is needed.
    pub(crate) fn awake(&self) {
        self.bell.asleep.store(false, Ordering::Relaxed);
    }
}

/// A waker for a poll.
pub(crate) fn waker(poll: &mio::Poll, token: mio::Token) -> io::Result<mio::Waker> {
    mio::Waker::new(poll.registry(), token)
}
