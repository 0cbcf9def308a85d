//! The judge of commands: what each session was permitted, and which of its subscriptions were
//! dropped, at which place among the publications.
//!
//! A command concerns a session if its position is later than that of the API's answer about it,
//! whatever the shard did first. Only one thing is uncertain: where among the commands a shard took
//! what a client sent. Then every possibility counts that agrees with the reply.

use crate::oracle::session::{Commanded, End, Identified, LostCommands, Session};
use crate::oracle::{Life, Oracle};
use crate::rooms::{GRANTS, allowed_rooms};

impl Life {
    /// The position of the last command that a shard carried out.
    pub(super) fn carried_at(&self, shard: usize) -> u64 {
        self.carried.get(&shard).copied().unwrap_or(0)
    }

    /// How much was placed that no command of a shard holds up.
    pub(super) fn matched_up_to(&self, shard: usize) -> usize {
        let mut due = self.due.range((shard, 0)..=(shard, u64::MAX));
        let place = due.next().map(|(_, position)| self.positions[position]);
        place.unwrap_or(self.placed.len())
    }
}

impl Oracle {
    /// The API has answered about the client of a session, which is about to open. The shard has
    /// carried out the commands up to `carried`.
    pub(crate) fn opens(
        &mut self,
        session: usize,
        (life, shard): (usize, usize),
        identified: Identified,
    ) {
        let known = &self.lives[life];
        let mut new = Session::new((life, shard), identified);
        for commanded in &known.commands {
            new.apply(session, commanded);
        }
        let carried = known.carried_at(shard);
        let known_ones = new.applied.iter();
        new.told_rights = known_ones.take_while(|it| it.position <= carried).count();
        let lost = known.lost_commands.iter();
        for lost in lost.filter(|lost| lost.shard == shard) {
            new.lose_commands(lost);
        }
        self.sessions.insert(session, new);
    }

    /// A node placed a command.
    pub(super) fn commanded(&mut self, life: usize, number: usize, position: u64, now: u64) {
        let Some(order) = self.published[number].order else {
            return;
        };
        let known = &mut self.lives[life];
        let commanded = Commanded {
            place: known.placed.len() - 1,
            position,
            at: now,
            number,
            order,
        };
        known.commands.push(commanded);
        let own = self.sessions.iter_mut();
        let own = own.filter(|(_, session)| session.life == life);
        own.for_each(|(connection, session)| session.apply(*connection, &commanded));
    }

    /// A shard of this life is to carry out the command at a position.
    pub(crate) fn hands_command(&mut self, life: usize, shard: usize, position: u64) {
        self.lives[life].due.insert((shard, position));
    }

    /// A shard carried out the command at a position.
    pub(crate) fn carried_out(&mut self, life: usize, shard: usize, position: u64) {
        let known = &mut self.lives[life];
        let was_due = known.due.remove(&(shard, position));
        let last = known.carried.insert(shard, position);
        if !was_due || last.is_some_and(|last| last >= position) {
            self.violation(|| format!("shard {shard}: the command at {position} was not next"));
        }
    }

    /// A shard was too far behind for the commands at these positions.
    pub(crate) fn loses_commands(&mut self, life: usize, shard: usize, positions: &[u64]) {
        let (Some(first), Some(&position)) = (positions.first(), positions.last()) else {
            return;
        };
        let known = &mut self.lives[life];
        let lost = LostCommands {
            shard,
            place: known.positions[first],
            position,
        };
        known
            .due
            .retain(|at| at.0 != shard || !positions.contains(&at.1));
        known.lost_commands.push(lost);
        let own = self.sessions.values_mut();
        let own = own.filter(|session| (session.life, session.shard) == (life, shard));
        own.for_each(|session| session.lose_commands(&lost));
    }

    /// Every command has been carried out on a node of this life.
    pub(crate) fn check_carried_out(&mut self, life: usize) {
        if let Some(&(shard, position)) = self.lives[life].due.first() {
            self.violation(|| format!("shard {shard} never carried out the command at {position}"));
        }
    }

    /// A client was told what it may subscribe to.
    pub(crate) fn told_rights(&mut self, session: usize, text: &str) {
        let Some(known) = self.sessions.get_mut(&session) else {
            return;
        };
        let mut possible = known.told_rights..=known.applied.len();
        let told = possible.find(|&commands| {
            let grants = known.grants_after(commands);
            allowed_rooms(GRANTS[grants]) == *text
        });
        match told {
            Some(told) => known.told_rights = told,
            None => self.violation(|| {
                format!("connection {session} was told old rights, or those of others: {text}")
            }),
        }
    }

    /// A client was told that a subscription was dropped.
    pub(crate) fn dropped(&mut self, session: usize, name: u64) {
        let Some(known) = self.sessions.get(&session) else {
            return;
        };
        let Some(subscription) = known.subscriptions.get(&name) else {
            return self.violation(|| format!("connection {session}: {name} was dropped twice"));
        };
        let ends = subscription.ends.iter().flatten();
        let Some(end) = ends.map(|(place, _)| *place).min() else {
            return self.violation(|| {
                format!("connection {session}: {name} was dropped, and no command took it")
            });
        };
        if let Some(number) = self.undelivered(known, subscription, |place, _| place < end) {
            return self.violation(|| {
                format!(
                    "connection {session}, subscription {name}: publication {number} was placed \
                     before it was dropped, and never came"
                )
            });
        }
        if let Some(known) = self.sessions.get_mut(&session) {
            known.subscriptions.remove(&name);
            known.ended.insert(name);
        }
    }

    /// A connection was closed for this reason: it is the one of a command that means it, which
    /// took nothing that was placed before it.
    pub(super) fn check_disconnected(&mut self, session: usize, reason: &str) {
        let known = &self.sessions[&session];
        let number = reason.strip_prefix("ended-");
        if number.is_none() && !reason.starts_with("permissions") {
            return;
        }
        let number = number.and_then(|number| number.parse().ok());
        let Some(end) = known.disconnected.filter(|end| end.number == number) else {
            return self.violation(|| {
                format!("connection {session} was closed, and no command said so: {reason}")
            });
        };
        let missing = known.subscriptions.values().find_map(|subscription| {
            self.undelivered(known, subscription, |place, _| place < end.place)
        });
        if let Some(number) = missing {
            self.violation(|| {
                format!(
                    "connection {session}: publication {number} was placed before the command \
                     that closed it, and never came"
                )
            });
        }
    }

    /// Everything has settled: commands closed whom they meant, and clients know their rights.
    pub(super) fn check_rights(&mut self, session: usize) {
        let known = &self.sessions[&session];
        if let Some(end) = known.disconnected {
            return self.violation(|| {
                format!("connection {session} is still open, and a command closed it: {end:?}")
            });
        }
        if !known.identified.events {
            return;
        }
        let (told, granted) = (known.grants_after(known.told_rights), known.grants());
        let mut subscriptions = known.subscriptions.iter();
        let is_dropped = |ends: &[End]| !ends.is_empty() && ends.iter().all(Option::is_some);
        let dropped = subscriptions.find(|(_, it)| is_dropped(&it.ends));
        let dropped = dropped.map(|(name, _)| *name);
        if told != granted {
            self.violation(|| format!("connection {session} was never told its new rights"));
        } else if let Some(name) = dropped {
            self.violation(|| {
                format!("connection {session} was never told that {name} was dropped")
            });
        }
    }
}
