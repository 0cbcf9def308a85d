//! The judge of commands: what each session was permitted, and which of its subscriptions were
//! dropped, at which place among the publications.
//!
//! A command concerns a session if its position is later than that of the API's answer about it,
//! whatever the shard did first. Only one thing is uncertain: where among the commands a shard took
//! what a client sent. Then every possibility counts that agrees with the reply.

use crate::oracle::change::{Cause, Commanded, End, Identified, LostCommands, Reply};
use crate::oracle::session::Session;
use crate::oracle::{Life, Oracle};
use crate::orders::TENANTS;
use crate::rooms::{GRANTS, allowed_rooms};

/// A shard takes an answer within this time, in ms, however long its thread stalls.
const TAKEN_WITHIN: u64 = 10_000;

impl Life {
    /// The position of the last command of its tenant that the shard of a session carried out.
    pub(super) fn carried_at(&self, session: &Session) -> u64 {
        let lane = (session.shard, session.identified.tenant);
        self.carried.get(&lane).copied().unwrap_or(0)
    }

    /// The tenant of the command at a position.
    fn commander(&self, position: u64) -> usize {
        let mut commands = self.commands.iter();
        let found = commands.find(|it| it.position == position);
        found.map_or(0, |it| it.order.tenant)
    }

    /// How much was placed that neither a command nor an answer of a shard holds up.
    pub(super) fn matched_up_to(&self, shard: usize, now: u64) -> usize {
        let mut due = self.due.range((shard, 0)..=(shard, u64::MAX));
        let command = due.next().map(|(_, position)| self.positions[position]);
        let answers = self.answers.iter();
        let mut answers = answers.filter(|it| it.0 == shard && it.2 + TAKEN_WITHIN > now);
        let answer = answers.next().map(|(_, place, _)| *place);
        let place = command.into_iter().chain(answer).min();
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
        let lost = known.lost_commands.iter();
        let lane = (shard, identified.tenant);
        let mut lost = lost
            .filter(|lost| (lost.shard, lost.tenant) == lane)
            .peekable();
        for commanded in &known.commands {
            while let Some(lost) = lost.next_if(|lost| lost.position < commanded.position) {
                new.lose_commands(lost, self.rechecks);
            }
            new.apply(session, commanded, self.rechecks);
        }
        lost.for_each(|lost| new.lose_commands(lost, self.rechecks));
        new.carried = known.carried_at(&new);
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
        let rechecks = self.rechecks;
        own.for_each(|(connection, session)| session.apply(*connection, &commanded, rechecks));
    }

    /// The API has answered about a session again.
    pub(crate) fn asked_again(&mut self, session: usize, asked_at: u64, reply: Reply, now: u64) {
        if let Some(known) = self.sessions.get_mut(&session) {
            let life = &mut self.lives[known.life];
            if !known.is_welcome && known.held.is_none() {
                // It came in with an answer from before a gap, and has this one instead.
                known.has_instead(reply, life, now);
            }
            life.answers.push((known.shard, life.placed.len(), now));
            let commands = &life.commands;
            let since = commands.partition_point(|it| it.position <= asked_at);
            known.answer(session, asked_at, reply, &commands[since..], now);
        }
    }

    /// A shard of this life is to carry out the command at a position.
    pub(crate) fn hands_command(&mut self, life: usize, shard: usize, position: u64) {
        self.lives[life].due.insert((shard, position));
    }

    /// A shard carried out the command at a position.
    pub(crate) fn carried_out(&mut self, life: usize, shard: usize, position: u64) {
        let known = &mut self.lives[life];
        let was_due = known.due.remove(&(shard, position));
        let tenant = known.commander(position);
        let last = known.carried.insert((shard, tenant), position);
        if !was_due || last.is_some_and(|last| last >= position) {
            self.violation(|| format!("shard {shard}: the command at {position} was not next"));
        }
    }

    /// A shard was too far behind for the commands at these positions.
    pub(crate) fn loses_commands(&mut self, life: usize, shard: usize, positions: &[u64]) {
        for tenant in 0..TENANTS {
            let known = &self.lives[life];
            let own = positions.iter().copied();
            let own: Vec<_> = own.filter(|it| known.commander(*it) == tenant).collect();
            self.loses_commands_of(tenant, (life, shard), &own);
        }
    }

    fn loses_commands_of(&mut self, tenant: usize, at: (usize, usize), positions: &[u64]) {
        let (Some(first), Some(&position)) = (positions.first(), positions.last()) else {
            return;
        };
        let (life, shard) = at;
        let known = &mut self.lives[life];
        let lost = LostCommands {
            tenant,
            shard,
            place: known.positions[first],
            position,
        };
        known
            .due
            .retain(|at| at.0 != shard || !positions.contains(&at.1));
        known.lost_commands.push(lost);
        let own = self.sessions.values_mut();
        let own = own.filter(|session| {
            (session.life, session.shard) == at && session.identified.tenant == tenant
        });
        let rechecks = self.rechecks;
        own.for_each(|session| session.lose_commands(&lost, rechecks));
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
        if !std::mem::replace(&mut known.is_welcome, true) {
            known.welcomed = self.lives[known.life].placed.len();
        }
        let first = known.told_rights.max(known.changes_up_to(known.carried));
        let mut possible = first..=known.applied.len();
        let told = possible.find(|&commands| {
            let grants = known.grants_after(commands);
            allowed_rooms(GRANTS[grants]) == *text
        });
        match told {
            Some(told) => known.told_rights = told,
            None if known.is_unjudged => {}
            None => self.violation(|| {
                format!("connection {session} was told old rights, or those of others: {text}")
            }),
        }
    }

    /// A client was told that a subscription was dropped.
    pub(crate) fn dropped(&mut self, session: usize, name: u64) {
        let Some(known) = self.sessions.get(&session).filter(|it| !it.is_unjudged) else {
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
    pub(super) fn check_disconnected(&mut self, session: usize, reason: &str, now: u64) {
        let known = &self.sessions[&session];
        let number = reason.strip_prefix("ended-");
        let number = number.and_then(|number| number.parse().ok());
        let cause = match number {
            Some(number) => Cause::Command(number),
            None if reason.starts_with("permissions") => Cause::Permissions,
            None => return,
        };
        if known.is_unjudged || known.is_excused && cause == Cause::Permissions {
            return;
        }
        let Some(end) = known.disconnected.filter(|end| end.cause == cause) else {
            return self.violation(|| {
                format!("connection {session} was closed, and no command said so: {reason}")
            });
        };
        let missing = known.subscriptions.values().find_map(|subscription| {
            self.undelivered(known, subscription, |place, _| {
                place < end.place && known.is_level(place, now)
            })
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
        if let Some(held) = known.held.filter(|_| known.rights_from.is_some()) {
            return self.violation(|| format!("connection {session} is still held: {held:?}"));
        }
        if known.is_unjudged {
            return;
        }
        if let Some(end) = known.disconnected {
            return self.violation(|| {
                format!("connection {session} is still open, and a command closed it: {end:?}")
            });
        }
        if let Some(held) = known.held {
            return self.violation(|| format!("connection {session} is still held: {held:?}"));
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
