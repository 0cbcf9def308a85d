//! The floor: the least that any server could do. It accepts plain TCP sockets and writes the
//! bytes that a control connection hands it to all of them or to one. No HTTP, no handshake, no
//! rooms: whatever a gateway costs beyond it, the gateway costs.

mod command;
mod member;

use std::io;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use clap::ValueEnum;
use mio::event::Event;
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token, Waker};

use self::command::Commands;
pub use self::command::{Command, TARGET_ALL};
use self::member::Members;

/// When the floor sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Mode {
    /// One send for each message and socket.
    Write,
    /// Queued messages share a send.
    Coalesce,
}

const LISTENER: Token = Token(0);
const CONTROL_LISTENER: Token = Token(1);
const CONTROL: Token = Token(2);
const WAKER: Token = Token(3);
/// Tokens of members begin here.
const MEMBERS: usize = 16;

/// A floor that listens but does not run yet.
#[derive(Debug)]
pub struct Floor {
    poll: Poll,
    listener: TcpListener,
    control_listener: TcpListener,
    control: Option<TcpStream>,
    commands: Commands,
    members: Members,
    mode: Mode,
    waker: Arc<Waker>,
    stopped: Arc<AtomicBool>,
}

/// Ends a floor that runs in another thread.
#[derive(Clone, Debug)]
pub struct Stop {
    waker: Arc<Waker>,
    stopped: Arc<AtomicBool>,
}

impl Stop {
    /// Makes [`Floor::run`] return.
    ///
    /// # Errors
    /// When the floor cannot be woken.
    pub fn stop(&self) -> io::Result<()> {
        self.stopped.store(true, Ordering::Release);
        self.waker.wake()
    }
}

impl Floor {
    /// Listens for sockets on `listen`, and for the control connection on a free port of the
    /// same address.
    ///
    /// # Errors
    /// When the address cannot be listened on.
    pub fn bind(listen: SocketAddr, mode: Mode) -> io::Result<Self> {
        let poll = Poll::new()?;
        let mut listener = TcpListener::bind(listen)?;
        let mut control_listener = TcpListener::bind(SocketAddr::new(listen.ip(), 0))?;
        let registry = poll.registry();
        registry.register(&mut listener, LISTENER, Interest::READABLE)?;
        registry.register(&mut control_listener, CONTROL_LISTENER, Interest::READABLE)?;
        let waker = Arc::new(Waker::new(registry, WAKER)?);
        Ok(Self {
            poll,
            listener,
            control_listener,
            control: None,
            commands: Commands::default(),
            members: Members::default(),
            mode,
            waker,
            stopped: Arc::default(),
        })
    }

    /// The address for sockets.
    ///
    /// # Errors
    /// When the system does not report it.
    pub fn public(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// The address for the control connection.
    ///
    /// # Errors
    /// When the system does not report it.
    pub fn control(&self) -> io::Result<SocketAddr> {
        self.control_listener.local_addr()
    }

    /// The means to end [`Floor::run`].
    #[must_use]
    pub fn stop_handle(&self) -> Stop {
        Stop {
            waker: Arc::clone(&self.waker),
            stopped: Arc::clone(&self.stopped),
        }
    }

    /// Serves until stopped.
    ///
    /// # Errors
    /// When the system refuses to poll or to accept.
    pub fn run(mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(1024);
        while !self.stopped.load(Ordering::Acquire) {
            match self.poll.poll(&mut events, None) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                other => other?,
            }
            for event in &events {
                self.handle(event)?;
            }
        }
        Ok(())
    }

    fn handle(&mut self, event: &Event) -> io::Result<()> {
        match event.token() {
            LISTENER => self.accept_members(),
            CONTROL_LISTENER => self.accept_control(),
            CONTROL => self.read_control(),
            WAKER => Ok(()),
            Token(token) => {
                let key = token - MEMBERS;
                if event.is_writable() {
                    self.members.flush(key);
                }
                if event.is_readable() {
                    self.members.read(key);
                }
                Ok(())
            }
        }
    }

    fn accept_members(&mut self) -> io::Result<()> {
        while let Some((stream, _)) = would_block(self.listener.accept())? {
            stream.set_nodelay(true)?;
            self.members.add(stream, self.poll.registry(), MEMBERS)?;
        }
        Ok(())
    }

    /// A later control connection replaces an earlier one.
    fn accept_control(&mut self) -> io::Result<()> {
        while let Some((mut stream, _)) = would_block(self.control_listener.accept())? {
            stream.set_nodelay(true)?;
            let registry = self.poll.registry();
            registry.register(&mut stream, CONTROL, Interest::READABLE)?;
            self.control = Some(stream);
            self.commands = Commands::default();
        }
        Ok(())
    }

    /// Reads pending commands, in turns of bounded size, and executes them.
    fn read_control(&mut self) -> io::Result<()> {
        loop {
            let Some(control) = &mut self.control else {
                return Ok(());
            };
            let (open, drained) = self.commands.fill(control);
            let turn = self.commands.take();
            match turn {
                Ok(turn) => {
                    self.carry_out(&turn)?;
                    self.commands.give_back(turn);
                }
                // The controller does not use our protocol.
                Err(_) => self.control = None,
            }
            if !open {
                self.control = None;
            }
            if drained || self.control.is_none() {
                return Ok(());
            }
        }
    }

    fn carry_out(&mut self, turn: &command::Turn) -> io::Result<()> {
        match self.mode {
            Mode::Write => {
                for command in turn.commands() {
                    match command {
                        Command::Send { target, bytes } => self.members.send(target, bytes),
                        Command::Count => self.answer_count()?,
                    }
                }
            }
            Mode::Coalesce => {
                for command in turn.commands() {
                    match command {
                        Command::Send { target, bytes } => self.members.gather(target, bytes),
                        Command::Count => self.answer_count()?,
                    }
                }
                self.members.send_gathered();
            }
        }
        Ok(())
    }

    fn answer_count(&mut self) -> io::Result<()> {
        let count = self.members.joined() as u32;
        match &mut self.control {
            // Four bytes always fit: the controller waits for them before its next request.
            Some(control) => control.write_all(&count.to_le_bytes()),
            None => Ok(()),
        }
    }
}

/// `None` for "nothing now", and for an accepted connection that is closed already.
fn would_block<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error)
            if [
                io::ErrorKind::WouldBlock,
                io::ErrorKind::ConnectionAborted,
                io::ErrorKind::Interrupted,
            ]
            .contains(&error.kind()) =>
        {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// Reads once into `buffer`. `None`: the connection ended; `Some(0)`: nothing now.
fn read_some(stream: &mut TcpStream, buffer: &mut [u8]) -> Option<usize> {
    loop {
        match stream.read(buffer) {
            Ok(0) => return None,
            Ok(length) => return Some(length),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Some(0),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return None,
        }
    }
}
