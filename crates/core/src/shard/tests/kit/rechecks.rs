//! The window of a test world, and the API's later answers.

use std::sync::Arc;

use ht_proto::grant::GrantList;
use ht_proto::server::{authorized, permissions};

use super::{Client, World};
use crate::Hasher;
use crate::command::Action;
use crate::grant::GrantSet;
use crate::publication::{Logged, Publication};
use crate::recheck::{Recheck, RecheckOutcome, Rechecked, Rights};
use crate::shard::{Output, PermissionSettings, SessionKey, Settings};
use crate::window::{Concerns, Item, Kept, Key};

/// Settings of a shard whose API can be queried again.
pub(in crate::shard::tests) fn recheck_settings() -> Settings {
    Settings {
        permissions: PermissionSettings {
            recheck: true,
            ..PermissionSettings::default()
        },
        ..super::settings()
    }
}

pub(in crate::shard::tests) fn invalidate() -> Action {
    Action::Invalidate { within: 0 }
}

/// What a shard requests of the API about open sessions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::shard::tests) enum Request {
    Recheck(Recheck),
    Cancel(SessionKey),
}

impl World {
    /// Appends a batch to the window, as it is done before it is sent to the shards.
    pub(in crate::shard::tests) fn log(&mut self, batch: &Arc<[Publication]>) {
        for logged in Logged::all(batch) {
            let publication = logged.publication();
            let key = |room| {
                let matching = self.settings.matching;
                Key::of(publication.tenant, room, matching, &Hasher::fixed())
            };
            let keys: Vec<_> = publication.rooms.iter().map(key).collect();
            let item = Item {
                position: publication.position,
                at: self.now,
                check: publication.cursor.check,
                tenant: publication.tenant,
                body: Kept::Entry(logged.clone()),
            };
            self.window.append(item, Concerns::Rooms(&keys), 1_000);
        }
    }

    /// The requests about open sessions since the last call.
    pub(in crate::shard::tests) fn requests(&mut self) -> Vec<Request> {
        self.outputs().1
    }

    /// The sessions with a requested API query about their token, and the requests about open
    /// sessions, since the last call.
    pub(in crate::shard::tests) fn outputs(&mut self) -> (Vec<SessionKey>, Vec<Request>) {
        let (mut asked, mut requests) = (Vec::new(), Vec::new());
        while let Some(output) = self.shard.poll_output() {
            match output {
                Output::Ask { key, .. } => asked.push(key),
                Output::Recheck(recheck) => requests.push(Request::Recheck(recheck)),
                Output::CancelRecheck(key) => requests.push(Request::Cancel(key)),
            }
        }
        (asked, requests)
    }

    /// The API's answer with these grants, about clients of the identity of this world.
    pub(in crate::shard::tests) fn rights(&self, grants: &str) -> Rights {
        let list = GrantList::parse(grants).unwrap();
        Rights {
            grants: Arc::new(GrantSet::new(self.tenant, list.rooms, Hasher::default())),
            who: self.who.clone(),
            welcome: authorized(&list.text).into(),
            event: permissions(&list.text).into(),
            expires_in: self.expires_in,
        }
    }

    /// Queues the API's answer to a call that was sent at a position.
    pub(in crate::shard::tests) fn rechecked(
        &mut self,
        clients: &[&Client],
        asked_at: u64,
        outcome: RecheckOutcome,
    ) {
        self.shard.rechecked(Arc::new(Rechecked {
            tenant: None,
            keys: clients.iter().map(|client| client.id).collect(),
            asked_at,
            has_token: false,
            outcome,
        }));
    }

    /// The API answers with these grants by now.
    pub(in crate::shard::tests) fn permitted(&mut self, clients: &[&Client], grants: &str) {
        let rights = self.rights(grants);
        let asked_at = self.outside.position;
        self.rechecked(clients, asked_at, RecheckOutcome::Permitted(rights));
    }
}
