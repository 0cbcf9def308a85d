//! A shard's thread: it sleeps until a socket, the inbox or a deadline wants something.

mod inputs;
mod outside;
mod undelivered;

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use ht_broker::Broker;
use ht_core::budget::Phase;
use ht_core::shard::{SessionKey, Shard};
use ht_core::world::Turn;
use mio::event::Event;
use mio::{Events, Poll, Token};

use crate::gaps::Gaps;
use crate::hooks::HookSender;
use crate::inbox;
use crate::lifecycle::Lifecycle;
use crate::node::Node;
use crate::shard::outside::Outside;
use crate::shard::undelivered::Undelivered;
use crate::socket::Socket;

/// The inbox's bell. No session has its token.
const BELL: Token = token(SessionKey::NONE);

/// Bytes that are read at once; one buffer for all connections of a shard. What does not fit a
/// connection's slice of a turn is kept, so this also bounds what that is.
const READ: usize = 8 << 10;

/// Reads of one connection before the others have their turn.
const READS: usize = 8;

/// Writes of a fan-out, or other work of it, before the others have their turn.
const WRITES: usize = 256;

/// A shard that runs.
pub(crate) struct Running {
    pub(crate) inbox: inbox::Sender,
    pub(crate) thread: JoinHandle<()>,
}

/// Starts the thread of the shard `index`.
pub(crate) fn start(
    index: usize,
    shard: Shard<Socket>,
    bounds: inbox::Bounds,
    node: &Node,
    broker: Option<Arc<Broker>>,
    hooks: Option<HookSender>,
) -> io::Result<Running> {
    let poll = Poll::new()?;
    let waker = inbox::waker(&poll, BELL)?;
    let (sender, receiver) = inbox::inbox(bounds, waker);
    let mut thread = ShardThread {
        poll,
        inbox: receiver,
        shard,
        outside: Outside::new(index, node, broker, hooks),
        gaps: Arc::clone(&node.gaps),
        clock: Instant::now(),
        buffer: vec![0; READ],
        ready: VecDeque::new(),
        draining: false,
        undelivered: Undelivered::default(),
    };
    let builder = std::thread::Builder::new().name(format!("shard-{index}"));
    let lifecycle = Arc::clone(&node.lifecycle);
    let thread = builder.spawn(move || {
        let _guard = PanicFlag(lifecycle);
        thread.run();
    })?;
    Ok(Running {
        inbox: sender,
        thread,
    })
}

/// Notes that a shard ended by a panic: a bug, after which the node should be replaced. The other
/// shards go on meanwhile.
struct PanicFlag(Arc<Lifecycle>);

impl Drop for PanicFlag {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.break_down();
        }
    }
}

struct ShardThread {
    poll: Poll,
    inbox: inbox::Receiver,
    shard: Shard<Socket>,
    outside: Outside,
    gaps: Arc<Gaps>,
    clock: Instant,
    buffer: Vec<u8>,
    /// Connections whose sockets are ready, each of them once, in the order of their turns.
    ready: VecDeque<SessionKey>,
    draining: bool,
    undelivered: Undelivered,
}

impl ShardThread {
    fn run(&mut self) {
        let mut events = Events::with_capacity(1_024);
        while !(self.draining && self.shard.is_empty()) {
            if let Err(error) = self.sleep(&mut events) {
                // Only a broken descriptor of our own can cause this; spinning would hide it.
                if let Some(suppressed) = self.outside.throttles.allow("poll") {
                    tracing::error!(%error, suppressed, "a shard cannot poll its sockets");
                }
                std::thread::sleep(Duration::from_millis(100));
            }
            let begun = self.clock.elapsed();
            for event in &events {
                if event.token() != BELL {
                    self.on_event(event);
                }
            }
            self.turn();
            let turn = self.clock.elapsed().saturating_sub(begun);
            let Outside { totals, index, .. } = &self.outside;
            totals.publish(*index, self.shard.stats(), turn);
        }
    }

    /// Does a part of everything that is due. Each phase has a budget of its own; what is left of
    /// its work waits for the next turn.
    fn turn(&mut self) {
        self.shard.begin(Phase::Sockets);
        self.serve_sockets();
        self.shard.begin(Phase::Resume);
        self.resume();
        self.shard.begin(Phase::Newcomers);
        self.take_connections();
        self.shard.begin(Phase::Deliveries);
        self.take_inputs();
        let now = self.now();
        self.shard
            .fan_out(WRITES, &mut Turn::new(now, &mut self.outside));
        self.shard.begin(Phase::CleanUp);
        self.shard.clean_up(&mut Turn::new(now, &mut self.outside));
        self.shard.begin(Phase::Tick);
        self.shard.tick(&mut Turn::new(now, &mut self.outside));
    }

    /// Sleeps until something is due, or only looks where there is work.
    fn sleep(&mut self, events: &mut Events) -> io::Result<()> {
        let busy = self.shard.has_work() || !self.ready.is_empty() || !self.inbox.may_sleep();
        let timeout = if busy {
            Some(Duration::ZERO)
        } else {
            let deadline = self.shard.deadline();
            // A millisecond more than is left: waking too early would only spin.
            deadline.map(|at| Duration::from_millis(at.saturating_sub(self.now()) + 1))
        };
        let polled = self.poll.poll(events, timeout);
        self.inbox.awake();
        match polled {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(()),
            polled => polled,
        }
    }

    /// Notes what an event says. Its connection is served when it has its turn.
    fn on_event(&mut self, event: &Event) {
        let key = SessionKey::from_bits(event.token().0 as u64);
        if let Some(peer) = self.shard.peer(key) {
            let ended = event.is_read_closed() || event.is_error();
            peer.ended |= ended;
            peer.unread |= event.is_readable() || ended;
            peer.writable |= event.is_writable();
            self.queue(key);
        }
    }

    /// Has a connection served when it is its turn.
    fn queue(&mut self, key: SessionKey) {
        if let Some(peer) = self.shard.peer(key)
            && !std::mem::replace(&mut peer.queued, true)
        {
            self.ready.push_back(key);
        }
    }

    /// Serves those that are ready now, round robin, until the budget is spent.
    fn serve_sockets(&mut self) {
        for _ in 0..self.ready.len() {
            if self.shard.budget().is_spent() {
                return;
            }
            let Some(key) = self.ready.pop_front() else {
                return;
            };
            let Some(peer) = self.shard.peer(key) else {
                continue;
            };
            peer.queued = false;
            if std::mem::take(&mut peer.writable) {
                let now = self.now();
                self.shard
                    .writable(key, &mut Turn::new(now, &mut self.outside));
            }
            self.read(key);
        }
    }

    /// Continues with connections whose bytes were read in an earlier turn.
    fn resume(&mut self) {
        while self.shard.is_behind() && !self.shard.budget().is_spent() {
            let now = self.now();
            if let Some(key) = self.shard.resume(&mut Turn::new(now, &mut self.outside)) {
                self.queue(key);
            }
        }
    }

    /// Reads what a connection sent.
    fn read(&mut self, key: SessionKey) {
        let now = self.now();
        for _ in 0..READS {
            let may_read = self.shard.may_read(key);
            let Some(peer) = self.shard.peer(key) else {
                return;
            };
            // Where it may not be read now, it is queued again when it may.
            if !peer.unread || !may_read {
                return;
            }
            let ended = peer.ended;
            match peer.read(&mut self.buffer) {
                Ok(None) => {
                    peer.unread = false;
                    return;
                }
                Ok(Some(0)) | Err(_) => {
                    return self.shard.gone(key, &mut Turn::new(now, &mut self.outside));
                }
                Ok(Some(len)) => {
                    peer.unread = len == READ || ended;
                    // What was published before the client wrote is delivered before it is answered.
                    if self.inbox.has_input() {
                        self.take_inputs();
                    }
                    let bytes = &mut self.buffer[..len];
                    self.shard
                        .receive(key, bytes, &mut Turn::new(now, &mut self.outside));
                    if self.shard.budget().is_spent() {
                        break;
                    }
                }
            }
        }
        if self.shard.peer(key).is_some_and(|peer| peer.unread) {
            self.queue(key);
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.clock.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

/// The token of a session's socket.
const fn token(key: SessionKey) -> Token {
    // A key is as long as a pointer: checked below.
    Token(key.to_bits() as usize)
}

const _: () = assert!(
    size_of::<usize>() == size_of::<u64>(),
    "a session's key is a token"
);
