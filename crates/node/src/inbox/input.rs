//! The inputs of a shard.

pub(crate) use ht_control::input::Batch;
use ht_control::turn;
use ht_core::shard::{Handshake, SessionKey, Wave, Welcome};
use ht_edge::permits::ConnectionPermit;
use ht_edge::quotas::HandshakePermit;
use ht_proto::token::Token;
use tokio::sync::oneshot;

use crate::charge::HandshakeCharge;
use crate::loads::Load;
use crate::socket::{About, Socket};

/// An input of a shard.
pub(crate) type Input = ht_control::input::Input<oneshot::Sender<()>, oneshot::Sender<Wave>>;

/// An input in the queue of connections.
pub(crate) type Arrival = turn::Arrival<Connection, Box<Answered>>;

/// A connection that is handed to its shard.
pub(crate) enum Connection {
    /// The API has responded for it.
    New(Box<NewConnection>),
    /// Its client must send its token.
    Applicant(Box<Applicant>),
}

/// A connection that is handed to its shard, where its client must send its token.
pub(crate) struct Applicant {
    pub(crate) socket: Socket,
    pub(crate) handshake: Handshake,
    /// Early data: bytes that were read together with the handshake.
    pub(crate) early: Vec<u8>,
    pub(crate) wait: Wait,
}

/// What an unauthenticated client holds: its shard drops it when the wait has ended.
pub(crate) struct Wait {
    _permit: HandshakePermit,
    charge: HandshakeCharge,
    /// Bytes that it is charged for already, and that its shard has not processed yet.
    charged: usize,
    /// Passes the token to the task that calls the API; `None` once it was passed.
    asked: Option<oneshot::Sender<Asked>>,
}

/// A session's token.
pub(crate) struct Asked {
    pub(crate) key: SessionKey,
    pub(crate) token: Token,
}

/// The API's response for a session, and what is remembered of its client.
pub(crate) struct Answered {
    pub(crate) welcome: Welcome,
    pub(crate) about: Option<Box<About>>,
    /// Its permit among the connections.
    pub(crate) permit: ConnectionPermit,
    /// Its permit among the connections of its shard.
    pub(crate) load: Load,
}

impl Wait {
    /// A wait starts. `charged`: how much early data was charged before.
    pub(crate) fn new(
        permit: HandshakePermit,
        charge: HandshakeCharge,
        charged: usize,
        asked: oneshot::Sender<Asked>,
    ) -> Self {
        Self {
            _permit: permit,
            charge,
            charged,
            asked: Some(asked),
        }
    }

    /// Charges bytes that were read. False: the memory limit of handshakes is reached.
    pub(crate) fn hold(&mut self, bytes: usize) -> bool {
        let before = bytes.min(self.charged);
        self.charged -= before;
        bytes == before || self.charge.add(bytes - before).is_ok()
    }

    /// Starts the call to the API. False: no call will be made any more.
    pub(crate) fn ask(&mut self, asked: Asked) -> bool {
        let sender = self.asked.take();
        sender.is_some_and(|sender| sender.send(asked).is_ok())
    }
}

/// A connection that is handed to its shard after its handshake.
pub(crate) struct NewConnection {
    pub(crate) socket: Socket,
    pub(crate) welcome: Welcome,
    /// Early data: bytes that were read together with the handshake.
    pub(crate) early: Vec<u8>,
    /// Its permit among the connections.
    pub(crate) permit: ConnectionPermit,
    /// Its permit among the connections of its shard.
    pub(crate) load: Load,
}
