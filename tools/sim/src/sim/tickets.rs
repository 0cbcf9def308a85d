//! Pages that offer their tickets: they are let in without a call to the API, unless something has
//! happened since that may concern their permissions.

use ht_core::ticket::unchanged;
use ht_core::window::Unknown;
use serde_json::Value;

use crate::api::Said;
use crate::mutant::Mutant;
use crate::orders;
use crate::sim::event::Event;
use crate::sim::{AGAIN, Sim};
use crate::tickets::Tickets;

/// An older proof lets nobody in, in ms.
const MAX_AGE: u64 = 60_000;

/// Longest wait for the log, and how often it is looked at meanwhile, in ms.
const PATIENCE: u64 = 2_000;
const LOOK: u64 = 20;

/// What a page keeps.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    has_ticket: bool,
    /// The number of the proof that it offers.
    proof: Option<usize>,
}

/// A ticket that is looked at.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Offer {
    proof: usize,
    said: Said,
    /// How long its node waits for the log.
    until: u64,
}

/// Why a ticket does not let its client in.
enum Refused {
    /// The node may have to read more of the log.
    Ahead,
    Changed,
}

impl Kept {
    /// A message with what lets the page in again.
    fn takes(&mut self, message: &Value) {
        let has_ticket = message["ticket"].is_string();
        let is_first = message["is_authorized"].is_boolean();
        if is_first || has_ticket || message["type"] == "permissions" {
            *self = Self {
                has_ticket,
                proof: None,
            };
        }
        let proof = message["proof"].as_str().filter(|_| self.has_ticket);
        if let Some(number) = proof.and_then(|proof| proof.parse().ok()) {
            self.proof = Some(number);
        }
    }
}

impl Sim {
    /// The shards of a node give tickets.
    pub(super) fn equip(&mut self, index: usize) {
        if self.plan.shape.tickets {
            let is_lazy = self.plan.mutant == Some(Mutant::OldTicket);
            for shard in &mut self.nodes[index].shards {
                let tickets = Tickets::new(&self.proofs, is_lazy);
                shard.around.outside.tickets = Some(tickets);
            }
        }
    }

    /// A shard gave proofs.
    pub(super) fn on_proofs(&mut self, index: usize, shard: usize) {
        let node = &mut self.nodes[index];
        let (life, base) = (node.life, node.order.base().get());
        let Some(tickets) = &mut node.shards[shard].around.outside.tickets else {
            return;
        };
        for number in std::mem::take(&mut tickets.given) {
            let proof = &mut self.proofs.borrow_mut()[number];
            proof.at = self.events.now;
            let position = base + proof.cursor.position.get();
            self.oracle.proves(life, proof, position);
        }
    }

    /// A page takes a message.
    pub(super) fn page_keeps(&mut self, client: usize, message: &Value) {
        let of = &self.clients[client];
        let connection = of.connection.filter(|_| message["resumed"] == true);
        if let Some(kept) = self.clients[client].kept.as_mut() {
            kept.takes(message);
        }
        if let Some(number) = connection {
            self.oracle.told_resumed(number);
        }
    }

    /// A client that has a permit offers its ticket, if it has one.
    pub(super) fn offers(&mut self, number: usize) -> bool {
        let visitor = &self.visitors[number];
        let (node, now) = (visitor.node, self.events.now);
        let kept = visitor
            .client
            .and_then(|it| self.clients[it.0].kept.as_ref());
        let Some(proof) = kept.and_then(|kept| kept.proof) else {
            return false;
        };
        let (grants, at, connection) = {
            let proof = &self.proofs.borrow()[proof];
            (proof.ticket.grants, proof.at, proof.connection)
        };
        if at + MAX_AGE < now {
            return false;
        }
        let own = &mut self.nodes[node];
        // First: a gap, or a command that the window does not have yet, is later.
        let said = Said {
            grants: Some(grants),
            asked: at,
            asked_at: own.last_command,
            gap: own.gaps.last(),
            resumed: Some(connection),
        };
        own.resuming.insert(number);
        let after = [0, 1, LOOK, 500][own.rng.usize(0..4)];
        self.visitors[number].offer = Some(Offer {
            proof,
            said,
            until: now + PATIENCE,
        });
        self.events.after(after, Event::Resumes(number));
        true
    }

    /// A ticket is looked at.
    pub(super) fn looks_at_ticket(&mut self, number: usize) {
        let Some(offer) = self.visitors[number].offer else {
            // Its client has left, or its node.
            return;
        };
        let checked = self.check_ticket(number, offer);
        if let Err(Refused::Ahead) = checked
            && self.events.now < offer.until
        {
            return self.events.after(LOOK, Event::Resumes(number));
        }
        self.forgets_offer_only(number);
        let visitor = &mut self.visitors[number];
        let (node, brought) = (visitor.node, visitor.brought);
        match (checked, visitor.client) {
            (Ok(said), Some((client, attempt))) => {
                if let Some((permit, _handshake)) = visitor.permits.take() {
                    self.resumed += 1;
                    self.answered(client, attempt, node, (true, said), permit);
                }
            }
            _ => {
                let credentials = (brought.address, brought.cookie);
                self.visitors[number].brought = self.brought(node, credentials);
                self.arrive(number);
            }
        }
    }

    /// What a ticket says, if nothing has happened since that may concern its client.
    fn check_ticket(&mut self, number: usize, offer: Offer) -> Result<Said, Refused> {
        let visitor = &self.visitors[number];
        let (node, life) = (visitor.node, visitor.life);
        let client = visitor.client.map_or(0, |it| it.0);
        let proof = self.proofs.borrow()[offer.proof].clone();
        let view = self.nodes[node].window.reader().view();
        let position = view.find(&proof.cursor).map_err(|unknown| match unknown {
            Unknown::Ahead => Refused::Ahead,
            Unknown::Epoch | Unknown::Age | Unknown::Trimmed => Refused::Changed,
        })?;
        let tenant = self.plan.shape.tenant(client);
        let grants = self.identities.grants(tenant, proof.ticket.grants);
        let who = self.identities.who(client, proof.ticket.grants);
        let id = orders::id(proof.connection);
        let candidate = (id, who.as_deref(), &grants);
        if self.plan.mutant != Some(Mutant::StaleTicket) {
            unchanged(&view, position, candidate).map_err(|_| Refused::Changed)?;
        }
        self.oracle.lets_in(life, (tenant, client), &proof);
        let asked_at = offer.said.asked_at.min(view.end());
        Ok(Said {
            asked_at,
            ..offer.said
        })
    }

    /// A client leaves whose ticket is looked at.
    pub(super) fn forgets_offer(&mut self, number: usize) {
        if self.visitors[number].offer.is_some() {
            self.forgets_offer_only(number);
            self.visitors[number].permits = None;
        }
    }

    fn forgets_offer_only(&mut self, number: usize) {
        let visitor = &mut self.visitors[number];
        visitor.offer = None;
        let (node, life) = (visitor.node, visitor.life);
        if self.nodes[node].life == life {
            self.nodes[node].resuming.remove(&number);
        }
    }

    /// A node has no time for tickets any more.
    pub(super) fn lose_offers(&mut self, node: usize) {
        for number in std::mem::take(&mut self.nodes[node].resuming) {
            self.forgets_offer(number);
            self.turned_away(number, AGAIN);
        }
    }
}
