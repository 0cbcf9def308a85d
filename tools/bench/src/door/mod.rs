//! Ways to hand a trigger to a server.

mod amqp;
mod floor;
mod grip;
mod http;
mod nats;

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use uuid::Uuid;

pub use self::http::Post;
use crate::message;
use crate::message::{Content, Stamp};
use crate::workload::Rooms;

/// Triggers that may be unanswered, where a server answers. Well above what a window asks for,
/// and well below what the sockets' buffers hold.
const UNANSWERED_MAX: u64 = 64;
/// A server that is silent for this long has failed.
const PATIENCE: Duration = Duration::from_secs(20);

/// One trigger.
#[derive(Clone, Copy, Debug)]
pub struct Trigger {
    /// Who hears it.
    pub rooms: Rooms,
    /// Which room or rooms it names; see [`Rooms`].
    pub target: u32,
    /// Its numbers and time.
    pub stamp: Stamp,
    /// Length of its data, in bytes of JSON.
    pub data_bytes: usize,
    /// What its data looks like.
    pub content: Content,
}

impl Trigger {
    /// Appends the data.
    fn write_data(&self, out: &mut Vec<u8>) {
        self.content.write(&self.stamp, self.data_bytes, out);
    }

    fn room_name(&self) -> String {
        self.rooms.name(self.target)
    }

    /// Appends rooms and data, as high-templar is told them.
    fn write_trigger(&self, out: &mut Vec<u8>) {
        let room = self.rooms.room(self.target);
        out.extend_from_slice(format!(r#"{{"rooms":[{room}],"data":"#).as_bytes());
        self.write_data(out);
        out.push(b'}');
    }

    /// Appends the message that subscribers are to get. Nobody looks at its request id: it is
    /// there for its length.
    fn write_message(&self, out: &mut Vec<u8>) {
        let mut data = Vec::new();
        self.write_data(&mut data);
        message::write_publish(&data, Uuid::nil(), out);
    }
}

/// A way to hand triggers over, in order.
pub trait Door: Send {
    /// Sends one.
    ///
    /// # Errors
    /// When the connection fails or the server refused an earlier one.
    fn send(&mut self, trigger: &Trigger) -> io::Result<()>;

    /// Waits until the server has answered for all, where it answers.
    ///
    /// # Errors
    /// When it refused one or does not answer.
    fn settle(&mut self) -> io::Result<()>;

    /// How many clients have joined, where only the server knows: `None` where each client is
    /// told.
    ///
    /// # Errors
    /// When the server does not answer.
    fn joined(&mut self) -> io::Result<Option<usize>> {
        Ok(None)
    }
}

/// Where triggers go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DoorAt {
    /// The control connection of a floor.
    Floor(SocketAddr),
    /// HTTP on one kept connection.
    Http(SocketAddr, Post),
    /// pushpin's control port.
    Grip(SocketAddr),
    /// RabbitMQ, by its url.
    Amqp(String),
    /// NATS over TCP.
    Nats(SocketAddr),
}

impl DoorAt {
    /// Opens it.
    ///
    /// # Errors
    /// When nobody listens there.
    pub fn open(&self) -> io::Result<Box<dyn Door>> {
        Ok(match self {
            Self::Floor(address) => Box::new(floor::FloorDoor::open(*address)?),
            Self::Http(address, post) => Box::new(http::HttpDoor::open(*address, *post)?),
            Self::Grip(address) => Box::new(grip::GripDoor::open(*address)?),
            Self::Amqp(url) => Box::new(amqp::AmqpDoor::open(url)?),
            Self::Nats(address) => Box::new(nats::NatsDoor::open(*address)?),
        })
    }
}

fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    if !address.ip().is_loopback() {
        let problem = format!("{address} is not a loopback address");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, problem));
    }
    let stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(stream)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_machines_are_not_reached() {
        for address in ["10.0.0.1:80", "[2001:db8::1]:80"] {
            let address: SocketAddr = address.parse().unwrap();
            assert!(DoorAt::Http(address, Post::Trigger).open().is_err());
            assert!(DoorAt::Floor(address).open().is_err());
            assert!(DoorAt::Grip(address).open().is_err());
            assert!(DoorAt::Nats(address).open().is_err());
        }
    }
}
