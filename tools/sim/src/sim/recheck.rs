//! Asking the API again about sessions that are open: the node's machine decides about the calls,
//! which wait for their turn at the guard like those of clients that connect.

use std::sync::Arc;

use ht_control::input::Input;
use ht_core::recheck::{Recheck, RecheckOutcome, RecheckReason, Rechecked, Rights};
use ht_overload::{CallTime, Due, Patience, RecheckId, RecheckOutput};
use ht_proto::server;

use crate::api::{Asker, Said, Says, Want};
use crate::mutant::Mutant;
use crate::oracle::Reply;
use crate::orders::tenant_id;
use crate::rooms::{GRANTS, allowed_rooms};
use crate::sim::client::address;
use crate::sim::entrance::{at, ms};
use crate::sim::{Event, Sim};

impl Sim {
    /// Takes what a shard wanted in its last turn.
    pub(super) fn on_wants(&mut self, index: usize, shard: usize) {
        let wants = std::mem::take(&mut self.nodes[index].shards[shard].around.wants);
        if wants.is_empty() {
            return;
        }
        let now = at(self.events.now);
        for want in wants {
            match want {
                Want::Answer(recheck, number) => {
                    self.note(|| format!("connection {number}: {recheck:?}"));
                    if recheck.reason == RecheckReason::Gap {
                        self.oracle
                            .asks_for_gap(number, recheck.not_before, self.events.now);
                        if self.plan.mutant == Some(Mutant::UnaskedGap) {
                            self.keep(index, shard, &recheck);
                            continue;
                        }
                    }
                    let client = self.connections[number].client;
                    let credentials = (address(client), self.account(client));
                    let patience = match recheck.is_held {
                        true => Patience::Held,
                        false => Patience::Renewal,
                    };
                    let due = Due {
                        not_before: CallTime {
                            commands: recheck.not_before,
                            gap: self.nodes[index].gaps.last(),
                        },
                        patience,
                    };
                    let own = &mut self.nodes[index];
                    own.asking.insert((shard, recheck.key), number);
                    own.rechecks
                        .request((shard, recheck.key), &credentials, due, now);
                }
                Want::Nothing(key) => {
                    let own = &mut self.nodes[index];
                    if let Some(number) = own.asking.remove(&(shard, key)) {
                        self.oracle.asks_no_more(number);
                    }
                    let own = &mut self.nodes[index];
                    own.rechecks.cancel((shard, key));
                }
            }
        }
        self.follow_rechecks(index);
    }

    /// Executes the output of the machine.
    fn follow_rechecks(&mut self, index: usize) {
        while let Some(output) = self.nodes[index].rechecks.poll_output() {
            match output {
                RecheckOutput::Call(id, credentials) => self.ask_again(index, id, credentials),
                RecheckOutput::Abandon(id) => self.abandon_recheck(index, id),
                RecheckOutput::Fail(askers) => self.unreachable(index, &askers),
            }
        }
        let own = &mut self.nodes[index];
        let due = own.rechecks.deadline().map(ms);
        if let Some(due) = due
            && own.rechecks_due.is_none_or(|planned| due < planned)
        {
            own.rechecks_due = Some(due);
            let life = own.life;
            self.events.at(due, Event::RecheckDue { node: index, life });
        }
    }

    /// Calls are repeated, and sessions have waited too long.
    pub(super) fn recheck_due(&mut self, index: usize) {
        let now = self.events.now;
        let own = &mut self.nodes[index];
        if own.rechecks_due == Some(now) {
            own.rechecks_due = None;
            own.rechecks.timeout(at(now));
            self.follow_rechecks(index);
        }
    }

    /// The API has answered a call, or could not be reached.
    pub(super) fn asked_again(&mut self, index: usize, id: RecheckId, says: Option<Says>) {
        let now = at(self.events.now);
        self.nodes[index].recheck_visits.remove(&id);
        let admitted = says.and_then(|says| Some((says.admitted?, says.said)));
        let own = &mut self.nodes[index];
        let Some((admitted, mut said)) = admitted else {
            let pause = own.guard.come_back_within(now);
            let random = own.rng.u32(..);
            own.rechecks.failed(id, pause, random, now);
            return self.follow_rechecks(index);
        };
        let asked_at = said.asked_at;
        if self.plan.mutant == Some(Mutant::OldAnswer) {
            said.asked_at = own.last_command;
        }
        let askers = own.rechecks.answered(id, said.time(), now);
        let result = match admitted {
            true => Reply::Grants(said.grants.unwrap_or_default()),
            false => Reply::Refused,
        };
        self.tell_again(index, &askers, (said, asked_at), result);
        self.follow_rechecks(index);
    }

    /// The API could not be reached for too long.
    fn unreachable(&mut self, index: usize, askers: &[Asker]) {
        let said = Said {
            grants: None,
            asked: self.events.now,
            asked_at: self.nodes[index].last_command,
            gap: self.nodes[index].gaps.last(),
            resumed: None,
        };
        let result = match self.plan.shape.keeps {
            true => Reply::Keep,
            false => Reply::Unreachable,
        };
        self.tell_again(index, askers, (said, said.asked_at), result);
    }

    /// Sends an answer to the shards of its sessions; `asked_at` is right, whatever it says itself.
    fn tell_again(
        &mut self,
        index: usize,
        askers: &[Asker],
        (said, asked_at): (Said, u64),
        result: Reply,
    ) {
        let now = self.events.now;
        for shard in 0..self.nodes[index].shards.len() {
            let keys = askers.iter().filter(|asker| asker.0 == shard);
            let keys: Vec<_> = keys.map(|asker| asker.1).collect();
            let own = &mut self.nodes[index];
            let numbers = keys.iter();
            let numbers = numbers.filter_map(|&key| own.asking.remove(&(shard, key)));
            let numbers: Vec<_> = numbers.collect();
            let Some(client) = numbers.first().map(|&it| self.connections[it].client) else {
                continue;
            };
            self.note(|| format!("node {index} tells {numbers:?}: {result:?} of {said:?}"));
            for number in numbers {
                self.oracle.asked_again(number, asked_at, result, now);
            }
            let outcome = self.outcome(client, result);
            let rechecked = Rechecked {
                tenant: Some(tenant_id(self.plan.shape.tenant(client))),
                keys,
                asked_at: said.asked_at,
                has_token: false,
                outcome,
            };
            let input = Input::Rechecked(Arc::new(rechecked));
            let missed = self.nodes[index].shards[shard].tell(input, now);
            assert!(missed.is_empty(), "it is no publication");
            self.wake(index, shard, now + 1);
        }
    }

    /// A planted bug: a session keeps what it may do, and the API is not asked.
    fn keep(&mut self, index: usize, shard: usize, recheck: &Recheck) {
        let now = self.events.now;
        let rechecked = Rechecked {
            tenant: None,
            keys: vec![recheck.key],
            asked_at: recheck.not_before,
            has_token: false,
            outcome: RecheckOutcome::Keep,
        };
        let input = Input::Rechecked(Arc::new(rechecked));
        let missed = self.nodes[index].shards[shard].tell(input, now);
        assert!(missed.is_empty(), "it is no publication");
        self.wake(index, shard, now + 1);
    }

    fn outcome(&mut self, client: usize, result: Reply) -> RecheckOutcome {
        match result {
            Reply::Grants(grants) => {
                let text = allowed_rooms(GRANTS[grants]);
                let tenant = self.plan.shape.tenant(client);
                let given = match self.plan.mutant {
                    Some(Mutant::WiderRights) => 3,
                    _ => grants,
                };
                RecheckOutcome::Permitted(Rights {
                    grants: self.identities.grants(tenant, given),
                    who: self.identities.who(client, grants),
                    welcome: server::authorized(&text).into(),
                    event: server::permissions(&text).into(),
                    expires_in: None,
                })
            }
            Reply::Refused => RecheckOutcome::Refused,
            Reply::Unreachable => RecheckOutcome::Unreachable { within: 500 },
            Reply::Keep => RecheckOutcome::Keep,
        }
    }
}
