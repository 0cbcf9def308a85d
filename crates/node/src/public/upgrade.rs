//! Hands a connection to a shard: a websocket after the 101, a stream before any response.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ht_backend::Credentials;
use ht_core::stream::Opening;
use ht_edge::quotas::HandshakePermits;
use ht_edge::request::RequestFacts;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::sync::Notify;

use crate::charge::Charged;
use crate::inbox::{Arrival, Connection};
use crate::pipeline::Pipeline;
use crate::public::Public;
use crate::public::authentication::authenticate;
use crate::public::outcome::Outcome;

/// State of the authentication before the 101.
pub(super) enum Entry {
    /// The API has responded.
    Asked(Outcome),
    /// The API is called when the first frame has brought a token, which is added to these.
    AwaitsToken(Credentials),
}

/// How the socket is taken from the HTTP library.
pub(super) enum Way {
    /// After the 101, which the library writes.
    Upgrade(OnUpgrade),
    /// At once: the shard writes the response to this request.
    Stream(Box<Opening>),
}

/// A connection between its request and its shard.
pub(super) struct Handover {
    pub(super) way: Way,
    pub(super) facts: RequestFacts,
    pub(super) permits: HandshakePermits,
    /// That of its tenant.
    pub(super) pipeline: Arc<Pipeline>,
    pub(super) entry: Entry,
}

/// Where the request's handler puts the handover for the connection's task.
#[derive(Default)]
pub(super) struct HandoverCell {
    handover: Mutex<Option<Handover>>,
    taken_over: Notify,
}

impl HandoverCell {
    pub(super) fn put(&self, handover: Handover) {
        *self.lock() = Some(handover);
    }

    /// The connection's task is to take the socket at once.
    pub(super) fn take_over(&self, handover: Handover) {
        self.put(handover);
        self.taken_over.notify_one();
    }

    /// Ready when [`Self::take_over`] was called.
    pub(super) async fn taken_over(&self) {
        self.taken_over.notified().await;
    }

    pub(super) fn take(&self) -> Option<Handover> {
        self.lock().take()
    }

    fn lock(&self) -> MutexGuard<'_, Option<Handover>> {
        self.handover.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Handover {
    /// Takes the socket of a websocket back from the HTTP library and gives it to a shard.
    pub(super) async fn upgraded(mut self, public: &Public) {
        let Way::Upgrade(upgrade) = &mut self.way else {
            return;
        };
        // The client may have disconnected by now.
        let Ok(upgraded) = upgrade.await else {
            return;
        };
        let Ok(parts) = upgraded.downcast::<TokioIo<Charged>>() else {
            debug_assert!(false, "only streams of the public listener are served");
            return;
        };
        let early = parts.read_buf.to_vec();
        self.finish(public, parts.io.into_inner(), early).await;
    }

    /// Gives a socket to a shard, which answers the request. What else was read means nothing.
    pub(super) async fn taken_over(self, public: &Public, stream: Charged) {
        self.finish(public, stream, Vec::new()).await;
    }

    async fn finish(self, public: &Public, stream: Charged, early: Vec<u8>) {
        let facts = &self.facts;
        let pipeline = &*self.pipeline;
        let outcome = match self.entry {
            Entry::Asked(outcome) => outcome,
            Entry::AwaitsToken(credentials) => {
                let upgraded = (stream, early);
                let from = (pipeline, credentials);
                return authenticate(public, facts, self.permits, upgraded, from).await;
            }
        };
        let Charged { stream, charge } = stream;
        let HandshakePermits {
            handshake,
            connection: permit,
        } = self.permits;
        let Some((load, room)) = pipeline.reserve().await else {
            return;
        };
        let mut connection = match outcome.connection(facts, stream, early, permit, load) {
            Ok(connection) => Box::new(connection),
            Err(error) => return public.not_handed_over(facts.id, &error),
        };
        if let Way::Stream(opening) = self.way {
            connection.welcome.stream = Some(opening);
        }
        // The client is about to be notified that its handshake has ended.
        drop((handshake, charge));
        room.send(Arrival::Connection(Connection::New(connection)));
    }
}
