//! Publications: triggers with their position in the order.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use ht_frame::Deflater;
use ht_proto::cursor::{Check, Cursor, CursorText};
use ht_proto::entry::{Epoch, Position, TenantId};
use ht_proto::{room::Room, server, stream, trigger::SHARED_MIN};

use crate::body::Body;
use crate::stats::Stats;

/// A trigger with its position in the order of the node.
///
/// All shards share it. Nothing is encoded before a shard finds a subscriber: the first shard that
/// needs the message makes it, at most once per process, plain and compressed.
#[derive(Debug)]
pub struct Publication {
    /// Its position: 1 for the first since the node started.
    pub position: u64,
    /// The cursor of a client that was sent it and everything before.
    pub cursor: Cursor,
    /// The tenant that owns it.
    pub tenant: TenantId,
    /// The rooms of the tenant that it is for.
    pub rooms: Vec<Room>,
    /// The JSON text of its data, as the API sent it.
    data: Bytes,
    /// The text of its cursor, made for the first client that is sent it.
    cursor_text: OnceLock<CursorText>,
    /// Its message but for the end, which differs between subscriptions.
    head: OnceLock<Body>,
    /// The head on one line, for streams; none where it is that already. Boxed, because few are not.
    line: OnceLock<Option<Box<Body>>>,
    /// The head, compressed; none where that is no gain. A shard that needs it while another one
    /// compresses it blocks, which is shorter than compressing it twice.
    deflated: OnceLock<Option<Body>>,
}

/// Overhead of the allocations of a publication, in bytes.
const ALLOCATIONS: usize = 128;

/// A publication in the window: one of a batch.
#[derive(Clone, Debug)]
pub struct Logged {
    batch: Arc<[Publication]>,
    index: u32,
}

impl Logged {
    /// The publications of a batch, in their order.
    pub fn all(batch: &Arc<[Publication]>) -> impl Iterator<Item = Self> {
        let batch = Arc::clone(batch);
        (0..u32::try_from(batch.len()).unwrap_or(u32::MAX)).map(move |index| Self {
            batch: Arc::clone(&batch),
            index,
        })
    }

    /// It.
    #[must_use]
    pub fn publication(&self) -> &Publication {
        &self.batch[self.index as usize]
    }
}

impl Publication {
    /// The JSON text `data` for `rooms`. Its cursor is that of an order without a name.
    #[must_use]
    pub fn new(position: u64, tenant: TenantId, rooms: Vec<Room>, data: Bytes) -> Self {
        Self {
            position,
            cursor: Cursor {
                epoch: Epoch::from_random(0),
                position: Position::new(position).unwrap_or(Position::MAX),
                check: Check::of(&data),
                part: None,
            },
            tenant,
            rooms,
            data,
            cursor_text: OnceLock::new(),
            head: OnceLock::new(),
            line: OnceLock::new(),
            deflated: OnceLock::new(),
        }
    }

    /// The same publication at this position of the order, with this cursor.
    #[must_use]
    pub fn at(self, position: u64, cursor: Cursor) -> Self {
        Self {
            position,
            cursor,
            cursor_text: OnceLock::new(),
            ..self
        }
    }

    /// The JSON text of its data.
    #[must_use]
    pub fn data(&self) -> &Bytes {
        &self.data
    }

    /// Length of its data, in bytes.
    #[must_use]
    pub fn data_len(&self) -> usize {
        self.data.len()
    }

    /// Bytes that it takes at most once its message was made, plain and compressed.
    #[must_use]
    pub fn memory(&self) -> usize {
        // Of long data the rest of its body may be kept with it.
        let data = self.data.len() * if self.data.len() < SHARED_MIN { 1 } else { 2 };
        let rooms = self.rooms.iter().map(Room::memory).sum::<usize>();
        // Plain, compressed, and on one line where it is not that already.
        let heads = if stream::has_line_breaks(&self.data) {
            3
        } else {
            2
        };
        size_of::<Self>() + ALLOCATIONS + data + rooms + heads * self.head_len()
    }

    /// The text of its cursor.
    pub(crate) fn cursor_text(&self) -> &CursorText {
        self.cursor_text.get_or_init(|| self.cursor.into())
    }

    /// Length of its head, in bytes.
    pub(crate) fn head_len(&self) -> usize {
        server::publish_head_len(self.data.len())
    }

    /// Its message but for the end. Once for each delivery, and made once.
    #[inline]
    pub(crate) fn head(&self) -> &Body {
        match self.head.get() {
            Some(head) => head,
            None => self.encode(),
        }
    }

    #[cold]
    fn encode(&self) -> &Body {
        self.head.get_or_init(|| {
            let head = server::publish_head(&self.data);
            head.into_boxed_slice().into()
        })
    }

    /// Its message but for the end, without line breaks.
    pub(crate) fn line(&self) -> &Body {
        let line = self.line.get_or_init(|| {
            let line = stream::line_of(self.head())?;
            Some(Box::new(line.into_boxed_slice().into()))
        });
        line.as_deref().unwrap_or_else(|| self.head())
    }

    /// The head compressed, if that makes it smaller. Counts the one run of `deflater`.
    pub(crate) fn deflated(&self, deflater: &mut Deflater, stats: &mut Stats) -> Option<&Body> {
        let deflated = self.deflated.get_or_init(|| {
            let head = self.head();
            let deflated = deflater.deflate(head);
            let len = deflated.as_ref().map_or(head.len(), |head| head.len());
            stats.deflated += 1;
            stats.deflate_bytes_in += head.len() as u64;
            stats.deflate_bytes_out += len as u64;
            deflated.map(Body::from)
        });
        deflated.as_ref()
    }

    /// Whether its message was made.
    #[cfg(test)]
    pub(crate) fn is_encoded(&self) -> bool {
        self.head.get().is_some()
    }
}
