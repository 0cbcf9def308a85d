//! The floor's sockets. A socket joins by sending its number (`u32`, little endian).

use std::collections::HashMap;
use std::io;
use std::io::Write;

use mio::net::TcpStream;
use mio::{Interest, Registry, Token};
use slab::Slab;

use super::{TARGET_ALL, read_some};

/// Limit on the outbox of a socket that does not read. Beyond it the socket is closed, which the
/// driver counts as a fault.
const PENDING_BYTES_MAX: usize = 8 << 20;

#[derive(Debug)]
struct Member {
    stream: TcpStream,
    // The received bytes of its number, and whether it is complete.
    number: [u8; 4],
    heard: usize,
    pending: Vec<u8>,
}

/// All sockets.
#[derive(Debug, Default)]
pub(super) struct Members {
    all: Slab<Member>,
    keys: HashMap<u32, usize>,
    // Bytes gathered for everybody, and for single sockets. At most one of the two holds
    // something, so that the order of commands is the order on the wire.
    shared: Vec<u8>,
    single: Vec<(u32, Vec<u8>)>,
    // Index of a target in `single`.
    places: HashMap<u32, usize>,
    // Emptied buffers, to be used again.
    spare: Vec<Vec<u8>>,
}

impl Members {
    pub(super) fn add(
        &mut self,
        mut stream: TcpStream,
        registry: &Registry,
        first_token: usize,
    ) -> io::Result<()> {
        let entry = self.all.vacant_entry();
        registry.register(
            &mut stream,
            Token(first_token + entry.key()),
            Interest::READABLE | Interest::WRITABLE,
        )?;
        entry.insert(Member {
            stream,
            number: [0; 4],
            heard: 0,
            pending: Vec::new(),
        });
        Ok(())
    }

    /// Sockets that have sent their number.
    pub(super) fn joined(&self) -> usize {
        self.keys.len()
    }

    pub(super) fn read(&mut self, key: usize) {
        loop {
            let Some(member) = self.all.get_mut(key) else {
                return;
            };
            let mut rest = [0; 64];
            let joined = member.heard == member.number.len();
            let buffer = if joined {
                // Nothing more is expected; only the end matters.
                &mut rest[..]
            } else {
                &mut member.number[member.heard..]
            };
            match read_some(&mut member.stream, buffer) {
                None => return self.remove(key),
                Some(0) => return,
                Some(_) if joined => {}
                Some(length) => {
                    member.heard += length;
                    if member.heard == member.number.len() {
                        self.keys.insert(u32::from_le_bytes(member.number), key);
                    }
                }
            }
        }
    }

    fn remove(&mut self, key: usize) {
        let member = self.all.remove(key);
        let number = u32::from_le_bytes(member.number);
        if self.keys.get(&number) == Some(&key) {
            self.keys.remove(&number);
        }
    }

    /// Sends at once, to one or to all.
    pub(super) fn send(&mut self, target: u32, bytes: &[u8]) {
        if target == TARGET_ALL {
            let mut failed = Vec::new();
            for (key, member) in &mut self.all {
                if member.send(bytes).is_err() {
                    failed.push(key);
                }
            }
            failed.into_iter().for_each(|key| self.remove(key));
        } else if let Some(&key) = self.keys.get(&target)
            && self.all[key].send(bytes).is_err()
        {
            self.remove(key);
        }
    }

    /// Keeps for [`Members::send_gathered`].
    pub(super) fn gather(&mut self, target: u32, bytes: &[u8]) {
        if target == TARGET_ALL {
            if !self.single.is_empty() {
                self.send_gathered();
            }
            self.shared.extend_from_slice(bytes);
            return;
        }
        if !self.shared.is_empty() {
            self.send_gathered();
        }
        let place = *self.places.entry(target).or_insert_with(|| {
            self.single
                .push((target, self.spare.pop().unwrap_or_default()));
            self.single.len() - 1
        });
        self.single[place].1.extend_from_slice(bytes);
    }

    /// One send for each socket that something was gathered for.
    pub(super) fn send_gathered(&mut self) {
        if !self.shared.is_empty() {
            let mut shared = std::mem::take(&mut self.shared);
            self.send(TARGET_ALL, &shared);
            shared.clear();
            self.shared = shared;
        }
        self.places.clear();
        let mut single = std::mem::take(&mut self.single);
        for (target, mut bytes) in single.drain(..) {
            self.send(target, &bytes);
            bytes.clear();
            self.spare.push(bytes);
        }
        self.single = single;
    }

    pub(super) fn flush(&mut self, key: usize) {
        if let Some(member) = self.all.get_mut(key)
            && member.flush().is_err()
        {
            self.remove(key);
        }
    }
}

impl Member {
    fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        let sent = if self.pending.is_empty() {
            write_some(&mut self.stream, bytes)?
        } else {
            0
        };
        if sent < bytes.len() {
            if self.pending.len() + bytes.len() > PENDING_BYTES_MAX {
                return Err(io::ErrorKind::OutOfMemory.into());
            }
            self.pending.extend_from_slice(&bytes[sent..]);
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        while !self.pending.is_empty() {
            let sent = write_some(&mut self.stream, &self.pending)?;
            if sent == 0 {
                return Ok(());
            }
            self.pending.drain(..sent);
        }
        // A socket that caught up owns no memory again.
        self.pending = Vec::new();
        Ok(())
    }
}

/// Writes until the socket accepts no more; returns how many bytes it accepted.
fn write_some(stream: &mut TcpStream, bytes: &[u8]) -> io::Result<usize> {
    let mut sent = 0;
    while sent < bytes.len() {
        match stream.write(&bytes[sent..]) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(length) => sent += length,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(sent)
}
