//! One client's connection: joins, then counts.

mod receive;

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
use crate::workload::{Rooms, Subscribers};

/// State that all clients share while events are handled.
pub(super) struct Shared<'a> {
    pub(super) dialect: Dialect,
    pub(super) subscribers: Subscribers,
    /// Clients leave as soon as they have joined.
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
    identity: Identity,
    stage: Stage,
    /// What each subscription received.
    checks: Vec<Check>,
    /// Outstanding replies to further subscriptions.
    awaited: u32,
    /// It has sent a close frame.
    leaving: bool,
    /// It has stopped reading.
    stalled: bool,
    /// The beginning of an incomplete frame. Nearly always empty.
    partial: Vec<u8>,
    /// The beginning of an incomplete message in a stream.
    unfinished: Vec<u8>,
    /// Offsets of the last stamp and `requestId` in the payload.
    hints: (usize, usize),
}

/// Why a client's connection ended.
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
    pub(super) fn new(stream: TcpStream, identity: Identity, checks: Vec<Check>) -> Self {
        Self {
            stream: Some(stream),
            identity,
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
        self.identity.number
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

    /// Approximate number of messages that were received.
    pub(super) fn received(&self) -> u64 {
        self.checks.iter().map(Check::next).sum()
    }

    /// Stops reading, or reads again. Messages that a stalled client misses are not counted as
    /// lost.
    pub(super) fn stall(&mut self, registry: &Registry, stall: bool) -> io::Result<()> {
        self.stalled = true;
        let Some(stream) = &mut self.stream else {
            return Ok(());
        };
        if stall {
            return registry.deregister(stream);
        }
        registry.register(
            stream,
            Token(self.identity.number as usize),
            Interest::READABLE,
        )
    }

    /// The same client without a connection; only its checks are kept.
    pub(super) fn ended(&mut self) -> Self {
        Self {
            stream: None,
            identity: self.identity,
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
        let rooms = all.subscribers.rooms;
        self.stage = all.dialect.open(self.identity, rooms, all.server, all.out);
        self.send(all.out)?;
        self.joined(all)
    }

    /// Leaves if clients have to leave after joining; with a close frame, if the protocol has one.
    fn joined(&mut self, all: &mut Shared<'_>) -> Result<(), LinkError> {
        if self.stage != Stage::Joined || !all.leave {
            return Ok(());
        }
        self.leaving = true;
        if all.dialect == Dialect::Plain || all.dialect.is_http() {
            return Err(LinkError::Ended("left".to_owned()));
        }
        const NORMAL: [u8; 2] = 1000u16.to_be_bytes();
        all.out.clear();
        frame::write_masked(
            frame::CLOSE,
            &NORMAL,
            dialect::mask_key(self.identity),
            all.out,
        );
        self.send(all.out)
    }

    /// Sends a heartbeat. Returns false if the protocol has none.
    pub(super) fn ping(&mut self, dialect: Dialect, out: &mut Vec<u8>) -> Result<bool, LinkError> {
        out.clear();
        let sent = self.stream.is_some() && dialect.ping(self.identity, out);
        self.send(out)?;
        Ok(sent)
    }

    /// Requests all subscriptions but the first. Returns their number, or `None` if the protocol
    /// has only one.
    pub(super) fn subscribe_further(
        &mut self,
        dialect: Dialect,
        rooms: Rooms,
        out: &mut Vec<u8>,
    ) -> Result<Option<u32>, LinkError> {
        out.clear();
        for subscription in 1..rooms.subscriptions() {
            if !dialect.subscribe(self.identity, rooms, subscription, out) {
                return Ok(None);
            }
        }
        self.awaited = rooms.subscriptions() - 1;
        self.send(out)?;
        Ok(Some(self.awaited))
    }

    /// Sends bytes. They are few and the socket's buffer is empty, so they always fit.
    fn send(&mut self, bytes: &[u8]) -> Result<(), LinkError> {
        match &mut self.stream {
            Some(stream) => Ok(stream.write_all(bytes)?),
            None => Ok(()),
        }
    }

    /// `closed`: the end of the stream was reported with the event.
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
            // A read that did not fill the buffer drained the socket; later data is a new event.
            let drained = kept + got < all.buffer.len();
            result?;
            if drained && !closed {
                return Ok(());
            }
        }
    }

    /// Handles what was read, and puts the buffer back.
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

    /// Handles all complete frames. Returns their length in bytes.
    fn consume(&mut self, bytes: &[u8], all: &mut Shared<'_>) -> Result<usize, LinkError> {
        let mut used = 0;
        if self.stage == Stage::Upgrading {
            match dialect::upgrade_answer(all.dialect, bytes).map_err(LinkError::Join)? {
                Some(length) => used = length,
                None => return Ok(0),
            }
            if self.identity.deflate && !deflate::is_accepted(&bytes[..used]) {
                return Err(LinkError::Join(JoinError::Unable(deflate::REFUSED)));
            }
            all.out.clear();
            let rooms = all.subscribers.rooms;
            self.stage = all.dialect.upgraded(self.identity, rooms, all.out);
            self.send(all.out)?;
            self.joined(all)?;
        }
        let now_ns = all.epoch.elapsed().as_nanos() as u64;
        loop {
            let frame = all
                .dialect
                .first(&bytes[used..])
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

    /// Handles a frame whose payload is compressed. Its length remains that on the wire.
    fn inflate(
        &mut self,
        frame: &Frame<'_>,
        now_ns: u64,
        all: &mut Shared<'_>,
    ) -> Result<(), LinkError> {
        let mut plain = std::mem::take(&mut all.inflater.plain);
        let inflated =
            self.identity.deflate && all.inflater.inflate(frame.payload, &mut plain).is_ok();
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
            frame::NOTHING => Ok(()),
            frame::PONG => {
                all.tally.pongs += 1;
                Ok(())
            }
            frame::PING => {
                all.out.clear();
                let key = dialect::mask_key(self.identity);
                frame::write_masked(frame::PONG, frame.payload, key, all.out);
                self.send(all.out)
            }
            _ if self.stage != Stage::Joined => {
                all.out.clear();
                self.stage = all
                    .dialect
                    .joining_frame(
                        self.stage,
                        self.identity,
                        all.subscribers.rooms,
                        frame,
                        all.out,
                    )
                    .map_err(LinkError::Join)?;
                self.send(all.out)?;
                self.joined(all)
            }
            _ if all.dialect.is_stream() => self.receive_stream(frame, now_ns, all),
            _ => match all.dialect.answer(frame.payload) {
                Some(answer) => self.send_text(answer, all),
                None => {
                    self.receive(frame, now_ns, all);
                    Ok(())
                }
            },
        }
    }

    fn send_text(&mut self, text: &str, all: &mut Shared<'_>) -> Result<(), LinkError> {
        all.out.clear();
        dialect::send(text, self.identity, all.out);
        self.send(all.out)
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
