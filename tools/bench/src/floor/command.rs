//! The protocol of the control connection: a length (`u32`, little endian, of the rest), a target
//! (`u32`), and the bytes to send.

use mio::net::TcpStream;

use super::read_some;

/// The target that means every socket.
pub const TARGET_ALL: u32 = u32::MAX;
/// The target that requests the number of joined sockets.
const TARGET_COUNT: u32 = u32::MAX - 1;
/// Longest command.
const COMMAND_BYTES_MAX: usize = 1 << 20;
/// Bytes that are read before they are executed.
const TURN_BYTES_MAX: usize = 256 << 10;

/// One command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command<'a> {
    /// Sends bytes to the socket with this number, or to all.
    Send {
        /// A socket's number or [`TARGET_ALL`].
        target: u32,
        /// The bytes to send.
        bytes: &'a [u8],
    },
    /// Requests the number of joined sockets, sent back as a `u32`.
    Count,
}

impl Command<'_> {
    /// Appends the command as it travels.
    pub fn write(&self, out: &mut Vec<u8>) {
        let (target, bytes) = match *self {
            Command::Send { target, bytes } => (target, bytes),
            Command::Count => (TARGET_COUNT, &[][..]),
        };
        out.extend_from_slice(&(bytes.len() as u32 + 4).to_le_bytes());
        out.extend_from_slice(&target.to_le_bytes());
        out.extend_from_slice(bytes);
    }
}

/// Bytes of the control connection, cut into commands.
#[derive(Debug)]
pub(super) struct Commands {
    chunk: Vec<u8>,
    // Filled up to here.
    filled: usize,
}

/// The control connection sent something that is no command.
#[derive(Debug)]
pub(super) struct Garbled;

/// The complete commands of one turn.
#[derive(Debug)]
pub(super) struct Turn {
    bytes: Vec<u8>,
    whole: usize,
    filled: usize,
}

impl Default for Commands {
    fn default() -> Self {
        Self {
            chunk: vec![0; COMMAND_BYTES_MAX + TURN_BYTES_MAX],
            filled: 0,
        }
    }
}

impl Commands {
    /// Reads up to a turn. Returns whether the connection is open, and whether all was read.
    pub(super) fn fill(&mut self, stream: &mut TcpStream) -> (bool, bool) {
        let end = (self.filled + TURN_BYTES_MAX).min(self.chunk.len());
        while self.filled < end {
            match read_some(stream, &mut self.chunk[self.filled..end]) {
                None => return (false, true),
                Some(0) => return (true, true),
                Some(length) => self.filled += length,
            }
        }
        (true, false)
    }

    /// The complete commands that were read; to be returned with [`Commands::give_back`].
    pub(super) fn take(&mut self) -> Result<Turn, Garbled> {
        let mut whole = 0;
        loop {
            let rest = &self.chunk[whole..self.filled];
            let Some(length) = rest.first_chunk::<4>().map(|b| u32::from_le_bytes(*b)) else {
                break;
            };
            let length = length as usize;
            if !(4..=COMMAND_BYTES_MAX - 4).contains(&length) {
                return Err(Garbled);
            }
            if rest.len() < 4 + length {
                break;
            }
            whole += 4 + length;
        }
        Ok(Turn {
            bytes: std::mem::take(&mut self.chunk),
            whole,
            filled: self.filled,
        })
    }

    /// Keeps the rest of the turn.
    pub(super) fn give_back(&mut self, mut turn: Turn) {
        turn.bytes.copy_within(turn.whole..turn.filled, 0);
        self.filled = turn.filled - turn.whole;
        self.chunk = turn.bytes;
    }
}

impl Turn {
    pub(super) fn commands(&self) -> impl Iterator<Item = Command<'_>> {
        let mut rest = &self.bytes[..self.whole];
        std::iter::from_fn(move || {
            let (length, after) = rest.split_first_chunk::<4>()?;
            let (command, after) = after.split_at(u32::from_le_bytes(*length) as usize);
            rest = after;
            let (target, bytes) = command.split_first_chunk::<4>()?;
            Some(match u32::from_le_bytes(*target) {
                TARGET_COUNT => Command::Count,
                target => Command::Send { target, bytes },
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SENT: [Command<'static>; 4] = [
        Command::Send {
            target: TARGET_ALL,
            bytes: b"all",
        },
        Command::Count,
        Command::Send {
            target: 7,
            bytes: b"",
        },
        Command::Send {
            target: 0,
            bytes: b"first",
        },
    ];

    #[test]
    fn commands_survive_any_cut() {
        let mut bytes = Vec::new();
        SENT.iter().for_each(|c| c.write(&mut bytes));
        for cut in 0..=bytes.len() {
            let mut commands = Commands::default();
            let mut heard = 0;
            for part in [&bytes[..cut], &bytes[cut..]] {
                commands.chunk[commands.filled..][..part.len()].copy_from_slice(part);
                commands.filled += part.len();
                let turn = commands.take().unwrap();
                for command in turn.commands() {
                    assert_eq!(command, SENT[heard]);
                    heard += 1;
                }
                commands.give_back(turn);
            }
            assert_eq!((heard, commands.filled), (SENT.len(), 0));
        }
    }

    #[test]
    fn a_length_out_of_bounds_is_refused() {
        for length in [0, 3, COMMAND_BYTES_MAX as u32, u32::MAX] {
            let mut commands = Commands::default();
            commands.chunk[..4].copy_from_slice(&length.to_le_bytes());
            commands.filled = 4;
            assert!(commands.take().is_err());
        }
    }
}
