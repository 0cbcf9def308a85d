//! A shard's thread: it sleeps until a socket, the inbox or a deadline is due.

mod outside;

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use ht_control::turn::{Around, Entry, Newcomer, Readable as _, ShardLoop, TurnLimits};
use ht_core::recheck::Recheck;
use ht_core::shard::{Admission, SessionKey, Shard, Wave, Welcome};
use ht_edge::permits::ConnectionPermit;
use ht_proto::entry::TenantId;
use ht_proto::token;
use mio::event::Event;
use mio::{Events, Poll, Token};
use tokio::sync::oneshot;
use uuid::Uuid;

use crate::gaps::Gaps;
use crate::inbox::{self, Answered, Applicant, Arrival, Asked, Connection, Input, NewConnection};
use crate::lifecycle::Lifecycle;
use crate::loads::Load;
use crate::node::Node;
use crate::socket::Socket;

pub(crate) use crate::shard::outside::Outside;

/// The token of the inbox's bell. No session has it.
const BELL: Token = token(SessionKey::NONE);

/// A running shard.
pub(crate) struct Running {
    pub(crate) inbox: inbox::Sender,
    pub(crate) thread: JoinHandle<()>,
}

/// Starts the thread of a shard.
pub(crate) fn start(
    shard: Shard<Socket>,
    bounds: inbox::Bounds,
    node: &Node,
    outside: Outside,
) -> io::Result<Running> {
    let index = outside.index;
    let poll = Poll::new()?;
    let waker = inbox::waker(&poll, BELL)?;
    let (sender, receiver) = inbox::inbox(bounds, waker);
    let mut thread = ShardThread {
        turns: ShardLoop::new(shard, TurnLimits::default()),
        around: ShardAround {
            poll,
            inbox: receiver,
            outside,
            gaps: Arc::clone(&node.gaps),
            clock: node.clock,
        },
    };
    let name = match &node.owner {
        None => format!("shard-{index}"),
        Some(owner) => format!("{index}-{}", owner.name),
    };
    let builder = std::thread::Builder::new().name(name);
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

/// Records that a shard ended by a panic: a bug, after which the node should be replaced. The other
/// shards continue meanwhile.
struct PanicFlag(Arc<Lifecycle>);

impl Drop for PanicFlag {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.break_down();
        }
    }
}

struct ShardThread {
    turns: ShardLoop<Socket>,
    around: ShardAround,
}

/// The environment of the shard.
struct ShardAround {
    poll: Poll,
    inbox: inbox::Receiver,
    outside: Outside,
    gaps: Arc<Gaps>,
    clock: Instant,
}

impl ShardThread {
    fn run(&mut self) {
        let mut events = Events::with_capacity(1_024);
        while !self.turns.is_over() {
            if let Err(error) = self.sleep(&mut events) {
                // Only an invalid descriptor of our own can cause this; spinning would hide it.
                if let Some(suppressed) = self.around.outside.throttles.allow("poll") {
                    tracing::error!(%error, suppressed, "a shard cannot poll its sockets");
                }
                std::thread::sleep(Duration::from_millis(100));
            }
            let begun = self.around.clock.elapsed();
            for event in &events {
                if event.token() != BELL {
                    self.on_event(event);
                }
            }
            self.turns.turn(&mut self.around);
            let turn = self.around.clock.elapsed().saturating_sub(begun);
            let Outside {
                totals,
                meters,
                tenants,
                index,
                ..
            } = &self.around.outside;
            let shard = &mut self.turns.shard;
            totals.publish(*index, shard.stats(), turn);
            shard.take_tallies(|tenant, tally| meters.add(tenant, &tally));
            if tenants.are_enabled() {
                self.turns
                    .report_waiting(|tenant, before, now| meters.of(tenant).waits(before, now));
            }
        }
    }

    /// Sleeps until something is due, or only polls if there is work.
    fn sleep(&mut self, events: &mut Events) -> io::Result<()> {
        let around = &mut self.around;
        let busy = self.turns.has_work() || !around.inbox.may_sleep();
        let timeout = if busy {
            Some(Duration::ZERO)
        } else {
            let deadline = self.turns.shard.deadline();
            // A millisecond more than is left: waking too early would only spin.
            deadline.map(|at| Duration::from_millis(at.saturating_sub(around.now()) + 1))
        };
        let polled = around.poll.poll(events, timeout);
        around.inbox.awake();
        match polled {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(()),
            polled => polled,
        }
    }

    /// Records an event. Its connection is served in its turn.
    fn on_event(&mut self, event: &Event) {
        let key = SessionKey::from_bits(event.token().0 as u64);
        self.turns.notify(key, |peer| {
            let readiness = peer.readiness();
            let ended = event.is_read_closed() || event.is_error();
            readiness.ended |= ended;
            readiness.unread |= event.is_readable() || ended;
            readiness.writable |= event.is_writable();
        });
    }
}

impl ShardAround {
    /// Registers a socket under the key of its session. False: that failed.
    fn watch(&self, socket: &mut Socket, key: SessionKey, connection: Uuid) -> bool {
        let Err(error) = socket.register(self.poll.registry(), token(key)) else {
            return true;
        };
        if let Some(suppressed) = self.outside.throttles.allow("watch") {
            tracing::error!(%connection, %error, suppressed, "a socket could not be watched: it is closed");
        }
        false
    }

    /// Counts a connection that is admitted.
    fn count(
        &self,
        socket: &mut Socket,
        (permit, load): (ConnectionPermit, Load),
        connection: Uuid,
    ) {
        // Released when the connection is reported as no longer counted.
        socket.address = permit.keep();
        load.keep();
        self.outside
            .log_event(connection, socket, "connection opened");
    }
}

impl Around<Socket> for ShardAround {
    type World = Outside;
    type Connection = Connection;
    type Answer = Box<Answered>;
    type Probe = oneshot::Sender<()>;
    type Wave = oneshot::Sender<Wave>;

    fn now(&self) -> u64 {
        u64::try_from(self.clock.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn world(&mut self) -> &mut Outside {
        &mut self.outside
    }

    fn handed(&self) -> u64 {
        self.outside.handed()
    }

    fn has_input(&self) -> bool {
        self.inbox.has_input()
    }

    fn next_input(
        &mut self,
        is_full: impl Fn(TenantId) -> bool,
        has_others: bool,
    ) -> Option<Input> {
        self.inbox.next(is_full, has_others)
    }

    fn passed_over(&self) -> Option<Vec<TenantId>> {
        self.inbox.passed_over()
    }

    fn next_arrival(&mut self) -> Option<Arrival> {
        self.inbox.next_connection()
    }

    fn welcome(connection: &mut Connection) -> Option<&mut Welcome> {
        match connection {
            Connection::New(new) => Some(&mut new.welcome),
            Connection::Applicant(_) => None,
        }
    }

    fn answer(answer: &mut Box<Answered>) -> &mut Welcome {
        &mut answer.welcome
    }

    fn admit(&mut self, connection: Connection, key: SessionKey) -> Option<Newcomer<Socket>> {
        match connection {
            Connection::New(new) => {
                let NewConnection {
                    mut socket,
                    welcome,
                    early,
                    permit,
                    load,
                } = *new;
                if !self.watch(&mut socket, key, welcome.id) {
                    return None;
                }
                if matches!(welcome.admission, Admission::Admitted(_)) {
                    self.count(&mut socket, (permit, load), welcome.id);
                }
                Some(Newcomer {
                    socket,
                    entry: Entry::Welcome(welcome),
                    early,
                })
            }
            Connection::Applicant(new) => {
                let Applicant {
                    mut socket,
                    handshake,
                    early,
                    wait,
                } = *new;
                if !self.watch(&mut socket, key, handshake.id) {
                    return None;
                }
                self.outside.begin_wait(key, wait);
                Some(Newcomer {
                    socket,
                    entry: Entry::AwaitsToken(handshake),
                    early,
                })
            }
        }
    }

    fn ask(&mut self, key: SessionKey, token: token::Token, _peer: &Socket) -> bool {
        self.outside.ask(Asked { key, token })
    }

    fn recheck(&mut self, recheck: Recheck, peer: &Socket) {
        self.outside.recheck(recheck, peer);
    }

    fn cancel_recheck(&mut self, key: SessionKey) {
        self.outside.cancel_recheck(key);
    }

    fn last_gap(&self) -> u32 {
        self.gaps.last()
    }

    fn own_gap(&self) -> u32 {
        self.gaps.of_shard(self.outside.index)
    }

    fn tenant_gaps(&mut self) -> Vec<(TenantId, u32)> {
        self.gaps.take_tenant_gaps(self.outside.index)
    }

    fn answered(&mut self, answered: Box<Answered>, socket: &mut Socket) -> Welcome {
        let Answered {
            welcome,
            about,
            permit,
            load,
        } = *answered;
        socket.about = about;
        if matches!(welcome.admission, Admission::Admitted(_)) {
            self.count(socket, (permit, load), welcome.id);
        }
        welcome
    }

    fn probed(&mut self, taken: oneshot::Sender<()>) {
        // The receiver is gone if it took too long.
        let _ = taken.send(());
    }

    fn wave_done(&mut self, done: oneshot::Sender<Wave>, wave: Wave) {
        // The receiver is gone once the node drains.
        let _ = done.send(wave);
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
