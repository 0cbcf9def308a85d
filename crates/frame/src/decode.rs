//! From bytes to events.

use std::ops::Range;

use crate::event::{Event, event};
use crate::header::{Header, Opcode, Role};
use crate::inflate::Inflater;
use crate::input::Input;
use crate::partial::{Gathered, Partial, Progress};
use crate::violation::Violation;

/// How to read a peer's bytes; one for many connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DecodeOptions {
    /// Our side of the connection: a [`Role::Server`] expects masked frames, a [`Role::Client`]
    /// unmasked ones.
    pub role: Role,
    /// Longest message, in bytes of payload, all its fragments together; inclusive. For a
    /// compressed one both its compressed and its inflated size are limited.
    pub message_bytes_max: usize,
}

/// Reads one peer's frames. Eight bytes while the peer is between messages; an unfinished frame
/// or message is kept in a box, whose buffer grows with what arrived and not with what was
/// announced.
#[derive(Debug, Default)]
pub struct Decoder(Option<Box<Partial>>);

impl Decoder {
    /// A decoder at the start of a connection, right after the handshake.
    #[must_use]
    pub const fn new() -> Self {
        Self(None)
    }

    /// Whether nothing is kept. True between messages, once [`decode`](Self::decode) returned
    /// `Ok(None)`; an event that arrived in pieces is kept until the call after it.
    #[must_use]
    pub const fn is_idle(&self) -> bool {
        self.0.is_none()
    }

    /// Memory that is kept of an unfinished frame or message, in bytes: what was reserved, not
    /// only what arrived.
    #[must_use]
    pub fn kept_bytes(&self) -> usize {
        self.0.as_ref().map_or(0, |partial| partial.kept_bytes())
    }

    /// Takes the next event out of `input`. `Ok(None)`: everything in `input` was consumed, feed
    /// more.
    ///
    /// A frame that is complete in `input` and is a message of its own, or a control frame, is
    /// unmasked in place and returned without a copy. Anything else is gathered here and returned
    /// when it is complete. Text is checked as it arrives, the size from the header on.
    ///
    /// # Errors
    ///
    /// The peer broke the protocol or a limit, and the stream has no meaning from here on: close
    /// the connection and do not decode further.
    pub fn decode<'a>(
        &'a mut self,
        input: &'a mut Input<'_>,
        options: &DecodeOptions,
    ) -> Result<Option<Event<'a>>, Violation> {
        self.next(input, options, None)
    }

    /// The same on a connection that negotiated [`PerMessageDeflate`](crate::PerMessageDeflate):
    /// messages may be compressed. Those are gathered as they arrive, inflated when they are
    /// complete and returned from the inflater, which keeps nothing of them for the next.
    ///
    /// # Errors
    ///
    /// As for [`decode`](Self::decode), and where a message cannot be inflated.
    pub fn decode_deflated<'a>(
        &'a mut self,
        input: &'a mut Input<'_>,
        options: &DecodeOptions,
        inflater: &'a mut Inflater,
    ) -> Result<Option<Event<'a>>, Violation> {
        self.next(input, options, Some(inflater))
    }

    /// Takes the next control frame out of `input` and skips the data frames before it: their sizes
    /// and their order are checked, their payloads are neither unmasked, inflated, validated nor
    /// kept. For a peer whose messages are ignored. `deflate`: the connection negotiated
    /// [`PerMessageDeflate`](crate::PerMessageDeflate).
    ///
    /// # Errors
    ///
    /// As for [`decode`](Self::decode), except those that only a payload can reveal.
    pub fn decode_control<'a>(
        &'a mut self,
        input: &'a mut Input<'_>,
        options: &DecodeOptions,
        deflate: bool,
    ) -> Result<Option<Event<'a>>, Violation> {
        let mode = Mode {
            deflate,
            skips_data: true,
        };
        match self.advance(input, options, mode)? {
            Some(Found::Whole(opcode, range)) => event(opcode, &input.bytes[range]).map(Some),
            Some(Found::Gathered) => match self.0.as_ref().map(|partial| partial.event()) {
                Some(Ok(Some(Gathered::Plain(event)))) => Ok(Some(event)),
                Some(Err(violation)) => Err(violation),
                Some(Ok(Some(Gathered::Compressed(..)) | None)) | None => Ok(None),
            },
            Some(Found::WholeCompressed(..)) | None => Ok(None),
        }
    }

    fn next<'a>(
        &'a mut self,
        input: &'a mut Input<'_>,
        options: &DecodeOptions,
        inflater: Option<&'a mut Inflater>,
    ) -> Result<Option<Event<'a>>, Violation> {
        let mode = Mode {
            deflate: inflater.is_some(),
            skips_data: false,
        };
        let Some(found) = self.advance(input, options, mode)? else {
            return Ok(None);
        };
        let (opcode, payload) = match found {
            Found::Whole(opcode, range) => return event(opcode, &input.bytes[range]).map(Some),
            Found::WholeCompressed(opcode, range) => (opcode, &input.bytes[range]),
            Found::Gathered => match self.0.as_ref().map(|partial| partial.event()).transpose()? {
                Some(Some(Gathered::Compressed(opcode, payload))) => (opcode, payload),
                Some(Some(Gathered::Plain(event))) => return Ok(Some(event)),
                Some(None) | None => return Ok(None),
            },
        };
        // Without an inflater the header was refused.
        let inflater = inflater.ok_or(Violation::ReservedBits)?;
        let payload = inflater.inflate(payload, options.message_bytes_max)?;
        event(opcode, payload).map(Some)
    }

    fn advance(
        &mut self,
        input: &mut Input<'_>,
        options: &DecodeOptions,
        mode: Mode,
    ) -> Result<Option<Found>, Violation> {
        self.release();
        loop {
            if !self.is_within_frame() {
                let Some(header) = self.take_header(input, options.role, mode.deflate)? else {
                    return Ok(None);
                };
                self.check_sequence(&header, options.message_bytes_max)?;
                if header.is_event() && header.payload_len <= input.remaining() {
                    self.release();
                    if mode.skips_data && !header.opcode.is_control() {
                        input.take(header.payload_len);
                        continue;
                    }
                    let range = input.take_unmasked(header.payload_len, header.mask);
                    return Ok(Some(if header.compressed {
                        Found::WholeCompressed(header.opcode, range)
                    } else {
                        Found::Whole(header.opcode, range)
                    }));
                }
                self.partial().begin(header);
            }
            match self.partial().take_payload(input, mode.skips_data)? {
                Progress::Starved => return Ok(None),
                Progress::Fragment => self.release(),
                Progress::Event => return Ok(Some(Found::Gathered)),
            }
        }
    }

    fn partial(&mut self) -> &mut Partial {
        self.0.get_or_insert_default()
    }

    fn is_within_frame(&self) -> bool {
        self.0
            .as_ref()
            .is_some_and(|partial| partial.is_within_frame())
    }

    /// Drops the event that was returned last, and the box if nothing else is in it.
    fn release(&mut self) {
        let Some(partial) = &mut self.0 else { return };
        partial.forget_delivered();
        if partial.is_empty() {
            self.0 = None;
        }
    }

    /// Takes the next header, of which a part may have arrived before.
    fn take_header(
        &mut self,
        input: &mut Input<'_>,
        role: Role,
        deflate: bool,
    ) -> Result<Option<Header>, Violation> {
        if self
            .0
            .as_ref()
            .is_none_or(|partial| !partial.is_within_header())
        {
            if let Some((header, len)) = Header::parse(input.rest(), role, deflate)? {
                input.take(len);
                return Ok(Some(header));
            }
            if input.remaining() == 0 {
                return Ok(None);
            }
        }
        self.partial().take_header(input, role, deflate)
    }

    /// Checks a header against the message that is unfinished, if one is (RFC 6455 section 5.4).
    fn check_sequence(&self, header: &Header, message_bytes_max: usize) -> Result<(), Violation> {
        if header.opcode.is_control() {
            return Ok(());
        }
        let unfinished = self.0.as_ref().and_then(|partial| partial.message_len());
        let before = match (unfinished, header.opcode) {
            (Some(len), Opcode::Continuation) => len,
            (None, Opcode::Continuation) => return Err(Violation::UnexpectedContinuation),
            (Some(_), _) => return Err(Violation::ExpectedContinuation),
            (None, _) => 0,
        };
        if header.payload_len > message_bytes_max.saturating_sub(before) {
            return Err(Violation::MessageTooBig);
        }
        Ok(())
    }
}

impl Header {
    /// Whether this frame alone is an event: a control frame or an unfragmented message.
    fn is_event(&self) -> bool {
        self.fin && self.opcode != Opcode::Continuation
    }
}

/// How data frames are processed.
#[derive(Clone, Copy)]
struct Mode {
    /// They may be compressed.
    deflate: bool,
    /// They are skipped.
    skips_data: bool,
}

/// Where the next event is stored.
enum Found {
    /// In the input, as one frame.
    Whole(Opcode, Range<usize>),
    /// The same, a message that is still to be inflated.
    WholeCompressed(Opcode, Range<usize>),
    /// In the box, which keeps it until the next call.
    Gathered,
}

#[cfg(test)]
mod tests;
