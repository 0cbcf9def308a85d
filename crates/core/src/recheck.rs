//! Querying the API again about sessions that are open.

use std::sync::Arc;

use bytes::Bytes;
use ht_proto::entry::TenantId;
use ht_proto::{labels, token::Token};

use crate::connection::SessionKey;
use crate::grant::GrantSet;
use crate::who::Who;

/// A request to query the API again about a session, with the credentials of its client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recheck {
    /// The session.
    pub key: SessionKey,
    /// The position of the command that requests it: the answer to a call that was sent before this
    /// command was ordered does not count. Zero: any answer counts.
    pub not_before: u64,
    /// The session is sent nothing until the answer arrives.
    pub is_held: bool,
    /// Why.
    pub reason: RecheckReason,
    /// A token that its client sent to replace its credentials: they are sent to the API with this
    /// token instead of the old one.
    pub token: Option<Token>,
}

labels! {
    /// Why the API is queried again about a session.
    pub enum RecheckReason {
        /// A command invalidated its permissions.
        Command = "command",
        /// A command invalidated its permissions while it was being admitted.
        Newcomer = "newcomer",
        /// The term of its permissions ends.
        Expiry = "expiry",
        /// A command about it may be lost.
        Gap = "gap",
        /// Its client sent a new token.
        Token = "token",
    }
}

/// The API's answer about sessions with the same credentials.
#[derive(Debug)]
pub struct Rechecked {
    /// Whose sessions these are, if that is known.
    pub tenant: Option<TenantId>,
    /// The sessions.
    pub keys: Vec<SessionKey>,
    /// The position of the last command when the call was sent: its answer includes the effect of
    /// the commands up to there.
    pub asked_at: u64,
    /// The call was made with [`Recheck::token`].
    pub has_token: bool,
    /// The answer.
    pub outcome: RecheckOutcome,
}

/// What the API answered.
#[derive(Debug)]
pub enum RecheckOutcome {
    /// New permissions.
    Permitted(Rights),
    /// It no longer admits the client.
    Refused,
    /// It gave no usable answer for too long, and the sessions are closed.
    Unreachable {
        /// Their clients reconnect at random moments within this span, in milliseconds.
        within: u32,
    },
    /// It gave no usable answer for too long, and the sessions keep the permissions that they have.
    Keep,
}

/// Everything that the API's answer says about a client.
#[derive(Clone, Debug)]
pub struct Rights {
    /// The rooms. Equal sets are one.
    pub grants: Arc<GrantSet>,
    /// Its identity; equal ones are one.
    pub who: Option<Arc<Who>>,
    /// The first message to a client that has just been admitted.
    pub welcome: Bytes,
    /// The message to a client that listens for events, if the grants changed.
    pub event: Bytes,
    /// How long all of it holds, in milliseconds; none: until the connection ends.
    pub expires_in: Option<u64>,
}
