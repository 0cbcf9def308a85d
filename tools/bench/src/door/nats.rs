//! The client protocol of NATS over TCP: `PUB` lines, which nobody answers.

use std::io;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};

use super::{Door, Trigger, connect};
use crate::client::nats;

pub(super) struct NatsDoor {
    reader: BufReader<TcpStream>,
    stream: TcpStream,
    out: Vec<u8>,
    message: Vec<u8>,
}

impl NatsDoor {
    pub(super) fn open(address: SocketAddr) -> io::Result<Self> {
        let stream = connect(address)?;
        let mut door = Self {
            reader: BufReader::new(stream.try_clone()?),
            stream,
            out: Vec::new(),
            message: Vec::new(),
        };
        door.stream.write_all(nats::CONNECT.as_bytes())?;
        door.settle()?;
        Ok(door)
    }
}

impl Door for NatsDoor {
    fn send(&mut self, trigger: &Trigger) -> io::Result<()> {
        self.out.clear();
        self.message.clear();
        trigger.write_message(&mut self.message);
        write_pub(
            &nats::subject(trigger.rooms, trigger.target),
            &self.message,
            &mut self.out,
        );
        self.stream.write_all(&self.out)
    }

    /// A server answers a `PING` after everything that was said before it.
    fn settle(&mut self) -> io::Result<()> {
        self.stream.write_all(b"PING\r\n")?;
        let mut line = String::new();
        loop {
            line.clear();
            if self.reader.read_line(&mut line)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            match line.trim_end() {
                "PONG" => return Ok(()),
                "PING" => self.stream.write_all(b"PONG\r\n")?,
                error if error.starts_with("-ERR") => {
                    return Err(io::Error::other(format!("refused: {error}")));
                }
                _ => {}
            }
        }
    }
}

fn write_pub(subject: &str, message: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(format!("PUB {subject} {}\r\n", message.len()).as_bytes());
    out.extend_from_slice(message);
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_publication_says_its_subject_and_length() {
        let mut out = Vec::new();
        write_pub("bench.all", b"a\r\nb", &mut out);
        assert_eq!(out, b"PUB bench.all 4\r\na\r\nb\r\n");
    }
}
