//! Gathers the writes of one connection.

use ht_frame::{DeflatedFrame, Deflater, FrameHeader, Opcode, PerMessageDeflate};

use crate::body::Body;
use crate::peer::Peer;
use crate::publication::Publication;
use crate::session::{Bounds, Broken, Session};
use crate::shard::Compression;
use crate::stats::Stats;
use crate::transport::Transport;

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
    pub(in crate::shard) bounds: Bounds<'a>,
    pub(in crate::shard) scratch: Vec<u8>,
    /// How many frames the scratch holds.
    pub(in crate::shard) gathered: u64,
    /// Bytes of all frames so far, and the work of compressing as bytes.
    pub(in crate::shard) bytes: usize,
    pub(in crate::shard) stats: &'a mut Stats,
}

impl<P: Peer> Writer<'_, P> {
    /// Takes a publication, encoded for the transport of the session. Once for each delivery.
    #[inline(always)]
    pub(in crate::shard) fn publish(
        &mut self,
        publication: &Publication,
        tail: &[u8],
        compression: &Compression,
        deflater: &mut Deflater,
    ) -> Result<(), Broken> {
        let Transport::WebSocket(websocket) = &self.session.transport;
        let deflate = websocket.deflate;
        if let Some(head) = self.deflated(publication, tail, deflate, compression, deflater)
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
        agreed: Option<PerMessageDeflate>,
        compression: &Compression,
        deflater: &mut Deflater,
    ) -> Option<&'p Body> {
        let (agreed, len) = (agreed?, publication.head_len());
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
