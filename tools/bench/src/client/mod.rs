//! All clients of a run in one thread: an epoll loop that counts frames.

mod crowd;
mod deflate;
pub mod dialect;
mod frame;
mod further;
mod link;
mod ping;
mod stall;
mod storm;
mod tally;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use mio::{Events, Interest, Poll, Token};
use socket2::{Domain, Protocol, Socket, Type};

pub use self::crowd::{Crowd, ROOM};
use self::deflate::Inflater;
pub(crate) use self::dialect::nats;
pub use self::dialect::{Dialect, JoinError};
use self::dialect::{Identity, Stage};
use self::link::{Link, LinkError};
pub use self::storm::Stormed;
pub use self::tally::Tally;
use crate::check::Check;
use crate::workload::{Rooms, Subscribers, Workload};

/// Maximum connections from one source address, because of its ports.
const PER_SOURCE: usize = 4_000;
/// Read buffer, in bytes.
const READ_BYTES: usize = 256 << 10;
/// Receive buffer of a client that will stop reading: small, so that the server soon has queued
/// data.
const STALLED_RECEIVE_BYTES: usize = 32 << 10;

/// Why the clients failed.
#[derive(Debug, thiserror::Error)]
pub enum FleetError {
    /// A socket operation failed.
    #[error("client sockets: {0}")]
    Io(#[from] io::Error),
    /// A client was rejected.
    #[error("client {number} could not join: {cause}")]
    Join {
        /// Its number.
        number: u32,
        /// The cause.
        cause: JoinError,
    },
    /// A client's connection ended while it joined.
    #[error("client {number} was disconnected while joining")]
    Disconnected {
        /// Its number.
        number: u32,
    },
    /// There was no progress for too long.
    #[error("only {joined} of {wanted} clients joined; the others made no progress")]
    Silent {
        /// Clients that joined.
        joined: usize,
        /// Clients that had to join.
        wanted: usize,
    },
    /// The protocol does not support the workload.
    #[error("not supported: {0}")]
    Unable(&'static str),
    /// The server is not on this machine.
    #[error("{0} is not a loopback address")]
    NotLoopback(SocketAddr),
}

/// The clients of a run.
#[derive(Debug)]
pub struct Fleet {
    poll: Poll,
    events: Events,
    server: SocketAddr,
    dialect: Dialect,
    workload: Workload,
    subscribers: Subscribers,
    links: Vec<Option<Link>>,
    /// Free slots of `links`.
    free: Vec<usize>,
    /// Total clients that connected, joined and left.
    opened: usize,
    joined: usize,
    left: usize,
    /// Whether clients leave as soon as they have joined.
    leave: bool,
    buffer: Vec<u8>,
    out: Vec<u8>,
    inflater: Inflater,
    epoch: Instant,
    tally: Tally,
}

impl Fleet {
    /// No client yet. `epoch` is the zero of the publisher's stamps.
    ///
    /// # Errors
    /// When `server` is not on this machine, or there is no epoll.
    pub fn new(
        server: SocketAddr,
        dialect: Dialect,
        workload: &Workload,
        epoch: Instant,
    ) -> Result<Self, FleetError> {
        if !server.ip().is_loopback() {
            return Err(FleetError::NotLoopback(server));
        }
        if workload.deflate && (dialect == Dialect::Plain || dialect.is_http()) {
            return Err(FleetError::Unable("compressed messages"));
        }
        if workload.rooms.subscriptions() > 1 && dialect != Dialect::HighTemplar {
            return Err(FleetError::Unable("several subscriptions a connection"));
        }
        if workload.rooms == Rooms::Labelled && dialect != Dialect::HighTemplar {
            return Err(FleetError::Unable("labels"));
        }
        Ok(Self {
            poll: Poll::new()?,
            events: Events::with_capacity(1024),
            server,
            dialect,
            workload: workload.clone(),
            subscribers: Subscribers {
                rooms: workload.rooms,
                connections: workload.connections,
                listening: 0,
            },
            links: Vec::new(),
            free: Vec::new(),
            opened: 0,
            joined: 0,
            left: 0,
            leave: false,
            buffer: vec![0; READ_BYTES],
            out: Vec::new(),
            inflater: Inflater::new(),
            epoch,
            tally: Tally::default(),
        })
    }

    /// Connects clients until `wanted` have joined, as many at a time as the workload permits. A
    /// new one expects the messages of a target from number `first(target)` on.
    ///
    /// # Errors
    /// When one is rejected, or there is no progress for too long.
    pub fn grow(&mut self, wanted: usize, first: impl Fn(u32) -> u64) -> Result<(), FleetError> {
        let mut last_joined = (self.joined, Instant::now());
        while self.joined < wanted {
            while self.opened < wanted && self.opened - self.joined < self.workload.joining {
                self.connect(&first)?;
            }
            self.poll(Duration::from_millis(50))?;
            if self.joined > last_joined.0 {
                last_joined = (self.joined, Instant::now());
            } else if last_joined.1.elapsed() > self.workload.patience {
                let joined = self.joined;
                return Err(FleetError::Silent { joined, wanted });
            }
        }
        self.subscribers.listening = wanted;
        Ok(())
    }

    fn connect(&mut self, first: &impl Fn(u32) -> u64) -> Result<(), FleetError> {
        let number = self.opened as u32;
        let socket = Socket::new(
            Domain::for_address(self.server),
            Type::STREAM,
            Some(Protocol::TCP),
        )?;
        socket.set_nonblocking(true)?;
        socket.set_tcp_nodelay(true)?;
        if self.workload.stalls(number) {
            socket.set_recv_buffer_size(STALLED_RECEIVE_BYTES)?;
        }
        if self.server.is_ipv4() {
            let last = 2 + (self.opened / PER_SOURCE % 250) as u8;
            let source = Ipv4Addr::new(127, 0, 0, last);
            socket.bind(&SocketAddr::from((source, 0)).into())?;
        }
        match socket.connect(&self.server.into()) {
            Err(error) if error.raw_os_error() == Some(EINPROGRESS) => {}
            other => other?,
        }
        let mut stream = mio::net::TcpStream::from_std(socket.into());
        let both = Interest::READABLE | Interest::WRITABLE;
        let place = self.free.pop().unwrap_or(self.links.len());
        let registry = self.poll.registry();
        registry.register(&mut stream, Token(place), both)?;
        let rooms = self.workload.rooms;
        let checks = (0..rooms.subscriptions())
            .map(|subscription| Check::beginning_at(first(rooms.target(number, subscription))))
            .collect();
        let identity = Identity::new(number, &self.workload);
        let link = Some(Link::new(stream, identity, checks));
        match self.links.get_mut(place) {
            Some(free) => *free = link,
            None => self.links.push(link),
        }
        self.opened += 1;
        Ok(())
    }

    /// Waits for events, at most `timeout` (rounded up to milliseconds), and handles them.
    ///
    /// # Errors
    /// When polling fails or a joining client is rejected.
    pub fn poll(&mut self, timeout: Duration) -> Result<(), FleetError> {
        match self.poll.poll(&mut self.events, Some(timeout)) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(()),
            other => other?,
        }
        let mut shared = link::Shared {
            dialect: self.dialect,
            subscribers: self.subscribers,
            leave: self.leave,
            server: self.server,
            buffer: &mut self.buffer,
            out: &mut self.out,
            inflater: &mut self.inflater,
            epoch: self.epoch,
            tally: &mut self.tally,
        };
        for event in &self.events {
            let place = event.token().0;
            let Some(slot) = self.links.get_mut(place) else {
                continue;
            };
            let Some(link) = slot else {
                continue;
            };
            let before = link.stage();
            let result = link.ready(event, &mut shared);
            if before != Stage::Joined && link.stage() == Stage::Joined {
                self.joined += 1;
            }
            match result {
                Ok(()) => {}
                Err(LinkError::Ended(_)) if link.is_leaving() => {
                    *slot = None;
                    self.free.push(place);
                    self.left += 1;
                }
                Err(error) if before == Stage::Joined => {
                    let number = link.number();
                    if !link.is_stalled() {
                        shared.tally.faults.closed += 1;
                        let what = || format!("client {number} lost its connection: {error}");
                        shared.tally.first_fault.get_or_insert_with(what);
                    }
                    // Only its checks are kept.
                    *slot = Some(link.ended());
                }
                Err(LinkError::Join(cause)) => {
                    let number = link.number();
                    return Err(FleetError::Join { number, cause });
                }
                Err(LinkError::Ended(_)) => {
                    let number = link.number();
                    return Err(FleetError::Disconnected { number });
                }
            }
        }
        Ok(())
    }

    /// The totals up to now.
    #[must_use]
    pub fn tally(&self) -> &Tally {
        &self.tally
    }

    /// Resets the latencies.
    pub fn clear_latency(&mut self) {
        self.tally.latency.clear();
    }

    /// Counts missing messages and returns the totals. `sent(target)` is the number of messages of
    /// a target.
    #[must_use]
    pub fn finish(mut self, sent: impl Fn(u32) -> u64) -> Tally {
        let rooms = self.workload.rooms;
        for link in self.links.iter().flatten().filter(|l| !l.is_stalled()) {
            for (subscription, check) in link.checks().iter().enumerate() {
                let target = rooms.target(link.number(), subscription as u32);
                check.finish(sent(target), &mut self.tally.faults);
            }
        }
        self.tally
    }

    /// Clients that have joined.
    #[must_use]
    pub fn joined(&self) -> usize {
        self.joined
    }
}

/// Linux's error of a connect that continues in the background.
const EINPROGRESS: i32 = 115;
