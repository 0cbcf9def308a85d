//! The bootstrap call for a client, and what follows from the API's response.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ht_backend::{Answer, Credentials, Refusal};
use ht_core::shard::{Admission, Welcome};
use ht_edge::handshake::Agreed;
use ht_edge::permits::UserPermit;
use ht_proto::close::Close;
use ht_proto::grant::{GrantList, Unusable};
use ht_proto::page::{self, Unsendable};
use ht_proto::server;
use ht_proto::subprotocol::Subprotocol;
use ht_proto::who::WhoError;
use uuid::Uuid;

use crate::counters::{BootstrapOutcome, HandshakeError};
use crate::live::LiveSettings;
use crate::public::{Public, verdict};
use crate::socket::About;

/// Span in which clients are to reconnect that were rejected because memory is short, in ms.
const SPREAD: u32 = 20_000;

/// Result of the bootstrap call for a client.
pub(super) struct Verdict {
    pub(super) welcome: Welcome,
    pub(super) about: Option<Box<About>>,
    /// Permit among the connections of its user.
    pub(super) user: Option<UserPermit>,
}

impl Verdict {
    /// Asks the API who a client is, within `limits.handshake_timeout`.
    pub(super) async fn ask(
        public: &Public,
        settings: &LiveSettings,
        credentials: Credentials,
        agreed: Agreed,
    ) -> Self {
        let limit = settings.limits.handshake_timeout;
        let answer = public.backend.bootstrap(&credentials);
        match tokio::time::timeout(limit, answer).await {
            Ok(answer) => Self::new(public, settings, answer, credentials, agreed),
            Err(_) => Self::late(public, agreed),
        }
    }

    /// Turns the API's answer into the first message and what may follow. Counts and logs it.
    fn new(
        public: &Public,
        settings: &LiveSettings,
        answer: Answer,
        credentials: Credentials,
        agreed: Agreed,
    ) -> Self {
        let id = Uuid::new_v4();
        let counter = &public.node.counters.bootstraps;
        let close = match answer {
            Answer::Admitted(_) if public.node.memory.is_short() => {
                counter.add(BootstrapOutcome::Admitted);
                public
                    .node
                    .counters
                    .handshake_errors
                    .add(HandshakeError::Memory);
                Close::OVERLOADED.within(SPREAD)
            }
            Answer::Admitted(admission) => match parse(&admission.allowed_rooms) {
                Some(list) => {
                    counter.add(BootstrapOutcome::Admitted);
                    warn_of_ignored(public, id, &admission.ignored);
                    match take_user(public, settings, admission.user_id.as_deref()) {
                        Ok(user) => {
                            return Self::admitted(public, id, list, user, credentials, agreed);
                        }
                        Err(close) => close,
                    }
                }
                None => {
                    counter.add(BootstrapOutcome::Refused(Refusal::AllowedRooms.kind()));
                    verdict::log_refusal(public, id, &Refusal::AllowedRooms);
                    refused_with(agreed)
                }
            },
            Answer::Refused(refusal) => {
                counter.add(BootstrapOutcome::Refused(refusal.kind()));
                verdict::log_refusal(public, id, &refusal);
                refused_with(agreed)
            }
            Answer::Failed(failure) => {
                counter.add(BootstrapOutcome::Failed(failure.kind()));
                verdict::log_failure(public, id, &failure);
                match agreed.subprotocol {
                    // What Python 3.1 did with every answer that it could read.
                    None if failure.is_answer() => Close::NORMAL,
                    Some(Subprotocol::V1) | None => {
                        let span = retry_within_ms(public, failure.retry_after());
                        Close::BACKEND.within(span)
                    }
                }
            }
        };
        Self::unwelcome(id, Admission::Refused(close), agreed)
    }

    /// For a client whose handshake takes too long.
    fn late(public: &Public, agreed: Agreed) -> Self {
        public
            .node
            .counters
            .handshake_errors
            .add(HandshakeError::HandshakeTimeout);
        let id = Uuid::new_v4();
        if let Some(suppressed) = public.node.throttles.tell("handshake-timeout") {
            tracing::warn!(
                connection = %id,
                suppressed,
                "no response from the backend within limits.handshake_timeout"
            );
        }
        let close = Close::OVERLOADED.within(retry_within_ms(public, None));
        Self::unwelcome(id, Admission::Refused(close), agreed)
    }

    /// For a client whose first frame is no valid authentication.
    pub(super) fn unauthenticated(agreed: Agreed) -> Self {
        let admission = Admission::TurnedAway(Close::AUTHENTICATE);
        Self::unwelcome(Uuid::new_v4(), admission, agreed)
    }

    fn unwelcome(id: Uuid, admission: Admission, agreed: Agreed) -> Self {
        Self {
            welcome: Welcome {
                id,
                message: Bytes::from_static(server::NOT_AUTHORIZED.as_bytes()),
                admission,
                deflate: agreed.deflate,
                subprotocol: agreed.subprotocol,
            },
            about: None,
            user: None,
        }
    }

    fn admitted(
        public: &Public,
        id: Uuid,
        list: GrantList,
        permit: Option<UserPermit>,
        credentials: Credentials,
        agreed: Agreed,
    ) -> Self {
        warn_of_unusable(public, id, list.unusable.as_ref());
        warn_of_unsendable(public, id, &list.text);
        let message = server::authorized(&list.text).into();
        let admission = Admission::Admitted(public.grants.intern(list.rooms));
        let credentials = public.has_hooks.then(|| Arc::new(credentials));
        let user = permit.as_ref().and_then(UserPermit::user);
        let told = tracing::enabled!(tracing::Level::DEBUG);
        let about = (user.is_some() || credentials.is_some() || told).then(|| {
            Box::new(About {
                id,
                user,
                kept_bytes: credentials.as_ref().map_or(0, |it| it.kept_bytes()),
                credentials,
                pinged: None,
            })
        });
        Self {
            welcome: Welcome {
                id,
                message,
                admission,
                deflate: agreed.deflate,
                subprotocol: agreed.subprotocol,
            },
            about,
            user: permit,
        }
    }
}

/// Longest room that is logged, in characters.
const ROOM_SHOWN: usize = 200;

/// Logs a grant that permits nothing, because no request can name such a room.
fn warn_of_unusable(public: &Public, connection: Uuid, unusable: Option<&Unusable>) {
    let Some(Unusable { item, problem }) = unusable else {
        return;
    };
    if let Some(suppressed) = public.node.throttles.tell("unusable-grant") {
        let room: String = item.chars().take(ROOM_SHOWN).collect();
        tracing::warn!(
            %connection,
            room,
            suppressed,
            "a grant of the backend permits nothing: {problem}. Correct it in allowed_rooms, and in \
             the triggers for that room"
        );
    }
}

/// Logs what the API says of a client and is not what it must be, so that it counts as absent.
fn warn_of_ignored(public: &Public, connection: Uuid, ignored: &[WhoError]) {
    for cause in ignored {
        if let Some(suppressed) = public.node.throttles.tell(cause.member()) {
            tracing::warn!(
                %connection,
                %cause,
                suppressed,
                "ignoring a member of the backend's answer. Correct it in the API, or leave it out"
            );
        }
    }
}

/// Logs a grant that no page can make use of, because JavaScript cannot send its number.
fn warn_of_unsendable(public: &Public, connection: Uuid, rooms: &str) {
    let Some(Unsendable { item, number, sent }) = page::unsendable(rooms) else {
        return;
    };
    if let Some(suppressed) = public.node.throttles.tell("unsendable") {
        let room: String = item.chars().take(ROOM_SHOWN).collect();
        tracing::warn!(
            %connection,
            room,
            suppressed,
            "no web page can ask for a room that the backend grants: JavaScript sends {number} as \
             {sent}, which is another room. Send ids beyond 2^53 as text, and whole numbers \
             without .0, in bootstrap and in triggers"
        );
    }
}

/// Takes a permit among the connections of the user, if it is known.
fn take_user(
    public: &Public,
    settings: &LiveSettings,
    user: Option<&str>,
) -> Result<Option<UserPermit>, Close> {
    let Some(user) = user else {
        return Ok(None);
    };
    let limit = settings.limits.connections_per_user;
    let permit = UserPermit::take(&public.node.permits, user, limit);
    if permit.is_none() {
        public
            .node
            .counters
            .handshake_errors
            .add(HandshakeError::ConnectionsPerUser);
        if let Some(suppressed) = public.node.throttles.tell("connections-per-user") {
            tracing::warn!(
                user,
                limit,
                suppressed,
                "limits.connections_per_user is reached: rejecting further connections of a user"
            );
        }
    }
    permit.map(Some).ok_or(Close::CONNECTIONS_PER_USER)
}

/// The reconnect span of a client whom the backend could not be asked about, in ms. Clients pick a
/// random moment of it; what the backend asked for in `Retry-After` comes on top, so that they
/// are spread in any case.
fn retry_within_ms(public: &Public, retry_after: Option<Duration>) -> u32 {
    let span = public.backend.come_back_within() + retry_after.unwrap_or_default();
    u32::try_from(span.as_millis()).unwrap_or(u32::MAX)
}

/// Close code for a client that the API refused. Clients without our subprotocol get what they
/// always got.
fn refused_with(agreed: Agreed) -> Close {
    match agreed.subprotocol {
        Some(Subprotocol::V1) => Close::REFUSED,
        None => Close::NORMAL,
    }
}

fn parse(allowed_rooms: &[u8]) -> Option<GrantList> {
    GrantList::parse(std::str::from_utf8(allowed_rooms).ok()?).ok()
}
