//! Clients of `high-templar.v1` that were away: connected beside the fleet, they all send `resume` at
//! once, and each checks what it is sent for it.

use std::io;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use mio::event::Event;
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use socket2::{Domain, Socket, Type};

use super::{Dialect, EINPROGRESS, FleetError, JoinError, PER_SOURCE, dialect, frame};

/// The room of what they missed.
pub const ROOM: &str = r#"{"target":"bench","id":"away"}"#;

/// Subscriptions of each; one is for [`ROOM`], nothing is published for the others.
const SUBSCRIPTIONS: usize = 20;

/// The last number of the addresses that they connect from: above those of the fleet.
const FIRST_SOURCE: usize = 100;

const READ_BYTES: usize = 64 << 10;
const KEY: [u8; 4] = [0x12, 0x34, 0x56, 0x78];

/// The clients.
#[derive(Debug)]
pub struct Crowd {
    poll: Poll,
    events: Events,
    server: SocketAddr,
    clients: Vec<Client>,
    /// How many have done what they are to do.
    done: usize,
    /// How many publications each has missed.
    missed: u64,
    patience: Duration,
    buffer: Vec<u8>,
}

#[derive(Debug)]
struct Client {
    stream: TcpStream,
    stage: Stage,
    /// The beginning of a frame, or of the response to the upgrade.
    partial: Vec<u8>,
    received: u64,
}

/// What a client waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Connect,
    Upgrade,
    Greeting,
    /// Nothing.
    Idle,
    /// The answer to `resume`.
    Answer,
    Publications,
    Done,
}

impl Crowd {
    /// Connects `count` of them, so many at a time, until each has its first message.
    ///
    /// # Errors
    /// When one is rejected, or there is no progress for too long.
    pub fn connect(
        server: SocketAddr,
        count: usize,
        at_once: usize,
        patience: Duration,
    ) -> Result<Self, FleetError> {
        let mut crowd = Self {
            poll: Poll::new()?,
            events: Events::with_capacity(1_024),
            server,
            clients: Vec::with_capacity(count),
            done: 0,
            missed: 0,
            patience,
            buffer: vec![0; READ_BYTES],
        };
        crowd.until(count, |crowd| {
            while crowd.clients.len() < count && crowd.clients.len() - crowd.done < at_once {
                crowd.open()?;
            }
            Ok(())
        })?;
        Ok(crowd)
    }

    /// All send `resume` at once, with this cursor. Returns when each has been sent the `missed`
    /// publications since.
    ///
    /// # Errors
    /// When one is not sent exactly those, or there is no progress for too long.
    pub fn resume(&mut self, cursor: &str, missed: u64) -> Result<Duration, FleetError> {
        (self.done, self.missed) = (0, missed);
        let begun = Instant::now();
        let mut out = Vec::new();
        for (number, client) in self.clients.iter_mut().enumerate() {
            out.clear();
            let text = resume(number, cursor);
            frame::write_masked(frame::TEXT, text.as_bytes(), KEY, &mut out);
            // The socket's buffer is empty.
            client.stream.write_all(&out)?;
            client.stage = Stage::Answer;
        }
        self.until(self.clients.len(), |_| Ok(()))?;
        Ok(begun.elapsed())
    }

    /// Handles events until so many clients are done, as long as there is progress.
    fn until(
        &mut self,
        wanted: usize,
        mut before: impl FnMut(&mut Self) -> Result<(), FleetError>,
    ) -> Result<(), FleetError> {
        let mut last = (self.done, Instant::now());
        while self.done < wanted {
            before(self)?;
            self.handle()?;
            if self.done > last.0 {
                last = (self.done, Instant::now());
            } else if last.1.elapsed() > self.patience {
                let joined = self.done;
                return Err(FleetError::Silent { joined, wanted });
            }
        }
        Ok(())
    }

    fn open(&mut self) -> Result<(), FleetError> {
        let number = self.clients.len();
        let socket = Socket::new(Domain::for_address(self.server), Type::STREAM, None)?;
        socket.set_nonblocking(true)?;
        socket.set_tcp_nodelay(true)?;
        if self.server.is_ipv4() {
            let last = (FIRST_SOURCE + number / PER_SOURCE) as u8;
            let source = Ipv4Addr::new(127, 0, 0, last);
            socket.bind(&SocketAddr::from((source, 0)).into())?;
        }
        match socket.connect(&self.server.into()) {
            Err(error) if error.raw_os_error() == Some(EINPROGRESS) => {}
            other => other?,
        }
        let mut stream = TcpStream::from_std(socket.into());
        let both = Interest::READABLE | Interest::WRITABLE;
        let registry = self.poll.registry();
        registry.register(&mut stream, Token(number), both)?;
        self.clients.push(Client {
            stream,
            stage: Stage::Connect,
            partial: Vec::new(),
            received: 0,
        });
        Ok(())
    }

    fn handle(&mut self) -> Result<(), FleetError> {
        match self
            .poll
            .poll(&mut self.events, Some(Duration::from_millis(20)))
        {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(()),
            other => other?,
        }
        for event in &self.events {
            let number = event.token().0;
            let Some(client) = self.clients.get_mut(number) else {
                continue;
            };
            let was_done = client.is_done();
            client
                .ready(event, self.server, &mut self.buffer, self.missed)
                .map_err(|cause| FleetError::Join {
                    number: number as u32,
                    cause,
                })?;
            self.done += usize::from(!was_done && client.is_done());
        }
        Ok(())
    }
}

/// The message of a client.
fn resume(number: usize, cursor: &str) -> String {
    let others = (1..SUBSCRIPTIONS).map(|subscription| {
        format!(
            r#"{{"requestId":{subscription},"room":{{"target":"bench","id":"{number}-{subscription}"}}}}"#
        )
    });
    let own = format!(r#"{{"requestId":0,"room":{ROOM}}}"#);
    let subscriptions: Vec<_> = [own].into_iter().chain(others).collect();
    format!(
        r#"{{"type":"resume","requestId":"r","cursor":"{cursor}","subscriptions":[{}]}}"#,
        subscriptions.join(",")
    )
}

impl Client {
    fn is_done(&self) -> bool {
        matches!(self.stage, Stage::Idle | Stage::Done)
    }

    fn ready(
        &mut self,
        event: &Event,
        server: SocketAddr,
        buffer: &mut [u8],
        missed: u64,
    ) -> Result<(), JoinError> {
        let ended = |error: io::Error| JoinError::Upgrade(error.to_string());
        if self.stage == Stage::Connect && event.is_writable() {
            if let Some(error) = self.stream.take_error().map_err(ended)? {
                return Err(ended(error));
            }
            self.stream
                .write_all(upgrade(server).as_bytes())
                .map_err(ended)?;
            self.stage = Stage::Upgrade;
        }
        if !event.is_readable() || self.stage == Stage::Connect {
            return Ok(());
        }
        loop {
            match self.stream.read(buffer) {
                Ok(0) => return Err(ended(io::ErrorKind::UnexpectedEof.into())),
                Ok(got) => self.partial.extend_from_slice(&buffer[..got]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(ended(error)),
            }
        }
        self.read(missed)
    }

    /// Handles what was received.
    fn read(&mut self, missed: u64) -> Result<(), JoinError> {
        let bytes = std::mem::take(&mut self.partial);
        let mut used = 0;
        if self.stage == Stage::Upgrade {
            match dialect::upgrade_answer(Dialect::HighTemplar, &bytes)? {
                Some(length) => used = length,
                None => {
                    self.partial = bytes;
                    return Ok(());
                }
            }
            self.stage = Stage::Greeting;
        }
        while let Some(frame) =
            frame::first(&bytes[used..]).map_err(|_| self.unexpected(&bytes[used..]))?
        {
            used += frame.length;
            match frame.opcode {
                frame::PING => {
                    let mut out = Vec::new();
                    frame::write_masked(frame::PONG, frame.payload, KEY, &mut out);
                    let sent = self.stream.write_all(&out);
                    sent.map_err(|error| JoinError::Upgrade(error.to_string()))?;
                }
                frame::TEXT => self.take(frame.payload, missed)?,
                _ => return Err(self.unexpected(frame.payload)),
            }
        }
        self.partial = bytes[used..].to_vec();
        Ok(())
    }

    fn take(&mut self, payload: &[u8], missed: u64) -> Result<(), JoinError> {
        let message: serde_json::Value =
            serde_json::from_slice(payload).map_err(|_| self.unexpected(payload))?;
        let next = match self.stage {
            Stage::Greeting if message["is_authorized"] == true => Some(Stage::Idle),
            Stage::Answer if message["recovered"] == true && message["replayed"] == missed => {
                Some(match missed {
                    0 => Stage::Done,
                    _ => Stage::Publications,
                })
            }
            Stage::Publications
                if message["requestId"] == 0 && message["data"] == self.received =>
            {
                self.received += 1;
                Some(if self.received == missed {
                    Stage::Done
                } else {
                    Stage::Publications
                })
            }
            Stage::Connect
            | Stage::Upgrade
            | Stage::Greeting
            | Stage::Idle
            | Stage::Answer
            | Stage::Publications
            | Stage::Done => None,
        };
        self.stage = next.ok_or_else(|| self.unexpected(payload))?;
        Ok(())
    }

    fn unexpected(&self, payload: &[u8]) -> JoinError {
        JoinError::Unexpected {
            stage: format!("{:?}", self.stage),
            received: dialect::beginning(payload),
        }
    }
}

fn upgrade(server: SocketAddr) -> String {
    format!(
        "GET /ws/ HTTP/1.1\r\nHost: {server}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
         Sec-WebSocket-Protocol: high-templar.v1\r\nOrigin: http://{server}\r\n\
         User-Agent: ht-bench\r\nCookie: sessionid=away; csrftoken=bench\r\n\r\n"
    )
}
