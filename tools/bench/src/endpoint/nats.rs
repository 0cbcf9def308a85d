//! The client protocol of NATS over TCP: `PUB` lines, which have no reply.

use std::io;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};

use super::{Endpoint, Trigger, connect};
use crate::client::nats;

pub(super) struct NatsEndpoint {
    reader: BufReader<TcpStream>,
    stream: TcpStream,
    out: Vec<u8>,
    message: Vec<u8>,
}

impl NatsEndpoint {
    pub(super) fn open(address: SocketAddr) -> io::Result<Self> {
        let stream = connect(address)?;
        let mut endpoint = Self {
            reader: BufReader::new(stream.try_clone()?),
            stream,
            out: Vec::new(),
            message: Vec::new(),
        };
        endpoint.stream.write_all(nats::CONNECT.as_bytes())?;
        endpoint.flush()?;
        Ok(endpoint)
    }
}

impl Endpoint for NatsEndpoint {
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

    /// The server replies to a `PING` after all earlier lines.
    fn flush(&mut self) -> io::Result<()> {
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
    fn a_publication_has_its_subject_and_length() {
        let mut out = Vec::new();
        write_pub("bench.all", b"a\r\nb", &mut out);
        assert_eq!(out, b"PUB bench.all 4\r\na\r\nb\r\n");
    }
}
