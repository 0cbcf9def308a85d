//! The labels of counters.

use ht_backend::{FailureKind, RefusalKind};
use ht_proto::label::Label;
use ht_proto::labels;
use http::StatusCode;

use crate::config::{API_KEYS_MAX, RESTRICTED_KEYS_MAX};

labels! {
    /// One of the two listeners.
    pub(crate) enum ListenerKind {
        /// The one for browsers.
        Public = "public",
        /// The one for the API and operators.
        Internal = "internal",
    }
}

labels! {
    /// Status of a rejected request to the internal listener.
    pub(crate) enum ErrorStatus {
        /// 400
        BadRequest = "400",
        /// 401
        Unauthorized = "401",
        /// 403
        Forbidden = "403",
        /// 404
        NotFound = "404",
        /// 405
        MethodNotAllowed = "405",
        /// 408
        RequestTimeout = "408",
        /// 413
        PayloadTooLarge = "413",
        /// 415
        UnsupportedMediaType = "415",
        /// 421
        MisdirectedRequest = "421",
        /// 503
        ServiceUnavailable = "503",
        /// 504
        GatewayTimeout = "504",
        /// Any other.
        Other = "other",
    }
}

impl From<StatusCode> for ErrorStatus {
    fn from(status: StatusCode) -> Self {
        let mut known = Self::ALL.into_iter();
        let same = known.find(|known| known.as_str() == status.as_str());
        same.unwrap_or(Self::Other)
    }
}

labels! {
    /// A command that is carried out.
    pub(crate) enum CommandName {
        /// Replaces what connections may subscribe to.
        Permit = "permit",
        /// Drops subscriptions.
        Unsubscribe = "unsubscribe",
        /// Closes connections.
        Disconnect = "disconnect",
        /// Queries the API again about connections.
        Invalidate = "invalidate",
    }
}

labels! {
    /// Position of an API key in `internal.api_key`, or behind `keys-` in `internal.keys`.
    pub(crate) enum KeyPosition {
        /// The first key.
        First = "1",
        /// The second key.
        Second = "2",
        /// The third key.
        Third = "3",
        /// The fourth key.
        Fourth = "4",
        /// The fifth key.
        Fifth = "5",
        /// The sixth key.
        Sixth = "6",
        /// The seventh key.
        Seventh = "7",
        /// The eighth key.
        Eighth = "8",
        /// The first restricted key.
        Restricted1 = "keys-1",
        /// The second restricted key.
        Restricted2 = "keys-2",
        /// The third restricted key.
        Restricted3 = "keys-3",
        /// The fourth restricted key.
        Restricted4 = "keys-4",
        /// The fifth restricted key.
        Restricted5 = "keys-5",
        /// The sixth restricted key.
        Restricted6 = "keys-6",
        /// The seventh restricted key.
        Restricted7 = "keys-7",
        /// The eighth restricted key.
        Restricted8 = "keys-8",
        /// The ninth restricted key.
        Restricted9 = "keys-9",
        /// The tenth restricted key.
        Restricted10 = "keys-10",
        /// The eleventh restricted key.
        Restricted11 = "keys-11",
        /// The twelfth restricted key.
        Restricted12 = "keys-12",
        /// The thirteenth restricted key.
        Restricted13 = "keys-13",
        /// The fourteenth restricted key.
        Restricted14 = "keys-14",
        /// The fifteenth restricted key.
        Restricted15 = "keys-15",
        /// The sixteenth restricted key.
        Restricted16 = "keys-16",
    }
}

const _: () = assert!(KeyPosition::ALL.len() == API_KEYS_MAX + RESTRICTED_KEYS_MAX);

labels! {
    /// Why a probe failed.
    pub(crate) enum ProbeFailure {
        /// The broker is unavailable or accepts nothing.
        Broker = "broker",
        /// It did not arrive back in time.
        Late = "late",
        /// A shard did not confirm it.
        Shard = "shard",
    }
}

labels! {
    /// A limit of a tenant's own.
    pub(crate) enum TenantLimit {
        /// `limits.connections` of the tenant.
        Connections = "connections",
        /// `limits.connections_per_user` of the tenant.
        ConnectionsPerUser = "connections_per_user",
        /// `limits.handshakes_per_second` of the tenant.
        HandshakesPerSecond = "handshakes_per_second",
        /// `limits.publish_per_second` of the tenant.
        PublishPerSecond = "publish_per_second",
    }
}

labels! {
    /// Result of a resume ticket.
    pub(crate) enum ResumeOutcome {
        /// The client was let in without a call to the API.
        Resumed = "resumed",
        /// A limit of connections or memory is reached.
        Limit = "limit",
        /// It is malformed, or its signature is.
        Invalid = "invalid",
        /// It was signed with another secret.
        Secret = "secret",
        /// It is of a client with other credentials.
        Credentials = "credentials",
        /// Its proof is too old, or of a clock that is ahead.
        Old = "old",
        /// The permissions in it have expired.
        Expired = "expired",
        /// Its cursor is of another life of the log.
        Epoch = "epoch",
        /// The window does not reach back to its cursor.
        Age = "age",
        /// This node has not read the log up to its cursor.
        Ahead = "ahead",
        /// Commands may have been missed since.
        Gap = "gap",
        /// A command since then selects the client.
        Command = "command",
    }
}

/// Result of a bootstrap call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BootstrapOutcome {
    /// The client was accepted.
    Admitted,
    /// It was refused.
    Refused(RefusalKind),
    /// There was no usable response.
    Failed(FailureKind),
}

impl BootstrapOutcome {
    /// Whether the API was called at all.
    pub(crate) fn is_call(self) -> bool {
        let held_back = [
            FailureKind::Busy,
            FailureKind::QueueFull,
            FailureKind::CircuitOpen,
            FailureKind::Keys,
        ];
        match self {
            Self::Refused(RefusalKind::Token) => false,
            Self::Admitted | Self::Refused(_) => true,
            Self::Failed(kind) => !held_back.contains(&kind),
        }
    }
}

const REFUSALS: usize = RefusalKind::ALL.len();

impl Label for BootstrapOutcome {
    const ALL: &'static [Self] = &{
        let mut all = [Self::Admitted; 1 + REFUSALS + FailureKind::ALL.len()];
        let mut at = 1;
        while at < all.len() {
            all[at] = if at <= REFUSALS {
                Self::Refused(RefusalKind::ALL[at - 1])
            } else {
                Self::Failed(FailureKind::ALL[at - 1 - REFUSALS])
            };
            at += 1;
        }
        all
    };

    fn as_str(self) -> &'static str {
        match self {
            Self::Admitted => "admitted",
            Self::Refused(kind) => kind.as_str(),
            Self::Failed(kind) => kind.as_str(),
        }
    }

    fn index(self) -> usize {
        match self {
            Self::Admitted => 0,
            Self::Refused(kind) => 1 + kind.index(),
            Self::Failed(kind) => 1 + REFUSALS + kind.index(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_outcome_is_counted_under_its_own_label() {
        let all = BootstrapOutcome::ALL;
        for (index, outcome) in all.iter().enumerate() {
            assert_eq!(outcome.index(), index, "{outcome:?}");
        }
        let words: HashSet<_> = all.iter().map(|outcome| outcome.as_str()).collect();
        assert_eq!(words.len(), all.len());
    }

    #[test]
    fn a_status_is_counted_as_itself_or_as_other() {
        for (status, expected) in [
            (StatusCode::UNAUTHORIZED, ErrorStatus::Unauthorized),
            (StatusCode::GATEWAY_TIMEOUT, ErrorStatus::GatewayTimeout),
            (StatusCode::INTERNAL_SERVER_ERROR, ErrorStatus::Other),
        ] {
            assert_eq!(ErrorStatus::from(status), expected, "{status}");
        }
    }
}
