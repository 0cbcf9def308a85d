//! What is still owed to a client: publications, replies, and the report of a gap.

use crate::oracle::session::{Session, Subscription};
use crate::oracle::{Lost, Oracle};

/// A request may take so long to be answered, in ms, however slow its shard is.
const ANSWERED_WITHIN: u64 = 10_000;

impl Oracle {
    /// Everything has settled: every connected client has received everything.
    pub(crate) fn settled(&mut self, now: u64) {
        let sessions: Vec<_> = self.sessions.keys().copied().collect();
        for session in sessions {
            self.check_lost(session, now);
            self.check_overflowed(session, now);
            self.check_complete(session, now);
            self.check_rights(session);
        }
    }

    /// A client was told that it may have missed publications: where the window did not have them
    /// any more, those up to a position.
    pub(crate) fn told_gap(&mut self, session: usize, now: u64, upto: Option<u64>) {
        if let Some(known) = self.sessions.get_mut(&session) {
            known.told_gap = Some(now);
            let positions = &self.lives[known.life].positions;
            let last = upto.and_then(|upto| positions.range(..=upto).next_back());
            known.skips = last.map_or(known.skips, |(_, place)| place + 1);
        }
    }

    /// Losses until `until` must have been reported.
    pub(super) fn check_lost(&mut self, session: usize, until: u64) {
        let known = &self.sessions[&session];
        let life = &self.lives[known.life];
        for &Lost {
            number, at, shown, ..
        } in &life.lost
        {
            let published = &self.published[number];
            let is_late = shown.is_some_and(|shown| shown <= until && !known.knows_of_gap(shown));
            if !is_late || !published.is_confirmed || life.places.contains_key(&number) {
                continue;
            }
            let owed = known.subscriptions.values().find(|subscription| {
                let told = subscription.told.map_or(u64::MAX, |told| told.1);
                told < published.logged.unwrap_or(0)
                    && subscription.is_there(at)
                    && self.meets((known.identified.tenant, subscription.room), number)
            });
            // One that the API is asked about has what a lost command gave or took.
            let order = published.order.filter(|_| !known.is_unjudged);
            if order.is_some_and(|order| known.is_meant(session, order, published.at)) {
                let text = format!(
                    "connection {session} was not told of a gap: command {number} was lost at {at}"
                );
                return self.violation(|| text);
            }
            if owed.is_some() {
                let text = format!(
                    "connection {session} was not told of a gap: publication {number} was lost at {at}"
                );
                return self.violation(|| text);
            }
        }
    }

    /// Messages that a shard dropped for its full inbox until `until` must have been reported.
    pub(super) fn check_overflowed(&mut self, session: usize, until: u64) {
        let known = &self.sessions[&session];
        let life = &self.lives[known.life];
        for (&(shard, place), &at) in &life.overflowed {
            let number = life.placed[place].0;
            let owed = known.subscriptions.values().any(|subscription| {
                subscription.told.is_some_and(|told| told.0 <= place)
                    && subscription.is_there(at)
                    && subscription.is_owed(place)
                    && self.meets((known.identified.tenant, subscription.room), number)
            });
            if shard == known.shard && at <= until && !known.knows_of_gap(at) && owed {
                let text = format!(
                    "connection {session} was not told of a gap: its shard missed publication {number}"
                );
                return self.violation(|| text);
            }
        }
    }

    fn check_complete(&mut self, session: usize, now: u64) {
        let known = &self.sessions[&session];
        for (name, subscription) in &known.subscriptions {
            if subscription.told.is_none() {
                if now < subscription.asked + ANSWERED_WITHIN {
                    continue;
                }
                let text = format!("connection {session}: the subscribe {name} got no reply");
                return self.violation(|| text);
            }
            if let Some(number) = self.undelivered(known, subscription, |_, _| true) {
                let text = format!(
                    "connection {session}, subscription {name}: publication {number} never came"
                );
                return self.violation(|| text);
            }
        }
    }

    /// A publication that has not reached a subscription, of those that `is_due` selects by place
    /// and time.
    pub(super) fn undelivered(
        &self,
        session: &Session,
        subscription: &Subscription,
        is_due: impl Fn(usize, u64) -> bool,
    ) -> Option<usize> {
        if session.is_unjudged {
            return None;
        }
        let life = &self.lives[session.life];
        let first = subscription.next.or(subscription.told.map(|told| told.0))?;
        let own = (session.identified.tenant, subscription.room);
        let mut owed = life.placed.iter().enumerate().skip(first);
        let missing = owed.find(|&(place, &(number, at))| {
            is_due(place, at)
                && place >= session.skips
                && session.held.is_none_or(|held| place < held.place)
                && subscription.is_owed(place)
                && subscription.ending.is_none_or(|ending| ending > at)
                && self.meets(own, number)
                && !life.overflowed.contains_key(&(session.shard, place))
        });
        missing.map(|(_, (number, _))| *number)
    }
}
