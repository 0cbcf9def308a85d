//! Commands that change what clients may do, and the API's answers about those that are held.

use std::sync::Arc;

use ht_proto::grant::GrantList;
use ht_proto::server;

use super::known::{Hold, State};
use super::ledger::Missed;
use super::operations::{CLIENTS, Outcome, RIGHTS, Whom};
use super::reference::{Reference, tenant_of, who};
use crate::command::{Action, Permit};
use crate::recheck::RecheckOutcome;
use crate::select::Selection;
use crate::shard::SessionKey;
use crate::shard::hold::State as Held;
use crate::shard::tests::kit::*;

/// The grants of a proof, as it has them.
fn grants(rights: usize) -> Vec<String> {
    let list = GrantList::parse(RIGHTS[rights].0).unwrap();
    let mut grants: Vec<_> = list.rooms.iter().map(|room| room.to_json()).collect();
    grants.sort();
    grants
}

impl Whom {
    fn selection(self) -> Selection {
        match self {
            Self::Client(place) => Selection {
                tenant: tenant_of(place),
                users: vec![who(place).user().unwrap().into()],
                ..Selection::default()
            },
            Self::Tenant(tenant) => Selection {
                tenant: tenant_of(tenant),
                everyone: true,
                ..Selection::default()
            },
        }
    }
}

impl Reference {
    /// The API has other rights for these users, and commands something about them, which is carried
    /// out. Returns its position.
    fn command(&mut self, whom: Whom, rights: usize, action: Action) -> u64 {
        let meant = (0..CLIENTS).filter(|place| whom.means(*place));
        meant.for_each(|place| self.rights[place] = rights);
        self.world.begin(0);
        self.world.deliver();
        self.settle();
        let position = self.world.command(whom.selection(), action);
        self.ledger.position = position;
        self.ledger.commands.push((position, whom));
        self.world.shard.handed(position);
        self.world.begin(0);
        self.world.deliver();
        position
    }

    pub(super) fn invalidate(&mut self, whom: Whom, rights: usize) {
        let position = self.command(whom, rights, invalidate());
        for place in (0..CLIENTS).filter(|place| whom.means(*place)) {
            let Some(known) = &mut self.clients[place] else {
                continue;
            };
            match known.hold {
                _ if known.state != State::Open => {}
                Hold::Live | Hold::Awaits => known.awaits(position),
                Hold::CatchesUp => known.missed.push_back(Missed::Hold(position)),
            }
        }
    }

    pub(super) fn permit(&mut self, place: usize, rights: usize) {
        self.be(place);
        let new = self.world.rights(RIGHTS[rights].0);
        let list = GrantList::parse(RIGHTS[rights].0).unwrap();
        let action = Action::Permit(Permit {
            grants: new.grants,
            labels: Default::default(),
            view: None,
            expires_in: None,
            welcome: server::authorized(&list.text).into(),
            event: server::permissions(&list.text).into(),
        });
        let position = self.command(Whom::Client(place), rights, action);
        let Some(known) = &mut self.clients[place] else {
            return;
        };
        match known.hold {
            _ if known.state != State::Open => {}
            Hold::Live => known.permit(rights),
            Hold::Awaits => {
                known.permit(rights);
                known.hold = Hold::CatchesUp;
            }
            Hold::CatchesUp => {
                // It is not held any more, but has these rights since the first of them.
                known.rights = rights;
                let is_hold = |missed: &Missed| matches!(missed, Missed::Hold(_));
                match known.missed.iter_mut().find(|missed| is_hold(missed)) {
                    Some(first) => *first = Missed::Rights(first.position(), rights),
                    None => known.missed.push_back(Missed::Rights(position, rights)),
                }
                known.missed.retain(|missed| !is_hold(missed));
            }
        }
    }

    /// The API answers about a client, if it is asked.
    pub(super) fn reply(&mut self, place: usize, outcome: Outcome) {
        self.be(place);
        let Some(known) = &mut self.clients[place] else {
            return;
        };
        if known.hold != Hold::Awaits {
            return;
        }
        let (key, now, rights) = (known.client.id, self.world.now, self.rights[place]);
        assert!(self.requested.contains(&key), "the API is asked about it");
        let mut asked_at = self.ledger.position;
        let said = match outcome {
            Outcome::Permits => RecheckOutcome::Permitted(self.world.rights(RIGHTS[rights].0)),
            Outcome::Refuses => RecheckOutcome::Refused,
            Outcome::Unreachable => RecheckOutcome::Unreachable { within: 700 },
            Outcome::Keeps => RecheckOutcome::Keep,
            Outcome::Stale => {
                asked_at = known.not_before - 1;
                RecheckOutcome::Permitted(self.world.rights(RIGHTS[0].0))
            }
        };
        match outcome {
            Outcome::Permits => {
                known.permit(rights);
                known.hold = Hold::CatchesUp;
            }
            Outcome::Refuses => {
                known.expect("close 4002 permissions");
                known.leave(State::Closing(now));
            }
            Outcome::Unreachable => {
                known.expect("close 1013 backend 700");
                known.leave(State::Closing(now));
            }
            Outcome::Keeps => known.hold = Hold::CatchesUp,
            Outcome::Stale => {}
        }
        if !matches!(outcome, Outcome::Stale) {
            self.requested.remove(&key);
        }
        self.world
            .shard
            .rechecked(Arc::new(crate::recheck::Rechecked {
                tenant: None,
                keys: vec![key],
                asked_at,
                has_token: false,
                outcome: said,
            }));
        self.world.begin(0);
        self.world.deliver();
    }

    /// Takes what the shard requests. Returns the sessions with a token to be asked about.
    pub(super) fn outputs(&mut self) -> Vec<SessionKey> {
        let (asked, requests) = self.world.outputs();
        for request in requests {
            match request {
                Request::Recheck(recheck) => {
                    assert!(recheck.is_held && recheck.not_before <= self.ledger.position);
                    self.requested.insert(recheck.key);
                }
                Request::Cancel(key) => _ = self.requested.remove(&key),
            }
        }
        asked
    }

    /// Sessions that catch up do so, as far as their clients take it, and what those sent meanwhile is
    /// processed.
    pub(super) fn settle(&mut self) {
        loop {
            let clients = self.clients.iter().flatten();
            let mut held = clients.filter(|known| known.hold != Hold::Live);
            let holds = &self.world.shard.holds;
            if held.any(|known| holds.state(known.client.id) == Held::CatchingUp) {
                self.world.begin(0);
                self.world.deliver();
            }
            if !self.world.shard.is_behind() {
                break;
            }
            self.world.resume(self.units);
        }
        for known in self.clients.iter_mut().flatten() {
            let key = known.client.id;
            if self.world.shard.peer(key).is_none() {
                // Some of what it missed may have been under way.
                let missed = known.catch_up(u64::MAX, &self.ledger);
                self.hits += missed;
                self.unsure += missed;
            }
            while known.hold != Hold::Live && self.world.shard.peer(key).is_some() {
                let upto = self.world.shard.holds.get(key).map(|hold| hold.upto);
                self.hits += known.catch_up(upto.unwrap_or(u64::MAX), &self.ledger);
                if upto.is_some() {
                    break;
                }
                assert_eq!(known.hold, Hold::CatchesUp, "the API has not answered");
                known.hold = Hold::Live;
                known.process_waiting(&self.ledger);
            }
            let state = self.world.shard.holds.state(key);
            let is_there = self.world.shard.peer(key).is_some();
            let awaits = is_there && state == Held::Awaiting;
            assert_eq!(awaits, is_there && known.hold == Hold::Awaits);
        }
        self.outputs();
        self.check_proofs();
    }

    /// What clients can prove is what they may do.
    fn check_proofs(&mut self) {
        for proof in std::mem::take(&mut self.world.outside.proofs) {
            let mut clients = self.clients.iter().flatten();
            let known = clients.find(|known| known.client.number == proof.number);
            let Some(known) = known.filter(|known| known.state == State::Open) else {
                continue;
            };
            let is_hold = |missed: &Missed| matches!(missed, Missed::Hold(_));
            let is_in_doubt = known.hold == Hold::Awaits || known.missed.iter().any(is_hold);
            assert!(!is_in_doubt, "a proof of what the API is asked about");
            assert_eq!(proof.grants, grants(known.rights));
        }
    }

    /// Every client accepts everything, and the API answers about all of them.
    pub(super) fn answer_all(&mut self) {
        for place in 0..CLIENTS {
            if let Some(known) = &self.clients[place] {
                known.client.takes(usize::MAX);
                self.world.begin(0);
                self.world.writable(&known.client);
            }
        }
        self.settle();
        self.compare();
        while let Some(place) = self.awaiting() {
            self.reply(place, Outcome::Permits);
            self.settle();
            self.compare();
        }
    }

    fn awaiting(&self) -> Option<usize> {
        let known = |place: &usize| self.clients[*place].as_ref();
        (0..CLIENTS).find(|place| known(place).is_some_and(|it| it.hold == Hold::Awaits))
    }
}
