//! The judge of resume tickets: a proof says what is so, and no ticket leads past a command.

use crate::oracle::Oracle;
use crate::orders::Known;
use crate::rooms::{GRANTS, is_permitted};
use crate::tickets::Proof;

impl Oracle {
    /// A client on a node of this life was given a proof for its ticket, which is up to date with
    /// everything up to a position.
    pub(crate) fn proves(&mut self, life: usize, proof: &Proof, position: u64) {
        let Some(known) = self.sessions.get(&proof.connection) else {
            return;
        };
        if known.rights_from.is_none() || proof.cursor.epoch != self.epoch_of(life) {
            return;
        }
        // It may know of more than that: then it is as good.
        let mut changes = known.changes_up_to(position)..=known.applied.len();
        let is_right = changes.any(|changes| {
            let grants = GRANTS[known.grants_after(changes)];
            let mut permits = proof.ticket.permits.iter().enumerate();
            permits.all(|(room, permits)| is_permitted(grants, room) == *permits)
        });
        let (connection, cursor) = (proof.connection, proof.cursor);
        if known.held.is_some_and(|held| held.position <= position) {
            self.violation(|| {
                format!(
                    "connection {connection} has a proof at {cursor}, and the API is asked about it"
                )
            });
        } else if !is_right {
            self.violation(|| {
                format!("connection {connection}: its ticket permits what it may not do at {cursor}, or less")
            });
        }
    }

    /// A ticket lets a client in on a node of this life.
    pub(crate) fn lets_in(&mut self, life: usize, (tenant, client): (usize, usize), proof: &Proof) {
        let (reading, cursor) = (&self.lives[life].reading, proof.cursor);
        let number = cursor.position.get();
        let known = Known {
            tenant,
            connection: proof.connection,
            client,
            grants: proof.ticket.grants,
        };
        let mut commands = reading.commands.range(number + 1..);
        let command = commands.find(|(_, trigger)| {
            let order = self.published[**trigger].order;
            order.is_some_and(|order| order.means(known))
        });
        let mut holes = reading.holes.iter();
        let hole = holes.find(|(hole, _)| *hole > number);
        let wrong = if cursor.epoch != self.epoch_of(life) {
            Some("of another life".to_owned())
        } else if number < reading.begins {
            Some("from before what the node knows".to_owned())
        } else if let Some((_, command)) = command {
            Some(format!("from before the command {command}"))
        } else {
            hole.map(|_| "from before a gap".to_owned())
        };
        if let Some(wrong) = wrong {
            self.violation(|| {
                format!("client {client} is let in by a ticket at {cursor}, {wrong}")
            });
        }
    }

    /// A client was told that its ticket has let it in.
    pub(crate) fn told_resumed(&mut self, session: usize) {
        let Some(known) = self.sessions.get(&session) else {
            return;
        };
        if known.identified.resumed.is_none() {
            self.violation(|| {
                format!("connection {session} was let in by the API, not by a ticket")
            });
        }
    }
}
