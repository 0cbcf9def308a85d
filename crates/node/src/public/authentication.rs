//! A token in the first frame: a shard has the connection, and the API is called when the shard
//! reports the token.

use ht_backend::Credentials;
use ht_core::shard::{Handshake, SessionKey};
use ht_edge::quotas::HandshakePermits;
use ht_edge::rejection::HandshakeError;
use ht_edge::request::RequestFacts;
use ht_proto::close::Close;
use tokio::sync::oneshot;
use tracing::Instrument as _;

use crate::charge::Charged;
use crate::inbox::{self, Answered, Applicant, Arrival, Asked, Connection, Input, Wait};
use crate::pipeline::Pipeline;
use crate::public::Public;
use crate::public::bootstrap::Asking;
use crate::public::outcome::Outcome;
use crate::socket::Socket;

/// Hands a connection to a shard, calls the API with the token that its client sends there, and
/// hands over the response. `early`: data received after the handshake; `pipeline`: that of its tenant.
pub(super) async fn authenticate(
    public: &Public,
    facts: &RequestFacts,
    permits: HandshakePermits,
    (stream, early): (Charged, Vec<u8>),
    (pipeline, mut credentials): (&Pipeline, Credentials),
) {
    let Charged { stream, charge } = stream;
    let HandshakePermits {
        handshake,
        connection: permit,
    } = permits;
    let socket = match Socket::new(stream, None) {
        Ok(socket) => socket,
        Err(error) => return public.not_handed_over(facts.id, &error),
    };
    let Some((load, room)) = pipeline.reserve().await else {
        return;
    };
    let (sender, asked) = oneshot::channel();
    let wait = Wait::new(handshake, charge, early.len(), sender);
    let applicant = Connection::Applicant(Box::new(Applicant {
        socket,
        handshake: Handshake {
            id: facts.id,
            deflate: facts.deflate,
            subprotocol: facts.subprotocol,
            events: facts.events,
        },
        early,
        wait,
    }));
    room.send(Arrival::Connection(applicant));
    let Some(tenant) = public.bootstrap.tenants.get(credentials.tenant()) else {
        return;
    };
    // If there is no token, the shard ends the connection.
    let asked = tokio::select! {
        asked = asked => asked,
        // A token is not passed on any more.
        () = tenant.ended() => return,
    };
    let Ok(Asked { key, token }) = asked else {
        return;
    };
    // Its settings may have changed meanwhile. With another log it is another pipeline's client.
    let known = public.bootstrap.tenants.get(credentials.tenant());
    let Some(tenant) = known.filter(|known| known.log() == tenant.log()) else {
        return;
    };
    let inbox = &pipeline.inboxes[load.shard()];
    let mut pending = Pending {
        inbox,
        key: Some(key),
    };
    let settings = public.live.now();
    let rules = tenant.rules(&settings);
    let outcome = if rules.add_token(&mut credentials, &token).is_ok() {
        let asking = Asking {
            settings: &settings,
            tenant: &tenant,
            pipeline,
            facts,
            credentials: &credentials,
        };
        tokio::select! {
            outcome = public.bootstrap.ask(asking).instrument(tenant.span()) => outcome,
            () = public.leaving.cancelled() => return pending.leave_to_shard(),
            () = tenant.ended() => Outcome::Refused(Close::RESTART),
        }
    } else {
        // Two different tokens, or one that no header can hold.
        public.rejected(HandshakeError::Authenticate);
        Outcome::Unauthenticated
    };
    pending.answer(outcome.answered(facts, permit, load)).await;
}

/// A session that waits for a response. If this is dropped without one, none will follow.
struct Pending<'a> {
    inbox: &'a inbox::Sender,
    key: Option<SessionKey>,
}

impl Pending<'_> {
    /// The node shuts down: the shard closes the session with that reason.
    fn leave_to_shard(&mut self) {
        self.key = None;
    }

    async fn answer(&mut self, answered: Answered) {
        if let Ok(room) = self.inbox.reserve_connection().await
            && let Some(key) = self.key.take()
        {
            room.send(Arrival::To(key, Box::new(answered)));
        }
    }
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        if let Some(key) = self.key.take() {
            // A shard that has ended has no sessions.
            let _ = self.inbox.send(Input::Abandon(key));
        }
    }
}
