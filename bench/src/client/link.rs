//! One client's connection: joins, then counts.

use std::io;
use std::io::Read;
use std::io::Write;
use std::net::SocketAddr;
use std::time::Instant;

use mio::event::Event;
use mio::net::TcpStream;

use super::Tally;
use super::dialect;
use super::dialect::Dialect;
use super::dialect::Identity;
use super::dialect::JoinError;
use super::dialect::Stage;
use super::dialect::nats;
use super::dialect::nats::Said;
use super::frame;
use super::frame::Frame;
use crate::check::Check;
use crate::message;
use crate::message::Stamp;
use crate::workload::Rooms;

/// What all clients share while events are handled.
pub(super) struct Shared<'a> {
    pub(super) dialect: Dialect,
    pub(super) rooms: Rooms,
    pub(super) server: SocketAddr,
    pub(super) buffer: &'a mut Vec<u8>,
    pub(super) out: &'a mut Vec<u8>,
    pub(super) epoch: Instant,
    pub(super) receivers: u32,
    pub(super) tally: &'a mut Tally,
}

/// A client.
#[derive(Debug)]
pub(super) struct Link {
    // None once the connection has ended.
    stream: Option<TcpStream>,
    who: Identity,
    stage: Stage,
    check: Check,
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
    pub(super) fn new(stream: TcpStream, who: Identity, check: Check) -> Self {
        Self {
            stream: Some(stream),
            who,
            stage: Stage::Connecting,
            check,
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

    pub(super) fn check(&self) -> &Check {
        &self.check
    }

    /// The same client without a connection; only its account is left.
    pub(super) fn ended(&mut self) -> Self {
        Self {
            stream: None,
            who: self.who,
            stage: self.stage,
            check: std::mem::take(&mut self.check),
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
            self.read(all)?;
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
        self.stage = all.dialect.open(self.who, all.rooms, all.server, all.out);
        self.say(all.out)
    }

    /// What a client says is short and its socket's buffer empty, so it always fits.
    fn say(&mut self, bytes: &[u8]) -> Result<(), LinkError> {
        match &mut self.stream {
            Some(stream) => Ok(stream.write_all(bytes)?),
            None => Ok(()),
        }
    }

    fn read(&mut self, all: &mut Shared<'_>) -> Result<(), LinkError> {
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
            if drained {
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
            all.out.clear();
            self.stage = all.dialect.upgraded(self.who, all.rooms, all.out);
            self.say(all.out)?;
        }
        let now_ns = all.epoch.elapsed().as_nanos() as u64;
        loop {
            let frame = frame::first(&bytes[used..])
                .map_err(|_| LinkError::Join(dialect::garbled(self.stage)))?;
            let Some(frame) = frame else {
                return Ok(used);
            };
            used += frame.length;
            self.handle(&frame, now_ns, all)?;
        }
    }

    fn handle(
        &mut self,
        frame: &Frame<'_>,
        now_ns: u64,
        all: &mut Shared<'_>,
    ) -> Result<(), LinkError> {
        match frame.opcode {
            frame::CLOSE => Err(LinkError::Ended(closed_with(frame.payload))),
            frame::PONG => Ok(()),
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
                    .joining_frame(self.stage, self.who, all.rooms, frame, all.out)
                    .map_err(LinkError::Join)?;
                self.say(all.out)
            }
            _ if all.dialect.is_stream() => self.hear_stream(frame, now_ns, all),
            _ => match all.dialect.answer(frame.payload) {
                Some(answer) => self.say_text(answer, all),
                None => {
                    self.count(frame, now_ns, all);
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

    /// Takes every message out of a frame that is a piece of a stream, and keeps the beginning
    /// of one whose end has not come.
    fn hear_stream(
        &mut self,
        frame: &Frame<'_>,
        now_ns: u64,
        all: &mut Shared<'_>,
    ) -> Result<(), LinkError> {
        let joined;
        let mut rest = frame.payload;
        if !self.unfinished.is_empty() {
            joined = [&std::mem::take(&mut self.unfinished), rest].concat();
            rest = &joined;
        }
        while let Some((said, length)) = nats::next(rest)
            .map_err(|_| LinkError::Ended(format!("said {}", dialect::beginning(rest))))?
        {
            rest = &rest[length..];
            match said {
                Said::Message(payload) => {
                    let message = Frame {
                        payload,
                        length,
                        ..*frame
                    };
                    self.count(&message, now_ns, all);
                }
                Said::Ping => self.say_text("PONG\r\n", all)?,
                Said::Pong | Said::Info => {}
                Said::Error(line) => {
                    return Err(LinkError::Ended(dialect::beginning(line)));
                }
            }
        }
        self.unfinished = rest.to_vec();
        Ok(())
    }

    fn count(&mut self, frame: &Frame<'_>, now_ns: u64, all: &mut Shared<'_>) {
        let tally = &mut *all.tally;
        let stamp = Stamp::find(frame.payload, &mut self.hints.0);
        let (Some(stamp), true) = (stamp, self.is_mine(frame, all.dialect)) else {
            tally.faults.stray += 1;
            let said = || {
                let said = dialect::beginning(frame.payload);
                format!("not for client {}: {said}", self.who.number)
            };
            tally.first_fault.get_or_insert_with(said);
            return;
        };
        let before = tally.faults;
        if self.check.hear(stamp.sequence, &mut tally.faults) {
            tally.count(stamp.trigger, all.receivers);
        }
        if tally.faults != before {
            let said = || format!("client {}: not its turn: {stamp:?}", self.who.number);
            tally.first_fault.get_or_insert_with(said);
        }
        tally.latency.add(now_ns.saturating_sub(stamp.sent_ns));
        tally.frame_bytes = frame.length;
    }

    /// Whether the message carries this client's `requestId`, where messages carry one.
    fn is_mine(&mut self, frame: &Frame<'_>, dialect: Dialect) -> bool {
        if ![frame::TEXT, frame::BINARY].contains(&frame.opcode) {
            return false;
        }
        if !dialect.has_request_ids() {
            return true;
        }
        let id = message::uuid_text(self.who.request_id);
        let place = self.hints.1;
        if frame
            .payload
            .get(place..)
            .is_some_and(|p| p.starts_with(&id))
        {
            return true;
        }
        match frame.payload.windows(id.len()).position(|w| w == id) {
            Some(place) => {
                self.hints.1 = place;
                true
            }
            None => false,
        }
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
