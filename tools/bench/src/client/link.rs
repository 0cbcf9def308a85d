//! One client's connection: joins, then counts.

mod hear;

use std::io;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::time::Instant;

use mio::event::Event;
use mio::net::TcpStream;
use mio::{Interest, Registry, Token};

use super::deflate::Inflater;
use super::dialect::{Dialect, Identity, JoinError, Stage};
use super::frame::Frame;
use super::{Tally, deflate, dialect, frame};
use crate::check::Check;
use crate::workload::{Audience, Rooms};

/// What all clients share while events are handled.
pub(super) struct Shared<'a> {
    pub(super) dialect: Dialect,
    pub(super) audience: Audience,
    /// Who has joined leaves at once.
    pub(super) leave: bool,
    pub(super) server: SocketAddr,
    pub(super) buffer: &'a mut Vec<u8>,
    pub(super) out: &'a mut Vec<u8>,
    pub(super) epoch: Instant,
    pub(super) inflater: &'a mut Inflater,
    pub(super) tally: &'a mut Tally,
}

/// A client.
#[derive(Debug)]
pub(super) struct Link {
    // None once the connection has ended.
    stream: Option<TcpStream>,
    who: Identity,
    stage: Stage,
    /// What was heard through each subscription.
    checks: Vec<Check>,
    /// Answers to come to further subscriptions.
    awaited: u32,
    /// It has said that it leaves.
    leaving: bool,
    /// It does not read.
    stalled: bool,
    /// The beginning of a frame whose end has not come. Empty nearly always.
    partial: Vec<u8>,
    /// The same of a message in a stream of frames.
    unfinished: Vec<u8>,
    /// Where the last stamp and `requestId` stood in the payload.
    hints: (usize, usize),
}

/// Why a client's connection is over.
#[derive(Debug, thiserror::Error)]
pub(super) enum LinkError {
    #[error("{0}")]
    Join(JoinError),
    #[error("{0}")]
    Ended(String),
}

impl From<io::Error> for LinkError {
    fn from(error: io::Error) -> Self {
        Self::Ended(error.to_string())
    }
}

impl Link {
    pub(super) fn new(stream: TcpStream, who: Identity, checks: Vec<Check>) -> Self {
        Self {
            stream: Some(stream),
            who,
            stage: Stage::Connecting,
            checks,
            awaited: 0,
            leaving: false,
            stalled: false,
            partial: Vec::new(),
            unfinished: Vec::new(),
            hints: (0, 0),
        }
    }

    pub(super) fn stage(&self) -> Stage {
        self.stage
    }

    pub(super) fn number(&self) -> u32 {
        self.who.number
    }

    pub(super) fn checks(&self) -> &[Check] {
        &self.checks
    }

    pub(super) fn is_leaving(&self) -> bool {
        self.leaving
    }

    pub(super) fn is_stalled(&self) -> bool {
        self.stalled
    }

    pub(super) fn is_ended(&self) -> bool {
        self.stream.is_none()
    }

    /// Messages that were heard in all, roughly: some may be missing.
    pub(super) fn heard(&self) -> u64 {
        self.checks.iter().map(Check::next).sum()
    }

    /// Stops reading, or reads again. The account of one that stalled is not settled: what is
    /// lost with it is nobody's fault but its own.
    pub(super) fn stall(&mut self, registry: &Registry, stall: bool) -> io::Result<()> {
        self.stalled = true;
        let Some(stream) = &mut self.stream else {
            return Ok(());
        };
        if stall {
            return registry.deregister(stream);
        }
        registry.register(stream, Token(self.who.number as usize), Interest::READABLE)
    }

    /// The same client without a connection; only its account is left.
    pub(super) fn ended(&mut self) -> Self {
        Self {
            stream: None,
            who: self.who,
            stage: self.stage,
            checks: std::mem::take(&mut self.checks),
            awaited: 0,
            leaving: false,
            stalled: self.stalled,
            partial: Vec::new(),
            unfinished: Vec::new(),
            hints: (0, 0),
        }
    }

    pub(super) fn ready(&mut self, event: &Event, all: &mut Shared<'_>) -> Result<(), LinkError> {
        if self.stream.is_none() {
            return Ok(());
        }
        if self.stage == Stage::Connecting {
            self.connected(event, all)?;
        }
        if event.is_readable() && self.stage != Stage::Connecting {
            self.read(event.is_read_closed(), all)?;
        }
        Ok(())
    }

    fn connected(&mut self, event: &Event, all: &mut Shared<'_>) -> Result<(), LinkError> {
        let Some(stream) = &mut self.stream else {
            return Ok(());
        };
        if let Some(error) = stream.take_error()? {
            return Err(error.into());
        }
        if !event.is_writable() || stream.peer_addr().is_err() {
            return Ok(());
        }
        all.out.clear();
        let rooms = all.audience.rooms;
        self.stage = all.dialect.open(self.who, rooms, all.server, all.out);
        self.say(all.out)?;
        self.joined(all)
    }

    /// Leaves if that is all it came for: with a close frame, where the server knows of such.
    fn joined(&mut self, all: &mut Shared<'_>) -> Result<(), LinkError> {
        if self.stage != Stage::Joined || !all.leave {
            return Ok(());
        }
        self.leaving = true;
        if all.dialect == Dialect::Plain {
            return Err(LinkError::Ended("left".to_owned()));
        }
        const NORMAL: [u8; 2] = 1000u16.to_be_bytes();
        all.out.clear();
        frame::write_masked(frame::CLOSE, &NORMAL, dialect::mask_key(self.who), all.out);
        self.say(all.out)
    }

    /// Says that it is there. False where the server's language has no word for that.
    pub(super) fn ping(&mut self, dialect: Dialect, out: &mut Vec<u8>) -> Result<bool, LinkError> {
        out.clear();
        let said = self.stream.is_some() && dialect.ping(self.who, out);
        self.say(out)?;
        Ok(said)
    }

    /// Asks for all subscriptions but the first, which it has. Says how many these are, `None`
    /// where the server's language knows only one.
    pub(super) fn subscribe_further(
        &mut self,
        dialect: Dialect,
        rooms: Rooms,
        out: &mut Vec<u8>,
    ) -> Result<Option<u32>, LinkError> {
        out.clear();
        for subscription in 1..rooms.subscriptions() {
            if !dialect.subscribe(self.who, rooms, subscription, out) {
                return Ok(None);
            }
        }
        self.awaited = rooms.subscriptions() - 1;
        self.say(out)?;
        Ok(Some(self.awaited))
    }

    /// What a client says is short and its socket's buffer empty, so it always fits.
    fn say(&mut self, bytes: &[u8]) -> Result<(), LinkError> {
        match &mut self.stream {
            Some(stream) => Ok(stream.write_all(bytes)?),
            None => Ok(()),
        }
    }

    /// `closed`: the end has come with what is there to read.
    fn read(&mut self, closed: bool, all: &mut Shared<'_>) -> Result<(), LinkError> {
        loop {
            let kept = self.partial.len();
            let Some(stream) = &mut self.stream else {
                return Ok(());
            };
            let got = match stream.read(&mut all.buffer[kept..]) {
                Ok(0) => return Err(LinkError::Ended("end of stream".to_owned())),
                Ok(got) => got,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error.into()),
            };
            let buffer = std::mem::take(all.buffer);
            let result = self.take(buffer, kept, kept + got, all);
            // A read that did not fill the buffer took all there was: what comes later is a new
            // event.
            let drained = kept + got < all.buffer.len();
            result?;
            if drained && !closed {
                return Ok(());
            }
        }
    }

    /// Handles what was read, and puts the buffer back in its place.
    fn take(
        &mut self,
        mut buffer: Vec<u8>,
        kept: usize,
        end: usize,
        all: &mut Shared<'_>,
    ) -> Result<(), LinkError> {
        buffer[..kept].copy_from_slice(&self.partial);
        let result = self.consume(&buffer[..end], all);
        if let Ok(used) = result {
            self.partial.clear();
            self.partial.extend_from_slice(&buffer[used..end]);
            if self.partial.is_empty() {
                self.partial = Vec::new();
            }
        }
        *all.buffer = buffer;
        result.map(|_| ())
    }

    /// Handles every whole frame; says how many bytes that were.
    fn consume(&mut self, bytes: &[u8], all: &mut Shared<'_>) -> Result<usize, LinkError> {
        let mut used = 0;
        if self.stage == Stage::Upgrading {
            match dialect::upgrade_answer(bytes).map_err(LinkError::Join)? {
                Some(length) => used = length,
                None => return Ok(0),
            }
            if self.who.deflate && !deflate::is_accepted(&bytes[..used]) {
                return Err(LinkError::Join(JoinError::Unable(deflate::REFUSED)));
            }
            all.out.clear();
            let rooms = all.audience.rooms;
            self.stage = all.dialect.upgraded(self.who, rooms, all.out);
            self.say(all.out)?;
            self.joined(all)?;
        }
        let now_ns = all.epoch.elapsed().as_nanos() as u64;
        loop {
            let frame = frame::first(&bytes[used..])
                .map_err(|_| LinkError::Join(dialect::garbled(self.stage)))?;
            let Some(frame) = frame else {
                return Ok(used);
            };
            used += frame.length;
            if frame.compressed {
                self.inflate(&frame, now_ns, all)?;
            } else {
                self.handle(&frame, now_ns, all)?;
            }
        }
    }

    /// Handles a frame whose payload is compressed. Its length stays what it was on the wire.
    fn inflate(
        &mut self,
        frame: &Frame<'_>,
        now_ns: u64,
        all: &mut Shared<'_>,
    ) -> Result<(), LinkError> {
        let mut plain = std::mem::take(&mut all.inflater.plain);
        let inflated = self.who.deflate && all.inflater.inflate(frame.payload, &mut plain).is_ok();
        let result = if inflated {
            let payload = &plain[..];
            self.handle(&Frame { payload, ..*frame }, now_ns, all)
        } else {
            Err(LinkError::Join(dialect::garbled(self.stage)))
        };
        all.inflater.plain = plain;
        result
    }

    fn handle(
        &mut self,
        frame: &Frame<'_>,
        now_ns: u64,
        all: &mut Shared<'_>,
    ) -> Result<(), LinkError> {
        match frame.opcode {
            frame::CLOSE => Err(LinkError::Ended(closed_with(frame.payload))),
            frame::PONG => {
                all.tally.pongs += 1;
                Ok(())
            }
            frame::PING => {
                all.out.clear();
                let key = dialect::mask_key(self.who);
                frame::write_masked(frame::PONG, frame.payload, key, all.out);
                self.say(all.out)
            }
            _ if self.stage != Stage::Joined => {
                all.out.clear();
                self.stage = all
                    .dialect
                    .joining_frame(self.stage, self.who, all.audience.rooms, frame, all.out)
                    .map_err(LinkError::Join)?;
                self.say(all.out)?;
                self.joined(all)
            }
            _ if all.dialect.is_stream() => self.hear_stream(frame, now_ns, all),
            _ => match all.dialect.answer(frame.payload) {
                Some(answer) => self.say_text(answer, all),
                None => {
                    self.hear(frame, now_ns, all);
                    Ok(())
                }
            },
        }
    }

    fn say_text(&mut self, text: &str, all: &mut Shared<'_>) -> Result<(), LinkError> {
        all.out.clear();
        dialect::say(text, self.who, all.out);
        self.say(all.out)
    }
}

fn closed_with(payload: &[u8]) -> String {
    match payload.split_first_chunk::<2>() {
        Some((code, reason)) => format!(
            "closed with {} {}",
            u16::from_be_bytes(*code),
            dialect::beginning(reason)
        ),
        None => "closed without a code".to_owned(),
    }
}
