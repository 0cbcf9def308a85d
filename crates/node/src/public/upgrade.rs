//! Hands a connection to a shard after the 101.

use std::sync::{Arc, Mutex, PoisonError};

use ht_backend::Credentials;
use ht_edge::quotas::HandshakePermits;
use ht_edge::request::RequestFacts;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;

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

/// A connection between its 101 and its shard.
pub(super) struct Handover {
    pub(super) upgrade: OnUpgrade,
    pub(super) facts: RequestFacts,
    pub(super) permits: HandshakePermits,
    /// That of its tenant.
    pub(super) pipeline: Arc<Pipeline>,
    pub(super) entry: Entry,
}

/// Where the request's handler puts the handover for the connection's task.
#[derive(Default)]
pub(super) struct HandoverCell(Mutex<Option<Handover>>);

impl HandoverCell {
    pub(super) fn put(&self, handover: Handover) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(handover);
    }

    pub(super) fn take(&self) -> Option<Handover> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl Handover {
    /// Takes the socket back from the HTTP library and gives it to a shard.
    pub(super) async fn finish(self, public: &Public) {
        // The client may have disconnected by now.
        let Ok(upgraded) = self.upgrade.await else {
            return;
        };
        let Ok(parts) = upgraded.downcast::<TokioIo<Charged>>() else {
            debug_assert!(false, "only streams of the public listener are served");
            return;
        };
        let pipeline = &*self.pipeline;
        let (facts, early) = (&self.facts, parts.read_buf.to_vec());
        let stream = parts.io.into_inner();
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
        let connection = match outcome.connection(facts, stream, early, permit, load) {
            Ok(connection) => Box::new(connection),
            Err(error) => return public.not_handed_over(facts.id, &error),
        };
        // The client is about to be notified that its handshake has ended.
        drop((handshake, charge));
        room.send(Arrival::Connection(Connection::New(connection)));
    }
}
