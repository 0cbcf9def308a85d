//! The only way into a shard: a bounded queue, and a bell that wakes the shard from its sleep.

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::sync::atomic::fence;

use ht_core::publication::Publication;
use ht_core::shard::Welcome;
use tokio::sync::mpsc;

use crate::node::ConnectionPlace;
use crate::socket::Socket;

/// What a shard may be told.
pub(crate) enum Input {
    /// A connection whose handshake is done, and what its client sent since.
    Open(Box<NewConnection>),
    /// Publications, in their order.
    Publish(Arc<[Publication]>),
    /// Close everything and end.
    Drain,
}

/// A connection on its way to its shard.
pub(crate) struct NewConnection {
    pub(crate) socket: Socket,
    pub(crate) welcome: Welcome,
    /// Bytes that were read together with the handshake.
    pub(crate) early: Vec<u8>,
    /// Its place among the connections.
    pub(crate) place: ConnectionPlace,
}

/// The shard has ended.
#[derive(Debug)]
pub(crate) struct Ended;

/// Makes the two ends of an inbox for `capacity` inputs. `waker` interrupts the shard's poll.
pub(crate) fn inbox(capacity: usize, waker: mio::Waker) -> (Sender, Receiver) {
    let (sender, receiver) = mpsc::channel(capacity.max(1));
    let bell = Arc::new(Bell {
        waker,
        asleep: AtomicBool::new(false),
    });
    (
        Sender {
            sender,
            bell: Arc::clone(&bell),
        },
        Receiver { receiver, bell },
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
    sender: mpsc::Sender<Input>,
    bell: Arc<Bell>,
}

/// A place in an inbox that is already taken.
pub(crate) struct Permit<'a> {
    permit: mpsc::Permit<'a, Input>,
    bell: &'a Bell,
}

impl Sender {
    /// Waits for a place.
    pub(crate) async fn reserve(&self) -> Result<Permit<'_>, Ended> {
        let permit = self.sender.reserve().await.map_err(|_| Ended)?;
        Ok(Permit {
            permit,
            bell: &self.bell,
        })
    }
}

impl Permit<'_> {
    /// Fills the place and wakes the shard if it sleeps.
    pub(crate) fn send(self, input: Input) {
        self.permit.send(input);
        // Pairs with the fence in `Receiver::may_sleep`: either the shard sees the input, or we
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
    receiver: mpsc::Receiver<Input>,
    bell: Arc<Bell>,
}

impl Receiver {
    /// The next input, if there is one.
    pub(crate) fn next(&mut self) -> Option<Input> {
        self.receiver.try_recv().ok()
    }

    /// Announces that the shard is about to sleep. False: do not, there is an input.
    pub(crate) fn may_sleep(&mut self) -> bool {
        self.bell.asleep.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        if self.receiver.is_empty() {
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
