//! All clients of a run in one thread: an epoll loop that counts frames.

pub mod dialect;
mod frame;
mod link;

use std::io;
use std::net::Ipv4Addr;
use std::net::SocketAddr;
use std::time::Duration;
use std::time::Instant;

use mio::Events;
use mio::Interest;
use mio::Poll;
use mio::Token;
use socket2::Domain;
use socket2::Protocol;
use socket2::Socket;
use socket2::Type;
use uuid::Uuid;

pub use self::dialect::Dialect;
use self::dialect::Identity;
pub use self::dialect::JoinError;
use self::dialect::Stage;
pub(crate) use self::dialect::nats;
use self::link::Link;
use self::link::LinkError;
use crate::check::Check;
use crate::check::Faults;
use crate::latency::Latency;
use crate::workload::Rooms;

/// Connections from one source address, so that its ports do not run out.
const PER_SOURCE: usize = 4_000;
/// Bytes that are read at once.
const READ_BYTES: usize = 256 << 10;

/// What the clients have heard.
#[derive(Debug, Default)]
pub struct Tally {
    /// Messages that were heard for the first time.
    pub delivered: u64,
    /// Bytes of the last message's frame, header included.
    pub frame_bytes: usize,
    /// From the publisher's stamp to the client's read.
    pub latency: Latency,
    /// What went wrong.
    pub faults: Faults,
    /// The first words about something that went wrong.
    pub first_fault: Option<String>,
    /// How many have heard each trigger, by its number.
    heard: Vec<u32>,
    /// Triggers that all their receivers have heard.
    pub completed: u64,
}

/// Why the clients gave up.
#[derive(Debug, thiserror::Error)]
pub enum FleetError {
    /// The system refused a socket.
    #[error("client sockets: {0}")]
    Io(#[from] io::Error),
    /// A client was not let in.
    #[error("client {number} could not join: {cause}")]
    Join {
        /// Which one.
        number: u32,
        /// Why.
        cause: JoinError,
    },
    /// A client's connection ended while it joined.
    #[error("client {number} was disconnected while joining")]
    Disconnected {
        /// Which one.
        number: u32,
    },
    /// Nothing happened for too long.
    #[error("only {joined} of {wanted} clients joined; the others are silent")]
    Silent {
        /// Clients that joined.
        joined: usize,
        /// Clients that were to join.
        wanted: usize,
    },
    /// Traffic stays on this machine.
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
    rooms: Rooms,
    links: Vec<Option<Link>>,
    joined: usize,
    buffer: Vec<u8>,
    out: Vec<u8>,
    epoch: Instant,
    receivers: u32,
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
        rooms: Rooms,
        epoch: Instant,
    ) -> Result<Self, FleetError> {
        if !server.ip().is_loopback() {
            return Err(FleetError::NotLoopback(server));
        }
        Ok(Self {
            poll: Poll::new()?,
            events: Events::with_capacity(1024),
            server,
            dialect,
            rooms,
            links: Vec::new(),
            joined: 0,
            buffer: vec![0; READ_BYTES],
            out: Vec::new(),
            epoch,
            receivers: 1,
            tally: Tally::default(),
        })
    }

    /// Connects clients until there are `wanted` that have joined, `at_once` at a time. The
    /// first message that a new one is to hear is number `first_sequence` of its room.
    ///
    /// # Errors
    /// When one is refused, or nothing happens for `patience`.
    pub fn grow(
        &mut self,
        wanted: usize,
        at_once: usize,
        first_sequence: u64,
        patience: Duration,
    ) -> Result<(), FleetError> {
        let mut last_joined = (self.joined, Instant::now());
        while self.joined < wanted {
            while self.links.len() < wanted && self.links.len() - self.joined < at_once {
                self.connect(first_sequence)?;
            }
            self.turn(Duration::from_millis(50))?;
            if self.joined > last_joined.0 {
                last_joined = (self.joined, Instant::now());
            } else if last_joined.1.elapsed() > patience {
                let joined = self.joined;
                return Err(FleetError::Silent { joined, wanted });
            }
        }
        self.receivers = self.rooms.receivers(wanted) as u32;
        Ok(())
    }

    fn connect(&mut self, first_sequence: u64) -> Result<(), FleetError> {
        let number = self.links.len();
        let socket = Socket::new(
            Domain::for_address(self.server),
            Type::STREAM,
            Some(Protocol::TCP),
        )?;
        socket.set_nonblocking(true)?;
        socket.set_tcp_nodelay(true)?;
        if self.server.is_ipv4() {
            let last = 2 + (number / PER_SOURCE % 250) as u8;
            let source = Ipv4Addr::new(127, 0, 0, last);
            socket.bind(&SocketAddr::from((source, 0)).into())?;
        }
        match socket.connect(&self.server.into()) {
            Err(error) if error.raw_os_error() == Some(EINPROGRESS) => {}
            other => other?,
        }
        let mut stream = mio::net::TcpStream::from_std(socket.into());
        let both = Interest::READABLE | Interest::WRITABLE;
        let registry = self.poll.registry();
        registry.register(&mut stream, Token(number), both)?;
        let who = Identity {
            number: number as u32,
            request_id: Uuid::new_v4(),
        };
        self.links.push(Some(Link::new(
            stream,
            who,
            Check::beginning_at(first_sequence),
        )));
        Ok(())
    }

    /// Waits for events, at most `timeout` (rounded up to milliseconds), and handles them.
    ///
    /// # Errors
    /// When polling fails or a client that is joining is refused.
    pub fn turn(&mut self, timeout: Duration) -> Result<(), FleetError> {
        match self.poll.poll(&mut self.events, Some(timeout)) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(()),
            other => other?,
        }
        let mut shared = link::Shared {
            dialect: self.dialect,
            rooms: self.rooms,
            server: self.server,
            buffer: &mut self.buffer,
            out: &mut self.out,
            epoch: self.epoch,
            receivers: self.receivers,
            tally: &mut self.tally,
        };
        for event in &self.events {
            let Some(slot) = self.links.get_mut(event.token().0) else {
                continue;
            };
            let Some(link) = slot else {
                continue;
            };
            let before = link.stage();
            match link.ready(event, &mut shared) {
                Ok(()) => {
                    if before != Stage::Joined && link.stage() == Stage::Joined {
                        self.joined += 1;
                    }
                }
                Err(error) if before == Stage::Joined => {
                    shared.tally.faults.closed += 1;
                    let number = link.number();
                    let what = || format!("client {number} lost its connection: {error}");
                    shared.tally.first_fault.get_or_insert_with(what);
                    // Settled now: a connection that is gone hears nothing more.
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

    /// What was heard until now.
    #[must_use]
    pub fn tally(&self) -> &Tally {
        &self.tally
    }

    /// Begins to count latencies anew.
    pub fn clear_latency(&mut self) {
        self.tally.latency.clear();
    }

    /// Settles the account: `sent(number)` is how many messages the room of that client got.
    #[must_use]
    pub fn finish(mut self, sent: impl Fn(u32) -> u64) -> Tally {
        for link in self.links.iter().flatten() {
            link.check()
                .finish(sent(link.number()), &mut self.tally.faults);
        }
        self.tally
    }

    /// Clients that have joined.
    #[must_use]
    pub fn joined(&self) -> usize {
        self.joined
    }
}

/// Linux's number for a connect that goes on in the background.
const EINPROGRESS: i32 = 115;

impl Tally {
    /// A message was heard for the first time by one of `receivers`.
    fn count(&mut self, trigger: u64, receivers: u32) {
        self.delivered += 1;
        // A number that nobody sent would only make this grow.
        const TRIGGERS_MAX: u64 = 1 << 26;
        if trigger >= TRIGGERS_MAX {
            return;
        }
        let place = trigger as usize;
        if self.heard.len() <= place {
            self.heard.resize(place + 1, 0);
        }
        self.heard[place] += 1;
        if self.heard[place] == receivers {
            self.completed += 1;
        }
    }
}
