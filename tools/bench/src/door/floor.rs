//! The control connection of a floor.

use std::io;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use uuid::Uuid;

use super::{Door, Trigger, connect};
use crate::floor::{Command, TARGET_ALL};
use crate::message;
use crate::workload::Rooms;

pub(super) struct FloorDoor {
    stream: TcpStream,
    out: Vec<u8>,
    frame: Vec<u8>,
    data: Vec<u8>,
}

impl FloorDoor {
    pub(super) fn open(address: SocketAddr) -> io::Result<Self> {
        Ok(Self {
            stream: connect(address)?,
            out: Vec::new(),
            frame: Vec::new(),
            data: Vec::new(),
        })
    }
}

impl Door for FloorDoor {
    fn send(&mut self, trigger: &Trigger) -> io::Result<()> {
        let target = match trigger.rooms {
            Rooms::FanOut => TARGET_ALL,
            Rooms::Unicast => trigger.target,
            Rooms::Many => return Err(io::Error::other("the floor knows no subscriptions")),
        };
        self.out.clear();
        self.frame.clear();
        self.data.clear();
        trigger.write_data(&mut self.data);
        // Nobody looks at the floor's request id; it is there for its length.
        message::write_publish_frame(&self.data, Uuid::nil(), &mut self.frame);
        let bytes = &self.frame;
        Command::Send { target, bytes }.write(&mut self.out);
        self.stream.write_all(&self.out)
    }

    fn settle(&mut self) -> io::Result<()> {
        // Its answer comes after everything before it was carried out.
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
