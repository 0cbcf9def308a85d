//! What goes into a shard.

pub(crate) use ht_control::input::Batch;
use ht_control::turn;
use ht_core::shard::{Handshake, SessionKey, Wave, Welcome};
use ht_edge::permits::{AddressPermit, ConnectionPermit};
use ht_proto::token::Token;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use crate::charge::HandshakeCharge;
use crate::loads::Load;
use crate::socket::{About, Socket};

/// What a shard may be told.
pub(crate) type Input = ht_control::input::Input<oneshot::Sender<()>, oneshot::Sender<Wave>>;

/// What comes into a shard in the queue of connections.
pub(crate) type Arrival = turn::Arrival<Connection, Box<Answered>>;

/// A connection on its way to its shard.
pub(crate) enum Connection {
    /// The API has answered about it.
    New(Box<NewConnection>),
    /// Its client is to send its token.
    Applicant(Box<Applicant>),
}

/// A connection on its way to its shard: its client is to send its token there.
pub(crate) struct Applicant {
    pub(crate) socket: Socket,
    pub(crate) handshake: Handshake,
    /// What its client sent since: bytes that were read together with the handshake.
    pub(crate) early: Vec<u8>,
    pub(crate) wait: Wait,
}

/// What a client holds while it is not authenticated: its shard drops it when the wait is over.
pub(crate) struct Wait {
    /// One of all handshakes, and of those of its address.
    _permits: (OwnedSemaphorePermit, AddressPermit),
    charge: HandshakeCharge,
    /// Bytes that it is charged for already, and that its shard did not process yet.
    charged: usize,
    /// Who asks the API about it; none once it does.
    asked: Option<oneshot::Sender<Asked>>,
}

/// A session's token.
pub(crate) struct Asked {
    pub(crate) key: SessionKey,
    pub(crate) token: Token,
}

/// What the API has answered about a session, and what is remembered of its client.
pub(crate) struct Answered {
    pub(crate) welcome: Welcome,
    pub(crate) about: Option<Box<About>>,
    /// Its permit among the connections.
    pub(crate) permit: ConnectionPermit,
    /// The same among those of its shard.
    pub(crate) load: Load,
}

impl Wait {
    /// A wait that begins. `charged`: how much the client sent that was charged before.
    pub(crate) fn new(
        permits: (OwnedSemaphorePermit, AddressPermit),
        charge: HandshakeCharge,
        charged: usize,
        asked: oneshot::Sender<Asked>,
    ) -> Self {
        Self {
            _permits: permits,
            charge,
            charged,
            asked: Some(asked),
        }
    }

    /// Charges bytes that were read. False: too much is held for handshakes.
    pub(crate) fn hold(&mut self, bytes: usize) -> bool {
        let before = bytes.min(self.charged);
        self.charged -= before;
        bytes == before || self.charge.add(bytes - before).is_ok()
    }

    /// Has the API asked. False: nobody will ask it any more.
    pub(crate) fn ask(&mut self, asked: Asked) -> bool {
        let sender = self.asked.take();
        sender.is_some_and(|sender| sender.send(asked).is_ok())
    }
}

/// A connection on its way to its shard: its handshake is done.
pub(crate) struct NewConnection {
    pub(crate) socket: Socket,
    pub(crate) welcome: Welcome,
    /// What its client sent since: bytes that were read together with the handshake.
    pub(crate) early: Vec<u8>,
    /// Its permit among the connections.
    pub(crate) permit: ConnectionPermit,
    /// The same among those of its shard.
    pub(crate) load: Load,
}
