//! Hands a connection to a shard after the 101.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use ht_backend::Credentials;
use ht_edge::quotas::HandshakePermits;
use ht_edge::request::RequestFacts;
use ht_proto::close::Close;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;

use crate::charge::Charged;
use crate::inbox::{self, Arrival, Connection, Input};
use crate::loads::{Load, Loads};
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

/// The shards, for new connections.
pub(crate) struct Destinations {
    pub(crate) loads: Arc<Loads>,
    pub(crate) inboxes: Vec<inbox::Sender>,
    /// The shard of the next connection if all have equally many.
    pub(crate) next: AtomicUsize,
}

impl Destinations {
    /// Room for a connection in the shard that has the fewest; `None` if all shards have ended.
    pub(super) async fn reserve(&self) -> Option<(Load, inbox::Permit<'_>)> {
        let first = self.next.fetch_add(1, Ordering::Relaxed);
        for shard in self.loads.shards_by_load(first) {
            // A shard that has ended takes no connection; if all have, the node shuts down.
            if let Ok(room) = self.inboxes[shard].reserve_connection().await {
                return Some((self.loads.assign(shard), room));
            }
        }
        None
    }
}

impl Destinations {
    /// Has the shards close the sessions that are not authenticated: the node shuts down.
    pub(super) fn close_unauthenticated(&self) {
        for inbox in &self.inboxes {
            // A shard that has ended has no connections.
            let _ = inbox.send(Input::CloseUnauthenticated(Close::RESTART));
        }
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
        let (facts, early) = (&self.facts, parts.read_buf.to_vec());
        let stream = parts.io.into_inner();
        let outcome = match self.entry {
            Entry::Asked(outcome) => outcome,
            Entry::AwaitsToken(credentials) => {
                let upgraded = (stream, early);
                return authenticate(public, facts, self.permits, upgraded, credentials).await;
            }
        };
        let Charged { stream, charge } = stream;
        let HandshakePermits {
            handshake,
            connection: permit,
        } = self.permits;
        let Some((load, room)) = public.destinations.reserve().await else {
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
