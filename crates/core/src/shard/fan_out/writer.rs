//! What is written to one connection, gathered.

use std::ops::RangeInclusive;

use ht_frame::Deflater;

use crate::body::Body;
use crate::connection::{Bounds, Broken, Connection};
use crate::peer::Peer;
use crate::publication::Publication;
use crate::stats::Stats;

/// Compressing a byte is as much work as writing so many: about 2 ns, as level 2 takes.
const DEFLATING: usize = 8;

/// Message heads up to so many bytes are copied next to their tail; larger ones are written from
/// where they are.
const COPIED: usize = 4 << 10;

/// Bytes that are gathered for one connection before they are written.
const GATHERED: usize = 64 << 10;

/// Gathers small frames for one connection, so that they are written together.
pub(super) struct Writer<'a, P> {
    pub(super) connection: &'a mut Connection<P>,
    pub(super) bounds: Bounds<'a>,
    pub(super) scratch: Vec<u8>,
    /// How many frames the scratch holds.
    pub(super) gathered: u64,
    /// Bytes of all frames so far, and the work of compressing as bytes.
    pub(super) bytes: usize,
    pub(super) stats: &'a mut Stats,
}

impl<P: Peer> Writer<'_, P> {
    /// The compressed head of a publication, where the receiver takes it and it is worth it. Once
    /// for each delivery, most often to say no.
    #[inline(always)]
    pub(super) fn deflated<'p>(
        &mut self,
        publication: &'p Publication,
        tail: &[u8],
        sizes: RangeInclusive<usize>,
        deflater: &mut Deflater,
    ) -> Option<&'p Body> {
        let (agreed, len) = (self.connection.deflate?, publication.head_len());
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

    /// Takes the parts of a frame; the second is `head`.
    pub(super) fn put<const PARTS: usize>(
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
            let result = self.connection.send(parts, Some(head), 1, &self.bounds);
            return self.count(1, result);
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
    pub(super) fn flush(&mut self) -> Result<(), Broken> {
        if self.scratch.is_empty() {
            return Ok(());
        }
        let result = self
            .connection
            .send([&self.scratch], None, self.gathered, &self.bounds);
        self.scratch.clear();
        let frames = std::mem::take(&mut self.gathered);
        self.count(frames, result)
    }

    /// Counts what became of `frames`.
    fn count(&mut self, frames: u64, result: Result<bool, Broken>) -> Result<(), Broken> {
        match result {
            Ok(true) => self.stats.deliveries += frames,
            Ok(false) => self.stats.queued += frames,
            Err(_) => self.stats.undelivered += frames,
        }
        result.map(|_| ())
    }
}
