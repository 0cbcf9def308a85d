//! Endpoints of servers that accept triggers.

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

/// Maximum triggers without a response, if the server responds. It is well above any window, and
/// they fit into the sockets' buffers.
const UNANSWERED_MAX: u64 = 64;
/// Timeout of a response.
const TIMEOUT: Duration = Duration::from_secs(20);

/// One trigger.
#[derive(Clone, Copy, Debug)]
pub struct Trigger {
    /// Its receivers.
    pub rooms: Rooms,
    /// The target; see [`Rooms`].
    pub target: u32,
    /// Its numbers and time.
    pub stamp: Stamp,
    /// Length of its data, in bytes of JSON.
    pub data_bytes: usize,
    /// Kind of its data.
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

    /// Appends rooms and data, as in a trigger of high-templar.
    fn write_trigger(&self, out: &mut Vec<u8>) {
        let room = self.rooms.room(self.target);
        out.extend_from_slice(format!(r#"{{"rooms":[{room}],"data":"#).as_bytes());
        self.write_data(out);
        out.push(b'}');
    }

    /// Appends the message for subscribers. Its `requestId` is not checked; it only has the right
    /// length.
    fn write_message(&self, out: &mut Vec<u8>) {
        let mut data = Vec::new();
        self.write_data(&mut data);
        message::write_publish(&data, Uuid::nil(), out);
    }
}

/// Sends triggers in order.
pub trait Endpoint: Send {
    /// Sends one.
    ///
    /// # Errors
    /// When the connection fails or the server refused an earlier one.
    fn send(&mut self, trigger: &Trigger) -> io::Result<()>;

    /// Waits for the responses to all triggers, if the server responds.
    ///
    /// # Errors
    /// When it refused one or does not respond.
    fn flush(&mut self) -> io::Result<()>;

    /// Number of clients that have joined, if the protocol does not confirm it to each client;
    /// otherwise `None`.
    ///
    /// # Errors
    /// When the server does not respond.
    fn joined(&mut self) -> io::Result<Option<usize>> {
        Ok(None)
    }
}

/// Address of an endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EndpointAt {
    /// The control connection of a floor.
    Floor(SocketAddr),
    /// HTTP over one persistent connection.
    Http(SocketAddr, Post),
    /// pushpin's control port.
    Grip(SocketAddr),
    /// RabbitMQ, by its URL.
    Amqp(String),
    /// NATS over TCP.
    Nats(SocketAddr),
}

impl EndpointAt {
    /// Opens it.
    ///
    /// # Errors
    /// When the connection fails.
    pub fn open(&self) -> io::Result<Box<dyn Endpoint>> {
        Ok(match self {
            Self::Floor(address) => Box::new(floor::FloorEndpoint::open(*address)?),
            Self::Http(address, post) => Box::new(http::HttpEndpoint::open(*address, *post)?),
            Self::Grip(address) => Box::new(grip::GripEndpoint::open(*address)?),
            Self::Amqp(url) => Box::new(amqp::AmqpEndpoint::open(url)?),
            Self::Nats(address) => Box::new(nats::NatsEndpoint::open(*address)?),
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
    stream.set_write_timeout(Some(TIMEOUT))?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    Ok(stream)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_other_machines_are_rejected() {
        for address in ["10.0.0.1:80", "[2001:db8::1]:80"] {
            let address: SocketAddr = address.parse().unwrap();
            assert!(EndpointAt::Http(address, Post::Trigger).open().is_err());
            assert!(EndpointAt::Floor(address).open().is_err());
            assert!(EndpointAt::Grip(address).open().is_err());
            assert!(EndpointAt::Nats(address).open().is_err());
        }
    }
}
