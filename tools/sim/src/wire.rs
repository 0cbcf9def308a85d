//! A socket without an operating system: two queues of bytes, and the state of either end.

use std::cell::RefCell;
use std::io::IoSlice;
use std::rc::Rc;

use ht_control::turn::{Read, Readable, Readiness};
use ht_core::peer::{Peer, Sent};

use crate::gate::Permit;

/// Connections whose wire changed since they were last looked at.
pub(crate) type Touched = Rc<RefCell<Vec<usize>>>;

/// The token of a connection's client, where it sends one.
pub(crate) fn token(number: usize) -> String {
    format!("token-{number}")
}

/// The connection between a client and its shard.
#[derive(Debug)]
pub(crate) struct Wire {
    /// Bytes that the shard sent and the client did not read.
    pub(crate) to_client: Vec<u8>,
    /// How much of it there may be.
    pub(crate) capacity: usize,
    /// The shard had more than that.
    pub(crate) is_full: bool,
    /// Bytes that the client sent and the shard did not read.
    pub(crate) to_server: Vec<u8>,
    /// The shard sends nothing more.
    pub(crate) is_shut: bool,
    /// The connection is broken, and the shard can detect it.
    pub(crate) is_cut: bool,
    /// The shard has dropped the connection.
    pub(crate) is_released: bool,
}

impl Wire {
    pub(crate) fn new(capacity: usize) -> Self {
        Self {
            to_client: Vec::new(),
            capacity,
            is_full: false,
            to_server: Vec::new(),
            is_shut: false,
            is_cut: false,
            is_released: false,
        }
    }
}

/// The shard's end.
#[derive(Debug)]
pub(crate) struct Socket {
    /// The number of the connection in the simulation.
    pub(crate) number: usize,
    pub(crate) client: usize,
    pub(crate) wire: Rc<RefCell<Wire>>,
    pub(crate) touched: Touched,
    pub(crate) readiness: Readiness,
    /// Released when the connection does not count any more.
    pub(crate) permit: Option<Permit>,
}

impl Socket {
    fn take(&self, parts: &[&[u8]]) -> Sent {
        let mut wire = self.wire.borrow_mut();
        assert!(!wire.is_shut, "nothing is sent after the end");
        if wire.is_cut {
            return Sent::Gone;
        }
        let bytes = parts.concat();
        assert!(!bytes.is_empty(), "a write without bytes");
        let room = wire.capacity.saturating_sub(wire.to_client.len());
        let taken = bytes.len().min(room);
        wire.is_full |= taken < bytes.len();
        wire.to_client.extend_from_slice(&bytes[..taken]);
        self.touched.borrow_mut().push(self.number);
        Sent::Bytes(taken)
    }

    fn shut(&self) {
        self.wire.borrow_mut().is_shut = true;
        self.touched.borrow_mut().push(self.number);
    }
}

impl Peer for Socket {
    fn send(&mut self, bytes: &[u8]) -> Sent {
        self.take(&[bytes])
    }

    fn send_vectored(&mut self, parts: &[IoSlice<'_>]) -> Sent {
        let parts: Vec<&[u8]> = parts.iter().map(|part| &**part).collect();
        self.take(&parts)
    }

    fn shutdown(&mut self) {
        self.shut();
    }

    fn address(&self) -> u32 {
        u32::try_from(self.client % 3).unwrap_or(0)
    }
}

impl Readable for Socket {
    fn readiness(&mut self) -> &mut Readiness {
        &mut self.readiness
    }

    fn read(&mut self, buffer: &mut [u8]) -> Read {
        let mut wire = self.wire.borrow_mut();
        let len = wire.to_server.len().min(buffer.len());
        for (place, byte) in buffer.iter_mut().zip(wire.to_server.drain(..len)) {
            *place = byte;
        }
        match len {
            0 if wire.is_cut => Read::End,
            0 => Read::Nothing,
            len => Read::Bytes(len),
        }
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.wire.borrow_mut().is_released = true;
        self.shut();
    }
}
