//! The judge of nodes that shut down: no loss, and no stampede.

use crate::oracle::{Oracle, REPORTED_WITHIN};

/// Time in which so many clients may reconnect, in ms.
const RETURNS: (u64, u64) = (100, 1_000);

/// The longest time over which a node closes its connections, in ms.
const PERIOD: u64 = 3_000;

/// Time between two waves, in ms.
const WAVE: u64 = 50;

/// A node that closes its connections.
#[derive(Debug)]
pub(super) struct Draining {
    /// How many there were.
    open: u64,
    /// Over how many ms they are closed.
    over: u64,
    /// When the first wave was due.
    first: Option<u64>,
    /// How many were closed so far.
    closed: u64,
}

impl Oracle {
    /// A connection is over for its client, which received this when it was closed.
    pub(crate) fn over(&mut self, session: usize, reason: &str, now: u64) {
        let reported = reason.starts_with("gap");
        let Some(known) = self.sessions.get_mut(&session) else {
            return;
        };
        known.is_over = true;
        if !reported {
            let until = now.saturating_sub(REPORTED_WITHIN);
            self.check_lost(session, until);
            self.check_overflowed(session, until);
        }
        if reason.starts_with("restart") {
            self.check_delivered(session);
        }
        self.check_disconnected(session, reason, now);
        self.sessions.remove(&session);
    }

    /// A node begins to close its connections, each of which counts for so many.
    pub(crate) fn drains(&mut self, life: usize, open: u64, counts_for: u64) {
        let (clients, ms) = RETURNS;
        let over = (open * counts_for * ms / clients).min(PERIOD);
        self.lives[life].drain = Some(Draining {
            open,
            over,
            first: None,
            closed: 0,
        });
    }

    /// A node closes some of its connections now.
    pub(crate) fn closes_some(&mut self, life: usize, now: u64) {
        if let Some(drain) = &mut self.lives[life].drain {
            drain.first.get_or_insert(now);
        }
    }

    /// A node counts the messages in its queue at the beginning of the drain as placed.
    pub(crate) fn caught_up(&mut self, life: usize, owed: &[usize]) {
        let life = &self.lives[life];
        let missing = owed.iter().find(|trigger| !life.has(**trigger));
        if let Some(missing) = missing.copied() {
            self.violation(|| format!("a node drains before it has publication {missing}"));
        }
    }

    /// A connection is closed because its node shuts down, as told at this time.
    pub(crate) fn closes(&mut self, session: usize, at: u64, is_last: bool) {
        let Some(known) = self.sessions.get_mut(&session) else {
            return;
        };
        known.closed = Some(at);
        let Some(drain) = &mut self.lives[known.life].drain else {
            return self.violation(|| format!("connection {session} is closed, and nobody drains"));
        };
        drain.closed += 1;
        let first = drain.first.unwrap_or(at);
        let so_far = drain.closed;
        // Evenly, rounded to a wave and to a connection.
        let permitted = drain.open * (at - first + 2 * WAVE);
        if !is_last && so_far.saturating_sub(1) * drain.over > permitted {
            let (open, over) = (drain.open, drain.over);
            self.violation(|| {
                format!(
                    "{so_far} of {open} connections are closed too early: it is to take {over} ms"
                )
            });
        }
    }

    /// Publications placed before a connection was closed have reached its client.
    pub(super) fn check_delivered(&mut self, session: usize) {
        let known = &self.sessions[&session];
        let Some(closed) = known.closed else {
            return;
        };
        for (name, subscription) in &known.subscriptions {
            if let Some(number) = self.undelivered(known, subscription, |place, at| {
                at < closed && known.is_level(place, closed)
            }) {
                let text = format!(
                    "connection {session}, subscription {name}: publication {number} was placed \
                     before it was closed, and never came"
                );
                return self.violation(|| text);
            }
        }
    }
}
