//! Gathers the writes of one connection.

use ht_frame::{DeflatedFrame, Deflater, FrameHeader, Opcode, PerMessageDeflate};
use ht_proto::cursor::{Cursor, Part};
use ht_proto::stream::{EVENT_PUBLISH, Format, put_publish_end};

use crate::body::Body;
use crate::peer::Peer;
use crate::publication::Publication;
use crate::session::{Bounds, Broken, Session};
use crate::shard::Compression;
use crate::stats::Stats;
use crate::transport::State;

/// Compressing a byte is as much work as writing so many: about 2 ns, as level 2 takes.
const DEFLATING: usize = 8;

/// Message heads up to so many bytes are copied next to their tail; larger ones are written from
/// where they are.
const COPIED: usize = 4 << 10;

/// Bytes that are gathered for one connection before they are written.
const GATHERED: usize = 64 << 10;

/// Gathers small frames for one connection, so that they are written together.
pub(in crate::shard) struct Writer<'a, P> {
    pub(in crate::shard) session: &'a mut Session<P>,
    bounds: Bounds<'a>,
    pub(in crate::shard) scratch: Vec<u8>,
    /// How many frames the scratch holds.
    gathered: u64,
    /// Bytes of all frames so far, and the work of compressing as bytes.
    pub(in crate::shard) bytes: usize,
    stats: &'a mut Stats,
    /// The compression that the session negotiated.
    deflate: Option<PerMessageDeflate>,
}

impl<'a, P: Peer> Writer<'a, P> {
    /// For a session. `scratch` is empty.
    #[inline(always)]
    pub(in crate::shard) fn new(
        (session, deflate): (&'a mut Session<P>, Option<PerMessageDeflate>),
        bounds: Bounds<'a>,
        scratch: Vec<u8>,
        stats: &'a mut Stats,
    ) -> Self {
        Self {
            session,
            bounds,
            scratch,
            gathered: 0,
            bytes: 0,
            stats,
            deflate,
        }
    }

    /// Takes a publication for a WebSocket. Once for each delivery.
    #[inline(always)]
    pub(in crate::shard) fn publish(
        &mut self,
        publication: &Publication,
        tail: &[u8],
        compression: &Compression,
        deflater: &mut Deflater,
    ) -> Result<(), Broken> {
        if let Some(head) = self.deflated(publication, tail, compression, deflater)
            && let Some(frame) = DeflatedFrame::new(Opcode::Text, head, tail)
        {
            return self.put(frame.parts(), head);
        }
        let head = publication.head();
        let header = FrameHeader::new(Opcode::Text, head.len() + tail.len());
        self.put([&header, head, tail], head)
    }

    /// The compressed head of a publication, where the receiver supports it and it is smaller. Most
    /// often there is none.
    #[inline(always)]
    fn deflated<'p>(
        &mut self,
        publication: &'p Publication,
        tail: &[u8],
        compression: &Compression,
        deflater: &mut Deflater,
    ) -> Option<&'p Body> {
        let (agreed, len) = (self.deflate?, publication.head_len());
        let sizes = compression.threshold..=compression.max_bytes;
        if !sizes.contains(&len) || !agreed.may_compress(len + tail.len()) {
            return None;
        }
        let before = self.stats.deflated;
        let deflated = publication.deflated(deflater, self.stats);
        if self.stats.deflated > before {
            self.bytes += DEFLATING * len;
        }
        deflated
    }

    /// Takes a publication for a session over HTTP. `part`: none, if it carries no cursor; the part in
    /// it where others of the same publication follow. `end` is a buffer.
    #[inline(never)]
    pub(in crate::shard) fn publish_event(
        &mut self,
        publication: &Publication,
        tail: &[u8],
        part: Option<Option<Part>>,
        end: &mut Vec<u8>,
    ) -> Result<(), Broken> {
        let line = publication.line();
        let Some(stream) = self.session.transport.stream_mut() else {
            return Ok(());
        };
        if let State::Poll(poll) = &mut stream.state {
            self.bytes += line.len() + tail.len();
            let cursor = part.map(|part| Cursor {
                part,
                ..publication.cursor
            });
            poll.publish([line, tail], cursor);
            return Ok(());
        }
        let (format, cursor) = (
            stream.format,
            part.map(|part| (publication.cursor_text(), part)),
        );
        end.clear();
        put_publish_end(end, format, tail, cursor);
        let begin = match format {
            Format::Events => EVENT_PUBLISH,
            Format::Lines => &[],
        };
        self.put([begin, line, end], line)
    }

    /// Whether nothing more fits: the answer to a long poll has a bound.
    pub(in crate::shard) fn is_full(&self) -> bool {
        let stream = self.session.transport.stream();
        stream.is_some_and(|stream| match &stream.state {
            State::Poll(poll) => poll.is_full(),
            State::Begin(_) | State::Open | State::Done => false,
        })
    }

    /// Takes the parts of a frame; the second is `head`. Once for each delivery: a call would be 6 %
    /// of what one costs.
    #[inline(always)]
    fn put<const PARTS: usize>(
        &mut self,
        parts: [&[u8]; PARTS],
        head: &Body,
    ) -> Result<(), Broken> {
        self.bytes += parts.iter().map(|part| part.len()).sum::<usize>();
        if parts[1].len() > COPIED {
            if let Err(broken) = self.flush() {
                self.stats.undelivered += 1;
                return Err(broken);
            }
            let result = self.session.send(parts, Some(head), 1, &self.bounds);
            let bytes = parts.iter().map(|part| part.len()).sum();
            return self.count(1, bytes, result);
        }
        for part in parts {
            self.scratch.extend_from_slice(part);
        }
        self.gathered += 1;
        if self.scratch.len() > GATHERED {
            return self.flush();
        }
        Ok(())
    }

    /// Writes what was gathered.
    pub(in crate::shard) fn flush(&mut self) -> Result<(), Broken> {
        if self.scratch.is_empty() {
            return Ok(());
        }
        let result = self
            .session
            .send([&self.scratch], None, self.gathered, &self.bounds);
        let bytes = self.scratch.len();
        self.scratch.clear();
        let frames = std::mem::take(&mut self.gathered);
        self.count(frames, bytes, result)
    }

    /// Counts the result of writing `frames` of so many `bytes`.
    fn count(
        &mut self,
        frames: u64,
        bytes: usize,
        result: Result<bool, Broken>,
    ) -> Result<(), Broken> {
        let stats = &mut *self.stats;
        let count = match result {
            Ok(true) => &mut stats.deliveries,
            Ok(false) => &mut stats.queued,
            Err(_) => &mut stats.undelivered,
        };
        *count += frames;
        // What is sent to nobody is not worth a branch.
        stats.sent_bytes += bytes as u64;
        result.map(|_| ())
    }
}
