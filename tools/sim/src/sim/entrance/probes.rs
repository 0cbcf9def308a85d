//! The gateway's own calls, which detect whether the API responds at all.

use crate::api::{CALL_TIMEOUT, Mood};
use crate::mutant::Mutant;
use crate::sim::entrance::{at, ms};
use crate::sim::{Event, Sim};

/// How long the gateway's own call takes where the API is up, in ms.
const OWN_CALL: u64 = 20;

impl Sim {
    /// Plans the gateway's own call.
    pub(super) fn plan_probe(&mut self, node: usize) {
        let own = &self.nodes[node];
        let is_forgotten = match self.plan.mutant {
            Some(Mutant::NoProbe) => true,
            Some(Mutant::StuckCircuit) => own.guard.is_circuit_open(),
            _ => false,
        };
        if let Some(due) = own.guard.next_probe().map(ms)
            && !own.is_probing
            && !is_forgotten
        {
            let life = own.life;
            self.events.at(due, Event::Probe { node, life });
        }
    }

    pub(crate) fn probe(&mut self, node: usize) {
        let own = &mut self.nodes[node];
        let due = own.guard.next_probe().map(ms);
        if own.is_probing || due.is_none_or(|due| due > self.events.now) {
            return;
        }
        own.is_probing = true;
        let life = own.life;
        let answered = self.mood.is_up();
        let after = match self.mood {
            Mood::Works | Mood::Slow(_) => OWN_CALL,
            Mood::Fails(after) => after,
            Mood::Hangs => CALL_TIMEOUT,
        };
        let event = Event::Probed {
            node,
            life,
            answered,
        };
        self.events.after(after, event);
    }

    pub(crate) fn probed(&mut self, node: usize, answered: bool) {
        let now = self.events.now;
        let own = &mut self.nodes[node];
        own.is_probing = false;
        self.oracle.probed(own.life, answered);
        let is_heard = answered && self.plan.mutant != Some(Mutant::DeafProbe);
        let random = own.rng.u32(..);
        own.guard.probed(is_heard, at(now), random);
        self.plan_probe(node);
        self.follow(node);
    }
}
