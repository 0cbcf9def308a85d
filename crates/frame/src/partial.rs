//! What a connection keeps of an unfinished frame or message.

use crate::event::{Event, event};
use crate::header::{HEADER_BYTES_MAX, Header, Opcode, Role};
use crate::input::Input;
use crate::mask;
use crate::message::Message;
use crate::violation::Violation;

/// Progress of a frame.
pub(crate) enum Progress {
    /// The input ended within it.
    Starved,
    /// It is complete, its message is not.
    Fragment,
    /// It completes an event.
    Event,
}

/// A whole event that arrived in pieces.
pub(crate) enum Gathered<'a> {
    /// As it is.
    Plain(Event<'a>),
    /// A message that is still to be inflated.
    Compressed(Opcode, &'a [u8]),
}

/// An unfinished frame, an unfinished message, or both.
#[derive(Debug, Default)]
pub(crate) struct Partial {
    /// The start of a header that was cut.
    header: [u8; HEADER_BYTES_MAX],
    header_len: u8,
    /// The frame whose payload arrives.
    frame: Option<Frame>,
    /// The message whose fragments arrive.
    message: Option<Message>,
    /// The payload of the control frame that arrives; at most 125 bytes.
    control: Vec<u8>,
    /// The event that the last call returned and that the next drops.
    delivered: Option<Opcode>,
}

/// A frame whose payload did not arrive whole.
#[derive(Debug)]
struct Frame {
    opcode: Opcode,
    fin: bool,
    /// It begins a message that is compressed.
    compressed: bool,
    /// The key, rotated for the next byte.
    mask: Option<[u8; 4]>,
    /// Bytes of payload still to arrive.
    left: usize,
}

impl Partial {
    pub(crate) fn is_within_header(&self) -> bool {
        self.header_len > 0
    }

    pub(crate) fn is_within_frame(&self) -> bool {
        self.frame.is_some()
    }

    pub(crate) fn is_empty(&self) -> bool {
        !self.is_within_header() && !self.is_within_frame() && self.message.is_none()
    }

    /// Bytes that arrived of the unfinished message, if one is unfinished.
    pub(crate) fn message_len(&self) -> Option<usize> {
        self.message.as_ref().map(Message::len)
    }

    /// Memory that it takes, in bytes.
    pub(crate) fn kept_bytes(&self) -> usize {
        let message = self.message.as_ref().map_or(0, Message::kept_bytes);
        size_of::<Self>() + message + self.control.capacity()
    }

    /// Adds bytes to a header that was cut until it is complete.
    pub(crate) fn take_header(
        &mut self,
        input: &mut Input<'_>,
        role: Role,
        deflate: bool,
    ) -> Result<Option<Header>, Violation> {
        // The longest header is complete when the array is full, so there is always room.
        while let Some(&byte) = input.rest().first() {
            input.take(1);
            self.header[usize::from(self.header_len)] = byte;
            self.header_len += 1;
            let kept = &self.header[..usize::from(self.header_len)];
            if let Some((header, _)) = Header::parse(kept, role, deflate)? {
                self.header_len = 0;
                return Ok(Some(header));
            }
        }
        Ok(None)
    }

    /// Prepares for the payload of a frame that has to be gathered.
    pub(crate) fn begin(&mut self, header: Header) {
        self.frame = Some(Frame {
            opcode: header.opcode,
            fin: header.fin,
            compressed: header.compressed,
            mask: header.mask,
            left: header.payload_len,
        });
    }

    /// Moves as much payload as is available out of `input`. With `skips_data` nothing is kept of a
    /// data frame, and its message is no event.
    pub(crate) fn take_payload(
        &mut self,
        input: &mut Input<'_>,
        skips_data: bool,
    ) -> Result<Progress, Violation> {
        let Some(frame) = &mut self.frame else {
            return Ok(Progress::Starved);
        };
        if skips_data && !frame.opcode.is_control() {
            return Ok(self.skip_payload(input));
        }
        let bytes = input.take_some_unmasked(frame.left, frame.mask);
        frame.left -= bytes.len();
        frame.mask = frame.mask.map(|key| mask::advance(key, bytes.len()));
        let (opcode, compressed) = (frame.opcode, frame.compressed);
        let ends_event = frame.fin && frame.left == 0;

        if opcode.is_control() {
            self.control.extend_from_slice(bytes);
        } else {
            let message = self
                .message
                .get_or_insert_with(|| Message::new(opcode, compressed));
            message.push(bytes, frame.fin.then_some(frame.left))?;
            if ends_event {
                message.check_end()?;
            }
        }

        if frame.left > 0 {
            return Ok(Progress::Starved);
        }
        self.frame = None;
        if !ends_event {
            return Ok(Progress::Fragment);
        }
        self.delivered = Some(opcode);
        Ok(Progress::Event)
    }

    fn skip_payload(&mut self, input: &mut Input<'_>) -> Progress {
        let Some(frame) = &mut self.frame else {
            return Progress::Starved;
        };
        let len = frame.left.min(input.remaining());
        input.take(len);
        frame.left -= len;
        let (left, fin) = (frame.left, frame.fin);
        let before = self.message.as_ref().map_or(0, Message::len);
        self.message = Some(Message::Skipped(before + len));
        if left > 0 {
            return Progress::Starved;
        }
        self.frame = None;
        if fin {
            self.message = None;
        }
        Progress::Fragment
    }

    /// The event that was completed last, until it is dropped.
    pub(crate) fn event(&self) -> Result<Option<Gathered<'_>>, Violation> {
        let plain = match (self.delivered, &self.message) {
            (Some(opcode), _) if opcode.is_control() => event(opcode, &self.control)?,
            (None, _) | (_, None | Some(Message::Skipped(_))) => return Ok(None),
            (Some(_), Some(Message::Text(text))) => Event::Text(text.as_str()),
            (Some(_), Some(Message::Binary(bytes))) => Event::Binary(bytes),
            (Some(_), Some(Message::Compressed(bytes, opcode))) => {
                return Ok(Some(Gathered::Compressed(*opcode, bytes)));
            }
        };
        Ok(Some(Gathered::Plain(plain)))
    }

    /// What is kept of the unfinished message.
    #[cfg(test)]
    pub(crate) fn kept(&self) -> Option<&Message> {
        self.message.as_ref()
    }

    pub(crate) fn forget_delivered(&mut self) {
        match self.delivered.take() {
            Some(opcode) if opcode.is_control() => self.control.clear(),
            Some(_) => self.message = None,
            None => {}
        }
    }
}
