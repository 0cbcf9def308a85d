//! The control connection of a floor.

use std::io;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use uuid::Uuid;

use super::{Endpoint, Trigger, connect};
use crate::floor::{Command, TARGET_ALL};
use crate::message;
use crate::workload::Rooms;

pub(super) struct FloorEndpoint {
    stream: TcpStream,
    out: Vec<u8>,
    frame: Vec<u8>,
    data: Vec<u8>,
}

impl FloorEndpoint {
    pub(super) fn open(address: SocketAddr) -> io::Result<Self> {
        Ok(Self {
            stream: connect(address)?,
            out: Vec::new(),
            frame: Vec::new(),
            data: Vec::new(),
        })
    }
}

impl Endpoint for FloorEndpoint {
    fn send(&mut self, trigger: &Trigger) -> io::Result<()> {
        let target = match trigger.rooms {
            Rooms::FanOut => TARGET_ALL,
            Rooms::Unicast => trigger.target,
            Rooms::Many | Rooms::Labelled => {
                return Err(io::Error::other("the floor knows no subscriptions"));
            }
        };
        self.out.clear();
        self.frame.clear();
        self.data.clear();
        trigger.write_data(&mut self.data);
        // The `requestId` is not checked; it only has the right length.
        message::write_publish_frame(&self.data, Uuid::nil(), &mut self.frame);
        let bytes = &self.frame;
        Command::Send { target, bytes }.write(&mut self.out);
        self.stream.write_all(&self.out)
    }

    fn flush(&mut self) -> io::Result<()> {
        // The reply follows after all earlier commands were executed.
        self.joined().map(|_| ())
    }

    fn joined(&mut self) -> io::Result<Option<usize>> {
        self.out.clear();
        Command::Count.write(&mut self.out);
        self.stream.write_all(&self.out)?;
        let mut count = [0; 4];
        self.stream.read_exact(&mut count)?;
        Ok(Some(u32::from_le_bytes(count) as usize))
    }
}
