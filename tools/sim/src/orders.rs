//! Commands of the API, and which sessions they mean: the latter is spelled out again, without the
//! code under test.

use std::collections::BTreeMap;
use std::sync::Arc;

use ht_core::command::{Action, Command, Ending, Permit};
use ht_core::grant::GrantSet;
use ht_core::select::Selection;
use ht_core::who::{Facts, Who};
use ht_proto::entry::TenantId;
use ht_proto::grant::GrantList;
use ht_proto::room::{Room, RoomLimits};
use ht_proto::server;
use uuid::Uuid;

use crate::hasher;
use crate::rooms::{GRANTS, ROOMS, allowed_rooms};

/// Different users: clients share them, with their cookies.
pub(crate) const USERS: usize = 6;

/// Tenants: each has the same users with the same cookies and the same rooms, and hears nothing of the other.
pub(crate) const TENANTS: usize = 2;

/// What a command takes in memory, in bytes.
const BYTES: usize = 3_000;

/// The sessions that a command means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Whom {
    User(usize),
    /// Those of the sign-in of a client.
    SignIn(usize),
    /// The connection with this number.
    Connection(usize),
    /// Those with these grants: the label says which.
    Label(usize),
    /// Those that may subscribe to such a room.
    Room(usize),
    Everyone,
}

/// What a command does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Deed {
    /// They have these grants from now on.
    Permit(usize),
    /// Their subscriptions to such a room are dropped.
    Unsubscribe(usize),
    Disconnect,
    /// The API has these grants for their users now, or what it had, and is asked again.
    Invalidate(Option<usize>),
}

/// A command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Order {
    /// Whose it is: it means no session of another one.
    pub(crate) tenant: usize,
    pub(crate) whom: Whom,
    pub(crate) deed: Deed,
}

/// What a command can tell of a session.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Known {
    pub(crate) tenant: usize,
    pub(crate) connection: usize,
    pub(crate) client: usize,
    pub(crate) grants: usize,
}

/// The user of a client.
pub(crate) fn user(client: usize) -> usize {
    client % USERS
}

/// The account of a client with the API of its tenant.
pub(crate) fn account(client: usize, tenant: usize) -> usize {
    user(client) + USERS * tenant
}

/// A tenant as nodes name it.
pub(crate) fn tenant_id(tenant: usize) -> TenantId {
    TenantId::new(u32::try_from(tenant).unwrap_or(u32::MAX))
}

impl Whom {
    /// Whether the session is meant, by a command of its tenant.
    fn means(self, known: Known) -> bool {
        match self {
            Self::User(number) => user(known.client) == number,
            Self::SignIn(client) => user(known.client) == user(client),
            Self::Connection(number) => known.connection == number,
            Self::Label(grants) => known.grants == grants,
            Self::Room(room) => {
                let mut grants = GRANTS[known.grants].iter();
                grants.any(|&grant| ROOMS[grant].meets(ROOMS[room], false))
            }
            Self::Everyone => true,
        }
    }

    fn selection(self) -> Selection {
        let mut selection = Selection::default();
        match self {
            Self::User(number) => selection.users.push(number.to_string().into()),
            Self::SignIn(client) => selection.sessions.push(sign_in(user(client)).into()),
            Self::Connection(number) => selection.connections.push(id(number)),
            Self::Label(grants) => selection.labels.push(label(grants).into()),
            Self::Room(number) => selection.rooms.push(room(number)),
            Self::Everyone => selection.everyone = true,
        }
        selection
    }
}

impl Order {
    /// Whether the session is meant.
    pub(crate) fn means(self, known: Known) -> bool {
        self.tenant == known.tenant && self.whom.means(known)
    }

    /// It, at its position. Its number is in the reason of closes.
    pub(crate) fn command(
        self,
        number: usize,
        position: u64,
        identities: &Identities,
    ) -> Arc<Command> {
        let tenant = tenant_id(self.tenant);
        let action = match self.deed {
            Deed::Permit(grants) => {
                let text = allowed_rooms(GRANTS[grants]);
                Action::Permit(Permit {
                    grants: identities.grants(self.tenant, grants),
                    labels: [label(grants).into()].into(),
                    view: None,
                    expires_in: None,
                    welcome: server::authorized(&text).into(),
                    event: server::permissions(&text).into(),
                })
            }
            Deed::Unsubscribe(from) => {
                let from = GrantSet::new(tenant, vec![room(from)], hasher());
                Action::Unsubscribe(from)
            }
            Deed::Invalidate(_) => Action::Invalidate { within: 0 },
            Deed::Disconnect => Action::Disconnect(Ending {
                code: 4003,
                reason: format!("ended-{number}").into(),
            }),
        };
        Arc::new(Command {
            position,
            selection: Selection {
                tenant,
                ..self.whom.selection()
            },
            action,
            bytes: BYTES,
        })
    }
}

/// The id of a connection.
pub(crate) fn id(number: usize) -> Uuid {
    Uuid::from_u128(number as u128)
}

/// The room with a number.
pub(crate) fn room(number: usize) -> Room {
    Room::parse(&ROOMS[number].json(), RoomLimits::TRUSTED).expect("a room of ours")
}

fn sign_in(user: usize) -> String {
    format!("s-{user}")
}

fn label(grants: usize) -> String {
    format!("g-{grants}")
}

/// The grants that a label names.
pub(crate) fn labelled(label: &str) -> Option<usize> {
    label.strip_prefix("g-")?.parse().ok()
}

/// Grant sets and identities, of which equal ones are one, as in a node.
#[derive(Debug)]
pub(crate) struct Identities {
    /// By tenant.
    grants: [Vec<Arc<GrantSet>>; TENANTS],
    whos: BTreeMap<(usize, usize), Arc<Who>>,
}

impl Identities {
    pub(crate) fn new() -> Self {
        let set = |tenant: usize, grants: &[usize]| {
            let list = GrantList::parse(&allowed_rooms(grants)).expect("a list of ours");
            Arc::new(GrantSet::new(tenant_id(tenant), list.rooms, hasher()))
        };
        let sets = |tenant| GRANTS.iter().map(|grants| set(tenant, grants)).collect();
        Self {
            grants: std::array::from_fn(sets),
            whos: BTreeMap::new(),
        }
    }

    pub(crate) fn grants(&self, tenant: usize, number: usize) -> Arc<GrantSet> {
        Arc::clone(&self.grants[tenant][number])
    }

    /// The identity of a client with these grants: equal ones of both tenants are one.
    pub(crate) fn who(&mut self, client: usize, grants: usize) -> Option<Arc<Who>> {
        let user = user(client);
        let who = self.whos.entry((user, grants)).or_insert_with(|| {
            let facts = Facts {
                user: Some(user.to_string().into()),
                session: Some(sign_in(user).into()),
                labels: vec![label(grants).into()],
                view: None,
            };
            Arc::new(Who::new(facts).expect("it has a user"))
        });
        Some(Arc::clone(who))
    }
}
