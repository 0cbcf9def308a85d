//! Result of authenticating a client, and the welcome that follows from it.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use ht_backend::{CallTime, KeptCredentials};
use ht_core::shard::{Admission, Welcome};
use ht_edge::listener::Stream;
use ht_edge::permits::{ConnectionPermit, UserPermit};
use ht_edge::request::RequestFacts;
use ht_proto::close::Close;
use ht_proto::entry::TenantId;
use ht_proto::server;
use uuid::Uuid;

use crate::inbox::{Answered, NewConnection};
use crate::loads::Load;
use crate::permitted::Permitted;
use crate::socket::{About, Socket};
use crate::tickets::Holder;

/// Result of authenticating a client.
pub(super) enum Outcome {
    /// The client is admitted.
    Admitted(Box<Admitted>),
    /// The API rejects it or could not be called, or a limit is reached.
    Refused(Close),
    /// Its first frame is not a valid authentication.
    Unauthenticated,
}

/// A client that is admitted.
pub(super) struct Admitted {
    /// Whose client it is.
    pub(super) tenant: TenantId,
    /// What the API permits it.
    pub(super) permitted: Permitted,
    /// When the API was called.
    pub(super) asked_at: CallTime,
    /// Permit among the connections of its user.
    pub(super) user: Option<UserPermit>,
    /// Those that are kept while the connection is open; `None` if nothing needs them.
    pub(super) credentials: Option<Arc<KeptCredentials>>,
    /// For its resume tickets, if it gets any.
    pub(super) holder: Option<Box<Holder>>,
    /// It can send another token while it is connected.
    pub(super) has_token: bool,
    /// The id of its former connection, if its resume ticket let it in.
    pub(super) resumed: Option<Uuid>,
}

impl Outcome {
    /// Whether the client was let in by its resume ticket.
    pub(super) fn is_resumed(&self) -> bool {
        matches!(self, Self::Admitted(admitted) if admitted.resumed.is_some())
    }

    /// What a shard needs to welcome the client, or to reject it. `early`: data received after the
    /// handshake.
    ///
    /// # Errors
    /// If the socket cannot be taken from the runtime.
    pub(super) fn connection(
        self,
        facts: &RequestFacts,
        stream: Stream,
        early: Vec<u8>,
        permit: ConnectionPermit,
        load: Load,
    ) -> io::Result<NewConnection> {
        let Answered {
            welcome,
            about,
            permit,
            load,
        } = self.answered(facts, permit, load);
        Ok(NewConnection {
            // Registered anew by the shard: nothing of the handshake's registration remains.
            socket: Socket::new(stream, about)?,
            welcome,
            early,
            permit,
            load,
        })
    }

    /// The same for a client whose connection a shard has already.
    pub(super) fn answered(
        self,
        facts: &RequestFacts,
        mut permit: ConnectionPermit,
        load: Load,
    ) -> Answered {
        let mut welcome = Welcome {
            id: facts.id,
            message: Bytes::from_static(server::NOT_AUTHORIZED.as_bytes()),
            admission: Admission::TurnedAway(Close::AUTHENTICATE),
            who: None,
            asked_at: 0,
            gap: 0,
            expires_in: None,
            has_token: false,
            resumed: None,
            invalidated_at: None,
            events: facts.events,
            deflate: facts.deflate,
            subprotocol: facts.subprotocol,
            stream: None,
        };
        let mut about = None;
        match self {
            Self::Admitted(admitted) => {
                let Admitted {
                    tenant,
                    permitted,
                    asked_at,
                    user,
                    credentials,
                    holder,
                    has_token,
                    resumed,
                } = *admitted;
                welcome.message = permitted.welcome();
                welcome.admission = Admission::Admitted(permitted.grants);
                welcome.who = permitted.who;
                welcome.expires_in = permitted.expires_in;
                (welcome.asked_at, welcome.gap) = (asked_at.commands, asked_at.gap);
                welcome.has_token = has_token;
                welcome.resumed = resumed;
                about = about_client((facts, tenant), user.as_ref(), credentials, holder);
                permit.user = user;
            }
            Self::Refused(close) => welcome.admission = Admission::Refused(close),
            Self::Unauthenticated => {}
        }
        Answered {
            welcome,
            about,
            permit,
            load,
        }
    }
}

/// What is remembered of a client; `None` if nothing needs it.
fn about_client(
    (facts, tenant): (&RequestFacts, TenantId),
    user: Option<&UserPermit>,
    credentials: Option<Arc<KeptCredentials>>,
    holder: Option<Box<Holder>>,
) -> Option<Box<About>> {
    let user = user.and_then(UserPermit::user);
    let is_logged = tracing::enabled!(tracing::Level::DEBUG);
    let is_known = user.is_some() || credentials.is_some() || holder.is_some();
    // What it holds of its tenant's share is given back by that.
    let is_known = is_known || tenant != TenantId::MAIN;
    (is_known || is_logged).then(|| {
        Box::new(About {
            id: facts.id,
            tenant,
            user,
            credentials,
            holder,
            is_reported: facts.is_reported,
            pinged: None,
        })
    })
}
