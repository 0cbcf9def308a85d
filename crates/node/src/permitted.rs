//! What the API's answer permits a client.

use std::sync::Arc;

use bytes::Bytes;
use ht_backend::Permissions;
use ht_core::grant::GrantSet;
use ht_core::recheck::Rights;
use ht_core::who::{Facts, Who};
use ht_proto::entry::TenantId;
use ht_proto::grant::GrantList;
use ht_proto::server;
use ht_proto::tenant::TenantName;
use ht_telemetry::throttle::Throttles;
use uuid::Uuid;

use crate::interner::Interner;
use crate::verdict;

/// What the API's answer permits a client.
pub(crate) struct Permitted {
    pub(crate) grants: Arc<GrantSet>,
    /// Its identity, if the API sends it.
    pub(crate) who: Option<Arc<Who>>,
    /// `allowed_rooms`, as text.
    rooms: Box<str>,
    /// How long all of it holds, in ms.
    pub(crate) expires_in: Option<u64>,
}

impl Permitted {
    /// Makes the values that connections share. `user`: its id, shared by all connections of the
    /// user. What the API should correct is logged, for a client that connects with its connection.
    pub(crate) fn new(
        interner: &Interner,
        throttles: &Throttles,
        (tenant, connection): (TenantId, Option<Uuid>),
        (permissions, list): (&Permissions, GrantList),
        user: Option<Arc<str>>,
    ) -> Self {
        verdict::warn_of_unusable(throttles, connection, list.unusable.as_ref());
        verdict::warn_of_unsendable(throttles, connection, &list.text);
        let term = permissions.expires_in;
        Self {
            grants: interner.grants(tenant, list.rooms),
            who: interner.who(known(user, permissions)),
            rooms: list.text.into(),
            expires_in: term.map(|term| u64::try_from(term.as_millis()).unwrap_or(u64::MAX)),
        }
    }

    /// Whether its tenant has more permitted rooms with it than its share of the memory for them, which
    /// is logged with the tenant's name.
    pub(crate) fn is_too_much(
        &self,
        interner: &Interner,
        throttles: &Throttles,
        name: impl FnOnce() -> Option<TenantName>,
    ) -> bool {
        let is_too_much = interner.refuses(&self.grants);
        if is_too_much && let Some(suppressed) = throttles.allow("tenant-grants") {
            tracing::warn!(
                tenant = name().map(tracing::field::display),
                bytes = interner.grant_bytes().bytes(),
                suppressed,
                "a tenant has its share of limits.grant_total_bytes: rejecting clients with other \
                 rooms. Have its API permit rooms with * instead of many, or raise that limit"
            );
        }
        is_too_much
    }

    /// The first message to the client.
    pub(crate) fn welcome(&self) -> Bytes {
        server::authorized(&self.rooms).into()
    }

    /// All of it, for sessions that are open.
    pub(crate) fn rights(self) -> Rights {
        Rights {
            welcome: self.welcome(),
            event: server::permissions(&self.rooms).into(),
            grants: self.grants,
            who: self.who,
            expires_in: self.expires_in,
        }
    }
}

/// The rooms in the API's answer; none if they are not a list of objects.
pub(crate) fn rooms(permissions: &Permissions) -> Option<GrantList> {
    GrantList::parse(std::str::from_utf8(&permissions.allowed_rooms).ok()?).ok()
}

/// The API's response about a client, except its rooms.
fn known(user: Option<Arc<str>>, permissions: &Permissions) -> Facts {
    let shared = |text: &str| Arc::from(text);
    Facts {
        user,
        session: permissions.session.as_deref().map(shared),
        labels: permissions.labels.iter().map(|it| shared(it)).collect(),
        view: permissions.view.as_deref().map(shared),
    }
}
